//! The path of one token, and of one question about a live session.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use portcullis_core::{Clock, Principal, PrincipalKind, Secret, Timestamp};
use portcullis_policy::{ProviderConfig, ProviderKind, ResolveSecret};

use crate::{
    Authenticated, ConfigureError, Error, GroupSource,
    graph::{Finding, Subject},
    http::Http,
    jose::Unverified,
    liveness::Known,
    provider::{Parts, Provider, Providers},
    token_cache::{self, Digest, Entry, TokenCache},
    verify::{self, GroupClaim},
};

/// Verifies tokens and knows whether their principals are still good. One per gateway.
pub struct Identity {
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn ResolveSecret>,
    tools: OnceLock<Tools>,
    providers: ArcSwap<Providers>,
    configuring: Mutex<()>,
    next_id: AtomicU64,
}

struct Tools {
    http: Arc<Http>,
    tokens: TokenCache,
}

/// Whether the principal of a live session may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// It may; the groups are as the directory has them now.
    Good(Arc<Principal>),
    /// It may not: disabled, deleted, its provider gone, or not confirmed for longer than the grace.
    Revoked {
        /// What was found: for the audit log, and safe to show to the client.
        detail: String,
    },
    /// The directory does not answer, for less than the grace so far: the session goes on, and is asked about again.
    Unknown {
        /// What failed, for operators.
        detail: String,
    },
}

/// What a SASL OAUTHBEARER server tells a client without a good token (RFC 7628 section 3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthChallenge {
    /// Address of the issuer's discovery document.
    pub openid_configuration: String,
    /// The scope to ask for.
    pub scope: String,
}

