//! One sign-in under way: what only the browser or terminal that began it, and we, know.

use std::time::Duration;

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_core::{Secret, Timestamp};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::error::{OauthCode, SignInError};
use crate::claims::SKEW;

/// How long a person may take at the provider: a second factor included, a tab left open over lunch not.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Longest text a flow is read from.
const MAX_TEXT: usize = 4096;
/// Longest query of a callback that is read.
const MAX_QUERY: usize = 16 * 1024;

/// A sign-in that has begun. It is for the browser that began it: kept by the caller on its own side, or carried as
/// [`Flow::to_text`] in a short-lived `__Host-` cookie that scripts cannot read. Used up by [`super::SignIns::finish`].
#[derive(Debug)]
pub struct Flow {
    pub(crate) provider: String,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) begun_at: Timestamp,
    pub(crate) state: Secret<String>,
    pub(crate) nonce: Secret<String>,
    pub(crate) verifier: Secret<String>,
}

/// How a flow is carried.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Carried<'a> {
    provider: &'a str,
    issuer: &'a str,
    client_id: &'a str,
    redirect_uri: &'a str,
    begun_at: i64,
    state: &'a str,
    nonce: &'a str,
    verifier: &'a str,
}

impl Flow {
    pub(crate) fn new(
        provider: &str,
        issuer: &str,
        client_id: &str,
        redirect_uri: &str,
        now: Timestamp,
    ) -> Result<Self, SignInError> {
        Ok(Self {
            provider: provider.to_owned(),
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            begun_at: now,
            state: random()?,
            nonce: random()?,
            // RFC 7636 section 4.1: 32 random octets, 43 characters.
            verifier: random()?,
        })
    }

    /// The provider it began with.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Where the provider sends the browser back to.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Whether this is the `state` of the flow, compared in constant time: to find the flow a callback belongs to.
    pub fn has_state(&self, state: &str) -> bool {
        self.state.matches(state.as_bytes())
    }

    /// As text for a cookie: base64url, under 1 KB. Secret: whoever has it can finish the sign-in.
    pub fn to_text(&self) -> Secret<String> {
        let carried = Carried {
            provider: &self.provider,
            issuer: &self.issuer,
            client_id: &self.client_id,
            redirect_uri: &self.redirect_uri,
            begun_at: self.begun_at.as_micros(),
            state: self.state.expose(),
            nonce: self.nonce.expose(),
            verifier: self.verifier.expose(),
        };
        let json = Secret::new(serde_json::to_string(&carried).unwrap_or_default());
        Secret::new(URL_SAFE_NO_PAD.encode(json.expose()))
    }

    /// Reads what [`Flow::to_text`] wrote.
    ///
    /// # Errors
    /// [`SignInError::Callback`] for anything else.
    pub fn from_text(text: &str) -> Result<Self, SignInError> {
        let unreadable = || SignInError::Callback { what: "the sign-in it belongs to is unreadable" };
        if text.len() > MAX_TEXT {
            return Err(unreadable());
        }
        let json = Secret::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| unreadable())?);
        // Borrowed: text with escapes, which we never write, does not parse.
        let carried: Carried<'_> = serde_json::from_slice(json.expose()).map_err(|_| unreadable())?;
        if [carried.state, carried.nonce, carried.verifier].iter().any(|random| random.len() != 43) {
            return Err(unreadable());
        }
        Ok(Self {
            provider: carried.provider.to_owned(),
            issuer: carried.issuer.to_owned(),
            client_id: carried.client_id.to_owned(),
            redirect_uri: carried.redirect_uri.to_owned(),
            begun_at: Timestamp::from_micros(carried.begun_at),
            state: Secret::new(carried.state.to_owned()),
            nonce: Secret::new(carried.nonce.to_owned()),
            verifier: Secret::new(carried.verifier.to_owned()),
        })
    }

    /// The address that the person's browser is sent to.
    pub(crate) fn url(&self, authorization: &Url, scopes: &[String]) -> Url {
        let challenge = digest::digest(&digest::SHA256, self.verifier.expose().as_bytes());
        let mut url = authorization.clone();
        url.query_pairs_mut()
            .append_pair("client_id", &self.client_id)
            .append_pair("response_type", "code")
            .append_pair("response_mode", "query")
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", self.state.expose())
            .append_pair("nonce", self.nonce.expose())
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        url
    }

    /// The code of a callback that belongs to this flow and comes from its provider. `names_itself`: the provider says that it puts
    /// its `iss` into callbacks (RFC 9207).
    pub(crate) fn code<'a>(
        &self,
        callback: &'a Callback,
        names_itself: bool,
        now: Timestamp,
    ) -> Result<&'a Secret<String>, SignInError> {
        // First: without it nothing else in the callback is worth looking at (RFC 6749 section 10.12).
        if !self.has_state(callback.state.as_deref().unwrap_or_default()) {
            return Err(SignInError::State);
        }
        if now.since(self.begun_at) >= PATIENCE || self.begun_at > now.plus(SKEW) {
            return Err(SignInError::TooLate);
        }
        // A callback that names an issuer is never taken for another's, announced or not.
        let named = callback.iss.as_deref();
        if named.is_some_and(|named| named != self.issuer) || (named.is_none() && names_itself) {
            return Err(SignInError::Issuer { provider: self.provider.clone() });
        }
        if let Some(code) = &callback.error {
            return Err(SignInError::Declined { provider: self.provider.clone(), code: code.clone() });
        }
        callback.code.as_ref().ok_or(SignInError::Callback { what: "it has neither a code nor an error" })
    }
}

/// What the provider's redirect brought back, unverified.
#[derive(Debug, Default)]
pub struct Callback {
    code: Option<Secret<String>>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<OauthCode>,
}

