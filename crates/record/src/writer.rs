//! The writer: one thread that appends what every session has recorded to its open segment.

use std::{
    mem,
    path::PathBuf,
    sync::{Arc, PoisonError},
};

use portcullis_core::{SessionId, Timestamp};

use crate::{
    Error,
    format::{FRAME_HEAD, Index, OpenHeader, frame_head},
    place,
    recorder::Session,
    recordings::{Queue, Shared},
    sealer::Job,
};

/// Buffers kept to be filled again, and the largest of them in bytes.
const SPARE: usize = 64;
const SPARE_BYTES: usize = 512 << 10;
/// Sessions are looked at for segments that are too old once in so many rounds.
const AGE_ROUNDS: u32 = 64;

/// The segment a session is at.
#[derive(Debug)]
pub(crate) struct Segment {
    number: u32,
    first_event: u64,
    index: Index,
    /// Where the next frame goes; 0 while there is no file.
    end: u64,
    raw: u64,
    created: Timestamp,
}

/// An empty buffer for events, with room for a frame's head.
pub(crate) fn new_frame() -> Vec<u8> {
    vec![0; FRAME_HEAD]
}

impl Segment {
    pub(crate) fn first() -> Self {
        Self {
            number: 1,
            first_event: 0,
            index: Index::default(),
            end: 0,
            raw: 0,
            created: Timestamp::default(),
        }
    }

    fn next(&self) -> Self {
        Self { number: self.number + 1, first_event: self.first_event + self.index.events, ..Self::first() }
    }

    fn path(&self, shared: &Shared, session: SessionId) -> PathBuf {
        place::open_segment(&shared.config.dir, session, self.number)
    }

    /// Appends a frame: room for its head and then events. Makes the file where there is none.
    pub(crate) fn write(
        &mut self,
        shared: &Shared,
        session: SessionId,
        frame: impl AsMut<[u8]>,
        index: &Index,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut frame = frame;
        let frame = frame.as_mut();
        let (head, events) = frame.split_at_mut_checked(FRAME_HEAD).ok_or(Error::Stopped)?;
        head.copy_from_slice(&frame_head(events));
        let raw = events.len() as u64;
        let path = self.path(shared, session);
        if self.end == 0 {
            self.create(shared, session, frame, now)?;
        } else {
            shared.storage.write_at(&path, frame, self.end).map_err(Error::io("write", &path))?;
            self.end += frame.len() as u64;
        }
        self.raw += raw;
        self.index.append(index);
        Ok(())
    }

    fn create(
        &mut self,
        shared: &Shared,
        session: SessionId,
        frame: &[u8],
        now: Timestamp,
    ) -> Result<(), Error> {
        let path = self.path(shared, session);
        let header = OpenHeader { session, number: self.number, first_event: self.first_event, created: now };
        let mut bytes = header.encode();
        bytes.extend_from_slice(frame);
        shared.storage.create(&path, &bytes).map_err(Error::io("make", &path))?;
        self.end = bytes.len() as u64;
        self.created = now;
        Ok(())
    }

    /// Hands the segment to the sealer and goes on with the next, which is there first: a session that has not ended always has
    /// an open segment, by which it is seen to be live, or cut short.
    fn hand_over(
        &mut self,
        shared: &Shared,
        session: &Arc<Session>,
        ended: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut next = self.next();
        if !ended {
            next.create(shared, session.id, &[], now)?;
        }
        shared.push_job(Job::Seal { session: Arc::clone(session), number: self.number });
        *self = next;
        Ok(())
    }
}

/// Runs until the recordings are stopped.
pub(crate) fn run(shared: &Arc<Shared>) {
    let _ended = Ended(shared);
    let mut writer = Writer { shared, spare: Vec::new(), warm: Vec::new(), rounds: 0 };
    loop {
        let round = writer.wait();
        writer.write(round.dirty);
        writer.rounds = writer.rounds.wrapping_add(1);
        if writer.rounds.is_multiple_of(AGE_ROUNDS) {
            writer.seal_old();
        }
        let mut queue = shared.queue();
        queue.flushes_done = queue.flushes_done.max(round.flushes);
        drop(queue);
        shared.written.notify_all();
        if round.stopping {
            return;
        }
        if shared.has_failed() {
            writer.probe();
        }
    }
}

