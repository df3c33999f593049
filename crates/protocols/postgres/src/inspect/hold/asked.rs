//! What an approver sees of a message that waits: everything, and bounded.

use std::sync::Arc;

use portcullis_access::requests::{BoundValue, Highlight, OperationAsked};
use portcullis_core::StatementKind;
use portcullis_policy::Preview;
use portcullis_record::postgres;
use portcullis_sql::{SessionEffect, Statement};

use super::{ByName, Given, Inspector, Part, Subject, Why};
use crate::{
    blast::{Parameters, Question},
    codec::bind::Format,
    session::names::Prepared,
};

/// How much of a text is shown.
const MAX_TEXT: usize = 64 * 1024;
/// How many values are shown, and how much of each.
const MAX_VALUES: usize = 100;
const MAX_VALUE: usize = 1024;
/// A value up to this long is decoded; of a longer one the first bytes are shown as they are.
const MAX_DECODED: usize = 4 * MAX_VALUE;

impl Inspector {
    pub(super) fn operation(&self, subject: &Subject<'_>, why: &Why, by_name: &[ByName]) -> OperationAsked {
        let mut text = subject.text.to_string();
        for ByName { name, text: runs } in by_name {
            text.push_str("\n\n-- `");
            text.push_str(name);
            text.push_str("` is:\n");
            text.push_str(runs);
        }
        let (text, text_cut_from) = cut(text, MAX_TEXT);
        let first = why.parts.first();
        let kind = first.and_then(|part| part.kinds.first().cloned());
        let mut statements = why.commit.as_ref().map(|commit| commit.ran.clone()).unwrap_or_default();
        if let Some(more) = why.commit.as_ref().map(|commit| commit.more).filter(|more| *more > 0) {
            let text = format!("-- and {more} more statements");
            statements.push(portcullis_access::requests::Ran { number: 0, text, rows: None });
        }
        OperationAsked {
            mode: why.mode(),
            session: self.session.permit().facts().session,
            hash: String::new(),
            shape: portcullis_sql::without_literals(&text).unwrap_or_default(),
            text,
            text_cut_from: text_cut_from.and_then(|length| u64::try_from(length).ok()),
            statement: kind.unwrap_or(StatementKind::word("unknown")),
            resources: why.resources.clone(),
            qualified: qualified(&why.parts),
            highlights: highlights(subject, why),
            binds: binds(subject),
            in_transaction: self.flight.holds_locks(),
            rows: why.commit.as_ref().and_then(|commit| commit.rows),
            statements,
        }
    }

    /// What the upstream is asked about it: of several statements, the first that is held.
    pub(super) fn question(&self, subject: &Subject<'_>, why: &Why) -> Option<Question> {
        if why.commit.is_some() {
            return None;
        }
        let (prepared, part) = (subject.prepared?, why.parts.first()?);
        let statement = prepared.statements().get(part.statement)?;
        let previews = why.rules.iter().any(|rule| rule.terms.preview == Preview::Rows);
        Some(Question {
            text: prepared.statement_text(statement).into(),
            prepared: Arc::clone(prepared),
            statement: part.statement,
            runs: self.runs(prepared, statement),
            parameters: match subject.values {
                Given::Bind(bind) => Some(Parameters::of(bind, known_types(subject))),
                Given::Nothing | Given::Arguments(_) => None,
            },
            search_path: self.judge.settled_path(&self.names),
            resources: part.resources.clone(),
            kinds: part.kinds.clone(),
            read_only: self.judge.rules().is_read_only(),
            preview: if previews { Preview::Rows } else { Preview::None },
            masks: self.judge.masks().map(Arc::clone),
            classified: part.classified,
            rules: Arc::clone(self.judge.rules()),
        })
    }
}

