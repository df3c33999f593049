//! [`DevIdp`]: the issuer's state, and the handles by which tests and demos change it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use portcullis_core::Clock;
use uuid::Uuid;

use crate::{
    claims::Resource,
    directory::{Directory, Lifetime},
    error::Error,
    keys::{Keys, SigningKey},
    world::World,
};

/// The issuer. Make one with [`DevIdp::new`], run it with [`DevIdp::serve`] or [`DevIdp::start`].
pub struct DevIdp {
    tenant: Uuid,
    token_lifetime: Lifetime,
    clock: Arc<dyn Clock>,
    authority: OnceLock<(SocketAddr, String)>,
    world: Mutex<World>,
    keys: Mutex<Keys>,
    pub(crate) faults: Faults,
    pub(crate) requests: Mutex<Requests>,
}

/// Failures asked for.
#[derive(Default)]
pub(crate) struct Faults {
    throttled: AtomicU64,
    graph_failing: AtomicBool,
    issuer_failing: AtomicBool,
    delta_epoch: AtomicU64,
}

/// How many requests were answered since the start, whatever the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// OpenID metadata documents.
    pub metadata: u64,
    /// JWKS documents.
    pub keys: u64,
    /// Token endpoint.
    pub token: u64,
    /// Sign-in page and its form.
    pub authorize: u64,
    /// Device codes given, and the page on which they are confirmed.
    pub device: u64,
    /// Logging out.
    pub logout: u64,
    /// Microsoft Graph over HTTP, a batch counted once.
    pub graph: u64,
    /// Graph operations by method and path shape, such as `GET servicePrincipals/{id}`; those inside batches included.
    pub graph_operations: BTreeMap<String, u64>,
}

impl DevIdp {
    /// An issuer for `directory`. Makes a signing key, which takes tens of milliseconds of CPU.
    pub fn new(directory: Directory, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        directory.check()?;
        Ok(Arc::new(Self {
            tenant: directory.tenant,
            token_lifetime: directory.token_lifetime,
            clock,
            authority: OnceLock::new(),
            world: Mutex::new(World::new(directory)),
            keys: Mutex::new(Keys::generate()?),
            faults: Faults::default(),
            requests: Mutex::new(Requests::default()),
        }))
    }

    /// The tenant id.
    pub const fn tenant(&self) -> Uuid {
        self.tenant
    }

    /// `http://127.0.0.1:PORT`: what every URL of the issuer starts with. An error before a listener is bound.
    pub fn authority(&self) -> Result<&str, Error> {
        self.authority.get().map(|(_, authority)| authority.as_str()).ok_or(Error::NotBound)
    }

    /// The issuer of v2.0 tokens, whose metadata a gateway is configured with.
    pub fn issuer(&self) -> Result<String, Error> {
        Ok(format!("{}/{}/v2.0", self.authority()?, self.tenant))
    }

    /// Enables or disables a service principal or user (object id, client id or name). Issued tokens stay valid.
    pub fn set_enabled(&self, who: &str, enabled: bool) -> Result<(), Error> {
        let mut world = self.world();
        let id = world.resolve(who)?;
        world.set_enabled(id, enabled)
    }

    /// Puts an object into a group, or takes it out; both by object id or name.
    pub fn set_member(&self, group: &str, who: &str, member: bool) -> Result<(), Error> {
        let mut world = self.world();
        let (group, who) = (world.resolve(group)?, world.resolve(who)?);
        world.set_member(group, who, member).map(|_| ())
    }

    /// Deletes a service principal, user or group.
    pub fn delete(&self, who: &str) -> Result<(), Error> {
        let mut world = self.world();
        let id = world.resolve(who)?;
        world.delete(id)
    }

    /// Signs with a new key from now on; the replaced key stays published for a day of the clock.
    pub fn rotate_keys(&self) -> Result<(), Error> {
        let next = SigningKey::generate()?;
        let now = self.clock.now();
        self.keys().rotate(next, now);
        Ok(())
    }

    /// Stops publishing replaced keys at once.
    pub fn withdraw_replaced_keys(&self) {
        self.keys().withdraw_replaced();
    }

    /// The name of the key that signs now.
    pub fn key_id(&self) -> String {
        self.keys().current().kid().to_owned()
    }

    /// Answers the next `count` Graph operations with 429 and `Retry-After: 1`.
    pub fn fail_next(&self, count: u64) {
        self.faults.throttled.store(count, Ordering::SeqCst);
    }

    /// Answers every Graph request with 503 while set.
    pub fn set_graph_failing(&self, failing: bool) {
        self.faults.graph_failing.store(failing, Ordering::SeqCst);
    }

    /// Answers metadata, JWKS and token requests with 503 while set.
    pub fn set_issuer_failing(&self, failing: bool) {
        self.faults.issuer_failing.store(failing, Ordering::SeqCst);
    }

    /// Makes every delta link handed out so far stale: 410 Gone, start again.
    pub fn expire_delta_links(&self) {
        self.faults.delta_epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// What was asked so far.
    pub fn requests(&self) -> Requests {
        self.count().clone()
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> Result<(), Error> {
        if !crate::server::is_loopback(address) {
            return Err(Error::NotLoopback(address));
        }
        let (bound, authority) = self.authority.get_or_init(|| (address, format!("http://{address}")));
        if *bound == address { Ok(()) } else { Err(Error::AlreadyBound(authority.clone())) }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    pub(crate) const fn token_lifetime(&self) -> Lifetime {
        self.token_lifetime
    }

    pub(crate) fn resource(&self, requested: &str) -> Result<Resource, Error> {
        Resource::find(&self.world(), requested).ok_or_else(|| Error::Unknown(requested.to_owned()))
    }

    // Nothing panics while one of these locks is held, so a poisoned one still guards whole state.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    /// Whether this Graph operation is one of those to throttle.
    pub(crate) fn take_throttle(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.throttled.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }

    pub(crate) fn graph_failing(&self) -> bool {
        self.graph_failing.load(Ordering::SeqCst)
    }

    pub(crate) fn issuer_failing(&self) -> bool {
        self.issuer_failing.load(Ordering::SeqCst)
    }

    pub(crate) fn delta_epoch(&self) -> u64 {
        self.delta_epoch.load(Ordering::SeqCst)
    }
}
