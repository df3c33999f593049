//! What the notary does: read, hash, write, sign. Every step can be done again after it failed.

use std::sync::Arc;

use crate::{
    Error, Journal, Position, Reader, SignedCheckpoint, SigningKey,
    format::HEADER_LEN,
    proof::{Growing, Leaves, Span, Spans},
    tree::Hash,
};

/// How many leaf hashes are written at once.
const SOME: usize = 4096;

pub(super) struct Work {
    pub(super) journal: Arc<Journal>,
    pub(super) key: SigningKey,
    pub(super) reader: Reader,
    pub(super) leaves: Leaves,
    pub(super) spans: Spans,
    pub(super) checkpoints: Growing,
    pub(super) last: Arc<SignedCheckpoint>,
    /// The segment being read: its number, and the sequence it starts at.
    pub(super) segment: (u64, u64),
    pub(super) fresh: Vec<Hash>,
    pub(super) scratch: Vec<u8>,
}

impl Work {
    pub(super) fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    pub(super) fn last(&self) -> Arc<SignedCheckpoint> {
        Arc::clone(&self.last)
    }

    /// The place up to which the journal was read.
    pub(super) const fn reached(&self) -> Position {
        self.reader.reached()
    }

    /// Hashes and writes all that is on the disk by now.
    pub(super) fn follow(&mut self) -> Result<(), Error> {
        loop {
            let more = self.read_one()?;
            if self.fresh.len() >= SOME || more.is_none() {
                self.leaves.append(&mut self.fresh)?;
            }
            let Some((_, leaf)) = more else { return Ok(()) };
            self.fresh.push(leaf);
        }
    }

    /// The next event's sequence and leaf hash. Notes the segment before as closed where it starts another.
    pub(super) fn read_one(&mut self) -> Result<Option<(u64, Hash)>, Error> {
        let before = self.reader.reached();
        let Some((sequence, payload)) = self.reader.read_payload()? else { return Ok(None) };
        let leaf = Hash::of_event(sequence, payload, &mut self.scratch);
        let now = self.reader.reached().segment;
        let (segment, first) = self.segment;
        if now != segment {
            if before.segment == segment && segment != 0 {
                self.spans.push(Span { segment, first, end: sequence, bytes: before.offset });
            }
            for empty in segment.max(1) + 1..now {
                let bytes = HEADER_LEN as u64;
                self.spans.push(Span { segment: empty, first: sequence, end: sequence, bytes });
            }
            self.segment = (now, sequence);
        }
        Ok(Some((sequence, leaf)))
    }

    /// Signs the tree as it is, where it grew. The leaves are on the disk first.
    pub(super) fn sign(&mut self) -> Result<(), Error> {
        self.leaves.sync()?;
        self.spans.sync()?;
        let tree = self.leaves.tree();
        if tree.size() == self.last.size() {
            return Ok(());
        }
        let next = SignedCheckpoint::sign(tree.size(), tree.root(), Some(&self.last), &self.key);
        self.checkpoints.append(next.note().as_bytes())?;
        // From here on it is the last, whatever the sync says: its bytes may be on the disk.
        self.last = Arc::new(next);
        self.checkpoints.sync()
    }
}