struct Writer<'a> {
    shared: &'a Arc<Shared>,
    /// Buffers to be filled again.
    spare: Vec<Vec<u8>>,
    /// Sessions that had something last time: where they have nothing now, their buffers are taken back.
    warm: Vec<Arc<Session>>,
    rounds: u32,
}

struct Round {
    dirty: Vec<Arc<Session>>,
    flushes: u64,
    stopping: bool,
}

impl Writer<'_> {
    /// Waits for the next round: an interval, or less where somebody waits, or for ever where nobody is recorded.
    fn wait(&self) -> Round {
        let asked =
            |queue: &mut Queue| queue.stopping || queue.hurry || queue.flushes_wanted > queue.flushes_done;
        let failed = self.shared.has_failed();
        let interval = if failed { self.shared.config.probe_interval } else { self.shared.config.interval };
        let mut queue = self.shared.queue();
        if queue.live.is_empty() && queue.dirty.is_empty() && self.warm.is_empty() && !failed {
            let waited = self.shared.wake.wait_while(queue, |queue| {
                !asked(queue) && queue.live.is_empty() && queue.dirty.is_empty() && !self.shared.has_failed()
            });
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let waited = self.shared.wake.wait_timeout_while(queue, interval, |queue| !asked(queue));
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.hurry = false;
        Round { dirty: mem::take(&mut queue.dirty), flushes: queue.flushes_wanted, stopping: queue.stopping }
    }

    fn write(&mut self, dirty: Vec<Arc<Session>>) {
        let warm = mem::take(&mut self.warm);
        for session in &dirty {
            if let Err(error) = self.write_one(session) {
                self.shared.fail(&error);
                return;
            }
        }
        for session in warm {
            if let Some(buffer) = session.cool() {
                self.keep(buffer);
            }
        }
        self.warm = dirty;
    }

    fn write_one(&mut self, session: &Arc<Session>) -> Result<(), Error> {
        let spare = self.spare.pop().unwrap_or_default();
        let mut batch = match session.take(spare) {
            Ok(batch) => batch,
            Err(spare) => {
                self.keep(spare);
                return Ok(());
            }
        };
        let now = self.shared.clock.now();
        {
            let mut segment = session.segment.lock().unwrap_or_else(PoisonError::into_inner);
            segment.write(self.shared, session.id, &mut batch.frame, &batch.index, now)?;
            if batch.ended || segment.raw >= self.shared.config.segment_bytes {
                segment.hand_over(self.shared, session, batch.ended, now)?;
            }
        }
        if batch.ended {
            self.shared.queue().live.remove(&session.id);
        }
        session.written(self.shared, &batch);
        let mut frame = batch.frame;
        frame.clear();
        self.keep(frame);
        Ok(())
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 && buffer.capacity() <= SPARE_BYTES && self.spare.len() < SPARE {
            self.spare.push(buffer);
        }
    }

    /// Hands over segments that have been open for too long, of sessions that say little.
    fn seal_old(&self) {
        let now = self.shared.clock.now();
        let live: Vec<Arc<Session>> = self.shared.queue().live.values().cloned().collect();
        for session in live {
            let mut segment = session.segment.lock().unwrap_or_else(PoisonError::into_inner);
            let is_old = now.since(segment.created) >= self.shared.config.segment_age;
            if is_old
                && segment.index.events > 0
                && let Err(error) = segment.hand_over(self.shared, &session, false, now)
            {
                drop(segment);
                self.shared.fail(&error);
                return;
            }
        }
    }

    fn probe(&self) {
        match self.shared.storage.probe(&place::open_folder(&self.shared.config.dir)) {
            Ok(()) => self.shared.revive(),
            Err(error) => tracing::debug!(%error, "sessions still cannot be recorded"),
        }
    }
}

/// Says that the thread is gone, however it went: sessions end, and who waits is told.
struct Ended<'a>(&'a Arc<Shared>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.queue().stopping = true;
        if std::thread::panicking() || !self.0.queue().live.is_empty() {
            self.0.fail(&Error::Stopped);
        }
        self.0.written.notify_all();
        self.0.push_job(Job::Stop);
    }
}
