//! One identity provider in force: its configuration, and the keys and liveness that outlive a change of what does not concern them.

use std::{collections::HashMap, sync::Arc};

use portcullis_core::Clock;
use portcullis_policy::{JwksSource, ProviderConfig, ProviderKind, ResolveSecret};
use reqwest::Url;

use crate::{
    ConfigureError,
    entra::Issuers,
    graph::Graph,
    http::{self, Http},
    keys::{
        NoKey,
        source::{KeyLocation, KeySource, Keys},
    },
    liveness::Liveness,
    sign_in::endpoints::EndpointSource,
    verify::GroupNames,
};

/// Where discovery documents are (OpenID Connect Discovery 1.0 section 4).
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";

pub(crate) struct Provider {
    /// Distinct for every configuration ever in force.
    pub(crate) id: u64,
    pub(crate) config: Arc<ProviderConfig>,
    pub(crate) keys: Arc<KeySource>,
    pub(crate) liveness: Option<Arc<Liveness>>,
    pub(crate) names: GroupNames,
    /// The `iss` values routed here.
    pub(crate) issuers: Vec<String>,
    /// The discovery document clients are told about.
    pub(crate) discovery: String,
    /// Where people sign in; used only where the documents have `sign_in`.
    pub(crate) endpoints: Arc<EndpointSource>,
}

/// What a provider is made from besides its configuration.
pub(crate) struct Parts<'a> {
    pub(crate) http: &'a Arc<Http>,
    pub(crate) secrets: &'a Arc<dyn ResolveSecret>,
    pub(crate) clock: &'a Arc<dyn Clock>,
}

impl Provider {
    /// A provider for `config`, keeping from `before` (the one of the same name) the keys and the liveness that the change leaves valid.
    pub(crate) fn new(
        id: u64,
        config: &Arc<ProviderConfig>,
        before: Option<&Self>,
        parts: &Parts<'_>,
    ) -> Result<Self, ConfigureError> {
        let Places { issuers, issuer, discovery, document, location } = Self::places(config)?;
        let endpoints = match before.filter(|before| before.endpoints.is_of(&issuer, &document)) {
            Some(before) => Arc::clone(&before.endpoints),
            None => {
                let (http, clock) = (Arc::clone(parts.http), Arc::clone(parts.clock));
                Arc::new(EndpointSource::new(issuer, document, http, clock))
            }
        };
        let keys = match before.filter(|before| *before.keys.location() == location) {
            Some(before) => Arc::clone(&before.keys),
            None => KeySource::new(location, Arc::clone(parts.http), Arc::clone(parts.clock)),
        };
        let same_directory =
            |before: &&Self| before.config.kind == config.kind && before.config.liveness == config.liveness;
        let liveness = match (&config.kind, &config.liveness, before.filter(same_directory)) {
            (_, _, Some(before)) => before.liveness.clone(),
            (ProviderKind::Entra(entra), Some(settings), None) => {
                check_address(config, "`graph`", &settings.graph)?;
                let (secrets, clock) = (Arc::clone(parts.secrets), Arc::clone(parts.clock));
                let graph = Graph::new(entra, settings, Arc::clone(parts.http), secrets, clock);
                let clock = Arc::clone(parts.clock);
                Some(Arc::new(Liveness::new(graph, settings.interval, settings.grace, clock)))
            }
            (_, None, None) => None,
            (ProviderKind::Oidc(_), Some(_), None) => {
                return Err(setting(config, "`liveness: graph` is for `kind: entra` only"));
            }
        };
        Ok(Self {
            id,
            config: Arc::clone(config),
            keys,
            liveness,
            names: GroupNames::new(config),
            issuers,
            discovery,
            endpoints,
        })
    }

