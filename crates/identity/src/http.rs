//! Asking identity providers and directories: bounded in time and size, never redirected, in the clear to loopback only.

use std::{net::IpAddr, sync::Arc, time::Duration};

use portcullis_core::Secret;
use reqwest::{Client, RequestBuilder, Url, header, redirect};
use rustls::RootCertStore;

#[cfg(test)]
mod tests;

/// Longest a request may take, answer included.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer read. Entra's key sets are 15 KB, its answer with the most groups (11,000 ids) is 430 KB.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
/// Longest pause that a `Retry-After` may impose.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// A client with the platform's roots and aws-lc-rs, whatever the process has installed.
pub(crate) struct Http {
    /// For loopback: never through a proxy of the environment.
    direct: Client,
    /// For everything else: through the proxy of the environment, where there is one.
    outside: Client,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// Why there was no answer. `Display` is for operators and names no address.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("the address is neither `https` nor `http` to loopback")]
    Address,
    #[error("no answer: {0}")]
    Transport(String),
    #[error("the answer is longer than {MAX_BODY} bytes")]
    TooLong,
}

impl Http {
    pub(crate) fn new() -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        // Roots that cannot be read are left out; with none, every https request fails and says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, String> {
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
        let client = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(redirect::Policy::none())
                .referer(false)
                .timeout(TIMEOUT)
                .connect_timeout(TIMEOUT)
                .pool_idle_timeout(Duration::from_secs(60))
                .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self {
            direct: client().no_proxy().build().map_err(|error| error.to_string())?,
            outside: client().build().map_err(|error| error.to_string())?,
        })
    }

    /// Cancel safe: a dropped request is closed.
    pub(crate) async fn get(&self, url: &Url, bearer: Option<&Secret<String>>) -> Result<Answer, HttpError> {
        let mut request = self.client(url)?.get(url.clone());
        if let Some(token) = bearer {
            request = request.bearer_auth(token.expose());
        }
        send(request).await
    }

    pub(crate) async fn post_form(&self, url: &Url, form: &[(&str, &str)]) -> Result<Answer, HttpError> {
        send(self.client(url)?.post(url.clone()).form(form)).await
    }

    /// A form, with the client's id and secret as Basic credentials where given, both form-encoded first (RFC 6749 section 2.3.1).
    pub(crate) async fn post_form_as(
        &self,
        url: &Url,
        basic: Option<(&str, &str)>,
        form: &[(&str, &str)],
    ) -> Result<Answer, HttpError> {
        let mut request = self.client(url)?.post(url.clone()).form(form);
        if let Some((id, secret)) = basic {
            let secret = Secret::new(form_encoded(secret));
            request = request.basic_auth(form_encoded(id), Some(secret.expose()));
        }
        send(request).await
    }

    pub(crate) async fn post_json(
        &self,
        url: &Url,
        bearer: &Secret<String>,
        body: &serde_json::Value,
    ) -> Result<Answer, HttpError> {
        send(self.client(url)?.post(url.clone()).bearer_auth(bearer.expose()).json(body)).await
    }

    fn client(&self, url: &Url) -> Result<&Client, HttpError> {
        match (is_loopback(url), url.scheme()) {
            (true, "http" | "https") => Ok(&self.direct),
            (false, "https") => Ok(&self.outside),
            _ => Err(HttpError::Address),
        }
    }
}

/// Whether an address may be asked: `https`, or `http` to this machine.
pub(crate) fn is_allowed(url: &Url) -> bool {
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    plain && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)))
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn send(request: RequestBuilder) -> Result<Answer, HttpError> {
    let mut response = request.header(header::ACCEPT, "application/json").send().await.map_err(transport)?;
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return Err(HttpError::TooLong);
    }
    let status = response.status().as_u16();
    // RFC 9110 section 10.2.3. The form with a date is not used by the directories we ask and counts as none.
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len().saturating_add(chunk.len()) > MAX_BODY {
            return Err(HttpError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, retry_after, body })
}

fn form_encoded(text: &str) -> String {
    let mut url = Url::parse("http://localhost/").ok();
    let encoded = url.as_mut().map(|url| {
        url.query_pairs_mut().append_key_only(text);
        url.query().unwrap_or_default().to_owned()
    });
    encoded.unwrap_or_default()
}

fn transport(error: reqwest::Error) -> HttpError {
    if error.is_timeout() {
        return HttpError::Transport("timed out".to_owned());
    }
    // The innermost cause says what happened (refused, unknown authority); the outer ones repeat the address.
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    HttpError::Transport(cause.to_string())
}
