//! Access requests on the wire, and what is said about them.

use portcullis_core::{GroupRef, RuleRef, Source, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What asking for access came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Requested {
    /// People have to answer first.
    Waits(Box<RequestView>),
    /// It is open.
    Window(portcullis_access::Window),
}

/// An access request. What the asker may not see is absent or empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestView {
    /// Its id.
    pub id: String,
    /// `window`, `operation` or `commit`.
    pub kind: String,
    /// `pending`, `approved`, `denied`, `expired` or `withdrawn`.
    pub state: String,
    /// Who asks, as they were then.
    pub requester: RequesterView,
    /// For which connection.
    pub connection: String,
    /// For which database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The first of the rules that ask for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::RuleRef>")]
    pub rule: Option<RuleRef>,
    /// Whose yes it takes: every one of these.
    pub needs: Vec<NeedView>,
    /// Why, as the asker put it.
    #[serde(default)]
    pub reason: String,
    /// From where: address and port.
    pub source: String,
    /// With what, as it calls itself.
    #[serde(default)]
    pub client: String,
    /// When.
    #[schemars(with = "schema::Time")]
    pub filed_at: Timestamp,
    /// Until when an answer counts.
    #[schemars(with = "schema::Time")]
    pub answer_by: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub answered_at: Option<Timestamp>,
    /// The answers so far.
    #[serde(default)]
    pub votes: Vec<VoteView>,
    /// Why it ended as it did.
    #[serde(default)]
    pub note: String,
    /// Whether it was opened at once.
    #[serde(default)]
    pub break_glass: bool,
    /// Who looked at it afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewView>,
    /// Whether it was opened at once and nobody looked at it yet.
    #[serde(default)]
    pub needs_review: bool,
    /// The policy's version when it was filed.
    pub policy: String,
    /// How long the window is to last: what was asked for, or what was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
    /// What may be done in the window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// The window that was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowPart>,
    /// The held operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationView>,
    /// How far the operation reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blast_radius: Option<BlastView>,
    /// Whether you may answer it now.
    pub can_answer: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Where people find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequesterView {
    /// What identifies them.
    pub key: String,
    /// Their readable name.
    pub name: String,
    /// `application`, `agent` or `user`.
    pub kind: String,
    /// The application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    /// Their groups.
    #[serde(default)]
    #[schemars(with = "Vec<schema::GroupRef>")]
    pub groups: Vec<GroupRef>,
    /// Their roles at the provider.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// One rule's demand, and how far it is met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NeedView {
    /// The grant or guardrail.
    #[schemars(with = "schema::RuleRef")]
    pub rule: RuleRef,
    /// Who may answer: `group:oncall`.
    pub approvers: Vec<String>,
    /// How many distinct people.
    pub approvals: u32,
    /// How many said yes.
    pub given: u32,
}

/// One person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VoteView {
    /// Who.
    pub by: String,
    /// Their readable name.
    pub name: String,
    /// When.
    #[schemars(with = "schema::Time")]
    pub at: Timestamp,
    /// `approve` or `deny`.
    pub answer: String,
    /// What they said.
    #[serde(default)]
    pub note: String,
    /// A shorter lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
    /// By which way: `console`, `cli`, `api`, `slack`.
    #[serde(default)]
    pub through: String,
}

/// A person looked at a window that was opened at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewView {
    /// Who.
    pub by: String,
    /// Their readable name.
    pub name: String,
    /// When.
    #[schemars(with = "schema::Time")]
    pub at: Timestamp,
    /// What they found.
    pub note: String,
}

/// A window that an approval opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowPart {
    /// Its id.
    pub id: String,
    /// When it opened.
    #[schemars(with = "schema::Time")]
    pub opened_at: Timestamp,
    /// When it ends, unless a kill ends it.
    #[schemars(with = "schema::Time")]
    pub ends_at: Timestamp,
}

/// One operation. Who may not see operations gets neither texts nor values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationView {
    /// In which session.
    pub session: String,
    /// `live`, `ticket` or `commit`.
    pub mode: String,
    /// The exact text; absent for who may not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How long the text is, in bytes, where it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_cut_from: Option<u64>,
    /// The statement's kind.
    pub statement: String,
    /// Every (verb, resource) pair.
    pub resources: Vec<ResourceView>,
    /// Whether it says which rows it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualified: Option<bool>,
    /// The parts of the text that a rule matched, by byte.
    #[serde(default)]
    pub highlights: Vec<HighlightView>,
    /// The values it is bound with.
    #[serde(default)]
    pub binds: Vec<BindView>,
    /// Whether a transaction is open: then locks are held while it waits.
    #[serde(default)]
    pub in_transaction: bool,
    /// What the approval binds to, SHA-256, hex.
    pub hash: String,
    /// Rows that what ran has changed, where a commit waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// What ran in the transaction, where a commit waits.
    #[serde(default)]
    pub statements: Vec<RanView>,
    /// When the approved operation ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub used_at: Option<Timestamp>,
    /// Until when the approved operation may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub good_until: Option<Timestamp>,
}

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceView {
    /// `read`, `write`, `admin`, `execute`, `connect`.
    pub verb: String,
    /// The resource.
    pub resource: String,
    /// Columns, where they are known.
    #[serde(default)]
    pub columns: Vec<String>,
}

/// A part of the text that a rule matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HighlightView {
    /// The first byte.
    pub from: u64,
    /// The byte after the last.
    pub to: u64,
    /// The rule's name.
    pub rule: String,
}

/// One bound value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BindView {
    /// Counts from 1.
    pub position: u32,
    /// The type's name.
    #[serde(default, rename = "type")]
    pub type_name: String,
    /// The value.
    #[serde(default)]
    pub value: String,
    /// Whether `value` was cut.
    #[serde(default)]
    pub cut: bool,
    /// Whether it is null.
    #[serde(default)]
    pub null: bool,
}

/// One statement that ran in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RanView {
    /// Its number in the session.
    pub number: u64,
    /// Its text.
    pub text: String,
    /// How many rows it affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// How far an operation reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlastView {
    /// `working`, `ready` or `unavailable`.
    pub state: String,
    /// Why it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Rows, as the planner estimates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// The plan, as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plan: String,
    /// Tables and columns.
    #[serde(default)]
    pub tables: Vec<TableView>,
    /// Whether the operation says which rows it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualified: Option<bool>,
    /// Rows, counted by running it in a transaction that was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact_rows: Option<u64>,
    /// Why they were not counted, where the guardrail asks for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub not_counted: String,
    /// Some rows as they are, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<SampleView>,
    /// Some rows as they would be, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<SampleView>,
}

/// A table an operation touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableView {
    /// Its full name.
    pub table: String,
    /// The columns named.
    #[serde(default)]
    pub columns: Vec<String>,
    /// What is done to it.
    pub verb: String,
}

/// A few rows, as text; null is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SampleView {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Option<String>>>,
}

/// A yes or a no to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideBody {
    /// What you say; a no wants one.
    #[serde(default)]
    pub note: String,
    /// A shorter lifetime, with a yes to a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
}

/// A no, a withdrawal or a review.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerBody {
    /// What you say.
    #[serde(default)]
    pub note: String,
}

impl RequestView {
    /// From where, as one text.
    pub fn source_of(source: &Source) -> String {
        source.address.to_string()
    }
}
