//! What goes over the wire, the same for server and client. Fields are added, never renamed.

use std::sync::Arc;

use portcullis_access::Window;
use portcullis_core::{
    ConnectionName, EndReason, GrantId, Principal, SessionFacts, SessionId, Timestamp, WindowId,
};
use portcullis_policy::{Connection, Grant};
use portcullis_proxy::LiveSession;
use portcullis_record::Recording;
use portcullis_store::{Ending, SessionRow};
use serde::{Deserialize, Serialize};

/// The most rows one answer holds.
pub const MAX_ROWS: u32 = 1_000;

/// Who the token says you are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoamiView {
    /// What identifies you in windows, blocks and the audit log: `provider/tenant/object`.
    pub key: String,
    /// What your provider says of you.
    #[serde(flatten)]
    pub principal: Principal,
}

/// One connection you can open, or could by asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionView {
    /// Its name: what a client gives as user name.
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
    /// Your open windows.
    #[serde(default)]
    pub windows: Vec<Window>,
}

/// One grant, as its subject sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its id.
    pub grant: GrantId,
    /// `always` or `requested`.
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
}

impl ConnectionView {
    /// A connection as the subject of `grants` with `windows` sees it.
    pub fn new(connection: &Connection, grants: &[Arc<Grant>], windows: &[Window]) -> Self {
        let windows: Vec<Window> =
            windows.iter().filter(|w| w.connection == connection.name).cloned().collect();
        let opens = |grant: &Arc<Grant>| {
            grant.when == portcullis_policy::When::Always
                || windows.iter().any(|window| window.grant == grant.id)
        };
        Self {
            connection: connection.name.clone(),
            protocol: connection.protocol.as_str().to_owned(),
            description: connection.description.clone(),
            database: connection.default_database().map(str::to_owned),
            open: grants.iter().any(opens),
            grants: grants.iter().map(|grant| GrantView::new(grant)).collect(),
            windows,
        }
    }
}

impl GrantView {
    fn new(grant: &Grant) -> Self {
        Self {
            grant: grant.id.clone(),
            when: grant.when.as_str().to_owned(),
            lifetime_seconds: grant.lifetime.map(|lifetime| lifetime.as_secs()),
            scope: grant.scope.iter().map(ToString::to_string).collect(),
            recorded: grant.recorded,
            conditional: grant.condition.is_some(),
        }
    }
}

/// One session, live or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub session: SessionId,
    /// When it started.
    pub started_at: Timestamp,
    /// How it stands.
    pub state: SessionState,
    /// Why it is ending or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What identifies its principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Who, from where, to what; absent where the index no longer has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDetail {
    /// The session.
    #[serde(flatten)]
    pub session: SessionView,
    /// Its recording; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingView>,
}

/// A recording, as its files tell without being unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub first_at: Option<Timestamp>,
    /// When the last event in them happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

fn identity(facts: &SessionFacts) -> Option<String> {
    facts.principal.as_ref().map(|principal| principal.key().to_string())
}

impl From<LiveSession> for SessionView {
    fn from(live: LiveSession) -> Self {
        Self {
            session: live.facts.session,
            started_at: live.facts.started_at,
            state: if live.ending.is_some() { SessionState::Ending } else { SessionState::Live },
            reason: live.ending,
            ended_at: None,
            identity: identity(&live.facts),
            statements: live.traffic.statements,
            denied: None,
            bytes_in: live.traffic.bytes_in,
            bytes_out: live.traffic.bytes_out,
            facts: Some(live.facts),
        }
    }
}

impl From<SessionRow> for SessionView {
    fn from(row: SessionRow) -> Self {
        let (state, reason, ended_at) = match row.ending {
            Ending::Open => (SessionState::Live, None, None),
            Ending::Ended { at, reason } => (SessionState::Ended, Some(reason), Some(at)),
            Ending::Refused { at } => (SessionState::Refused, None, Some(at)),
            Ending::Lost { at } => (SessionState::Lost, None, Some(at)),
        };
        Self {
            session: row.session,
            started_at: row.started_at,
            state,
            reason,
            ended_at,
            identity: row.facts.as_deref().and_then(identity),
            facts: row.facts,
            statements: row.allowed.saturating_add(row.held).saturating_add(row.denied),
            denied: Some(row.denied),
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
        }
    }
}

/// Ends one session and keeps its principal out of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillSession {
    /// Why; the client is told.
    #[serde(default)]
    pub reason: String,
    /// How long the principal stays out; [`crate::kill::DEFAULT_BLOCK`] unless said, 0: it may come back at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

/// Ends every session of a principal and keeps it out of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftIdentity {
    /// The principal's key.
    pub identity: String,
}

/// What a kill did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillAnswer {
    /// Whom.
    pub identity: String,
    /// Sessions told to end.
    pub sessions: u64,
    /// Windows ended.
    pub windows: Vec<WindowId>,
    /// Until when the principal stays out; absent where it may come back at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_until: Option<Timestamp>,
    /// What did not work, though the rest did: the block will not survive a restart, the event was not journalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What a lift did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiftAnswer {
    /// How many blocks were lifted.
    pub lifted: u64,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its version.
    pub version: String,
    /// When it came into force.
    pub loaded_at: Timestamp,
    /// How many connections it has.
    pub connections: u64,
    /// How many grants it has.
    pub grants: u64,
    /// Its warnings, as `portcullis check` prints them; empty where there are none.
    pub warnings: String,
    /// The last change that was refused, if it is still what the documents say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<crate::Rejected>,
}
