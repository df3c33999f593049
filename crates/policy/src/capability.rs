//! The capability matrix: which control each protocol enforces. `check` refuses what is not enforced, and the table of the
//! manual is printed from here.

use std::fmt::Write as _;

use portcullis_core::{Operation, StatementKind, Verb};

use crate::Protocol;

/// A protocol the documents may name, built or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ProtocolWord {
    Postgres,
    Mysql,
    Ssh,
    Kubernetes,
    Http,
}

impl ProtocolWord {
    /// Every word.
    pub const ALL: [Self; 5] = [Self::Postgres, Self::Mysql, Self::Ssh, Self::Kubernetes, Self::Http];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Ssh => "ssh",
            Self::Kubernetes => "kubernetes",
            Self::Http => "http",
        }
    }

    /// The protocol, where the gateway speaks it.
    pub const fn spoken(self) -> Option<Protocol> {
        match self {
            Self::Postgres => Some(Protocol::Postgres),
            _ => None,
        }
    }
}

/// A control a document may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// A scope with this verb.
    Scope(Verb),
    /// A read-only scope also makes the upstream session read-only.
    ReadOnlyUpstream,
    /// A guardrail's `statements`.
    Statements,
    /// A guardrail's `without: where`.
    WithoutWhere,
    /// A guardrail's `tables` or `resources`.
    Resources,
    /// A guardrail's `commands`.
    Commands,
    /// `action: block`.
    Block,
    /// `action: warn`.
    Warn,
    /// `action: approve`: holding one operation.
    Hold,
    /// `at: commit`: holding the commit of what changed many rows.
    HoldAtCommit,
    /// `preview: rows`: running it to count, rolled back.
    PreviewRows,
    /// `on_timeout: ticket`: a retry that runs once.
    Ticket,
    /// Masks by column or field.
    MaskColumns,
    /// Masks by detector.
    MaskDetect,
    /// A connection's `database` and `databases`.
    Databases,
    /// A connection's `resources`: names for paths.
    NamedResources,
    /// `credential: { username, password }`.
    PasswordCredential,
    /// `credential: { bearer }`.
    BearerCredential,
    /// `via`: dialing through a network agent.
    Via,
}

impl Control {
    /// Every control, as the table shows them.
    pub const ALL: [Self; 23] = [
        Self::Scope(Verb::Read),
        Self::Scope(Verb::Write),
        Self::Scope(Verb::Admin),
        Self::Scope(Verb::Execute),
        Self::Scope(Verb::Connect),
        Self::ReadOnlyUpstream,
        Self::Statements,
        Self::WithoutWhere,
        Self::Resources,
        Self::Commands,
        Self::Block,
        Self::Warn,
        Self::Hold,
        Self::HoldAtCommit,
        Self::PreviewRows,
        Self::Ticket,
        Self::MaskColumns,
        Self::MaskDetect,
        Self::Databases,
        Self::NamedResources,
        Self::PasswordCredential,
        Self::BearerCredential,
        Self::Via,
    ];

    /// How documents ask for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Scope(Verb::Read) => "scope `read:…`",
            Self::Scope(Verb::Write) => "scope `write:…`",
            Self::Scope(Verb::Admin) => "scope `admin:…`",
            Self::Scope(Verb::Execute) => "scope `execute:…`",
            Self::Scope(Verb::Connect) => "scope `connect:…`",
            Self::ReadOnlyUpstream => "read-only scope makes the upstream session read-only",
            Self::Statements => "guardrail `statements`",
            Self::WithoutWhere => "guardrail `without: where`",
            Self::Resources => "guardrail `tables`, `resources`",
            Self::Commands => "guardrail `commands`",
            Self::Block => "guardrail `action: block`",
            Self::Warn => "guardrail `action: warn`",
            Self::Hold => "guardrail `action: approve`",
            Self::HoldAtCommit => "guardrail `at: commit`",
            Self::PreviewRows => "guardrail `preview: rows`",
            Self::Ticket => "guardrail `on_timeout: ticket`",
            Self::MaskColumns => "mask `columns`",
            Self::MaskDetect => "mask `detect`",
            Self::Databases => "connection `database`, `databases`",
            Self::NamedResources => "connection `resources`",
            Self::PasswordCredential => "credential `username`, `password`",
            Self::BearerCredential => "credential `bearer`",
            Self::Via => "connection `via`",
        }
    }
}

/// What a protocol does about a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Enforced.
    Enforced,
    /// Designed, not enforced: refused by `check`.
    NotYet,
    /// The protocol has no such thing: refused by `check`.
    None,
}

