//! The upstream's catalog: what its names mean, read once per database and read again when something may have changed it.
//!
//! **Promises.** Read over a session of its own, opened under the permit of whoever needs it, with every setting that could
//! change what it sees pinned. Statements that change structure make it be read again before the next one is judged.
//! Changes made past the gateway are seen within [`HARD_AGE`].
//!
//! **Does not** interpret what it reads (`sql` does).
//!
//! **How to read it**: [`DatabaseCatalog`] (sharing and freshness), `catalog/load.rs` (the queries).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use portcullis_access::Permit;
use portcullis_core::{ConnectionName, Timestamp};
use portcullis_mask::HashKey;
use portcullis_policy::SessionRules;
use portcullis_proxy::gate::Gate;
use portcullis_sql::{CatalogSnapshot, MaskMap};

use crate::{connect, masking::Masks, upstream::Logins};

pub(crate) mod load;

/// A catalog older than this is read again in the background while it is used.
pub const SOFT_AGE: Duration = Duration::from_secs(20);

/// A catalog older than this is read again before anything is judged by it: the first statement after a pause, too.
pub const HARD_AGE: Duration = Duration::from_secs(30);

/// Reading a catalog takes no longer than this.
const LOAD_LIMIT: Duration = Duration::from_secs(20);

/// One database: the connection and the name, where that is not the server's default.
type Database = (ConnectionName, Option<String>);

/// The most sets of masks remembered for one database.
const MAX_MASKS: usize = 64;

/// How a catalog's own session begins: nothing that could change what it sees is left to defaults.
const PARAMETERS: [(&str, &str); 5] = [
    ("application_name", "portcullis catalog"),
    ("default_transaction_read_only", "on"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("search_path", "pg_catalog"),
];

/// The catalogs of every database sessions go to.
#[derive(Default)]
pub struct Catalogs {
    databases: Mutex<HashMap<Database, Arc<DatabaseCatalog>>>,
}

impl std::fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogs").finish_non_exhaustive()
    }
}

/// The catalog could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the upstream's catalog cannot be read: {0}")]
pub struct LoadError(pub(crate) String);

/// The catalog of one database, shared by its sessions.
pub struct DatabaseCatalog {
    current: ArcSwapOption<CatalogSnapshot>,
    /// Counts invalidations: a load that began before one is not the last word.
    invalidations: AtomicU64,
    loaded_generation: AtomicU64,
    loaded_at: AtomicI64,
    /// What is masked in it, by what binds a principal: see [`SessionMasks::key`].
    masks: Mutex<HashMap<Arc<str>, Arc<Masks>>>,
    loading: tokio::sync::Mutex<()>,
}

impl Catalogs {
    /// The catalog of the database a permit leads to.
    pub fn of(&self, permit: &Permit) -> Arc<DatabaseCatalog> {
        let key = (permit.connection().name.clone(), permit.facts().database.clone());
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(databases.entry(key).or_insert_with(|| Arc::new(DatabaseCatalog::new())))
    }

    /// Forgets everything: connections may lead elsewhere now.
    pub fn clear(&self) {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl DatabaseCatalog {
    fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            invalidations: AtomicU64::new(1),
            loaded_generation: AtomicU64::new(0),
            loaded_at: AtomicI64::new(0),
            masks: Mutex::default(),
            loading: tokio::sync::Mutex::new(()),
        }
    }

    /// What is known, unless a statement has changed it since.
    pub fn current(&self) -> Option<Arc<CatalogSnapshot>> {
        if self.loaded_generation.load(SeqCst) < self.invalidations.load(SeqCst) {
            return None;
        }
        self.current.load_full()
    }

    /// What was last known, whether or not it is still true: for records where nothing is judged.
    pub fn last_known(&self) -> Option<Arc<CatalogSnapshot>> {
        self.current.load_full()
    }

    /// A statement that changes structure has landed.
    pub fn invalidate(&self) {
        self.invalidations.fetch_add(1, SeqCst);
    }

    /// Whether it is time to read it again though nothing is known to have changed.
    pub fn is_old(&self, now: Timestamp) -> bool {
        self.age(now) > SOFT_AGE
    }

