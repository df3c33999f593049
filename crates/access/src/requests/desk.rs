//! [`Access`] as the desk where requests are filed, answered and used. All of it blocks: journal and store are written before
//! anything counts. Callers on a reactor use `spawn_blocking`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use portcullis_core::{
    AuditEvent, Principal, PrincipalKey, RequestEvent, RequestId, RequestStep, RuleRef, SessionFacts,
    SessionId, Timestamp,
};
use portcullis_policy::{HoldingRule, Policy, When};
use tokio::sync::{broadcast, watch};

use super::{
    answer::{AnswerRefused, AnswerRules, Ballot, Terms, may_answer},
    binding::{Binding, Digest},
    state::{Answer, Ending, MAX_NOTE, NotUsable, Pending, Request, Review, State},
    store::{Listing, RequestFilter},
    what::{Asked, BlastRadius, Mode, Need, OperationAsked, What},
};
use crate::{Access, StoreError, Window, request::opened};

/// How long a live session has to let through what was approved.
const LIVE_GOOD_FOR: Duration = Duration::from_secs(60);

/// How many requests may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Of everybody.
    pub pending: usize,
    /// Of one principal.
    pub per_identity: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { pending: 10_000, per_identity: 20 }
    }
}

/// What became of a request, for who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enough people said yes.
    Approved {
        /// Who, readable.
        by: String,
        /// What the last of them said.
        note: String,
    },
    /// A person said no.
    Denied {
        /// Who, readable.
        by: String,
        /// What they said.
        note: String,
    },
    /// Nobody answered in time.
    Expired,
    /// It is gone.
    Withdrawn {
        /// Why.
        note: String,
    },
}

impl Outcome {
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let settled = request.settled()?;
        let by = |answer: Answer| {
            let names = request.votes().iter().filter(|vote| vote.answer == answer);
            names.map(|vote| vote.by.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let note = settled.note().to_owned();
        Some(match settled.ending() {
            Ending::Approved { .. } => Self::Approved { by: by(Answer::Approve), note },
            Ending::Denied => Self::Denied { by: by(Answer::Deny), note },
            Ending::Expired => Self::Expired,
            Ending::Withdrawn => Self::Withdrawn { note },
        })
    }
}

/// An operation to be held.
#[derive(Clone, Debug)]
pub struct HoldAsk {
    /// The session's facts.
    pub facts: Arc<SessionFacts>,
    /// Who, with groups as they are now.
    pub principal: Arc<Principal>,
    /// The rules that hold it; never empty.
    pub rules: Vec<HoldingRule>,
    /// The version of the policy they are from.
    pub policy: Arc<str>,
    /// What of it the approval binds to.
    pub digest: Digest,
    /// How it waits.
    pub mode: Mode,
    /// What the approver sees. `hash` and `mode` are filled in when it is filed.
    pub operation: OperationAsked,
    /// Why, where the client said so.
    pub reason: String,
}

impl HoldAsk {
    /// What an approval binds to.
    pub fn binding(&self) -> Option<Binding> {
        Some(Binding {
            digest: self.digest,
            principal: self.principal.key(),
            session: self.facts.session,
            connection: self.facts.connection.clone()?,
            database: self.facts.database.clone(),
            policy: self.policy.to_string(),
        })
    }
}

/// A request that was filed, or one for the very same that waited already.
#[derive(Debug)]
pub struct Filed {
    /// It.
    pub request: Request,
    /// What becomes of it.
    pub outcome: watch::Receiver<Option<Outcome>>,
    /// Whether it was filed just now.
    pub new: bool,
}

/// A held operation.
pub type Hold = Filed;

/// An operation that cannot even wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldRefused {
    /// Too many of the principal's requests wait.
    #[error("{limit} requests of this identity wait for answers already; wait for those, or withdraw some")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Too many requests wait.
    #[error("too many requests wait for answers; try again later")]
    Full,
    /// Store or journal failed.
    #[error("the gateway cannot file a request now; try again shortly")]
    Unavailable {
        /// For the log.
        detail: String,
    },
}

