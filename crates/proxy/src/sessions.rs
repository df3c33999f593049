//! The live sessions: who is here, what they may do now, and how they are told to end.
//!
//! **Promises.** A registered session is told its end, once, with the first reason given; INVARIANT(ends-at): a session
//! past its `ends_at` is told so whether or not bytes flow, also when the clock is set. Rules of a live session are
//! swapped whole. What is dropped is gone from the registry. An idle session costs one allocation here and no timer.
//!
//! **Does not** decide that a session must end (`access`, `identity`, an administrator) nor say goodbye on the wire
//! (protocols do, from [`SessionControl::poll_ended`]).
//!
//! **How to read it**: this file is the registry, [`control`] is the session's end of it, `deadlines` ends sessions on
//! time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use portcullis_core::{Clock, EndReason, SessionFacts, SessionId, Timestamp};
use tokio::sync::Notify;

use crate::metrics;

pub mod control;
mod deadlines;

pub use control::{Activity, SessionControl, Traffic};
use deadlines::Deadlines;

/// The live sessions. `R` is what a session's relay consults per operation: what is in force for it.
#[derive(Debug)]
pub struct Sessions<R: Send + Sync + 'static> {
    shared: Arc<Shared<R>>,
}

#[derive(Debug)]
struct Shared<R> {
    live: Mutex<HashMap<SessionId, Arc<SessionControl<R>>>>,
    deadlines: Deadlines,
    draining: AtomicBool,
    /// Told whenever a session leaves.
    left: Notify,
    /// Bytes and statements of sessions that are gone, so that totals only grow.
    past: Past,
}

#[derive(Debug, Default)]
struct Past {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    statements: AtomicU64,
}

/// What one live session looks like from outside.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// What is fixed for it.
    pub facts: Arc<SessionFacts>,
    /// What it has done so far.
    pub traffic: Traffic,
    /// Why it is ending, once it was told to.
    pub ending: Option<EndReason>,
}

/// A session's place in the registry. Dropping it takes the session out, however its task ended.
#[must_use = "dropping the handle takes the session out of the registry"]
#[derive(Debug)]
pub struct SessionHandle<R: Send + Sync + 'static> {
    shared: Arc<Shared<R>>,
    control: Arc<SessionControl<R>>,
}

