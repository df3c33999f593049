//! Events <-> bytes. One event is a `u32` length (of what follows), a kind byte, the time in microseconds (`i64`), and the
//! fields: numbers as LEB128, texts and bytes with their length before them. Everything little-endian.
//!
//! Encoding appends to a buffer and allocates only where that must grow. Decoding allocates no more than what is there.

use std::sync::Arc;

use portcullis_core::{EndReason, RuleRef, SessionFacts, Timestamp, Verdict};

use crate::event::{
    Column, Event, Format, Item, OwnedColumn, OwnedParameter, Parameter, Parameters, StatementItem,
};

/// The longest statement kept, in bytes; as long as `limits.statement` is by default.
pub const MAX_TEXT: usize = 1 << 20;
/// The longest message, tag, name or note kept, in bytes.
pub const MAX_WORDS: usize = 64 << 10;
/// The longest row or piece of a COPY kept, in bytes; a longer one is recorded as [`Event::Cut`].
pub const MAX_DATA: usize = 4 << 20;
/// How much of one bound value is kept, in bytes.
pub const MAX_PARAMETER: usize = 4 << 10;
/// How much of all values bound to one statement is kept, in bytes.
pub const MAX_PARAMETERS: usize = 64 << 10;
/// The longest event read, in bytes.
pub const MAX_EVENT: usize = 16 << 20;

/// Bytes before an event's fields: length, kind, time.
const HEAD: usize = 4 + 1 + 8;

mod kind {
    pub const BEGAN: u8 = 1;
    pub const STATEMENT: u8 = 2;
    pub const COLUMNS: u8 = 3;
    pub const ROW: u8 = 4;
    pub const COPY_DATA: u8 = 5;
    pub const CUT: u8 = 6;
    pub const DONE: u8 = 7;
    pub const FAILED: u8 = 8;
    pub const NOTICE: u8 = 9;
    pub const NOTE: u8 = 10;
    pub const ENDED: u8 = 11;
}

/// The bytes are not those of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end before the event does.
    #[error("an event is cut short")]
    Short,
    /// The event is longer than any that is written.
    #[error("an event is longer than {MAX_EVENT} bytes")]
    TooLong,
    /// A later version wrote it, or nobody did.
    #[error("an event of kind {0} is not known")]
    Kind(u8),
    /// A field is not what it must be.
    #[error("an event's {0} cannot be read")]
    Field(&'static str),
    /// There is more in it than its fields.
    #[error("an event has bytes left over")]
    LeftOver,
}

/// Appends an event. Texts and values past the limits of this module are cut; where a cut has a field, it is said there.
pub fn encode(out: &mut Vec<u8>, at: Timestamp, event: &Event<'_>) {
    match *event {
        Event::Statement { number, text, text_cut_from, verdict, rule, reason, parameters } => {
            framed(out, kind::STATEMENT, at, |out| {
                push_number(out, number);
                let kept = prefix(text, MAX_TEXT);
                push_bytes(out, kept.as_bytes());
                let cut = (kept.len() < text.len()).then_some(text.len() as u64);
                push_number(out, text_cut_from.or(cut).unwrap_or(0));
                out.push(verdict_code(verdict));
                push_text(out, &rule.kind);
                push_text(out, &rule.name);
                push_text(out, rule.location.as_deref().unwrap_or_default());
                push_text(out, reason);
                push_parameters(out, parameters);
            });
        }
        Event::Columns { number, columns } => framed(out, kind::COLUMNS, at, |out| {
            push_number(out, number);
            columns(&mut |column| push_column(out, &column));
        }),
        Event::Row { number, values } => push_data(out, kind::ROW, at, number, values),
        Event::CopyData { number, data } => push_data(out, kind::COPY_DATA, at, number, data),
        Event::Cut { number } => framed(out, kind::CUT, at, |out| push_number(out, number)),
        Event::Done { number, tag, rows, bytes } => framed(out, kind::DONE, at, |out| {
            push_number(out, number);
            push_text(out, tag);
            push_number(out, rows);
            push_number(out, bytes);
        }),
        Event::Failed { number, code, message } => framed(out, kind::FAILED, at, |out| {
            push_number(out, number);
            push_text(out, code);
            push_text(out, message);
        }),
        Event::Notice { severity, code, message } => framed(out, kind::NOTICE, at, |out| {
            push_text(out, severity);
            push_text(out, code);
            push_text(out, message);
        }),
        Event::Note { text } => framed(out, kind::NOTE, at, |out| push_text(out, text)),
    }
}

