//! Messages -> operations -> what is forwarded: the judge in the data path. No I/O, so that it is tested with bytes alone.
//!
//! **Promises.** A message that makes the server run something is forwarded only after its operation was allowed and noted
//! for the journal; the relay commits what is noted before it writes. Whatever does not parse ends the session. A refused
//! statement leaves client and server in the same transaction state (see `refuse`).
//!
//! **How to read it**: [`Inspector::frontend`] (client to server), `extended` (Bind and Execute), `stream` (long messages),
//! `hold` (what waits for a person), `commit` (what waits before it is committed), `backend` (server to client), `results` (rows: masked, recorded), `judge` (text to decision), `refuse` (what happens instead), `probe` (asking the server for its search path).
//!
//! **References**: PostgreSQL documentation, 55.2 "Message Flow".

use std::sync::Arc;

use portcullis_core::EndReason;
use portcullis_proxy::{
    buffer::ReadBuffer,
    fingerprint::FingerprintKey,
    gate::{GateSession, Interrupt},
};
use portcullis_record::Parameters;
use portcullis_sql::SessionEffect;

use crate::{
    codec::{
        Direction, Frames, Header, Next,
        backend::TransactionStatus,
        frontend::{self, Message, Named, Target, tag},
        limits::significant,
    },
    session::{
        commits::{Commits, Gated},
        expected::{Expect, Plan},
        flight::{CopyGate, Effect, Flight, OwnPoint},
        names::{MAX_TEXT, Names, Prepared, weight},
        outputs::Outputs,
    },
};

mod backend;
mod commit;
mod extended;
mod function;
mod hold;
mod judge;
mod probe;
mod refuse;
mod results;
mod stream;

use extended::effects_of;
pub(crate) use hold::NextHold;
use hold::{Given, Hold, Passage, Subject};
pub(crate) use judge::{Judge, masks_columns};
use refuse::{Refusals, Unit};
use stream::Streaming;

/// The most bytes of one client message that are kept: a statement of the longest length and what surrounds it.
pub(crate) const fn longest_message(statement: usize) -> usize {
    statement + SLACK + Header::LEN
}

/// One session's inspection.
pub(crate) struct Inspector {
    pub(crate) session: GateSession,
    pub(crate) judge: Judge,
    pub(crate) flight: Flight<Prepared>,
    names: Names,
    refusals: Refusals,
    results: results::Results,
    probe: probe::Probe,
    fingerprints: FingerprintKey,
    limits: InspectLimits,
    /// Messages of a refused extended-protocol sequence are dropped up to its `Sync`.
    skipping: Skipping,
    /// The rest of a client message that is longer than the read buffer.
    streaming: Streaming,
    /// Bytes of a server message still to be passed on.
    down_left: usize,
    encoding: Encoding,
    told_fatal: bool,
    /// The message at the front waits for a person.
    hold: Option<Box<Hold>>,
    /// What ran in the open transaction whose commit may have to wait.
    commits: Commits,
    /// How the client takes back what waits.
    interrupt: Arc<Interrupt>,
    /// Why, as the client said at its start.
    reason: Box<str>,
}

/// What a session has from its start, for what waits for a person.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    pub(crate) interrupt: Arc<Interrupt>,
    pub(crate) reason: Box<str>,
}

/// Limits of the process file that count here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InspectLimits {
    /// The longest statement that is analysed, in bytes.
    pub(crate) statement: usize,
}

/// What the server said of how it reads text.
#[derive(Debug, Clone, Copy)]
struct Encoding {
    standard_strings: bool,
    utf8: bool,
    /// A change of `client_encoding` is in flight: until it landed only ASCII is read.
    changing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipping {
    No,
    /// The server skips too: it was given something that fails, and answers the `Sync`.
    WithServer,
    /// The server knows nothing of the sequence; the `Sync` is answered here.
    Locally,
}

/// Why the client's next message is not looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// More bytes are needed.
    NeedInput,
    /// Too much waits to be written.
    Backpressure,
    /// Answers in flight must come first.
    Answers,
    /// The catalog must be read (again).
    Catalog,
    /// A new text must be analysed off the reactor.
    Analysis(Arc<str>),
    /// It waits for a person: [`Inspector::next_hold`] says what for.
    Hold,
}

