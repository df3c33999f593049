//! Access requests: what `access` needs kept across restarts, and lists of them.

use portcullis_access::{
    StoreError, Window,
    requests::{Ending, Listing, Request, RequestFilter, RequestStore, State},
};
use portcullis_core::{RequestId, Timestamp};
use rusqlite::{OptionalExtension as _, Row, ToSql, Transaction, params, types::Type};

use crate::{Error, Store, database::Durability, windows};

/// The most rows of one page.
const MAX_ROWS: u32 = 1_000;
const ROWS: u32 = 100;

impl RequestStore for Store {
    fn open_requests(&self, now: Timestamp) -> Result<Vec<Request>, StoreError> {
        const SELECT: &str = "SELECT body FROM requests WHERE open_until > ?1
                              UNION ALL SELECT body FROM requests WHERE needs_review = 1";
        Ok(self.read(|connection| {
            connection.prepare_cached(SELECT)?.query_map([now.as_micros()], |row| body(row, 0))?.collect()
        })?)
    }

    fn put_request(&self, request: &Request, window: Option<&Window>) -> Result<(), StoreError> {
        let encoded = serde_json::to_string(request).map_err(|error| StoreError(error.to_string()))?;
        self.write(Durability::Now, |transaction, _| {
            put(transaction, request, &encoded)?;
            match window {
                Some(window) => windows::insert(transaction, window),
                None => Ok(()),
            }
        })?;
        Ok(())
    }

    fn request(&self, id: RequestId) -> Result<Option<Request>, StoreError> {
        const SELECT: &str = "SELECT body FROM requests WHERE id = ?1";
        Ok(self.read(|connection| {
            connection.prepare_cached(SELECT)?.query_row([id.to_string()], |row| body(row, 0)).optional()
        })?)
    }

    fn requests(&self, filter: &RequestFilter) -> Result<Listing, StoreError> {
        let limit = filter.limit.unwrap_or(ROWS).clamp(1, MAX_ROWS);
        let (wanted, values) = conditions(filter);
        let sql = format!(
            "SELECT number, body FROM requests WHERE {wanted} ORDER BY number DESC LIMIT {}",
            u64::from(limit) + 1
        );
        let mut rows: Vec<(u64, Request)> = self.read(|connection| {
            let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
            let mut select = connection.prepare_cached(&sql)?;
            let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), body(row, 1)?));
            select.query_map(values.as_slice(), read)?.collect()
        })?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(number, _)| *number);
        Ok(Listing { rows: rows.into_iter().map(|(_, request)| request).collect(), next })
    }
}

impl Store {
    /// The newest requests.
    pub(crate) fn latest_requests(&self) -> Result<Vec<Request>, Error> {
        const SELECT: &str = "SELECT body FROM requests ORDER BY number DESC LIMIT ?1";
        self.read(|connection| {
            connection.prepare_cached(SELECT)?.query_map([MAX_ROWS], |row| body(row, 0))?.collect()
        })
    }
}

fn conditions(filter: &RequestFilter) -> (String, Vec<Box<dyn ToSql>>) {
    let mut wanted = vec!["1".to_owned()];
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut want = |column: &str, value: Box<dyn ToSql>| {
        values.push(value);
        wanted.push(format!("{column} ?{}", values.len()));
    };
    if let Some(state) = filter.state {
        want("state =", Box::new(state.as_str()));
    }
    if let Some(connection) = &filter.connection {
        want("connection =", Box::new(connection.as_str().to_owned()));
    }
    if let Some(key) = &filter.requester {
        want("object_id =", Box::new(key.object_id.clone()));
        want("provider =", Box::new(key.provider.clone()));
        want("tenant =", Box::new(key.tenant.clone().unwrap_or_default()));
    }
    if let Some(session) = filter.session {
        want("session =", Box::new(session.to_string()));
    }
    if let Some(cursor) = filter.cursor {
        want("number <", Box::new(i64::try_from(cursor).unwrap_or(i64::MAX)));
    }
    if filter.needs_review {
        wanted.push("needs_review = 1".to_owned());
    }
    (wanted.join(" AND "), values)
}

fn put(transaction: &Transaction<'_>, request: &Request, encoded: &str) -> rusqlite::Result<()> {
    let asked = request.asked();
    let key = asked.requester.key();
    let open_until = match (request.state(), request.settled().map(|settled| settled.ending())) {
        (State::Pending, _) => Some(Timestamp::MAX),
        (_, Some(Ending::Approved { used_at: None, good_until, .. })) => *good_until,
        _ => None,
    };
    let needs_review = request.settled().is_some_and(|settled| settled.needs_review());
    let put = transaction
        .prepare_cached(
            "INSERT INTO requests (id, state, connection, provider, tenant, object_id, session, filed_at, ended_at,
                                   open_until, needs_review, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at,
                 open_until = excluded.open_until, needs_review = excluded.needs_review, body = excluded.body
                 WHERE state = 'pending' OR state = excluded.state",
        )?
        .execute(params![
            asked.id.to_string(),
            request.state().as_str(),
            asked.connection.as_str(),
            key.provider,
            key.tenant.unwrap_or_default(),
            key.object_id,
            asked.what.operation().map(|operation| operation.session.to_string()),
            asked.filed_at.as_micros(),
            request.answered_at().map(Timestamp::as_micros),
            open_until.map(Timestamp::as_micros),
            needs_review,
            encoded,
        ])?;
    match put {
        // What has ended stays ended so, whatever is asked; nor does its window open.
        0 => Err(rusqlite::Error::StatementChangedRows(0)),
        _ => Ok(()),
    }
}

fn body(row: &Row<'_>, column: usize) -> rusqlite::Result<Request> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
