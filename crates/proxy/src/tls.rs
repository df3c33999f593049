//! TLS on both sides: what we present downstream, what we demand upstream.
//!
//! **Promises.** TLS 1.2 and 1.3 only, on the one crypto provider. A certificate is replaced without dropping a
//! transport, and a bad pair never replaces a good one. Verification is what the connection's mode says; the modes
//! that verify nothing still check the handshake's signature, so that channel binding means something.
//!
//! **Does not** know connections or listeners: they name a mode, a CA and protocols.
//!
//! **How to read it**: [`downstream`], then [`upstream`], then `self_signed`.
//!
//! **References**: RFC 8446, RFC 5246, RFC 5280, RFC 6066 section 3, the `sslmode` table of libpq.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use portcullis_core::ErrorKind;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub mod downstream;
mod self_signed;
pub mod upstream;

pub use downstream::{CertificatePaths, DownstreamTls, Fingerprint, Reloaded};
pub use upstream::{UpstreamTlsConfigs, Verify, server_name};

/// Setting TLS up failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot access `{path}`: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds nothing usable.
    #[error("`{path}` {problem}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate and the key do not work together, or with TLS.
    #[error("certificate and key cannot be used: {0}")]
    Pair(#[source] rustls::Error),
    /// The platform offers no trusted roots.
    #[error("the system has no trusted CA certificates: install `ca-certificates` or name a `ca` file")]
    NoPlatformRoots,
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// rustls refused a configuration.
    #[error("cannot configure tls: {0}")]
    Configure(#[source] rustls::Error),
}

impl TlsError {
    /// Whose doing it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } | Self::Content { .. } | Self::Pair(_) | Self::NoPlatformRoots => {
                ErrorKind::Dependency
            }
            Self::Make(_) | Self::Configure(_) => ErrorKind::Internal,
        }
    }
}

/// The one crypto provider.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Reads a file of at most `limit` bytes, whatever its size claims to be.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(TlsError::Content {
            path: path.to_owned(),
            problem: format!("is larger than {limit} bytes"),
        });
    }
    Ok(bytes)
}