/// A message that must wait, or the session's end.
enum Stop {
    Blocked(Blocked),
    End(EndReason),
}

impl From<EndReason> for Stop {
    fn from(reason: EndReason) -> Self {
        Self::End(reason)
    }
}

impl From<crate::codec::Error> for Stop {
    fn from(error: crate::codec::Error) -> Self {
        Self::End(violation(error.to_string()))
    }
}

impl From<portcullis_proxy::gate::NotRecorded> for Stop {
    fn from(error: portcullis_proxy::gate::NotRecorded) -> Self {
        Self::End(error.into())
    }
}

/// The recording failed: nothing goes unrecorded.
fn not_recording(error: portcullis_record::NotRecording) -> EndReason {
    EndReason::NotRecorded { detail: error.to_string() }
}

pub(crate) fn violation(detail: impl Into<String>) -> EndReason {
    EndReason::ProtocolViolation { detail: detail.into() }
}

impl Inspector {
    pub(crate) fn new(
        session: GateSession,
        judge: Judge,
        state: TransactionStatus,
        fingerprints: FingerprintKey,
        limits: InspectLimits,
        nonce: &[u8; 16],
        asking: Asking,
    ) -> Self {
        Self {
            session,
            judge,
            flight: Flight::new(state),
            names: Names::default(),
            refusals: Refusals::new(nonce),
            results: results::Results::default(),
            probe: probe::Probe::default(),
            fingerprints,
            limits,
            skipping: Skipping::No,
            streaming: Streaming::No,
            down_left: 0,
            encoding: Encoding { standard_strings: true, utf8: true, changing: false },
            told_fatal: false,
            hold: None,
            commits: Commits::default(),
            interrupt: asking.interrupt,
            reason: asking.reason,
        }
    }

    /// Whether the session is between operations: a drain may end it here.
    pub(crate) fn is_idle(&self) -> bool {
        self.flight.is_empty()
            && self.flight.state() == TransactionStatus::Idle
            && self.skipping == Skipping::No
            && !self.is_probing()
    }

    /// Whether a message to the client is half written.
    pub(crate) fn is_within_a_message(&self) -> bool {
        self.down_left > 0
    }

    /// Whether a message to the server is half written.
    pub(crate) fn is_within_a_statement(&self) -> bool {
        self.streaming.has_begun()
    }

    /// Whether the server's own last words, a FATAL error, were passed on.
    pub(crate) fn was_told_fatal(&self) -> bool {
        self.told_fatal
    }

    /// Whether the server has more to do for this session than the statement it is at.
    pub(crate) fn has_sent_ahead(&self) -> bool {
        self.flight.is_gathering() || self.flight.owed() > 1
    }

    /// Whether the server may be running something for this session.
    pub(crate) fn is_running(&self) -> bool {
        !self.flight.is_empty()
    }

    /// Takes the server's first settings into account.
    ///
    /// # Errors
    /// They are not what the session needs.
    pub(crate) fn begins_with(&mut self, parameters: &[(Vec<u8>, Vec<u8>)]) -> Result<(), EndReason> {
        parameters.iter().try_for_each(|(name, value)| self.parameter(name, value))
    }

    /// Looks at what the client sent, as far as it goes. Takes whole messages and pieces of long ones from `buffer`.
    ///
    /// # Errors
    /// The session must end.
    pub(crate) fn frontend(
        &mut self,
        buffer: &mut ReadBuffer,
        out: &mut Outputs,
    ) -> Result<Blocked, EndReason> {
        if !self.judge.follow(&self.session) {
            return Ok(Blocked::Catalog);
        }
        if self.is_probing() {
            return Ok(Blocked::Answers);
        }
        loop {
            if out.up.is_full() || out.down.is_full() {
                return Ok(Blocked::Backpressure);
            }
            if self.results.expected.is_full() {
                return Ok(Blocked::Answers);
            }
            if !buffer.is_empty() && self.probe(out) {
                return Ok(Blocked::Answers);
            }
            match self.next_message(buffer, out) {
                Ok(()) => {}
                Err(Stop::Blocked(blocked)) => return Ok(blocked),
                Err(Stop::End(reason)) => return Err(reason),
            }
        }
    }