/// Who takes a request back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawer {
    /// The requester.
    Requester(PrincipalKey),
    /// The gateway: its session ended, its statement was cancelled, its policy changed.
    Gateway,
}

/// An approved operation that was let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Which request.
    pub request: RequestId,
    /// Who approved it, readable.
    pub by: String,
    /// The rule that asked for a person.
    pub rule: RuleRef,
}

impl Access {
    /// Takes up what waited when the gateway stopped. Operations on connections that are gone are withdrawn.
    pub(crate) fn load_requests(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for request in self.store.open_requests(now)? {
            let live = request.asked().what.operation().is_some_and(|held| held.mode != Mode::Ticket);
            match request {
                Request::Pending(pending) if live => {
                    let note = "the gateway was restarted: the connection that waited is gone";
                    let request = Request::Settled(pending.withdraw(now, note));
                    self.step(&request, RequestStep::Withdrawn, Doer::gateway(note), None)?;
                    self.registry.put(request);
                }
                request => {
                    self.registry.put(request);
                }
            }
        }
        Ok(())
    }

    /// Files a request, within the limits, unless one that waits already is the `same`.
    pub(crate) fn file_unless(
        &self,
        asked: Asked,
        same: impl Fn(&Request) -> bool,
    ) -> Result<Filed, HoldRefused> {
        let _turn = self.registry.turn();
        if let Some(request) = self.registry.first(same)
            && let Some(outcome) = self.registry.wait(request.id())
        {
            return Ok(Filed { request, outcome, new: false });
        }
        self.file_in_turn(asked)
    }

    fn file_in_turn(&self, asked: Asked) -> Result<Filed, HoldRefused> {
        let limits = self.limits;
        let (all, own) = self.registry.pending(&asked.requester.key());
        if own >= limits.per_identity {
            return Err(HoldRefused::TooMany { limit: limits.per_identity });
        }
        if all >= limits.pending {
            return Err(HoldRefused::Full);
        }
        let reason = asked.reason.clone();
        let request = Request::Pending(Pending::new(asked));
        self.step(&request, RequestStep::Filed, Doer { reason, ..Doer::default() }, None)
            .map_err(|error| HoldRefused::Unavailable { detail: error.0 })?;
        let outcome = self.registry.put(request.clone());
        Ok(Filed { request, outcome, new: true })
    }

    /// Files a request for one operation. A ticket for the very same that waits already is that one.
    ///
    /// # Errors
    /// Why it cannot wait; then it is refused.
    pub fn hold(&self, ask: HoldAsk) -> Result<Hold, HoldRefused> {
        let unavailable = |detail: &str| HoldRefused::Unavailable { detail: detail.to_owned() };
        let binding = ask.binding().ok_or_else(|| unavailable("a session without a connection"))?;
        let now = self.clock.now();
        let _turn = self.registry.turn();
        if ask.mode == Mode::Ticket
            && let Some(request) = self.registry.first(|request| {
                matches!(request, Request::Pending(_)) && is_for(request, &binding, Mode::Ticket)
            })
            && let Some(outcome) = self.registry.wait(request.id())
        {
            return Ok(Filed { request, outcome, new: false });
        }
        let waits = ask.rules.iter().map(|rule| match ask.mode {
            Mode::Ticket => rule.terms.answer_within,
            Mode::Live | Mode::Commit => rule.terms.hold_limit,
        });
        let answer_by = now.plus(waits.min().unwrap_or_default());
        let HoldAsk { facts, principal, rules, policy, mode, mut operation, reason, .. } = ask;
        operation.mode = mode;
        operation.hash = binding.hash(mode, answer_by);
        let operation = Box::new(operation);
        self.file_in_turn(Asked {
            id: RequestId::generate(now),
            requester: principal,
            connection: binding.connection,
            database: binding.database,
            needs: rules.iter().map(|rule| need(&rule.rule, &rule.terms.approval)).collect(),
            reason,
            source: facts.source.clone(),
            client: facts.client.clone(),
            filed_at: now,
            answer_by,
            policy,
            what: if mode == Mode::Commit { What::Commit(operation) } else { What::Operation(operation) },
        })
    }

