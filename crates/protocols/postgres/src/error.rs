//! [`Error`]: everything that can go wrong for one client, and [`Error::to_wire`], the only place with SQLSTATEs.
//!
//! Two texts: `Display` is for the log and may name inner addresses; [`Error::to_wire`] is for the client and never does.

use std::io;

use portcullis_access::Answer;
use portcullis_core::{EndReason, ErrorKind};

use crate::{
    codec::{self, Report, Severity},
    upstream,
};

/// SQLSTATEs that are ours to say. PostgreSQL documentation, appendix A.
pub mod sqlstate {
    /// `sqlclient_unable_to_establish_sqlconnection`
    pub const UPSTREAM_UNREACHABLE: &str = "08001";
    /// `sqlserver_rejected_establishment_of_sqlconnection`
    pub const UPSTREAM_REFUSED: &str = "08004";
    /// `connection_failure`
    pub const CONNECTION_FAILURE: &str = "08006";
    /// `protocol_violation`
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    /// `feature_not_supported`
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// `successful_completion`: what a NOTICE of the gateway has, as those of the server
    pub const SUCCESSFUL_COMPLETION: &str = "00000";
    /// `no_active_sql_transaction`: what may run inside a transaction block only
    pub const NO_ACTIVE_TRANSACTION: &str = "25P01";
    /// `in_failed_sql_transaction`
    pub const IN_FAILED_TRANSACTION: &str = "25P02";
    /// `configuration_limit_exceeded`: too many requests wait
    pub const CONFIGURATION_LIMIT: &str = "53400";
    /// `lock_not_available`: approved by a person first, then run again
    pub const LOCK_NOT_AVAILABLE: &str = "55P03";
    /// `query_canceled`: nobody answered in time, or what waited was taken back
    pub const QUERY_CANCELED: &str = "57014";
    /// `system_error`: the gateway cannot file or use a request now
    pub const SYSTEM_ERROR: &str = "58000";
    /// `invalid_authorization_specification`
    pub const INVALID_AUTHORIZATION: &str = "28000";
    /// `invalid_password`
    pub const INVALID_PASSWORD: &str = "28P01";
    /// `invalid_catalog_name`
    pub const INVALID_CATALOG_NAME: &str = "3D000";
    /// `insufficient_privilege`
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    /// `too_many_connections`
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    /// `program_limit_exceeded`
    pub const LIMIT_EXCEEDED: &str = "54000";
    /// `admin_shutdown`
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    /// `cannot_connect_now`
    pub const CANNOT_CONNECT_NOW: &str = "57P03";
    /// `internal_error`
    pub const INTERNAL_ERROR: &str = "XX000";
}

