//! People signing in: an OpenID Connect relying party (authorization code with PKCE) over the providers of the documents.
//!
//! INVARIANT(sign-in-through-identify): who somebody is is what [`Identity::identify`] says of the token, as for everybody else; the
//! sign-in only proves that the token was made for the person at this browser, now.
//!
//! OpenID Connect Core 1.0 section 3.1, RFC 6749, RFC 7636 (PKCE), RFC 9207 (issuer in callbacks), RFC 9700 (security best practice).

use std::{sync::Arc, time::Duration};

use portcullis_core::{PrincipalKey, PrincipalKind, Secret, Timestamp};
use portcullis_policy::{ProviderKind, SignIn, SignInToken};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Authenticated, Identity, http, identity::SignInParts, jose::Unverified};

pub(crate) mod endpoints;
mod error;
pub(crate) mod flow;
pub(crate) mod grant;
pub(crate) mod id_token;

pub use error::{OauthCode, SignInError};
pub use flow::{Callback, Flow};

use endpoints::Endpoints;
use grant::{Asker, Granted, NotGranted};
use id_token::{Expected, Person};

/// How long a list of providers waits for one of them.
const VIEW_WAIT: Duration = Duration::from_secs(1);

/// Signs people in with the providers that `identity` has in force. Cheap to make and to clone: it keeps nothing of its own.
#[derive(Clone, Debug)]
pub struct SignIns {
    identity: Arc<Identity>,
}

/// A sign-in that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Where to send the browser. Holds nothing that must not be in its history.
    pub url: Url,
    /// What to keep for [`SignIns::finish`].
    pub flow: Flow,
}

/// Somebody signed in, or signed in anew with a refresh token.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub who: Authenticated,
    /// The provider's name.
    pub provider: String,
    /// The token that says so: the access token, or the id token where the provider has `token: id`.
    pub token: Secret<String>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What gets the next one, where the provider gave one.
    pub refresh: Option<Secret<String>>,
}

/// What a sign-in page, or `portcullis login`, needs to know of a provider. Nothing secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInView {
    /// Its name in the documents.
    pub name: String,
    /// `entra` or `oidc`.
    pub kind: String,
    /// Whose discovery document to read.
    pub issuer: String,
    /// The application to sign in to.
    pub client_id: String,
    /// What to ask for.
    pub scopes: Vec<String>,
    /// Whether it has the device flow (RFC 8628).
    pub device: bool,
    /// Which token to present to the gateway: `access` or `id`.
    pub token: String,
}

/// One provider with sign-in, for one call.
struct Provider<'a> {
    parts: SignInParts<'a>,
    sign_in: SignIn,
    endpoints: Arc<Endpoints>,
}

impl SignIns {
    /// For the providers of `identity`, whichever are in force when asked.
    pub const fn new(identity: Arc<Identity>) -> Self {
        Self { identity }
    }

    /// The providers people sign in with, in the documents' order. Reads discovery documents that are not known yet, for a second each
    /// at most; a provider that does not answer is listed without the device flow. Cancel safe.
    pub async fn views(&self) -> Vec<SignInView> {
        let mut views = Vec::new();
        for name in self.identity.sign_in_names() {
            let Some(parts) = self.identity.sign_in_parts(&name) else { continue };
            let Some(sign_in) = &parts.provider.config.sign_in else { continue };
            let endpoints = tokio::time::timeout(VIEW_WAIT, parts.provider.endpoints.current()).await;
            let device = matches!(endpoints, Ok(Ok(endpoints)) if endpoints.device.is_some());
            views.push(SignInView {
                kind: parts.provider.config.kind.as_str().to_owned(),
                issuer: issuer(&parts).to_owned(),
                client_id: sign_in.client_id.clone(),
                scopes: scopes(sign_in),
                device,
                token: sign_in.token.as_str().to_owned(),
                name,
            });
        }
        views
    }

