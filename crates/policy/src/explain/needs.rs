//! Whose yes something needs: what `explain` says of approved grants and of guardrails that hold.

use std::fmt;

use portcullis_core::RuleRef;
use serde::Serialize;

use crate::{Approval, Grant, HoldAt, HoldingRule, OnTimeout, Preview, documents::print_duration};

/// A rule that needs people's yes, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeedAnswer {
    /// The grant or the guardrail.
    pub rule: RuleRef,
    /// What waits for it.
    #[serde(rename = "for")]
    pub what: Needed,
    /// Who may answer, any of these: `group:oncall`.
    pub approvers: Vec<String>,
    /// How many distinct people.
    pub approvals: u32,
    /// What the rule says to the principal, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long the request waits for answers: `1h`. For a live hold, how long the client is kept.
    pub answer_within: String,
    /// Of a commit: so many affected rows pass without asking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_over: Option<u64>,
    /// Of an operation: whether its client waits, or is given a ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnTimeout>,
    /// Of an operation: what is tried out for whoever answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// Of a window: who may open it at once, to be reviewed afterwards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<String>,
}

/// What waits for a yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needed {
    /// Opening a window.
    Window,
    /// One operation.
    Operation,
    /// The commit of a transaction.
    Commit,
}

impl Needed {
    /// The word used in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Operation => "operation",
            Self::Commit => "commit",
        }
    }
}

impl NeedAnswer {
    /// What a window of an approved grant needs; `None` of other grants.
    pub(super) fn of_grant(grant: &Grant) -> Option<Self> {
        let approval = grant.approval.as_ref()?;
        let mut need = Self::new(grant.rule_ref(), Needed::Window, approval);
        need.answer_within = print_duration(grant.answer_within);
        need.break_glass = grant.break_glass.iter().map(ToString::to_string).collect();
        Some(need)
    }

    /// What a guardrail that holds needs.
    pub(super) fn of_hold(hold: &HoldingRule) -> Self {
        let terms = &hold.terms;
        let what = match terms.at {
            HoldAt::Operation => Needed::Operation,
            HoldAt::Commit => Needed::Commit,
        };
        let mut need = Self::new(hold.rule.clone(), what, &terms.approval);
        need.message.clone_from(&hold.message);
        let waits =
            if terms.on_timeout == OnTimeout::Ticket { terms.answer_within } else { terms.hold_limit };
        need.answer_within = print_duration(waits);
        match what {
            Needed::Commit => need.rows_over = Some(terms.rows_over),
            _ => (need.on_timeout, need.preview) = (Some(terms.on_timeout), Some(terms.preview)),
        }
        need
    }

    fn new(rule: RuleRef, what: Needed, approval: &Approval) -> Self {
        Self {
            rule,
            what,
            approvers: approval.approvers.iter().map(ToString::to_string).collect(),
            approvals: approval.approvals,
            message: None,
            answer_within: String::new(),
            rows_over: None,
            on_timeout: None,
            preview: None,
            break_glass: Vec::new(),
        }
    }
}

/// `operation: 1 of group:oncall, within 5m (guardrail `x` (policy.yaml:7))`.
impl fmt::Display for NeedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, approvers) = (self.what.as_str(), self.approvers.join(" or "));
        write!(f, "{what}: {} of {approvers}, within {}", self.approvals, self.answer_within)?;
        if let Some(rows) = self.rows_over {
            write!(f, ", over {rows} affected rows")?;
        }
        if self.on_timeout == Some(OnTimeout::Ticket) {
            write!(f, ", by ticket")?;
        }
        if !self.break_glass.is_empty() {
            write!(f, "; at once with a reason: {}", self.break_glass.join(" or "))?;
        }
        write!(f, " ({})", self.rule)
    }
}
