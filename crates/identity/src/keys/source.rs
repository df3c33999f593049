//! Keeping one issuer's keys: fetched when first needed, refreshed hourly in the background and on an unknown `kid`, the last good
//! ones kept when a refresh fails.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis_core::{Clock, Timestamp};
use reqwest::Url;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::KeySet;
use crate::{
    http::{self, Http},
    json,
};

/// Age at which keys are refreshed (Microsoft's guidance on signing key rollover: hourly).
const REFRESH_AFTER: Duration = Duration::from_secs(60 * 60);
/// Least time between two refreshes because of an unknown `kid`, and between two tries of a refresh that failed. A flood of made-up
/// `kid`s costs the issuer one request per this time.
const REFRESH_APART: Duration = Duration::from_secs(5 * 60);
/// Age past which keys that could not be refreshed are not relied on any more: a key may have been withdrawn meanwhile.
const KEEP_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// Least time between two tries while there are no keys at all.
const RETRY_COLD: Duration = Duration::from_secs(5);

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyLocation {
    /// A discovery document (OpenID Connect Discovery 1.0 section 4), which must name exactly this issuer.
    Discovery { document: Url, issuer: String },
    /// A key set.
    Url(Url),
    /// A key set in a file.
    File(PathBuf),
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery { issuer, .. } => f.write_str(issuer),
            Self::Url(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Keys as fetched once.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) set: KeySet,
    /// Entra: the cloud the metadata is of.
    pub(crate) cloud: Option<String>,
    /// Grows when what is published changes: what was verified under an older generation is verified again.
    pub(crate) generation: u64,
}

/// The keys of one issuer. Nothing here is ever keyed by `kid` alone: one source per issuer.
pub(crate) struct KeySource {
    location: KeyLocation,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while fetching: one fetch at a time, whoever asked.
    flight: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<Keys>>,
    fetched_at: Timestamp,
    attempted_at: Option<Timestamp>,
    forced_at: Option<Timestamp>,
    failure: Option<String>,
}

enum View {
    Usable { keys: Arc<Keys>, due: bool },
    Missing { wait: Option<String> },
}

