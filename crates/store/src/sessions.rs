//! Sessions as the journal tells them.

use std::sync::Arc;

use portcullis_core::{EndReason, SessionFacts, SessionId, Timestamp};
use rusqlite::{Row, types::Type};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Page, Store,
    index::int,
    query::{Filter, cut, facts},
    windows::parsed,
};

const MOST: u32 = 10_000;

/// Which sessions to find. Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionQuery {
    /// All, or those that have not ended.
    pub which: Sessions,
    /// This one.
    pub session: Option<SessionId>,
    /// With a statement in which every one of these words occurs, or the reason of its decision: as in
    /// [`AuditQuery::text`](crate::AuditQuery::text).
    pub text: Option<String>,
    /// To this connection.
    pub connection: Option<String>,
    /// By a principal whose name, key, object id, application id, or a group of it, is exactly this (case aside).
    pub identity: Option<String>,
    /// Started not before.
    pub from: Option<Timestamp>,
    /// Started before.
    pub until: Option<Timestamp>,
    /// How many at most: 100 when absent, never more than 10,000.
    pub limit: Option<u32>,
    /// Where the page before ended: [`Page::next`].
    pub cursor: Option<u64>,
}

/// Sorts of sessions to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sessions {
    /// Open, ended and refused ones.
    #[default]
    All,
    /// Those that have not ended, as far as the journal is indexed: a moment behind the gateway's own registry.
    Live,
}

/// One session or refused attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionRow {
    /// Its id.
    pub session: SessionId,
    /// When it started.
    pub started_at: Timestamp,
    /// Who, from where, to what; absent where the journal no longer has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Arc<SessionFacts>>,
    /// Whether and how it ended.
    pub ending: Ending,
    /// Decisions that let something pass.
    pub allowed: u64,
    /// Decisions that held something.
    pub held: u64,
    /// Decisions that refused something.
    pub denied: u64,
    /// Bytes from the client; known at the end.
    pub bytes_in: u64,
    /// Bytes to the client; known at the end.
    pub bytes_out: u64,
}

/// Whether and how a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Ending {
    /// Not yet.
    Open,
    /// In order, as the journal says.
    Ended {
        /// When.
        at: Timestamp,
        /// Why.
        reason: EndReason,
    },
    /// It never opened.
    Refused {
        /// When.
        at: Timestamp,
    },
    /// The gateway died; seen at its next start.
    Lost {
        /// When the gateway started again.
        at: Timestamp,
    },
}

impl Store {
    /// The sessions that answer `query`, the newest first, a page of them.
    pub fn sessions(&self, query: &SessionQuery) -> Result<Page<SessionRow>, Error> {
        let limit = query.limit.unwrap_or(100).min(MOST);
        let mut filter = Filter::default();
        filter.add_option("s.id < ?", query.cursor.map(int));
        filter.add_option("s.session = ?", query.session.map(|session| session.to_string()));
        if let Some(text) = &query.text {
            filter.statement(text);
        }
        filter.add_option("s.connection = ?", query.connection.clone());
        filter.identity("s.principal", query.identity.as_deref());
        filter.add_option("s.started_at >= ?", query.from.map(Timestamp::as_micros));
        filter.add_option("s.started_at < ?", query.until.map(Timestamp::as_micros));
        if query.which == Sessions::Live {
            filter.add::<i64>("s.ended_at IS NULL", []);
        }
        let sql = format!(
            "SELECT s.id, s.session, s.started_at, s.facts, s.ended_at, s.ending, s.end_reason,
                    s.allowed, s.held, s.denied, s.bytes_in, s.bytes_out
             FROM sessions s {} ORDER BY s.id DESC LIMIT {}",
            filter.sql(),
            u64::from(limit) + 1,
        );
        let mut rows =
            self.read(|connection| filter.rows(connection, &sql, (), |row, ()| session_row(row)))?;
        let next = cut(&mut rows, limit as usize).map(|(id, _)| *id);
        Ok(Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next })
    }
}

fn session_row(row: &Row<'_>) -> rusqlite::Result<(u64, SessionRow)> {
    let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let session = SessionRow {
        session: parsed(row, 1)?,
        started_at: Timestamp::from_micros(row.get(2)?),
        facts: facts(row, 3)?,
        ending: ending(row)?,
        allowed: count(7)?,
        held: count(8)?,
        denied: count(9)?,
        bytes_in: count(10)?,
        bytes_out: count(11)?,
    };
    Ok((count(0)?, session))
}

fn ending(row: &Row<'_>) -> rusqlite::Result<Ending> {
    let Some(at) = row.get::<_, Option<i64>>(4)?.map(Timestamp::from_micros) else { return Ok(Ending::Open) };
    let how: Option<String> = row.get(5)?;
    Ok(match how.as_deref() {
        Some("refused") => Ending::Refused { at },
        Some("ended") => {
            let json: String = row.get(6)?;
            let reason = serde_json::from_str(&json)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(6, Type::Text, Box::new(error)))?;
            Ending::Ended { at, reason }
        }
        _ => Ending::Lost { at },
    })
}