    fn next_message(&mut self, buffer: &mut ReadBuffer, out: &mut Outputs) -> Result<(), Stop> {
        match &self.streaming {
            Streaming::No => {}
            _ => return self.stream(buffer, out),
        }
        match Frames::new(Direction::Frontend, buffer.bytes()).next()? {
            Next::Short => Err(Stop::Blocked(Blocked::NeedInput)),
            Next::Partial(header) => {
                self.past_copy(header.tag, out)?;
                self.begin_stream(header, buffer, out)
            }
            Next::Frame(frame) => {
                // Consumed only once it was dealt with: a message that must wait is looked at again.
                let length = frame.bytes.len();
                if self.past_copy(frame.tag, out)? == CopyGate::Open {
                    self.message(frame.bytes, out)?;
                }
                buffer.consume(length);
                if self.hold.is_some() {
                    self.hold_is_over();
                }
                Ok(())
            }
        }
    }

    /// Whether a message passes what may be a COPY that takes in data: its data does, all else waits until that is known. A
    /// `Sync` is dropped while data is taken in, as the server does.
    fn past_copy(&mut self, tag: u8, out: &mut Outputs) -> Result<CopyGate, Stop> {
        let data =
            matches!(tag, tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL | tag::FLUSH | tag::TERMINATE);
        if data || self.skipping != Skipping::No {
            return Ok(CopyGate::Open);
        }
        match self.flight.copy_gate() {
            CopyGate::Open => Ok(CopyGate::Open),
            CopyGate::Copying if tag == tag::SYNC => Ok(CopyGate::Copying),
            CopyGate::Copying => Err(Stop::End(violation(
                "another message than COPY data while the server takes in COPY data",
            ))),
            CopyGate::Unknown { ask } => {
                if ask {
                    out.up.push_with(|up| frontend::empty(up, frontend::tag::FLUSH));
                }
                Err(Stop::Blocked(Blocked::Answers))
            }
        }
    }

    /// One whole message. Whatever it forwards is the last thing it does.
    fn message(&mut self, bytes: &[u8], out: &mut Outputs) -> Result<(), Stop> {
        let (tag, body) = (bytes.first().copied().unwrap_or(0), bytes.get(Header::LEN..).unwrap_or_default());
        let message = Message::decode(tag, body)?;
        if self.skipping != Skipping::No && !matches!(message, Message::Sync | Message::Terminate) {
            return Ok(());
        }
        match message {
            Message::Query(text) => return self.query(bytes, text, out),
            Message::Parse(parse) => return self.parse(bytes, parse, out),
            Message::Bind(_) => return self.whole_bind(bytes, body, out),
            Message::Execute(execute) => return self.execute(bytes, execute.portal, out),
            Message::FunctionCall(call) => return self.function_call(bytes, call, out),
            Message::Close(named) => self.close(named),
            Message::Describe(named) => self.describe(named),
            Message::Sync => return self.sync(bytes, out),
            Message::CopyDone | Message::CopyFail(_) => self.flight.copy_end(),
            Message::Flush | Message::CopyData(_) => {}
            Message::Terminate => return Err(Stop::End(EndReason::ClientQuit)),
        }
        out.up.push_slice(bytes);
        Ok(())
    }

    fn query(&mut self, bytes: &[u8], text: &[u8], out: &mut Outputs) -> Result<(), Stop> {
        if self.own_point(out)? == OwnPoint::Skipped {
            return Ok(());
        }
        let judged = match self.judge_text(text)? {
            Ok(analysis) => self
                .judge
                .statements(&analysis, &self.session, &self.names, &self.flight)
                .map(|j| (analysis, j)),
            Err(refused) => Err(refused),
        };
        match judged {
            Ok((analysis, mut verdicts)) => {
                if (verdicts.gates || self.commits.is_open())
                    && self.gate_text(&analysis, &mut verdicts, out)? == Passage::Shut
                {
                    return Ok(());
                }
                if let Some(why) = &mut verdicts.hold {
                    let subject = Subject {
                        unit: Unit::Query,
                        bytes,
                        prepared: Some(&analysis),
                        text: Arc::clone(analysis.text()),
                        types: &[],
                        described: &[],
                        values: Given::Nothing,
                        print: None,
                    };
                    if self.held(&subject, why, out)? == Passage::Shut {
                        return Ok(());
                    }
                }
                let Begun { plans, gated } = self.begin(&analysis, out, verdicts, Bound::NOTHING)?;
                for (at, gated) in gated {
                    self.counts(plans.get(at), gated)?;
                }
                self.judge.runs(None);
                self.flight.own_point(effects_of(&analysis));
                self.results.expected.push(Expect::Query { plans, at: 0 });
                if may_copy(&analysis) {
                    self.flight.may_copy();
                }
                out.up.push_slice(bytes);
                Ok(())
            }
            Err(refused) => self.refuse(Unit::Query, *refused, out),
        }
    }

