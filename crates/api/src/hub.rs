//! Events for who follows: what changed, by id and state; who wants more asks for it.
//!
//! One ring for all. A follower has a place in it and no queue of its own, so that a slow one costs nothing: it is told `reset` when
//! the ring has moved past it. What a follower may not see is skipped for it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use portcullis_access::requests::Request;
use portcullis_client::EventId;
use portcullis_core::{Clock, PrincipalKey, PrincipalKind, SessionId};
use portcullis_policy::{Approval, Role};
use serde_json::{Value, json};
use tokio::sync::{broadcast::error::RecvError, watch};

use crate::{Api, Problem, caller::Caller, places::Places, views};

/// How many events can be resumed from.
const KEPT: usize = 4096;
/// Streams at once, of everybody and of one identity.
const MAX_STREAMS: usize = 200;
const MAX_OWN: usize = 5;
/// Questions that wait, and recordings that are followed, of one identity.
const MAX_OWN_WAITS: usize = 20;
const MAX_OWN_FOLLOWED: usize = 10;
/// Of these, kept for people and whoever has a role: a fleet of agents that follow does not blind those who answer them.
const KEPT_FOR_PEOPLE: usize = 100;
/// How often sessions and the policy are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The ring.
#[derive(Debug)]
pub struct Hub {
    epoch: String,
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
    streams: Mutex<HashMap<Option<PrincipalKey>, usize>>,
    /// Of questions that wait for what becomes of a request.
    pub(crate) waits: Arc<Places>,
    /// Of recordings that are followed.
    pub(crate) followed: Arc<Places>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Counts from 1; 0: nothing happened yet.
    last: u64,
    events: VecDeque<Arc<Event>>,
}

/// One event, and what decides who may see it.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) kind: &'static str,
    pub(crate) data: Value,
    sight: Sight,
}

#[derive(Debug)]
enum Sight {
    /// Those who see lists, these, and whom these rules name.
    Some { owner: Option<PrincipalKey>, approvers: Vec<Approval>, voters: Vec<PrincipalKey> },
    /// Those who see lists.
    Lists,
}

impl Event {
    /// Whether the caller may know of it.
    pub(crate) fn is_for(&self, caller: &Caller) -> bool {
        if caller.roles().has(Role::Viewer) {
            return true;
        }
        let (Sight::Some { owner, approvers, voters }, Some(principal)) = (&self.sight, caller.principal())
        else {
            return false;
        };
        let key = principal.key();
        owner.as_ref() == Some(&key)
            || voters.contains(&key)
            || approvers.iter().any(|approval| approval.may(principal))
    }
}

/// What comes next for a follower.
pub(crate) enum Next {
    /// These, in order; then ask from the number after the last.
    Events(Vec<Arc<Event>>),
    /// What came between is gone; go on from here.
    Gone(u64),
}

/// A place among the streams, given back when dropped.
pub(crate) struct Place {
    hub: Arc<Hub>,
    who: Option<PrincipalKey>,
}

impl Hub {
    /// Empty. Numbers of an earlier run mean nothing: the epoch says which run it is.
    pub fn new(clock: &dyn Clock) -> Arc<Self> {
        Arc::new(Self {
            epoch: format!("{:x}", clock.now().as_micros()),
            ring: Mutex::default(),
            last: watch::Sender::new(0),
            streams: Mutex::default(),
            waits: Places::new(MAX_OWN_WAITS),
            followed: Places::new(MAX_OWN_FOLLOWED),
        })
    }

    pub(crate) fn id(&self, number: u64) -> EventId {
        EventId { epoch: self.epoch.clone(), number }
    }

    /// The last event's number.
    pub(crate) fn last(&self) -> u64 {
        self.ring().last
    }

