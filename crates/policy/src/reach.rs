//! `reach`: what an identity can reach, and who can reach a connection. Read from the same grants that decide.

use std::{fmt, sync::Arc, time::Duration};

use portcullis_core::{ConnectionName, GrantId, Principal};
use serde::Serialize;

use crate::{
    Approval, AskWay, Connection, Grant, HoldAt, Mask, Policy, Subject, When, documents::print_duration,
};

/// One way to reach a connection: a grant, said for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The connection.
    pub connection: ConnectionName,
    /// Its protocol.
    pub protocol: &'static str,
    /// Its description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The grant.
    pub grant: GrantId,
    /// The subjects: of a question about an identity, those that meant it; else all of the grant's.
    pub to: Vec<String>,
    /// `always`, `requested` or `approved`.
    pub when: When,
    /// How a window is asked for; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<AskWay>,
    /// Whose yes opens it, any of these; empty where nobody is asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// How many distinct people; absent where nobody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvals: Option<u32>,
    /// Who may open it at once, to be reviewed: of a question about an identity, those that meant it; else all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<String>,
    /// How long a window lasts: `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<String>,
    /// What may be done: `read:*`.
    pub scope: Vec<String>,
    /// What must hold besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether sessions are recorded.
    pub recorded: bool,
    /// The guardrails on the connection that bind: `no ddl (block)`.
    pub guardrails: Vec<String>,
    /// The masks on the connection that bind: `cards (last4)`; of a question about a connection, with whom they bind.
    pub masks: Vec<String>,
    /// Where the grant stands, `file:line`.
    pub location: String,
}

/// What `principal` can reach: its grants, conditions shown and not judged.
pub fn reach(policy: &Policy, principal: &Principal) -> Vec<Way> {
    let ways = policy.grants().iter().filter(|grant| grant.is_to(principal)).filter_map(|grant| {
        Some(Way::new(policy, policy.connection(&grant.connection)?, grant, Some(principal)))
    });
    ways.collect()
}

/// Who can reach `connection`: every grant to it.
pub fn reach_connection(policy: &Policy, connection: &ConnectionName) -> Vec<Way> {
    let grants = policy.grants().iter().filter(|grant| grant.connection == *connection);
    let ways = grants.filter_map(|grant| Some(Way::new(policy, policy.connection(connection)?, grant, None)));
    ways.collect()
}

impl Way {
    fn new(policy: &Policy, connection: &Arc<Connection>, grant: &Grant, who: Option<&Principal>) -> Self {
        let meant = |subjects: &[Subject]| -> Vec<String> {
            let meant = subjects.iter().filter(|subject| who.is_none_or(|who| subject.matches(who)));
            meant.map(ToString::to_string).collect()
        };
        let binding = policy.guardrails().iter().filter(|guardrail| guardrail.covers(connection));
        let binding = binding.filter(|guardrail| !who.is_some_and(|who| guardrail.excepts(who)));
        let masks = policy.masks().iter().filter(|mask| mask.covers(connection));
        let masks = masks.filter(|mask| who.is_none_or(|who| mask.binds(who)));
        Self {
            connection: connection.name.clone(),
            protocol: connection.protocol.as_str(),
            description: connection.description.clone(),
            grant: grant.id.clone(),
            to: meant(&grant.to),
            when: grant.when,
            ask: (grant.when != When::Always).then_some(grant.ask),
            approvers: approvers(grant.approval.as_ref()),
            approvals: grant.approval.as_ref().map(|approval| approval.approvals),
            break_glass: meant(&grant.break_glass),
            lifetime: grant.lifetime.map(|lifetime: Duration| print_duration(lifetime)),
            scope: grant.scope.iter().map(ToString::to_string).collect(),
            condition: grant.condition.as_ref().map(|condition| condition.source().to_owned()),
            recorded: grant.recorded,
            guardrails: binding
                .map(|guardrail| match &guardrail.hold {
                    Some(hold) => {
                        let at = if hold.at == HoldAt::Commit { " at commit" } else { "" };
                        format!("{} (approve{at}, by {})", guardrail.name, hold.approval)
                    }
                    None => format!("{} ({})", guardrail.name, guardrail.action.as_str()),
                })
                .collect(),
            masks: masks
                .map(|mask| match who {
                    Some(_) => format!("{} ({})", mask.name, mask.transform.as_str()),
                    None => format!("{} ({}{})", mask.name, mask.transform.as_str(), whom(mask)),
                })
                .collect(),
            location: grant.location.clone(),
        }
    }
}

fn approvers(approval: Option<&Approval>) -> Vec<String> {
    approval.iter().flat_map(|approval| &approval.approvers).map(ToString::to_string).collect()
}

/// Whom a mask binds, where not everybody.
fn whom(mask: &Mask) -> String {
    let mut out = String::new();
    for (word, subjects) in [("to", &mask.to), ("except", &mask.except)] {
        let subjects: Vec<String> = subjects.iter().map(ToString::to_string).collect();
        if !subjects.is_empty() {
            out.push_str(&format!(", {word} {}", subjects.join(", ")));
        }
    }
    out
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.connection, self.when.as_str(), self.scope.join(", "))?;
        if !self.to.is_empty() {
            write!(f, " for {}", self.to.join(", "))?;
        }
        if let Some(approvals) = self.approvals {
            write!(f, ", with the yes of {approvals} of {}", self.approvers.join(" or "))?;
        }
        if !self.break_glass.is_empty() {
            write!(f, ", at once with a reason for {}", self.break_glass.join(", "))?;
        }
        if let Some(lifetime) = &self.lifetime {
            write!(f, ", {lifetime} at a time")?;
        }
        if let Some(condition) = &self.condition {
            write!(f, ", if {condition}")?;
        }
        if !self.masks.is_empty() {
            write!(f, ", masked by {}", self.masks.join(", "))?;
        }
        f.write_str(if self.recorded { ", recorded" } else { ", not recorded" })?;
        write!(f, " [{} at {}]", self.grant, self.location)
    }
}
