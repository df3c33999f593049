//! Waiting for people's answer: the relay's part. The client's messages stay unread behind the one that waits; the server's side goes
//! on; a notice every half minute keeps the way to the client open.
//!
//! Nothing here lets anything pass: what the answer was goes to the inspector, which looks at the message again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use portcullis_access::requests::{NotUsable, Outcome, Request, UseRefused, Used};
use portcullis_core::{EndReason, RequestId};
use portcullis_proxy::gate::{Held, HeldStep};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Sleep,
};

use super::{Job, Relay};
use crate::{
    blast::{self, Question},
    codec::{Report, Severity},
    error::sqlstate,
    inspect::NextHold,
};

/// How often it is looked whether the session's rules have followed the policy.
const FOLLOW: Duration = Duration::from_millis(20);

/// A message that waits for people.
pub(super) struct Waits {
    held: Option<Held>,
    question: Option<Box<Question>>,
    /// What the client is told again and again.
    told: String,
    /// The upstream is asked how far it reaches: for as long as it waits.
    asking: Option<AbortHandle>,
}

impl Waits {
    /// The session ends: the request is taken back.
    pub(super) async fn leaves(&mut self, reason: &EndReason) {
        let why = match reason {
            EndReason::ClientQuit => "the client that waited is gone".to_owned(),
            reason => format!("the session has ended: {reason}"),
        };
        if let Some(held) = self.held.take() {
            held.abandon(&why).await;
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

/// An approval that is being used up.
pub(super) type Using = JoinHandle<Result<Used, UseRefused>>;

/// The policy has moved, and the session's rules are about to.
pub(super) type Following = Pin<Box<Sleep>>;

impl Relay {
    /// Does what the message that waits needs next. Whether something was done.
    pub(super) fn hold(&mut self) -> bool {
        let access = &self.around.gate.access;
        match self.inspector.next_hold() {
            NextHold::FindTicket(binding) => {
                let found = access.find_ticket(&binding);
                self.inspector.ticket(found);
            }
            NextHold::File(ask, question) => {
                let held = Held::file(access, *ask, &self.around.interrupt);
                let waits = Waits { held: Some(held), question, told: String::new(), asking: None };
                self.job = Some(Job::Hold(Box::new(waits)));
            }
            NextHold::Use(id, binding) => {
                let access = Arc::clone(access);
                let using = tokio::task::spawn_blocking(move || access.use_once(id, &binding));
                self.job = Some(Job::Use(using));
            }
            NextHold::Wait => return false,
        }
        true
    }

    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Job::Hold(waits)) = &mut self.job else { return false };
        if self.inspector.hold_is_moot()
            && let Some(held) = waits.held.take()
        {
            let leaving = async move { held.abandon("the server gave up its transaction meanwhile").await };
            self.job = Some(Job::Leave(Box::pin(leaving)));
            return true;
        }
        let Some(Poll::Ready(step)) = waits.held.as_mut().map(|held| held.poll(cx)) else { return false };
        match step {
            HeldStep::Filed(request) => {
                let told = self.waits_for(&request);
                let question = match &mut self.job {
                    Some(Job::Hold(waits)) => {
                        waits.told.clone_from(&told);
                        waits.question.take()
                    }
                    _ => None,
                };
                let asking = question.map(|question| self.ask_upstream(request.id(), *question));
                if let Some(Job::Hold(waits)) = &mut self.job {
                    waits.asking = asking;
                }
                let operation = request.asked().what.operation();
                let locks = operation.is_some_and(|operation| operation.in_transaction);
                let detail = self.held_because(&request, locks);
                let report = Report::new(Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION, told);
                self.say(&report.detail(detail).hint("cancel the statement to take the request back"));
                return true;
            }
            HeldStep::Remind(_) => {
                let told = format!("{} (still)", waits.told);
                self.say(&Report::new(Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION, told));
                return true;
            }
            HeldStep::Ticket(request) => self.give_ticket(&request),
            HeldStep::Answered(id, outcome) => {
                let moved = matches!(outcome, Outcome::Withdrawn { .. }) && self.policy_moved();
                if moved {
                    return self.follow();
                }
                self.inspector.answered(id, outcome);
            }
            HeldStep::Cancelled => self.inspector.hold_cancelled(),
            HeldStep::Refused(refused) => self.inspector.hold_refused(&refused),
        }
        self.job = None;
        true
    }

    pub(super) fn poll_use(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Job::Use(using)) = &mut self.job else { return false };
        let Poll::Ready(used) = Pin::new(using).poll(cx) else { return false };
        let used = used.unwrap_or_else(|error| Err(UseRefused::Unavailable { detail: error.to_string() }));
        match used {
            Ok(used) => self.inspector.used(used),
            Err(_) if self.policy_moved() => return self.follow(),
            // Another session of the same principal was faster with the ticket: it is asked for anew.
            Err(UseRefused::NotUsable(NotUsable::Used | NotUsable::Over))
                if self.inspector.holds_ticket() =>
            {
                self.inspector.forget_hold();
            }
            Err(UseRefused::NotUsable(why)) => {
                self.inspector.not_used(sqlstate::INSUFFICIENT_PRIVILEGE, why.to_string());
            }
            Err(refused @ UseRefused::Unavailable { .. }) => {
                let text = refused.to_string();
                if let UseRefused::Unavailable { detail } = refused {
                    tracing::error!(session = %self.session_id(), detail, "an approval could not be used");
                }
                self.inspector.not_used(sqlstate::SYSTEM_ERROR, text);
            }
        }
        self.job = None;
        true
    }

