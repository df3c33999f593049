//! Windows: just-in-time openings of grants, with a fixed end.
//!
//! Kept in memory (they are few and every connect asks), written through to the store before they count, journalled before
//! that. A restart loads what is still open or still counts for `cooldown` and `max_per_day`.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use portcullis_core::{ConnectionName, GrantId, PrincipalKey, Timestamp, WindowId};
use portcullis_policy::Grant;
use serde::{Deserialize, Serialize};

/// How far back opened windows count for `max_per_day`.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long ended windows are loaded for `cooldown`; no cooldown may be longer.
pub const LONGEST_COOLDOWN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// One opening of a grant for one principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its id.
    pub id: WindowId,
    /// For whom.
    pub principal: PrincipalKey,
    /// Their readable name at the time.
    pub name: String,
    /// Of which grant.
    pub grant: GrantId,
    /// To which connection.
    pub connection: ConnectionName,
    /// Why, as the asker put it; may be empty where the grant does not ask for a reason.
    pub reason: String,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it ends; fixed at opening, only ever moved earlier by a kill.
    pub ends_at: Timestamp,
}

/// The store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub String);

/// What `access` needs kept across restarts. Synchronous: callers are off the reactor.
pub trait WindowStore: Send + Sync {
    /// Every window that ends after `since`.
    fn windows_since(&self, since: Timestamp) -> Result<Vec<Window>, StoreError>;
    /// Keeps a new window, durably.
    fn insert_window(&self, window: &Window) -> Result<(), StoreError>;
    /// Moves a window's end earlier.
    fn end_window(&self, id: WindowId, at: Timestamp) -> Result<(), StoreError>;
    /// Every block in force after `now`.
    fn blocks_since(&self, now: Timestamp) -> Result<Vec<crate::Block>, StoreError>;
    /// Keeps a block, replacing one for the same principal and connection.
    fn put_block(&self, block: &crate::Block) -> Result<(), StoreError>;
    /// Lifts every block of a principal; says how many there were.
    fn lift_blocks(&self, principal: &PrincipalKey) -> Result<u64, StoreError>;
}

/// What a principal asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WindowRequest {
    /// To which connection.
    pub connection: String,
    /// Why; may be empty where the grant does not ask for a reason.
    #[serde(default)]
    pub reason: String,
    /// A lifetime shorter than the grant's, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
    /// Open at once, by a grant that names you for emergencies; a person reviews it afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

/// A request that opened nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// No such connection, or nothing to ask for: one answer.
    #[error("there is nothing to request: no grant gives you this connection on request")]
    NothingToAsk,
    /// The connection is open without asking.
    #[error("access needs no request: a standing grant gives you this connection")]
    NotNeeded,
    /// A condition does not hold now.
    #[error("access to this connection is not allowed under the present conditions")]
    NotNow,
    /// Blocked by an administrator.
    #[error("an administrator has blocked this identity")]
    Blocked,
    /// Too soon after the last window.
    #[error("the last window ended recently; ask again after {until}")]
    Cooldown {
        /// When asking works again.
        until: Timestamp,
    },
    /// Too many windows in the last 24 hours.
    #[error("the limit of {limit} windows in 24 hours is reached; ask again after {until}")]
    DailyLimit {
        /// How many are allowed.
        limit: u32,
        /// When asking works again.
        until: Timestamp,
    },
    /// The lifetime asked for is not usable.
    #[error("the lifetime must be between 1 second and the grant's {limit_seconds} seconds")]
    Lifetime {
        /// The grant's lifetime.
        limit_seconds: u64,
    },
    /// No grant names the asker for emergencies.
    #[error("no grant lets you open this connection at once; ask without break-glass")]
    NoBreakGlass,
    /// Too many requests of the asker wait.
    #[error("{limit} of your requests wait for answers already; wait for those, or withdraw some")]
    TooMany {
        /// How many may.
        limit: usize,
    },
    /// The reason is missing or too long.
    #[error("a reason of 1 to {} characters is needed", MAX_REASON)]
    Reason,
    /// Store or journal failed; nothing was opened.
    #[error("the gateway cannot open a window now; try again shortly")]
    Unavailable {
        /// For the log.
        detail: String,
    },
}