    /// The keys that should have `kid`: fetched anew where the ones there are do not, seldom enough.
    pub(crate) async fn keys_for(&self, kid: Option<&str>) -> Result<Arc<Keys>, String> {
        let keys = self.keys.current().await?;
        if keys.set.select(kid).is_err_and(|miss| miss == NoKey::Unknown)
            && let Some(newer) = self.keys.newer_than(&keys).await
        {
            return Ok(newer);
        }
        Ok(keys)
    }

    fn places(config: &ProviderConfig) -> Result<Places, ConfigureError> {
        let (issuers, issuer) = match &config.kind {
            ProviderKind::Entra(entra) => {
                let issuers = Issuers::of(entra);
                (vec![issuers.v1, issuers.v2.clone()], issuers.v2)
            }
            ProviderKind::Oidc(oidc) => (vec![oidc.issuer.clone()], oidc.issuer.clone()),
        };
        let url = check_address(config, "the issuer", &issuer)?;
        if url.query().is_some() {
            return Err(setting(config, "the issuer has a query"));
        }
        // A slash at the end of the issuer is removed first; Auth0's issuers have one.
        let discovery = format!("{}{DISCOVERY}", issuer.strip_suffix('/').unwrap_or(&issuer));
        let document = check_address(config, "the issuer", &discovery)?;
        let location = match &config.kind {
            ProviderKind::Oidc(oidc) => match &oidc.jwks {
                Some(JwksSource::File(path)) => KeyLocation::File(path.clone()),
                Some(JwksSource::Url(url)) => {
                    KeyLocation::Url(check_address(config, "`jwks`", url.as_str())?)
                }
                None => KeyLocation::Discovery { document: document.clone(), issuer: issuer.clone() },
            },
            ProviderKind::Entra(_) => {
                KeyLocation::Discovery { document: document.clone(), issuer: issuer.clone() }
            }
        };
        Ok(Places { issuers, issuer, discovery, document, location })
    }
}

/// Where a provider's tokens say they are from, and where it is asked.
struct Places {
    issuers: Vec<String>,
    /// The one whose discovery document is read.
    issuer: String,
    discovery: String,
    document: Url,
    location: KeyLocation,
}

fn check_address(config: &ProviderConfig, what: &str, text: &str) -> Result<Url, ConfigureError> {
    let url: Option<Url> = text.parse().ok();
    url.filter(http::is_allowed).ok_or_else(|| {
        setting(config, &format!("{what} is neither an `https` address nor `http` on loopback"))
    })
}

fn setting(config: &ProviderConfig, what: &str) -> ConfigureError {
    ConfigureError::Setting { provider: config.name.clone(), what: what.to_owned() }
}

/// The providers in force.
#[derive(Default)]
pub(crate) struct Providers {
    by_issuer: HashMap<String, Arc<Provider>>,
    in_order: Vec<Arc<Provider>>,
}

impl Providers {
    pub(crate) fn new(providers: Vec<Arc<Provider>>) -> Result<Self, ConfigureError> {
        let mut by_issuer: HashMap<String, Arc<Provider>> = HashMap::new();
        for provider in &providers {
            for issuer in &provider.issuers {
                if let Some(first) = by_issuer.insert(issuer.clone(), Arc::clone(provider)) {
                    let (first, second) = (first.config.name.clone(), provider.config.name.clone());
                    return Err(ConfigureError::SameIssuer { first, second });
                }
            }
        }
        Ok(Self { by_issuer, in_order: providers })
    }

    /// The provider whose issuer is exactly this.
    pub(crate) fn of_issuer(&self, issuer: &str) -> Option<&Arc<Provider>> {
        self.by_issuer.get(issuer)
    }

    pub(crate) fn of_name(&self, name: &str) -> Option<&Arc<Provider>> {
        self.in_order.iter().find(|provider| provider.config.name == name)
    }

    pub(crate) fn of_id(&self, id: u64) -> Option<&Arc<Provider>> {
        self.in_order.iter().find(|provider| provider.id == id)
    }

    pub(crate) fn all(&self) -> &[Arc<Provider>] {
        &self.in_order
    }
}
