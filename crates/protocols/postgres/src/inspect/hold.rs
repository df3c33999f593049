//! Messages that wait for a person's yes before they are sent on.
//!
//! **Promises.** INVARIANT(approval-binds): the message stays where it was read, unconsumed, and is looked at again each time something
//! changed: judged anew, hashed anew. It passes only where that gives the very binding that was approved and used up
//! ([`Access::use_once`](portcullis_access::Access::use_once)). Everything sent before it has been answered by then, so that what its
//! names mean, and whether a transaction is open, is certain. INVARIANT(held-until-answered): nothing of it is written upstream before.
//!
//! **Does not** wait (`session/holding` does): [`Inspector::next_hold`] says what for.
//!
//! **How to read it**: [`Inspector::held`], then `asked` (what the approver sees); `commit` is the gate before a COMMIT.

use std::sync::Arc;

use portcullis_access::requests::{Binding, HoldAsk, HoldRefused, Mode, Outcome, Used};
use portcullis_core::RequestId;

use super::{Blocked, Inspector, OwnPoint, Skipping, Stop, Unit, refuse::Refused};
use crate::{
    blast::Question,
    codec::frontend::{self, tag},
    error::sqlstate,
    session::outputs::Outputs,
};

mod asked;
mod digest;
mod why;

use digest::digest;
pub(super) use digest::digest_by_name;
use why::Part;
pub(super) use why::{ByName, Committing, Given, Subject, Why};

/// What became of a message that waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// It may pass now.
    Open,
    /// It was refused, or the server skips it.
    Shut,
}

/// The message that waits.
pub(super) struct Hold {
    binding: Binding,
    mode: Mode,
    stage: Stage,
    ask: Option<Box<HoldAsk>>,
    question: Option<Box<Question>>,
}

enum Stage {
    /// Perhaps it was approved before: the tickets are looked through.
    Tickets,
    /// It is to be filed; whether that it is held is in the journal.
    Wanted {
        noted: bool,
    },
    /// It is being filed, or waits.
    Waits,
    /// People said yes to this request: it is used up before anything passes.
    Approved(RequestId),
    /// That is under way.
    Using,
    Used(Used),
    Refused(Box<Refused>),
}

/// What the relay has to do for the message that waits.
#[derive(Debug)]
pub(crate) enum NextHold {
    /// Look through the tickets, and tell [`Inspector::ticket`].
    FindTicket(Binding),
    /// File it, and ask the upstream how far it reaches.
    File(Box<HoldAsk>, Option<Box<Question>>),
    /// Use the approval up, and tell [`Inspector::used`].
    Use(RequestId, Binding),
    /// Nothing: what was asked for is under way.
    Wait,
}

impl Inspector {
    /// Whether the message may pass, which some of the rules hold.
    pub(super) fn held(
        &mut self,
        subject: &Subject<'_>,
        why: &mut Why,
        out: &mut Outputs,
    ) -> Result<Passage, Stop> {
        if self.is_skipped_once_answered(out)? {
            // An error stands before it in its sequence: the server drops everything up to the Sync.
            self.skipping = Skipping::WithServer;
            return Ok(Passage::Shut);
        }
        let by_name = match subject.prepared {
            Some(prepared) => self.judge.runs_by_name(prepared, &self.names, &self.flight),
            None => Ok(Vec::new()),
        };
        let by_name = match by_name {
            Ok(by_name) => by_name,
            Err(unclear) => {
                let refused = self.unclear(why, unclear);
                self.refuse(subject.unit, refused, out)?;
                return Ok(Passage::Shut);
            }
        };
        if why.commit.is_none() && self.fails_anyway(subject) {
            let refused = Refused::plain(
                sqlstate::IN_FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            );
            self.refuse(subject.unit, refused, out)?;
            return Ok(Passage::Shut);
        }
        let binding = self.binding(subject, why, &by_name);
        // Another message than the one that waited, or the same under other rules: an approval of that is none of this.
        let hold = match self.hold.take().filter(|hold| hold.binding == binding) {
            Some(hold) => hold,
            None => self.new_hold(subject, why, &by_name, binding),
        };
        self.advance(hold, subject, why, out)
    }