    /// Begins a sign-in that will come back to `redirect_uri`, an address of ours that the provider knows. Where several providers sign
    /// people in, give each an address of its own: then a code that a bad provider had another one send cannot arrive as its own
    /// (RFC 9700 section 4.4.2.2); providers that name themselves in callbacks are checked by that name besides. Cancel safe.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn begin(&self, provider: &str, redirect_uri: &str) -> Result<Begun, SignInError> {
        let redirect: Option<Url> = redirect_uri.parse().ok();
        if !redirect.is_some_and(|url| http::is_allowed(&url)) {
            let detail = "the address to come back to is neither `https` nor `http` on loopback".to_owned();
            return Err(SignInError::Internal { detail });
        }
        let provider = self.provider(provider).await?;
        let (name, client) = (provider.name(), &provider.sign_in.client_id);
        let now = provider.parts.clock.now();
        let flow = Flow::new(name, &provider.endpoints.issuer, client, redirect_uri, now)?;
        let url = flow.url(&provider.endpoints.authorization, &scopes(&provider.sign_in));
        Ok(Begun { url, flow })
    }

    /// Finishes it with what the browser brought back to `arrived_at` (the `redirect_uri` of the route that was called). The code is
    /// redeemed at the provider the flow began with and nowhere else. Not cancel safe: a code works once.
    ///
    /// # Errors
    /// [`SignInError`]; whoever it was, where that is proven, is in [`SignInError::Rejected`].
    pub async fn finish(
        &self,
        flow: Flow,
        callback: &Callback,
        arrived_at: &str,
    ) -> Result<SignedIn, SignInError> {
        let outcome = self.redeem(&flow, callback, arrived_at).await;
        count("finish", &outcome);
        outcome
    }

    /// Signs in anew with a refresh token; `of` is who signed in. Afterwards the old refresh token may be worth nothing: keep
    /// [`SignedIn::refresh`] where there is one. Not cancel safe.
    ///
    /// # Errors
    /// [`SignInError`]; [`SignInError::Refused`] means that the person has to sign in again.
    pub async fn refresh(
        &self,
        provider: &str,
        refresh: &Secret<String>,
        of: &PrincipalKey,
    ) -> Result<SignedIn, SignInError> {
        let outcome = self.renew(provider, refresh, of).await;
        count("refresh", &outcome);
        outcome
    }

    /// Where to send a browser that logs out, so that the provider ends its own session too; `None` where it has no such address.
    /// `back_to` must be known to the provider. Cancel safe.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn end_session(
        &self,
        provider: &str,
        back_to: Option<&str>,
    ) -> Result<Option<Url>, SignInError> {
        let provider = self.provider(provider).await?;
        let Some(mut url) = provider.endpoints.end_session.clone() else { return Ok(None) };
        // OpenID Connect RP-Initiated Logout 1.0 section 2: the client's id in place of an id token, which would be in the history.
        url.query_pairs_mut().append_pair("client_id", &provider.sign_in.client_id);
        if let Some(back_to) = back_to {
            url.query_pairs_mut().append_pair("post_logout_redirect_uri", back_to);
        }
        Ok(Some(url))
    }

    async fn provider(&self, name: &str) -> Result<Provider<'_>, SignInError> {
        let parts = self.identity.sign_in_parts(name).ok_or(SignInError::Provider)?;
        let sign_in = parts.provider.config.sign_in.clone().ok_or(SignInError::Provider)?;
        let endpoints = parts.provider.endpoints.current().await;
        let unavailable = |detail| SignInError::Unavailable { provider: name.to_owned(), detail };
        Ok(Provider { endpoints: endpoints.map_err(unavailable)?, parts, sign_in })
    }

    async fn redeem(
        &self,
        flow: &Flow,
        callback: &Callback,
        arrived_at: &str,
    ) -> Result<SignedIn, SignInError> {
        // Before anything is asked of anybody.
        if !flow.has_state(callback.state().unwrap_or_default()) {
            return Err(SignInError::State);
        }
        if arrived_at != flow.redirect_uri {
            return Err(SignInError::Issuer { provider: flow.provider.clone() });
        }
        let provider = self.provider(&flow.provider).await?;
        // INVARIANT(code-stays-with-its-provider): the name may mean another provider by now.
        if provider.endpoints.issuer != flow.issuer || provider.sign_in.client_id != flow.client_id {
            return Err(SignInError::Changed { provider: flow.provider.clone() });
        }
        let code = flow.code(callback, provider.endpoints.names_itself, provider.parts.clock.now())?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose().as_str()),
            ("redirect_uri", flow.redirect_uri.as_str()),
            ("code_verifier", flow.verifier.expose().as_str()),
        ];
        let granted = provider.tokens(&form).await?;
        let id = granted.id.as_ref().ok_or_else(|| provider.unavailable("it gave no id token"))?;
        let person = provider.person(id, Some(&flow.nonce)).await?;
        self.believe(&provider, granted, Some(&person)).await
    }

    async fn renew(
        &self,
        provider: &str,
        refresh: &Secret<String>,
        of: &PrincipalKey,
    ) -> Result<SignedIn, SignInError> {
        let provider = self.provider(provider).await?;
        let scope = scopes(&provider.sign_in).join(" ");
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose().as_str()),
            ("scope", scope.as_str()),
        ];
        let granted = provider.tokens(&form).await?;
        let person = match &granted.id {
            Some(id) => Some(provider.person(id, None).await?),
            None => None,
        };
        let signed_in = self.believe(&provider, granted, person.as_ref()).await?;
        if signed_in.who.principal().key() != *of {
            return Err(SignInError::Subject);
        }
        Ok(signed_in)
    }

    /// Lets the token speak for itself, and checks that it speaks for the person of the id token.
    async fn believe(
        &self,
        provider: &Provider<'_>,
        granted: Granted,
        person: Option<&Person>,
    ) -> Result<SignedIn, SignInError> {
        let token = match provider.sign_in.token {
            SignInToken::Access => granted.access,
            SignInToken::Id => granted.id.ok_or_else(|| provider.unavailable("it gave no id token"))?,
        };
        // Some issuers' access tokens name no client. It was given to ours, just now.
        let who = self.identity.identify(&token).await?.given_to(&provider.sign_in.client_id);
        let principal = who.principal();
        if principal.provider != provider.name() {
            return Err(SignInError::Subject);
        }
        if let Some(person) = person {
            let same = match &provider.parts.provider.config.kind {
                // Entra's `sub` differs between an application and an API; the object is the same.
                ProviderKind::Entra(_) => person.oid.as_deref() == Some(principal.object_id.as_str()),
                ProviderKind::Oidc(_) => subject(&token).is_some_and(|sub| sub == person.sub),
            };
            if !same {
                return Err(SignInError::Subject);
            }
        }
        if principal.kind != PrincipalKind::User {
            return Err(SignInError::NotAPerson);
        }
        let (provider, expires_at) = (principal.provider.clone(), principal.expires_at);
        Ok(SignedIn { who, provider, token, expires_at, refresh: granted.refresh })
    }
}