impl Callback {
    /// Reads the query of a callback, without its `?`. Parameters we do not know do not matter; one of ours given twice does.
    ///
    /// # Errors
    /// [`SignInError::Callback`].
    pub fn from_query(query: &str) -> Result<Self, SignInError> {
        let unreadable = |what| SignInError::Callback { what };
        if query.len() > MAX_QUERY {
            return Err(unreadable("it is too long"));
        }
        let mut url = Url::parse("http://localhost/").map_err(|_| unreadable("it is no query"))?;
        url.set_query(Some(query));
        let (mut code, mut state, mut iss, mut error, mut description) = (None, None, None, None, None);
        for (name, value) in url.query_pairs() {
            let place = match name.as_ref() {
                "code" => &mut code,
                "state" => &mut state,
                "iss" => &mut iss,
                "error" => &mut error,
                "error_description" => &mut description,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(unreadable("a parameter occurs twice"));
            }
        }
        if code.is_some() && error.is_some() {
            return Err(unreadable("it has a code and an error"));
        }
        let error = error.map(|error| OauthCode::new(&error, description.as_deref()));
        let code = code.filter(|code| !code.is_empty()).map(Secret::new);
        Ok(Self { code, state, iss, error })
    }

    /// The `state`, to find the flow by.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// 256 random bits, 43 characters of base64url.
pub(crate) fn random() -> Result<Secret<String>, SignInError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)
        .map_err(|_| SignInError::Internal { detail: "no random numbers from the system".to_owned() })?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://idp.example";

    fn flow() -> Flow {
        Flow::new(
            "entra",
            ISSUER,
            "client",
            "https://gateway.example/auth/callback",
            Timestamp::from_seconds(1000),
        )
        .unwrap()
    }

    fn code(flow: &Flow, query: &str, names_itself: bool, at: i64) -> Result<String, SignInError> {
        let callback = Callback::from_query(&query.replace("STATE", flow.state.expose()))?;
        let code = flow.code(&callback, names_itself, Timestamp::from_seconds(at))?;
        Ok(code.expose().clone())
    }

    #[test]
    fn a_flow_reads_back_and_shows_nothing() {
        let flow = flow();
        let text = flow.to_text();
        assert!(text.expose().len() < 1024);
        let back = Flow::from_text(text.expose()).unwrap();
        assert!(
            back.has_state(flow.state.expose()) && back.verifier.matches(flow.verifier.expose().as_bytes())
        );
        assert_eq!(
            (back.provider(), back.redirect_uri(), back.begun_at),
            ("entra", flow.redirect_uri(), flow.begun_at)
        );
        let shown = format!("{flow:?}");
        for secret in [&flow.state, &flow.nonce, &flow.verifier] {
            assert!(!shown.contains(secret.expose()), "{shown}");
        }
        for bad in ["", "e30", "!", &text.expose()[1..], &"A".repeat(MAX_TEXT + 1)] {
            assert!(Flow::from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_two_flows_share_anything() {
        let (one, other) = (flow(), flow());
        assert!(!one.has_state(other.state.expose()));
        assert!(!one.nonce.matches(other.nonce.expose().as_bytes()));
        assert!(!one.verifier.matches(other.verifier.expose().as_bytes()));
        assert!(!one.has_state(""));
    }

    #[test]
    fn a_callback_counts_for_its_own_flow_in_its_time_from_its_provider() {
        let flow = flow();
        assert_eq!(code(&flow, "code=c&state=STATE&session_state=x", false, 1001).unwrap(), "c");
        assert_eq!(code(&flow, "code=c&state=STATE&iss=https%3A%2F%2Fidp.example", true, 1001).unwrap(), "c");
        let refused =
            |query: &str, names_itself, at| code(&flow, query, names_itself, at).unwrap_err().label();
        assert_eq!(refused("code=c&state=other", false, 1001), "state");
        assert_eq!(refused("code=c", false, 1001), "state");
        assert_eq!(refused("code=c&state=", false, 1001), "state");
        assert_eq!(
            refused("error=access_denied&state=other", false, 1001),
            "state",
            "not even its error is believed"
        );
        assert_eq!(refused("code=c&state=STATE", false, 1000 + 15 * 60), "too_late");
        assert_eq!(refused("code=c&state=STATE", false, 1000 - 61), "too_late", "of the future");
        assert_eq!(refused("code=c&state=STATE", true, 1001), "issuer", "announced and missing");
        assert_eq!(refused("code=c&state=STATE&iss=https%3A%2F%2Fevil.example", false, 1001), "issuer");
        assert_eq!(refused("error=access_denied&state=STATE", false, 1001), "declined");
        assert_eq!(refused("state=STATE", false, 1001), "callback");
        assert_eq!(refused("code=&state=STATE", false, 1001), "callback");
        assert_eq!(refused("code=c&code=d&state=STATE", false, 1001), "callback");
        assert_eq!(refused("code=c&state=STATE&state=STATE", false, 1001), "callback");
        assert_eq!(refused("code=c&error=x&state=STATE", false, 1001), "callback");
    }

    #[test]
    fn the_address_binds_the_code_to_the_verifier() {
        let mut flow = flow();
        // RFC 7636, appendix B.
        flow.verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        let url = flow.url(&"https://idp.example/authorize?x=1".parse().unwrap(), &["openid".to_owned()]);
        let query = url.query().unwrap();
        assert!(query.starts_with("x=1&client_id=client&response_type=code"), "{query}");
        assert!(query.contains(
            "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
        ));
        assert!(!query.contains(flow.verifier.expose()));
    }
}
