//! Ending what waits: withdrawn, out of time, or without the rules it was filed under.

use portcullis_core::{PrincipalKey, RequestId, RequestStep, SessionId, Timestamp};

use super::{Outcome, answering::unavailable, standing::Over, steps::Doer, told};
use crate::{
    Access, StoreError,
    requests::{
        answer::AnswerRefused,
        said::said_within,
        state::{MAX_NOTE, Pending, Request},
    },
};

/// Who takes a request back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawer {
    /// The requester.
    Requester(PrincipalKey),
    /// The gateway: its session ended, its statement was cancelled, its policy changed.
    Gateway,
}

impl Access {
    /// Takes a request back. One whose time is over has expired, whoever takes it back.
    ///
    /// # Errors
    /// It is over, is not the withdrawer's, or store or journal failed.
    pub fn withdraw(&self, id: RequestId, by: &Withdrawer, note: &str) -> Result<Request, AnswerRefused> {
        let _turn = self.registry.turn();
        let now = self.clock.now();
        let request = self.known(id)?;
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
        if pending.asked().answer_by <= now {
            self.end(pending, Over::Expired, now).map_err(unavailable)?;
            return Err(Over::Expired.refused());
        }
        let note = said_within(note, MAX_NOTE);
        let (doer, why) = match by {
            Withdrawer::Requester(_) => {
                (Doer::person(&pending.asked().requester, &note, ""), "withdrawn by the requester")
            }
            Withdrawer::Gateway => (Doer::gateway(&note), "withdrawn by the gateway"),
        };
        let note = if note.is_empty() { why.to_owned() } else { note };
        let request = Request::Settled(pending.withdraw(now, note));
        self.step(&request, RequestStep::Withdrawn, &doer, None).map_err(unavailable)?;
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
        self.registry.has_holds(session)
    }

    /// Ends what is over: out of time, blocked, or under rules that are no more. Called every second and when the policy moves.
    pub fn tidy_requests(&self) {
        let now = self.clock.now();
        for waits in self.registry.waits() {
            let id = waits.asked.id;
            // Looked at without the turn, and again in it: most are not over.
            if self.why_over(&waits.asked, waits.orphan, now).is_none() {
                continue;
            }
            let _turn = self.registry.turn();
            let Some(Request::Pending(pending)) = self.registry.find(id) else { continue };
            let Some(over) = self.why_over(pending.asked(), waits.orphan, now) else { continue };
            if let Err(error) = self.end(pending, over, now) {
                tracing::error!(request = %id, %error, "a request that is over could not be ended");
            }
        }
        // Approvals whose time is over leave the memory; the store has them.
        self.registry.forget_unusable(now);
    }

    /// Ends a pending request that is over.
    pub(super) fn end(&self, pending: Pending, over: Over, now: Timestamp) -> Result<(), StoreError> {
        let (settled, step, doer) = match over {
            Over::Expired => match pending.expire(now) {
                Ok(settled) => (settled, RequestStep::Expired, Doer::default()),
                // It still has time.
                Err(_) => return Ok(()),
            },
            Over::Blocked | Over::PolicyChanged | Over::Restarted => {
                let settled = pending.withdraw(now, over.note());
                (settled, RequestStep::Withdrawn, Doer::gateway(over.note()))
            }
        };
        let request = Request::Settled(settled);
        self.step(&request, step, &doer, None)?;
        self.registry.put(request);
        Ok(())
    }
}
