//! What is fixed for one session (or one attempt at one): the part of every decision record that does not change.

use std::{fmt, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{ConnectionName, GrantId, Principal, SessionId, Timestamp, WindowId};

/// Where a transport came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The client's address: the socket's peer, or what a trusted PROXY header says.
    pub address: SocketAddr,
    /// The load balancer's address, where a PROXY header was believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<SocketAddr>,
}

/// What the client calls itself: `application_name`, `User-Agent`, SSH version. A claim, not a fact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientSoftware(pub String);

/// Facts of one session or of one refused attempt. Every decision of the session refers to them by `session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// The session's id; refused attempts have one too.
    pub session: SessionId,
    /// When the transport was accepted.
    pub started_at: Timestamp,
    /// The listener's protocol: `postgres`, `http`, ….
    pub protocol: String,
    /// Where the transport came from.
    pub source: Source,
    /// What the client calls itself.
    pub client: ClientSoftware,
    /// Who; absent where authentication failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arc<Principal>>,
    /// The connection asked for, once that is a well-formed name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionName>,
    /// The database or other inner target, where the protocol has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The grants the permit rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantId>,
    /// The just-in-time window the session lives in, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowId>,
    /// When the session ends at the latest, if anything bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum EndReason {
    /// The client said goodbye or closed.
    ClientQuit,
    /// The upstream closed or failed.
    UpstreamQuit {
        /// For operators.
        detail: String,
    },
    /// The window, or the token where the grant says so, is over.
    WindowOver,
    /// The identity was disabled, deleted or could not be confirmed in time.
    IdentityRevoked {
        /// What was found.
        detail: String,
    },
    /// No grant covers the session any more: group removed, grant deleted, condition no longer true.
    GrantRemoved {
        /// What changed.
        detail: String,
    },
    /// A person ended it.
    Killed {
        /// Who.
        by: String,
        /// Why, as told.
        reason: String,
    },
    /// The gateway is stopping.
    Drained,
    /// The peer broke the protocol or a limit.
    ProtocolViolation {
        /// What.
        detail: String,
    },
    /// The journal could not take an event: nothing goes unrecorded.
    NotRecorded {
        /// What failed.
        detail: String,
    },
    /// A result could not be masked: nothing of it passes.
    NotMasked {
        /// Why.
        detail: String,
    },
    /// A defect.
    Internal {
        /// What.
        detail: String,
    },
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientQuit => f.write_str("the client disconnected"),
            Self::UpstreamQuit { .. } => f.write_str("the upstream closed the connection"),
            Self::WindowOver => f.write_str("the access window is over"),
            Self::IdentityRevoked { detail } => write!(f, "the identity was revoked: {detail}"),
            Self::GrantRemoved { detail } => write!(f, "access was removed: {detail}"),
            Self::Killed { reason, .. } if reason.is_empty() => {
                f.write_str("the session was ended by an administrator")
            }
            Self::Killed { reason, .. } => write!(f, "the session was ended by an administrator: {reason}"),
            Self::Drained => f.write_str("the gateway is shutting down"),
            Self::ProtocolViolation { detail } => write!(f, "protocol violation: {detail}"),
            Self::NotRecorded { .. } => f.write_str("the gateway cannot record this session"),
            Self::NotMasked { detail } => {
                write!(f, "a result could not be masked and was not passed on: {detail}")
            }
            Self::Internal { .. } => f.write_str("internal error"),
        }
    }
}