/// The matrix.
pub const fn support(protocol: Protocol, control: Control) -> Support {
    match (protocol, control) {
        (
            Protocol::Postgres,
            Control::Scope(Verb::Read | Verb::Write | Verb::Admin | Verb::Execute)
            | Control::ReadOnlyUpstream
            | Control::Statements
            | Control::WithoutWhere
            | Control::Resources
            | Control::Block
            | Control::Warn
            | Control::Hold
            | Control::HoldAtCommit
            | Control::PreviewRows
            | Control::Ticket
            | Control::MaskColumns
            | Control::MaskDetect
            | Control::Databases
            | Control::PasswordCredential,
        ) => Support::Enforced,
        (Protocol::Postgres, Control::Via) => Support::NotYet,
        (
            Protocol::Postgres,
            Control::Scope(Verb::Connect)
            | Control::Commands
            | Control::NamedResources
            | Control::BearerCredential,
        ) => Support::None,
    }
}

/// The statement kinds operations of a protocol can have: what a guardrail's `statements` may name.
pub const fn statement_kinds(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Postgres => POSTGRES_STATEMENTS,
    }
}

/// Statements whose changed rows the server counts (its CommandComplete says `UPDATE 7`): what `at: commit` may name. Others
/// that change something are uncounted and ask whatever `rows_over` says: see [`is_counted`].
pub const COUNTED: &[&str] = &["copy", "delete", "insert", "merge", "update"];

/// Whether the server's count (the number in its CommandComplete) is that of everything the operation changed. Where it may
/// not be, the answer is no: `WITH d AS (DELETE …) DELETE …` is told as `DELETE 0` whatever the inner one deleted, `EXPLAIN
/// ANALYZE UPDATE` not at all, a function's changes never, and what `EXECUTE` runs is not in the text. Kinds are told once each,
/// so that one DELETE inside another is seen by its `WITH` only; a `WITH` that means something else asks for nothing.
pub fn is_counted(operation: &Operation) -> bool {
    let mut kinds = operation.kinds.iter().map(StatementKind::as_str);
    let Some(own) = kinds.next().filter(|own| COUNTED.contains(own)) else { return false };
    let inner = kinds.any(|inner| COUNTED.contains(&inner) || matches!(inner, "execute" | "call" | "do"));
    let unseen = operation.resources.iter().any(|pair| matches!(pair.verb, Verb::Execute | Verb::Admin));
    // COPY has WITH for its options, and what it copies from is told as a kind
    !(inner || unseen || own != "copy" && has_word(&operation.text, "with"))
}

/// Whether the text has the word, in any capitals; in a string or a comment as well.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found.eq_ignore_ascii_case(word))
}

/// Statements that are run and rolled back for their count: what `preview: rows` may name. Not `insert`: it takes numbers from
/// sequences, which a rollback does not give back.
pub const PREVIEWED: &[&str] = &["delete", "merge", "update"];

/// The words `portcullis-sql` gives statements: mostly their first word; `transaction` is every statement that controls one,
/// `function_call` the protocol's own message. A guardrail naming anything else would match nothing.
const POSTGRES_STATEMENTS: &[&str] = &[
    "alter",
    "analyze",
    "begin",
    "call",
    "checkpoint",
    "close",
    "cluster",
    "comment",
    "commit",
    "copy",
    "create",
    "deallocate",
    "declare",
    "delete",
    "discard",
    "do",
    "drop",
    "execute",
    "explain",
    "fetch",
    "function_call",
    "grant",
    "import",
    "insert",
    "label",
    "listen",
    "load",
    "lock",
    "merge",
    "move",
    "notify",
    "prepare",
    "reassign",
    "refresh",
    "reindex",
    "release",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "select",
    "set",
    "show",
    "transaction",
    "truncate",
    "unlisten",
    "update",
    "vacuum",
    "values",
];

/// The matrix as a Markdown table, protocols across; protocols the gateway does not speak yet are a column of their own.
pub fn capability_table_markdown() -> String {
    let mut out = String::from("| control |");
    for word in ProtocolWord::ALL {
        let _ = write!(out, " {} |", word.as_str());
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(ProtocolWord::ALL.len()));
    out.push('\n');
    for control in Control::ALL {
        let _ = write!(out, "| {} |", control.label());
        for word in ProtocolWord::ALL {
            let cell = match word.spoken().map(|protocol| support(protocol, control)) {
                Some(Support::Enforced) => "enforced",
                Some(Support::NotYet) => "refused: not yet",
                Some(Support::None) => "refused: no such thing",
                None => "protocol not yet spoken",
            };
            let _ = write!(out, " {cell} |");
        }
        out.push('\n');
    }
    out
}
