//! What can go wrong in running the issuer. What a client is told is made where it is told: `token_endpoint`, `graph`.

use std::net::SocketAddr;

use portcullis_core::ErrorKind;

use crate::directory::DirectoryError;

/// Why the issuer cannot start, go on, or do what a handle asks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory contradicts itself.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The listener can be reached from other machines.
    #[error("the dev issuer listens on loopback only, and `{0}` is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The issuer was already given another listener.
    #[error("the dev issuer already serves `{0}`")]
    AlreadyBound(String),
    /// A token was asked for before the issuer had an address to name in it.
    #[error("the dev issuer has no address yet: bind a listener before minting tokens")]
    NotBound,
    /// No application, user, group or api of the directory has that id or name.
    #[error("nothing in the directory is called `{0}`")]
    Unknown(String),
    /// A key could not be made or used.
    #[error("signing key: {0}")]
    Key(&'static str),
    /// The listener failed.
    #[error("listener: {0}")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// Whose doing it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Directory(_) | Self::NotLoopback(_) | Self::Unknown(_) => ErrorKind::Client,
            Self::AlreadyBound(_) | Self::NotBound | Self::Key(_) => ErrorKind::Internal,
            Self::Io(_) => ErrorKind::Dependency,
        }
    }
}
