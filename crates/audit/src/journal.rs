//! The journal's critical section and its two states: taking events, and failed.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use portcullis_core::{Clock, Timestamp};
use tokio::sync::watch;

use crate::{
    Batch, Error, JournalSession, Position, Reader, Recovery,
    batch::KEEP_BYTES,
    format::{self, HEADER_LEN, SegmentHeader},
    reader::{Source, segment_path},
    recover,
    storage::{self, Disk, SegmentFile, Storage},
    sync::{self, Progress},
};

/// When an acknowledged event is on the disk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Within [`JournalConfig::group_interval`]: survives the death of the process at once, of the machine a moment later.
    Fast,
    /// When [`Journal::settled`] returns.
    Strict,
}

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The folder, made if need be.
    pub dir: PathBuf,
    /// When events are on the disk.
    pub sync: Sync,
    /// A segment that would grow past this is closed first. A batch is never split.
    pub segment_bytes: u64,
    /// A segment older than this is closed at the next append.
    pub segment_age: Duration,
    /// How long written events wait for a sync in common.
    pub group_interval: Duration,
    /// How often a failed journal looks whether writing works again.
    pub probe_interval: Duration,
}

impl JournalConfig {
    /// The usual settings: 64 MiB or a day per segment, a sync every 50 ms, a probe every second.
    pub fn new(dir: impl Into<PathBuf>, sync: Sync) -> Self {
        Self {
            dir: dir.into(),
            sync,
            segment_bytes: 64 * 1024 * 1024,
            segment_age: Duration::from_secs(24 * 60 * 60),
            group_interval: Duration::from_millis(50),
            probe_interval: Duration::from_secs(1),
        }
    }
}

/// Whether events are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// They are.
    Good,
    /// They are not: every session must end.
    Failed {
        /// Since when.
        since: Timestamp,
        /// What failed first.
        cause: String,
    },
}

/// The append-only record of every audit event. One process has it open at a time.
pub struct Journal {
    shared: Arc<Shared>,
    recovery: Recovery,
    thread: Option<JoinHandle<()>>,
    _lock: std::fs::File,
}

/// What the callers, the readers and the journal's thread share.
pub(crate) struct Shared {
    pub(crate) config: JournalConfig,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) wake: Condvar,
    pub(crate) progress: watch::Sender<Progress>,
    clock: Arc<dyn Clock>,
    /// The open segment's number, so that facts are encoded before the lock is taken. A hint: decided again inside.
    current: AtomicU64,
    inner: Mutex<Inner>,
}

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
    since: Timestamp,
    cause: String,
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
    /// Forces the segment to the disk. Once it has failed it always fails.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if *lost {
            return Err(std::io::Error::other("an earlier sync of this segment failed"));
        }
        self.file.sync().inspect_err(|_| *lost = true)
    }
}

impl Journal {
    /// Opens the journal in `config.dir`, checks all of it, cuts a torn end, and starts its thread. Blocks: reads every
    /// segment once.
    pub fn open(config: JournalConfig, clock: Arc<dyn Clock>) -> Result<(Arc<Self>, Recovery), Error> {
        Self::open_on(config, clock, Arc::new(Disk))
    }

    /// [`Journal::open`] on storage of the caller's; tests make it fail.
    pub fn open_on(
        config: JournalConfig,
        clock: Arc<dyn Clock>,
        storage: Arc<dyn Storage>,
    ) -> Result<(Arc<Self>, Recovery), Error> {
        storage::private_folder(&config.dir).map_err(Error::io("make", &config.dir))?;
        let lock = take_lock(config.dir.join("lock"))?;
        let recover::Existing { mut recovery, last } = recover::recover(&config.dir, &*storage)?;
        let (segment, end, created) = match last {
            Some(header) => {
                let path = segment_path(&config.dir, header.number);
                let file = storage.open(&path).map_err(Error::io("open", &path))?;
                (
                    Segment { number: header.number, path, file, lost: Mutex::default() },
                    recovery.end,
                    header.created,
                )
            }
            None => {
                let number = recovery.end.segment.max(1);
                let header = SegmentHeader {
                    number,
                    previous: number - 1,
                    first_sequence: recovery.end.sequence,
                    created: clock.now(),
                };
                let (segment, end) = create_segment(&config, &*storage, &header)?;
                (segment, end, header.created)
            }
        };
        segment.sync().map_err(Error::io("sync", &segment.path))?;
        recovery.end = end;
        let shared = Arc::new(Shared {
            progress: watch::Sender::new(Progress::starting_at(end)),
            wake: Condvar::new(),
            current: AtomicU64::new(segment.number),
            inner: Mutex::new(Inner {
                segment: Arc::new(segment),
                end,
                dirty: false,
                wanted: false,
                stopping: false,
                failure: None,
                created,
                scratch: Vec::new(),
            }),
            config,
            storage,
            clock,
        });
        let thread = std::thread::Builder::new()
            .name("journal-sync".to_owned())
            .spawn({
                let shared = shared.clone();
                move || sync::run(&shared)
            })
            .map_err(Error::io("start a thread for", &shared.config.dir))?;
        let journal = Self { shared, recovery: recovery.clone(), thread: Some(thread), _lock: lock };
        Ok((Arc::new(journal), recovery))
    }

