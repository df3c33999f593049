//! Ends sessions on time: one ordered set and one task for all of them, so that a session carries no timer.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portcullis_core::{Clock, SessionId, Timestamp};
use tokio::sync::Notify;

/// The longest sleep while anything is pending. The clock may be set, or the machine suspended, while we sleep: an end
/// is late by this at most.
const MAX_SLEEP: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    pending: Mutex<BTreeSet<(Timestamp, SessionId)>>,
    wake: Arc<Notify>,
}

impl Deadlines {
    pub(super) fn add(&self, at: Timestamp, session: SessionId) {
        let is_next = {
            let mut pending = self.pending();
            pending.insert((at, session));
            pending.first() == Some(&(at, session))
        };
        if is_next {
            self.wake.notify_one();
        }
    }

    pub(super) fn remove(&self, at: Timestamp, session: SessionId) {
        self.pending().remove(&(at, session));
    }

    /// Takes out what is due at `now`.
    pub(super) fn due(&self, now: Timestamp) -> Vec<SessionId> {
        let mut pending = self.pending();
        let mut due = Vec::new();
        while let Some((at, session)) = pending.first().copied()
            && at <= now
        {
            pending.pop_first();
            due.push(session);
        }
        due
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.pending().first().map(|(at, _)| *at)
    }

    /// What tells the task to look again.
    pub(super) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    fn pending(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, SessionId)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        // The task holds no reference to us: it looks, finds us gone and stops.
        self.wake.notify_one();
    }
}

/// Calls `tick` with the time whenever something may be due, until it answers that nobody is left (`None`).
pub(super) async fn run(
    wake: Arc<Notify>,
    clock: Arc<dyn Clock>,
    tick: impl Fn(Timestamp) -> Option<Option<Timestamp>> + Send,
) {
    loop {
        let now = clock.now();
        let Some(next) = tick(now) else { return };
        match next {
            None => wake.notified().await,
            Some(at) => {
                let sleep = at.since(now).min(MAX_SLEEP);
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep(sleep) => {}
                }
            }
        }
    }
}
