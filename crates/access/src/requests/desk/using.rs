//! Using an approval: once, and only for what was approved.

use portcullis_core::{RequestId, RequestStep, RuleRef, Timestamp};

use super::{
    Outcome,
    steps::{Doer, rule_of},
};
use crate::{
    Access, StoreError,
    requests::{
        binding::Binding,
        state::{Ending, NotUsable, Request},
        what::Mode,
    },
};

/// An approved operation that was let through: made by [`Access::use_once`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Used {
    /// Which request.
    pub request: RequestId,
    /// Who approved it, readable.
    pub by: String,
    /// The rule that asked for a person.
    pub rule: RuleRef,
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

impl Access {
    /// An approved ticket for the very operation, if there is one. Does not block, and looks at no request of others.
    pub fn find_ticket(&self, binding: &Binding) -> Option<RequestId> {
        self.ticket(binding, self.clock.now()).map(|request| request.id())
    }

    pub(super) fn ticket(&self, binding: &Binding, now: Timestamp) -> Option<Request> {
        let usable = |request: &Request| {
            let good = request.settled().is_some_and(|settled| {
                matches!(settled.ending(), Ending::Approved { used_at: None, good_until: Some(until), .. } if now < *until)
            });
            good && is_for(request, binding, Mode::Ticket)
        };
        self.registry.first_of(&binding.principal, &binding.connection, usable)
    }

    /// Lets an approved operation through: once, and only the one that was approved.
    ///
    /// # Errors
    /// Why not: journalled too, where there is such a request.
    // INVARIANT(approval-binds): the turn, the journal and the store are between two uses; the hash is made of what would run.
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
        let (request, why) = match request {
            Request::Settled(settled) if !moved => match settled.use_once(binding, now) {
                Ok(settled) => {
                    let request = Request::Settled(settled);
                    self.step(&request, RequestStep::Used, &Doer::default(), None).map_err(unavailable)?;
                    self.registry.put(request);
                    return Ok(Used { request: id, by, rule });
                }
                Err((settled, why)) => (Request::Settled(*settled), why),
            },
            request => (request, if moved { NotUsable::Differs } else { NotUsable::NotApproved }),
        };
        let doer = Doer::gateway(&why.to_string());
        self.journal_step(&request, RequestStep::UseRefused, &doer).map_err(unavailable)?;
        Err(why.into())
    }
}

/// Whether a request is for the very operation. The cheap questions come first: each hash is some microseconds.
pub(super) fn is_for(request: &Request, binding: &Binding, mode: Mode) -> bool {
    let asked = request.asked();
    asked.connection == binding.connection
        && asked
            .what
            .operation()
            .is_some_and(|held| held.mode == mode && binding.gives(&held.hash, mode, asked.answer_by))
}
