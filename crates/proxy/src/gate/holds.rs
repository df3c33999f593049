//! An operation that waits for people's answer on its live connection: filed, waited for, taken back.
//!
//! **Promises.** Whoever stops waiting takes the request back: a [`Held`] that is dropped, its filing under way or not, leaves no
//! request that waits for nobody. What was cancelled does not run, even where it was approved at the same moment. A hold becomes an
//! allow by a [`Used`] alone, which [`Access::use_once`] makes, once for each approval.
//!
//! **Does not** know what was asked: the protocol holds the message, and hashes it again when it is let through.
//!
//! **How to read it**: [`Held::poll`], then [`Interrupt`], then what [`Judged`] becomes.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use atomic_waker::AtomicWaker;
use portcullis_access::{
    Access,
    requests::{AnswerRefused, Filed, HoldAsk, HoldRefused, Mode, Outcome, Request, Used, Withdrawer},
};
use portcullis_core::{Decision, RequestId, RuleRef, Verdict};
use tokio::{
    task::{JoinError, JoinHandle},
    time::{Instant, Sleep},
};

use super::{Encoded, Judged};

/// How often who waits is told that it still does: shorter than load balancers and address translation give up on a connection.
pub const REMIND: Duration = Duration::from_secs(30);

/// What happened to a held operation.
#[derive(Debug)]
pub enum HeldStep {
    /// It waits: the client is told where.
    Filed(Box<Request>),
    /// It still waits: the client is told again.
    Remind(RequestId),
    /// The client was sent away with the request's id, and comes again.
    Ticket(Box<Request>),
    /// It ended.
    Answered(RequestId, Outcome),
    /// The client took it back.
    Cancelled,
    /// It cannot even wait.
    Refused(HoldRefused),
}

/// An operation on its way to people's answer.
pub struct Held {
    access: Arc<Access>,
    interrupt: Arc<Interrupt>,
    stage: Stage,
}

enum Stage {
    Filing(JoinHandle<Result<Filed, HoldRefused>>, Mode),
    Waiting(Wait),
    Withdrawing(JoinHandle<()>),
    Over,
}

struct Wait {
    id: RequestId,
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    remind: Pin<Box<Sleep>>,
}

impl Held {
    /// Files the request, off the reactor.
    pub fn file(access: &Arc<Access>, ask: HoldAsk, interrupt: &Arc<Interrupt>) -> Self {
        let mode = ask.mode;
        let desk = Arc::clone(access);
        let filing = tokio::task::spawn_blocking(move || desk.hold(ask));
        Self {
            access: Arc::clone(access),
            interrupt: Arc::clone(interrupt),
            stage: Stage::Filing(filing, mode),
        }
    }

    /// What happens next. After an ending ([`HeldStep::Ticket`], [`HeldStep::Answered`], [`HeldStep::Cancelled`],
    /// [`HeldStep::Refused`]) it is not polled again.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<HeldStep> {
        loop {
            let cancelled = self.interrupt.poll_cancelled(cx);
            match &mut self.stage {
                Stage::Filing(filing, mode) => {
                    let Poll::Ready(filed) = Pin::new(filing).poll(cx) else { return Poll::Pending };
                    let mode = *mode;
                    self.stage = Stage::Over;
                    let filed = match filed.unwrap_or_else(|error| Err(not_filed(&error))) {
                        Ok(filed) => filed,
                        Err(refused) => return Poll::Ready(HeldStep::Refused(refused)),
                    };
                    if mode == Mode::Ticket {
                        // Approved between the look at the tickets and the filing: it is that one.
                        let outcome = filed.outcome.borrow().clone();
                        return Poll::Ready(match outcome {
                            Some(outcome) => HeldStep::Answered(filed.request.id(), outcome),
                            None => HeldStep::Ticket(Box::new(filed.request)),
                        });
                    }
                    let request = Box::new(filed.request);
                    self.stage = Stage::Waiting(Wait::new(request.id(), filed.outcome));
                    if !cancelled {
                        return Poll::Ready(HeldStep::Filed(request));
                    }
                }
                Stage::Waiting(wait) if cancelled => {
                    let withdrawing = withdraw(&self.access, wait.id, CANCELLED);
                    self.stage = Stage::Withdrawing(withdrawing);
                }
                Stage::Waiting(wait) => {
                    if let Poll::Ready(outcome) = wait.outcome.as_mut().poll(cx) {
                        let id = wait.id;
                        self.stage = Stage::Over;
                        return Poll::Ready(HeldStep::Answered(id, outcome));
                    }
                    if wait.remind.as_mut().poll(cx).is_ready() {
                        wait.remind.as_mut().reset(Instant::now() + REMIND);
                        return Poll::Ready(HeldStep::Remind(wait.id));
                    }
                    return Poll::Pending;
                }
                Stage::Withdrawing(withdrawing) => {
                    let Poll::Ready(_) = Pin::new(withdrawing).poll(cx) else { return Poll::Pending };
                    self.stage = Stage::Over;
                    return Poll::Ready(HeldStep::Cancelled);
                }
                Stage::Over => return Poll::Pending,
            }
        }
    }

    /// Nobody waits any more: takes the request back, and waits until that is journalled.
    pub async fn abandon(mut self, why: &str) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        leave(Arc::clone(&self.access), stage, why.to_owned()).await;
    }
}

