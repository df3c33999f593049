//! Notices on their way, and what became of them.

use portcullis_core::Timestamp;
use portcullis_notify::{Delivery, DeliveryLog, DeliveryState, LogError, Notice};
use rusqlite::{Row, params, types::Type};
use serde::de::DeserializeOwned;

use crate::{Error, Store, database::Durability};

impl DeliveryLog for Store {
    fn record(&self, delivery: &Delivery, notice: &Notice) -> Result<(), LogError> {
        let body = encoded(delivery)?;
        let notice = match delivery.state.is_unfinished() {
            true => Some(encoded(notice)?),
            false => None,
        };
        self.write(Durability::Soon, |transaction, _| {
            transaction
                .prepare_cached(
                    "INSERT INTO deliveries (id, request, channel, state, at, body, notice)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (id) DO UPDATE SET state = excluded.state, at = excluded.at, body = excluded.body,
                         notice = excluded.notice",
                )?
                .execute(params![
                    delivery.id,
                    delivery.request.to_string(),
                    delivery.channel,
                    word(delivery.state),
                    delivery.at.as_micros(),
                    body,
                    notice,
                ])
        })
        .map_err(failed)?;
        Ok(())
    }

    fn unfinished(&self) -> Result<Vec<(Delivery, Notice)>, LogError> {
        const SELECT: &str = "SELECT body, notice FROM deliveries WHERE notice IS NOT NULL ORDER BY at";
        self.read(|connection| {
            let read = |row: &Row<'_>| Ok((decoded(row, 0)?, decoded(row, 1)?));
            connection.prepare_cached(SELECT)?.query_map([], read)?.collect()
        })
        .map_err(failed)
    }

    fn undelivered(&self, limit: usize) -> Result<Vec<Delivery>, LogError> {
        self.newest("WHERE state <> 'delivered'", limit)
    }

    fn recent(&self, limit: usize) -> Result<Vec<Delivery>, LogError> {
        self.newest("", limit)
    }
}

impl Store {
    fn newest(&self, wanted: &str, limit: usize) -> Result<Vec<Delivery>, LogError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let select = format!("SELECT body FROM deliveries {wanted} ORDER BY at DESC LIMIT ?1");
        self.read(|connection| {
            connection.prepare_cached(&select)?.query_map([limit], |row| decoded(row, 0))?.collect()
        })
        .map_err(failed)
    }

    /// Takes out what was finished before a time. How many there were.
    ///
    /// # Errors
    /// The database failed.
    pub fn forget_deliveries(&self, before: Timestamp) -> Result<u64, Error> {
        let forgotten = self.write(Durability::Soon, |transaction, _| {
            transaction.execute(
                "DELETE FROM deliveries WHERE at < ?1 AND notice IS NULL",
                params![before.as_micros()],
            )
        })?;
        Ok(forgotten as u64)
    }
}

const fn word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Retrying => "retrying",
        DeliveryState::Failed => "failed",
    }
}

fn encoded(value: &impl serde::Serialize) -> Result<String, LogError> {
    serde_json::to_string(value).map_err(|error| LogError(error.to_string()))
}

fn decoded<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn failed(error: Error) -> LogError {
    LogError(error.to_string())
}
