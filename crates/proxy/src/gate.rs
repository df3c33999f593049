//! [`Gate`]: the pipeline every protocol runs its sessions through.
//!
//! **Promises.** Promise 1, no bypass: [`Gate::admit`] is where a token becomes a permit, and its answer is in the journal
//! before anybody hears it. Promise 3, recorded before released: [`GateSession::commit`] puts every decision taken since
//! the last one into the journal in one write; what was decided may be forwarded only after it returned
//! (`INVARIANT(recorded-before-released)`).
//!
//! **Does not** know any protocol: those parse, ask [`GateSession::judge`], note what they do and forward.
//!
//! **How to read it**: [`Gate::admit`], [`Gate::open`], then [`GateSession`]; `holds` is what waits for people's answer.

use std::sync::Arc;

use portcullis_access::{Access, LiveGrant, Permit};
use portcullis_audit::{Batch, Journal, JournalSession, Position, Repeated};
use portcullis_core::{
    AuditEvent, Clock, Decision, EndReason, ErrorKind, Operation, RuleRef, SessionId, Timestamp, Verb,
    decision::DecisionEvent,
};
use portcullis_identity::Identity;
use portcullis_policy::{Limits, ResolveSecret, SessionRules};
use portcullis_record::{Event, Parameters, Recordings};

use crate::{
    dial::Dial,
    fingerprint::FingerprintKey,
    health::Health,
    sessions::{SessionHandle, Sessions},
};

mod admit;
mod holds;
mod recording;

pub use admit::{Admitted, Waiting};
pub use holds::{Held, HeldStep, Interrupt};
use recording::Recording;

/// Everything a protocol needs, wired once by the binary.
pub struct Gate {
    /// Verifies tokens.
    pub identity: Arc<Identity>,
    /// Decides who may open what.
    pub access: Arc<Access>,
    /// Takes every decision before its effect.
    pub journal: Arc<Journal>,
    /// The live sessions.
    pub sessions: Arc<Sessions<InForce>>,
    /// Opens transports to upstreams, under a permit.
    pub dial: Arc<dyn Dial>,
    /// Resolves the credential of a connection at its one use.
    pub secrets: Arc<dyn ResolveSecret>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Limits of the process file.
    pub limits: Limits,
    /// Keys the fingerprints of bind values.
    pub fingerprints: FingerprintKey,
    /// Where recorded sessions are recorded.
    pub recordings: Arc<Recordings>,
    /// How upstreams answered when sessions were opened to them.
    pub health: Arc<Health>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// What is in force for one live session: swapped whole when policy, groups or windows change.
#[derive(Debug)]
pub struct InForce {
    /// What operations are judged by.
    pub rules: Arc<SessionRules>,
    /// What must stay true for the session to go on.
    pub live: LiveGrant,
}

/// Nothing could be recorded, so nothing passes.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the journal or the recording did not take the event: {0}")]
pub struct NotRecorded(pub String);

impl NotRecorded {
    /// Always [`ErrorKind::Dependency`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Dependency
    }
}

impl From<NotRecorded> for EndReason {
    fn from(error: NotRecorded) -> Self {
        Self::NotRecorded { detail: error.0 }
    }
}

impl Gate {
    /// A session for a permit: registered (so that it can be listed, killed, drained), with its own journal handle, and
    /// recorded where its rules say so. What a kill or a changed policy did between the decision and the registration, and a
    /// recording that cannot begin, is caught here: the session is told to end.
    pub fn open(&self, permit: Permit) -> GateSession {
        let in_force = InForce { rules: Arc::clone(permit.rules()), live: permit.live().clone() };
        let handle = self.sessions.register(Arc::clone(permit.facts()), Arc::new(in_force));
        if let Err(reason) = self.access.reauthorize(permit.live(), permit.principal()) {
            handle.end(reason);
        }
        let mut session = GateSession {
            session: permit.facts().session,
            journal_session: JournalSession::new(Arc::clone(permit.facts())),
            journal: Arc::clone(&self.journal),
            clock: Arc::clone(&self.clock),
            batch: Batch::new(),
            noted: 0,
            number: 0,
            ended: false,
            recorded_text: self.limits.audit_text,
            handle,
            permit: Arc::new(permit),
            recording: Recording::new(Arc::clone(&self.recordings)),
        };
        let _begins = session.recorder();
        session
    }
}

