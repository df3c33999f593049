//! The journal as its holders see it: opening, appending, waiting, reading.

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
    format::SegmentHeader,
    reader::{Source, segment_path},
    recover,
    storage::{self, Disk, Storage},
    sync::{self, Progress},
    writer::{Inner, Segment, create_segment},
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
    pub(crate) clock: Arc<dyn Clock>,
    /// The open segment's number, so that facts are encoded before the lock is taken. A hint: decided again inside.
    pub(crate) current: AtomicU64,
    inner: Mutex<Inner>,
}

impl Journal {
    /// Opens the journal in `config.dir`, checks it, cuts a torn end, and starts its thread. Blocks: reads every segment that
    /// the proof does not know as closed; of the others header and length.
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
                (Segment::new(header.number, path, file), recovery.end, header.created)
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
            inner: Mutex::new(Inner::new(segment, end, created)),
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
        match self.shared.config.sync {
            Sync::Fast => Ok(()),
            Sync::Strict => self.synced(position).await,
        }
    }

    /// Waits until everything before `position` is on the disk, in `fast` too. Cancel safe.
    pub async fn synced(&self, position: Position) -> Result<(), Error> {
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

fn take_lock(path: PathBuf) -> Result<std::fs::File, Error> {
    let file = storage::private_file(&path).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Locked { path }),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}
