//! The requests in memory: those that can still change. Every one is in the store too, before it counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use portcullis_core::{PrincipalKey, RequestId, SessionId, Timestamp};
use tokio::sync::{broadcast, watch};

use super::{
    desk::Outcome,
    state::{Ending, Request},
};

/// How many changes a slow listener may be behind.
const CHANGES: usize = 4096;

/// All requests that can still change.
pub(crate) struct Registry {
    open: Mutex<HashMap<RequestId, Entry>>,
    /// Steps take turns: two answers cannot pass one limit, and a step waits for disks.
    turn: Mutex<()>,
    changes: broadcast::Sender<Arc<Request>>,
}

struct Entry {
    request: Request,
    waiting: watch::Sender<Option<Outcome>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { open: Mutex::default(), turn: Mutex::default(), changes: broadcast::Sender::new(CHANGES) }
    }
}

impl Registry {
    /// Every step holds this while it decides, writes and puts.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, id: RequestId) -> Option<Request> {
        self.lock().get(&id).map(|entry| entry.request.clone())
    }

    /// The first that `wanted` names.
    pub(crate) fn first(&self, wanted: impl Fn(&Request) -> bool) -> Option<Request> {
        self.lock().values().find(|entry| wanted(&entry.request)).map(|entry| entry.request.clone())
    }

    /// The ids of those that `wanted` names.
    pub(crate) fn ids(&self, wanted: impl Fn(&Request) -> bool) -> Vec<RequestId> {
        self.lock().iter().filter(|(_, entry)| wanted(&entry.request)).map(|(id, _)| *id).collect()
    }

    /// How many are pending, of all and of one principal.
    pub(crate) fn pending(&self, of: &PrincipalKey) -> (usize, usize) {
        let open = self.lock();
        let pending = || open.values().filter(|entry| matches!(entry.request, Request::Pending(_)));
        (pending().count(), pending().filter(|entry| entry.request.asked().requester.key() == *of).count())
    }

    pub(crate) fn holds_of(&self, session: SessionId) -> Vec<RequestId> {
        self.ids(|request| {
            matches!(request, Request::Pending(_))
                && request
                    .asked()
                    .what
                    .operation()
                    .is_some_and(|held| held.session == session && held.mode != super::what::Mode::Ticket)
        })
    }

    /// Puts a request as it is now, wakes who waits for it, tells who listens. What cannot change any more is forgotten.
    pub(crate) fn put(&self, request: Request) -> watch::Receiver<Option<Outcome>> {
        let outcome = Outcome::of(&request);
        let keeps = can_change(&request);
        let told = Arc::new(request.clone());
        let receiver = {
            let mut open = self.lock();
            let entry = open
                .entry(request.id())
                .or_insert_with(|| Entry { request: request.clone(), waiting: watch::Sender::new(None) });
            entry.request = request;
            if outcome.is_some() {
                entry.waiting.send_replace(outcome);
            }
            let receiver = entry.waiting.subscribe();
            if !keeps {
                open.remove(&told.id());
            }
            receiver
        };
        // Nobody listening is no failure.
        let _ = self.changes.send(told);
        receiver
    }

    /// Forgets approvals whose time is over.
    pub(crate) fn forget_unusable(&self, now: Timestamp) {
        self.lock().retain(|_, entry| match entry.request.settled() {
            Some(settled) if !settled.needs_review() => {
                matches!(settled.ending(), Ending::Approved { good_until: Some(until), .. } if now < *until)
            }
            _ => true,
        });
    }

    /// Waits with those who wait already; nothing where it is over.
    pub(crate) fn wait(&self, id: RequestId) -> Option<watch::Receiver<Option<Outcome>>> {
        self.lock().get(&id).map(|entry| entry.waiting.subscribe())
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Request>> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request waits for anything: answers, its one use, a review.
fn can_change(request: &Request) -> bool {
    let Some(settled) = request.settled() else { return true };
    let unused = matches!(settled.ending(), Ending::Approved { used_at: None, good_until: Some(_), .. });
    unused || settled.needs_review()
}