impl<R: Send + Sync + 'static> Sessions<R> {
    /// An empty registry, with the task that ends sessions on time. The task stops when the registry and every
    /// session are gone. Must be called inside a Tokio runtime.
    pub fn start(clock: Arc<dyn Clock>) -> Arc<Self> {
        let shared = Arc::new(Shared {
            live: Mutex::default(),
            deadlines: Deadlines::default(),
            draining: AtomicBool::new(false),
            left: Notify::new(),
            past: Past::default(),
        });
        let weak = Arc::downgrade(&shared);
        let wake = shared.deadlines.wake();
        tokio::spawn(deadlines::run(wake, clock, move |now| {
            let shared = weak.upgrade()?;
            for session in shared.deadlines.due(now) {
                shared.end(session, EndReason::WindowOver);
            }
            Some(shared.deadlines.next())
        }));
        Arc::new(Self { shared })
    }

    /// Enters a session. It ends at `facts.ends_at`, if that is set. A session that enters while the gateway drains
    /// is told to leave when idle, as all others are.
    pub fn register(&self, facts: Arc<SessionFacts>, rules: Arc<R>) -> SessionHandle<R> {
        let session = facts.session;
        let ends_at = facts.ends_at;
        let control = Arc::new(SessionControl::new(facts, rules));
        {
            let mut live = self.shared.live();
            live.insert(session, Arc::clone(&control));
            metrics::live_sessions(live.len());
        }
        // After the insert: a drain that misses the session in the map is seen here.
        if self.shared.draining.load(std::sync::atomic::Ordering::SeqCst) {
            control.drain();
        }
        if let Some(ends_at) = ends_at {
            self.shared.deadlines.add(ends_at, session);
        }
        SessionHandle { shared: Arc::clone(&self.shared), control }
    }

    /// The sessions that are live, oldest first.
    pub fn list(&self) -> Vec<LiveSession> {
        let mut sessions: Vec<LiveSession> =
            self.shared.live().values().map(|live| live.snapshot()).collect();
        sessions.sort_by_key(|live| live.facts.session);
        sessions
    }

    /// The controls of the sessions that are live: for reloading rules and checking liveness, outside the lock.
    pub fn controls(&self) -> Vec<Arc<SessionControl<R>>> {
        self.shared.live().values().cloned().collect()
    }

    /// How many sessions are live.
    pub fn count(&self) -> usize {
        self.shared.live().len()
    }

    /// Tells one session to end. Whether it was live and had not been told before.
    pub fn end(&self, session: SessionId, reason: EndReason) -> bool {
        self.shared.end(session, reason)
    }

    /// Tells every session for which `matches` holds to end, and says how many were told. `matches` runs outside the
    /// registry's lock.
    pub fn end_where(&self, mut matches: impl FnMut(&SessionFacts) -> bool, reason: &EndReason) -> usize {
        self.controls()
            .into_iter()
            .filter(|control| matches(control.facts()) && control.end(reason.clone()))
            .count()
    }

    /// Lets sessions finish: idle ones leave at once, busy ones when they become idle, and after `limit` all are told
    /// to end with [`EndReason::Drained`]. Returns when none is left or `goodbye` after that, with how many are left:
    /// the caller drops their tasks. Cancel safe; calling it again continues.
    pub async fn drain(&self, limit: Duration, goodbye: Duration) -> usize {
        self.shared.draining.store(true, std::sync::atomic::Ordering::SeqCst);
        for control in self.controls() {
            control.drain();
        }
        if tokio::time::timeout(limit, self.empty()).await.is_err() {
            self.end_where(|_| true, &EndReason::Drained);
            let _ = tokio::time::timeout(goodbye, self.empty()).await;
        }
        self.count()
    }

    /// Waits until no session is live. Cancel safe.
    pub async fn empty(&self) {
        loop {
            let left = self.shared.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }

    /// What all sessions, past and live, have done since the start.
    pub fn totals(&self) -> Traffic {
        let live = self.shared.live();
        let past = &self.shared.past;
        let start = Traffic {
            bytes_in: past.bytes_in.load(Relaxed),
            bytes_out: past.bytes_out.load(Relaxed),
            statements: past.statements.load(Relaxed),
        };
        live.values().fold(start, |sum, live| sum.plus(live.traffic()))
    }

    /// Brings the byte and statement counters of `/metrics` up to date. Called when they are read.
    pub fn publish_metrics(&self) {
        metrics::traffic(self.totals());
    }
}

impl<R> Shared<R> {
    fn live(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<SessionControl<R>>>> {
        // The map is valid after every statement that changes it: a panic elsewhere does not spoil it.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, session: SessionId, reason: EndReason) -> bool {
        let control = self.live().get(&session).cloned();
        control.is_some_and(|control| control.end(reason))
    }
}

impl<R: Send + Sync + 'static> SessionHandle<R> {
    /// What the relay consults.
    pub fn control(&self) -> &Arc<SessionControl<R>> {
        &self.control
    }
}

impl<R: Send + Sync + 'static> std::ops::Deref for SessionHandle<R> {
    type Target = SessionControl<R>;

    fn deref(&self) -> &Self::Target {
        &self.control
    }
}

impl<R: Send + Sync + 'static> Drop for SessionHandle<R> {
    fn drop(&mut self) {
        let facts = self.control.facts();
        if let Some(ends_at) = facts.ends_at {
            self.shared.deadlines.remove(ends_at, facts.session);
        }
        {
            let mut live = self.shared.live();
            live.remove(&facts.session);
            // Under the lock, so that totals never count a session twice or not at all.
            let traffic = self.control.traffic();
            self.shared.past.bytes_in.fetch_add(traffic.bytes_in, Relaxed);
            self.shared.past.bytes_out.fetch_add(traffic.bytes_out, Relaxed);
            self.shared.past.statements.fetch_add(traffic.statements, Relaxed);
            metrics::live_sessions(live.len());
        }
        self.shared.left.notify_waiters();
    }
}

/// Whether `facts` are past their end.
pub fn is_over(facts: &SessionFacts, now: Timestamp) -> bool {
    facts.ends_at.is_some_and(|end| end <= now)
}
