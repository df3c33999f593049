//! What is asked for: everything an approver must see. It never changes once it is filed.

use std::sync::Arc;

use portcullis_core::{
    ClientSoftware, ConnectionName, GrantId, Principal, RequestId, ResourceRef, RuleRef, SessionId, Source,
    StatementKind, Timestamp, Verb,
};
use serde::{Deserialize, Serialize};

/// A request as it was filed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its id.
    pub id: RequestId,
    /// Who asks, with groups and roles as they were then.
    pub requester: Arc<Principal>,
    /// For which connection.
    pub connection: ConnectionName,
    /// For which database or other inner target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Whose yes it takes: every one of these.
    pub needs: Vec<Need>,
    /// Why, as the asker put it; may be empty.
    #[serde(default)]
    pub reason: String,
    /// From where.
    pub source: Source,
    /// With what.
    #[serde(default)]
    pub client: ClientSoftware,
    /// When.
    pub filed_at: Timestamp,
    /// Until when an answer counts.
    pub answer_by: Timestamp,
    /// The version of the policy that asked for a person.
    pub policy: Arc<str>,
    /// What exactly.
    #[serde(flatten)]
    pub what: What,
}

/// One rule's demand: so many of these people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The grant or guardrail.
    pub rule: RuleRef,
    /// Who may answer, as the documents say it: `group:oncall`.
    pub approvers: Vec<String>,
    /// How many distinct people.
    pub approvals: u32,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A window of an `approved` grant.
    Window(WindowAsked),
    /// One operation, before it runs.
    Operation(Box<OperationAsked>),
    /// The commit of what ran.
    Commit(Box<OperationAsked>),
}

impl What {
    /// The word used in records: `window`, `operation`, `commit`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Window(_) => "window",
            Self::Operation(_) => "operation",
            Self::Commit(_) => "commit",
        }
    }

    /// The held operation, where it is one.
    pub const fn operation(&self) -> Option<&OperationAsked> {
        match self {
            Self::Window(_) => None,
            Self::Operation(asked) | Self::Commit(asked) => Some(asked),
        }
    }
}

/// A window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowAsked {
    /// Of which grant.
    pub grant: GrantId,
    /// How long it is to last, in seconds.
    pub lifetime_seconds: u64,
    /// What may be done in it.
    pub scope: Vec<String>,
    /// Whether it was opened at once, to be reviewed afterwards.
    #[serde(default)]
    pub break_glass: bool,
}

/// How an operation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// On its live connection: it runs the moment it is approved.
    Live,
    /// The client was sent away with the request's id and comes again.
    Ticket,
    /// What ran waits, on its live connection, to be committed.
    Commit,
}

/// One operation, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationAsked {
    /// How it waits.
    pub mode: Mode,
    /// In which session.
    pub session: SessionId,
    /// What the approval binds to, SHA-256, hex: see [`crate::requests::Binding`].
    pub hash: String,
    /// The exact text.
    pub text: String,
    /// How long the text is, in bytes, where `text` was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_cut_from: Option<u64>,
    /// The text without its literals, for places that must not show them.
    #[serde(default)]
    pub shape: String,
    /// The statement's kind.
    pub statement: StatementKind,
    /// Every (verb, resource) pair, down to columns.
    pub resources: Vec<ResourceRef>,
    /// Whether it says which rows it means; absent where that is no question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualified: Option<bool>,
    /// The parts of the text that a rule matched, by byte.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub highlights: Vec<Highlight>,
    /// The values it is bound with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<BoundValue>,
    /// Whether a transaction is open: then locks are held while it waits.
    #[serde(default)]
    pub in_transaction: bool,
    /// Rows that what ran has changed, where a commit waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// What ran in the transaction, where a commit waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<Ran>,
}

/// A part of the text that a rule matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Highlight {
    /// The first byte.
    pub from: u64,
    /// The byte after the last.
    pub to: u64,
    /// The rule's name.
    pub rule: String,
}

/// One bound value, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundValue {
    /// Counts from 1.
    pub position: u32,
    /// The type's name, or empty where the client left it open.
    #[serde(default, rename = "type")]
    pub type_name: String,
    /// The value; empty where it is null.
    #[serde(default)]
    pub value: String,
    /// Whether it is null.
    #[serde(default)]
    pub null: bool,
    /// Whether `value` was cut.
    #[serde(default)]
    pub cut: bool,
}

/// One statement that ran in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its number in the session, as recordings and the audit log have it.
    pub number: u64,
    /// Its text, cut where it is long.
    pub text: String,
    /// How many rows the server says it affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// How far an operation reaches, as far as the upstream can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlastRadius {
    /// Whether it is known.
    pub state: BlastState,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Rows, as the planner estimates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// The plan, as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plan: String,
    /// Tables and columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableTouched>,
    /// Rows, counted by running it in a transaction that was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact_rows: Option<u64>,
    /// Why they were not counted, where the guardrail asks for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub not_counted: String,
    /// Some rows as they are, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Sample>,
    /// Some rows as they would be, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Sample>,
}

/// Whether the blast radius is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlastState {
    /// The upstream is being asked.
    #[default]
    Working,
    /// Known.
    Ready,
    /// Not to be had.
    Unavailable,
}

/// A table an operation touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableTouched {
    /// Its full name.
    pub table: String,
    /// The columns named; `*` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// What is done to it.
    pub verb: Verb,
}

/// A few rows, as text; null is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Option<String>>>,
}
