//! Forgetting what is past its time. The index only: journal segments stay, and an index built again from them has it all.

use portcullis_core::Timestamp;
use rusqlite::{Row, Transaction, params, types::Type};
use serde::Serialize;

use crate::{
    Error, Store,
    database::Durability,
    index::{Known, int},
    runs::{Member, Members, Run},
};

/// Rows deleted per transaction, so that shipping and windows wait for milliseconds.
const STEP: usize = 10_000;
/// Runs looked at per transaction.
const RUNS: i64 = 100;

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Events.
    pub events: u64,
    /// Ended sessions of which no event is left.
    pub sessions: u64,
    /// Ended windows and blocks.
    pub windows: u64,
    /// Requests that are over, and were reviewed where they have to be.
    pub requests: u64,
}

impl Store {
    /// Deletes from the index the events before `before`, the ended sessions that leaves empty, and windows, blocks and requests
    /// that ended before then. A request that is pending, or waits for its review, stays however old it is. Journal segments are not touched. What is deleted is overwritten in the file only as pages are reused.
    pub fn forget_before(&self, before: Timestamp) -> Result<Forgotten, Error> {
        let at = before.as_micros();
        let single = self.delete(
            "DELETE FROM events WHERE sequence IN (SELECT sequence FROM events WHERE at < ?1 LIMIT ?2)",
            at,
        )?;
        let events = single + self.forget_runs(at)?;
        let sessions = self.delete(
            "DELETE FROM sessions WHERE id IN (
                 SELECT id FROM sessions s WHERE started_at < ?1 AND ended_at < ?1
                     AND NOT EXISTS (SELECT 1 FROM events e WHERE e.session = s.id)
                     AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.session = s.id) LIMIT ?2)",
            at,
        )?;
        if events > 0 || sessions > 0 {
            self.delete(
                "DELETE FROM shapes WHERE id IN (
                     SELECT id FROM shapes s WHERE ?1 IS NOT NULL
                         AND NOT EXISTS (SELECT 1 FROM events e WHERE e.shape = s.id)
                         AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.shape = s.id) LIMIT ?2)",
                at,
            )?;
            self.delete(
                "DELETE FROM principals WHERE id IN (
                     SELECT id FROM principals p WHERE ?1 IS NOT NULL
                         AND NOT EXISTS (SELECT 1 FROM events e WHERE e.principal = p.id)
                         AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.principal = p.id)
                         AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.principal = p.id) LIMIT ?2)",
                at,
            )?;
        }
        let windows = self.delete(
            "DELETE FROM windows WHERE id IN (SELECT id FROM windows WHERE ends_at < ?1 LIMIT ?2)",
            at,
        )?;
        let blocks = self.write(Durability::Soon, |transaction, _| {
            transaction.execute("DELETE FROM blocks WHERE until < ?1", [at])
        })?;
        let requests = self.delete(
            "DELETE FROM requests WHERE number IN (
                 SELECT number FROM requests WHERE ended_at < ?1 AND needs_review = 0
                     AND (open_until IS NULL OR open_until < ?1) LIMIT ?2)",
            at,
        )?;
        Ok(Forgotten { events, sessions, windows: windows + blocks as u64, requests })
    }

    /// Deletes the events before `before` from runs: whole runs where they are all before, else the run is written anew
    /// without them. How many events that were.
    fn forget_runs(&self, before: i64) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let (runs, events) = self.write(Durability::Soon, |transaction, known| {
                *known = Known::default();
                forget_some_runs(transaction, before)
            })?;
            total += events;
            if runs == 0 {
                return Ok(total);
            }
        }
    }

    /// Runs `sql`, which deletes at most `?2` rows older than `?1`, until it deletes fewer.
    fn delete(&self, sql: &'static str, before: i64) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let deleted = self.write(Durability::Soon, |transaction, known| {
                // Row ids may be used anew.
                *known = Known::default();
                transaction.prepare_cached(sql)?.execute(params![before, STEP as i64])
            })?;
            total += deleted as u64;
            if deleted < STEP {
                return Ok(total);
            }
        }
    }
}

/// Forgets in the first runs that hold anything before `before`; how many runs and events that were.
fn forget_some_runs(transaction: &Transaction<'_>, before: i64) -> rusqlite::Result<(usize, u64)> {
    let mut delete = transaction.prepare_cached(
        "DELETE FROM runs WHERE last IN (SELECT last FROM runs WHERE until < ?1 LIMIT ?2) RETURNING count",
    )?;
    let counts: Vec<i64> = delete.query_map([before, RUNS], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut events: u64 = counts.iter().map(|count| count.unsigned_abs()).sum();
    if !counts.is_empty() {
        return Ok((counts.len(), events));
    }
    let mut select = transaction.prepare_cached(
        "SELECT r.last, r.first, r.events, r.count, CASE r.literals WHEN 1 THEN p.text END
         FROM runs r JOIN shapes p ON p.id = r.shape WHERE r.until >= ?1 AND r.since < ?1 LIMIT ?2",
    )?;
    let straddling: Vec<_> = select
        .query_map([before, RUNS], |row| {
            let count = row.get::<_, i64>(3)?.unsigned_abs();
            Ok((row.get::<_, i64>(0)?, rest(row, before)?, count))
        })?
        .collect::<Result<_, _>>()?;
    let mut update = transaction.prepare_cached(
        "UPDATE runs SET last = ?2, first = ?3, since = ?4, until = ?5, count = ?6, events = ?7 WHERE last = ?1",
    )?;
    for (last, run, count) in &straddling {
        events += count.saturating_sub(run.count);
        update.execute(params![
            last,
            int(run.last),
            int(run.first),
            run.since,
            run.until,
            int(run.count),
            run.events
        ])?;
    }
    Ok((straddling.len(), events))
}

/// A run without what was before `before`.
fn rest(row: &Row<'_>, before: i64) -> rusqlite::Result<Run> {
    let (bytes, text): (Vec<u8>, Option<String>) = (row.get(2)?, row.get(4)?);
    let mut members = Members::new(row.get::<_, i64>(1)?.unsigned_abs(), &bytes, text.as_deref());
    let mut run: Option<Run> = None;
    while let Some((member, literals)) = members.next() {
        if member.at >= before {
            let Member { sequence, at, number, binds } = &member;
            let member = Member { sequence: *sequence, at: *at, number: *number, binds: binds.as_deref() };
            run.get_or_insert_with(|| Run::new(*sequence)).push(&member, literals.into_iter());
        }
    }
    run.filter(|_| !members.is_damaged()).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(2, Type::Blob, "the events of a run are damaged".into())
    })
}
