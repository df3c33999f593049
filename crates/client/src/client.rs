//! The other end of the API: what the CLI asks with.
//!
//! Trust is by file: the gateway's own certificate (or a CA's) as PEM, or the system's roots where no file is given.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use portcullis_access::Window;
use portcullis_core::Secret;
use reqwest::{Method, Url, header, redirect};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    ConnectionView, DocumentFile, DocumentsView, KillAnswer, KillIdentity, KillSession, LiftAnswer,
    LiftIdentity, PolicyChecked, PolicyView, ProblemBody, SessionView, WhoamiView,
    types::{CheckBody, ReplaceBody},
};

pub use crate::types::Rows;

pub mod events;
mod recording;
mod requests;

/// The longest answer read, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

const TIMEOUT: Duration = Duration::from_secs(40);

/// One gateway, asked with one bearer token.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address or the CA file cannot be used.
    #[error("{0}")]
    Setup(String),
    /// The gateway cannot be reached, or is not the one whose certificate is trusted.
    #[error("cannot reach the gateway at `{url}`: {detail}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What failed.
        detail: String,
    },
    /// The gateway said no.
    #[error("{}", .0.detail)]
    Refused(Box<ProblemBody>),
    /// The recording cannot be read on.
    #[error("{0}")]
    Recording(String),
    /// What answered is not a gateway of this version.
    #[error("the answer is not that of a gateway: {0}")]
    Answer(String),
}

impl Client {
    /// A client of the gateway at `url` (`https` only), trusting the certificates in `ca`, or the system's roots.
    ///
    /// # Errors
    /// The address is no `https` one, or the file holds no certificate.
    pub fn new(url: &str, ca: Option<&Path>, token: Secret<String>) -> Result<Self, ClientError> {
        let setup = |text: String| ClientError::Setup(text);
        let base: Url = url.parse().map_err(|error| setup(format!("`{url}` is no address: {error}")))?;
        if base.scheme() != "https" || base.host_str().is_none() {
            return Err(setup(format!("`{url}` is no `https` address: a token is never sent in the clear")));
        }
        let loopback = base.host_str().is_some_and(|host| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        });
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca)?)
            .redirect(redirect::Policy::none())
            .referer(false)
            .timeout(TIMEOUT)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        let builder = if loopback { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| setup(chain(&error)))?;
        Ok(Self { http, base, token })
    }

    /// Where it asks.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Who the token is, with the agent's token.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every call here.
    pub async fn whoami(&self) -> Result<WhoamiView, ClientError> {
        self.get("whoami", &()).await
    }

    /// What the token can reach, with the agent's token.
    pub async fn connections(&self) -> Result<Vec<ConnectionView>, ClientError> {
        self.get("connections", &()).await
    }

    /// The token's open windows, with the agent's token.
    pub async fn windows(&self) -> Result<Vec<Window>, ClientError> {
        self.get("windows", &()).await
    }

    /// Sessions, with the admin token.
    pub async fn sessions(&self, query: &[(&str, String)]) -> Result<Rows<SessionView>, ClientError> {
        self.get("sessions", &query).await
    }

    /// Ends a session, with the admin token.
    pub async fn kill_session(&self, session: &str, kill: &KillSession) -> Result<KillAnswer, ClientError> {
        self.post(&format!("sessions/{session}/kill"), kill).await
    }

    /// Ends everything of a principal, with the admin token.
    pub async fn kill_identity(&self, kill: &KillIdentity) -> Result<KillAnswer, ClientError> {
        self.post("kill", kill).await
    }

    /// Lets a principal back in, with the admin token.
    pub async fn lift(&self, lift: &LiftIdentity) -> Result<LiftAnswer, ClientError> {
        self.post("lift", lift).await
    }

    /// Searches the audit log, with the admin token. `query` has the keys of the route; rows are
    /// JSON.
    pub async fn audit(&self, query: &impl Serialize) -> Result<Rows<serde_json::Value>, ClientError> {
        self.get("audit/events", query).await
    }

    /// The policy in force, with the admin token.
    pub async fn policy(&self) -> Result<PolicyView, ClientError> {
        self.get("policy", &()).await
    }

    /// The documents of the policy in force; with a role.
    pub async fn documents(&self) -> Result<DocumentsView, ClientError> {
        self.get("policy/documents", &()).await
    }

    /// What the gateway would say of these documents; with a role.
    pub async fn check_documents(&self, files: &[DocumentFile]) -> Result<PolicyChecked, ClientError> {
        self.post("policy/check", &CheckBody { files: files.to_vec() }).await
    }

    /// Puts these documents in force instead of those with the tag `etag`, or with `*`, of any; with the role admin.
    pub async fn replace_documents(
        &self,
        files: &[DocumentFile],
        etag: &str,
    ) -> Result<DocumentsView, ClientError> {
        let body = ReplaceBody { files: files.to_vec() };
        let request = self.http.request(Method::PUT, self.url("policy/documents")?);
        self.send(request.header(header::IF_MATCH, etag).json(&body)).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ClientError> {
        let request = self.http.request(Method::GET, self.url(path)?).query(query);
        self.send(request).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.send(self.http.request(Method::POST, self.url(path)?).json(body)).await
    }

    /// With the token, where there is one: what anybody may ask is asked without.
    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        if self.token.expose().is_empty() { request } else { request.bearer_auth(self.token.expose()) }
    }

    fn url(&self, path: &str) -> Result<Url, ClientError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/api/v1/{path}", self.base.path().trim_end_matches('/')));
        Ok(url)
    }

    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ClientError> {
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: self.base.to_string(),
            detail: chain(&error.without_url()),
        };
        let mut answer = self.authorized(request).send().await.map_err(unreachable)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(ClientError::Answer(format!("it is longer than {MAX_ANSWER} bytes")));
            }
        }
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()));
        }
        match serde_json::from_slice::<ProblemBody>(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(ClientError::Answer(format!("status {status} without a reason"))),
        }
    }
}

/// An error's text with its causes, which is where "connection refused" stands.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, ClientError> {
    let setup = |text: String| ClientError::Setup(text);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let mut pinned = Vec::new();
    match ca {
        Some(path) => {
            let pem = std::fs::read(path)
                .map_err(|error| setup(format!("cannot read `{}`: {error}", path.display())))?;
            pinned = CertificateDer::pem_slice_iter(&pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| setup(format!("`{}` is not well-formed PEM", path.display())))?;
            if pinned.is_empty() {
                return Err(setup(format!("`{}` holds no certificate", path.display())));
            }
            roots.add_parsable_certificates(pinned.iter().cloned());
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let chain = if roots.is_empty() {
        None
    } else {
        let built =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        Some(built.map_err(|error| setup(error.to_string()))?)
    };
    let verifier = Arc::new(PinnedOrChained { pinned, chain, provider: Arc::clone(&provider) });
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Accepts a certificate that is in the file itself, whatever name it is for (a self-signed gateway is reached by many), else
/// one that chains to the file and is for the name asked.
#[derive(Debug)]
struct PinnedOrChained {
    pinned: Vec<CertificateDer<'static>>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedOrChained {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if self.pinned.iter().any(|pinned| pinned.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.chain {
            Some(chain) => chain.verify_server_cert(end_entity, intermediates, server_name, ocsp, now),
            None => Err(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_sent_in_the_clear() {
        for url in ["http://127.0.0.1:1", "ftp://x", "nonsense", "https://"] {
            assert!(Client::new(url, None, Secret::new("t".to_owned())).is_err(), "{url}");
        }
    }
}
