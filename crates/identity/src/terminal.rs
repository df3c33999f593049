//! Signing in from a terminal: a public client (RFC 8252) of one provider, which needs no gateway.
//!
//! The provider's device flow (RFC 8628), or a browser that comes back to a port of this machine. What is got is presented to the
//! gateway, which verifies it as it does any token: here only what protects the person is checked (state, nonce, issuer, PKCE).

use std::{sync::Arc, time::Duration};

use portcullis_core::{Clock, Secret, Timestamp};
use reqwest::Url;

use crate::{
    http::{self, Http},
    jose::Unverified,
    provider::DISCOVERY,
    sign_in::{
        SignInError, SignInView,
        endpoints::Endpoints,
        flow::Flow,
        grant::{Asker, Granted, NotGranted},
        id_token::{self, Expected},
    },
};

mod device;
mod loopback;

pub use device::DeviceCode;
pub use loopback::Loopback;

/// Longest lifetime of a token that is believed here: it only decides when to renew.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// One provider, as a public client signs in with it.
pub struct Terminal {
    http: Http,
    clock: Arc<dyn Clock>,
    view: SignInView,
    endpoints: Endpoints,
}

/// What a sign-in gave.
#[derive(Debug)]
pub struct Tokens {
    /// The one to present to the gateway.
    pub token: Secret<String>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What gets the next one.
    pub refresh: Option<Secret<String>>,
    /// The id token, which logging out may name.
    pub id: Option<Secret<String>>,
}

/// What was ended at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The provider took the refresh token back, or ended its session.
    Yes,
    /// It offers neither.
    NotOffered,
}

impl Terminal {
    /// Reads where the provider signs people in. Cancel safe.
    ///
    /// # Errors
    /// [`SignInError::Unavailable`].
    pub async fn open(view: SignInView, clock: Arc<dyn Clock>) -> Result<Self, SignInError> {
        let unavailable = |detail: String| SignInError::Unavailable { provider: view.name.clone(), detail };
        let document = format!("{}{DISCOVERY}", view.issuer.strip_suffix('/').unwrap_or(&view.issuer));
        let document: Option<Url> = document.parse().ok();
        let document = document
            .filter(http::is_allowed)
            .ok_or_else(|| unavailable("its issuer is neither `https` nor `http` on loopback".to_owned()))?;
        let http = Http::new().map_err(unavailable)?;
        let endpoints = Endpoints::fetch(&http, &view.issuer, &document).await.map_err(unavailable)?;
        Ok(Self { http, clock, view, endpoints })
    }

    /// Whether the provider has the device flow.
    pub const fn has_device(&self) -> bool {
        self.endpoints.device.is_some()
    }

    /// Gets new tokens for a refresh token, which may be worth nothing afterwards. Not cancel safe.
    ///
    /// # Errors
    /// [`SignInError::Refused`]: sign in again.
    pub async fn refresh(&self, refresh: &Secret<String>) -> Result<Tokens, SignInError> {
        let scope = self.scope();
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose().as_str()),
            ("scope", scope.as_str()),
        ];
        let granted = self.asker().tokens(&self.http, &self.endpoints.token, &form).await;
        let mut tokens = self.take(granted.map_err(|error| self.not_granted(error))?, None)?;
        // RFC 6749 section 6: without a new one the old one goes on.
        tokens.refresh = tokens.refresh.or_else(|| Some(refresh.clone()));
        Ok(tokens)
    }

    /// Ends the sign-in at the provider as far as it offers that: revocation of the refresh token (RFC 7009), else the end of its session
    /// (OpenID Connect RP-Initiated Logout 1.0). Cancel safe.
    ///
    /// # Errors
    /// [`SignInError::Unavailable`].
    pub async fn end(
        &self,
        refresh: Option<&Secret<String>>,
        id: Option<&Secret<String>>,
    ) -> Result<Ended, SignInError> {
        let answer = match (&self.endpoints.revocation, &self.endpoints.end_session, refresh) {
            (Some(revocation), _, Some(refresh)) => {
                let form = [
                    ("token", refresh.expose().as_str()),
                    ("token_type_hint", "refresh_token"),
                    ("client_id", self.view.client_id.as_str()),
                ];
                self.http.post_form(revocation, &form).await
            }
            (_, Some(end_session), _) => {
                let mut form = vec![("client_id", self.view.client_id.as_str())];
                form.extend(id.map(|id| ("id_token_hint", id.expose().as_str())));
                // Posted, so that the token is in no address.
                self.http.post_form(end_session, &form).await
            }
            _ => return Ok(Ended::NotOffered),
        };
        match answer {
            Ok(answer) if answer.status < 400 => Ok(Ended::Yes),
            Ok(answer) => {
                Err(self.unavailable(&format!("logging out: answered with status {}", answer.status)))
            }
            Err(error) => Err(self.unavailable(&format!("logging out: {error}"))),
        }
    }

    fn asker(&self) -> Asker<'_> {
        Asker { client_id: &self.view.client_id, secret: None }
    }

    fn scope(&self) -> String {
        self.view.scopes.join(" ")
    }

    /// The tokens of a grant; `flow` where there is one whose nonce the id token must carry.
    fn take(&self, granted: Granted, flow: Option<&Flow>) -> Result<Tokens, SignInError> {
        let now = self.clock.now();
        let mut ends = None;
        if let Some(id) = &granted.id {
            let parsed = Unverified::parse(id.expose()).map_err(|error| SignInError::IdToken { error })?;
            let nonce = flow.map(|flow| &flow.nonce);
            let expected =
                Expected { issuer: &self.endpoints.issuer, client_id: &self.view.client_id, nonce };
            ends = Some(id_token::check(&parsed, &expected, now)?.expires_at);
        } else if flow.is_some() && self.view.scopes.iter().any(|scope| scope == "openid") {
            return Err(self.unavailable("it gave no id token"));
        }
        let (token, expires_at) = match (self.view.token.as_str(), &granted.id, ends) {
            ("id", Some(id), Some(ends)) => (id.clone(), ends.min(now.plus(LONGEST))),
            ("id", _, _) => return Err(self.unavailable("it gave no id token")),
            _ => (granted.access, now.plus(granted.lives)),
        };
        Ok(Tokens { token, expires_at, refresh: granted.refresh, id: granted.id })
    }

    fn not_granted(&self, error: NotGranted) -> SignInError {
        match error {
            NotGranted::Refused(code) => SignInError::Refused { provider: self.view.name.clone(), code },
            NotGranted::Unavailable(detail) => self.unavailable(&detail),
        }
    }

    fn unavailable(&self, detail: &str) -> SignInError {
        SignInError::Unavailable { provider: self.view.name.clone(), detail: detail.to_owned() }
    }
}