/// One operation's decision, ready to be noted. Kept by protocols for operations that come again.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The answer.
    pub decision: Decision,
    event: DecisionEvent,
    encoded: Encoded,
}

/// What of a decision's event is kept encoded: nothing until it comes again, so that what comes once costs nothing more.
#[derive(Debug, Clone)]
enum Encoded {
    Never,
    Once,
    Again(Box<Repeated>),
}

impl Judged {
    /// Whether the operation may pass.
    pub fn is_allow(&self) -> bool {
        self.decision.is_allow()
    }
}

/// One session's way to rules, journal and registry.
pub struct GateSession {
    session: SessionId,
    permit: Arc<Permit>,
    handle: SessionHandle<InForce>,
    journal: Arc<Journal>,
    journal_session: JournalSession,
    clock: Arc<dyn Clock>,
    batch: Batch,
    noted: usize,
    number: u64,
    ended: bool,
    recorded_text: usize,
    recording: Recording,
}

impl GateSession {
    /// The permit the session rests on.
    pub fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }

    /// The registry's handle: end signals, counters, rules.
    pub fn handle(&self) -> &SessionHandle<InForce> {
        &self.handle
    }

    /// The rules in force now; a policy reload changes them under a live session.
    pub fn rules(&self) -> Arc<SessionRules> {
        Arc::clone(&self.handle.rules().rules)
    }

    /// Whether the rules in force are still `rules`.
    pub fn rules_are(&self, rules: &Arc<SessionRules>) -> bool {
        Arc::ptr_eq(&self.handle.rules().rules, rules)
    }

    /// Decides one operation. Noting and committing the answer is the caller's next step, before anything is forwarded.
    pub fn judge(&self, rules: &SessionRules, operation: &Operation) -> Judged {
        self.judged(rules, operation, rules.decide(operation))
    }

    /// A deny that policy did not make: the protocol itself cannot let this pass (unparseable, too long, a shut way out).
    pub fn refused(
        &self,
        rules: &SessionRules,
        operation: &Operation,
        rule: &'static str,
        reason: String,
    ) -> Judged {
        let rule = RuleRef { kind: "classification".into(), name: rule.to_owned(), location: None };
        self.denied(rules, operation, rule, reason)
    }

    /// A deny by a rule that only the protocol can apply: a mask, which needs to know where a statement's columns come from.
    pub fn denied(
        &self,
        rules: &SessionRules,
        operation: &Operation,
        rule: RuleRef,
        reason: String,
    ) -> Judged {
        self.judged(rules, operation, Decision::deny(rule, reason))
    }

    fn judged(&self, rules: &SessionRules, operation: &Operation, decision: Decision) -> Judged {
        let verb = operation
            .resources
            .iter()
            .map(|r| r.verb)
            .max_by_key(|verb| strength(*verb))
            .unwrap_or(Verb::Read);
        let (text, text_cut_from) = cut(&operation.text, self.recorded_text);
        let event = DecisionEvent {
            at: self.clock.now(),
            session: self.session,
            number: 0,
            verb,
            resources: operation.resources.as_slice().into(),
            statement: operation.kind(),
            text,
            text_cut_from,
            binds: None,
            decision: decision.verdict,
            rule: decision.rule.clone(),
            reason: decision.reason.clone().into(),
            obligations: decision.obligations.clone(),
            policy: Arc::clone(rules.policy_version()),
        };
        Judged { decision, event, encoded: Encoded::Never }
    }

    /// Adds a decision to what the next [`GateSession::commit`] writes, and to the recording where there is one. `text`
    /// replaces the judged text where only literals differ from it.
    ///
    /// # Errors
    /// The event cannot be encoded, or the recording failed; the operation must not pass.
    pub fn note(
        &mut self,
        judged: &mut Judged,
        text: Option<&Arc<str>>,
        binds: Option<String>,
    ) -> Result<(), NotRecorded> {
        self.note_bound(judged, text, binds, Parameters::None)
    }

    /// As [`GateSession::note`], for an operation with bound values: `binds` is their fingerprint, `parameters` are the values,
    /// which only a recording gets.
    ///
    /// # Errors
    /// As [`GateSession::note`].
    pub fn note_bound(
        &mut self,
        judged: &mut Judged,
        text: Option<&Arc<str>>,
        binds: Option<String>,
        parameters: Parameters<'_>,
    ) -> Result<(), NotRecorded> {
        self.number += 1;
        let (at, number) = (self.clock.now(), self.number);
        let event = &mut judged.event;
        event.at = at;
        event.number = number;
        event.binds = binds;
        if let Some(text) = text {
            (event.text, event.text_cut_from) = cut(text, self.recorded_text);
        }
        let failed = |error: portcullis_audit::Error| NotRecorded(error.to_string());
        if let Encoded::Once = judged.encoded {
            judged.encoded = Encoded::Again(Box::new(Repeated::of(event).map_err(failed)?));
        }
        match &judged.encoded {
            Encoded::Again(repeated) => self.batch.push_repeated(repeated, event).map_err(failed)?,
            Encoded::Never | Encoded::Once => {
                self.batch.push_decision(event).map_err(failed)?;
                judged.encoded = Encoded::Once;
            }
        }
        self.noted += 1;
        let event = &judged.event;
        if let Some(recorder) = self.recorder() {
            let statement = Event::Statement {
                number,
                text: &event.text,
                text_cut_from: event.text_cut_from,
                verdict: event.decision,
                rule: &event.rule,
                reason: &event.reason,
                parameters,
            };
            recorder.event(at, &statement).map_err(|failure| NotRecorded(failure.to_string()))?;
        }
        Ok(())
    }

    /// The number of the decision noted last, counted from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether the rules in force say that the session is recorded.
    pub fn is_recorded(&self) -> bool {
        self.handle.rules().rules.is_recorded()
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How many bytes of a text are recorded.
    pub fn recorded_text(&self) -> usize {
        self.recorded_text
    }

    /// Whether decisions wait for [`GateSession::commit`].
    pub fn has_noted(&self) -> bool {
        self.noted > 0
    }

    /// Writes every noted decision to the journal in one write. What they allowed may be forwarded once this returned and,
    /// in strict mode, [`Journal::settled`] for the position did.
    // INVARIANT(recorded-before-released)
    ///
    /// # Errors
    /// Nothing was recorded, or the session cannot be recorded: it must end.
    pub fn commit(&mut self) -> Result<Option<Position>, NotRecorded> {
        if self.noted == 0 {
            return Ok(None);
        }
        let recording = self.not_recording();
        let position = self.journal.append(Some(&self.journal_session), &self.batch);
        self.batch.clear();
        self.handle.add_statements(u64::try_from(self.noted).unwrap_or(u64::MAX));
        self.noted = 0;
        // What was decided is journalled all the same.
        if let Some(failure) = recording {
            return Err(NotRecorded(failure.to_string()));
        }
        position.map(Some).map_err(|error| NotRecorded(error.to_string()))
    }

    /// The journal, to wait on for a position in strict mode.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Journals the end of the session and ends its recording, once.
    pub fn end(&mut self, reason: &EndReason) {
        if self.ended {
            return;
        }
        self.ended = true;
        let traffic = self.handle.traffic();
        let event = AuditEvent::SessionEnded {
            at: self.clock.now(),
            session: self.session,
            reason: reason.clone(),
            decisions: self.number,
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
        };
        let pushed = self.batch.push(&event);
        let written = pushed.and_then(|()| self.journal.append(Some(&self.journal_session), &self.batch));
        if let Err(error) = written {
            tracing::error!(session = %self.session, %error, "the end of a session could not be journalled");
        }
        self.finish_recording(reason);
    }
}

impl Drop for GateSession {
    /// A session that unwinds or is aborted leaves its end in the journal too.
    fn drop(&mut self) {
        self.end(&EndReason::Internal { detail: "the session task stopped".to_owned() });
    }
}

const fn strength(verb: Verb) -> u8 {
    match verb {
        Verb::Read => 0,
        Verb::Connect => 1,
        Verb::Write => 2,
        Verb::Execute => 3,
        Verb::Admin => 4,
    }
}

/// The text as it is recorded, and how long it was where it was cut.
fn cut(text: &Arc<str>, most: usize) -> (Arc<str>, Option<u64>) {
    if text.len() <= most {
        return (Arc::clone(text), None);
    }
    let kept = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
    (Arc::from(kept), u64::try_from(text.len()).ok())
}
