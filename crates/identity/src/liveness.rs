//! What the directory says now, asked rarely enough: cached per principal, one question at a time for each, with a grace while the
//! directory is silent.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portcullis_core::{Clock, Timestamp};

use crate::graph::{Finding, Graph, Subject};

/// Oldest finding a new session may rest on.
const CONNECT_FRESHNESS: Duration = Duration::from_secs(30);
/// Oldest bad finding that is repeated without asking again: long enough to blunt a loop of connects, short enough that an identity
/// enabled again gets in at once.
const BAD_FRESHNESS: Duration = Duration::from_secs(2);
/// After a failure, how long nobody asks about the same principal.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Principals remembered before unused ones are forgotten.
const PRUNE_AT: usize = 10_000;
/// How long an unused one is remembered at least.
const REMEMBER: Duration = Duration::from_secs(600);

/// What is known about a principal now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The directory said so, recently enough.
    Fresh(Finding),
    /// The directory does not answer; it last said this, within the grace. `None`: it never did.
    Silent { last: Option<Finding>, detail: String },
    /// The directory has not answered for longer than the grace.
    Lost { detail: String },
}

/// The liveness of one provider's principals.
pub(crate) struct Liveness {
    graph: Graph,
    interval: Duration,
    grace: Duration,
    clock: Arc<dyn Clock>,
    entries: Mutex<Entries>,
    /// Whether the last question failed: the log says it when that changes, not for each principal.
    failing: AtomicBool,
}

struct Entries {
    by_subject: HashMap<Subject, Arc<Entry>>,
    /// Size at which unused ones are looked for next: twice what was left the last time, so that the search stays rare.
    prune_at: usize,
}

#[derive(Default)]
struct Entry {
    /// Held while asking.
    flight: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last finding, and when it was asked for.
    last: Option<(Timestamp, Finding)>,
    /// The last failure after that.
    failure: Option<(Timestamp, String)>,
    /// Since when an answer has been missing: when the next one was due, at the latest when it first failed to come.
    silent_since: Option<Timestamp>,
    used_at: Timestamp,
}

impl Liveness {
    pub(crate) fn new(graph: Graph, interval: Duration, grace: Duration, clock: Arc<dyn Clock>) -> Self {
        let entries = Entries { by_subject: HashMap::new(), prune_at: PRUNE_AT };
        Self { graph, interval, grace, clock, entries: Mutex::new(entries), failing: AtomicBool::new(false) }
    }

    /// For a new session: at most as old as the poll interval, and never older than 30 s.
    pub(crate) async fn at_connect(&self, subject: &Subject) -> Known {
        self.ask(subject, self.interval.min(CONNECT_FRESHNESS)).await
    }

    /// For a live session's poll. Half the interval, so that sessions of one principal polled at different moments share answers, and none
    /// rests on one older than one and a half intervals.
    pub(crate) async fn at_poll(&self, subject: &Subject) -> Known {
        self.ask(subject, self.interval / 2).await
    }

    /// When to ask again about a live session's principal.
    pub(crate) fn next_poll(&self, subject: &Subject) -> Timestamp {
        let entry =
            self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_subject.get(subject).cloned();
        let Some(entry) = entry else { return self.clock.now() };
        let state = entry.state();
        match (&state.failure, &state.last) {
            // Often enough to notice the end of the grace, however long the interval is.
            (Some((at, _)), _) => at.plus(self.interval.min((self.grace / 4).max(FAILURE_PAUSE))),
            (None, Some((at, _))) => at.plus(self.interval),
            (None, None) => self.clock.now(),
        }
    }

    /// Cancel safe: a question that is dropped is asked again by the next.
    async fn ask(&self, subject: &Subject, freshness: Duration) -> Known {
        let entry = self.entry(subject);
        if let Some(known) = self.cached(&entry, freshness) {
            return known;
        }
        let _flight = entry.flight.lock().await;
        if let Some(known) = self.cached(&entry, freshness) {
            return known;
        }
        let asked_at = self.clock.now();
        let found = self.graph.look_up(subject).await;
        let mut state = entry.state();
        match found {
            Ok(finding) => {
                metrics::counter!("portcullis_identity_directory_total", "outcome" => label(&finding))
                    .increment(1);
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the directory answers again");
                }
                state.last = Some((asked_at, finding.clone()));
                state.failure = None;
                state.silent_since = None;
                Known::Fresh(finding)
            }
            Err(detail) => {
                metrics::counter!("portcullis_identity_directory_total", "outcome" => "failed").increment(1);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%detail, "cannot ask the directory about principals");
                }
                let due = state.last.as_ref().map(|(at, _)| at.plus(self.interval));
                let since = due.map_or(asked_at, |due| due.min(asked_at));
                state.silent_since.get_or_insert(since);
                state.failure = Some((self.clock.now(), detail.clone()));
                self.silent(&state, detail)
            }
        }
    }

    fn cached(&self, entry: &Entry, freshness: Duration) -> Option<Known> {
        let now = self.clock.now();
        let mut state = entry.state();
        state.used_at = now;
        if let Some((at, detail)) = &state.failure {
            return (now.since(*at) < FAILURE_PAUSE).then(|| self.silent(&state, detail.clone()));
        }
        let (at, finding) = state.last.as_ref()?;
        let freshness = match finding {
            Finding::Good { .. } => freshness,
            Finding::Disabled | Finding::Deleted => freshness.min(BAD_FRESHNESS),
        };
        (now.since(*at) < freshness).then(|| Known::Fresh(finding.clone()))
    }

    fn silent(&self, state: &State, detail: String) -> Known {
        let silent = state.silent_since.map_or(Duration::MAX, |since| self.clock.now().since(since));
        if silent > self.grace {
            return Known::Lost { detail };
        }
        Known::Silent { last: state.last.as_ref().map(|(_, finding)| finding.clone()), detail }
    }

    fn entry(&self, subject: &Subject) -> Arc<Entry> {
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.by_subject.get(subject) {
            return Arc::clone(entry);
        }
        if entries.by_subject.len() >= entries.prune_at {
            let keep = REMEMBER.max(self.grace);
            let used =
                |entry: &Arc<Entry>| Arc::strong_count(entry) > 1 || now.since(entry.state().used_at) < keep;
            entries.by_subject.retain(|_, entry| used(entry));
            entries.prune_at = PRUNE_AT.max(entries.by_subject.len().saturating_mul(2));
        }
        let entry = Arc::new(Entry::default());
        entry.state().used_at = now;
        entries.by_subject.insert(subject.clone(), Arc::clone(&entry));
        entry
    }
}

impl Entry {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn label(finding: &Finding) -> &'static str {
    match finding {
        Finding::Good { .. } => "good",
        Finding::Disabled => "disabled",
        Finding::Deleted => "deleted",
    }
}
