//! Guardrails: rules that block, hold or warn on matching operations, whatever the grants allow.

use std::sync::Arc;

use portcullis_core::{ConnectionName, Operation, Pattern, Principal};
use serde::{Deserialize, Serialize};

use crate::{Connection, HoldTerms, Protocol, Subject, glob};

/// One guardrail. Every criterion given must match; a list matches when any entry does.
#[derive(Clone, Debug)]
pub struct Guardrail {
    /// Its name, unique in the policy.
    pub name: String,
    /// The protocols; empty: all.
    pub protocols: Vec<Protocol>,
    /// The connections, by name pattern; empty: all.
    pub connections: Vec<Pattern>,
    /// Statement kinds, the nested ones included; empty: all.
    pub statements: Vec<String>,
    /// The clause the operation lacks: `where`.
    pub without: Option<String>,
    /// Resources, those reached through views included; empty: all.
    pub resources: Vec<Pattern>,
    /// Who is not bound by it.
    pub except: Vec<Subject>,
    /// What it does.
    pub action: GuardrailAction,
    /// How it holds; there for [`GuardrailAction::Approve`] only, and always.
    pub hold: Option<Arc<HoldTerms>>,
    /// What the principal is told.
    pub message: Option<String>,
    /// `file:line`.
    pub location: String,
}

/// What a guardrail does; the greater beats the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardrailAction {
    /// Lets it pass and says so.
    Warn,
    /// Holds until a person says yes.
    Approve,
    /// Refuses.
    Block,
}

impl GuardrailAction {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Approve => "approve",
            Self::Block => "block",
        }
    }
}

impl Guardrail {
    /// Whether it looks at a connection's operations at all.
    pub fn covers(&self, connection: &Connection) -> bool {
        (self.protocols.is_empty() || self.protocols.contains(&connection.protocol))
            && self.names(&connection.name)
    }

    fn names(&self, connection: &ConnectionName) -> bool {
        self.connections.is_empty()
            || self.connections.iter().any(|pattern| glob::matches(pattern, connection.as_str()))
    }

    /// Whether `except` frees the principal from it.
    pub fn excepts(&self, principal: &Principal) -> bool {
        self.except.iter().any(|subject| subject.matches(principal))
    }

    /// Whether the operation matches. One that could not be classified never gets so far: it is refused where any
    /// guardrail is.
    pub fn matches(&self, operation: &Operation) -> bool {
        let statement = self.statements.is_empty()
            || operation
                .kinds
                .iter()
                .any(|kind| self.statements.iter().any(|wanted| wanted == kind.as_str()));
        let clause = self
            .without
            .as_deref()
            .is_none_or(|clause| operation.lacks.iter().any(|lacked| lacked == clause));
        let resource = self.resources.is_empty()
            || operation
                .resources
                .iter()
                .any(|r| self.resources.iter().any(|pattern| glob::matches(pattern, r.resource.as_str())));
        statement && clause && resource
    }
}
