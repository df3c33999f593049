//! Forgetting what is past its time. The index only: journal segments stay, and an index built again from them has it all.

use portcullis_core::Timestamp;
use rusqlite::params;
use serde::Serialize;

use crate::{Error, Store, database::Durability, index::Known};

/// Rows deleted per transaction, so that shipping and windows wait for milliseconds.
const STEP: usize = 10_000;

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Events.
    pub events: u64,
    /// Ended sessions of which no event is left.
    pub sessions: u64,
    /// Ended windows and blocks.
    pub windows: u64,
}

impl Store {
    /// Deletes from the index the events before `before`, the ended sessions that leaves empty, and windows and blocks that
    /// ended before then. Journal segments are not touched. What is deleted is overwritten in the file only as pages are reused.
    pub fn forget_before(&self, before: Timestamp) -> Result<Forgotten, Error> {
        let at = before.as_micros();
        let events = self.delete(
            "DELETE FROM events WHERE sequence IN (SELECT sequence FROM events WHERE at < ?1 LIMIT ?2)",
            at,
        )?;
        let sessions = self.delete(
            "DELETE FROM sessions WHERE id IN (
                 SELECT id FROM sessions s WHERE started_at < ?1 AND ended_at < ?1
                     AND NOT EXISTS (SELECT 1 FROM events e WHERE e.session = s.id) LIMIT ?2)",
            at,
        )?;
        if events > 0 || sessions > 0 {
            self.delete(
                "DELETE FROM shapes WHERE id IN (
                     SELECT id FROM shapes s WHERE ?1 IS NOT NULL
                         AND NOT EXISTS (SELECT 1 FROM events e WHERE e.shape = s.id) LIMIT ?2)",
                at,
            )?;
            self.delete(
                "DELETE FROM principals WHERE id IN (
                     SELECT id FROM principals p WHERE ?1 IS NOT NULL
                         AND NOT EXISTS (SELECT 1 FROM events e WHERE e.principal = p.id)
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
        Ok(Forgotten { events, sessions, windows: windows + blocks as u64 })
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
