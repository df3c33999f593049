//! [`Recordings`]: the service that begins recordings and keeps their files.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use portcullis_core::{Clock, SessionFacts, SessionId, Timestamp};

use crate::{
    Error, Recorder,
    format::Index,
    place,
    recorder::Session,
    sealer::{self, Job, Jobs},
    storage::{Disk, Storage},
    writer::{self, Segment},
};

/// How recordings are kept.
#[derive(Clone, Debug)]
pub struct RecordingsConfig {
    /// The folder, made if need be.
    pub dir: PathBuf,
    /// How many rows of one statement's result are kept.
    pub rows: u64,
    /// How many bytes of one statement's rows or COPY data are kept.
    pub bytes: u64,
    /// A segment with more than this is sealed.
    pub segment_bytes: u64,
    /// A segment older than this is sealed.
    pub segment_age: Duration,
    /// How long events wait to be written in common.
    pub interval: Duration,
    /// How often it is looked whether a failed disk works again.
    pub probe_interval: Duration,
    /// How many bytes of one session may wait to be written before it must.
    pub waiting: usize,
    /// How many bytes of all sessions may, before those with much must.
    pub waiting_in_all: usize,
}

impl RecordingsConfig {
    /// The usual settings: 1,000 rows and 1 MiB of each result, segments of 4 MiB or ten minutes, a write every 50 ms.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            rows: 1_000,
            bytes: 1 << 20,
            segment_bytes: 4 << 20,
            segment_age: Duration::from_secs(600),
            interval: Duration::from_millis(50),
            probe_interval: Duration::from_secs(1),
            waiting: 1 << 20,
            waiting_in_all: 64 << 20,
        }
    }
}

/// How much of one statement's result is kept. The rest is counted: see [`crate::Event::Cut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLimits {
    /// Rows.
    pub rows: u64,
    /// Bytes of rows.
    pub bytes: u64,
}

/// Whether sessions can be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// They can.
    Good,
    /// They cannot: every recorded session ends, and none begins.
    Failed {
        /// Since when.
        since: Timestamp,
        /// What failed first.
        cause: String,
    },
}

/// A sealed segment, as the journal is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// When it was sealed.
    pub at: Timestamp,
    /// The session.
    pub session: SessionId,
    /// Counts the session's segments from 1.
    pub number: u32,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// SHA-256 of the segment before; zeros for the first.
    pub previous: [u8; 32],
    /// Length of the file.
    pub bytes: u64,
    /// The number of its first event.
    pub first_event: u64,
    /// What it holds.
    pub index: Index,
    /// Whether the session ended in it.
    pub last: bool,
    /// Whether the gateway died while it was open.
    pub torn: bool,
}

/// Puts a sealed segment into the journal. Called again for the same segment where it failed, and where it is not known
/// after a crash whether it had been called.
pub type Announce = Arc<dyn Fn(&Sealed) -> Result<(), String> + Send + Sync>;

/// A recording that is past its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// The session.
    pub session: SessionId,
    /// When its last event happened.
    pub ended_at: Timestamp,
    /// How many segments it had.
    pub segments: u64,
    /// Their length.
    pub bytes: u64,
}

/// The recordings of one gateway. Dropping it writes and seals what is there.
pub struct Recordings {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recordings").field("dir", &self.shared.config.dir).finish_non_exhaustive()
    }
}

/// What recorders and the two threads share.
pub(crate) struct Shared {
    pub(crate) config: RecordingsConfig,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) announce: Announce,
    /// Bytes that wait in buffers, in steps.
    pub(crate) waiting: AtomicUsize,
    pub(crate) queue: Mutex<Queue>,
    /// Wakes the writer.
    pub(crate) wake: Condvar,
    /// Tells who waits for the writer.
    pub(crate) written: Condvar,
    pub(crate) jobs: Mutex<Jobs>,
    /// Wakes the sealer, and tells who waits for it.
    pub(crate) jobs_changed: Condvar,
    failure: Mutex<Option<Failure>>,
}

#[derive(Default)]
pub(crate) struct Queue {
    /// Sessions whose buffers have something.
    pub(crate) dirty: Vec<Arc<Session>>,
    pub(crate) live: HashMap<SessionId, Arc<Session>>,
    /// A buffer is past its bound: write now.
    pub(crate) hurry: bool,
    pub(crate) flushes_wanted: u64,
    pub(crate) flushes_done: u64,
    pub(crate) stopping: bool,
}

#[derive(Clone)]
struct Failure {
    since: Timestamp,
    cause: Arc<str>,
}

