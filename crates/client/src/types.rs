//! What goes over the wire, the same for server and client. Fields are added, never renamed.

use std::sync::Arc;

use portcullis_access::Window;
use portcullis_core::{
    ConnectionName, EndReason, GrantId, Principal, SessionFacts, SessionId, Timestamp, WindowId,
};
use portcullis_record::Recording;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

mod policy;
mod request;
mod service;

pub use policy::{
    CheckBody, DiagnosticView, DocumentFile, DocumentsView, ExplainBody, PolicyChecked, PolicyView, Rejected,
    ReplaceBody,
};
pub use request::{
    AnswerBody, BindView, BlastView, DecideBody, HighlightView, NeedView, OperationView, RanView,
    RequestView, Requested, RequesterView, ResourceView, ReviewView, SampleView, TableView, VoteView,
    WindowPart,
};
pub use service::{
    CheckpointView, DeliveryView, EventId, IdentityView, MeView, ProblemBody, ProofView, ProviderView,
    ReachRow, ReachView, RecordingPage, Rows,
};

/// The most rows one answer holds.
pub const MAX_ROWS: u32 = 1_000;

/// Who the token says you are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhoamiView {
    /// What identifies you in windows, blocks and the audit log: `provider/tenant/object`.
    pub key: String,
    /// What your provider says of you.
    #[serde(flatten)]
    #[schemars(with = "schema::Principal")]
    pub principal: Principal,
}

/// One connection you can open, or could by asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionView {
    /// Its name: what a client gives as user name.
    #[schemars(with = "String")]
    pub connection: ConnectionName,
    /// What it speaks.
    pub protocol: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The database opened when the client names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Whether connecting works now, as far as grants and windows go.
    pub open: bool,
    /// The grants that name you.
    pub grants: Vec<GrantView>,
    /// Where it leads; for who has a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Through which network agent; absent: straight from the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Whether it answers, as far as sessions told; for who has a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthView>,
    /// Who can reach it: the subjects of its grants; for who has a role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Sessions open to it; for who has a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_sessions: Option<u64>,
    /// Your open windows.
    #[serde(default)]
    #[schemars(with = "Vec<schema::Window>")]
    pub windows: Vec<Window>,
}

/// How a connection's upstream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// `up`, `down` or `unknown`: as the last session that was opened to it found it. The gateway asks no upstream by itself.
    pub state: String,
    /// Since when it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub since: Option<Timestamp>,
    /// When that was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub checked_at: Option<Timestamp>,
    /// What kind of failure was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// One grant, as its subject sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantView {
    /// Its id.
    #[schemars(with = "String")]
    pub grant: GrantId,
    /// `always`, `requested` or `approved`.
    pub when: String,
    /// How long a window lasts, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
    /// What may be done: `read:*`.
    pub scope: Vec<String>,
    /// Whether sessions are recorded.
    pub recorded: bool,
    /// Whether a condition must hold besides.
    pub conditional: bool,
    /// Whose yes opens it, any of these; empty where nobody is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// How many distinct people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<u32>,
    /// Whether asking wants a reason.
    #[serde(default)]
    pub reason_required: bool,
    /// Whether you may open it at once, to be reviewed afterwards.
    #[serde(default)]
    pub break_glass: bool,
    /// Whether connecting asks for it.
    #[serde(default)]
    pub on_connect: bool,
}

/// One session, live or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Its id.
    #[schemars(with = "String")]
    pub session: SessionId,
    /// When it started.
    #[schemars(with = "schema::Time")]
    pub started_at: Timestamp,
    /// How it stands.
    pub state: SessionState,
    /// Why it is ending or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::EndReason>")]
    pub reason: Option<EndReason>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub ended_at: Option<Timestamp>,
    /// What identifies its principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Who, from where, to what; absent where the index no longer has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::SessionFacts>")]
    pub facts: Option<Arc<SessionFacts>>,
    /// Decisions made in it.
    pub statements: u64,
    /// Those that refused something; of live sessions not known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<u64>,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
}

/// One session and its recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionDetail {
    /// The session.
    #[serde(flatten)]
    pub session: SessionView,
    /// Its recording; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingView>,
}

/// A recording, as its files tell without being unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingView {
    /// `open`, `whole`, `torn` (the gateway died under it) or `unfinished` (its end is missing).
    pub state: String,
    /// Sealed segments.
    pub segments: u64,
    /// Events in them.
    pub events: u64,
    /// Their length on the disk.
    pub bytes: u64,
    /// When the first event in them happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub first_at: Option<Timestamp>,
    /// When the last event in them happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub last_at: Option<Timestamp>,
    /// What is wrong with it, if it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl From<&Recording> for RecordingView {
    fn from(recording: &Recording) -> Self {
        let segments = recording.segments();
        Self {
            state: recording.state().as_str().to_owned(),
            segments: segments.len() as u64,
            events: segments.iter().map(|segment| segment.header.index.events).sum(),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            first_at: segments.first().map(|segment| segment.header.index.first_at),
            last_at: segments.last().map(|segment| segment.header.index.last_at),
            problem: None,
        }
    }
}

impl RecordingView {
    /// A recording that cannot be read.
    pub fn broken(problem: String) -> Self {
        Self {
            state: "broken".to_owned(),
            segments: 0,
            events: 0,
            bytes: 0,
            first_at: None,
            last_at: None,
            problem: Some(problem),
        }
    }
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It goes on.
    Live,
    /// It was told to end.
    Ending,
    /// It ended in order.
    Ended,
    /// It never opened.
    Refused,
    /// The gateway died under it.
    Lost,
}

impl SessionState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ending => "ending",
            Self::Ended => "ended",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

/// Ends one session and keeps its principal out of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillSession {
    /// Why; the client is told.
    #[serde(default)]
    pub reason: String,
    /// How long the principal stays out; an hour unless said, 0: it may come back at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

/// Ends every session of a principal and keeps it out of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillIdentity {
    /// The principal's key, as sessions and the audit log show it.
    pub identity: String,
    /// Why; the clients are told.
    #[serde(default)]
    pub reason: String,
    /// How long the principal stays out, as in [`KillSession`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

/// Lets a principal back in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftIdentity {
    /// The principal's key.
    pub identity: String,
}

/// What a kill did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KillAnswer {
    /// Whom.
    pub identity: String,
    /// Sessions told to end.
    pub sessions: u64,
    /// Windows ended.
    #[schemars(with = "Vec<String>")]
    pub windows: Vec<WindowId>,
    /// Until when the principal stays out; absent where it may come back at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub blocked_until: Option<Timestamp>,
    /// What did not work, though the rest did: the block will not survive a restart, the event was not journalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What a lift did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiftAnswer {
    /// How many blocks were lifted.
    pub lifted: u64,
}