    /// Writes a batch in one `pwrite(2)`, before it the session's facts if this segment lacks them. When it returns, the
    /// events outlive the process. The position is the one after the batch. An error means that nothing of the batch counts
    /// as recorded and that its effect must not be released.
    pub fn append(&self, session: Option<&JournalSession>, batch: &Batch) -> Result<Position, Error> {
        let current = self.shared.current.load(Ordering::Relaxed);
        let mut facts = Vec::new();
        if let Some(session) = session.filter(|session| session.needs_facts_in(current)) {
            session.push_facts(&mut facts)?;
        }
        self.shared.lock()?.append(&self.shared, session, facts, batch)
    }

    /// Waits until everything before `position` is on the disk (`strict`); returns at once in `fast`. Callers that wait at
    /// the same time share one sync. Cancel safe.
    pub async fn settled(&self, position: Position) -> Result<(), Error> {
        if self.shared.config.sync == Sync::Fast {
            return Ok(());
        }
        let mut progress = self.shared.progress.subscribe();
        if let Some(outcome) = progress.borrow().outcome(position) {
            return outcome;
        }
        {
            let mut inner = self.shared.lock()?;
            inner.wanted = true;
            self.shared.wake.notify_one();
        }
        match progress.wait_for(|progress| progress.outcome(position).is_some()).await {
            Ok(progress) => progress.outcome(position).unwrap_or(Err(Error::Stopped)),
            Err(_) => Err(Error::Stopped),
        }
    }

    /// Waits until more than `position` is on the disk and can be read by [`Journal::durable_reader`]. Cancel safe.
    pub async fn grown(&self, position: Position) -> Result<(), Error> {
        let mut progress = self.shared.progress.subscribe();
        let grown = progress
            .wait_for(|progress| progress.durable().sequence > position.sequence || progress.has_stopped())
            .await;
        match grown {
            Ok(progress) if progress.durable().sequence > position.sequence => Ok(()),
            _ => Err(Error::Stopped),
        }
    }

    /// Whether [`Journal::settled`] waits for the disk.
    pub fn is_strict(&self) -> bool {
        self.shared.config.sync == Sync::Strict
    }

    /// Whether events are taken.
    pub fn health(&self) -> Health {
        match self.shared.lock() {
            Ok(inner) => inner.failure.as_ref().map_or(Health::Good, |failure| Health::Failed {
                since: failure.since,
                cause: failure.cause.clone(),
            }),
            Err(error) => Health::Failed { since: self.shared.clock.now(), cause: error.to_string() },
        }
    }

    /// What opening found.
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The folder.
    pub fn dir(&self) -> &std::path::Path {
        &self.shared.config.dir
    }

    /// The place after the last acknowledged event.
    pub fn end(&self) -> Result<Position, Error> {
        self.shared.written()
    }

    /// Reads from a position on, up to the last acknowledged event.
    pub fn reader(&self, from: Position) -> Reader {
        Reader::new(self.shared.config.dir.clone(), from, Source::Written(self.shared.clone()))
    }

    /// Reads from a position on, up to what is on the disk: what a reader that keeps its own position needs, for a power
    /// failure never takes back what it has seen.
    pub fn durable_reader(&self, from: Position) -> Reader {
        Reader::new(self.shared.config.dir.clone(), from, Source::Durable(self.shared.clone()))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _panicked_thread_has_reported = thread.join();
        }
    }
}

impl Shared {
    /// A holder that panicked may have left the end wrong: nothing is taken any more.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, Inner>, Error> {
        self.inner.lock().map_err(|_| Error::Stopped)
    }

    pub(crate) fn written(&self) -> Result<Position, Error> {
        Ok(self.lock()?.end)
    }

    pub(crate) fn durable(&self) -> Position {
        self.progress.borrow().durable()
    }
}

impl Inner {
    fn append(
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

fn create_segment(
    config: &JournalConfig,
    storage: &dyn Storage,
    header: &SegmentHeader,
) -> Result<(Segment, Position), Error> {
    let path = segment_path(&config.dir, header.number);
    let file = storage.create(&path).map_err(Error::io("make", &path))?;
    storage::write_all_at(&*file, &header.encode(), 0).map_err(Error::io("write", &path))?;
    file.sync().map_err(Error::io("sync", &path))?;
    let end = Position { sequence: header.first_sequence, segment: header.number, offset: HEADER_LEN as u64 };
    Ok((Segment { number: header.number, path, file, lost: Mutex::default() }, end))
}

fn take_lock(path: PathBuf) -> Result<std::fs::File, Error> {
    let file = storage::private_file(&path).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Locked { path }),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}
