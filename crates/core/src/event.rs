//! Audit events: append-only facts about access. What the journal holds, the store indexes and search answers from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ConnectionName, EndReason, GrantId, PrincipalKey, SessionFacts, SessionId, Timestamp, WindowId,
    decision::DecisionEvent,
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
    /// A policy became the one in force.
    PolicyLoaded {
        /// When.
        at: Timestamp,
        /// Its version.
        policy: Arc<str>,
        /// Warnings `check` shows.
        warnings: u64,
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
            Self::SessionEnded { at, .. }
            | Self::PolicyLoaded { at, .. }
            | Self::PolicyRejected { at, .. }
            | Self::Kill { at, .. }
            | Self::GatewayStarted { at, .. }
            | Self::GatewayStopped { at } => *at,
        }
    }

    /// The session it belongs to, if any.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(facts) => Some(facts.session),
            Self::Decision(event) => Some(event.session),
            Self::SessionEnded { session, .. } => Some(*session),
            _ => None,
        }
    }
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