impl Provider<'_> {
    fn name(&self) -> &str {
        &self.parts.provider.config.name
    }

    fn unavailable(&self, detail: &str) -> SignInError {
        SignInError::Unavailable { provider: self.name().to_owned(), detail: detail.to_owned() }
    }

    async fn tokens(&self, form: &[(&str, &str)]) -> Result<Granted, SignInError> {
        let secret = match &self.sign_in.client_secret {
            None => None,
            Some(reference) => Some(self.parts.secrets.resolve(reference).map_err(|error| {
                let detail = format!("the client secret of provider `{}`: {error}", self.name());
                SignInError::Internal { detail }
            })?),
        };
        let secret = secret.as_ref().map(|secret| (secret, self.endpoints.secret_in));
        let asker = Asker { client_id: &self.sign_in.client_id, secret };
        asker.tokens(&self.parts.http, &self.endpoints.token, form).await.map_err(|error| match error {
            NotGranted::Refused(code) => SignInError::Refused { provider: self.name().to_owned(), code },
            NotGranted::Unavailable(detail) => self.unavailable(&format!("its token endpoint: {detail}")),
        })
    }

    /// Verifies an id token.
    async fn person(
        &self,
        id: &Secret<String>,
        nonce: Option<&Secret<String>>,
    ) -> Result<Person, SignInError> {
        let header = Unverified::parse(id.expose()).map_err(|error| SignInError::IdToken { error })?.header;
        let keys = self.parts.provider.keys_for(header.kid.as_deref()).await;
        let keys = keys.map_err(|detail| self.unavailable(&format!("its keys: {detail}")))?;
        let (issuer, client_id) = (self.endpoints.issuer.as_str(), self.sign_in.client_id.as_str());
        let expected = Expected { issuer, client_id, nonce };
        let now = self.parts.clock.now();
        id_token::verify(&self.parts.provider.config, id.expose(), &keys, &expected, now)
    }
}

/// What is asked for: as the documents say, and always an id token, which carries the nonce.
fn scopes(sign_in: &SignIn) -> Vec<String> {
    let mut scopes = sign_in.scopes.clone();
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.push("openid".to_owned());
    }
    scopes
}

/// The issuer whose discovery document is read: of Entra's two, the one of v2.0.
fn issuer<'a>(parts: &'a SignInParts<'_>) -> &'a str {
    parts.provider.issuers.last().map(String::as_str).unwrap_or_default()
}

/// `sub` of a token that was verified.
fn subject(token: &Secret<String>) -> Option<String> {
    let token = Unverified::parse(token.expose()).ok()?;
    token.claims.get("sub").and_then(Value::as_str).map(str::to_owned)
}

fn count(step: &'static str, outcome: &Result<SignedIn, SignInError>) {
    let outcome = outcome.as_ref().map_or_else(SignInError::label, |_| "ok");
    metrics::counter!("portcullis_identity_sign_ins_total", "step" => step, "outcome" => outcome)
        .increment(1);
}
