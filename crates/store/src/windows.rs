//! Windows and blocks: what `access` needs kept across restarts.

use portcullis_access::{Block, StoreError, Window, WindowStore};
use portcullis_core::{ConnectionName, GrantId, PrincipalKey, Timestamp, WindowId};
use rusqlite::{Row, Transaction, params, types::Type};

use crate::{Store, database::Durability};

impl WindowStore for Store {
    fn windows_since(&self, since: Timestamp) -> Result<Vec<Window>, StoreError> {
        const SELECT: &str =
            "SELECT provider, tenant, object_id, id, name, grant_id, connection, reason, opened_at, ends_at
                              FROM windows WHERE ends_at > ?1 ORDER BY opened_at";
        Ok(self.read(|connection| {
            connection.prepare_cached(SELECT)?.query_map([since.as_micros()], window)?.collect()
        })?)
    }

    fn insert_window(&self, window: &Window) -> Result<(), StoreError> {
        self.write(Durability::Now, |transaction, _| insert(transaction, window))?;
        Ok(())
    }

    fn end_window(&self, id: WindowId, at: Timestamp) -> Result<(), StoreError> {
        let ended = self.write(Durability::Now, |transaction, _| {
            // INVARIANT(window-end-only-earlier): whatever is asked, an end never moves later.
            transaction.execute(
                "UPDATE windows SET ends_at = min(ends_at, ?2) WHERE id = ?1",
                params![id.to_string(), at.as_micros()],
            )
        })?;
        match ended {
            0 => Err(StoreError(format!("there is no window `{id}`"))),
            _ => Ok(()),
        }
    }

    fn blocks_since(&self, now: Timestamp) -> Result<Vec<Block>, StoreError> {
        const SELECT: &str = "SELECT provider, tenant, object_id, connection, until, blocked_by, reason
                              FROM blocks WHERE until > ?1";
        Ok(self.read(|connection| {
            connection.prepare_cached(SELECT)?.query_map([now.as_micros()], block)?.collect()
        })?)
    }

    fn put_block(&self, block: &Block) -> Result<(), StoreError> {
        let Block { principal, connection, until, by, reason } = block;
        self.write(Durability::Now, |transaction, _| {
            transaction.execute(
                "INSERT INTO blocks (provider, tenant, object_id, connection, until, blocked_by, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET until = excluded.until, blocked_by = excluded.blocked_by, reason = excluded.reason",
                params![
                    principal.provider,
                    tenant(principal),
                    principal.object_id,
                    connection.as_ref().map_or("", ConnectionName::as_str),
                    until.as_micros(),
                    by,
                    reason,
                ],
            )
        })?;
        Ok(())
    }

    fn lift_blocks(&self, principal: &PrincipalKey) -> Result<u64, StoreError> {
        let lifted = self.write(Durability::Now, |transaction, _| {
            transaction.execute(
                "DELETE FROM blocks WHERE provider = ?1 AND tenant = ?2 AND object_id = ?3",
                params![principal.provider, tenant(principal), principal.object_id],
            )
        })?;
        Ok(lifted as u64)
    }
}

pub(crate) fn insert(transaction: &Transaction<'_>, window: &Window) -> rusqlite::Result<()> {
    let Window { id, principal, name, grant, connection, reason, opened_at, ends_at } = window;
    transaction.execute(
        "INSERT INTO windows (id, provider, tenant, object_id, name, grant_id, connection, reason, opened_at, ends_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            id.to_string(),
            principal.provider,
            tenant(principal),
            principal.object_id,
            name,
            grant.0,
            connection.as_str(),
            reason,
            opened_at.as_micros(),
            ends_at.as_micros(),
        ],
    )?;
    Ok(())
}

pub(crate) fn tenant(principal: &PrincipalKey) -> &str {
    principal.tenant.as_deref().unwrap_or_default()
}

/// The first three columns.
fn principal(row: &Row<'_>) -> rusqlite::Result<PrincipalKey> {
    let tenant: String = row.get(1)?;
    Ok(PrincipalKey {
        provider: row.get(0)?,
        tenant: Some(tenant).filter(|tenant| !tenant.is_empty()),
        object_id: row.get(2)?,
    })
}

/// A column that holds the text of a `T`.
pub(crate) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn window(row: &Row<'_>) -> rusqlite::Result<Window> {
    Ok(Window {
        principal: principal(row)?,
        id: parsed(row, 3)?,
        name: row.get(4)?,
        grant: GrantId(row.get(5)?),
        connection: parsed(row, 6)?,
        reason: row.get(7)?,
        opened_at: Timestamp::from_micros(row.get(8)?),
        ends_at: Timestamp::from_micros(row.get(9)?),
    })
}

fn block(row: &Row<'_>) -> rusqlite::Result<Block> {
    let connection: String = row.get(3)?;
    Ok(Block {
        principal: principal(row)?,
        connection: if connection.is_empty() { None } else { Some(parsed(row, 3)?) },
        until: Timestamp::from_micros(row.get(4)?),
        by: row.get(5)?,
        reason: row.get(6)?,
    })
}
