//! What is recorded: [`Event`] borrowed on the way in, [`Item`] owned on the way out.

use std::{fmt, sync::Arc};

use portcullis_core::{EndReason, RuleRef, SessionFacts, Timestamp, Verdict};

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As text.
    #[default]
    Text,
    /// In the type's binary form.
    Binary,
}

impl Format {
    /// From a protocol's format code: 0 is text, everything else binary.
    pub const fn from_code(code: i16) -> Self {
        match code {
            0 => Self::Text,
            _ => Self::Binary,
        }
    }
}

/// One column of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name, as the client sees it.
    pub name: &'a [u8],
    /// Its type.
    pub type_oid: u32,
    /// How its values are written.
    pub format: Format,
    /// Whether a mask changes its values.
    pub masked: bool,
}

/// One value bound to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Its type; 0 where it is not known.
    pub type_oid: u32,
    /// How it is written.
    pub format: Format,
    /// The value, or the beginning of it; `None`: NULL.
    pub value: Option<&'a [u8]>,
    /// How long the whole value is, in bytes.
    pub length: u64,
}

/// Tells each bound value, in order, to who asks: nothing is gathered on the way.
pub type EachParameter<'a> = dyn Fn(&mut dyn FnMut(Parameter<'_>)) + 'a;
/// Tells each column, in order, to who asks.
pub type EachColumn<'a> = dyn Fn(&mut dyn FnMut(Column<'_>)) + 'a;

/// The values bound to a statement.
#[derive(Clone, Copy)]
pub enum Parameters<'a> {
    /// It has none.
    None,
    /// Called once, and calls back for each value in order. Values past the limits are cut, and it is said.
    Bound(&'a EachParameter<'a>),
}

impl fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bound(_) => "Bound(…)",
        })
    }
}

/// One thing that happened in a session. `number` is that of the decision which the event belongs to.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A statement was judged.
    Statement {
        /// The decision's number in the session.
        number: u64,
        /// The statement.
        text: &'a str,
        /// How long it is, in bytes, where `text` was cut.
        text_cut_from: Option<u64>,
        /// The answer.
        verdict: Verdict,
        /// The rule that decided.
        rule: &'a RuleRef,
        /// Why.
        reason: &'a str,
        /// What was bound to it.
        parameters: Parameters<'a>,
    },
    /// What the rows that follow look like.
    Columns {
        /// Of which decision.
        number: u64,
        /// Called once, and calls back for each column in order.
        columns: &'a EachColumn<'a>,
    },
    /// One row, already masked.
    Row {
        /// Of which decision.
        number: u64,
        /// The body of the protocol's row message.
        values: &'a [u8],
    },
    /// A piece of a COPY, either way, already masked.
    CopyData {
        /// Of which decision.
        number: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// From here on this result is only counted.
    Cut {
        /// Of which decision.
        number: u64,
    },
    /// The statement finished.
    Done {
        /// Of which decision.
        number: u64,
        /// The server's tag: `SELECT 3`.
        tag: &'a str,
        /// Rows sent, the cut ones included.
        rows: u64,
        /// Bytes of rows sent, the cut ones included.
        bytes: u64,
    },
    /// The statement failed.
    Failed {
        /// Of which decision.
        number: u64,
        /// The server's code.
        code: &'a str,
        /// The server's message, already masked.
        message: &'a str,
    },
    /// The server said something aside.
    Notice {
        /// `NOTICE`, `WARNING`, ….
        severity: &'a str,
        /// The server's code.
        code: &'a str,
        /// The message, already masked.
        message: &'a str,
    },
    /// The gateway says something of the session.
    Note {
        /// What.
        text: &'a str,
    },
}

/// One event as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Counts the session's events from 0.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub item: Item,
}

/// What happened, as read back. The fields are those of [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of Event, where they are explained")]
pub enum Item {
    /// The recording began.
    Began { facts: Arc<SessionFacts> },
    /// See [`Event::Statement`].
    Statement(Box<StatementItem>),
    /// See [`Event::Columns`].
    Columns { number: u64, columns: Vec<OwnedColumn> },
    /// See [`Event::Row`].
    Row { number: u64, values: Vec<u8> },
    /// See [`Event::CopyData`].
    CopyData { number: u64, data: Vec<u8> },
    /// See [`Event::Cut`].
    Cut { number: u64 },
    /// See [`Event::Done`].
    Done { number: u64, tag: String, rows: u64, bytes: u64 },
    /// See [`Event::Failed`].
    Failed { number: u64, code: String, message: String },
    /// See [`Event::Notice`].
    Notice { severity: String, code: String, message: String },
    /// See [`Event::Note`].
    Note { text: String },
    /// The session ended.
    Ended { reason: EndReason },
}

/// A statement as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of Event::Statement, where they are explained")]
pub struct StatementItem {
    pub number: u64,
    pub text: String,
    pub text_cut_from: Option<u64>,
    pub verdict: Verdict,
    pub rule: RuleRef,
    pub reason: String,
    pub parameters: Vec<OwnedParameter>,
}

/// A column as read back: see [`Column`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of Column, where they are explained")]
pub struct OwnedColumn {
    pub name: String,
    pub type_oid: u32,
    pub format: Format,
    pub masked: bool,
}

/// A bound value as read back: see [`Parameter`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of Parameter, where they are explained")]
pub struct OwnedParameter {
    pub type_oid: u32,
    pub format: Format,
    pub value: Option<Vec<u8>>,
    pub length: u64,
}
