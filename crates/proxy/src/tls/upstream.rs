//! What we demand of an upstream's certificate.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use portcullis_policy::{TlsMode, UpstreamTls};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

use super::{TlsError, provider};

/// The largest CA file read, in bytes: the platform's own bundle is about 250 KiB.
const MAX_CA_BYTES: u64 = 4 * 1024 * 1024;

/// The most configurations kept; past it the cache starts afresh. Only a changing CA file makes new ones.
const MAX_CACHED: usize = 1024;

/// How much of the upstream's certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Nothing: encryption only (`prefer`, `require`). The handshake's signature is still checked, so the peer holds
    /// the key of the certificate it shows; without that, channel binding would bind to nothing.
    Nothing,
    /// A chain to a trusted CA, valid now, whatever name it is for (`verify-ca`).
    Chain,
    /// The chain, and that the certificate is for the host name or address dialed (`verify-full`).
    ChainAndName,
}

impl Verify {
    /// What a connection's TLS settings ask for; `None`: no TLS at all.
    pub fn of(tls: &UpstreamTls) -> Option<Self> {
        match tls.mode {
            TlsMode::Disable => None,
            // As libpq does: a CA that is named is used.
            TlsMode::Require if tls.ca.is_some() => Some(Self::Chain),
            TlsMode::Prefer | TlsMode::Require => Some(Self::Nothing),
            TlsMode::VerifyCa => Some(Self::Chain),
            TlsMode::VerifyFull => Some(Self::ChainAndName),
        }
    }
}

/// Client configurations, one per (verification, trusted CAs), so that dialing reads and parses nothing and TLS
/// sessions resume.
#[derive(Debug, Default)]
pub struct UpstreamTlsConfigs {
    cached: Mutex<HashMap<Key, Cached>>,
    platform: OnceLock<Arc<RootCertStore>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    verify: Verify,
    ca: Option<PathBuf>,
    protocols: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Cached {
    stamp: Option<Stamp>,
    config: Arc<ClientConfig>,
}

/// What tells a replaced or edited file from the one read, at the price of one `stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<std::time::SystemTime>,
    length: u64,
    inode: u64,
}

impl UpstreamTlsConfigs {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The configuration for `verify` with the CAs of the PEM file `ca`, or the platform's, offering `protocols`
    /// (ALPN). A changed file is read again, and what was resumable under the old one is not under the new.
    /// Blocks for one `stat` of the file, and for reading it when it changed.
    ///
    /// # Errors
    /// The CA file cannot be read or holds no certificate; there are no platform roots.
    pub fn client_config(
        &self,
        verify: Verify,
        ca: Option<&Path>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let ca = if verify == Verify::Nothing { None } else { ca };
        let stamp = ca.map(Stamp::of).transpose()?;
        let key = Key {
            verify,
            ca: ca.map(Path::to_owned),
            protocols: protocols.iter().map(|protocol| protocol.to_vec()).collect(),
        };
        {
            let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = cached.get(&key).filter(|found| found.stamp == stamp) {
                return Ok(Arc::clone(&found.config));
            }
        }
        let roots = match (verify, ca) {
            (Verify::Nothing, _) => Arc::new(RootCertStore::empty()),
            (_, Some(path)) => Arc::new(read_roots(path)?),
            (_, None) => self.platform_roots()?,
        };
        let config = build(verify, roots, protocols)?;
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= MAX_CACHED {
            cached.clear();
        }
        cached.insert(key, Cached { stamp, config: Arc::clone(&config) });
        Ok(config)
    }

    /// The configuration for a connection's TLS settings; `None`: no TLS at all.
    ///
    /// # Errors
    /// As [`UpstreamTlsConfigs::client_config`].
    pub fn for_connection(
        &self,
        tls: &UpstreamTls,
        protocols: &[&[u8]],
    ) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        Verify::of(tls).map(|verify| self.client_config(verify, tls.ca.as_deref(), protocols)).transpose()
    }

    fn platform_roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        if let Some(roots) = self.platform.get() {
            return Ok(Arc::clone(roots));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoPlatformRoots);
        }
        Ok(Arc::clone(self.platform.get_or_init(|| Arc::new(roots))))
    }
}

/// The name to verify and to ask for. rustls sends no SNI for an address (RFC 6066 section 3 forbids it) and verifies
/// it against the certificate's address entries. A trailing dot of a fully qualified name is not part of it.
///
/// # Errors
/// `host` is neither an address nor a DNS name.
pub fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host is neither a name nor an address"))
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, TlsError> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata =
            fs::metadata(path).map_err(|source| TlsError::File { path: path.to_owned(), source })?;
        Ok(Self { modified: metadata.modified().ok(), length: metadata.len(), inode: metadata.ino() })
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let content = |problem: String| TlsError::Content { path: path.to_owned(), problem };
    let pem = super::read_bounded(path, MAX_CA_BYTES)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| content("is not well-formed pem".to_owned()))?;
        roots.add(certificate).map_err(|error| content(format!("holds an unusable certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(content("holds no certificate".to_owned()));
    }
    Ok(roots)
}

fn build(
    verify: Verify,
    roots: Arc<RootCertStore>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Configure)?;
    let verifier: Arc<dyn ServerCertVerifier> = match verify {
        Verify::Nothing => Arc::new(SignatureOnly { algorithms }),
        Verify::Chain => Arc::new(ChainOnly { roots, algorithms }),
        Verify::ChainAndName => WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| TlsError::Configure(rustls::Error::General(error.to_string())))?,
    };
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// `require`: the peer proves that it holds the key, nothing says who it is.
#[derive(Debug)]
struct SignatureOnly {
    algorithms: WebPkiSupportedAlgorithms,
}

/// `verify-ca`.
#[derive(Debug)]
struct ChainOnly {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for SignatureOnly {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.roots.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
