//! What can go wrong with the journal.

use std::{io, path::PathBuf};

use portcullis_core::ErrorKind;

/// Why the journal could not do what was asked. Every one of them means: do not release the effect.
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
    /// Another process has the journal open.
    #[error("the journal is in use by another process, which holds `{path}`", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file holds what the journal did not write, where that is no torn end of the last segment.
    #[error(
        "the journal is damaged: `{path}` at byte {offset}: {fault}; restore the file, or move the journal \
         folder and the store away together",
        path = path.display()
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the bad frame starts.
        offset: u64,
        /// What is wrong with it.
        fault: String,
    },
    /// A segment between two others, or the one asked for, is not there.
    #[error("the journal lacks segment {segment}: expected `{path}`", path = path.display())]
    Missing {
        /// The segment's number.
        segment: u64,
        /// Where it should be.
        path: PathBuf,
    },
    /// The journal cannot write and takes no events until a probe succeeds.
    #[error("the journal takes no events: {cause}")]
    Failed {
        /// What failed first.
        cause: String,
    },
    /// The events were written, but the disk did not confirm them: they may be lost in a power failure.
    #[error("the disk did not confirm the events")]
    NotSynced,
    /// One event is larger than a frame may be.
    #[error("an event of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// [`crate::format::MAX_PAYLOAD`].
        limit: usize,
    },
    /// An event could not be encoded.
    #[error("an event cannot be encoded: {0}")]
    Encode(#[source] serde_json::Error),
    /// An event is not the one whose hash the proof holds: somebody rewrote the journal, or the proof.
    #[error(
        "the journal was altered: event {sequence}{} in `{path}` at byte {offset} is not the one that the proof covers; \
         run `portcullis audit verify`",
        session.as_ref().map(|session| format!(" of session {session}")).unwrap_or_default(),
        path = path.display()
    )]
    Altered {
        /// The segment.
        path: PathBuf,
        /// Where the event's frame starts.
        offset: u64,
        /// The event.
        sequence: u64,
        /// Its session, if it says one.
        session: Option<String>,
    },
    /// The journal ends before events that the proof covers.
    #[error(
        "the journal was cut: it ends before event {end}, and the proof covers events up to {covered}; \
         run `portcullis audit verify`"
    )]
    Truncated {
        /// How many events the journal has.
        end: u64,
        /// How many the proof has.
        covered: u64,
    },
    /// The proof's own files are not as they were written.
    #[error("the journal's proof is damaged or was altered: `{path}`: {fault}", path = path.display())]
    Proof {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The journal's own thread is gone, or one of its holders panicked.
    #[error("the journal has stopped after an internal error")]
    Stopped,
}

impl Error {
    /// Whose doing it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::Limit,
            Self::Encode(_) | Self::Stopped => ErrorKind::Internal,
            _ => ErrorKind::Dependency,
        }
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
