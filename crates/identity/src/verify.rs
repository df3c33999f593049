//! The whole judgement of one token against one provider's configuration and keys, at one time: a function, without I/O.

use std::collections::HashMap;

use portcullis_core::{Principal, Timestamp};
use portcullis_policy::{Algorithm, ProviderConfig, ProviderKind, SignInToken};
use serde_json::Value;

use crate::{
    Error,
    claims::{Claims, SKEW},
    entra,
    jose::{Header, Unverified},
    keys::{Key, NoKey, source::Keys},
    oidc,
};

/// What a verified token said. The groups are still a claim: the directory may know better.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Without groups.
    pub(crate) principal: Principal,
    pub(crate) groups: GroupClaim,
    /// When the token stops being accepted: `exp` and the skew.
    pub(crate) until: Timestamp,
}

/// What a token says about groups. "None" and "not told" are different answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupClaim {
    /// These, possibly none.
    Stated(Vec<String>),
    /// Nothing.
    Absent,
    /// They did not fit (`_claim_names`, `hasgroups`). The address the token offers for them is never used.
    Overage,
}

/// What is the same for every check of one token.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a ProviderConfig,
    pub(crate) cloud: Option<&'a str>,
    pub(crate) key: &'a Key,
    pub(crate) now: Timestamp,
    /// Identifies the token where it has no id of its own.
    pub(crate) digest: &'a str,
}

impl Context<'_> {
    /// Whether this is an id token that stands for its person: only where the documents say so (`sign_in.token: id`), and only one made
    /// for the application people sign in to and for nobody else. Entra's have no client claim; its access tokens always do.
    pub(crate) fn id_token(&self, claims: &Claims<'_>) -> bool {
        let Some(sign_in) = self.config.sign_in.as_ref().filter(|sign_in| sign_in.token == SignInToken::Id)
        else {
            return false;
        };
        let sole = match claims.value("aud") {
            Some(Value::String(audience)) => Some(audience.as_str()),
            Some(Value::Array(audiences)) => match audiences.as_slice() {
                [Value::String(audience)] => Some(audience.as_str()),
                _ => None,
            },
            _ => None,
        };
        let access = match self.config.kind {
            ProviderKind::Entra(_) => claims.has("azp") || claims.has("appid"),
            ProviderKind::Oidc(_) => false,
        };
        sole == Some(sign_in.client_id.as_str()) && !access
    }

    /// Whether a token was issued to the application that people sign in to.
    pub(crate) fn of_sign_in(&self, application_id: Option<&str>) -> bool {
        let client = self.config.sign_in.as_ref().map(|sign_in| sign_in.client_id.as_str());
        client.is_some() && client == application_id
    }
}

/// The token's algorithm, which must be one of those pinned for the issuer.
pub(crate) fn pinned(config: &ProviderConfig, header: &Header) -> Result<Algorithm, Error> {
    let pinned = |algorithm: &Algorithm| match config.kind {
        // Entra signs with nothing else, whatever a document allows.
        ProviderKind::Entra(_) => *algorithm == Algorithm::RS256,
        ProviderKind::Oidc(_) => config.algorithms.contains(algorithm),
    };
    header.algorithm.filter(pinned).ok_or(Error::Algorithm)
}

/// The algorithm and type checks, which need no key: nothing is fetched for a token that fails them.
pub(crate) fn check_header(config: &ProviderConfig, header: &Header) -> Result<Algorithm, Error> {
    let algorithm = pinned(config, header)?;
    // RFC 8725 section 3.11. An absent `typ` is a plain JWT (RFC 7519 section 5.1).
    let typ = header.typ.as_deref().unwrap_or("jwt");
    if !config.types.iter().any(|accepted| accepted == typ) {
        return Err(Error::TokenType { what: "its `typ` is not one of those accepted" });
    }
    Ok(algorithm)
}

/// Exactly the published key the header names.
pub(crate) fn select<'a>(config: &ProviderConfig, keys: &'a Keys, header: &Header) -> Result<&'a Key, Error> {
    keys.set.select(header.kid.as_deref()).map_err(|miss| match miss {
        NoKey::Unknown => Error::UnknownKey { provider: config.name.clone() },
        NoKey::NotNamed => Error::Header { what: "`kid` is missing and the issuer has more than one key" },
    })
}

/// Finds the key, verifies the signature, then believes the claims as far as they hold.
pub(crate) fn verify(
    config: &ProviderConfig,
    token: &Unverified<'_>,
    keys: &Keys,
    now: Timestamp,
    digest: &str,
) -> Result<Verified, Error> {
    let algorithm = check_header(config, &token.header)?;
    let key = select(config, keys, &token.header)?;
    key.verify(algorithm, token.signed, &token.signature).map_err(|_| Error::Signature)?;
    let context = Context { config, cloud: keys.cloud.as_deref(), key, now, digest };
    believe(&context, &Claims::new(&token.claims))
}

/// Judges claims whose signature has been verified.
pub(crate) fn believe(context: &Context<'_>, claims: &Claims<'_>) -> Result<Verified, Error> {
    if context.id_token(claims) {
        claims.check_is_bearer()?;
    } else {
        claims.check_is_bearer_access_token()?;
    }
    let lifetime = claims.check_times(context.now)?;
    claims.check_audience(&context.config.audience)?;
    let (principal, groups) = match &context.config.kind {
        ProviderKind::Entra(entra) => entra::principal(context, entra, claims, lifetime)?,
        ProviderKind::Oidc(oidc) => oidc::principal(context, oidc, claims, lifetime)?,
    };
    Ok(Verified { principal, groups, until: lifetime.expires_at.plus(SKEW) })
}

/// Friendly names by group id: what `identity.groups` says, the other way round.
pub(crate) struct GroupNames {
    by_id: HashMap<String, Vec<String>>,
    /// Entra's ids are GUIDs, which compare without regard to case.
    fold: bool,
}

impl GroupNames {
    pub(crate) fn new(config: &ProviderConfig) -> Self {
        let fold = matches!(config.kind, ProviderKind::Entra(_));
        let mut by_id: HashMap<String, Vec<String>> = HashMap::new();
        for (name, id) in &config.groups {
            let id = if fold { id.to_ascii_lowercase() } else { id.clone() };
            by_id.entry(id).or_default().push(name.clone());
        }
        Self { by_id, fold }
    }

    /// The groups with these ids, each once, under each of its names, in a fixed order.
    pub(crate) fn name(&self, ids: impl IntoIterator<Item = String>) -> Vec<portcullis_core::GroupRef> {
        let mut groups = Vec::new();
        for id in ids {
            let id = if self.fold { id.to_ascii_lowercase() } else { id };
            match self.by_id.get(&id) {
                None => groups.push(portcullis_core::GroupRef { id, name: None }),
                Some(names) => groups.extend(
                    names
                        .iter()
                        .map(|name| portcullis_core::GroupRef { id: id.clone(), name: Some(name.clone()) }),
                ),
            }
        }
        groups.sort();
        groups.dedup();
        groups
    }
}
