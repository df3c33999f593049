//! Where a provider signs people in: its discovery document (OpenID Connect Discovery 1.0, RFC 8414), read when needed and kept for
//! an hour.

use std::{sync::Arc, time::Duration};

use portcullis_core::{Clock, Timestamp};
use reqwest::Url;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::{
    http::{self, Http},
    json,
};

/// How long a document is relied on without being read again.
const KEEP: Duration = Duration::from_secs(60 * 60);
/// How long one that cannot be read again is still relied on. It holds addresses, not keys.
const KEEP_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// Least time between two tries.
const RETRY: Duration = Duration::from_secs(5);

/// What of a discovery document a sign-in needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) issuer: String,
    pub(crate) authorization: Url,
    pub(crate) token: Url,
    pub(crate) device: Option<Url>,
    pub(crate) end_session: Option<Url>,
    pub(crate) revocation: Option<Url>,
    /// RFC 9207: the provider names itself in callbacks.
    pub(crate) names_itself: bool,
    pub(crate) secret_in: SecretIn,
}

/// Where a confidential client's secret goes (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretIn {
    Header,
    Form,
}

impl Endpoints {
    /// Reads a document that was found at `document` and must be `issuer`'s.
    pub(crate) fn parse(bytes: &[u8], issuer: &str, document: &Url) -> Result<Self, String> {
        let map = json::object(bytes)
            .map_err(|_| "the discovery document is not one JSON object with distinct keys".to_owned())?;
        if map.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err("the discovery document's `issuer` is not the configured one".to_owned());
        }
        // An absent list proves nothing (Entra has none); one without S256 means that PKCE would not protect the code.
        if map.contains_key("code_challenge_methods_supported")
            && !lists(&map, "code_challenge_methods_supported", "S256")
        {
            return Err("the discovery document does not offer PKCE with S256".to_owned());
        }
        let required = |name: &str| {
            address(&map, name, document)?.ok_or_else(|| format!("the discovery document has no `{name}`"))
        };
        let methods = "token_endpoint_auth_methods_supported";
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization: required("authorization_endpoint")?,
            token: required("token_endpoint")?,
            device: address(&map, "device_authorization_endpoint", document)?,
            end_session: address(&map, "end_session_endpoint", document)?,
            revocation: address(&map, "revocation_endpoint", document)?,
            names_itself: map.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            // Basic is what a provider without the list has (RFC 8414 section 2).
            secret_in: if lists(&map, methods, "client_secret_post") {
                SecretIn::Form
            } else {
                SecretIn::Header
            },
        })
    }

    /// Reads `issuer`'s document.
    pub(crate) async fn fetch(http: &Http, issuer: &str, document: &Url) -> Result<Self, String> {
        let answer =
            http.get(document, None).await.map_err(|error| format!("its discovery document: {error}"))?;
        match answer.status {
            200 => Self::parse(&answer.body, issuer, document),
            status => Err(format!("its discovery document: answered with status {status}")),
        }
    }
}

fn lists(map: &Map<String, Value>, name: &str, wanted: &str) -> bool {
    map.get(name).and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == wanted))
}

fn address(map: &Map<String, Value>, name: &str, document: &Url) -> Result<Option<Url>, String> {
    let Some(value) = map.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let url: Option<Url> = value.as_str().and_then(|text| text.parse().ok());
    // A provider on the network must not point the gateway, or a person's browser, at services of this machine.
    let may = |url: &Url| http::is_allowed(url) && (http::is_loopback(document) || !http::is_loopback(url));
    match url.filter(may) {
        Some(url) => Ok(Some(url)),
        None => Err(format!("the discovery document's `{name}` is not an address that may be asked")),
    }
}

/// One provider's endpoints, kept.
pub(crate) struct EndpointSource {
    issuer: String,
    document: Url,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    /// Held while reading: one read at a time, whoever asked.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    found: Option<(Timestamp, Arc<Endpoints>)>,
    failure: Option<(Timestamp, String)>,
}

impl EndpointSource {
    pub(crate) fn new(issuer: String, document: Url, http: Arc<Http>, clock: Arc<dyn Clock>) -> Self {
        Self { issuer, document, http, clock, state: Mutex::default() }
    }

    /// Whether it reads this issuer's document at this address.
    pub(crate) fn is_of(&self, issuer: &str, document: &Url) -> bool {
        self.issuer == issuer && self.document == *document
    }

    /// The endpoints. Waits for at most one request, of five seconds. Cancel safe.
    pub(crate) async fn current(&self) -> Result<Arc<Endpoints>, String> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let aged = |keep| move |(at, _): &&(Timestamp, Arc<Endpoints>)| now.since(*at) < keep;
        if let Some((_, found)) = state.found.as_ref().filter(aged(KEEP)) {
            return Ok(Arc::clone(found));
        }
        let kept = state.found.as_ref().filter(aged(KEEP_AT_MOST)).map(|(_, found)| Arc::clone(found));
        if let Some((at, failure)) = &state.failure
            && now.since(*at) < RETRY
        {
            return kept.ok_or_else(|| failure.clone());
        }
        match Endpoints::fetch(&self.http, &self.issuer, &self.document).await {
            Ok(found) => {
                let found = Arc::new(found);
                *state = State { found: Some((now, Arc::clone(&found))), failure: None };
                Ok(found)
            }
            Err(failure) => {
                tracing::warn!(of = %self.issuer, %failure, kept = kept.is_some(), "cannot read where people sign in");
                state.failure = Some((self.clock.now(), failure.clone()));
                kept.ok_or(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://idp.example";

    fn parse(change: Value) -> Result<Endpoints, String> {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://idp.example/authorize",
            "token_endpoint": "https://idp.example/token",
            "device_authorization_endpoint": "https://idp.example/device",
        });
        for (name, value) in change.as_object().unwrap() {
            document[name] = value.clone();
        }
        let at = "https://idp.example/.well-known/openid-configuration".parse().unwrap();
        Endpoints::parse(document.to_string().as_bytes(), ISSUER, &at)
    }

    #[test]
    fn a_document_says_where_people_sign_in() {
        let endpoints = parse(json!({})).unwrap();
        assert_eq!(endpoints.authorization.as_str(), "https://idp.example/authorize");
        assert!(endpoints.device.is_some() && endpoints.end_session.is_none() && !endpoints.names_itself);
        assert_eq!(endpoints.secret_in, SecretIn::Header);
        let post = parse(json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] })).unwrap();
        assert_eq!(post.secret_in, SecretIn::Form);
    }

    #[test]
    fn a_document_of_another_issuer_or_with_addresses_that_may_not_be_asked_is_refused() {
        for change in [
            json!({ "issuer": "https://idp.example/" }),
            json!({ "token_endpoint": "http://idp.example/token" }),
            json!({ "token_endpoint": "http://127.0.0.1:9/token" }),
            json!({ "authorization_endpoint": "https://localhost/authorize" }),
            json!({ "authorization_endpoint": "javascript:alert(1)" }),
            json!({ "authorization_endpoint": null }),
            json!({ "device_authorization_endpoint": "https://u:p@idp.example/device" }),
            json!({ "end_session_endpoint": 7 }),
            json!({ "code_challenge_methods_supported": ["plain"] }),
        ] {
            assert!(parse(change.clone()).is_err(), "{change}");
        }
    }
}