    /// An approved ticket for the very operation, if there is one. Does not block.
    pub fn find_ticket(&self, binding: &Binding) -> Option<RequestId> {
        let now = self.clock.now();
        let usable = |request: &Request| {
            let good = request.settled().is_some_and(|settled| {
                matches!(settled.ending(), Ending::Approved { used_at: None, good_until: Some(until), .. } if now < *until)
            });
            good && is_for(request, binding, Mode::Ticket)
        };
        self.registry.first(usable).map(|request| request.id())
    }

    /// Lets an approved operation through: once, and only the one that was approved.
    ///
    /// # Errors
    /// Why not: journalled too.
    pub fn use_once(&self, id: RequestId, binding: &Binding) -> Result<Used, UseRefused> {
        let _turn = self.registry.turn();
        let now = self.clock.now();
        let unavailable = |error: StoreError| UseRefused::Unavailable { detail: error.0 };
        let request = match self.registry.find(id) {
            Some(request) => request,
            None => self.store.request(id).map_err(unavailable)?.ok_or(NotUsable::NotApproved)?,
        };
        let by = match Outcome::of(&request) {
            Some(Outcome::Approved { by, .. }) => by,
            _ => String::new(),
        };
        let rule = rule_of(&request);
        // A policy that moved on since the approval: what it says now has not been asked.
        let moved = **self.policy.load().version() != *binding.policy;
        let used = match request {
            Request::Settled(settled) if !moved => settled.use_once(binding, now),
            request => {
                let why = if moved { NotUsable::Differs } else { NotUsable::NotApproved };
                let _told =
                    self.journal_step(&request, RequestStep::UseRefused, &Doer::gateway(&why.to_string()));
                return Err(why.into());
            }
        };
        match used {
            Ok(settled) => {
                let request = Request::Settled(settled);
                self.step(&request, RequestStep::Used, Doer::default(), None).map_err(unavailable)?;
                self.registry.put(request);
                Ok(Used { request: id, by, rule })
            }
            Err((settled, why)) => {
                let request = Request::Settled(*settled);
                let doer = Doer::gateway(&why.to_string());
                self.journal_step(&request, RequestStep::UseRefused, &doer).map_err(unavailable)?;
                Err(why.into())
            }
        }
    }