/// The longest reason, in characters.
pub const MAX_REASON: usize = 1000;

type Key = (PrincipalKey, GrantId);

/// The windows in memory. Every connect looks, on the reactor, so that the lock on the map is never held across a write;
/// asking is rare, waits for disks, and has a lock of its own.
#[derive(Default)]
pub(crate) struct Windows {
    by_key: Mutex<HashMap<Key, Vec<Window>>>,
    asking: Mutex<()>,
}

impl Windows {
    pub(crate) fn load(&self, windows: Vec<Window>) {
        let mut map = self.lock();
        for window in windows {
            map.entry((window.principal.clone(), window.grant.clone())).or_default().push(window);
        }
    }

    /// The window open at `now`, the one that ends last if there are several.
    pub(crate) fn open(&self, principal: &PrincipalKey, grant: &GrantId, now: Timestamp) -> Option<Window> {
        let map = self.lock();
        let windows = map.get(&(principal.clone(), grant.clone()))?;
        windows.iter().filter(|w| w.opened_at <= now && now < w.ends_at).max_by_key(|w| w.ends_at).cloned()
    }

    /// Opens a window or says why not. `keep` makes it durable before it counts. Askers take turns, so that two cannot pass one
    /// limit. Blocking.
    pub(crate) fn ask(
        &self,
        principal: &PrincipalKey,
        grant: &Grant,
        now: Timestamp,
        make: impl FnOnce() -> Window,
        keep: impl FnOnce(&Window) -> Result<(), StoreError>,
    ) -> Result<Window, RequestRefused> {
        let _turn = self.asking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(open) = self.may_open(principal, grant, now)? {
            return Ok(open);
        }
        let window = make();
        keep(&window).map_err(|error| RequestRefused::Unavailable { detail: error.to_string() })?;
        let key = (window.principal.clone(), window.grant.clone());
        self.lock().entry(key).or_default().push(window.clone());
        Ok(window)
    }

    /// Adds a window that is durable already.
    pub(crate) fn add(&self, window: Window) {
        let key = (window.principal.clone(), window.grant.clone());
        self.lock().entry(key).or_default().push(window);
    }

    /// The window that is open already, none where one may be opened, or why not.
    pub(crate) fn may_open(
        &self,
        principal: &PrincipalKey,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Option<Window>, RequestRefused> {
        let mut map = self.lock();
        let windows = map.entry((principal.clone(), grant.id.clone())).or_default();
        windows.retain(|w| w.ends_at.plus(LONGEST_COOLDOWN) > now);
        if let Some(open) = windows.iter().filter(|w| now < w.ends_at).max_by_key(|w| w.ends_at) {
            return Ok(Some(open.clone()));
        }
        if let (Some(cooldown), Some(last)) = (grant.cooldown, windows.iter().map(|w| w.ends_at).max()) {
            let until = last.plus(cooldown);
            if now < until {
                return Err(RequestRefused::Cooldown { until });
            }
        }
        let Some(limit) = grant.max_per_day else { return Ok(None) };
        let mut opened: Vec<Timestamp> =
            windows.iter().map(|w| w.opened_at).filter(|at| at.plus(DAY) > now).collect();
        opened.sort_unstable();
        let over =
            opened.len().saturating_add(1).saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        match over.checked_sub(1) {
            None => Ok(None),
            Some(last_over) => {
                let until = opened.get(last_over).map_or(Timestamp::MAX, |oldest| oldest.plus(DAY));
                Err(RequestRefused::DailyLimit { limit, until })
            }
        }
    }

    /// Ends a window early, in memory whatever becomes of `keep`, which makes it durable. Blocking.
    pub(crate) fn end(
        &self,
        id: WindowId,
        at: Timestamp,
        keep: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        {
            let mut map = self.lock();
            let Some(window) = map.values_mut().flatten().find(|w| w.id == id && at < w.ends_at) else {
                return Ok(false);
            };
            window.ends_at = at;
        }
        keep().map(|()| true)
    }

    pub(crate) fn of(&self, principal: &PrincipalKey, now: Timestamp) -> Vec<Window> {
        let map = self.lock();
        map.values().flatten().filter(|w| w.principal == *principal && now < w.ends_at).cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Vec<Window>>> {
        self.by_key.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