impl Recordings {
    /// Opens the folder, seals what a gateway that died left open, and starts the threads. Blocks.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open(
        config: RecordingsConfig,
        clock: Arc<dyn Clock>,
        announce: Announce,
    ) -> Result<Arc<Self>, Error> {
        Self::open_on(config, clock, announce, Arc::new(Disk))
    }

    /// [`Recordings::open`] on storage of the caller's; tests make it fail.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open_on(
        config: RecordingsConfig,
        clock: Arc<dyn Clock>,
        announce: Announce,
        storage: Arc<dyn Storage>,
    ) -> Result<Arc<Self>, Error> {
        let open = place::open_folder(&config.dir);
        for folder in [&config.dir, &open] {
            storage.folder(folder).map_err(Error::io("make", folder))?;
        }
        let shared = Arc::new(Shared {
            config,
            storage,
            clock,
            announce,
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
            jobs: Mutex::default(),
            jobs_changed: Condvar::new(),
            failure: Mutex::default(),
        });
        sealer::recover(&shared)?;
        let start = |name: &str, run: fn(&Arc<Shared>)| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(move || run(&shared)).map_err(Error::io("start a thread for", open.clone()))
        };
        let threads = vec![start("record-write", writer::run)?, start("record-seal", sealer::run)?];
        Ok(Arc::new(Self { shared, threads }))
    }

    /// Begins the recording of a session: the file is there, with the facts in it, when this returns.
    ///
    /// # Errors
    /// It cannot be recorded, so it must not begin, or must end.
    pub fn begin(&self, facts: &Arc<SessionFacts>) -> Result<Recorder, Error> {
        let shared = &self.shared;
        shared.refuse_if_failed()?;
        let now = shared.clock.now();
        let mut bytes = writer::new_frame();
        crate::codec::encode_began(&mut bytes, now, facts);
        let mut segment = Segment::first();
        let mut index = Index::default();
        index.add(now, None);
        if let Err(error) = segment.write(shared, facts.session, bytes, &index, now) {
            // The next one may find room, but nobody should have to find out.
            let cause = shared.fail(&error);
            return Err(Error::Failed { cause: cause.to_string() });
        }
        let session = Arc::new(Session::new(facts.session, segment));
        {
            let mut queue = shared.queue();
            if queue.stopping {
                return Err(Error::Stopped);
            }
            queue.live.insert(facts.session, Arc::clone(&session));
            if queue.live.len() == 1 {
                shared.wake.notify_one();
            }
        }
        // What failed between the look and the insert has not told this session.
        if let Err(error) = shared.refuse_if_failed() {
            shared.queue().live.remove(&facts.session);
            return Err(error);
        }
        Ok(Recorder::new(Arc::clone(shared), session))
    }

    /// Whether sessions can be recorded.
    pub fn health(&self) -> Health {
        match self.shared.failure() {
            None => Health::Good,
            Some(Failure { since, cause }) => Health::Failed { since, cause: cause.to_string() },
        }
    }

    /// The time that recordings go by.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.shared.config.dir
    }

    /// Whether the session is being recorded.
    pub fn is_live(&self, session: SessionId) -> bool {
        self.shared.queue().live.contains_key(&session)
    }

    /// Waits until everything recorded so far is in its file. Blocks.
    pub fn flush(&self) {
        let mut queue = self.shared.queue();
        queue.flushes_wanted += 1;
        let wanted = queue.flushes_wanted;
        self.shared.wake.notify_one();
        while queue.flushes_done < wanted && !queue.stopping {
            queue = self.shared.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything recorded so far is written, and what is finished is sealed and announced, as far as that
    /// works. Blocks.
    pub fn settle(&self) {
        self.flush();
        let mut jobs = self.shared.jobs();
        while !jobs.is_idle() {
            jobs = self.shared.jobs_changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The recordings of sessions whose last event happened before `before`, none of them live. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read. A recording that cannot be is logged and left.
    pub fn past(&self, before: Timestamp) -> Result<Vec<Past>, Error> {
        crate::recover::past(&self.shared, before)
    }

    /// Deletes recordings, once the journal says that they go; it keeps their hashes. How many are gone; what cannot be deleted is
    /// logged and found past its time again. Blocks.
    pub fn forget(&self, past: &[Past]) -> u64 {
        crate::recover::forget(&self.shared, past)
    }

    /// Writes and seals what is there, and takes no more. Blocks.
    pub fn stop(&self) {
        self.shared.queue().stopping = true;
        self.shared.wake.notify_all();
        let mut jobs = self.shared.jobs();
        while !jobs.is_stopped() {
            jobs = self.shared.jobs_changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        self.shared.queue().stopping = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            let _panicked_thread_has_reported = thread.join();
        }
    }
}

impl Shared {
    /// The queue is whole after every statement that changes it: a panic elsewhere does not spoil it.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push_job(&self, job: Job) {
        self.jobs().queue.push_back(job);
        self.jobs_changed.notify_all();
    }

    fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn refuse_if_failed(&self) -> Result<(), Error> {
        match self.failure() {
            None => Ok(()),
            Some(failure) => Err(Error::Failed { cause: failure.cause.to_string() }),
        }
    }

    /// Recording has failed: every recorded session ends, and none begins until a probe succeeds. Returns the first cause.
    pub(crate) fn fail(&self, error: &Error) -> Arc<str> {
        let cause: Arc<str> = {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            match &*failure {
                Some(first) => Arc::clone(&first.cause),
                None => {
                    tracing::error!(%error, "sessions cannot be recorded; recorded sessions end");
                    let cause: Arc<str> = error.to_string().into();
                    *failure = Some(Failure { since: self.clock.now(), cause: Arc::clone(&cause) });
                    cause
                }
            }
        };
        let sessions: Vec<Arc<Session>> = {
            let mut queue = self.queue();
            queue.dirty.clear();
            queue.live.drain().map(|(_, session)| session).collect()
        };
        for session in sessions {
            session.fail(self, &cause);
        }
        self.wake.notify_one();
        cause
    }

    /// A probe has shown that writing works.
    pub(crate) fn revive(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tracing::info!("sessions can be recorded again");
        self.push_job(Job::Recover);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Jobs {
    fn is_idle(&self) -> bool {
        (self.queue.is_empty() && !self.busy) || self.stopped
    }

    fn is_stopped(&self) -> bool {
        self.stopped
    }
}

pub(crate) type JobQueue = VecDeque<Job>;