/// What went wrong for one client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client's bytes are not the protocol.
    #[error("the client broke the protocol: {0}")]
    Malformed(#[from] codec::Error),
    /// A message that is not due now.
    #[error("the client sent message type `{}` when {expected} was due", tag.escape_ascii())]
    Unexpected {
        /// The message.
        tag: u8,
        /// What was due.
        expected: &'static str,
    },
    /// A negotiation packet that was answered before, or that is out of place.
    #[error("the client sent {packet} when a startup packet was due")]
    Repeated {
        /// Which.
        packet: &'static str,
    },
    /// Bytes sent ahead of the answer to SSLRequest: a man in the middle may have put them there (CVE-2021-23214).
    #[error("the client sent unencrypted data after its SSL request")]
    Stuffed,
    /// TLS that is not for this protocol: direct TLS must say so (ALPN).
    #[error("the client began TLS without the `postgresql` application protocol")]
    NoAlpn,
    /// The TLS handshake with the client failed.
    #[error("the TLS handshake with the client failed: {0}")]
    DownstreamTls(#[source] io::Error),
    /// No TLS, where it is required.
    #[error("the client did not ask for TLS")]
    PlaintextRefused,
    /// The transport to the client failed or ended within a message.
    #[error("the client went away: {0}")]
    Downstream(#[source] io::Error),
    /// An empty password.
    #[error("the client sent no token")]
    NoToken,
    /// A token that cannot be one.
    #[error("the client's token is not well-formed")]
    MalformedToken,
    /// A token over the limit.
    #[error("the client's token of {length} bytes is over the limit of {limit}")]
    TokenTooLong {
        /// What the client announced.
        length: usize,
        /// The configured limit.
        limit: usize,
    },
    /// A SASL exchange that RFC 7628 does not know.
    #[error("the client broke OAUTHBEARER: {0}")]
    Sasl(&'static str),
    /// Identity or policy said no.
    #[error("refused: {}", .0.message())]
    Refused(Answer),
    /// A startup parameter that policy does not allow.
    #[error("denied: {reason}")]
    Denied {
        /// Why, safe for the principal.
        reason: String,
        /// The rule, when one is to be named.
        rule: Option<String>,
        /// What to do instead, when the rule says.
        hint: Option<String>,
    },
    /// The session is over.
    #[error("the session ended: {0}")]
    Ended(EndReason),
    /// The upstream could not be reached or would not have us.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// More sessions than the gateway takes.
    #[error("too many sessions")]
    TooManySessions,
}

impl Error {
    /// Whose doing it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed(codec::Error::TooLong { .. })
            | Self::TokenTooLong { .. }
            | Self::TooManySessions => ErrorKind::Limit,
            Self::Malformed(_)
            | Self::Unexpected { .. }
            | Self::Repeated { .. }
            | Self::Stuffed
            | Self::NoAlpn
            | Self::DownstreamTls(_)
            | Self::PlaintextRefused
            | Self::Downstream(_)
            | Self::Sasl(_) => ErrorKind::Client,
            Self::Refused(Answer::Unavailable) => ErrorKind::Dependency,
            Self::NoToken | Self::MalformedToken | Self::Refused(_) | Self::Denied { .. } => {
                ErrorKind::Denied
            }
            Self::Upstream(error) => error.kind(),
            Self::Ended(reason) => match reason {
                EndReason::ClientQuit | EndReason::ProtocolViolation { .. } => ErrorKind::Client,
                EndReason::UpstreamQuit { .. } => ErrorKind::Upstream,
                EndReason::NotRecorded { .. } => ErrorKind::Dependency,
                EndReason::Internal { .. } | EndReason::NotMasked { .. } => ErrorKind::Internal,
                _ => ErrorKind::Denied,
            },
        }
    }

    /// Whether the token itself was not accepted, which SASL reports in its own way.
    pub const fn is_about_the_token(&self) -> bool {
        matches!(self, Self::MalformedToken | Self::NoToken | Self::Refused(Answer::NotAuthenticated { .. }))
    }

    /// What the client is told.
    pub fn to_wire(&self) -> Report<'static> {
        use sqlstate::{
            CONNECTION_FAILURE, FEATURE_NOT_SUPPORTED, INSUFFICIENT_PRIVILEGE, INVALID_AUTHORIZATION,
            INVALID_PASSWORD, LIMIT_EXCEEDED, PROTOCOL_VIOLATION, TOO_MANY_CONNECTIONS,
        };

        match self {
            Self::Malformed(error) => match error {
                codec::Error::UnsupportedProtocol { .. } => fatal(FEATURE_NOT_SUPPORTED, error.to_string()),
                codec::Error::Replication => fatal(FEATURE_NOT_SUPPORTED, error.to_string())
                    .hint("connect without the `replication` parameter"),
                codec::Error::NoUser => fatal(INVALID_AUTHORIZATION, error.to_string())
                    .hint("the user name is the connection's name"),
                codec::Error::TooLong { .. } => fatal(LIMIT_EXCEEDED, error.to_string()),
                _ => fatal(PROTOCOL_VIOLATION, error.to_string()),
            },
            Self::Unexpected { tag, expected } => {
                fatal(PROTOCOL_VIOLATION, format!("expected {expected}, got message type `{}`", tag.escape_ascii()))
            }
            Self::Repeated { packet } => fatal(PROTOCOL_VIOLATION, format!("unexpected {packet}")),
            Self::Stuffed => fatal(PROTOCOL_VIOLATION, "received unencrypted data after SSL request".to_owned())
                .detail("this could be either a client-software bug or evidence of an attempted man-in-the-middle attack"),
            Self::NoAlpn => fatal(
                PROTOCOL_VIOLATION,
                "received direct SSL connection request without ALPN protocol negotiation extension".to_owned(),
            ),
            Self::DownstreamTls(_) => fatal(PROTOCOL_VIOLATION, "the TLS handshake failed".to_owned()),
            Self::Downstream(_) => fatal(CONNECTION_FAILURE, "the connection was lost".to_owned()),
            Self::PlaintextRefused => fatal(INVALID_AUTHORIZATION, "TLS is required".to_owned())
                .hint("connect with sslmode=require, or better verify-full"),
            Self::NoToken => fatal(INVALID_PASSWORD, "empty password".to_owned())
                .hint("the password is an access token of your identity provider"),
            Self::MalformedToken => fatal(INVALID_PASSWORD, "the password is not a well-formed token".to_owned())
                .hint("the password is an access token of your identity provider"),
            Self::TokenTooLong { limit, .. } => {
                fatal(INVALID_PASSWORD, format!("the token is longer than the limit of {limit} bytes"))
            }
            Self::Sasl(problem) => {
                fatal(PROTOCOL_VIOLATION, "malformed OAUTHBEARER message".to_owned()).detail(*problem)
            }
            Self::Refused(answer) => refused(answer),
            Self::Denied { reason, rule, hint } => {
                let mut report = fatal(INSUFFICIENT_PRIVILEGE, reason.clone());
                report.detail = rule.as_ref().map(|rule| format!("rule: {rule}").into());
                report.hint = hint.clone().map(Into::into);
                report
            }
            Self::Ended(reason) => fatal(ended(reason), reason.to_string()),
            Self::Upstream(error) => {
                let told = error.told();
                Report::new(Severity::Fatal, told.code, told.message)
            }
            Self::TooManySessions => {
                fatal(TOO_MANY_CONNECTIONS, "the gateway has too many sessions; try again shortly".to_owned())
            }
        }
    }
}