    /// Whether nothing may be judged by it any more.
    pub fn is_too_old(&self, now: Timestamp) -> bool {
        self.age(now) > HARD_AGE
    }

    fn age(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_micros(self.loaded_at.load(SeqCst)))
    }

    /// The masks of a session in this database; the outer `None` where they must be worked out first.
    #[expect(clippy::option_option, reason = "not known and none are different answers")]
    pub(crate) fn masks(
        &self,
        rules: &SessionRules,
        catalog: &Arc<CatalogSnapshot>,
    ) -> Option<Option<Arc<Masks>>> {
        let Some(masks) = rules.masks() else { return Some(None) };
        let known = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(masks.key()).filter(|known| Arc::ptr_eq(&known.catalog, catalog));
        found.map(|masks| masks.has_work().then(|| Arc::clone(masks)))
    }

    /// Works out what is masked in the database for a session. Views are parsed: not for the reactor.
    ///
    /// # Errors
    /// The work was lost.
    pub(crate) async fn work_out_masks(
        self: &Arc<Self>,
        gate: &Gate,
        connection: &ConnectionName,
        rules: &SessionRules,
        catalog: &Arc<CatalogSnapshot>,
    ) -> Result<Option<Arc<Masks>>, LoadError> {
        if let Some(known) = self.masks(rules, catalog) {
            return Ok(known);
        }
        let Some(masks) = rules.masks().map(Arc::clone) else { return Ok(None) };
        let key =
            |what: &str| HashKey::new(gate.fingerprints.derive(&format!("{what} of {connection}")).into());
        let keys = (key("mask hash"), key("mask hash of findings"));
        let catalog = Arc::clone(catalog);
        let work = tokio::task::spawn_blocking(move || {
            let map = MaskMap::build(&catalog, &Masks::column_rules(&masks));
            Arc::new(Masks::new(masks, Arc::new(map), catalog, keys))
        });
        let masks = work.await.map_err(|error| LoadError(error.to_string()))?;
        let mut known = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, others| Arc::ptr_eq(&others.catalog, &masks.catalog));
        if known.len() >= MAX_MASKS {
            known.clear();
        }
        known.insert(Arc::clone(masks.rules.key()), Arc::clone(&masks));
        Ok(masks.has_work().then_some(masks))
    }

    /// Reads it, unless that has become unnecessary while waiting for another reader. The reading goes on when the asker is gone: a
    /// catalog that takes longer than a login may take is there for the next one.
    ///
    /// Cancel safety: dropping it leaves the reading to itself.
    ///
    /// # Errors
    /// The upstream could not be reached, or does not answer as expected.
    pub async fn refresh(
        self: &Arc<Self>,
        gate: &Arc<Gate>,
        logins: &Arc<Logins>,
        permit: &Arc<Permit>,
    ) -> Result<Arc<CatalogSnapshot>, LoadError> {
        let (this, gate) = (Arc::clone(self), Arc::clone(gate));
        let (logins, permit) = (Arc::clone(logins), Arc::clone(permit));
        let reading = tokio::spawn(async move {
            let _turn = this.loading.lock().await;
            match this.current() {
                Some(current) if !this.is_old(gate.clock.now()) => Ok(current),
                _ => this.read(&gate, &logins, &permit).await,
            }
        });
        reading.await.map_err(|error| LoadError(error.to_string()))?
    }

    async fn read(
        &self,
        gate: &Gate,
        logins: &Logins,
        permit: &Permit,
    ) -> Result<Arc<CatalogSnapshot>, LoadError> {
        let generation = self.invalidations.load(SeqCst);
        let began = gate.clock.now();
        let reading = async {
            let parameters: Vec<(String, String)> =
                PARAMETERS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let opened = connect::open(gate, logins, permit, &parameters).await;
            load::read(opened.map_err(|error| LoadError(error.to_string()))?.transport).await
        };
        let snapshot = tokio::time::timeout(LOAD_LIMIT, reading)
            .await
            .map_err(|_| LoadError("the upstream did not answer in time".to_owned()))??;
        let snapshot = Arc::new(snapshot);
        self.current.store(Some(Arc::clone(&snapshot)));
        self.loaded_generation.store(generation, SeqCst);
        self.loaded_at.store(began.as_micros(), SeqCst);
        Ok(snapshot)
    }
}
