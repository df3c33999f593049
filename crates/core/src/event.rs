//! Audit events: append-only facts about access. What the journal holds, the store indexes and search answers from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ConnectionName, EndReason, GrantId, PrincipalKey, RequestId, RuleRef, SessionFacts, SessionId, Timestamp,
    WindowId, decision::DecisionEvent,
};

/// One audit event. Serialised as JSON with the tag `event`; fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AuditEvent {
    /// The facts decisions of a session refer to; written before the session's first event in each journal segment.
    Session(Arc<SessionFacts>),
    /// A decision.
    Decision(DecisionEvent),
    /// A session ended.
    SessionEnded {
        /// When.
        at: Timestamp,
        /// Which.
        session: SessionId,
        /// Why.
        reason: EndReason,
        /// Decisions made in it.
        decisions: u64,
        /// Bytes from the client.
        bytes_in: u64,
        /// Bytes to the client.
        bytes_out: u64,
    },
    /// A just-in-time window was opened, or the request for one refused.
    WindowRequest(WindowRequestEvent),
    /// One step of an access request that people answer.
    Request(Box<RequestEvent>),
    /// Somebody signed in to the console or to the API's people's part, or out of it, or failed to.
    SignIn(SignInEvent),
    /// A policy became the one in force.
    PolicyLoaded {
        /// When.
        at: Timestamp,
        /// Its version.
        policy: Arc<str>,
        /// Warnings `check` shows.
        warnings: u64,
        /// Who put it there, where it came by the API.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A changed document was refused; the old policy stays.
    PolicyRejected {
        /// When.
        at: Timestamp,
        /// The version that stays in force.
        policy: Arc<str>,
        /// The errors, as `check` prints them.
        errors: String,
    },
    /// An administrator ended sessions.
    Kill {
        /// When.
        at: Timestamp,
        /// Who.
        by: String,
        /// What was asked: a session id or a principal key.
        target: String,
        /// Why, as told.
        reason: String,
        /// How many sessions it ended.
        sessions: u64,
    },
    /// The gateway started.
    GatewayStarted {
        /// When.
        at: Timestamp,
        /// The gateway's version.
        version: String,
        /// Bytes of a torn event cut off the journal's end by recovery.
        recovered_bytes: u64,
    },
    /// A segment of a session's recording was sealed. Said again for the same segment after a crash.
    RecordingSealed(RecordingSealedEvent),
    /// What was past its retention was deleted; written, and covered by a checkpoint, before that is done.
    Retention {
        /// When.
        at: Timestamp,
        /// What is older than this was past it.
        before: Timestamp,
        /// Segments of the journal that were deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        journal: Option<DeletedSegments>,
        /// Sessions whose recordings were deleted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        recordings: Vec<SessionId>,
    },
    /// The gateway stopped in order.
    GatewayStopped {
        /// When.
        at: Timestamp,
    },
}

impl AuditEvent {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Session(facts) => facts.started_at,
            Self::Decision(event) => event.at,
            Self::WindowRequest(event) => event.at,
            Self::Request(event) => event.at,
            Self::SignIn(event) => event.at,
            Self::RecordingSealed(event) => event.at,
            Self::SessionEnded { at, .. }
            | Self::PolicyLoaded { at, .. }
            | Self::PolicyRejected { at, .. }
            | Self::Kill { at, .. }
            | Self::GatewayStarted { at, .. }
            | Self::Retention { at, .. }
            | Self::GatewayStopped { at } => *at,
        }
    }

    /// The session it belongs to, if any.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(facts) => Some(facts.session),
            Self::Decision(event) => Some(event.session),
            Self::SessionEnded { session, .. } => Some(*session),
            Self::RecordingSealed(event) => Some(event.session),
            Self::Request(event) => event.session,
            _ => None,
        }
    }
}

/// A sealed segment of a recording: what proves, long after the segment itself was deleted, what it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingSealedEvent {
    /// When it was sealed.
    pub at: Timestamp,
    /// The session.
    pub session: SessionId,
    /// Counts the session's segments from 1.
    pub segment: u32,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// SHA-256 of the segment before, hex; empty for the first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub previous: String,
    /// Length of the file.
    pub bytes: u64,
    /// How many events it holds.
    pub events: u64,
    /// When the first of them happened.
    pub first_at: Timestamp,
    /// When the last of them happened.
    pub last_at: Timestamp,
    /// Whether the session ended in it.
    #[serde(default)]
    pub last: bool,
    /// Whether the gateway died while it was open, so that the end may be missing.
    #[serde(default)]
    pub torn: bool,
}

/// Segments at the front of the journal that are no longer there. Their leaf hashes and checkpoints are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedSegments {
    /// The number of the first.
    pub first_segment: u64,
    /// The number of the last.
    pub last_segment: u64,
    /// The sequence of their first event.
    pub first_sequence: u64,
    /// The sequence of their last event.
    pub last_sequence: u64,
}

/// A request for a window and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRequestEvent {
    /// When.
    pub at: Timestamp,
    /// Who asked.
    pub principal: PrincipalKey,
    /// The asker's readable name.
    pub name: String,
    /// For which connection.
    pub connection: ConnectionName,
    /// Under which grant, where one matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The window opened; absent where refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowId>,
    /// The window's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Why, as the asker put it.
    pub reason: String,
    /// Why it was refused; empty where it was not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refused: String,
}

/// What happened to an access request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStep {
    /// It was filed.
    Filed,
    /// A window was opened at once by somebody whom the grant names for that; it waits for a review.
    BreakGlass,
    /// One person said yes; more are needed.
    Vote,
    /// A yes given earlier does not count any more: its giver may not answer now.
    VoteDropped,
    /// Enough people said yes.
    Approved,
    /// A person said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The requester, or what it was for, is gone.
    Withdrawn,
    /// Somebody tried to answer who may not, or too late.
    AnswerRefused,
    /// The approved operation was let through: once.
    Used,
    /// Something else was held against the approval, or it was used before.
    UseRefused,
    /// A person looked at a window that was opened at once.
    Reviewed,
}

impl RequestStep {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filed => "filed",
            Self::BreakGlass => "break_glass",
            Self::Vote => "vote",
            Self::VoteDropped => "vote_dropped",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::AnswerRefused => "answer_refused",
            Self::Used => "used",
            Self::UseRefused => "use_refused",
            Self::Reviewed => "reviewed",
        }
    }
}

/// One step of an access request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestEvent {
    /// When.
    pub at: Timestamp,
    /// Which request.
    pub request: RequestId,
    /// What happened.
    pub step: RequestStep,
    /// `window`, `operation` or `commit`.
    pub kind: String,
    /// Who asks.
    pub principal: PrincipalKey,
    /// The asker's readable name.
    pub name: String,
    /// For which connection.
    pub connection: ConnectionName,
    /// The grant or guardrail that wants a person's yes.
    pub rule: RuleRef,
    /// The session of a held operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The hash that an approval of the operation binds to, hex.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// Why, as the asker put it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who did this step, where a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalKey>,
    /// That person's readable name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by_name: String,
    /// By which way: `console`, `cli`, `api`, `slack`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub through: String,
    /// What that person said, or why this happened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// A lifetime given, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
    /// The window that opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowId>,
    /// The version of the policy in force.
    pub policy: Arc<str>,
}

/// Somebody signed in, or out, or failed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInEvent {
    /// When.
    pub at: Timestamp,
    /// `signed_in`, `signed_out`, `refused` or `ended`.
    pub step: String,
    /// Through which provider.
    pub provider: String,
    /// Who, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalKey>,
    /// The readable name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// From where.
    pub source: String,
    /// Why it failed or ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}