    /// Takes a person's answer. `fresh` are earlier voters as they are now: `None` for one who is no longer good. A vote of
    /// somebody who may not answer any more is dropped before the new one is counted.
    ///
    /// # Errors
    /// Why it does not count; journalled too, where there is such a request.
    pub fn answer(
        &self,
        id: RequestId,
        ballot: Ballot,
        fresh: &HashMap<PrincipalKey, Option<Arc<Principal>>>,
    ) -> Result<Request, AnswerRefused> {
        let _turn = self.registry.turn();
        let now = self.clock.now();
        let unavailable = |error: StoreError| AnswerRefused::Unavailable { detail: error.0 };
        let doer = Doer::person(&ballot.by, &ballot.note, ballot.through);
        let request = match self.registry.find(id) {
            Some(request) => request,
            None => self.store.request(id).map_err(unavailable)?.ok_or(AnswerRefused::Unknown)?,
        };
        let mut pending = match request {
            Request::Pending(pending) => pending,
            request @ Request::Settled(_) => {
                let (state, note) = (request.state(), Outcome::of(&request).map(told).unwrap_or_default());
                self.journal_step(&request, RequestStep::AnswerRefused, &doer).map_err(unavailable)?;
                return Err(AnswerRefused::Over(state, note));
            }
        };
        let Some(rules) = self.answer_rules(pending.asked()) else {
            let note = "the policy has changed since it was filed";
            let request = Request::Settled(pending.withdraw(now, note));
            self.step(&request, RequestStep::Withdrawn, Doer::gateway(note), None).map_err(unavailable)?;
            self.registry.put(request);
            return Err(AnswerRefused::PolicyChanged);
        };
        if pending.asked().answer_by <= now {
            self.expire_one(pending, now).map_err(unavailable)?;
            return Err(AnswerRefused::Over(State::Expired, String::new()));
        }
        let may = |voter: &Principal| match fresh.get(&voter.key()) {
            Some(None) => false,
            Some(Some(now)) => rules.name(now),
            None => rules.name(voter),
        };
        for dropped in pending.drop_votes(may) {
            let doer = Doer::person(&dropped.by, "may not answer any more", "");
            let request = Request::Pending(pending.clone());
            self.step(&request, RequestStep::VoteDropped, doer, None).map_err(unavailable)?;
            self.registry.put(request);
        }
        let lifetime = ballot.lifetime_seconds;
        let request = match pending.answer(ballot, &rules, now) {
            Ok(request) => request,
            Err((pending, refused)) => {
                let doer = Doer { note: refused.to_string(), ..doer };
                let request = Request::Pending(*pending);
                self.journal_step(&request, RequestStep::AnswerRefused, &doer).map_err(unavailable)?;
                return Err(refused);
            }
        };
        let step = match request.state() {
            State::Pending => RequestStep::Vote,
            State::Approved => RequestStep::Approved,
            _ => RequestStep::Denied,
        };
        let window = window_of(&request, now);
        if let Some(window) = &window {
            self.journalled(&opened(window, now)).map_err(unavailable)?;
        }
        let doer = Doer { lifetime_seconds: lifetime, window: window.as_ref().map(|w| w.id), ..doer };
        self.step(&request, step, doer, window.as_ref()).map_err(unavailable)?;
        if let Some(window) = window {
            let (id, connection) = (window.id, window.connection.clone());
            let principal = window.principal.clone();
            self.windows.add(window);
            // A kill blocks first and ends windows then: what it missed here, it left a block for.
            if self.blocks.find(&principal, &connection, now).is_some() {
                self.end_window(id).map_err(unavailable)?;
            }
        }
        self.registry.put(request.clone());
        Ok(request)
    }

    /// The people who answered so far: to be looked at again before the next answer is counted.
    pub fn voters(&self, id: RequestId) -> Vec<Arc<Principal>> {
        let request = self.registry.find(id);
        request
            .map(|request| request.votes().iter().map(|vote| Arc::clone(&vote.by)).collect())
            .unwrap_or_default()
    }

    /// Takes a request back.
    ///
    /// # Errors
    /// It is over, is not the withdrawer's, or store or journal failed.
    pub fn withdraw(&self, id: RequestId, by: &Withdrawer, note: &str) -> Result<Request, AnswerRefused> {
        let _turn = self.registry.turn();
        let now = self.clock.now();
        let unavailable = |error: StoreError| AnswerRefused::Unavailable { detail: error.0 };
        let request = match self.registry.find(id) {
            Some(request) => request,
            None => self.store.request(id).map_err(unavailable)?.ok_or(AnswerRefused::Unknown)?,
        };
        if let Withdrawer::Requester(key) = by
            && request.asked().requester.key() != *key
        {
            return Err(AnswerRefused::Unknown);
        }
        let pending = match request {
            Request::Pending(pending) => pending,
            request @ Request::Settled(_) => {
                let note = Outcome::of(&request).map(told).unwrap_or_default();
                return Err(AnswerRefused::Over(request.state(), note));
            }
        };
        let note: String = note.chars().take(MAX_NOTE).collect();
        let doer = match by {
            Withdrawer::Requester(_) => Doer::person(&pending.asked().requester.clone(), &note, ""),
            Withdrawer::Gateway => Doer::gateway(&note),
        };
        let note = if note.is_empty() { "withdrawn by the requester".to_owned() } else { note };
        let request = Request::Settled(pending.withdraw(now, note));
        self.step(&request, RequestStep::Withdrawn, doer, None).map_err(unavailable)?;
        self.registry.put(request.clone());
        Ok(request)
    }

    /// Takes back whatever a session has waiting on its live connection; says how many that were.
    pub fn withdraw_holds(&self, session: SessionId, note: &str) -> usize {
        let ids = self.registry.holds_of(session);
        ids.iter().filter(|id| self.withdraw(**id, &Withdrawer::Gateway, note).is_ok()).count()
    }

