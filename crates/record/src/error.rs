//! What can go wrong with recordings.

use std::{io, path::PathBuf};

use portcullis_core::{EndReason, ErrorKind, SessionId};

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {what} `{path}`: {source}", path = path.display())]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Recordings cannot be written and none begins until a probe succeeds.
    #[error("sessions cannot be recorded: {cause}")]
    Failed {
        /// What failed first.
        cause: String,
    },
    /// No recording of the session is here.
    #[error("there is no recording of session `{0}`")]
    NotFound(SessionId),
    /// A segment is not what was sealed, or not what the one after it says it was.
    #[error("the recording is damaged or was altered: `{path}`: {fault}", path = path.display())]
    Broken {
        /// The segment.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// A segment between two others is not there.
    #[error("the recording lacks segment {number}: expected `{path}`", path = path.display())]
    Missing {
        /// Its number.
        number: u32,
        /// Where it should be.
        path: PathBuf,
    },
    /// A part of ours has stopped after a defect.
    #[error("recording has stopped after an internal error")]
    Stopped,
}

impl Error {
    /// Whose doing it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Stopped => ErrorKind::Internal,
            Self::NotFound(_) => ErrorKind::Client,
            _ => ErrorKind::Dependency,
        }
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn broken(path: impl Into<PathBuf>, fault: impl Into<String>) -> Self {
        Self::Broken { path: path.into(), fault: fault.into() }
    }
}

/// The session is not recorded any more, so it must end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the session cannot be recorded: {0}")]
pub struct NotRecording(pub String);

impl From<NotRecording> for EndReason {
    fn from(error: NotRecording) -> Self {
        Self::NotRecorded { detail: error.to_string() }
    }
}
