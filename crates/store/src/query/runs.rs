//! Searching the runs: candidates from the database in order, their events one by one.
//!
//! Runs overlap: each is a session's part of what was indexed together. They come by their last event, and an event is handed
//! out once no run to come can hold one before it.

use std::{cmp::Ordering, collections::BinaryHeap, rc::Rc, sync::Arc};

use portcullis_core::{AuditEvent, SessionFacts, SessionId, Verdict};
use rusqlite::{Connection, Row, functions::FunctionFlags, params_from_iter, types::Type};

use super::{
    AuditQuery, AuditRow, FactsCache, Order, Own, StoredEvent, detail, joined,
    words::{Finder, Folded, Words},
};
use crate::{
    index::DecisionDetail,
    runs::{Member, Members, SPAN, text_of},
    template,
    windows::parsed,
};

/// The first `most` events in runs that answer `query`, in its order.
pub(super) fn find(
    connection: &Connection,
    query: &AuditQuery,
    most: usize,
    facts: &mut FactsCache,
) -> rusqlite::Result<Vec<AuditRow>> {
    let allowed_decisions = query.decision.is_none_or(|decision| decision == Verdict::Allow)
        && query.kind.as_deref().is_none_or(|kind| kind == "decision");
    if !allowed_decisions {
        return Ok(Vec::new());
    }
    let finder = query.text.as_deref().map(|text| Words::of(text).finder());
    let (filter, sql) = query.runs_sql();
    let mut candidates = connection.prepare_cached(&sql)?;
    let mut candidates = candidates.query(params_from_iter(&filter.values))?;
    let mut read = connection.prepare_cached(
        "SELECT r.first, r.literals, r.events, p.text, p.reason, p.detail, s.id, s.session, s.facts
         FROM runs r JOIN shapes p ON p.id = r.shape JOIN sessions s ON s.id = r.session WHERE r.last = ?1",
    )?;
    let (mut found, mut waiting) = (Vec::new(), BinaryHeap::new());
    while let Some(candidate) = candidates.next()? {
        let last: i64 = candidate.get(0)?;
        let bound = last.unsigned_abs();
        while found.len() < most
            && let Some(next) = waiting.peek()
            && is_before(query.order, next, bound)
        {
            found.extend(waiting.pop().map(Found::into_row));
        }
        if found.len() >= most {
            return Ok(found);
        }
        read.query_row([last], |row| look_into(row, query, finder.as_ref(), facts, &mut waiting))?;
    }
    while found.len() < most
        && let Some(next) = waiting.pop()
    {
        found.push(next.into_row());
    }
    Ok(found)
}

/// Teaches `connection` the function `run_holds(first, events, text, reason, words)`: whether a run whose texts have literals
/// of their own has an event in which every word is found.
pub(crate) fn teach(connection: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("run_holds", 5, flags, |arguments| {
        let first: i64 = arguments.get(0)?;
        let text = |at| {
            arguments
                .get_raw(at)
                .as_str()
                .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))
        };
        let events = arguments
            .get_raw(1)
            .as_blob()
            .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))?;
        let (shape, reason) = (text(2)?, Folded::of(text(3)?));
        let finder = Words::of(text(4)?).finder();
        let mut members = Members::new(first.unsigned_abs(), events, Some(shape));
        while let Some((_, literals)) = members.next() {
            let text = template::join(shape, literals.into_iter()).unwrap_or_default();
            if finder.finds(&text, &reason) {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// Whether `next` comes before all that the run that ends at `last`, and those after it, may hold.
fn is_before(order: Order, next: &Found, last: u64) -> bool {
    match order {
        Order::NewestFirst => next.member.sequence > last,
        Order::OldestFirst => next.member.sequence <= last.saturating_sub(SPAN),
    }
}

/// An event that answers the query. The greatest is the first to hand out.
struct Found {
    order: Order,
    member: Member<String>,
    text: Arc<str>,
    of: Rc<Common>,
}

/// What the events of one run share.
struct Common {
    session: SessionId,
    facts: Option<Arc<SessionFacts>>,
    detail: DecisionDetail<'static>,
}

impl Found {
    fn into_row(self) -> AuditRow {
        let Self { member, text, of, .. } = self;
        let own = Own { at: member.at, number: member.number, text, binds: member.binds };
        let event = joined(of.session, own, of.detail.clone());
        AuditRow {
            sequence: member.sequence,
            event: StoredEvent::Known(Box::new(AuditEvent::Decision(event))),
            facts: of.facts.clone(),
        }
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        let ascending = self.member.sequence.cmp(&other.member.sequence);
        match self.order {
            Order::NewestFirst => ascending,
            Order::OldestFirst => ascending.reverse(),
        }
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Found {}

fn look_into(
    row: &Row<'_>,
    query: &AuditQuery,
    finder: Option<&Finder>,
    cache: &mut FactsCache,
    waiting: &mut BinaryHeap<Found>,
) -> rusqlite::Result<()> {
    let has_literals: bool = row.get(1)?;
    let events: Vec<u8> = row.get(2)?;
    let shape: Arc<str> = row.get::<_, String>(3)?.into();
    let reason = Folded::of(row.get_ref(4)?.as_str()?);
    let of =
        Rc::new(Common { session: parsed(row, 7)?, facts: cache.find(row, 6, 8)?, detail: detail(row, 5)? });
    // Where the text is the shape's own, the database has found it already.
    let finder = finder.filter(|_| has_literals);
    let damaged =
        || rusqlite::Error::FromSqlConversionFailure(2, Type::Blob, "the events of a run are damaged".into());
    let mut members =
        Members::new(row.get::<_, i64>(0)?.unsigned_abs(), &events, has_literals.then_some(&*shape));
    while let Some((member, literals)) = members.next() {
        if !is_asked_for(query, &member) {
            continue;
        }
        let text = text_of(&shape, has_literals, literals).ok_or_else(damaged)?;
        if finder.is_none_or(|finder| finder.finds(&text, &reason)) {
            waiting.push(Found { order: query.order, member, text, of: Rc::clone(&of) });
        }
    }
    if members.is_damaged() { Err(damaged()) } else { Ok(()) }
}

fn is_asked_for(query: &AuditQuery, member: &Member<String>) -> bool {
    let in_page = query.cursor.is_none_or(|cursor| match query.order {
        Order::NewestFirst => member.sequence < cursor,
        Order::OldestFirst => member.sequence > cursor,
    });
    in_page
        && query.from.is_none_or(|from| member.at >= from.as_micros())
        && query.until.is_none_or(|until| member.at < until.as_micros())
}
