//! What happens instead of a refused statement, so that client and server stay in the same transaction state.
//!
//! With nothing in flight and no transaction open, the client is answered here and the server hears nothing. Otherwise the
//! statement is replaced by an `Execute` of a portal that does not exist: the server fails exactly where it would have
//! failed on an error of its own (the rest up to `Sync` is skipped, an open transaction is failed), it sees no word of the
//! statement, and the answers stay in order. Its error is recognised by the portal's name, which holds a nonce of the
//! session, and is exchanged for the refusal.
//!
//! **References**: `exec_execute_message` in the server's postgres.c (SQLSTATE 34000, the portal's name in the message).

use std::{borrow::Cow, collections::HashMap};

use bytes::BytesMut;
use portcullis_core::Decision;
use portcullis_proxy::gate::Judged;

use super::{Inspector, Skipping, Stop};
use crate::{
    codec::{ErrorFields, Report, Severity, backend::TransactionStatus, bind::Bind, frontend},
    session::{expected::Expect, outputs::Outputs},
};

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A `Query`: a sync point of its own.
    Query,
    /// A `FunctionCall`: likewise.
    FunctionCall,
    /// A message of an extended-protocol sequence: the rest up to `Sync` is skipped.
    Extended,
}

/// A refusal: what the journal gets, what the client is told.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Absent where no operation was judged: the server would have failed likewise.
    pub(super) judged: Option<Judged>,
    sqlstate: &'static str,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    undecided: bool,
}

/// The longest message a refusal tells the client: what it quotes of the statement is the client's own and can be anything.
const MAX_MESSAGE: usize = 2048;

/// `insufficient_privilege`.
const DENIED: &str = "42501";

impl Refused {
    /// A deny.
    pub(super) fn denied(judged: Judged) -> Self {
        let Decision { rule, reason, .. } = &judged.decision;
        let (message, detail) = (reason.clone(), Some(format!("decided by {} `{}`", rule.kind, rule.name)));
        Self { sqlstate: DENIED, message, detail, hint: None, undecided: false, judged: Some(judged) }
    }

    /// A deny with another SQLSTATE: a syntax error stays one.
    pub(super) fn failed(judged: Judged, sqlstate: &'static str, message: String) -> Self {
        Self { sqlstate, message, detail: None, hint: None, undecided: false, judged: Some(judged) }
    }

    /// With an SQLSTATE of its own. What is decided of it comes by [`Refused::decided`].
    pub(super) fn plain(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { judged: None, sqlstate, message: message.into(), detail: None, hint: None, undecided: false }
    }

    /// With what to do next.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Nothing more is to be noted of it.
    pub(super) fn undecided(self) -> Self {
        Self { undecided: true, ..self }
    }

    /// With the deny that it is.
    pub(super) fn decided(self, judged: Option<Judged>) -> Self {
        let judged = judged.filter(|_| !self.undecided);
        let rule = judged.as_ref().map(|judged| &judged.decision.rule);
        let detail = rule.map(|rule| format!("decided by {} `{}`", rule.kind, rule.name));
        Self { judged, detail, ..self }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// As the server answers a Bind to a statement that does not exist.
    pub(super) fn statement_unknown(name: &str) -> Self {
        let message = match name {
            "" => "unnamed prepared statement does not exist".to_owned(),
            name => format!("prepared statement \"{name}\" does not exist"),
        };
        Self { judged: None, sqlstate: "26000", message, detail: None, hint: None, undecided: false }
    }

    /// As the server answers an Execute of a portal that does not exist.
    pub(super) fn portal_unknown(name: &str) -> Self {
        let message = format!("portal \"{name}\" does not exist");
        Self { judged: None, sqlstate: "34000", message, detail: None, hint: None, undecided: false }
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut report = Report::new(Severity::Error, self.sqlstate, self.message.as_str());
        if let Some(detail) = &self.detail {
            report = report.detail(detail.as_str());
        }
        if let Some(hint) = &self.hint {
            report = report.hint(hint.as_str());
        }
        report.encode(out);
    }
}

/// Refusals the server was given a failing stand-in for.
#[derive(Debug)]
pub(super) struct Refusals {
    prefix: String,
    next: u64,
    waiting: HashMap<u64, Refused>,
}

impl Refusals {
    pub(super) fn new(nonce: &[u8; 16]) -> Self {
        use std::fmt::Write as _;
        let mut prefix = String::from("portcullis refused ");
        for byte in nonce {
            let _ = write!(prefix, "{byte:02x}");
        }
        prefix.push(' ');
        Self { prefix, next: 0, waiting: HashMap::new() }
    }

