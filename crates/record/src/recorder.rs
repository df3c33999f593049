//! [`Recorder`]: one session's way to its recording. An event is encoded into a buffer of the session's own; the writer takes
//! the buffer every now and then. No system call, no wake-up and, once the buffer has grown, no allocation per event.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
    task::{Context, Poll},
};

use atomic_waker::AtomicWaker;
use portcullis_core::{EndReason, SessionId, Timestamp};

use crate::{
    Event, NotRecording, RowLimits, codec,
    format::{FRAME_HEAD, Index},
    recordings::Shared,
    writer::Segment,
};

/// A buffer with more than this is written at once, in bytes.
const HURRY: usize = 256 << 10;
/// Buffers count against the bound of all sessions in steps of this many bytes.
const STEP: usize = 64 << 10;

/// Records one session. Dropping it ends the recording.
pub struct Recorder {
    shared: Arc<Shared>,
    session: Arc<Session>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("session", &self.session.id).finish_non_exhaustive()
    }
}

type OnFailure = Box<dyn Fn(NotRecording) + Send + Sync>;

/// One recorded session, shared by its recorder and the writer.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// The writer's alone.
    pub(crate) segment: Mutex<Segment>,
    /// The sealer's alone: the last segment it sealed and its hash.
    pub(crate) chain: Mutex<Option<(u32, [u8; 32])>>,
    pending: Mutex<Pending>,
    waker: AtomicWaker,
    on_failure: OnceLock<OnFailure>,
}

#[derive(Default)]
struct Pending {
    /// Empty, or room for a frame's head and then whole events.
    buffer: Vec<u8>,
    index: Index,
    /// Bytes that the writer has taken and not written yet.
    in_flight: usize,
    /// Bytes counted against the bound of all sessions.
    counted: usize,
    /// The writer knows that the buffer has something.
    queued: bool,
    ended: bool,
    failed: Option<Arc<str>>,
}

/// What the writer took.
pub(crate) struct Batch {
    pub(crate) frame: Vec<u8>,
    pub(crate) index: Index,
    pub(crate) ended: bool,
    counted: usize,
}

impl Recorder {
    pub(crate) fn new(shared: Arc<Shared>, session: Arc<Session>) -> Self {
        Self { shared, session }
    }

    /// Records an event that happened at `at`.
    ///
    /// # Errors
    /// The session is not recorded any more: it must end.
    pub fn event(&mut self, at: Timestamp, event: &Event<'_>) -> Result<(), NotRecording> {
        let statement = match event {
            Event::Statement { number, .. } => Some(*number),
            _ => None,
        };
        self.push(at, statement, false, |buffer| codec::encode(buffer, at, event))
    }

    fn push(
        &self,
        at: Timestamp,
        statement: Option<u64>,
        is_end: bool,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NotRecording> {
        let mut pending = self.session.pending();
        if let Some(cause) = &pending.failed {
            return Err(NotRecording(cause.to_string()));
        }
        if pending.ended != is_end {
            return Err(NotRecording("its recording has ended".to_owned()));
        }
        if pending.buffer.is_empty() {
            pending.buffer.extend_from_slice(&[0; FRAME_HEAD]);
        }
        let before = pending.buffer.len();
        encode(&mut pending.buffer);
        pending.index.add(at, statement);
        let length = pending.buffer.len();
        if length >= pending.counted + STEP {
            self.shared.waiting.fetch_add(length - pending.counted, Ordering::Relaxed);
            pending.counted = length;
        }
        let first = !mem::replace(&mut pending.queued, true);
        drop(pending);
        let hurry = before < HURRY && length >= HURRY;
        if first || hurry {
            let mut queue = self.shared.queue();
            if first {
                queue.dirty.push(Arc::clone(&self.session));
            }
            if hurry {
                queue.hurry = true;
                self.shared.wake.notify_one();
            }
        }
        Ok(())
    }

    /// Ready while the session may go on recording; pending, and woken, while too much waits to be written. Nothing is lost
    /// by recording on meanwhile, but memory.
    ///
    /// # Errors
    /// The session is not recorded any more: it must end.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NotRecording>> {
        if let Some(ready) = self.session.ready(&self.shared) {
            return Poll::Ready(ready);
        }
        self.session.waker.register(cx.waker());
        // Written between the look and the registration: the wake-up went nowhere, so look again.
        if let Some(ready) = self.session.ready(&self.shared) {
            return Poll::Ready(ready);
        }
        self.shared.queue().hurry = true;
        self.shared.wake.notify_one();
        Poll::Pending
    }