fn fatal(code: &'static str, text: String) -> Report<'static> {
    Report::new(Severity::Fatal, code, text)
}

fn refused(answer: &Answer) -> Report<'static> {
    let code = match answer {
        Answer::NotAuthenticated { .. } => sqlstate::INVALID_PASSWORD,
        Answer::Database { .. } => sqlstate::INVALID_CATALOG_NAME,
        Answer::Unavailable => sqlstate::CANNOT_CONNECT_NOW,
        Answer::NoAccess
        | Answer::WindowNeeded { .. }
        | Answer::NotGiven { .. }
        | Answer::NotNow
        | Answer::Blocked { .. } => sqlstate::INVALID_AUTHORIZATION,
    };
    let mut report = Report::new(Severity::Fatal, code, answer.message());
    report.hint = answer.hint().map(Into::into);
    report
}

const fn ended(reason: &EndReason) -> &'static str {
    match reason {
        EndReason::ClientQuit => sqlstate::CONNECTION_FAILURE,
        EndReason::UpstreamQuit { .. } => sqlstate::CONNECTION_FAILURE,
        EndReason::ProtocolViolation { .. } => sqlstate::PROTOCOL_VIOLATION,
        EndReason::NotMasked { .. } => sqlstate::INSUFFICIENT_PRIVILEGE,
        EndReason::Internal { .. } => sqlstate::INTERNAL_ERROR,
        EndReason::WindowOver
        | EndReason::IdentityRevoked { .. }
        | EndReason::GrantRemoved { .. }
        | EndReason::Killed { .. }
        | EndReason::Drained
        | EndReason::NotRecorded { .. } => sqlstate::ADMIN_SHUTDOWN,
    }
}
