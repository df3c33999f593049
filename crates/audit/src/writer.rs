//! The journal's critical section: what happens under its lock, and its two states, taking events and failed.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use portcullis_core::Timestamp;

use crate::{
    Batch, Error, JournalConfig, JournalSession, Position,
    batch::KEEP_BYTES,
    format::{self, HEADER_LEN, SegmentHeader},
    journal::Shared,
    reader::segment_path,
    storage::{self, SegmentFile, Storage},
};

pub(crate) struct Inner {
    pub(crate) segment: Arc<Segment>,
    /// Where the next frame goes. INVARIANT(acknowledged-prefix): everything before it is whole and acknowledged.
    pub(crate) end: Position,
    /// Events were written since the last sync.
    pub(crate) dirty: bool,
    /// Somebody waits for a sync.
    pub(crate) wanted: bool,
    pub(crate) stopping: bool,
    pub(crate) failure: Option<Failure>,
    created: Timestamp,
    scratch: Vec<u8>,
}

/// Why no events are taken, and what must be mended first.
pub(crate) struct Failure {
    pub(crate) since: Timestamp,
    pub(crate) cause: String,
    /// Bytes of an unacknowledged write may stand after `end`.
    tail: Tail,
    /// Whether the open segment may be written on.
    segment: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Clean,
    Dirty,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Abandoned,
}

/// One open segment file.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    file: Arc<dyn SegmentFile>,
    /// Set by the first sync that fails, held during every sync. The kernel reports a lost write to one caller only and
    /// calls the page clean: a later success says nothing about it.
    lost: Mutex<bool>,
}

impl Segment {
    pub(crate) fn new(number: u64, path: PathBuf, file: Arc<dyn SegmentFile>) -> Self {
        Self { number, path, file, lost: Mutex::default() }
    }

    /// Forces the segment to the disk. Once it has failed it always fails.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if *lost {
            return Err(std::io::Error::other("an earlier sync of this segment failed"));
        }
        self.file.sync().inspect_err(|_| *lost = true)
    }
}