    /// Where somebody goes on who has seen `id`; `None`: that is not of this run, or too long ago.
    pub(crate) fn after(&self, id: &EventId) -> Option<u64> {
        let ring = self.ring();
        let first = ring.events.front().map_or(ring.last + 1, |event| event.number);
        let is_known = id.epoch == self.epoch && id.number <= ring.last && id.number + 1 >= first;
        is_known.then_some(id.number)
    }

    /// At most `most` events after `seen`.
    pub(crate) fn next(&self, seen: u64, most: usize) -> Next {
        let ring = self.ring();
        let first = ring.events.front().map_or(ring.last + 1, |event| event.number);
        if seen + 1 < first {
            return Next::Gone(ring.last);
        }
        let skip = usize::try_from(seen + 1 - first).unwrap_or(usize::MAX);
        Next::Events(ring.events.iter().skip(skip).take(most).cloned().collect())
    }

    /// Told when something happened.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// A place for a stream.
    pub(crate) fn enter(self: &Arc<Self>, caller: &Caller) -> Result<Place, Problem> {
        let is_person = caller.principal().is_none_or(|who| who.kind == PrincipalKind::User);
        self.place(caller.key(), is_person || caller.roles().has(Role::Viewer))
    }

    fn place(self: &Arc<Self>, who: Option<PrincipalKey>, preferred: bool) -> Result<Place, Problem> {
        let most = if preferred { MAX_STREAMS } else { MAX_STREAMS - KEPT_FOR_PEOPLE };
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = streams.values().sum();
        let own = streams.get(&who).copied().unwrap_or_default();
        if all >= most || own >= MAX_OWN {
            return Err(Problem::too_many(5));
        }
        streams.insert(who.clone(), own + 1);
        Ok(Place { hub: Arc::clone(self), who })
    }

    fn tell(&self, kind: &'static str, data: Value, sight: Sight) {
        let number = {
            let mut ring = self.ring();
            ring.last += 1;
            let number = ring.last;
            if ring.events.len() >= KEPT {
                ring.events.pop_front();
            }
            ring.events.push_back(Arc::new(Event { number, kind, data, sight }));
            number
        };
        self.last.send_replace(number);
    }

    /// A request changed.
    pub(crate) fn request(&self, api: &Api, request: &Request) {
        let asked = request.asked();
        let sight = Sight::Some {
            owner: Some(asked.requester.key()),
            approvers: views::request::approvals(&api.access.policy(), asked),
            voters: request.votes().iter().map(|vote| vote.by.key()).collect(),
        };
        let data = json!({ "id": request.id(), "state": request.state() });
        self.tell("request", data, sight);
    }

    /// A kill.
    pub(crate) fn kill(&self, identity: &PrincipalKey, session: Option<SessionId>) {
        let data = json!({ "identity": identity.to_string(), "session": session });
        self.tell("kill", data, Sight::Lists);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.hub.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = streams.get_mut(&self.who) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                streams.remove(&self.who);
            }
        }
    }
}

/// Feeds the ring, until dropped.
pub(crate) async fn feed(api: Arc<Api>) {
    let mut changes = api.access.request_changes();
    let mut seen = Seen::now(&api);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Ok(request) => api.hub.request(&api, &request),
                // Followers cannot know what they missed.
                Err(RecvError::Lagged(_)) => api.hub.skip(),
                Err(RecvError::Closed) => return,
            },
            _ = look.tick() => seen.look(&api),
        }
    }
}

impl Hub {
    /// Something happened that nobody knows: whoever follows begins anew.
    fn skip(&self) {
        let number = {
            let mut ring = self.ring();
            ring.events.clear();
            ring.last += 1;
            ring.last
        };
        self.last.send_replace(number);
    }
}

/// What was seen at the last look.
struct Seen {
    sessions: HashMap<SessionId, Option<PrincipalKey>>,
    ending: HashSet<SessionId>,
    policy: Arc<str>,
}