    fn parse(&mut self, bytes: &[u8], parse: frontend::Parse<'_>, out: &mut Outputs) -> Result<(), Stop> {
        if self.flight.is_full() || !self.names.has_room() {
            return self.wait_or_limit("too many prepared statements");
        }
        if self.flight.effects() >= MAX_EFFECTS || self.flight.held() >= MAX_TEXT {
            // So many answers are longer than what the server keeps back; so much text in few statements is not.
            let comes = self.flight.effects() >= MAX_EFFECTS || self.flight.owed() > 0;
            let limit = Stop::End(violation("too much is prepared before a Sync"));
            return Err(if comes { Stop::Blocked(Blocked::Answers) } else { limit });
        }
        let judged = match self.judge_text(parse.text)? {
            Ok(analysis) => {
                self.judge.statements(&analysis, &self.session, &self.names, &self.flight).map(|_| analysis)
            }
            Err(refused) => Err(refused),
        };
        match judged {
            Ok(prepared) => {
                let name = significant(parse.name).to_vec();
                // Kept where a person may be shown the values that come with it.
                let types = (self.judge.rules().may_hold() && parse.types().len() > 0)
                    .then(|| parse.types().collect::<Box<[u32]>>());
                let weight =
                    weight(&prepared) + name.len() + types.as_ref().map_or(0, |types| 4 * types.len());
                self.flight.gather_effect(Effect::Parse { name, prepared, weight, types });
                self.results.expected.push(Expect::Completion);
                out.up.push_slice(bytes);
                Ok(())
            }
            Err(refused) => self.refuse(Unit::Extended, *refused, out),
        }
    }

    /// A statement is sent that counts at commit.
    fn counts(&mut self, plan: Option<&Arc<Plan>>, gated: Arc<Gated>) -> Result<(), Stop> {
        let Some(plan) = plan else {
            let detail = "a statement whose rows count has no plan".to_owned();
            return Err(Stop::End(EndReason::Internal { detail }));
        };
        self.commits.sent(plan.number, gated);
        Ok(())
    }

    fn describe(&mut self, named: Named<'_>) {
        self.flight.gather();
        let portal = match named.target {
            Target::Portal => self.names.portal_mut(significant(named.name)),
            Target::Statement => None,
        };
        let plan = portal.and_then(|portal| {
            portal.described = true;
            portal.plan.clone()
        });
        // Kept where a person may be shown the values that come with it.
        let statement = (named.target == Target::Statement && self.judge.rules().may_hold())
            .then(|| significant(named.name).into());
        self.results.expected.push(Expect::Describe { plan, ours: false, statement });
    }

    fn close(&mut self, named: Named<'_>) {
        self.results.expected.push(Expect::Completion);
        let name = significant(named.name);
        match named.target {
            Target::Statement => self.flight.gather_effect(Effect::CloseStatement { name: name.to_vec() }),
            // Only its completion says that it was not skipped.
            Target::Portal => {
                let until = self.names.binds();
                self.flight.gather_effect(Effect::ClosePortal { name: name.to_vec(), until });
            }
        }
    }

    fn sync(&mut self, bytes: &[u8], out: &mut Outputs) -> Result<(), Stop> {
        match std::mem::replace(&mut self.skipping, Skipping::No) {
            Skipping::Locally => {
                let state = self.flight.state();
                out.say(|down| state.encode(down));
            }
            Skipping::No | Skipping::WithServer => {
                self.flight.sync();
                self.results.expected.push(Expect::Sync);
                out.up.push_slice(bytes);
            }
        }
        self.speak(out);
        Ok(())
    }

