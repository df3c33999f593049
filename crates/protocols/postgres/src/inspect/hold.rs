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

use portcullis_access::requests::{Binding, Digest, HoldAsk, HoldRefused, Mode, Outcome, Ran, Used};
use portcullis_core::{Operation, RequestId, ResourceRef, StatementKind, operation::Classified};
use portcullis_policy::{HoldingRule, OnTimeout};
use portcullis_proxy::gate::Judged;

use super::{Blocked, Inspector, OwnPoint, Skipping, Stop, Unit, refuse::Refused};
use crate::{
    blast::Question,
    codec::{
        bind::{Bind, Values},
        frontend::{self, tag},
    },
    error::sqlstate,
    session::{names::Prepared, outputs::Outputs},
};

mod asked;

/// Why a text waits.
#[derive(Debug, Default)]
pub(in crate::inspect) struct Why {
    /// The rules that hold it, each once.
    rules: Vec<HoldingRule>,
    parts: Vec<Part>,
    /// Every pair of the whole text.
    pub(super) resources: Vec<ResourceRef>,
    /// What ran, where it is a commit that waits.
    pub(super) commit: Option<Committing>,
    used: Option<Used>,
}

/// One statement that a rule holds.
#[derive(Debug)]
struct Part {
    statement: usize,
    judged: Judged,
    rules: Vec<String>,
    kinds: Vec<StatementKind>,
    resources: Vec<ResourceRef>,
    lacks_where: bool,
    classified: bool,
}

/// What a commit would make last.
#[derive(Debug)]
pub(super) struct Committing {
    pub(super) rows: Option<u64>,
    pub(super) ran: Vec<Ran>,
    pub(super) more: u64,
}

impl Why {
    pub(in crate::inspect) fn add(
        &mut self,
        statement: usize,
        operation: &Operation,
        judged: Judged,
        rules: Vec<HoldingRule>,
    ) {
        self.parts.push(Part {
            statement,
            judged,
            rules: rules.iter().map(|rule| rule.rule.name.clone()).collect(),
            kinds: operation.kinds.clone(),
            resources: operation.resources.clone(),
            lacks_where: operation.lacks.iter().any(|clause| clause == "where"),
            classified: operation.classified == Classified::Completely,
        });
        for rule in rules {
            if !self.rules.iter().any(|known| known.rule.name == rule.rule.name) {
                self.rules.push(rule);
            }
        }
    }

    /// The commit of what ran.
    pub(super) fn of_commit(
        statement: usize,
        judged: Judged,
        rules: Vec<HoldingRule>,
        resources: Vec<ResourceRef>,
        commit: Committing,
    ) -> Box<Self> {
        let part = Part {
            statement,
            judged,
            rules: rules.iter().map(|rule| rule.rule.name.clone()).collect(),
            kinds: vec![StatementKind::word("commit")],
            resources: resources.clone(),
            lacks_where: false,
            classified: true,
        };
        Box::new(Self { rules, parts: vec![part], resources, commit: Some(commit), used: None })
    }

    /// The allow that a statement's hold has become.
    pub(in crate::inspect) fn approved(&self, statement: usize) -> Option<Judged> {
        let part = self.parts.iter().find(|part| part.statement == statement)?;
        Some(part.judged.approved(self.used.as_ref()?))
    }

    /// What was judged of the first statement that is held.
    pub(super) fn judged(&self) -> Option<&Judged> {
        self.parts.first().map(|part| &part.judged)
    }

    /// How it waits: with a ticket where every rule says so, else on the live connection.
    fn mode(&self) -> Mode {
        let ticket = self.rules.iter().all(|rule| rule.terms.on_timeout == OnTimeout::Ticket);
        match (&self.commit, ticket) {
            (Some(_), _) => Mode::Commit,
            (None, true) => Mode::Ticket,
            (None, false) => Mode::Live,
        }
    }
}

/// A message that waits, as it would go upstream, with whatever its meaning hangs on.
pub(super) struct Subject<'a> {
    pub(super) unit: Unit,
    /// The whole message.
    pub(super) bytes: &'a [u8],
    /// What it runs; nothing for a FunctionCall.
    pub(super) prepared: Option<&'a Prepared>,
    /// What it runs, as text.
    pub(super) text: Arc<str>,
    /// The parameter types that were declared for it.
    pub(super) types: &'a [u32],
    /// Those that the server described, where the client asked: shown, and no part of what is approved.
    pub(super) described: &'a [u32],
    pub(super) values: Given<'a>,
    /// The keyed fingerprint of its values.
    pub(super) print: Option<String>,
}