impl KeySource {
    pub(crate) fn new(location: KeyLocation, http: Arc<Http>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { location, http, clock, state: Mutex::default(), flight: Arc::default() })
    }

    pub(crate) const fn location(&self) -> &KeyLocation {
        &self.location
    }

    /// The keys to verify with now. Waits only while there are none; an hourly refresh goes on behind the caller's back. Cancel safe: the
    /// fetch goes on.
    pub(crate) async fn current(self: &Arc<Self>) -> Result<Arc<Keys>, String> {
        match self.view() {
            View::Usable { keys, due: false } => Ok(keys),
            View::Usable { keys, due: true } => {
                if let Ok(flight) = Arc::clone(&self.flight).try_lock_owned() {
                    drop(tokio::spawn(Arc::clone(self).fetch(flight)));
                }
                Ok(keys)
            }
            View::Missing { wait: Some(failure) } => Err(failure),
            View::Missing { wait: None } => {
                let flight = Arc::clone(&self.flight).lock_owned().await;
                match self.view() {
                    View::Usable { keys, .. } => return Ok(keys),
                    View::Missing { wait: Some(failure) } => return Err(failure),
                    View::Missing { wait: None } => self.fetch_to_the_end(flight).await,
                }
                match self.view() {
                    View::Usable { keys, .. } => Ok(keys),
                    View::Missing { wait } => Err(wait.unwrap_or_else(|| "not fetched".to_owned())),
                }
            }
        }
    }

    /// Newer keys than `seen`, whose `kid`s did not have the one wanted: those somebody else fetched meanwhile, or fetched now if the last
    /// fetch for this reason is long enough ago.
    pub(crate) async fn newer_than(self: &Arc<Self>, seen: &Keys) -> Option<Arc<Keys>> {
        let newer = |source: &Self| {
            let state = source.lock();
            state.keys.as_ref().filter(|keys| keys.generation != seen.generation).cloned()
        };
        // Also when none may be started: one may be under way, begun for a peer that has hung up since.
        let flight = Arc::clone(&self.flight).lock_owned().await;
        if let Some(keys) = newer(self) {
            return Some(keys);
        }
        if self.forced_recently() {
            return None;
        }
        self.lock().forced_at = Some(self.clock.now());
        self.fetch_to_the_end(flight).await;
        newer(self)
    }

    /// Refreshes keys that are due, for a caller that keeps them warm. Does nothing before their first use.
    pub(crate) async fn refresh_if_due(self: &Arc<Self>) {
        if matches!(self.view(), View::Usable { due: true, .. })
            && let Ok(flight) = Arc::clone(&self.flight).try_lock_owned()
        {
            self.fetch_to_the_end(flight).await;
        }
    }

    fn forced_recently(&self) -> bool {
        let now = self.clock.now();
        self.lock().forced_at.is_some_and(|at| now.since(at) < REFRESH_APART)
    }

    fn view(&self) -> View {
        let now = self.clock.now();
        let state = self.lock();
        let since_attempt = state.attempted_at.map_or(Duration::MAX, |at| now.since(at));
        match &state.keys {
            Some(keys) if now.since(state.fetched_at) < KEEP_AT_MOST => View::Usable {
                keys: Arc::clone(keys),
                due: now.since(state.fetched_at) >= REFRESH_AFTER && since_attempt >= REFRESH_APART,
            },
            _ => View::Missing { wait: state.failure.clone().filter(|_| since_attempt < RETRY_COLD) },
        }
    }

    /// In a task of its own, so that a peer that asks and hangs up cannot abort the fetch that uses up the interval. It ends with its two
    /// requests, each bounded in time.
    async fn fetch_to_the_end(self: &Arc<Self>, flight: OwnedMutexGuard<()>) {
        // A join error is a panic in the fetch; the state then has no newer keys, which the caller sees.
        drop(tokio::spawn(Arc::clone(self).fetch(flight)).await);
    }

    async fn fetch(self: Arc<Self>, _flight: OwnedMutexGuard<()>) {
        self.lock().attempted_at = Some(self.clock.now());
        let fetched = self.read().await;
        let now = self.clock.now();
        let mut state = self.lock();
        // Counted from its end: whoever waited for a slow failure gets that failure, not a turn of his own.
        state.attempted_at = Some(now);
        match fetched {
            Ok((set, cloud)) => {
                let unchanged = state.keys.as_ref().filter(|keys| keys.set == set && keys.cloud == cloud);
                if unchanged.is_none() {
                    let generation = state.keys.as_ref().map_or(1, |keys| keys.generation.saturating_add(1));
                    tracing::info!(of = %self.location, keys = set.published(), generation, "identity provider's keys changed");
                    state.keys = Some(Arc::new(Keys { set, cloud, generation }));
                }
                state.fetched_at = now;
                state.failure = None;
                metrics::counter!("portcullis_identity_key_fetches_total", "outcome" => "ok").increment(1);
            }
            Err(failure) => {
                // Last known good: the keys stay, up to KEEP_AT_MOST.
                tracing::warn!(of = %self.location, %failure, kept = state.keys.is_some(), "cannot fetch an identity provider's keys");
                state.failure = Some(failure);
                metrics::counter!("portcullis_identity_key_fetches_total", "outcome" => "failed")
                    .increment(1);
            }
        }
    }

    async fn read(&self) -> Result<(KeySet, Option<String>), String> {
        let (bytes, cloud) = match &self.location {
            KeyLocation::File(path) => (read_file(path).await?, None),
            KeyLocation::Url(url) => (self.document(url, "key set").await?, None),
            KeyLocation::Discovery { document, issuer } => {
                let bytes = self.document(document, "discovery document").await?;
                let metadata = Metadata::parse(&bytes, issuer, document)?;
                (self.document(&metadata.keys, "key set").await?, metadata.cloud)
            }
        };
        Ok((KeySet::parse(&bytes).map_err(|error| error.to_string())?, cloud))
    }

    async fn document(&self, url: &Url, what: &str) -> Result<Vec<u8>, String> {
        let answer = self.http.get(url, None).await.map_err(|error| format!("{what}: {error}"))?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("{what}: answered with status {status}")),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a discovery document counts.
pub(crate) struct Metadata {
    pub(crate) keys: Url,
    pub(crate) cloud: Option<String>,
}

impl Metadata {
    /// OpenID Connect Discovery 1.0 section 4.3: the issuer must be exactly the one asked about, else one issuer could speak for another.
    pub(crate) fn parse(bytes: &[u8], issuer: &str, document: &Url) -> Result<Self, String> {
        let map = json::object(bytes)
            .map_err(|_| "discovery document: not one JSON object with distinct keys".to_owned())?;
        if map.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err("discovery document: `issuer` is not the configured one".to_owned());
        }
        let keys: Url = map
            .get("jwks_uri")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| "discovery document: `jwks_uri` is not an address".to_owned())?;
        // An issuer on the network must not point the gateway at its own loopback services.
        let inward = http::is_loopback(&keys) && !http::is_loopback(document);
        if !http::is_allowed(&keys) || inward {
            return Err("discovery document: `jwks_uri` is not an address that may be asked".to_owned());
        }
        let cloud = map.get("cloud_instance_name").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { keys, cloud })
    }
}

async fn read_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use tokio::io::AsyncReadExt as _;
    let file = tokio::fs::File::open(path).await.map_err(|error| format!("key set file: {error}"))?;
    let mut bytes = Vec::new();
    let limit = http::MAX_BODY as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).await.map_err(|error| format!("key set file: {error}"))?;
    if bytes.len() > http::MAX_BODY {
        return Err(format!("key set file: longer than {} bytes", http::MAX_BODY));
    }
    Ok(bytes)
}