impl Seen {
    fn now(api: &Api) -> Self {
        let mut seen = Self {
            sessions: HashMap::new(),
            ending: HashSet::new(),
            policy: Arc::clone(api.access.policy().version()),
        };
        for live in api.sessions.list() {
            let owner = live.facts.principal.as_ref().map(|principal| principal.key());
            seen.sessions.insert(live.facts.session, owner);
        }
        seen
    }

    fn look(&mut self, api: &Api) {
        let tell = |session: SessionId, state: &str, owner: Option<PrincipalKey>| {
            let sight = Sight::Some { owner, approvers: Vec::new(), voters: Vec::new() };
            api.hub.tell("session", json!({ "session": session, "state": state }), sight);
        };
        let mut gone = std::mem::take(&mut self.sessions);
        for live in api.sessions.list() {
            let id = live.facts.session;
            let known = gone.remove_entry(&id);
            let owner = match &known {
                Some((_, owner)) => owner.clone(),
                None => live.facts.principal.as_ref().map(|principal| principal.key()),
            };
            if known.is_none() {
                tell(id, "live", owner.clone());
            }
            if live.ending.is_some() && self.ending.insert(id) {
                tell(id, "ending", owner.clone());
            }
            self.sessions.insert(id, owner);
        }
        for (id, owner) in gone {
            self.ending.remove(&id);
            tell(id, "ended", owner);
        }
        let version = Arc::clone(api.access.policy().version());
        if version != self.policy {
            api.hub.tell("policy", json!({ "version": version }), Sight::Lists);
            self.policy = version;
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::SystemClock;

    use super::*;

    fn numbers(next: Next) -> Option<Vec<u64>> {
        match next {
            Next::Events(events) => Some(events.iter().map(|event| event.number).collect()),
            Next::Gone(_) => None,
        }
    }

    #[test]
    fn a_follower_goes_on_where_it_was_or_begins_anew() {
        let hub = Hub::new(&SystemClock);
        assert_eq!(numbers(hub.next(0, 10)), Some(vec![]));
        for _ in 0..3 {
            hub.tell("policy", Value::Null, Sight::Lists);
        }
        assert_eq!(numbers(hub.next(1, 10)), Some(vec![2, 3]));
        assert_eq!(hub.after(&hub.id(2)), Some(2));
        assert_eq!(hub.after(&hub.id(4)), None, "of the future");
        assert_eq!(hub.after(&EventId { epoch: "other".to_owned(), number: 2 }), None, "of another run");
        for _ in 0..KEPT {
            hub.tell("policy", Value::Null, Sight::Lists);
        }
        assert_eq!(numbers(hub.next(1, 10)), None, "too long ago");
        assert_eq!(hub.after(&hub.id(1)), None);
        assert_eq!(numbers(hub.next(3, 2)), Some(vec![4, 5]));
        hub.skip();
        assert_eq!(numbers(hub.next(hub.last() - 1, 10)), None, "something was missed");
        assert_eq!(numbers(hub.next(hub.last(), 10)), Some(vec![]));
    }

    #[test]
    fn streams_are_counted_and_given_back() {
        let hub = Hub::new(&SystemClock);
        let places: Vec<_> = (0..MAX_OWN).map(|_| hub.place(None, true).unwrap()).collect();
        assert!(hub.place(None, true).is_err());
        let other = PrincipalKey { provider: "p".to_owned(), tenant: None, object_id: "o".to_owned() };
        assert!(hub.place(Some(other), false).is_ok());
        drop(places);
        assert!(hub.place(None, true).is_ok());
    }
    #[test]
    fn agents_leave_places_for_people() {
        let hub = Hub::new(&SystemClock);
        let key =
            |n: usize| PrincipalKey { provider: "p".to_owned(), tenant: None, object_id: n.to_string() };
        let places: Vec<_> = (0..MAX_STREAMS).filter_map(|n| hub.place(Some(key(n)), false).ok()).collect();
        assert_eq!(places.len(), MAX_STREAMS - KEPT_FOR_PEOPLE);
        assert!(hub.place(Some(key(999)), true).is_ok());
    }
}
