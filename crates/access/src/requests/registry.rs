//! The requests in memory: those that can still change. Every one is in the store too, before it counts.
//!
//! Sessions ask on the data path ([`Registry::first_of`], [`Registry::has_holds`]), so that every question has an index: no lookup
//! looks at requests of others.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use portcullis_core::{ConnectionName, PrincipalKey, RequestId, SessionId, Timestamp};
use tokio::sync::{broadcast, watch};

use super::{
    desk::Outcome,
    state::{Ending, Request},
    what::{Asked, Mode, What},
};

/// How many changes a slow listener may be behind.
const CHANGES: usize = 4096;

/// All requests that can still change.
pub(crate) struct Registry {
    open: Mutex<Open>,
    /// Steps take turns: two answers cannot pass one limit, and a step waits for disks.
    turn: Mutex<()>,
    changes: broadcast::Sender<Arc<Request>>,
}

/// The entries, and what finds them.
#[derive(Default)]
struct Open {
    entries: HashMap<RequestId, Entry>,
    /// Of one principal on one connection.
    of: HashMap<(PrincipalKey, ConnectionName), Vec<RequestId>>,
    /// Pending on a session's live connection.
    held: HashMap<SessionId, Vec<RequestId>>,
    /// How many of a principal are pending.
    own: HashMap<PrincipalKey, usize>,
    pending: usize,
    /// When an approval is good no longer.
    ends: BTreeSet<(Timestamp, RequestId)>,
}

/// How much waits for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Requests for windows.
    pub windows: usize,
    /// For operations.
    pub operations: usize,
    /// For commits.
    pub commits: usize,
    /// Of all these, those on whose answer a live connection waits.
    pub live: usize,
}

struct Entry {
    request: Request,
    waiting: watch::Sender<Option<Outcome>>,
    /// Whether its connection went with an earlier run of the gateway.
    orphan: bool,
}

