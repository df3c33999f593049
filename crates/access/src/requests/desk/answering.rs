//! Answering: votes, and reviews of what was opened at once.

use std::{collections::HashMap, sync::Arc};

use portcullis_core::{Principal, PrincipalKey, RequestId, RequestStep, Timestamp};

use super::{
    Outcome,
    steps::{Doer, window_of},
    told,
};
use crate::{
    Access, StoreError,
    requests::{
        answer::{AnswerRefused, AnswerRules, Ballot, WhyNot},
        said::said,
        state::{MAX_NOTE, Pending, Request, Review, State},
    },
};

/// Earlier voters as they are now: `None` for one who is no longer good.
type Fresh = HashMap<PrincipalKey, Option<Arc<Principal>>>;

impl Access {
    /// Takes a person's answer. `fresh` are earlier voters as they are now: `None` for one who is no longer good; one who is not
    /// in it (who voted after [`Access::voters`] was asked) counts as they were a moment ago. A vote of somebody who may not
    /// answer any more is dropped before the new one is counted.
    ///
    /// # Errors
    /// Why it does not count; journalled too, where there is such a request.
    pub fn answer(&self, id: RequestId, ballot: Ballot, fresh: &Fresh) -> Result<Request, AnswerRefused> {
        let _turn = self.registry.turn();
        let now = self.clock.now();
        let doer = Doer::person(&ballot.by, &ballot.note, ballot.through);
        let request = self.known(id)?;
        let mut pending = match request {
            Request::Pending(pending) => pending,
            request @ Request::Settled(_) => {
                let (state, note) = (request.state(), Outcome::of(&request).map(told).unwrap_or_default());
                let refused = AnswerRefused::Over(state, note);
                return Err(self.refused_answer(&request, doer, refused));
            }
        };
        let over = self.why_over(pending.asked(), self.registry.is_orphan(id), now);
        // No terms, no answers.
        let Some(rules) = self.answer_rules(pending.asked()).filter(|_| over.is_none()) else {
            let over = over.unwrap_or(super::standing::Over::PolicyChanged);
            self.end(pending, over, now).map_err(unavailable)?;
            return Err(over.refused());
        };
        self.drop_votes(&mut pending, &rules, fresh, now)?;
        if self.blocks.find(&ballot.by.key(), &pending.asked().connection, now).is_some() {
            let refused = AnswerRefused::MayNot(WhyNot::Blocked);
            return Err(self.refused_answer(&Request::Pending(pending), doer, refused));
        }
        let lifetime = ballot.lifetime_seconds;
        let request = match pending.answer(ballot, &rules, now) {
            Ok(request) => request,
            Err((pending, refused)) => {
                return Err(self.refused_answer(&Request::Pending(*pending), doer, refused));
            }
        };
        let step = match request.state() {
            State::Pending => RequestStep::Vote,
            State::Approved => RequestStep::Approved,
            State::Denied | State::Expired | State::Withdrawn => RequestStep::Denied,
        };
        let window = window_of(&request, now);
        let doer = Doer { lifetime_seconds: lifetime, window: window.as_ref().map(|w| w.id), ..doer };
        self.step(&request, step, &doer, window.as_ref()).map_err(unavailable)?;
        if let Some(window) = window {
            let (principal, connection) = (window.principal.clone(), window.connection.clone());
            let id = window.id;
            self.windows.add(window);
            // A kill blocks first and ends windows then: what it missed here, it left a block for.
            if self.blocks.find(&principal, &connection, now).is_some()
                && let Err(error) = self.end_window(id)
            {
                tracing::error!(window = %id, %error, "a window of a blocked identity is over, but stored as open");
            }
        }
        self.registry.put(request.clone());
        Ok(request)
    }

    /// Takes back the votes of people who may not answer any more, and keeps the others with groups as they are now: a vote
    /// counts for what its giver may answer today.
    fn drop_votes(
        &self,
        pending: &mut Pending,
        rules: &AnswerRules,
        fresh: &Fresh,
        now: Timestamp,
    ) -> Result<(), AnswerRefused> {
        let connection = pending.asked().connection.clone();
        let dropped = pending.look_again(|voter| {
            let current = match fresh.get(&voter.key()) {
                Some(current) => current.as_ref()?,
                None => voter,
            };
            let blocked = self.blocks.find(&voter.key(), &connection, now).is_some();
            (rules.name(current) && !blocked).then(|| Arc::clone(current))
        });
        if dropped.is_empty() {
            return Ok(());
        }
        let request = Request::Pending(pending.clone());
        let event = |by: &Arc<Principal>| {
            let doer = Doer::person(by, "may not answer any more", "");
            self.event(&request, RequestStep::VoteDropped, &doer)
        };
        let events: Vec<_> = dropped.iter().map(|vote| event(&vote.by)).collect();
        let kept = self.journalled(&events).and_then(|()| self.store.put_request(&request, None));
        kept.map_err(unavailable)?;
        self.registry.put(request);
        Ok(())
    }

    /// Journals an answer that does not count: the reason why, in place of what was said.
    fn refused_answer(&self, request: &Request, doer: Doer, refused: AnswerRefused) -> AnswerRefused {
        let doer = Doer { note: refused.to_string(), ..doer };
        match self.journal_step(request, RequestStep::AnswerRefused, &doer) {
            Ok(()) => refused,
            Err(error) => unavailable(error),
        }
    }

    /// The people who answered so far: to be looked at again before the next answer is counted.
    pub fn voters(&self, id: RequestId) -> Vec<Arc<Principal>> {
        let request = self.registry.find(id);
        request
            .map(|request| request.votes().iter().map(|vote| Arc::clone(&vote.by)).collect())
            .unwrap_or_default()
    }

    /// Notes that a person looked at a window that was opened at once: an approver of its grant, or, where the grant is gone,
    /// whoever has the role `approver`; never the requester.
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
        let request = self.registry.find(id).ok_or(AnswerRefused::NothingToReview)?;
        let Request::Settled(settled) = request else { return Err(AnswerRefused::NothingToReview) };
        if !settled.needs_review() {
            return Err(AnswerRefused::NothingToReview);
        }
        let now = self.clock.now();
        let doer = Doer::person(by, note, through);
        let blocked = self.blocks.find(&by.key(), &settled.asked.connection, now).map(|_| WhyNot::Blocked);
        let refused = match blocked {
            Some(why) => Err(AnswerRefused::MayNot(why)),
            None => self.may_review(&settled.asked, by),
        };
        if let Err(refused) = refused {
            return Err(self.refused_answer(&Request::Settled(settled), doer, refused));
        }
        let said = said(note);
        if said.is_empty() || said.chars().count() > MAX_NOTE {
            return Err(AnswerRefused::Note);
        }
        let review = Review { by: by.key(), name: by.name.clone(), at: now, note: said };
        let request = Request::Settled(settled.reviewed(review));
        self.step(&request, RequestStep::Reviewed, &doer, None).map_err(unavailable)?;
        self.registry.put(request.clone());
        Ok(request)
    }

    /// A request, in memory or from the store.
    pub(super) fn known(&self, id: RequestId) -> Result<Request, AnswerRefused> {
        match self.registry.find(id) {
            Some(request) => Ok(request),
            None => self.store.request(id).map_err(unavailable)?.ok_or(AnswerRefused::Unknown),
        }
    }
}

pub(super) fn unavailable(error: StoreError) -> AnswerRefused {
    AnswerRefused::Unavailable { detail: error.0 }
}