    /// Whether a session has something waiting on its live connection. Does not block.
    pub fn is_held(&self, session: SessionId) -> bool {
        !self.registry.holds_of(session).is_empty()
    }

    /// Ends what is over: out of time, blocked, or under rules that are no more. Called every second and when the policy moves.
    pub fn tidy_requests(&self) {
        let now = self.clock.now();
        let due = self
            .registry
            .ids(|request| matches!(request, Request::Pending(_)) && self.why_over(request, now).is_some());
        for id in due {
            let _turn = self.registry.turn();
            let Some(request) = self.registry.find(id) else { continue };
            let Some(over) = self.why_over(&request, now) else { continue };
            let Request::Pending(pending) = request else { continue };
            let done = match over {
                Over::Expired => self.expire_one(pending, now),
                Over::Withdrawn(note) => {
                    let request = Request::Settled(pending.withdraw(now, note));
                    let stepped = self.step(&request, RequestStep::Withdrawn, Doer::gateway(note), None);
                    stepped.map(|()| {
                        self.registry.put(request);
                    })
                }
            };
            if let Err(error) = done {
                tracing::error!(request = %id, %error, "a request that is over could not be ended");
            }
        }
        // Approvals whose time is over leave the memory; the store has them.
        self.registry.forget_unusable(now);
    }

    fn why_over(&self, request: &Request, now: Timestamp) -> Option<Over> {
        let asked = request.asked();
        if asked.answer_by <= now {
            return Some(Over::Expired);
        }
        if self.blocks.find(&asked.requester.key(), &asked.connection, now).is_some() {
            return Some(Over::Withdrawn("an administrator has blocked the requester"));
        }
        self.answer_rules(asked)
            .is_none()
            .then_some(Over::Withdrawn("the policy has changed since it was filed"))
    }

    fn expire_one(&self, pending: Pending, now: Timestamp) -> Result<(), StoreError> {
        let Ok(settled) = pending.expire(now) else { return Ok(()) };
        let request = Request::Settled(settled);
        self.step(&request, RequestStep::Expired, Doer::default(), None)?;
        self.registry.put(request);
        Ok(())
    }

    /// Notes that a person looked at a window that was opened at once.
    ///
    /// # Errors
    /// Nothing to review, or not by this person.
    pub fn review(
        &self,
        id: RequestId,
        by: &Principal,
        note: &str,
        through: &'static str,
    ) -> Result<Request, AnswerRefused> {
        let _turn = self.registry.turn();
        let unavailable = |error: StoreError| AnswerRefused::Unavailable { detail: error.0 };
        let request = self.registry.find(id).ok_or(AnswerRefused::NothingToReview)?;
        let Request::Settled(settled) = request else { return Err(AnswerRefused::NothingToReview) };
        if !settled.needs_review() {
            return Err(AnswerRefused::NothingToReview);
        }
        let length = note.trim().chars().count();
        if length == 0 || length > MAX_NOTE {
            return Err(AnswerRefused::Note);
        }
        let rules = self.answer_rules(&settled.asked).ok_or(AnswerRefused::PolicyChanged)?;
        may_answer(&settled.asked, &[], &rules, by).map_err(AnswerRefused::MayNot)?;
        let now = self.clock.now();
        let review = Review { by: by.key(), name: by.name.clone(), at: now, note: note.trim().to_owned() };
        let request = Request::Settled(settled.reviewed(review));
        self.step(&request, RequestStep::Reviewed, Doer::person(by, note, through), None)
            .map_err(unavailable)?;
        self.registry.put(request.clone());
        Ok(request)
    }

    /// Adds what is known of how far a held operation reaches. Nothing depends on it.
    ///
    /// # Errors
    /// The store failed.
    pub fn set_blast(&self, id: RequestId, radius: BlastRadius) -> Result<(), StoreError> {
        let _turn = self.registry.turn();
        let Some(mut request) = self.registry.find(id) else { return Ok(()) };
        request.set_blast(radius);
        self.store.put_request(&request, None)?;
        self.registry.put(request);
        Ok(())
    }