/// A pending request, for looking whether it is over.
pub(crate) struct Waits {
    pub(crate) asked: Arc<Asked>,
    pub(crate) orphan: bool,
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
        self.lock().entries.get(&id).map(|entry| entry.request.clone())
    }

    /// The first of a principal's requests on a connection that `wanted` names.
    pub(crate) fn first_of(
        &self,
        principal: &PrincipalKey,
        connection: &ConnectionName,
        wanted: impl Fn(&Request) -> bool,
    ) -> Option<Request> {
        let open = self.lock();
        let ids = open.of.get(&(principal.clone(), connection.clone()))?;
        let mut requests = ids.iter().filter_map(|id| open.entries.get(id)).map(|entry| &entry.request);
        requests.find(|request| wanted(request)).cloned()
    }

    /// Everything pending, as it was filed.
    pub(crate) fn waits(&self) -> Vec<Waits> {
        let open = self.lock();
        let pending = open.entries.values().filter(|entry| is_pending(&entry.request));
        pending
            .map(|entry| Waits { asked: Arc::clone(entry.request.asked()), orphan: entry.orphan })
            .collect()
    }

    /// Whether a request waited on a connection that went with an earlier run of the gateway.
    pub(crate) fn is_orphan(&self, id: RequestId) -> bool {
        self.lock().entries.get(&id).is_some_and(|entry| entry.orphan)
    }

    /// How many are pending, of all and of one principal.
    pub(crate) fn pending(&self, of: &PrincipalKey) -> (usize, usize) {
        let open = self.lock();
        (open.pending, open.own.get(of).copied().unwrap_or_default())
    }

    /// How many are pending, by kind, and how many of them on a live connection.
    pub(crate) fn waiting(&self) -> Waiting {
        let open = self.lock();
        let mut waiting = Waiting { live: open.held.values().map(Vec::len).sum(), ..Waiting::default() };
        for entry in open.entries.values().filter(|entry| is_pending(&entry.request)) {
            match entry.request.asked().what {
                What::Window(_) => waiting.windows += 1,
                What::Operation(_) => waiting.operations += 1,
                What::Commit(_) => waiting.commits += 1,
            }
        }
        waiting
    }

    /// What a session has pending on its live connection.
    pub(crate) fn holds_of(&self, session: SessionId) -> Vec<RequestId> {
        self.lock().held.get(&session).cloned().unwrap_or_default()
    }

    pub(crate) fn has_holds(&self, session: SessionId) -> bool {
        self.lock().held.contains_key(&session)
    }

    /// Takes up a request of an earlier run. Its connection, where it waited on one, is gone.
    pub(crate) fn load(&self, request: Request) {
        let orphan = is_pending(&request) && live_session(request.asked()).is_some();
        if can_change(&request) {
            self.lock().put(request, orphan);
        }
    }

    /// Puts a request as it is now, wakes who waits for it, tells who listens. What cannot change any more is forgotten; who
    /// waits for it still reads what became of it.
    pub(crate) fn put(&self, request: Request) -> watch::Receiver<Option<Outcome>> {
        let told = Arc::new(request.clone());
        let receiver = self.lock().put(request, false);
        // Nobody listening is no failure.
        let _ = self.changes.send(told);
        receiver
    }

    /// Forgets approvals whose time is over. The store has them.
    pub(crate) fn forget_unusable(&self, now: Timestamp) {
        let mut open = self.lock();
        while let Some((until, id)) = open.ends.first().copied()
            && until <= now
        {
            open.take(id);
            open.ends.remove(&(until, id));
        }
    }

    /// Waits with those who wait already; nothing where it is over.
    pub(crate) fn wait(&self, id: RequestId) -> Option<watch::Receiver<Option<Outcome>>> {
        self.lock().entries.get(&id).map(|entry| entry.waiting.subscribe())
    }

    /// How many wait.
    pub(crate) fn waiters(&self, id: RequestId) -> usize {
        self.lock().entries.get(&id).map_or(0, |entry| entry.waiting.receiver_count())
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Request>> {
        self.changes.subscribe()
    }

    /// How many entries there are in all indexes: nothing may be left behind.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> [usize; 6] {
        let open = self.lock();
        let (of, held) = (open.of.values().map(Vec::len), open.held.values().map(Vec::len));
        let own = open.own.values().sum();
        [open.entries.len(), of.sum(), held.sum(), own, open.pending, open.ends.len()]
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn put(&mut self, request: Request, orphan: bool) -> watch::Receiver<Option<Outcome>> {
        let outcome = Outcome::of(&request);
        let before = self.take(request.id());
        let (waiting, orphan) = match before {
            Some(entry) => (entry.waiting, entry.orphan),
            None => (watch::Sender::new(None), orphan),
        };
        if outcome.is_some() {
            waiting.send_replace(outcome);
        }
        let receiver = waiting.subscribe();
        if can_change(&request) {
            self.index(&request);
            self.entries.insert(request.id(), Entry { request, waiting, orphan });
        }
        receiver
    }

    fn index(&mut self, request: &Request) {
        let (asked, id) = (request.asked(), request.id());
        let key = asked.requester.key();
        if is_pending(request) {
            self.pending += 1;
            *self.own.entry(key.clone()).or_default() += 1;
            if let Some(session) = live_session(asked) {
                self.held.entry(session).or_default().push(id);
            }
        }
        if let Some(until) = good_until(request) {
            self.ends.insert((until, id));
        }
        self.of.entry((key, asked.connection.clone())).or_default().push(id);
    }

    /// Takes an entry out of everything it is in.
    fn take(&mut self, id: RequestId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        let asked = entry.request.asked();
        let key = asked.requester.key();
        if is_pending(&entry.request) {
            self.pending = self.pending.saturating_sub(1);
            if let Some(own) = self.own.get_mut(&key) {
                *own = own.saturating_sub(1);
                if *own == 0 {
                    self.own.remove(&key);
                }
            }
            if let Some(session) = live_session(asked) {
                leave(&mut self.held, &session, id);
            }
        }
        if let Some(until) = good_until(&entry.request) {
            self.ends.remove(&(until, id));
        }
        leave(&mut self.of, &(key, asked.connection.clone()), id);
        Some(entry)
    }
}

fn leave<K: Hash + Eq>(index: &mut HashMap<K, Vec<RequestId>>, key: &K, id: RequestId) {
    if let Some(ids) = index.get_mut(key) {
        ids.retain(|known| *known != id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

const fn is_pending(request: &Request) -> bool {
    matches!(request, Request::Pending(_))
}

/// The session on whose live connection it waits.
fn live_session(asked: &Asked) -> Option<SessionId> {
    asked.what.operation().filter(|held| held.mode != Mode::Ticket).map(|held| held.session)
}

/// Until when an approval not used yet may be.
fn good_until(request: &Request) -> Option<Timestamp> {
    match request.settled()?.ending() {
        Ending::Approved { used_at: None, good_until, .. } => *good_until,
        _ => None,
    }
}

/// Whether a request waits for anything: answers, its one use, a review.
fn can_change(request: &Request) -> bool {
    let Some(settled) = request.settled() else { return true };
    good_until(request).is_some() || settled.needs_review()
}