impl Inner {
    pub(crate) fn new(segment: Segment, end: Position, created: Timestamp) -> Self {
        Self {
            segment: Arc::new(segment),
            end,
            dirty: false,
            wanted: false,
            stopping: false,
            failure: None,
            created,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn append(
        &mut self,
        shared: &Shared,
        session: Option<&JournalSession>,
        mut facts: Vec<u8>,
        batch: &Batch,
    ) -> Result<Position, Error> {
        self.refuse_if_failed()?;
        if batch.is_empty() {
            return Ok(self.end);
        }
        if self.segment_is_full(shared, batch.frames().len()) {
            self.rotate(shared)?;
        }
        self.scratch.clear();
        let needing = session.filter(|session| session.needs_facts_in(self.segment.number));
        if let Some(session) = needing {
            if facts.is_empty() {
                session.push_facts(&mut facts)?;
            }
            self.scratch.extend_from_slice(&facts);
        }
        self.scratch.extend_from_slice(batch.frames());
        let next = format::seal_frames(&mut self.scratch, self.end.sequence);
        if let Err(error) = storage::write_all_at(&*self.segment.file, &self.scratch, self.end.offset) {
            let tail = self.cut_tail();
            return Err(self.fail(shared, tail, Fate::Kept, &Error::io("write", &self.segment.path)(error)));
        }
        self.end.offset += self.scratch.len() as u64;
        self.end.sequence = next;
        if let Some(session) = needing {
            session.facts_written_in(self.segment.number);
        }
        self.scratch.shrink_to(64 * KEEP_BYTES);
        if !self.dirty {
            self.dirty = true;
            shared.wake.notify_one();
        }
        Ok(self.end)
    }

    fn refuse_if_failed(&self) -> Result<(), Error> {
        match &self.failure {
            Some(failure) => Err(Error::Failed { cause: failure.cause.clone() }),
            None => Ok(()),
        }
    }

    fn segment_is_full(&self, shared: &Shared, more: usize) -> bool {
        self.end.offset > HEADER_LEN as u64
            && (self.end.offset + more as u64 > shared.config.segment_bytes
                || shared.clock.now().since(self.created) > shared.config.segment_age)
    }

    /// Closes the segment and opens the next. The old one is on the disk first: only the last segment may have a torn end.
    fn rotate(&mut self, shared: &Shared) -> Result<(), Error> {
        match self.segment.sync() {
            Ok(()) => shared.progress.send_modify(|progress| progress.advance(self.end)),
            Err(error) => self.report_lost(shared, &error),
        }
        self.dirty = false;
        self.open_next(shared)
    }

    /// The disk did not take what was written since the last sync: it is not tried again, and the segment takes no more.
    fn report_lost(&self, shared: &Shared, error: &std::io::Error) {
        tracing::error!(
            file = %self.segment.path.display(), %error,
            "the disk did not confirm audit events; the segment is closed and the events since the last sync may be lost"
        );
        shared.progress.send_modify(|progress| progress.lose(self.end));
    }

    fn open_next(&mut self, shared: &Shared) -> Result<(), Error> {
        let header = SegmentHeader {
            number: self.segment.number + 1,
            previous: self.segment.number,
            first_sequence: self.end.sequence,
            created: shared.clock.now(),
        };
        match create_segment(&shared.config, &*shared.storage, &header) {
            Ok((segment, end)) => {
                shared.current.store(segment.number, Ordering::Relaxed);
                self.segment = Arc::new(segment);
                self.end = end;
                self.created = header.created;
                Ok(())
            }
            // The next segment may exist with its header from here on: nothing more may go into this one.
            Err(error) => Err(self.fail(shared, Tail::Clean, Fate::Abandoned, &error)),
        }
    }

    /// Takes bytes of a failed write off the end again.
    fn cut_tail(&self) -> Tail {
        match self.segment.file.truncate(self.end.offset) {
            Ok(()) => Tail::Clean,
            Err(_) => Tail::Dirty,
        }
    }

    /// Stops taking events because of `error`, which is returned.
    fn fail(&mut self, shared: &Shared, tail: Tail, segment: Fate, error: &Error) -> Error {
        let cause = error.to_string();
        if self.failure.is_none() {
            tracing::error!(error = %cause, "the journal cannot write and takes no events; sessions end");
        }
        let since = self.failure.as_ref().map_or_else(|| shared.clock.now(), |failure| failure.since);
        self.failure = Some(Failure { since, cause: cause.clone(), tail, segment });
        shared.wake.notify_one();
        Error::Failed { cause }
    }

    /// The outcome of a sync of `segment` up to `end`, which ran without the lock.
    pub(crate) fn synced(
        &mut self,
        shared: &Shared,
        segment: &Segment,
        end: Position,
        outcome: std::io::Result<()>,
    ) {
        let Err(error) = outcome else {
            shared.progress.send_modify(|progress| progress.advance(end));
            return;
        };
        // Where the segment was closed meanwhile, closing it has met the same failure or synced everything.
        if self.segment.number != segment.number {
            return;
        }
        self.report_lost(shared, &error);
        self.dirty = false;
        match &mut self.failure {
            Some(failure) => failure.segment = Fate::Abandoned,
            None => {
                let _failure_is_kept_and_logged = self.open_next(shared);
            }
        }
    }

    /// A probe has shown that writing works: mends what the failure left and takes events again.
    pub(crate) fn revive(&mut self, shared: &Shared) {
        let Some(failure) = &self.failure else { return };
        let fate = failure.segment;
        if failure.tail == Tail::Dirty && self.cut_tail() == Tail::Dirty {
            return;
        }
        if let Some(failure) = &mut self.failure {
            failure.tail = Tail::Clean;
        }
        if fate == Fate::Abandoned && self.open_next(shared).is_err() {
            return;
        }
        self.failure = None;
        tracing::info!("the journal takes events again");
    }

    /// The journal's thread is gone: nothing would be synced or revived.
    pub(crate) fn thread_ended(&mut self, shared: &Shared) {
        let _sticks = self.fail(shared, Tail::Dirty, Fate::Abandoned, &Error::Stopped);
    }
}

/// Makes the segment of `header`, on the disk when it returns; where its first frame goes.
pub(crate) fn create_segment(
    config: &JournalConfig,
    storage: &dyn Storage,
    header: &SegmentHeader,
) -> Result<(Segment, Position), Error> {
    let path = segment_path(&config.dir, header.number);
    let file = storage.create(&path).map_err(Error::io("make", &path))?;
    storage::write_all_at(&*file, &header.encode(), 0).map_err(Error::io("write", &path))?;
    file.sync().map_err(Error::io("sync", &path))?;
    let end = Position { sequence: header.first_sequence, segment: header.number, offset: HEADER_LEN as u64 };
    Ok((Segment::new(header.number, path, file), end))
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    /// Fails its first sync, as a kernel that reports a lost write once.
    #[derive(Default)]
    struct ForgetfulDisk(AtomicBool);

    impl SegmentFile for ForgetfulDisk {
        fn write_at(&self, bytes: &[u8], _: u64) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn truncate(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            match self.0.swap(true, Ordering::Relaxed) {
                true => Ok(()),
                false => Err(io::Error::from_raw_os_error(5)),
            }
        }
    }

    #[test]
    fn a_segment_whose_sync_failed_once_is_never_called_synced() {
        let segment = Segment::new(1, PathBuf::new(), Arc::new(ForgetfulDisk::default()));
        assert!(segment.sync().is_err());
        assert!(segment.sync().is_err());
    }
}
