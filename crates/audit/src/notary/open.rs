//! Taking up the proof that an earlier run left, and beginning a new one.

use std::{path::Path, sync::Arc};

use super::work::Work;
use crate::{
    Error, Journal, Position, SignedCheckpoint, SigningKey,
    checkpoint::last_note,
    format::{FRAME_HEADER_LEN, HEADER_LEN},
    proof::{self, Growing, Leaves, Span, Spans},
    reader::{read_header, segment_path, segments},
    storage,
    tree::{BLOCK_LEAVES, Tree},
};

/// Begins the proof of the journal in a folder: a signed checkpoint over no events, by which everyone knows that there is a
/// proof. Refuses where one is there already: its key was lost, or somebody took it away.
pub fn begin(journal: &Path, key: &SigningKey) -> Result<(), Error> {
    make_folders(journal)?;
    let path = proof::checkpoints_path(journal);
    if let Some((note, _)) = last_note(&path)? {
        // A run that died between this and keeping its key leaves one checkpoint over nothing.
        let over_nothing = note.offset == 0 && note.text.lines().nth(1) == Some("0");
        if !over_nothing {
            let fault = "there are checkpoints of a key that is not there; restore the key".to_owned();
            return Err(Error::Proof { path, fault });
        }
    }
    let first = SignedCheckpoint::sign(0, Tree::default().root(), None, key);
    storage::write_private(&path, first.note().as_bytes()).map_err(Error::io("write", &path))
}

fn make_folders(journal: &Path) -> Result<(), Error> {
    for folder in [journal.to_owned(), proof::folder(journal), proof::leaves_folder(journal)] {
        storage::private_folder(&folder).map_err(Error::io("make", folder))?;
    }
    Ok(())
}

/// The session that an event's JSON names.
pub(crate) fn session_of(payload: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        session: String,
    }
    serde_json::from_slice::<Named>(payload).ok().map(|named| named.session)
}

impl Work {
    /// Takes up what is on the disk and compares it with the journal: all of the last segment, and whatever is not under the
    /// last checkpoint.
    pub(super) fn open(journal: Arc<Journal>, key: SigningKey) -> Result<Self, Error> {
        let dir = journal.dir().to_owned();
        make_folders(&dir)?;
        let (last, end) = last_checkpoint(&dir, &key)?;
        let checkpoints = Growing::open(proof::checkpoints_path(&dir), end)?;
        let leaves = Leaves::open(&dir)?;
        let spans = Spans::open(&dir)?;
        let (written, covered) = (leaves.tree().size(), last.size());
        let journal_end = journal.end()?.sequence;
        if journal_end < written.max(covered) {
            return Err(Error::Truncated { end: journal_end, covered: written.max(covered) });
        }
        if written >= covered {
            check_root(&dir, &leaves, &last)?;
        }
        let start = start_of_reading(&dir, written.min(covered))?;
        let mut this = Self {
            reader: journal.durable_reader(start),
            segment: (start.segment, start.sequence),
            last: Arc::new(last),
            fresh: Vec::new(),
            scratch: Vec::new(),
            journal,
            key,
            leaves,
            spans,
            checkpoints,
        };
        this.compare(written)?;
        this.rebuild(written)?;
        if journal_end > covered && covered > 0 {
            let events = journal_end - covered;
            tracing::info!(events, "the last run left events that no checkpoint covers; one does now");
        }
        Ok(this)
    }

    /// Reads the events that leaves are there for, from the reader's place on: each must have its leaf.
    fn compare(&mut self, written: u64) -> Result<(), Error> {
        let (mut block, mut known) = (u64::MAX, Vec::new());
        while self.reader.reached().sequence < written {
            let Some((sequence, leaf)) = self.read_one()? else { break };
            if sequence / BLOCK_LEAVES != block {
                block = sequence / BLOCK_LEAVES;
                known = self.leaves.block(block)?;
            }
            if known.get(usize::try_from(sequence % BLOCK_LEAVES).unwrap_or(usize::MAX)) != Some(&leaf) {
                return Err(self.altered(sequence));
            }
        }
        Ok(())
    }

    /// Leaf hashes that were lost are made again from the journal; they must lead to the root that was signed.
    fn rebuild(&mut self, written: u64) -> Result<(), Error> {
        let covered = self.last.size();
        if written >= covered {
            return Ok(());
        }
        tracing::warn!(written, covered, "leaf hashes of the journal's proof are lost; they are made again");
        while self.reader.reached().sequence < covered {
            let Some((_, leaf)) = self.read_one()? else { break };
            self.fresh.push(leaf);
        }
        self.leaves.append(&mut self.fresh)?;
        check_root(self.journal.dir(), &self.leaves, &self.last)
    }

    /// The error that names the event just read.
    fn altered(&self, sequence: u64) -> Error {
        let Position { segment, offset, .. } = self.reader.reached();
        // Its payload was the scratch behind mark and sequence.
        let payload = self.scratch.get(9..).unwrap_or_default();
        let path = segment_path(self.journal.dir(), segment);
        let offset = offset.saturating_sub((FRAME_HEADER_LEN + payload.len()) as u64);
        Error::Altered { path, offset, sequence, session: session_of(payload) }
    }
}

/// The last whole checkpoint, and where the file ends behind it.
fn last_checkpoint(dir: &Path, key: &SigningKey) -> Result<(SignedCheckpoint, u64), Error> {
    let path = proof::checkpoints_path(dir);
    let proof = |fault: String| Error::Proof { path: path.clone(), fault };
    let (note, end) = last_note(&path)?
        .ok_or_else(|| proof("the checkpoints are gone; restore the file from a backup".to_owned()))?;
    let last = SignedCheckpoint::open(&note.text, key.verifier())
        .map_err(|fault| proof(format!("the last checkpoint, at byte {}: {fault}", note.offset)))?;
    let torn = proof::length(&path)?.saturating_sub(end);
    if torn > 0 {
        tracing::warn!(file = %path.display(), bytes = torn, "the file ended in an incomplete checkpoint; it was cut off");
    }
    Ok((last, end))
}

/// The leaf hashes must lead to the root that was signed.
fn check_root(dir: &Path, leaves: &Leaves, last: &SignedCheckpoint) -> Result<(), Error> {
    let root = match leaves.tree().size() == last.size() {
        true => Some(leaves.tree().root()),
        false => proof::root_of(dir, &proof::read_blocks(dir)?, 0..last.size())?,
    };
    if root == Some(last.checkpoint().root) {
        return Ok(());
    }
    let fault = format!(
        "the leaf hashes do not lead to the root that was signed over {} events; run `portcullis audit verify`",
        last.size()
    );
    Err(Error::Proof { path: proof::leaves_folder(dir), fault })
}

/// Where reading starts: the last segment, or an earlier one that holds events after `sequence`, or one that was not noted as
/// closed.
fn start_of_reading(dir: &Path, sequence: u64) -> Result<Position, Error> {
    let noted: std::collections::HashSet<u64> =
        Span::read(dir)?.into_iter().flatten().map(|span| span.segment).collect();
    let mut start = Position::START;
    for number in segments(dir)? {
        let first = read_header(dir, number)?.first_sequence;
        if start.segment != 0 && (first > sequence || !noted.contains(&start.segment)) {
            break;
        }
        start = Position { sequence: first, segment: number, offset: HEADER_LEN as u64 };
    }
    if start.sequence > sequence {
        let fault = format!("leaf hashes are lost, from event {sequence} on, and their segments are deleted");
        return Err(Error::Proof { path: proof::leaves_folder(dir), fault });
    }
    Ok(start)
}