/// Appends the beginning of a recording.
pub fn encode_began(out: &mut Vec<u8>, at: Timestamp, facts: &SessionFacts) {
    let json = serde_json::to_vec(facts).unwrap_or_default();
    framed(out, kind::BEGAN, at, |out| push_bytes(out, &json));
}

/// Appends the end of a session.
pub fn encode_ended(out: &mut Vec<u8>, at: Timestamp, reason: &EndReason) {
    let json = serde_json::to_vec(reason).unwrap_or_default();
    framed(out, kind::ENDED, at, |out| push_bytes(out, &json));
}

fn framed(out: &mut Vec<u8>, kind: u8, at: Timestamp, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&at.as_micros().to_le_bytes());
    fields(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn push_data(out: &mut Vec<u8>, kind: u8, at: Timestamp, number: u64, data: &[u8]) {
    if data.len() > MAX_DATA {
        framed(out, kind::CUT, at, |out| push_number(out, number));
        return;
    }
    framed(out, kind, at, |out| {
        push_number(out, number);
        out.extend_from_slice(data);
    });
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push_bytes(out, prefix(text, MAX_WORDS).as_bytes());
}

fn prefix(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

fn push_column(out: &mut Vec<u8>, column: &Column<'_>) {
    out.push(u8::from(column.format == Format::Binary) | u8::from(column.masked) << 1);
    push_number(out, u64::from(column.type_oid));
    push_bytes(out, column.name.get(..MAX_WORDS).unwrap_or(column.name));
}

fn push_parameters(out: &mut Vec<u8>, parameters: Parameters<'_>) {
    let Parameters::Bound(each) = parameters else { return };
    let mut left = MAX_PARAMETERS;
    each(&mut |Parameter { type_oid, format, value, length }| {
        out.push(u8::from(format == Format::Binary) | u8::from(value.is_none()) << 1);
        push_number(out, u64::from(type_oid));
        let Some(value) = value else { return };
        let kept = value.get(..MAX_PARAMETER.min(left)).unwrap_or(value);
        left -= kept.len();
        push_number(out, length.max(value.len() as u64));
        push_bytes(out, kept);
    });
}

const fn verdict_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Allow => 0,
        Verdict::Hold => 1,
        Verdict::Deny => 2,
    }
}

/// The first event of `bytes` with how long it is; `None` where there is nothing.
///
/// # Errors
/// What is there is no whole event.
pub fn decode(bytes: &[u8]) -> Result<Option<(Timestamp, Item, usize)>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut head = Fields(bytes);
    let length = head.u32()? as usize;
    if length > MAX_EVENT {
        return Err(Malformed::TooLong);
    }
    let mut fields = Fields(head.take(length)?);
    let kind = fields.u8()?;
    let at = Timestamp::from_micros(i64::from_le_bytes(fields.array()?));
    let item = item(kind, &mut fields)?;
    if !fields.0.is_empty() {
        return Err(Malformed::LeftOver);
    }
    Ok(Some((at, item, length + 4)))
}

/// When the first event of `bytes` happened, the decision it begins if it is a statement, and how long it is; without decoding the rest.
pub(crate) fn skim(bytes: &[u8]) -> Result<Option<(Timestamp, Option<u64>, usize)>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut head = Fields(bytes);
    let length = head.u32()? as usize;
    if !(HEAD - 4..=MAX_EVENT).contains(&length) {
        return Err(Malformed::TooLong);
    }
    let mut fields = Fields(head.take(length)?);
    let kind = fields.u8()?;
    let at = Timestamp::from_micros(i64::from_le_bytes(fields.array()?));
    let statement = if kind == kind::STATEMENT { Some(fields.number()?) } else { None };
    Ok(Some((at, statement, length + 4)))
}

/// Whether the first event of `bytes` ends a session.
pub(crate) fn is_end(bytes: &[u8]) -> bool {
    bytes.get(4) == Some(&kind::ENDED)
}