    /// One request, whatever its state.
    ///
    /// # Errors
    /// The store failed.
    pub fn find_request(&self, id: RequestId) -> Result<Option<Request>, StoreError> {
        match self.registry.find(id) {
            Some(request) => Ok(Some(request)),
            None => self.store.request(id),
        }
    }

    /// Requests, newest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn requests(&self, filter: &RequestFilter) -> Result<Listing, StoreError> {
        self.store.requests(filter)
    }

    /// What becomes of a request; nothing where it is over. Does not block.
    pub fn wait_for(&self, id: RequestId) -> Option<watch::Receiver<Option<Outcome>>> {
        self.registry.wait(id)
    }

    /// Every change of every request from now on. Who is too slow misses some, and is told.
    pub fn request_changes(&self) -> broadcast::Receiver<Arc<Request>> {
        self.registry.subscribe()
    }

    /// Whether this person may answer the request now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_answer(&self, request: &Request, who: &Principal) -> Result<(), AnswerRefused> {
        let asked = request.asked();
        let votes = request.votes();
        match request {
            Request::Settled(settled) if !settled.needs_review() => {
                return Err(AnswerRefused::Over(request.state(), String::new()));
            }
            _ => {}
        }
        let rules = self.answer_rules(asked).ok_or(AnswerRefused::PolicyChanged)?;
        may_answer(asked, votes, &rules, who).map_err(AnswerRefused::MayNot)
    }

    /// Each need with how many have answered it, by the policy in force.
    pub fn given(&self, request: &Request) -> Vec<(Need, u32)> {
        let rules = self.answer_rules(request.asked()).unwrap_or_default();
        let given = |need: &Need| {
            let terms = rules.terms.iter().find(|terms| terms.rule.name == need.rule.name);
            terms.map_or(0, |terms| terms.given(request.votes()))
        };
        request.asked().needs.iter().map(|need| (need.clone(), given(need))).collect()
    }

    /// What answers are held against now; nothing where the rules it was filed under are not what they were: a grant that is
    /// gone or no longer the requester's, or, for an operation, any other policy.
    fn answer_rules(&self, asked: &Asked) -> Option<AnswerRules> {
        let policy = self.policy.load();
        let terms = asked.needs.iter().map(|need| terms(&policy, asked, need)).collect::<Option<Vec<_>>>()?;
        let clients = policy.providers().iter().filter_map(|provider| provider.sign_in.as_ref());
        let own_clients = clients.map(|sign_in| sign_in.client_id.clone()).collect();
        (!terms.is_empty()).then_some(AnswerRules { terms, own_clients })
    }

    /// Journals a step and stores the request after it.
    pub(crate) fn step(
        &self,
        request: &Request,
        step: RequestStep,
        doer: Doer,
        window: Option<&Window>,
    ) -> Result<(), StoreError> {
        self.journal_step(request, step, &doer)?;
        self.store.put_request(request, window)
    }

    fn journal_step(&self, request: &Request, step: RequestStep, doer: &Doer) -> Result<(), StoreError> {
        let asked = request.asked();
        let operation = asked.what.operation();
        self.journalled(&AuditEvent::Request(Box::new(RequestEvent {
            at: self.clock.now(),
            request: asked.id,
            step,
            kind: asked.what.kind().to_owned(),
            principal: asked.requester.key(),
            name: asked.requester.name.clone(),
            connection: asked.connection.clone(),
            rule: rule_of(request),
            session: operation.map(|operation| operation.session),
            hash: operation.map(|operation| operation.hash.clone()).unwrap_or_default(),
            reason: doer.reason.clone(),
            by: doer.by.clone(),
            by_name: doer.by_name.clone(),
            through: doer.through.clone(),
            note: doer.note.clone(),
            lifetime_seconds: doer.lifetime_seconds,
            window: doer.window,
            policy: Arc::clone(self.policy.load().version()),
        })))
    }
}