    /// A name of our own for a statement of the upstream session: none that a client could have taken.
    fn own_name(&mut self) -> Vec<u8> {
        self.next += 1;
        format!("{}{}", self.prefix, self.next).into_bytes()
    }

    fn stand_in(&mut self, refused: Refused, out: &mut BytesMut) {
        self.next += 1;
        let portal = format!("{}{}", self.prefix, self.next);
        frontend::Execute { portal: portal.as_bytes(), max_rows: 0 }.encode(out);
        self.waiting.insert(self.next, refused);
    }

    /// The refusal that this error of the server stands for, if it does.
    pub(super) fn exchange(&mut self, fields: &ErrorFields<'_>) -> Option<BytesMut> {
        if self.waiting.is_empty() || fields.code() != "34000" {
            return None;
        }
        let message = fields.message();
        let (_, after) = message.split_once(self.prefix.as_str())?;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        let refused = self.waiting.remove(&digits.parse().ok()?)?;
        let mut out = BytesMut::new();
        refused.encode(&mut out);
        Some(out)
    }

    /// Nothing is in flight: what was not exchanged never will be (the server skipped it after another error).
    pub(super) fn landed(&mut self) {
        if !self.waiting.is_empty() {
            self.waiting.clear();
        }
    }
}

impl Inspector {
    /// Refuses what would have ended the transaction, and rolls it back: as after a COMMIT that failed, no transaction is open then,
    /// and no lock is held, savepoints or not. Everything sent has been answered.
    pub(super) fn refuse_and_roll_back(
        &mut self,
        unit: Unit,
        refused: Refused,
        out: &mut Outputs,
    ) -> Result<(), Stop> {
        let name = self.refusals.own_name();
        out.up.push_with(|up| {
            frontend::Parse::encode(up, &name, b"ROLLBACK", &[]);
            Bind::encode(up, &name, &name, &[], &[], &[]);
            frontend::Execute { portal: &name, max_rows: 0 }.encode(up);
            frontend::close(up, frontend::Named { target: frontend::Target::Statement, name: &name });
        });
        for _ in 0..4 {
            self.flight.gather();
            self.results.expected.push(Expect::Ours);
        }
        // What ran counts until the server says that no transaction is open: should this fail, a savepoint leads back to it.
        self.refuse(unit, refused, out)
    }

    /// Refuses a message: notes the deny, and tells the client at the right place of its answers.
    pub(super) fn refuse(&mut self, unit: Unit, mut refused: Refused, out: &mut Outputs) -> Result<(), Stop> {
        // Noted and let go: thousands of refusals can wait for their place among the answers.
        if let Some(mut judged) = refused.judged.take() {
            self.session.note(&mut judged, None, None)?;
        }
        refused.message = cut(&refused.message).into_owned();
        let state = self.flight.state();
        if self.flight.is_empty() && state != TransactionStatus::InTransaction {
            out.say(|down| refused.encode(down));
            match unit {
                Unit::Query | Unit::FunctionCall => out.say(|down| state.encode(down)),
                Unit::Extended => self.skipping = Skipping::Locally,
            }
            self.speak(out);
            return Ok(());
        }
        let mut stand_in = BytesMut::new();
        self.refusals.stand_in(refused, &mut stand_in);
        self.flight.gather();
        self.results.expected.push(Expect::Execute { plan: None });
        match unit {
            Unit::Query | Unit::FunctionCall => {
                frontend::empty(&mut stand_in, frontend::tag::SYNC);
                self.flight.sync();
                self.results.expected.push(Expect::Sync);
            }
            Unit::Extended => self.skipping = Skipping::WithServer,
        }
        out.up.push_slice(&stand_in);
        Ok(())
    }
}

fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_MESSAGE {
        return Cow::Borrowed(text);
    }
    let end = (0..=MAX_MESSAGE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{} …", text.get(..end).unwrap_or_default()))
}