/// The values that a message comes with.
pub(super) enum Given<'a> {
    Nothing,
    Bind(&'a Bind<'a>),
    Arguments(frontend::FunctionCall<'a>),
}

impl Given<'_> {
    fn values(&self) -> Values<'_> {
        match self {
            Self::Nothing => Values::default(),
            Self::Bind(bind) => bind.values,
            Self::Arguments(call) => call.arguments,
        }
    }
}

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
    Refused(Refused),
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
                self.refuse_held(subject.unit, why, refused, out)?;
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
                Stage::Refused(Refused::plain(sqlstate::INSUFFICIENT_PRIVILEGE, message))
            }
            Outcome::Expired => {
                let message = format!("nobody answered request {id} in time");
                Stage::Refused(
                    Refused::plain(sqlstate::QUERY_CANCELED, message).hint("run it again to ask again"),
                )
            }
            Outcome::Withdrawn { note } => {
                let message = format!("request {id} was withdrawn: {note}");
                Stage::Refused(Refused::plain(sqlstate::QUERY_CANCELED, message))
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
        self.hold_is(Stage::Refused(Refused::plain(code, message)));
    }

    /// The client took back what waits.
    pub(crate) fn hold_cancelled(&mut self) {
        self.hold_is(Stage::Refused(cancelled()));
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
        self.hold_is(Stage::Refused(Refused::plain(code, refused.to_string())));
    }

    /// The client is sent away with the request's id.
    pub(crate) fn ticket_given(&mut self, message: String, hint: String) {
        let refused = Refused::plain(sqlstate::LOCK_NOT_AVAILABLE, message).hint(hint);
        // That it is held is what is to be said of it; no deny follows.
        self.hold_is(Stage::Refused(refused.undecided()));
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
        by_name: &[(Box<str>, Arc<str>)],
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
    fn binding(&self, subject: &Subject<'_>, why: &Why, by_name: &[(Box<str>, Arc<str>)]) -> Binding {
        let permit = self.session.permit();
        let facts = permit.facts();
        let policy = self.judge.rules().policy_version().to_string();
        let name = &permit.connection().name;
        Binding {
            digest: digest(subject, why, by_name),
            principal: permit.principal().key(),
            session: facts.session,
            connection: facts.connection.clone().unwrap_or_else(|| name.clone()),
            database: facts.database.clone(),
            policy,
        }
    }
}

/// Over the message as it goes upstream, the texts it refers to by name, the declared types, what all of it was judged to do, which
/// rules hold it, and what ran before it where it commits.
fn digest(subject: &Subject<'_>, why: &Why, by_name: &[(Box<str>, Arc<str>)]) -> Digest {
    let types: Vec<u8> = subject.types.iter().flat_map(|oid| oid.to_be_bytes()).collect();
    let resources = format!("{:?}", why.resources);
    let rules = why.rules.iter().map(|rule| rule.rule.name.as_str()).collect::<Vec<_>>().join("\n");
    let ran = match &why.commit {
        Some(commit) => format!("{:?} {:?} {}", commit.rows, commit.ran, commit.more),
        None => String::new(),
    };
    // Drivers number their statements: the same operation comes again under other names. What they mean is in the text.
    let named: [&[u8]; 4] = match (&subject.values, why.mode()) {
        (Given::Bind(bind), Mode::Ticket) => {
            [b"Bind", bind.formats.as_bytes(), bind.values.as_bytes(), bind.result_formats.as_bytes()]
        }
        _ => [b"", subject.bytes, b"", b""],
    };
    let fixed: [&[u8]; 6] = [
        b"postgres",
        subject.text.as_bytes(),
        &types,
        resources.as_bytes(),
        rules.as_bytes(),
        ran.as_bytes(),
    ];
    Digest::of(fixed.into_iter().chain(named).chain(by_name_parts(by_name)))
}

fn by_name_parts(by_name: &[(Box<str>, Arc<str>)]) -> impl Iterator<Item = &[u8]> {
    by_name.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()])
}

/// What was approved to be run by name: held against what it is when the portal runs.
pub(super) fn digest_by_name(by_name: &[(Box<str>, Arc<str>)]) -> Digest {
    Digest::of(by_name_parts(by_name))
}

fn cancelled() -> Refused {
    Refused::plain(sqlstate::QUERY_CANCELED, "canceling statement due to user request")
}
