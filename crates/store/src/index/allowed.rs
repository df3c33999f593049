//! Allowed decisions into runs.

use std::ops::Range;

use portcullis_audit::Entry;
use portcullis_core::AuditEvent;
use rusqlite::{Transaction, params};

use super::{Indexer, SessionRef, int, remember, shape_of};
use crate::{
    allowed::{Allowed, Own},
    runs::{Member, Run},
    template,
};

/// A row of `runs` being made.
pub(super) struct OpenRun {
    session: SessionRef,
    has_literals: bool,
    run: Run,
}

/// Memory used again for each event.
#[derive(Default)]
pub(super) struct Scratch {
    template: String,
    literals: Vec<Range<usize>>,
    key: Vec<u8>,
}

impl Indexer<'_> {
    /// An allowed decision of a known form, template and session into the run it belongs to; false where any is new.
    pub(super) fn quickly(&mut self, entry: &Entry) -> bool {
        let Some((form, own)) = self.known.forms.read(&entry.json) else { return false };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.split(&own.text);
        scratch.key_of(form);
        let shape = self.known.quick.get(scratch.key.as_slice()).copied();
        let session = own.session.parse().ok().and_then(|session| self.known.sessions.get(&session)).cloned();
        let known = shape.zip(session);
        let is_known = known.is_some();
        if let Some((shape, session)) = known {
            self.run(entry.sequence, session, shape, &own, &scratch);
        }
        self.scratch = scratch;
        is_known
    }

    /// An allowed decision into the run it belongs to. False where it is not what it seems: to be read in full.
    pub(super) fn allowed(&mut self, entry: &Entry, allowed: &Allowed<'_>) -> rusqlite::Result<bool> {
        let own = allowed.own();
        let Ok(session) = own.session.parse() else { return Ok(false) };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.split(&own.text);
        scratch.key.clear();
        allowed.push_key(&scratch.template, scratch.has_literals(), &mut scratch.key);
        let shape = match self.known.allowed.get(scratch.key.as_slice()) {
            Some(shape) => *shape,
            None => {
                let Ok(AuditEvent::Decision(event)) = entry.event() else { return Ok(false) };
                let text = scratch.template.as_str().into();
                let shape = self.insert_shape(&shape_of(event, text)?)?;
                remember(&mut self.known.allowed, scratch.key.as_slice().into(), shape);
                shape
            }
        };
        let form = self.known.forms.read(&entry.json).map(|(form, _)| form);
        if let Some(form) = form.or_else(|| self.known.forms.learn(&entry.json, allowed)) {
            scratch.key_of(form);
            remember(&mut self.known.quick, scratch.key.as_slice().into(), shape);
        }
        let session = self.find_session(session, own.at)?;
        self.run(entry.sequence, session, shape, &own, &scratch);
        self.scratch = scratch;
        Ok(true)
    }

    fn run(&mut self, sequence: u64, session: SessionRef, shape: i64, own: &Own<'_>, scratch: &Scratch) {
        self.counts.entry(session.id).or_default().allowed += 1;
        let open = self.runs.entry((session.id, shape)).or_insert_with(|| OpenRun {
            session,
            has_literals: scratch.has_literals(),
            run: Run::new(sequence),
        });
        let (at, number, binds) = (own.at.as_micros(), own.number, own.binds);
        let literals = scratch.literals.iter().map(|range| own.text.get(range.clone()).unwrap_or_default());
        open.run.push(&Member { sequence, at, number, binds }, literals);
    }
}

impl OpenRun {
    pub(super) fn insert(&self, transaction: &Transaction<'_>, shape: i64) -> rusqlite::Result<()> {
        let Self { session, has_literals, run } = self;
        transaction
        .prepare_cached(
            "INSERT INTO runs (last, first, since, until, session, principal, connection, shape, count, literals, events)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            int(run.last),
            int(run.first),
            run.since,
            run.until,
            session.id,
            session.principal,
            session.connection.as_deref(),
            shape,
            int(run.count),
            has_literals,
            run.events,
        ])?;
        Ok(())
    }
}

impl Scratch {
    fn split(&mut self, text: &str) {
        self.template.clear();
        self.literals.clear();
        template::split(text, &mut self.template, &mut self.literals);
    }

    fn has_literals(&self) -> bool {
        !self.literals.is_empty()
    }

    /// What finds the shape of a decision of this form and template.
    fn key_of(&mut self, form: u32) {
        self.key.clear();
        self.key.extend_from_slice(&form.to_le_bytes());
        self.key.push(u8::from(self.has_literals()));
        self.key.extend_from_slice(self.template.as_bytes());
    }
}