impl OauthChallenge {
    /// The error message of RFC 7628 section 3.2.2, as JSON.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "status": "invalid_token",
            "openid-configuration": self.openid_configuration,
            "scope": self.scope,
        })
        .to_string()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("providers", &self.providers.load().all().len())
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Longest token looked at, in bytes. With 200 groups an Entra token is 12 KB; whatever is longer than this is no token.
    pub const MAX_TOKEN: usize = 64 * 1024;

    /// Without providers, so that it accepts nothing; see [`Identity::configure`]. The environment's proxy variables and the platform's
    /// certificate store apply to what it fetches.
    pub fn new(clock: Arc<dyn Clock>, secrets: Arc<dyn ResolveSecret>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            secrets,
            tools: OnceLock::new(),
            providers: ArcSwap::default(),
            configuring: Mutex::new(()),
            next_id: AtomicU64::new(1),
        })
    }

    /// Puts these providers in force, all or (on error) none. Providers that did not change keep their keys, verified tokens and liveness;
    /// changed ones keep what the change leaves valid. Fetches nothing.
    pub fn configure(&self, configs: &[Arc<ProviderConfig>]) -> Result<(), ConfigureError> {
        let _configuring = self.configuring.lock().unwrap_or_else(PoisonError::into_inner);
        if self.tools.get().is_none() {
            let http = Http::new().map_err(|detail| ConfigureError::Http { detail })?;
            let tokens = TokenCache::new().map_err(|_| ConfigureError::Http {
                detail: "no random numbers from the system".to_owned(),
            })?;
            drop(self.tools.set(Tools { http: Arc::new(http), tokens }));
        }
        let Some(tools) = self.tools.get() else {
            return Err(ConfigureError::Http { detail: "not made".to_owned() });
        };
        let parts = Parts { http: &tools.http, secrets: &self.secrets, clock: &self.clock };
        let before = self.providers.load_full();
        let mut providers = Vec::new();
        for config in configs {
            let same_name = before.of_name(&config.name);
            providers.push(match same_name.filter(|before| verifies_alike(&before.config, config)) {
                Some(before) => Arc::clone(before),
                None => {
                    let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                    Arc::new(Provider::new(id, config, same_name.map(Arc::as_ref), &parts)?)
                }
            });
        }
        self.providers.store(Arc::new(Providers::new(providers)?));
        Ok(())
    }

    /// Verifies a token and asks the directory, where one is configured. Waits at most for one fetch of keys (5 s for each of two
    /// documents) and one question to the directory. Cancel safe.
    pub async fn authenticate(&self, token: &Secret<String>) -> Result<Authenticated, Error> {
        self.identify(token).await.map_err(|rejected| rejected.error)
    }

    /// As [`Identity::authenticate`]; says whose token it was where that is proven though the principal is not let in, so that
    /// the refusal can be attributed. Cancel safe.
    ///
    /// # Errors
    /// The error, and the principal where the token itself was good.
    pub async fn identify(&self, token: &Secret<String>) -> Result<Authenticated, Box<Rejected>> {
        let judged = self.judge(token.expose()).await;
        let outcome = judged.as_ref().map_or_else(|rejected| rejected.error.label(), |_| "ok");
        metrics::counter!("portcullis_identity_authentications_total", "outcome" => outcome).increment(1);
        judged
    }

    async fn judge(&self, token: &str) -> Result<Authenticated, Box<Rejected>> {
        let (provider, entry) = self.proven(token).await?;
        let (groups, source, name) = match self.groups(&provider, &entry).await {
            Ok(belonging) => belonging,
            Err(error) => {
                let principal = Some(Arc::new(entry.verified.principal.clone()));
                return Err(Box::new(Rejected { error, principal }));
            }
        };
        let mut principal = entry.verified.principal.clone();
        if let Some(name) = name {
            principal.name = name;
        }
        principal.groups = provider.names.name(groups);
        Ok(Authenticated::new(Arc::new(principal), source, self.clock.now()))
    }

    /// What the token itself proves.
    async fn proven(&self, token: &str) -> Result<(Arc<Provider>, Arc<Entry>), Error> {
        // Before any work, the digest included.
        if token.len() > Self::MAX_TOKEN {
            return Err(Error::TooLarge);
        }
        let tools = self.tools.get().ok_or(Error::Issuer)?;
        let digest = tools.tokens.digest(token);
        let providers = self.providers.load_full();
        match self.remembered(tools, &providers, &digest).await? {
            Some(remembered) => Ok(remembered),
            None => self.verify(tools, &providers, token, digest).await,
        }
    }

    /// A token verified before, if everything its verification rested on is still so.
    async fn remembered(
        &self,
        tools: &Tools,
        providers: &Providers,
        digest: &Digest,
    ) -> Result<Option<(Arc<Provider>, Arc<Entry>)>, Error> {
        let Some(entry) = tools.tokens.find(digest) else { return Ok(None) };
        let Some(provider) = providers.of_id(entry.provider) else { return Ok(None) };
        if self.clock.now() >= entry.verified.until {
            return Err(Error::Expired);
        }
        let keys = provider.keys.current().await.map_err(|detail| keys_unavailable(provider, detail))?;
        if keys.generation != entry.generation {
            return Ok(None);
        }
        metrics::counter!("portcullis_identity_tokens_remembered_total").increment(1);
        Ok(Some((Arc::clone(provider), entry)))
    }

    async fn verify(
        &self,
        tools: &Tools,
        providers: &Providers,
        token: &str,
        digest: Digest,
    ) -> Result<(Arc<Provider>, Arc<Entry>), Error> {
        let token = Unverified::parse(token)?;
        let provider = providers.of_issuer(token.issuer()?).ok_or(Error::Issuer)?;
        // Nothing is fetched for a token that could not be accepted whatever the keys are.
        let _algorithm = verify::check_header(&provider.config, &token.header)?;
        let keys = provider.keys_for(token.header.kid.as_deref()).await;
        let keys = keys.map_err(|detail| keys_unavailable(provider, detail))?;
        let id = token_cache::token_id(&digest);
        let verified = verify::verify(&provider.config, &token, &keys, self.clock.now(), &id)?;
        let entry = Arc::new(Entry { verified, provider: provider.id, generation: keys.generation });
        tools.tokens.insert(digest, Arc::clone(&entry));
        Ok((Arc::clone(provider), entry))
    }

    /// The ids of the groups: the directory's, where one is asked, since a token's are as old as the token (for managed identities up to a
    /// day); else the token's.
    async fn groups(&self, provider: &Provider, entry: &Entry) -> Result<Belonging, Error> {
        let unavailable =
            |detail: String| Error::DirectoryUnavailable { provider: provider.config.name.clone(), detail };
        if let Some(liveness) = &provider.liveness {
            let subject = Subject::of(&entry.verified.principal)
                .ok_or_else(|| unavailable("the ids are not the directory's".to_owned()))?;
            return match liveness.at_connect(&subject).await {
                Known::Fresh(finding) | Known::Silent { last: Some(finding), .. } => match finding {
                    Finding::Good { groups, name } => Ok((groups, GroupSource::Directory, name)),
                    Finding::Disabled => Err(Error::Disabled),
                    Finding::Deleted => Err(Error::Deleted),
                },
                Known::Silent { last: None, detail } | Known::Lost { detail } => Err(unavailable(detail)),
            };
        }
        match &entry.verified.groups {
            GroupClaim::Stated(ids) => Ok((ids.clone(), GroupSource::Token, None)),
            GroupClaim::Absent => Ok((Vec::new(), GroupSource::NotStated, None)),
            GroupClaim::Overage => Err(Error::GroupsOverage { provider: provider.config.name.clone() }),
        }
    }

    /// The providers whose tokens cannot be verified now, with the reason, for operators. Keys that are missing are fetched.
    /// Cancel safe: a fetch goes on.
    pub async fn unready(&self) -> Vec<(String, String)> {
        let providers = self.providers.load_full();
        let mut unready = Vec::new();
        for provider in providers.all() {
            if let Err(detail) = provider.keys.current().await {
                unready.push((provider.config.name.clone(), detail));
            }
        }
        unready
    }

    /// What signing in needs of this: the clock, the secrets, what to ask with, the provider of that name.
    pub(crate) fn sign_in_parts(&self, provider: &str) -> Option<SignInParts<'_>> {
        let http = Arc::clone(&self.tools.get()?.http);
        let provider = Arc::clone(self.providers.load().of_name(provider)?);
        Some(SignInParts { clock: self.clock.as_ref(), secrets: self.secrets.as_ref(), http, provider })
    }

    /// The names of the providers with which people sign in, in the documents' order.
    pub(crate) fn sign_in_names(&self) -> Vec<String> {
        let providers = self.providers.load();
        let signing_in = providers.all().iter().filter(|provider| provider.config.sign_in.is_some());
        signing_in.map(|provider| provider.config.name.clone()).collect()
    }

    /// Whether a live session's principal may go on, and its groups now. Cheap to call for every session: principals are asked about once
    /// per interval however many sessions they have; so it serves each request of a signed-in person too. Cancel safe.
    pub async fn recheck(&self, principal: &Principal) -> Standing {
        let standing = self.stand(principal).await;
        let outcome = match &standing {
            Standing::Good(_) => "good",
            Standing::Revoked { .. } => "revoked",
            Standing::Unknown { .. } => "unknown",
        };
        metrics::counter!("portcullis_identity_rechecks_total", "outcome" => outcome).increment(1);
        standing
    }

    async fn stand(&self, principal: &Principal) -> Standing {
        let revoked = |detail: &str| Standing::Revoked { detail: detail.to_owned() };
        let providers = self.providers.load_full();
        let Some(provider) = providers.of_name(&principal.provider) else {
            return revoked("its identity provider is no longer configured");
        };
        let tenant = match &provider.config.kind {
            ProviderKind::Entra(entra) => Some(entra.tenant.as_str()),
            ProviderKind::Oidc(_) => None,
        };
        if principal.tenant.as_deref() != tenant {
            return revoked("its identity provider is now another tenant");
        }
        let person =
            principal.kind == PrincipalKind::User || (tenant.is_some() && principal.subject.is_some());
        if person && !provider.config.allow_users {
            return revoked("its identity provider no longer accepts people");
        }
        let good = |ids: Vec<String>, name: Option<String>| {
            let groups = provider.names.name(ids);
            let name = name.unwrap_or_else(|| principal.name.clone());
            Standing::Good(Arc::new(Principal { groups, name, ..principal.clone() }))
        };
        let Some(liveness) = &provider.liveness else {
            return good(principal.groups.iter().map(|group| group.id.clone()).collect(), None);
        };
        let Some(subject) = Subject::of(principal) else {
            return revoked("its ids are not the directory's");
        };
        match liveness.at_poll(&subject).await {
            Known::Fresh(Finding::Good { groups, name }) => good(groups, name),
            Known::Fresh(Finding::Disabled) => revoked("the identity is disabled in the directory"),
            Known::Fresh(Finding::Deleted) => revoked("the identity does not exist in the directory"),
            Known::Silent { last: Some(Finding::Disabled | Finding::Deleted), .. } => {
                revoked("the identity was disabled or deleted when the directory last answered")
            }
            Known::Silent { detail, .. } => Standing::Unknown { detail },
            // What failed is in the log; the peer may be told this text.
            Known::Lost { .. } => revoked("the directory could not confirm the identity in time"),
        }
    }

    /// When [`Identity::recheck`] is next worth calling for this principal; `None` where its provider has no liveness, so that only a
    /// change of the documents can end its sessions.
    pub fn next_recheck(&self, principal: &Principal) -> Option<Timestamp> {
        let providers = self.providers.load();
        let liveness = providers.of_name(&principal.provider)?.liveness.as_ref()?;
        Some(Subject::of(principal).map_or_else(|| self.clock.now(), |subject| liveness.next_poll(&subject)))
    }

    /// Refreshes keys that are due. Optional: they are also refreshed when used; a gateway that calls this every few minutes notices a
    /// withdrawn key even while nobody connects.
    pub async fn refresh_keys(&self) {
        let providers = self.providers.load_full();
        for provider in providers.all() {
            provider.keys.refresh_if_due().await;
        }
    }

    /// Where a client without a good token can get one: of the provider named, else of the first configured. `None` without providers.
    pub fn oauth_challenge(&self, provider: Option<&str>) -> Option<OauthChallenge> {
        let providers = self.providers.load();
        let provider = match provider {
            Some(name) => providers.of_name(name)?,
            None => providers.all().first()?,
        };
        let scope = match &provider.config.kind {
            ProviderKind::Entra(_) => format!("{}/.default", provider.config.audience.first()?),
            ProviderKind::Oidc(_) => "openid".to_owned(),
        };
        Some(OauthChallenge { openid_configuration: provider.discovery.clone(), scope })
    }
}

/// See [`Identity::sign_in_parts`].
pub(crate) struct SignInParts<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) secrets: &'a dyn ResolveSecret,
    pub(crate) http: Arc<Http>,
    pub(crate) provider: Arc<Provider>,
}

/// A token that did not let its bearer in.
#[derive(Debug)]
pub struct Rejected {
    /// Why.
    pub error: Error,
    /// Who it was, where the token itself was good: groups are not known.
    pub principal: Option<Arc<Principal>>,
}

impl From<Error> for Box<Rejected> {
    fn from(error: Error) -> Self {
        Self::new(Rejected { error, principal: None })
    }
}

/// The ids of an identity's groups, who said so, and what the directory calls it.
type Belonging = (Vec<String>, GroupSource, Option<String>);

/// Whether two configurations differ only in where they stand in the documents.
fn verifies_alike(one: &ProviderConfig, other: &ProviderConfig) -> bool {
    let moved = ProviderConfig { location: one.location.clone(), ..other.clone() };
    *one == moved
}

fn keys_unavailable(provider: &Provider, detail: String) -> Error {
    Error::KeysUnavailable { provider: provider.config.name.clone(), detail }
}
