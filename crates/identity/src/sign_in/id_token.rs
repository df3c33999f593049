//! Id tokens (OpenID Connect Core 1.0 section 3.1.3.7): who signed in, told to the application that asked.

use portcullis_core::{Secret, Timestamp};
use portcullis_policy::{ProviderConfig, ProviderKind};
use serde_json::Value;

use super::error::SignInError;
use crate::{
    Error,
    claims::{self, Claims},
    entra::{self, Issuers},
    jose::Unverified,
    keys::source::Keys,
    verify,
};

/// Who an id token says signed in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// `sub`. In Entra it differs for each application.
    pub(crate) sub: String,
    /// Entra's `oid`, lower case.
    pub(crate) oid: Option<String>,
    /// When the token ends.
    pub(crate) expires_at: Timestamp,
}

/// What an id token must be for.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    /// The nonce of the flow; `None` after a renewal, which has no flow (section 12.2).
    pub(crate) nonce: Option<&'a Secret<String>>,
}

/// Verifies signature, key and claims.
pub(crate) fn verify(
    config: &ProviderConfig,
    token: &str,
    keys: &Keys,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Person, SignInError> {
    let refused = |error| SignInError::IdToken { error };
    let token = Unverified::parse(token).map_err(refused)?;
    let algorithm = verify::pinned(config, &token.header).map_err(refused)?;
    let key = verify::select(config, keys, &token.header).map_err(refused)?;
    key.verify(algorithm, token.signed, &token.signature).map_err(|_| refused(Error::Signature))?;
    let person = check(&token, expected, now)?;
    if let ProviderKind::Entra(entra) = &config.kind {
        let claims = Claims::new(&token.claims);
        let tenant = claims.text("tid", "`tid` is not text").map_err(refused)?;
        if tenant != entra.tenant {
            return Err(refused(Error::Tenant));
        }
        let v2 = Issuers::of(entra).v2;
        entra::check_key(key, keys.cloud.as_deref(), tenant, expected.issuer, &v2).map_err(refused)?;
    }
    Ok(person)
}

/// The claims, without the signature: enough only where the token came straight from the token endpoint over TLS (section 3.1.3.7,
/// point 6) and decides nothing, as in the terminal.
pub(crate) fn check(
    token: &Unverified<'_>,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Person, SignInError> {
    let refused = |error| SignInError::IdToken { error };
    if token.header.typ.as_deref().is_some_and(|typ| typ != "jwt") {
        return Err(refused(Error::TokenType { what: "its `typ` is not an id token's" }));
    }
    let claims = Claims::new(&token.claims);
    if claims.has("events") {
        return Err(refused(Error::TokenType { what: "it is a security event or a logout token" }));
    }
    if claims.text("iss", "`iss` is not text").map_err(refused)? != expected.issuer {
        return Err(refused(Error::Issuer));
    }
    let expires_at = claims.check_times(now).map_err(refused)?.expires_at;
    claims.check_audience(&[expected.client_id.to_owned()]).map_err(refused)?;
    let azp = claims.optional_text("azp", "`azp` is not text").map_err(refused)?;
    let several = claims.value("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
    if azp.map_or(several, |azp| azp != expected.client_id) {
        return Err(refused(Error::Audience));
    }
    if let Some(nonce) = expected.nonce {
        let told = claims::text(claims.value("nonce")).unwrap_or_default();
        if !nonce.matches(told.as_bytes()) {
            return Err(SignInError::Nonce);
        }
    }
    Ok(Person {
        sub: claims.text("sub", "`sub` is not text").map_err(refused)?.to_owned(),
        oid: claims::text(claims.value("oid")).map(str::to_ascii_lowercase),
        expires_at,
    })
}
