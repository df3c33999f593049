//! What can go wrong with the store.

use std::path::{Path, PathBuf};

use portcullis_access::StoreError;
use portcullis_core::ErrorKind;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is damaged or is no database of ours.
    #[error("the store `{path}` is damaged: {detail}; restore it, or move it away to have its audit index built again \
             (open windows are lost then)", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A later version of the program has changed the tables.
    #[error("the store `{path}` was made by a later version: migration {number} is not known", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The first unknown migration.
        number: usize,
    },
    /// A migration that was applied differs from the one the program carries.
    #[error("the store `{path}` was made with another migration `{name}` than this program has", path = path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// The migration.
        name: String,
    },
    /// A file operation outside the database failed.
    #[error("cannot {what} `{path}`: {source}", path = path.display())]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("the store `{path}` failed: {source}", path = path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] portcullis_audit::Error),
    /// Another shipper moved the position.
    #[error("the journal is being indexed by somebody else")]
    Contended,
    /// A holder of the writing connection panicked.
    #[error("the store has stopped after an internal error")]
    Stopped,
}

impl Error {
    /// Whose doing it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Contended | Self::Stopped => ErrorKind::Internal,
            _ => ErrorKind::Dependency,
        }
    }

    /// Whether the same call may succeed later without anyone's doing: full disk, lock, input or output error.
    pub fn may_pass(&self) -> bool {
        use rusqlite::ErrorCode;
        match self {
            Self::Io { .. } => true,
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::OutOfMemory
                )
            ),
            Self::Journal(error) => matches!(error, portcullis_audit::Error::Io { .. }),
            _ => false,
        }
    }

    /// For `map_err` on what `path` answers.
    pub(crate) fn of(path: &Path) -> impl Fn(rusqlite::Error) -> Self + '_ {
        use rusqlite::ErrorCode;
        |source| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path: path.to_owned(), detail: source.to_string() }
            }
            _ => Self::Database { path: path.to_owned(), source },
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}
