//! Events on their way to the journal, encoded before its lock is taken.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use portcullis_core::{AuditEvent, SessionFacts, decision::DecisionEvent};

use crate::{Error, Repeated, format, repeated::Times};

/// What a reused buffer keeps at most, so that one large statement does not stay in memory for a session's life.
pub(crate) const KEEP_BYTES: usize = 16 * 1024;

/// Empty buffers kept per thread for the next batch: one is in use at a time, but for batches that are not cleared.
const SPARE: usize = 4;

thread_local! {
    /// An idle session keeps no buffer; a busy one finds one here.
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Encoded events that reach the journal together, in one write. Reusable: after the first few events of a thread nothing is
/// allocated. An empty one holds no memory.
#[derive(Debug)]
pub struct Batch {
    frames: Vec<u8>,
    events: u64,
    times: Times,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch.
    pub const fn new() -> Self {
        Self { frames: Vec::new(), events: 0, times: Times::new() }
    }

    /// Encodes an event. On failure the batch is as before.
    pub fn push(&mut self, event: &AuditEvent) -> Result<(), Error> {
        format::push_open_frame(self.buffer(), |out| serde_json::to_writer(out, event))?;
        self.events += 1;
        Ok(())
    }

    /// Encodes a decision that need not be an [`AuditEvent`] for it. On failure the batch is as before.
    pub fn push_decision(&mut self, event: &DecisionEvent) -> Result<(), Error> {
        self.push_repeated(&Repeated::of(event)?, event)
    }

    /// Encodes a decision of which `repeated` has all but its time, number, text and binds. On failure the batch is as before.
    pub fn push_repeated(&mut self, repeated: &Repeated, event: &DecisionEvent) -> Result<(), Error> {
        self.buffer();
        let times = &mut self.times;
        format::push_open_frame(&mut self.frames, |out| repeated.write(event, times, out))?;
        self.events += 1;
        Ok(())
    }

    /// Empties it; a small buffer goes back to the thread.
    pub fn clear(&mut self) {
        self.events = 0;
        let mut frames = std::mem::take(&mut self.frames);
        if frames.capacity() <= KEEP_BYTES {
            frames.clear();
            BUFFERS.with_borrow_mut(|spare| {
                if spare.len() < SPARE {
                    spare.push(frames);
                }
            });
        }
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        if self.frames.capacity() == 0 {
            self.frames = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        &mut self.frames
    }

    /// How many events it holds.
    pub const fn len(&self) -> u64 {
        self.events
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.events == 0
    }

    pub(crate) fn frames(&self) -> &[u8] {
        &self.frames
    }
}

/// One session as the journal sees it: its facts, and the segment they were last written to. The journal writes them
/// again before the session's first event in each later segment, so that every segment can be read on its own.
#[derive(Debug)]
pub struct JournalSession {
    facts: Arc<SessionFacts>,
    written_in: AtomicU64,
}

impl JournalSession {
    /// A session whose facts no segment holds yet.
    pub const fn new(facts: Arc<SessionFacts>) -> Self {
        Self { facts, written_in: AtomicU64::new(0) }
    }

    /// The facts.
    pub const fn facts(&self) -> &Arc<SessionFacts> {
        &self.facts
    }

    pub(crate) fn needs_facts_in(&self, segment: u64) -> bool {
        self.written_in.load(Ordering::Relaxed) != segment
    }

    /// Called inside the journal's critical section only, which orders the accesses.
    pub(crate) fn facts_written_in(&self, segment: u64) {
        self.written_in.store(segment, Ordering::Relaxed);
    }

    pub(crate) fn push_facts(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let event = AuditEvent::Session(self.facts.clone());
        format::push_open_frame(out, |out| serde_json::to_writer(out, &event))
    }
}
