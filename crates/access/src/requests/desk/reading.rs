//! Looking at requests, and waiting for them.

use std::sync::Arc;

use portcullis_core::{Principal, RequestId};
use tokio::sync::{broadcast, watch};

use super::Outcome;
use crate::{
    Access, StoreError,
    requests::{
        answer::{AnswerRefused, WhyNot, may_answer},
        registry::Waiting,
        state::{Request, State},
        store::{Listing, RequestFilter},
        what::{BlastRadius, Need},
    },
};

impl Access {
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

    /// How much waits for people. Does not block.
    pub fn waiting(&self) -> Waiting {
        self.registry.waiting()
    }

    /// Requests, newest first.
    ///
    /// # Errors
    /// The store failed.
    pub fn requests(&self, filter: &RequestFilter) -> Result<Listing, StoreError> {
        self.store.requests(filter)
    }

    /// What becomes of a request; nothing where it cannot change any more. Does not block. It may have ended between the
    /// caller's look at it and this call: where there is nothing to wait for, read it again with [`Access::find_request`]. Whoever
    /// has the receiver still reads the outcome after the request is forgotten here.
    pub fn wait_for(&self, id: RequestId) -> Option<watch::Receiver<Option<Outcome>>> {
        self.registry.wait(id)
    }

    /// How many wait for what becomes of a request. Does not block.
    pub fn waiters(&self, id: RequestId) -> usize {
        self.registry.waiters(id)
    }

    /// Every change of every request from now on. Who is too slow misses some, and is told.
    pub fn request_changes(&self) -> broadcast::Receiver<Arc<Request>> {
        self.registry.subscribe()
    }

    /// Whether this person may answer the request now, or review it, where it waits for that. Does not block.
    ///
    /// # Errors
    /// Why not.
    pub fn may_answer(&self, request: &Request, who: &Principal) -> Result<(), AnswerRefused> {
        let (asked, now) = (request.asked(), self.clock.now());
        if self.blocks.find(&who.key(), &asked.connection, now).is_some() {
            return Err(AnswerRefused::MayNot(WhyNot::Blocked));
        }
        match request {
            Request::Settled(settled) if settled.needs_review() => self.may_review(asked, who),
            Request::Settled(_) => Err(AnswerRefused::Over(request.state(), String::new())),
            Request::Pending(_) => {
                if let Some(over) = self.why_over(asked, self.registry.is_orphan(asked.id), now) {
                    return Err(over.refused());
                }
                let rules = self.answer_rules(asked).ok_or(AnswerRefused::PolicyChanged)?;
                may_answer(asked, request.votes(), &rules, who).map_err(AnswerRefused::MayNot)
            }
        }
    }

    /// Each need with how many have answered it: by the policy in force; where that has moved on, an approved request had
    /// all of them.
    pub fn given(&self, request: &Request) -> Vec<(Need, u32)> {
        let rules = self.answer_rules(request.asked());
        let given = |need: &Need| match &rules {
            Some(rules) => {
                let terms = rules.terms.iter().find(|terms| terms.rule.name == need.rule.name);
                terms.map_or(0, |terms| terms.given(request.votes()))
            }
            None if request.state() == State::Approved && !request.votes().is_empty() => need.approvals,
            None => 0,
        };
        request.asked().needs.iter().map(|need| (need.clone(), given(need))).collect()
    }
}