    fn advance(
        &mut self,
        mut hold: Box<Hold>,
        subject: &Subject<'_>,
        why: &mut Why,
        out: &mut Outputs,
    ) -> Result<Passage, Stop> {
        match std::mem::replace(&mut hold.stage, Stage::Waits) {
            Stage::Used(used) => {
                if self.interrupt.ends() {
                    self.refuse_held(subject.unit, why, cancelled(), out)?;
                    return Ok(Passage::Shut);
                }
                why.used = Some(used);
                return Ok(Passage::Open);
            }
            Stage::Refused(refused) => {
                self.interrupt.ends();
                self.refuse_held(subject.unit, why, *refused, out)?;
                return Ok(Passage::Shut);
            }
            Stage::Wanted { noted: false } => {
                self.interrupt.begins();
                for part in &why.parts {
                    let text = match subject.prepared {
                        Some(prepared) if prepared.statements().len() > 1 => {
                            let statement = prepared.statements().get(part.statement);
                            statement.map(|statement| prepared.statement_text(statement).into())
                        }
                        _ => Some(Arc::clone(&subject.text)),
                    };
                    let print = subject.print.clone();
                    self.session.note(&mut part.judged.clone(), text.as_ref(), print)?;
                }
                hold.stage = Stage::Wanted { noted: true };
            }
            other => hold.stage = other,
        }
        self.hold = Some(hold);
        Err(Stop::Blocked(Blocked::Hold))
    }

    /// What the message that waits needs next. Everything noted is in the journal by now.
    pub(crate) fn next_hold(&mut self) -> NextHold {
        let Some(hold) = &mut self.hold else { return NextHold::Wait };
        match std::mem::replace(&mut hold.stage, Stage::Waits) {
            Stage::Tickets => {
                hold.stage = Stage::Tickets;
                NextHold::FindTicket(hold.binding.clone())
            }
            Stage::Wanted { noted: true } => match hold.ask.take() {
                Some(ask) => NextHold::File(ask, hold.question.take()),
                None => NextHold::Wait,
            },
            Stage::Approved(id) => {
                hold.stage = Stage::Using;
                NextHold::Use(id, hold.binding.clone())
            }
            other => {
                hold.stage = other;
                NextHold::Wait
            }
        }
    }

    /// The tickets were looked through.
    pub(crate) fn ticket(&mut self, found: Option<RequestId>) {
        let Some(hold) = &mut self.hold else { return };
        hold.stage = match found {
            Some(id) => {
                self.interrupt.begins();
                Stage::Approved(id)
            }
            None => Stage::Wanted { noted: false },
        };
    }

    /// People answered, or nobody did.
    pub(crate) fn answered(&mut self, id: RequestId, outcome: Outcome) {
        let stage = match outcome {
            Outcome::Approved { .. } => Stage::Approved(id),
            Outcome::Denied { by, note } => {
                let message = format!("request {id} was denied by {by}: {note}");
                Stage::Refused(Box::new(Refused::plain(sqlstate::INSUFFICIENT_PRIVILEGE, message)))
            }
            Outcome::Expired => {
                let message = format!("nobody answered request {id} in time");
                Stage::Refused(Box::new(
                    Refused::plain(sqlstate::QUERY_CANCELED, message).hint("run it again to ask again"),
                ))
            }
            Outcome::Withdrawn { note } => {
                let message = format!("request {id} was withdrawn: {note}");
                Stage::Refused(Box::new(Refused::plain(sqlstate::QUERY_CANCELED, message)))
            }
        };
        self.hold_is(stage);
    }

    /// The approval was used up: what was approved may pass, once.
    pub(crate) fn used(&mut self, used: Used) {
        self.hold_is(Stage::Used(used));
    }

    /// The approval lets nothing through.
    pub(crate) fn not_used(&mut self, code: &'static str, message: String) {
        self.hold_is(Stage::Refused(Box::new(Refused::plain(code, message))));
    }

    /// The client took back what waits.
    pub(crate) fn hold_cancelled(&mut self) {
        self.hold_is(Stage::Refused(Box::new(cancelled())));
    }

    /// It cannot even wait.
    pub(crate) fn hold_refused(&mut self, refused: &HoldRefused) {
        let code = match refused {
            HoldRefused::TooMany { .. } | HoldRefused::Full => sqlstate::CONFIGURATION_LIMIT,
            HoldRefused::Unavailable { detail } => {
                tracing::error!(session = %self.session.permit().facts().session, detail, "a request could not be filed");
                sqlstate::SYSTEM_ERROR
            }
        };
        self.hold_is(Stage::Refused(Box::new(Refused::plain(code, refused.to_string()))));
    }

    /// The client is sent away with the request's id.
    pub(crate) fn ticket_given(&mut self, message: String, hint: String) {
        let refused = Refused::plain(sqlstate::LOCK_NOT_AVAILABLE, message).hint(hint);
        // That it is held is what is to be said of it; no deny follows.
        self.hold_is(Stage::Refused(Box::new(refused.undecided())));
    }

    /// Whether the server skips what waits: an error of its own came in its sequence, such as a timeout.
    pub(crate) fn hold_is_moot(&self) -> bool {
        self.hold.is_some() && self.flight.is_skipped()
    }