    /// Whether a Query or FunctionCall may be sent now. Inside a sequence that no Sync has closed, whether the server runs it
    /// or drops it depends on the sequence having failed: that is waited for.
    fn own_point(&mut self, out: &mut Outputs) -> Result<OwnPoint, Stop> {
        if self.flight.is_full() {
            return Err(Stop::Blocked(Blocked::Answers));
        }
        match self.flight.own_point_now() {
            OwnPoint::Unknown { ask } => {
                if ask {
                    out.up.push_with(|up| frontend::empty(up, tag::FLUSH));
                }
                Err(Stop::Blocked(Blocked::Answers))
            }
            known => Ok(known),
        }
    }

    fn wait_or_limit(&self, what: &str) -> Result<(), Stop> {
        if self.flight.owed() > 0 && self.flight.is_full() {
            return Err(Stop::Blocked(Blocked::Answers));
        }
        Err(Stop::End(violation(what)))
    }

    /// Text bytes -> analysis, or the refusal.
    fn judge_text(&mut self, text: &[u8]) -> Result<Result<Prepared, Box<refuse::Refused>>, Stop> {
        if text.len() > self.limits.statement && !self.judge.rules().is_pass_through() {
            return Ok(Err(Box::new(self.judge.too_long(text, self.limits.statement, &self.session))));
        }
        let readable = self.encoding.standard_strings
            && ((self.encoding.utf8 && !self.encoding.changing) || text.is_ascii());
        let Some(text) =
            std::str::from_utf8(text).ok().filter(|_| readable || self.judge.rules().is_pass_through())
        else {
            return Ok(Err(Box::new(self.judge.unreadable(text, &self.session))));
        };
        match self.judge.analysis(text) {
            judge::Analysed::Done(analysis) => Ok(Ok(analysis)),
            judge::Analysed::New(text) => Err(Stop::Blocked(Blocked::Analysis(text))),
            judge::Analysed::Failed(error) => Ok(self.judge.not_analysed(text, &error, &self.session)),
        }
    }

    /// Everything was allowed: notes it, tells the client of warnings, and takes into account what it may do from now on. What
    /// becomes of the results, one plan for each statement; none where nothing has to.
    fn begin(
        &mut self,
        analysis: &Prepared,
        out: &mut Outputs,
        verdicts: judge::Verdicts,
        bound: Bound<'_>,
    ) -> Result<Begun, Stop> {
        let judge::Noted { settings, plans, gated } =
            self.judge.note(analysis, verdicts, &mut self.session, bound, out)?;
        self.results.touches(&plans);
        self.encoding.changing |= settings == judge::Settings::Encoding;
        for statement in analysis.statements() {
            if judge::changes_structure(statement) {
                self.judge.restructures();
            }
            match statement.effect() {
                Some(SessionEffect::Declare { name, inner, hold }) => {
                    self.names.add_cursor(name, Arc::clone(inner), *hold);
                }
                Some(SessionEffect::CreateTemporary { name }) => {
                    self.names.add_temporary(name);
                    self.judge.forget();
                }
                _ => {}
            }
        }
        self.speak(out);
        Ok(Begun { plans, gated })
    }
}

/// What a noted text's results are.
struct Begun {
    plans: Vec<Arc<Plan>>,
    /// Statements that count at commit, by place.
    gated: Vec<(usize, Arc<Gated>)>,
}

/// The values a statement is run with.
struct Bound<'a> {
    /// Their keyed fingerprint.
    print: Option<String>,
    /// The values themselves, for the recording.
    values: Parameters<'a>,
}

impl Bound<'_> {
    const NOTHING: Self = Self { print: None, values: Parameters::None };
}

/// More completions than this in flight and the client has to wait: the server sends its output every 8 KiB.
const MAX_EFFECTS: usize = 16 * 1024;
/// What a Query or Parse may hold besides its text.
const SLACK: usize = 300 * 1024;

/// Whether the statement may be a COPY that takes in data.
fn may_copy(analysis: &Prepared) -> bool {
    let kinds = analysis.statements().iter().flat_map(|statement| statement.kinds());
    kinds.into_iter().any(|kind| matches!(kind.as_str(), "copy" | "unknown"))
}
