//! Approval: who answers, how many of them, and how long one waits for it.

use std::{fmt, sync::Arc, time::Duration};

use portcullis_core::{Principal, RuleRef};
use serde::{Deserialize, Serialize};

use crate::Subject;

/// How long a request waits for answers where the document does not say.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(3_600);

/// Whose yes is needed, and how many of them.
///
/// That somebody is named here is not all: whoever asked, and any identity of the same application, never counts. `access`
/// sees to that, because it knows who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Any of these; never empty.
    pub approvers: Vec<Subject>,
    /// How many distinct people; at least 1.
    pub approvals: u32,
}

impl Approval {
    /// Whether the principal is among the approvers.
    pub fn may(&self, principal: &Principal) -> bool {
        self.approvers.iter().any(|subject| subject.matches(principal))
    }
}

/// As people say it: `2 of group:oncall or group:leads`.
impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.approvals > 1 {
            write!(f, "{} of ", self.approvals)?;
        }
        for (at, subject) in self.approvers.iter().enumerate() {
            let between = if at == 0 { "" } else { " or " };
            write!(f, "{between}{subject}")?;
        }
        Ok(())
    }
}

/// How a window is asked for: `request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskWay {
    /// By an act of its own: the CLI, the API.
    #[default]
    Explicit,
    /// By connecting, too.
    OnConnect,
}

impl AskWay {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::OnConnect => "on_connect",
        }
    }
}

/// The terms under which a guardrail with `action: approve` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldTerms {
    /// Whose yes lets it pass.
    pub approval: Approval,
    /// What is held: the operation, or the commit of its transaction.
    pub at: HoldAt,
    /// With [`HoldAt::Commit`]: at most so many affected rows pass without asking.
    pub rows_over: u64,
    /// How long a live hold waits; at most one hour.
    pub hold_limit: Duration,
    /// What happens to one that cannot be answered while its client waits.
    pub on_timeout: OnTimeout,
    /// How long a ticket's request waits for answers.
    pub answer_within: Duration,
    /// How long an approved ticket may be used.
    pub ticket_lifetime: Duration,
    /// What is tried out for whoever answers.
    pub preview: Preview,
}

/// What a guardrail holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldAt {
    /// The operation, before it reaches the upstream.
    #[default]
    Operation,
    /// The commit of the transaction the operation ran in.
    Commit,
}

impl HoldAt {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::Commit => "commit",
        }
    }
}

/// What becomes of an operation whose client does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// It waits, and is refused when the time is over.
    #[default]
    Deny,
    /// It is answered at once with an error that names its request; approved, the same operation by the same principal
    /// runs once.
    Ticket,
}

impl OnTimeout {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Ticket => "ticket",
        }
    }
}

/// What is tried out on the upstream for whoever answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preview {
    /// Nothing runs: the plan and its estimate only.
    #[default]
    None,
    /// It runs in a transaction that is rolled back: the exact count of rows.
    Rows,
}

impl Preview {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rows => "rows",
        }
    }
}

/// A guardrail that holds an operation, and its terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldingRule {
    /// The guardrail.
    pub rule: RuleRef,
    /// What it says to the principal, as written.
    pub message: Option<String>,
    /// Who answers, and how long is waited.
    pub terms: Arc<HoldTerms>,
}