    /// What it was held by is no more: it is judged as if it had just come.
    pub(crate) fn forget_hold(&mut self) {
        self.hold_is_over();
    }

    /// Whether what waits does so with a ticket.
    pub(crate) fn holds_ticket(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.mode == Mode::Ticket)
    }

    /// The version of the policy under which something waits.
    pub(crate) fn held_under(&self) -> Option<&str> {
        self.hold.as_ref().map(|hold| hold.binding.policy.as_str())
    }

    /// Whether something waits for a person.
    pub(crate) fn is_holding(&self) -> bool {
        self.hold.is_some()
    }

    fn hold_is(&mut self, stage: Stage) {
        if let Some(hold) = &mut self.hold {
            hold.stage = stage;
        }
    }

    /// The message was dealt with: nothing waits any more.
    pub(in crate::inspect) fn hold_is_over(&mut self) {
        if self.hold.take().is_some() {
            self.interrupt.ends();
        }
    }

    /// Waits until everything sent is answered. Whether the message is skipped by the server, after an error in its sequence.
    pub(super) fn is_skipped_once_answered(&mut self, out: &mut Outputs) -> Result<bool, Stop> {
        if self.flight.owed() > 0 {
            return Err(Stop::Blocked(Blocked::Answers));
        }
        match self.flight.own_point_now() {
            OwnPoint::Runs => Ok(false),
            OwnPoint::Skipped => Ok(true),
            OwnPoint::Unknown { ask } => {
                if ask {
                    out.up.push_with(|up| frontend::empty(up, tag::FLUSH));
                }
                Err(Stop::Blocked(Blocked::Answers))
            }
        }
    }

    /// Whether the server would refuse it in any case: nobody is asked for the sake of a transaction that has failed.
    fn fails_anyway(&self, subject: &Subject<'_>) -> bool {
        let control = subject.prepared.is_some_and(|prepared| {
            prepared.statements().iter().any(|statement| statement.transaction().is_some())
        });
        self.flight.has_failed() && !control
    }

    fn unclear(&self, why: &Why, unclear: &str) -> Refused {
        match why.parts.first() {
            Some(part) => {
                let rule = part.judged.decision.rule.clone();
                let reason = format!("guardrail `{}` holds it for a person, and {unclear}", rule.name);
                Refused::denied(part.judged.denied_by(rule, reason))
            }
            None => Refused::plain(sqlstate::INSUFFICIENT_PRIVILEGE, unclear),
        }
    }

    /// Refuses what waited: with a deny in the journal, and where it was a commit the transaction is rolled back.
    fn refuse_held(
        &mut self,
        unit: Unit,
        why: &Why,
        refused: Refused,
        out: &mut Outputs,
    ) -> Result<(), Stop> {
        let judged = why.parts.first().map(|part| {
            let rule = part.judged.decision.rule.clone();
            part.judged.denied_by(rule, refused.message().to_owned())
        });
        let refused = refused.decided(judged);
        match why.commit {
            Some(_) => self.refuse_and_roll_back(unit, refused, out),
            None => self.refuse(unit, refused, out),
        }
    }

    fn new_hold(
        &mut self,
        subject: &Subject<'_>,
        why: &Why,
        by_name: &[ByName],
        binding: Binding,
    ) -> Box<Hold> {
        let mode = why.mode();
        let live = self.session.handle().rules();
        let ask = HoldAsk {
            facts: Arc::clone(self.session.permit().facts()),
            principal: Arc::clone(live.live.principal()),
            rules: why.rules.clone(),
            policy: Arc::clone(self.judge.rules().policy_version()),
            digest: binding.digest,
            mode,
            operation: self.operation(subject, why, by_name),
            reason: self.reason.to_string(),
        };
        drop(live);
        let question = self.question(subject, why).map(Box::new);
        let stage = if mode == Mode::Ticket { Stage::Tickets } else { Stage::Wanted { noted: false } };
        Box::new(Hold { binding, mode, stage, ask: Some(Box::new(ask)), question })
    }

    /// What an approval of the message binds to.
    fn binding(&self, subject: &Subject<'_>, why: &Why, by_name: &[ByName]) -> Binding {
        let permit = self.session.permit();
        let facts = permit.facts();
        let policy = self.judge.rules().policy_version().to_string();
        let name = &permit.connection().name;
        Binding {
            digest: digest(subject, why, by_name, &self.judge.meaning(facts.session)),
            principal: permit.principal().key(),
            session: facts.session,
            connection: facts.connection.clone().unwrap_or_else(|| name.clone()),
            database: facts.database.clone(),
            policy,
        }
    }
}

fn cancelled() -> Refused {
    Refused::plain(sqlstate::QUERY_CANCELED, "canceling statement due to user request")
}