/// An approved operation that is not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UseRefused {
    /// The approval is not for it, or not any more.
    #[error(transparent)]
    NotUsable(#[from] NotUsable),
    /// Store or journal failed: nothing passes.
    #[error("the gateway cannot use an approval now; try again shortly")]
    Unavailable {
        /// For the log.
        detail: String,
    },
}

enum Over {
    Expired,
    Withdrawn(&'static str),
}

/// Who did a step, and what they said.
#[derive(Default)]
pub(crate) struct Doer {
    pub(crate) reason: String,
    pub(crate) by: Option<PrincipalKey>,
    pub(crate) by_name: String,
    pub(crate) through: String,
    pub(crate) note: String,
    pub(crate) lifetime_seconds: Option<u64>,
    pub(crate) window: Option<portcullis_core::WindowId>,
}

impl Doer {
    fn gateway(note: &str) -> Self {
        Self { note: note.to_owned(), ..Self::default() }
    }

    fn person(by: &Principal, note: &str, through: &str) -> Self {
        let note = note.trim().chars().take(MAX_NOTE).collect();
        Self {
            by: Some(by.key()),
            by_name: by.name.clone(),
            note,
            through: through.to_owned(),
            ..Self::default()
        }
    }
}

fn terms(policy: &Policy, asked: &Asked, need: &Need) -> Option<Terms> {
    let rule = need.rule.clone();
    match &asked.what {
        What::Window(window) => {
            let grant = policy.grants().iter().find(|grant| grant.id == window.grant)?;
            let same = grant.when == When::Approved
                && grant.connection == asked.connection
                && grant.is_to(&asked.requester)
                && grant.lifetime.is_some_and(|lifetime| lifetime.as_secs() >= window.lifetime_seconds);
            let approval = grant.approval.clone().filter(|_| same)?;
            Some(Terms { rule, approval, good_for: Duration::ZERO })
        }
        What::Operation(operation) | What::Commit(operation) => {
            if **policy.version() != *asked.policy {
                return None;
            }
            let guardrail = policy.guardrails().iter().find(|guardrail| guardrail.name == rule.name)?;
            let hold = guardrail.hold.as_ref()?;
            let good_for = match operation.mode {
                Mode::Ticket => hold.ticket_lifetime,
                Mode::Live | Mode::Commit => LIVE_GOOD_FOR,
            };
            Some(Terms { rule, approval: hold.approval.clone(), good_for })
        }
    }
}

pub(crate) fn need(rule: &RuleRef, approval: &portcullis_policy::Approval) -> Need {
    Need {
        rule: rule.clone(),
        approvers: approval.approvers.iter().map(ToString::to_string).collect(),
        approvals: approval.approvals,
    }
}

fn is_for(request: &Request, binding: &Binding, mode: Mode) -> bool {
    let asked = request.asked();
    asked.connection == binding.connection
        && asked
            .what
            .operation()
            .is_some_and(|held| held.mode == mode && binding.gives(&held.hash, mode, asked.answer_by))
}

fn rule_of(request: &Request) -> RuleRef {
    let first = request.asked().needs.first().map(|need| need.rule.clone());
    first.unwrap_or_else(|| RuleRef { kind: "guardrail".into(), name: String::new(), location: None })
}

fn told(outcome: Outcome) -> String {
    match outcome {
        Outcome::Approved { by, .. } | Outcome::Denied { by, .. } if !by.is_empty() => format!("by {by}"),
        Outcome::Withdrawn { note } => note,
        _ => String::new(),
    }
}

/// The window that this approval opens.
fn window_of(request: &Request, now: Timestamp) -> Option<Window> {
    let asked = request.asked();
    let What::Window(window) = &asked.what else { return None };
    let Ending::Approved { window: Some(id), lifetime_seconds: Some(seconds), .. } =
        request.settled()?.ending()
    else {
        return None;
    };
    Some(Window {
        id: *id,
        principal: asked.requester.key(),
        name: asked.requester.name.clone(),
        grant: window.grant.clone(),
        connection: asked.connection.clone(),
        reason: asked.reason.clone(),
        opened_at: now,
        ends_at: now.plus(Duration::from_secs(*seconds)),
    })
}
