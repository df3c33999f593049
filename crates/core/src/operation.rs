//! Operations: what a principal asks in one protocol unit, as verbs over resources, in one shape for every protocol.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// What is done to a resource. One classification per protocol maps its units to these.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Looks, changes nothing.
    Read,
    /// Changes data.
    Write,
    /// Changes structure, rights, roles or the server.
    Admin,
    /// Runs code whose effects the gateway cannot see.
    Execute,
    /// Opens a connection or a forwarding.
    Connect,
}

impl Verb {
    /// Every verb, in order.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Admin, Self::Execute, Self::Connect];

    /// The word used in documents and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Execute => "execute",
            Self::Connect => "connect",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verb {
    type Err = InvalidVerb;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or_else(|| InvalidVerb(text.to_owned()))
    }
}

/// The text is no verb.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a verb: expected read, write, admin, execute or connect")]
pub struct InvalidVerb(String);

/// A resource's full name inside its connection: `schema.table`, `/v1/records/7`, `namespace/kind/name`, a program.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resource(pub Cow<'static, str>);

impl Resource {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Resource {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl From<&'static str> for Resource {
    fn from(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// One (verb, resource) pair of an operation. Every pair must be covered by the scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceRef {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub resource: Resource,
    /// The columns named, where the protocol has columns and the parser saw them; `*` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Reached through this view, not named by the statement: guardrails look at it, scopes do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Resource>,
}

/// A statement's kind as one lower-case word: `select`, `drop`, `get`, `exec`. Guardrails' `statements:` match on it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StatementKind(pub Cow<'static, str>);

impl StatementKind {
    /// From a word known at compile time.
    pub const fn word(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a principal asks in one protocol unit (one SQL statement, one HTTP request, one command).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The statement's own kind first, then the kinds of everything nested in it (a CTE's DELETE, what EXPLAIN ANALYZE runs).
    pub kinds: Vec<StatementKind>,
    /// Every (verb, resource) pair; all must be covered.
    pub resources: Vec<ResourceRef>,
    /// The exact text. Shared: the analysis cache and the record hold the same allocation.
    pub text: Arc<str>,
    /// Clauses a guardrail's `without:` can ask for and that the statement lacks although it could have them: `where`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Cow<'static, str>>,
    /// Whether it could be classified. What could not is refused unless the grant is `*:*` and no guardrail or mask applies.
    pub classified: Classified,
}

impl Operation {
    /// The statement's own kind.
    pub fn kind(&self) -> StatementKind {
        self.kinds.first().cloned().unwrap_or(StatementKind::word("unknown"))
    }
}

/// Whether an operation is understood completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Classified {
    /// Every effect is in `resources`.
    Completely,
    /// Not: this is why (lower case, for people).
    Not(String),
}
