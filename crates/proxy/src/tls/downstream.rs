//! The certificate we present, and how it changes while we run.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use portcullis_core::Timestamp;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{TlsError, provider, self_signed};

/// The largest certificate or key file read, in bytes: a chain is a few KiB.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// Where the certificate chain and its key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePaths {
    /// The chain, our own certificate first.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, SEC1 or PKCS #1.
    pub key: PathBuf,
}

/// The SHA-256 of a certificate in DER: what a person compares. Prints as `AB:CD:…`, as openssl does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha256(certificate))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What [`DownstreamTls::reload`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The files are as they were.
    Unchanged,
    /// New transports get this certificate; open ones keep theirs.
    Replaced(Fingerprint),
}

/// The gateway's own certificate: one for all listeners, replaceable while they run.
#[derive(Debug)]
pub struct DownstreamTls {
    paths: CertificatePaths,
    current: Arc<Current>,
    /// The file contents last looked at, good or bad, so that a bad pair is reported once.
    seen: Mutex<Option<Pair>>,
}

#[derive(Debug)]
struct Current {
    key: ArcSwap<CertifiedKey>,
}

#[derive(Clone, PartialEq, Eq)]
struct Pair {
    certificate: [u8; 32],
    key: [u8; 32],
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair")
    }
}

/// SHA-256: enough to tell that a file changed without keeping a key in memory twice.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

impl DownstreamTls {
    /// Reads the configured certificate and key.
    ///
    /// # Errors
    /// A file cannot be read, holds no certificate or key, or the two do not belong together.
    pub fn from_files(paths: CertificatePaths) -> Result<Self, TlsError> {
        let (pair, key) = read_pair(&paths)?;
        let key = key?;
        Ok(Self {
            paths,
            current: Arc::new(Current { key: ArcSwap::from_pointee(key) }),
            seen: Mutex::new(Some(pair)),
        })
    }

    /// Uses the self-signed certificate in `data`, making it when there is none: ECDSA P-256 for `localhost`, the
    /// loopback addresses and `host_names`. It is kept across restarts, so that a pinned fingerprint stays true.
    ///
    /// # Errors
    /// The folder cannot be written, or an existing pair is broken (it is not replaced silently: clients pin it).
    pub fn self_signed(data: &Path, host_names: &[String]) -> Result<Self, TlsError> {
        Self::from_files(self_signed::ensure(data, host_names)?)
    }

    /// A server configuration that presents the current certificate and speaks `protocols` (ALPN; none: no ALPN).
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub fn server_config(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&self.current) as _;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Configure)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // Tickets carry the state themselves: a transport costs no memory here once it is gone.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Configure)?;
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    /// The fingerprint of the certificate presented now.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.current.key.load().cert.first().map(Fingerprint::of)
    }

    /// The certificate presented now, in DER: the first of the chain.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.current.key.load().cert.first().cloned()
    }

    /// When the certificate presented now is over: for a metric and a warning before clients find out.
    pub fn not_after(&self) -> Option<Timestamp> {
        let certificate = self.certificate()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
        Some(Timestamp::from_seconds(parsed.validity().not_after.timestamp()))
    }

    /// Where the pair is read from.
    pub fn paths(&self) -> &CertificatePaths {
        &self.paths
    }

    /// Looks at the files and takes a changed, good pair into use. Blocks for two small file reads.
    ///
    /// # Errors
    /// The files changed and are not a usable pair: the one in use stays. The same bad contents are reported once and
    /// count as [`Reloaded::Unchanged`] after that, as a pair caught half-way through being replaced would.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let (pair, key) = read_pair(&self.paths)?;
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.as_ref() == Some(&pair) {
                return Ok(Reloaded::Unchanged);
            }
            *seen = Some(pair);
        }
        let key = key?;
        let fingerprint = key.cert.first().map(Fingerprint::of);
        self.current.key.store(Arc::new(key));
        Ok(fingerprint.map_or(Reloaded::Unchanged, Reloaded::Replaced))
    }

    /// Looks at the files every `interval`, for as long as it is polled. Failures are logged; an unreadable file is
    /// logged when it starts to be unreadable. Cancel safe.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        let mut unreadable = false;
        loop {
            tokio::time::sleep(interval).await;
            let this = Arc::clone(&self);
            let Ok(outcome) = tokio::task::spawn_blocking(move || this.reload()).await else { continue };
            match outcome {
                Ok(Reloaded::Unchanged) => unreadable = false,
                Ok(Reloaded::Replaced(fingerprint)) => {
                    unreadable = false;
                    tracing::info!(%fingerprint, "certificate replaced");
                }
                Err(error @ TlsError::File { .. }) if unreadable => {
                    tracing::debug!(%error, "certificate still unreadable");
                }
                Err(error) => {
                    unreadable = matches!(error, TlsError::File { .. });
                    tracing::error!(%error, "the certificate on disk cannot be used: the one in use stays");
                }
            }
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }
}

type Usable = Result<CertifiedKey, TlsError>;

/// The contents' digests, and the pair if it is usable.
fn read_pair(paths: &CertificatePaths) -> Result<(Pair, Usable), TlsError> {
    let certificate = read(&paths.certificate)?;
    let key = zeroize::Zeroizing::new(read(&paths.key)?);
    let pair = Pair { certificate: sha256(&certificate), key: sha256(&key) };
    Ok((pair, certified_key(paths, &certificate, &key)))
}

fn certified_key(paths: &CertificatePaths, certificate: &[u8], key: &[u8]) -> Usable {
    let content =
        |path: &Path, problem: &str| TlsError::Content { path: path.to_owned(), problem: problem.to_owned() };
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| content(&paths.certificate, "is not well-formed pem"))?;
    if chain.is_empty() {
        return Err(content(&paths.certificate, "holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| content(&paths.key, "holds no private key"))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Pair)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    super::read_bounded(path, MAX_PEM_BYTES)
}
