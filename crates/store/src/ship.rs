//! From the journal into the index: in batches, each in one transaction with the place it ends at.

use std::{sync::Arc, time::Duration};

use portcullis_audit::{Entry, Journal, Position, Reader};
use rusqlite::{Connection, params};

use crate::{
    Error, Store,
    database::Durability,
    index::{Indexer, int},
    runs::SPAN,
};

const BATCH_EVENTS: usize = SPAN as usize;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long a shipper waits after an error that may pass.
const RETRY: Duration = Duration::from_secs(1);

impl Store {
    /// How far the journal is indexed.
    pub fn shipped(&self) -> Result<Position, Error> {
        self.read(position)
    }

    /// Indexes one batch from `reader`, which must stand at [`Store::shipped`]; how many events that were.
    pub fn ship_batch(&self, reader: &mut Reader) -> Result<usize, Error> {
        let from = reader.reached();
        let entries = next_batch(reader)?;
        let to = reader.reached();
        if entries.is_empty() {
            return Ok(0);
        }
        let stored = self.write(Durability::Soon, |transaction, known| {
            // INVARIANT(ship-once): the place is looked at and moved in the transaction that stores the events.
            if position(transaction)?.sequence != from.sequence {
                return Ok(false);
            }
            let mut indexer = Indexer::new(transaction, known);
            for entry in &entries {
                indexer.entry(entry)?;
            }
            indexer.finish()?;
            transaction.execute(
                "UPDATE shipped SET sequence = ?1, segment = ?2, \"offset\" = ?3",
                params![int(to.sequence), int(to.segment), int(to.offset)],
            )?;
            Ok(true)
        })?;
        if stored { Ok(entries.len()) } else { Err(Error::Contended) }
    }

    /// Indexes all that is on the disk by now; the place reached.
    pub fn catch_up(&self, journal: &Journal) -> Result<Position, Error> {
        let mut reader = journal.durable_reader(self.shipped()?);
        while self.ship_batch(&mut reader)? > 0 {}
        Ok(reader.reached())
    }

    /// Keeps the index up with the journal. Ends only with an error that does not pass by itself: the journal or the store
    /// is damaged. Cancel safe: a batch under way is finished on its own thread.
    pub async fn ship(self: Arc<Self>, journal: Arc<Journal>) -> Result<(), Error> {
        loop {
            let (store, source) = (self.clone(), journal.clone());
            match tokio::task::spawn_blocking(move || store.catch_up(&source)).await {
                Ok(Ok(reached)) => journal.grown(reached).await?,
                Ok(Err(error)) if error.may_pass() => {
                    tracing::warn!(%error, "audit events are not searchable yet; trying again");
                    tokio::time::sleep(RETRY).await;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::Stopped),
            }
        }
    }
}

fn next_batch(reader: &mut Reader) -> Result<Vec<Entry>, Error> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while entries.len() < BATCH_EVENTS && bytes < BATCH_BYTES {
        let Some(entry) = reader.read()? else { break };
        bytes += entry.json.len();
        entries.push(entry);
    }
    Ok(entries)
}

fn position(connection: &Connection) -> rusqlite::Result<Position> {
    connection.query_row("SELECT sequence, segment, \"offset\" FROM shipped", [], |row| {
        Ok(Position {
            sequence: row.get::<_, i64>(0)?.unsigned_abs(),
            segment: row.get::<_, i64>(1)?.unsigned_abs(),
            offset: row.get::<_, i64>(2)?.unsigned_abs(),
        })
    })
}