    /// Why the session is not recorded any more.
    pub fn failure(&self) -> Option<NotRecording> {
        self.session.pending().failed.as_ref().map(|cause| NotRecording(cause.to_string()))
    }

    /// Called once when recording fails, from a thread of ours; at once where it has failed already. The first caller counts.
    pub fn on_failure(&self, tell: impl Fn(NotRecording) + Send + Sync + 'static) {
        let _first_counts = self.session.on_failure.set(Box::new(tell));
        if let (Some(failure), Some(tell)) = (self.failure(), self.session.on_failure.get()) {
            tell(failure);
        }
    }

    /// How much of one statement's result is to be recorded.
    pub fn limits(&self) -> RowLimits {
        RowLimits { rows: self.shared.config.rows, bytes: self.shared.config.bytes }
    }

    /// Ends the recording, once; it is sealed soon after.
    pub fn finish(&mut self, reason: &EndReason) {
        if mem::replace(&mut self.session.pending().ended, true) {
            return;
        }
        let now = self.shared.clock.now();
        let _a_failed_recording_has_no_end =
            self.push(now, None, true, |buffer| codec::encode_ended(buffer, now, reason));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish(&EndReason::Internal { detail: "the session task stopped".to_owned() });
    }
}

impl Session {
    pub(crate) fn new(id: SessionId, segment: Segment) -> Self {
        Self {
            id,
            segment: Mutex::new(segment),
            chain: Mutex::default(),
            pending: Mutex::default(),
            waker: AtomicWaker::new(),
            on_failure: OnceLock::new(),
        }
    }

    /// The buffer holds whole events after every statement that changes it, but for a panic in an encoder, after which the
    /// session ends anyway.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self, shared: &Shared) -> Option<Result<(), NotRecording>> {
        let pending = self.pending();
        if let Some(cause) = &pending.failed {
            return Some(Err(NotRecording(cause.to_string())));
        }
        let mine = pending.buffer.len() + pending.in_flight;
        let all = shared.waiting.load(Ordering::Relaxed);
        let fits = mine < shared.config.waiting && (mine < STEP || all < shared.config.waiting_in_all);
        fits.then_some(Ok(()))
    }

    /// Takes what waits, leaving `spare` to be filled; `None` where nothing does, with `spare` given back.
    pub(crate) fn take(&self, spare: Vec<u8>) -> Result<Batch, Vec<u8>> {
        let mut pending = self.pending();
        pending.queued = false;
        if pending.buffer.is_empty() {
            return Err(spare);
        }
        let frame = mem::replace(&mut pending.buffer, spare);
        pending.in_flight = frame.len();
        Ok(Batch {
            frame,
            index: mem::take(&mut pending.index),
            ended: pending.ended,
            counted: mem::take(&mut pending.counted),
        })
    }

    /// What was taken is written.
    pub(crate) fn written(&self, shared: &Shared, batch: &Batch) {
        shared.give_back(batch.counted);
        self.pending().in_flight = 0;
        self.waker.wake();
    }

    /// Takes back the buffer of a session that has become idle.
    pub(crate) fn cool(&self) -> Option<Vec<u8>> {
        let mut pending = self.pending();
        let idle = pending.buffer.is_empty() && pending.buffer.capacity() > 0;
        idle.then(|| mem::take(&mut pending.buffer))
    }

    /// Ends the recording where it stands.
    pub(crate) fn fail(&self, shared: &Shared, cause: &Arc<str>) {
        {
            let mut pending = self.pending();
            pending.failed.get_or_insert_with(|| Arc::clone(cause));
            pending.buffer = Vec::new();
            shared.give_back(mem::take(&mut pending.counted));
        }
        self.waker.wake();
        if let Some(tell) = self.on_failure.get() {
            tell(NotRecording(cause.to_string()));
        }
    }
}
