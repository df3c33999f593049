//! Filing: what waits, within the limits, and one request for the very same.

use std::sync::Arc;

use portcullis_core::{Principal, RequestId, RequestStep, SessionFacts};
use portcullis_policy::{Approval, HoldingRule};
use tokio::sync::watch;

use super::{Outcome, steps::Doer, using::is_for};
use crate::{
    Access, StoreError,
    requests::{
        binding::{Binding, Digest},
        said::said_within,
        state::{Pending, Request},
        what::{Asked, Mode, Need, OperationAsked, What},
    },
    windows::MAX_REASON,
};

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

impl Access {
    /// Takes up what waited when the gateway stopped. Operations on connections that are gone are withdrawn by the first
    /// [`Access::tidy_requests`]; no answer counts for them until then. Nothing is written here: the caller may be on a reactor.
    pub(crate) fn load_requests(&self) -> Result<(), StoreError> {
        for request in self.store.open_requests(self.clock.now())? {
            self.registry.load(request);
        }
        Ok(())
    }

    /// Files a request, within the limits. The caller has the turn.
    pub(crate) fn file_in_turn(&self, asked: Asked) -> Result<Filed, HoldRefused> {
        let limits = self.limits;
        let (all, own) = self.registry.pending(&asked.requester.key());
        if own >= limits.per_identity {
            return Err(HoldRefused::TooMany { limit: limits.per_identity });
        }
        if all >= limits.pending {
            return Err(HoldRefused::Full);
        }
        let doer = Doer { reason: asked.reason.clone(), ..Doer::default() };
        let request = Request::Pending(Pending::new(asked));
        self.step(&request, RequestStep::Filed, &doer, None)
            .map_err(|error| HoldRefused::Unavailable { detail: error.0 })?;
        let outcome = self.registry.put(request.clone());
        Ok(Filed { request, outcome, new: true })
    }

    /// The requester's pending request that `same` names, where it still stands. The caller has the turn.
    pub(crate) fn waiting_in_turn(&self, asked: &Asked, same: impl Fn(&Request) -> bool) -> Option<Filed> {
        let now = self.clock.now();
        let stands = |request: &Request| {
            matches!(request, Request::Pending(_))
                && same(request)
                && self.why_over(request.asked(), false, now).is_none()
        };
        let request = self.registry.first_of(&asked.requester.key(), &asked.connection, stands)?;
        let outcome = self.registry.wait(request.id())?;
        Some(Filed { request, outcome, new: false })
    }

    /// Files a request for one operation. A ticket for the very same that waits already, or that was approved a moment ago and
    /// not used, is that one.
    ///
    /// # Errors
    /// Why it cannot wait; then it is refused.
    pub fn hold(&self, ask: HoldAsk) -> Result<Hold, HoldRefused> {
        let unavailable = |detail: &str| HoldRefused::Unavailable { detail: detail.to_owned() };
        let binding = ask.binding().ok_or_else(|| unavailable("a session without a connection"))?;
        if ask.rules.is_empty() {
            return Err(unavailable("no rule says who is to answer"));
        }
        let _turn = self.registry.turn();
        let now = self.clock.now();
        let waits = ask.rules.iter().map(|rule| match ask.mode {
            Mode::Ticket => rule.terms.answer_within,
            Mode::Live | Mode::Commit => rule.terms.hold_limit,
        });
        let answer_by = now.plus(waits.min().unwrap_or_default());
        let HoldAsk { facts, principal, rules, policy, mode, mut operation, reason, .. } = ask;
        operation.mode = mode;
        operation.hash = binding.hash(mode, answer_by);
        let operation = Box::new(operation);
        let asked = Asked {
            id: RequestId::generate(now),
            requester: principal,
            connection: binding.connection.clone(),
            database: binding.database.clone(),
            needs: rules.iter().map(|rule| need(&rule.rule, &rule.terms.approval)).collect(),
            reason: said_within(&reason, MAX_REASON),
            source: facts.source.clone(),
            client: facts.client.clone(),
            filed_at: now,
            answer_by,
            policy,
            what: if mode == Mode::Commit { What::Commit(operation) } else { What::Operation(operation) },
        };
        if mode == Mode::Ticket {
            if let Some(filed) = self.waiting_in_turn(&asked, |request| is_for(request, &binding, mode)) {
                return Ok(filed);
            }
            if let Some(request) = self.ticket(&binding, now)
                && let Some(outcome) = self.registry.wait(request.id())
            {
                return Ok(Filed { request, outcome, new: false });
            }
        }
        self.file_in_turn(asked)
    }
}

pub(crate) fn need(rule: &portcullis_core::RuleRef, approval: &Approval) -> Need {
    Need {
        rule: rule.clone(),
        approvers: approval.approvers.iter().map(ToString::to_string).collect(),
        approvals: approval.approvals,
    }
}