impl Drop for Held {
    /// Of a session whose task was stopped: its request is taken back all the same.
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        if let Stage::Over | Stage::Withdrawing(_) | Stage::Filing(_, Mode::Ticket) = stage {
            return;
        }
        if let Ok(reactor) = tokio::runtime::Handle::try_current() {
            reactor.spawn(leave(
                Arc::clone(&self.access),
                stage,
                "the session that waited is gone".to_owned(),
            ));
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Wait {
    fn new(id: RequestId, mut outcome: tokio::sync::watch::Receiver<Option<Outcome>>) -> Self {
        let outcome = async move {
            let gone = || Outcome::Withdrawn { note: "the gateway is stopping".to_owned() };
            match outcome.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or_else(gone),
                Err(_) => gone(),
            }
        };
        Self { id, outcome: Box::pin(outcome), remind: Box::pin(tokio::time::sleep(REMIND)) }
    }
}

const CANCELLED: &str = "the client cancelled the statement";

async fn leave(access: Arc<Access>, stage: Stage, why: String) {
    let id = match stage {
        // What was filed meanwhile is known once it is filed.
        Stage::Filing(filing, mode) => match filing.await {
            Ok(Ok(filed)) if mode != Mode::Ticket => filed.request.id(),
            _ => return,
        },
        Stage::Waiting(wait) => wait.id,
        Stage::Withdrawing(withdrawing) => {
            let _told_by_itself = withdrawing.await;
            return;
        }
        Stage::Over => return,
    };
    if let Err(error) = withdraw(&access, id, &why).await {
        tracing::warn!(request = %id, %error, "a request could not be withdrawn");
    }
}

/// That it is over by itself is no failure.
fn withdraw(access: &Arc<Access>, id: RequestId, why: &str) -> JoinHandle<()> {
    let (access, why) = (Arc::clone(access), why.to_owned());
    tokio::task::spawn_blocking(move || match access.withdraw(id, &Withdrawer::Gateway, &why) {
        Ok(_) | Err(AnswerRefused::Over(..)) => {}
        Err(error) => tracing::warn!(request = %id, %error, "a request could not be withdrawn"),
    })
}

fn not_filed(error: &JoinError) -> HoldRefused {
    HoldRefused::Unavailable { detail: error.to_string() }
}

/// How a client takes back what waits: by the cancel request of its protocol, on another transport.
#[derive(Debug, Default)]
pub struct Interrupt {
    state: AtomicU8,
    waker: AtomicWaker,
}

const NOTHING_WAITS: u8 = 0;
const WAITS: u8 = 1;
const TAKEN_BACK: u8 = 2;

impl Interrupt {
    /// Something waits from now on.
    pub fn begins(&self) {
        let _already = self.state.compare_exchange(NOTHING_WAITS, WAITS, SeqCst, SeqCst);
    }

    /// Nothing waits any more. Whether what waited was taken back: then it must not run.
    pub fn ends(&self) -> bool {
        self.state.swap(NOTHING_WAITS, SeqCst) == TAKEN_BACK
    }

    /// Takes back what waits. False where nothing does: then the cancel is for the upstream.
    pub fn cancel(&self) -> bool {
        let taken = self.state.compare_exchange(WAITS, TAKEN_BACK, SeqCst, SeqCst);
        if taken.is_ok() {
            self.waker.wake();
        }
        matches!(taken, Ok(_) | Err(TAKEN_BACK))
    }

    /// Whether what waits was taken back.
    pub fn is_cancelled(&self) -> bool {
        self.state.load(SeqCst) == TAKEN_BACK
    }

    fn poll_cancelled(&self, cx: &mut Context<'_>) -> bool {
        if self.is_cancelled() {
            return true;
        }
        self.waker.register(cx.waker());
        self.is_cancelled()
    }
}

impl Judged {
    /// Every (verb, resource) pair it was judged by.
    pub fn resources(&self) -> &Arc<[portcullis_core::ResourceRef]> {
        &self.event.resources
    }

    /// Whether a person has to say yes first.
    pub fn is_hold(&self) -> bool {
        self.decision.verdict == Verdict::Hold
    }

    /// The allow that a hold becomes once people said yes.
    #[must_use]
    pub fn approved(&self, used: &Used) -> Self {
        let reason = format!("approved by {} ({})", used.by, used.request);
        self.with(Verdict::Allow, self.decision.rule.clone(), reason)
    }

    /// The deny that a hold becomes where nobody said yes, and an allow by a rule that only the protocol can apply.
    #[must_use]
    pub fn denied_by(&self, rule: RuleRef, reason: String) -> Self {
        self.with(Verdict::Deny, rule, reason)
    }

    /// The hold that an allow becomes by such a rule: a commit of more than may pass.
    #[must_use]
    pub fn held_by(&self, rule: RuleRef, reason: String) -> Self {
        self.with(Verdict::Hold, rule, reason)
    }

    fn with(&self, verdict: Verdict, rule: RuleRef, reason: String) -> Self {
        let obligations = match verdict {
            Verdict::Deny => Vec::new(),
            Verdict::Allow | Verdict::Hold => self.decision.obligations.clone(),
        };
        let mut event = self.event.clone();
        (event.decision, event.rule, event.reason) = (verdict, rule.clone(), reason.clone().into());
        event.obligations = obligations.clone();
        Self { decision: Decision { verdict, rule, reason, obligations }, event, encoded: Encoded::Never }
    }
}

#[cfg(test)]
mod tests;
