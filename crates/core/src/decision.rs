//! The decision record: what every decision leaves behind, in one shape for every protocol.
//!
//! `explain`, `test`, `reach` and audit search are queries over it. A record is stored in two parts so that the hot path
//! writes little: [`SessionFacts`] once per session and journal segment, [`DecisionEvent`] per decision;
//! [`DecisionRecord`] is the two joined again.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{ResourceRef, SessionFacts, SessionId, StatementKind, Timestamp, Verb};

/// The three answers. Deny beats hold beats allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may pass, with the obligations.
    Allow,
    /// It waits for a person.
    Hold,
    /// It may not.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        })
    }
}

/// The rule that decided, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// What sort of rule: `grant`, `guardrail`, `mask`, `default-deny`, `condition`, `classification`, `identity`, `window`,
    /// `database`, `block`, `recording`.
    pub kind: Cow<'static, str>,
    /// The rule's name, or a grant's id.
    pub name: String,
    /// `file:line` in the documents, where the rule stands in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)?;
        match &self.location {
            Some(location) => write!(f, " ({location})"),
            None => Ok(()),
        }
    }
}

/// What an allow requires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "obligation", rename_all = "snake_case")]
pub enum Obligation {
    /// The session is recorded.
    Record,
    /// The upstream session is read-only.
    ReadOnly,
    /// The client is told something; the rule only warns.
    Warn {
        /// The guardrail.
        rule: RuleRef,
        /// What it says.
        message: String,
    },
    /// The transaction it runs in may not commit without a person's yes, once it affected more rows than this. What the
    /// server does not count asks, too.
    ApproveAtCommit {
        /// The guardrail.
        rule: RuleRef,
        /// So many affected rows pass without asking.
        rows_over: u64,
    },
}

/// An answer with its reasons: what a decision function returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// The rule that decided.
    pub rule: RuleRef,
    /// Why, in one sentence for people: lower case, no full stop, safe to show to the principal.
    pub reason: String,
    /// What an allow requires.
    pub obligations: Vec<Obligation>,
}

impl Decision {
    /// Whether the answer is allow.
    pub fn is_allow(&self) -> bool {
        self.verdict == Verdict::Allow
    }

    /// A deny by `rule` because of `reason`.
    pub fn deny(rule: RuleRef, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Deny, rule, reason: reason.into(), obligations: Vec::new() }
    }
}

/// The part of a decision record that is the decision's own. `session` names the [`SessionFacts`] it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionEvent {
    /// When it was decided.
    pub at: Timestamp,
    /// The session.
    pub session: SessionId,
    /// Counts the session's decisions from 1; 0 is the connect.
    pub number: u64,
    /// The strongest verb of the operation, `connect` for opening.
    pub verb: Verb,
    /// Every (verb, resource) pair, down to columns.
    pub resources: Arc<[ResourceRef]>,
    /// The statement's kind: `select`, `connect`, ….
    pub statement: StatementKind,
    /// The exact text, up to the configured limit.
    #[serde(default, skip_serializing_if = "text_is_empty")]
    pub text: Arc<str>,
    /// How long the text is, in bytes, where `text` was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_cut_from: Option<u64>,
    /// Keyed fingerprint (HMAC-SHA-256, first 16 bytes, hex) over the bind values; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binds: Option<String>,
    /// The answer.
    pub decision: Verdict,
    /// The rule that decided.
    pub rule: RuleRef,
    /// Why.
    pub reason: Cow<'static, str>,
    /// What an allow required.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<Obligation>,
    /// The version (content hash) of the policy that decided.
    pub policy: Arc<str>,
}

fn text_is_empty(text: &Arc<str>) -> bool {
    text.is_empty()
}

/// One whole decision record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Who, from where, with what, to what, under which grant and window.
    pub facts: Arc<SessionFacts>,
    /// What was asked and answered.
    #[serde(flatten)]
    pub event: DecisionEvent,
}
