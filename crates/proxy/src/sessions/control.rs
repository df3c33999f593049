//! One session's end of the registry: what its relay selects on, consults and counts with.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
};

use arc_swap::{ArcSwap, Guard};
use atomic_waker::AtomicWaker;
use portcullis_core::{EndReason, SessionFacts, Timestamp};

use super::LiveSession;

/// What a relay is doing when it asks whether to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Between operations: outside a transaction, nothing outstanding. A drain may end the session here.
    Idle,
    /// In the middle of something that a drain should let finish.
    Busy,
}

/// What a session has moved and asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Operations decided.
    pub statements: u64,
}

impl Traffic {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            statements: self.statements.saturating_add(other.statements),
        }
    }
}

/// One live session, shared between its one task and whoever may end it. All methods are lock free.
#[derive(Debug)]
pub struct SessionControl<R> {
    facts: Arc<SessionFacts>,
    rules: ArcSwap<R>,
    ended: OnceLock<EndReason>,
    draining: AtomicBool,
    waker: AtomicWaker,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    statements: AtomicU64,
}

impl<R> SessionControl<R> {
    pub(super) fn new(facts: Arc<SessionFacts>, rules: Arc<R>) -> Self {
        Self {
            facts,
            rules: ArcSwap::new(rules),
            ended: OnceLock::new(),
            draining: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            statements: AtomicU64::new(0),
        }
    }

    /// What is fixed for the session.
    pub fn facts(&self) -> &Arc<SessionFacts> {
        &self.facts
    }

    /// The rules in force now: one atomic load. Do not hold the guard across an await.
    pub fn rules(&self) -> Guard<Arc<R>> {
        self.rules.load()
    }

    /// The rules in force now, to keep.
    pub fn rules_owned(&self) -> Arc<R> {
        self.rules.load_full()
    }

    /// Puts other rules in force: the next operation is decided by them.
    pub fn replace_rules(&self, rules: Arc<R>) {
        self.rules.store(rules);
    }

    /// Tells the session to end. Whether this was the first reason given, which is the one that counts.
    pub fn end(&self, reason: EndReason) -> bool {
        let first = self.ended.set(reason).is_ok();
        self.waker.wake();
        first
    }

    /// Why the session must end, if it was told to: one atomic load. The gate checks it before each operation, so
    /// that nothing is decided in a session that is over.
    pub fn ending(&self) -> Option<&EndReason> {
        self.ended.get()
    }

    /// Whether the session is past its end at `now`, told yet or not.
    pub fn is_over(&self, now: Timestamp) -> bool {
        super::is_over(&self.facts, now)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, SeqCst);
        self.waker.wake();
    }

    /// Ready once the session must end: at once where it was told to, and during a drain when it is
    /// [`Activity::Idle`]. One task may wait at a time: the session's own.
    pub fn poll_ended(&self, cx: &mut Context<'_>, activity: Activity) -> Poll<EndReason> {
        if let Some(reason) = self.end_now(activity) {
            return Poll::Ready(reason);
        }
        self.waker.register(cx.waker());
        // Told between the look and the registration: the wake-up went nowhere, so look again.
        self.end_now(activity).map_or(Poll::Pending, Poll::Ready)
    }

    fn end_now(&self, activity: Activity) -> Option<EndReason> {
        match self.ended.get() {
            Some(reason) => Some(reason.clone()),
            None if activity == Activity::Idle && self.draining.load(SeqCst) => {
                // The reason is now fixed, so that the registry and the relay agree on it.
                Some(self.ended.get_or_init(|| EndReason::Drained).clone())
            }
            None => None,
        }
    }

    /// Waits until the session must end. Cancel safe. For waits outside the relay: during the upstream's login, while
    /// an operation is held.
    pub async fn ended(&self) -> EndReason {
        std::future::poll_fn(|cx| self.poll_ended(cx, Activity::Busy)).await
    }

    /// Counts bytes from the client.
    pub fn add_bytes_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes to the client.
    pub fn add_bytes_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts decided operations.
    pub fn add_statements(&self, statements: u64) {
        self.statements.fetch_add(statements, Relaxed);
    }

    /// What the session has done so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            statements: self.statements.load(Relaxed),
        }
    }

    pub(super) fn snapshot(&self) -> LiveSession {
        LiveSession {
            facts: Arc::clone(&self.facts),
            traffic: self.traffic(),
            ending: self.ended.get().cloned(),
        }
    }
}
