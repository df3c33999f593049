//! The notary: a thread that follows the journal, writes leaf hashes and signs checkpoints. Off the hot path: an append knows
//! nothing of it.
//!
//! **Promises.** A leaf is written only when its event is on the disk, a checkpoint only when its leaves are. At most
//! [`NotaryConfig::interval`] after an event was synced a signed checkpoint covers it, and one covers the last event before
//! [`Notary::finish`] returns. Opening compares what it left with the journal and refuses to go on over a difference.
//!
//! **Does not** read segments again that it has read and that are closed; [`crate::verify`] does.
//!
//! **How to read it**: this file (the thread and its holders), `work` (what it does), `open` (taking up what is on the disk).

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::watch;

use crate::{Error, Journal, Position, SignedCheckpoint, SigningKey};

mod open;
mod work;

pub use open::begin;
pub(crate) use open::session_of;
use work::Work;

/// How the proof is kept.
#[derive(Clone, Copy, Debug)]
pub struct NotaryConfig {
    /// The time between two checkpoints where events keep coming.
    pub interval: Duration,
    /// How long it waits after a failure that may pass, such as a full disk.
    pub retry: Duration,
}

impl Default for NotaryConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), retry: Duration::from_secs(1) }
    }
}

/// What the notary has done.
#[derive(Clone, Debug)]
pub struct Status {
    /// The latest checkpoint on the disk.
    pub checkpoint: Arc<SignedCheckpoint>,
    /// Why no more are made; `None` while all is well. One that may pass is tried again.
    pub failure: Option<String>,
}

/// The running notary of a journal.
pub struct Notary {
    pub(crate) journal: Arc<Journal>,
    status: watch::Receiver<Status>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Notary {
    /// Takes up the proof of `journal`, or begins it where there is none, brings it up to the journal's end, signs that, and
    /// starts the thread. Blocks. Errors: [`Error::Altered`], [`Error::Truncated`], [`Error::Proof`] where journal and proof
    /// do not belong together.
    pub fn open(journal: Arc<Journal>, key: SigningKey, config: NotaryConfig) -> Result<Self, Error> {
        let mut work = Work::open(Arc::clone(&journal), key)?;
        work.follow()?;
        work.sign()?;
        let (publish, status) = watch::channel(Status { checkpoint: work.last(), failure: None });
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(Error::io("start a thread for", journal.dir()))?;
        let thread = std::thread::Builder::new()
            .name("notary".to_owned())
            .spawn(move || runtime.block_on(run(work, config, publish, stopped)))
            .map_err(Error::io("start a thread for", journal.dir()))?;
        Ok(Self { journal, status, stop, thread: Mutex::new(Some(thread)) })
    }

    /// What it has done so far.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until a checkpoint covers all events before `position`. Cancel safe.
    pub async fn covered(&self, position: Position) -> Result<Arc<SignedCheckpoint>, Error> {
        let mut status = self.status.clone();
        let reached = status.wait_for(|status| status.checkpoint.size() >= position.sequence).await;
        reached.map(|status| Arc::clone(&status.checkpoint)).map_err(|_| Error::Stopped)
    }

    /// Covers the journal's last event, and ends the thread. Blocks.
    pub fn finish(&self) -> Result<Arc<SignedCheckpoint>, Error> {
        self.end();
        let Status { checkpoint, failure } = self.status();
        match failure {
            None if checkpoint.size() >= self.journal.end()?.sequence => Ok(checkpoint),
            Some(cause) => Err(Error::Failed { cause }),
            None => Err(Error::Stopped),
        }
    }

    fn end(&self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _its_channel_is_closed_then = thread.join();
        }
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread: waits for events, follows, signs, rests; once more at the end.
async fn run(
    mut work: Work,
    config: NotaryConfig,
    publish: watch::Sender<Status>,
    mut stopped: watch::Receiver<bool>,
) {
    let journal = work.journal();
    loop {
        let stopping = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => true,
            grown = journal.grown(work.reached()) => grown.is_err(),
        };
        if stopping && let Ok(end) = journal.end() {
            // What the disk did not confirm is readable all the same, and is covered as it stands.
            let _lost_events_were_reported = journal.synced(end).await;
        }
        let outcome = work.follow().and_then(|()| work.sign());
        let (again, failure) = match outcome {
            Ok(()) => (config.interval, None),
            Err(error) => {
                let passing = matches!(error, Error::Io { .. });
                if publish.borrow().failure.is_none() {
                    tracing::error!(%error, "no checkpoint can be made: events are journalled, and not provable until one is");
                }
                publish.send_modify(|status| status.failure = Some(error.to_string()));
                if !passing || stopping {
                    return;
                }
                (config.retry, Some(error.to_string()))
            }
        };
        publish.send_replace(Status { checkpoint: work.last(), failure });
        if stopping {
            return;
        }
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep(again) => {}
        }
    }
}
