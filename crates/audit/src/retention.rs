//! Deleting segments that are past their time, from the front, and leaving the proof of what they held.

use std::{fs::File, path::Path, sync::Arc};

use portcullis_core::{AuditEvent, Timestamp, event::DeletedSegments};

use crate::{
    Batch, Error, Notary, Position, Reader,
    format::HEADER_LEN,
    notary::session_of,
    proof::read_leaves,
    reader::{Source, read_header, segment_path, segments},
    tree::{BLOCK_LEAVES, Hash},
};

impl Notary {
    /// Deletes closed segments from the front whose every event is older than `before`, whose events a checkpoint covers, and
    /// that `indexed` is past. First the journal says what goes ([`AuditEvent::Retention`]) and a checkpoint covers that: a
    /// segment that is missing without such an event was taken away. A segment whose events are not the ones the proof holds
    /// is not deleted but an error. Leaf hashes and checkpoints stay. Cancel safe: what was announced and not deleted is
    /// announced again the next time.
    pub async fn forget_before(
        self: &Arc<Self>,
        before: Timestamp,
        indexed: Position,
        now: Timestamp,
    ) -> Result<Option<DeletedSegments>, Error> {
        let covered = self.status().checkpoint.size();
        let dir = self.journal.dir().to_owned();
        let found = blocking({
            let dir = dir.clone();
            move || past(&dir, before, indexed, covered)
        });
        let Some(deleted) = found.await? else { return Ok(None) };
        let mut batch = Batch::new();
        let event = AuditEvent::Retention { at: now, before, journal: Some(deleted), recordings: Vec::new() };
        batch.push(&event)?;
        let position = self.journal.append(None, &batch)?;
        self.covered(position).await?;
        blocking(move || delete(&dir, deleted)).await?;
        Ok(Some(deleted))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Stopped))
}

/// The segments at the front that may go.
fn past(
    dir: &Path,
    before: Timestamp,
    indexed: Position,
    covered: u64,
) -> Result<Option<DeletedSegments>, Error> {
    let mut found: Option<DeletedSegments> = None;
    let numbers = segments(dir)?;
    for (number, next) in numbers.iter().zip(numbers.iter().skip(1)) {
        // Every event of a segment was appended before the next one was made. Its header is no proof, so all is read below.
        let next = read_header(dir, *next)?;
        if next.created >= before || next.first_sequence > covered || *number >= indexed.segment {
            break;
        }
        let first = read_header(dir, *number)?.first_sequence;
        if !is_past(dir, *number, first, next.first_sequence, before)? {
            break;
        }
        let one = DeletedSegments {
            first_segment: *number,
            last_segment: *number,
            first_sequence: first,
            last_sequence: next.first_sequence.saturating_sub(1),
        };
        let joined = found.get_or_insert(one);
        (joined.last_segment, joined.last_sequence) = (one.last_segment, one.last_sequence);
    }
    // A segment without events does not go alone: there would be nothing to say of it.
    Ok(found.filter(|found| found.first_sequence <= found.last_sequence))
}

/// Whether every event of a segment is older than `before`. Each must be the one that the proof holds.
fn is_past(dir: &Path, number: u64, first: u64, end: u64, before: Timestamp) -> Result<bool, Error> {
    let start = Position { sequence: first, segment: number, offset: HEADER_LEN as u64 };
    let mut reader = Reader::new(dir.to_owned(), start, Source::Files);
    let (mut scratch, mut block, mut leaves) = (Vec::new(), u64::MAX, Vec::new());
    while reader.reached().sequence < end {
        let offset = reader.reached().offset;
        let Some(entry) = reader.read()? else { return Ok(false) };
        if entry.sequence / BLOCK_LEAVES != block {
            block = entry.sequence / BLOCK_LEAVES;
            leaves = read_leaves(dir, block)?;
        }
        let leaf = Hash::of_event(entry.sequence, &entry.json, &mut scratch);
        let known = leaves.get(usize::try_from(entry.sequence % BLOCK_LEAVES).unwrap_or(usize::MAX));
        if known != Some(&leaf) {
            let (path, session) = (segment_path(dir, number), session_of(&entry.json));
            return Err(Error::Altered { path, offset, sequence: entry.sequence, session });
        }
        // What a newer version wrote has a time, too; without one it stays.
        if entry.event().ok().is_none_or(|event| event.at() >= before) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes the segments, the first first, with the ends that were cut off them.
fn delete(dir: &Path, deleted: DeletedSegments) -> Result<(), Error> {
    for number in deleted.first_segment..=deleted.last_segment {
        let path = segment_path(dir, number);
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        let cut = format!("{number:010}.");
        for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
            let entry = entry.map_err(Error::io("list", dir))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(&cut) && name.ends_with(".cut")) {
                std::fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))
}
