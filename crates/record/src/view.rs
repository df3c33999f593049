//! A recording for people and programs: values as text, one JSON object per event. What `export --format jsonl` writes and
//! the API streams. Fields are added, never renamed.

use std::{collections::VecDeque, sync::Arc};

use portcullis_core::{EndReason, RuleRef, SessionFacts, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Format, Item, Recorded,
    event::{OwnedColumn, OwnedParameter},
    postgres,
    reader::{Events, Recording, Seek},
};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Counts the session's events from 0.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. `number` is the decision's, by which events of one statement belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields of event::Event, where they are explained")]
pub enum What {
    /// The recording began.
    Began { facts: Arc<SessionFacts> },
    /// A statement was judged.
    Statement(Box<StatementView>),
    /// What the rows that follow look like.
    Columns { number: u64, columns: Vec<ColumnView> },
    /// One row; `null` is NULL.
    Row { number: u64, values: Vec<Option<String>> },
    /// A piece of a COPY; bytes that are no text as `\x` and hex digits.
    CopyData { number: u64, data: String },
    /// From here on the result was only counted.
    Cut { number: u64 },
    /// The statement finished.
    Done { number: u64, tag: String, rows: u64, bytes: u64 },
    /// The statement failed.
    Failed { number: u64, code: String, message: String },
    /// The server said something aside.
    Notice { severity: String, code: String, message: String },
    /// The gateway says something of the session.
    Note { text: String },
    /// The session ended.
    Ended { reason: EndReason },
    /// The recording cannot be read on. Never recorded: what a stream ends with instead.
    Error { error: String },
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementView {
    /// The decision's number in the session.
    pub number: u64,
    /// The statement.
    pub text: String,
    /// How long it is, in bytes, where `text` was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_cut_from: Option<u64>,
    /// The answer.
    pub decision: Verdict,
    /// The rule that decided.
    pub rule: RuleRef,
    /// Why.
    pub reason: String,
    /// What was bound to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterView>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnView {
    /// Its name.
    pub name: String,
    /// Its type's name, or number.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether a mask changed its values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

/// A bound value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterView {
    /// Its type's name, or number; absent where it is not known.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The value, or the beginning of it; `null` is NULL.
    pub value: Option<String>,
    /// How long the value is, in bytes, where it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_from: Option<u64>,
}

impl View {
    /// One line of JSON, with its line end. Safe for a terminal: characters that steer one are escaped.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_else(|error| {
            serde_json::json!({ "seq": self.seq, "at": self.at, "event": "error", "error": error.to_string() })
                .to_string()
        });
        let mut line = String::with_capacity(json.len() + 1);
        for c in json.chars() {
            if c.is_control() || is_invisible(c) {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                line.push(c);
            }
        }
        line.push('\n');
        line
    }

    /// The decision's number, where the event belongs to one.
    pub fn number(&self) -> Option<u64> {
        match &self.what {
            What::Statement(statement) => Some(statement.number),
            What::Columns { number, .. }
            | What::Row { number, .. }
            | What::CopyData { number, .. }
            | What::Cut { number }
            | What::Done { number, .. }
            | What::Failed { number, .. } => Some(*number),
            _ => None,
        }
    }
}

/// Characters that reorder or hide what stands beside them (bidirectional and zero-width ones, line separators).
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// How many results may be open side by side: portals of one session that are fetched in turns.
const RESULTS: usize = 64;

/// Events as views. Rows are told by the columns before them, which are looked for where reading began in a result.
#[derive(Debug)]
pub struct Views {
    recording: Recording,
    events: Events,
    columns: VecDeque<(u64, Vec<OwnedColumn>)>,
}

impl Views {
    /// Those of a recording, from a place on.
    pub fn new(recording: Recording, from: Seek) -> Self {
        let events = recording.events(from);
        Self { recording, events, columns: VecDeque::new() }
    }

    /// Whether the end of the session was reached: then there is no more.
    pub const fn has_ended(&self) -> bool {
        self.events.has_ended()
    }

    fn view(&mut self, recorded: Recorded) -> View {
        let Recorded { number: seq, at, item } = recorded;
        let what = match item {
            Item::Began { facts } => What::Began { facts },
            Item::Statement(statement) => What::Statement(Box::new(StatementView {
                number: statement.number,
                text: statement.text,
                text_cut_from: statement.text_cut_from,
                decision: statement.verdict,
                rule: statement.rule,
                reason: statement.reason,
                parameters: statement.parameters.iter().map(parameter).collect(),
            })),
            Item::Columns { number, columns } => {
                let views = columns.iter().map(column).collect();
                self.remember(number, columns);
                What::Columns { number, columns: views }
            }
            Item::Row { number, values } => What::Row { number, values: self.row(seq, number, &values) },
            Item::CopyData { number, data } => {
                What::CopyData { number, data: postgres::text(0, Format::Text, &data) }
            }
            Item::Cut { number } => What::Cut { number },
            Item::Done { number, tag, rows, bytes } => What::Done { number, tag, rows, bytes },
            Item::Failed { number, code, message } => What::Failed { number, code, message },
            Item::Notice { severity, code, message } => What::Notice { severity, code, message },
            Item::Note { text } => What::Note { text },
            Item::Ended { reason } => What::Ended { reason },
        };
        View { seq, at, what }
    }

    fn remember(&mut self, number: u64, columns: Vec<OwnedColumn>) {
        self.columns.retain(|(known, _)| *known != number);
        if self.columns.len() >= RESULTS {
            self.columns.pop_front();
        }
        self.columns.push_back((number, columns));
    }

    fn row(&mut self, seq: u64, number: u64, values: &[u8]) -> Vec<Option<String>> {
        if !self.columns.iter().any(|(known, _)| *known == number) {
            let found = self.columns_before(seq, number);
            self.remember(number, found);
        }
        let columns = self.columns.iter().find(|(known, _)| *known == number);
        postgres::row(columns.map_or(&[][..], |(_, columns)| columns), values)
    }

    /// The columns of a result that began before reading did. None where they cannot be found: then values are told as text.
    fn columns_before(&self, seq: u64, number: u64) -> Vec<OwnedColumn> {
        let events = self.recording.events(Seek::Statement(number));
        let before = events.map_while(Result::ok).take_while(|recorded| recorded.number < seq);
        let columns = before.filter_map(|recorded| match recorded.item {
            Item::Columns { number: of, columns } if of == number => Some(columns),
            _ => None,
        });
        columns.last().unwrap_or_default()
    }
}

impl Iterator for Views {
    type Item = Result<View, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let recorded = self.events.next()?;
        Some(recorded.map(|recorded| self.view(recorded)))
    }
}

fn column(column: &OwnedColumn) -> ColumnView {
    ColumnView {
        name: column.name.clone(),
        kind: postgres::type_name(column.type_oid),
        masked: column.masked,
    }
}

fn parameter(parameter: &OwnedParameter) -> ParameterView {
    let OwnedParameter { type_oid, format, value, length } = parameter;
    let kept = value.as_ref().map_or(0, Vec::len) as u64;
    let is_cut = *length > kept;
    let text = value.as_ref().map(|value| match (is_cut, format) {
        // Half of a binary value means nothing.
        (true, Format::Binary) => postgres::hex(value),
        _ => postgres::text(*type_oid, *format, value),
    });
    ParameterView {
        kind: (*type_oid != 0).then(|| postgres::type_name(*type_oid)),
        value: text,
        cut_from: is_cut.then_some(*length),
    }
}
