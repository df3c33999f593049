//! [`Failed`]: why something was not delivered, and whether to try again.

use std::{fmt, time::Duration};

use portcullis_core::ErrorKind;

use crate::text::one_line;

/// Why a message was not delivered. The text is for operators and for the delivery log: it names no address, no secret and
/// nothing a server wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failed {
    reason: String,
    pub(crate) again: Again,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Never: it would be refused again.
    Never,
    /// This message, later; others may go on.
    Message,
    /// Everything for this channel, later, and not before this much time where the server said so.
    Channel(Option<Duration>),
}

impl Failed {
    pub(crate) fn never(reason: impl fmt::Display) -> Self {
        Self::new(reason, Again::Never)
    }

    pub(crate) fn message(reason: impl fmt::Display) -> Self {
        Self::new(reason, Again::Message)
    }

    pub(crate) fn channel(reason: impl fmt::Display) -> Self {
        Self::new(reason, Again::Channel(None))
    }

    pub(crate) fn new(reason: impl fmt::Display, again: Again) -> Self {
        Self { reason: one_line(&reason.to_string(), 300), again }
    }

    /// Always something the gateway depends on.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Dependency
    }
}