impl Inspector {
    /// What an `EXECUTE` runs, where that is one text.
    fn runs(&self, prepared: &Prepared, statement: &Statement) -> Option<Arc<str>> {
        let Some(SessionEffect::Execute { name }) = statement.effect() else { return None };
        let by_name = self.judge.runs_by_name(prepared, &self.names, &self.flight).ok()?;
        by_name.into_iter().find(|it| it.name == *name).map(|it| it.text)
    }
}

/// Whether what is held says which rows it means; nothing where that is no question.
fn qualified(parts: &[Part]) -> Option<bool> {
    let asks = |part: &&Part| part.kinds.iter().any(|kind| matches!(kind.as_str(), "update" | "delete"));
    let mut asked = parts.iter().filter(asks).peekable();
    asked.peek()?;
    Some(asked.all(|part| !part.lacks_where))
}

fn highlights(subject: &Subject<'_>, why: &Why) -> Vec<Highlight> {
    let whole = &*subject.text;
    let mut highlights = Vec::new();
    for part in &why.parts {
        let statement = subject.prepared.and_then(|prepared| {
            let statement = prepared.statements().get(part.statement)?;
            Some(prepared.statement_text(statement))
        });
        let text = statement.unwrap_or(whole);
        // It is a piece of the whole, or the whole itself.
        let from = (text.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        let (from, to) =
            if from + text.len() <= whole.len() { (from, from + text.len()) } else { (0, whole.len()) };
        for rule in &part.rules {
            let number = |at: usize| u64::try_from(at).unwrap_or(u64::MAX);
            highlights.push(Highlight { from: number(from), to: number(to), rule: rule.clone() });
        }
    }
    highlights.truncate(MAX_VALUES);
    highlights
}

/// The types of the parameters, as far as they are declared or were described; zero where not.
fn known_types(subject: &Subject<'_>) -> impl Iterator<Item = u32> {
    let of = |types: &[u32], at: usize| types.get(at).copied().filter(|oid| *oid != 0);
    let most = subject.types.len().max(subject.described.len());
    (0..most).map(move |at| of(subject.types, at).or_else(|| of(subject.described, at)).unwrap_or(0))
}

fn binds(subject: &Subject<'_>) -> Vec<BoundValue> {
    let format = |at: usize| match &subject.values {
        Given::Nothing => Format::Text,
        Given::Bind(bind) => bind.formats.of(at),
        Given::Arguments(call) => call.formats.of(at),
    };
    let types: Vec<u32> = known_types(subject).collect();
    let values = subject.values.values();
    let told = values.iter().take(MAX_VALUES).enumerate().map(|(at, value)| {
        let oid = types.get(at).copied().unwrap_or(0);
        let (text, cut) = value.map_or_else(Default::default, |value| shown(oid, format(at), value));
        BoundValue {
            position: u32::try_from(at + 1).unwrap_or(u32::MAX),
            type_name: if oid == 0 { String::new() } else { postgres::type_name(oid) },
            value: text,
            null: value.is_none(),
            cut,
        }
    });
    told.collect()
}

/// A value as text, and whether it was cut.
fn shown(oid: u32, format: Format, value: &[u8]) -> (String, bool) {
    let (text, cut_before) = match format {
        Format::Text => {
            let start = value.get(..MAX_DECODED).unwrap_or(value);
            (String::from_utf8_lossy(start).into_owned(), start.len() < value.len())
        }
        Format::Binary if value.len() <= MAX_DECODED => {
            (postgres::text(oid, portcullis_record::Format::Binary, value), false)
        }
        Format::Binary => {
            let start = value.get(..MAX_VALUE / 2).unwrap_or_default();
            (postgres::text(0, portcullis_record::Format::Binary, start), true)
        }
    };
    let (text, length) = cut(text, MAX_VALUE);
    (text, cut_before || length.is_some())
}

/// At most `most` bytes of a text, and how long it was where it was cut.
fn cut(mut text: String, most: usize) -> (String, Option<usize>) {
    if text.len() <= most {
        return (text, None);
    }
    let length = text.len();
    text.truncate(text.floor_char_boundary(most));
    (text, Some(length))
}