fn item(kind: u8, fields: &mut Fields<'_>) -> Result<Item, Malformed> {
    Ok(match kind {
        kind::BEGAN => {
            let facts: SessionFacts =
                serde_json::from_slice(fields.bytes()?).map_err(|_| Malformed::Field("facts"))?;
            Item::Began { facts: Arc::new(facts) }
        }
        kind::STATEMENT => Item::Statement(Box::new(statement(fields)?)),
        kind::COLUMNS => {
            let number = fields.number()?;
            let mut columns = Vec::new();
            while !fields.0.is_empty() {
                columns.push(column(fields)?);
            }
            Item::Columns { number, columns }
        }
        kind::ROW => Item::Row { number: fields.number()?, values: fields.rest().to_vec() },
        kind::COPY_DATA => Item::CopyData { number: fields.number()?, data: fields.rest().to_vec() },
        kind::CUT => Item::Cut { number: fields.number()? },
        kind::DONE => Item::Done {
            number: fields.number()?,
            tag: fields.text("tag")?,
            rows: fields.number()?,
            bytes: fields.number()?,
        },
        kind::FAILED => Item::Failed {
            number: fields.number()?,
            code: fields.text("code")?,
            message: fields.text("message")?,
        },
        kind::NOTICE => Item::Notice {
            severity: fields.text("severity")?,
            code: fields.text("code")?,
            message: fields.text("message")?,
        },
        kind::NOTE => Item::Note { text: fields.text("text")? },
        kind::ENDED => {
            let reason = serde_json::from_slice(fields.bytes()?).map_err(|_| Malformed::Field("reason"))?;
            Item::Ended { reason }
        }
        kind => return Err(Malformed::Kind(kind)),
    })
}

fn statement(fields: &mut Fields<'_>) -> Result<StatementItem, Malformed> {
    let number = fields.number()?;
    let text = fields.text("text")?;
    let cut_from = fields.number()?;
    let verdict = match fields.u8()? {
        0 => Verdict::Allow,
        1 => Verdict::Hold,
        2 => Verdict::Deny,
        _ => return Err(Malformed::Field("decision")),
    };
    let kind = fields.text("rule")?;
    let name = fields.text("rule")?;
    let location = fields.text("rule")?;
    let reason = fields.text("reason")?;
    let mut parameters = Vec::new();
    while !fields.0.is_empty() {
        parameters.push(parameter(fields)?);
    }
    Ok(StatementItem {
        number,
        text,
        text_cut_from: (cut_from > 0).then_some(cut_from),
        verdict,
        rule: RuleRef { kind: kind.into(), name, location: (!location.is_empty()).then_some(location) },
        reason,
        parameters,
    })
}

fn column(fields: &mut Fields<'_>) -> Result<OwnedColumn, Malformed> {
    let flags = fields.u8()?;
    if flags > 3 {
        return Err(Malformed::Field("column"));
    }
    let type_oid = u32::try_from(fields.number()?).map_err(|_| Malformed::Field("type"))?;
    let name = String::from_utf8_lossy(fields.bytes()?).into_owned();
    Ok(OwnedColumn { name, type_oid, format: format(flags), masked: flags & 2 != 0 })
}

fn parameter(fields: &mut Fields<'_>) -> Result<OwnedParameter, Malformed> {
    let flags = fields.u8()?;
    if flags > 3 {
        return Err(Malformed::Field("parameter"));
    }
    let type_oid = u32::try_from(fields.number()?).map_err(|_| Malformed::Field("type"))?;
    if flags & 2 != 0 {
        return Ok(OwnedParameter { type_oid, format: format(flags), value: None, length: 0 });
    }
    let length = fields.number()?;
    let value = Some(fields.bytes()?.to_vec());
    Ok(OwnedParameter { type_oid, format: format(flags), value, length })
}

const fn format(flags: u8) -> Format {
    match flags & 1 {
        0 => Format::Text,
        _ => Format::Binary,
    }
}

/// What is left of an event's bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(Malformed::Field("number"));
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::Field("number"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed::Short)?;
        self.take(length)
    }

    fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::Field(what))
    }
}

#[cfg(test)]
mod tests;