    pub(super) fn poll_leave(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Job::Leave(leaving)) = &mut self.job else { return false };
        let left = leaving.as_mut().poll(cx).is_ready();
        if left {
            self.inspector.forget_hold();
            self.job = None;
        }
        left
    }

    pub(super) fn poll_follow(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Job::Follow(sleep)) = &mut self.job else { return false };
        sleep.as_mut().poll(cx).is_ready() && self.follow()
    }

    /// Judges the message anew once the session's rules are those of the policy in force. The session ends where none are.
    fn follow(&mut self) -> bool {
        let in_force = self.around.gate.access.policy();
        if **in_force.version() == **self.inspector.session.rules().policy_version() {
            self.inspector.forget_hold();
            self.job = None;
        } else {
            self.job = Some(Job::Follow(Box::pin(tokio::time::sleep(FOLLOW))));
        }
        true
    }

    /// Whether the policy is another than the one under which the message waits.
    fn policy_moved(&self) -> bool {
        let in_force = self.around.gate.access.policy();
        self.inspector.held_under().is_some_and(|version| *version != **in_force.version())
    }

    /// The client's side, while a message of it waits for people: read on, so that its leaving is seen, up to what is kept.
    pub(super) fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        let waits = matches!(self.job, Some(Job::Hold(_) | Job::Use(_) | Job::Follow(_) | Job::Leave(_)));
        if !waits || self.from_client.is_full() {
            return Ok(false);
        }
        self.read_client(cx)
    }

    fn give_ticket(&mut self, request: &Request) {
        let id = request.id();
        let message = format!("{}; it was not sent", self.waits_for(request));
        let hint = "run the same statement again once it is approved: it then runs once".to_owned();
        let question = match &mut self.job {
            Some(Job::Hold(waits)) => waits.question.take(),
            _ => None,
        };
        if let Some(question) = question.filter(|_| request.blast().is_none()) {
            let _goes_on = self.ask_upstream(id, *question);
        }
        self.inspector.ticket_given(message, hint);
    }

    /// Never on the way of the hold: what comes of it is shown to approvers, nothing more.
    fn ask_upstream(&self, id: RequestId, question: Question) -> AbortHandle {
        let (gate, logins) = (Arc::clone(&self.around.gate), Arc::clone(&self.around.logins));
        let permit = Arc::clone(self.inspector.session.permit());
        let asking = async move {
            let access = Arc::clone(&gate.access);
            let radius = blast::work_out(gate, logins, permit, question).await;
            let set = tokio::task::spawn_blocking(move || access.set_blast(id, radius)).await;
            match set {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(request = %id, %error, "a blast radius could not be kept"),
                Err(error) => tracing::warn!(request = %id, %error, "a blast radius could not be kept"),
            }
        };
        tokio::spawn(asking).abort_handle()
    }

    fn waits_for(&self, request: &Request) -> String {
        let asked = request.asked();
        let whom = asked.needs.iter().flat_map(|need| need.approvers.iter());
        let whom: Vec<&str> = whom.map(String::as_str).collect();
        let id = request.id();
        let place = match self.around.gate.access.request_link(id) {
            Some(link) => format!(": {link}"),
            None => String::new(),
        };
        format!("request {id} waits for approval by {}{place}", whom.join(", "))
    }

    fn held_because(&self, request: &Request, locks: bool) -> String {
        let asked = request.asked();
        let rules: Vec<String> = asked.needs.iter().map(|need| format!("`{}`", need.rule.name)).collect();
        let locks = if locks { "; locks of the open transaction are held meanwhile" } else { "" };
        format!("held by guardrail {}; it waits until {} at most{locks}", rules.join(", "), asked.answer_by)
    }

    fn say(&mut self, report: &Report<'_>) {
        self.out.say(|down| report.encode(down));
        self.inspector.speak(&mut self.out);
    }

    fn session_id(&self) -> portcullis_core::SessionId {
        self.inspector.session.permit().facts().session
    }
}
