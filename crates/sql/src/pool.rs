//! Threads with big stacks that parse and walk. The parser's tree is recursive and so is everything done to it, dropping
//! included: all of it happens here, and only flat results leave.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use crate::{Analysis, AnalysisError, parse};

/// Stack of a parsing thread. The parser's own guard gives its C code 2 MiB, and 64 MiB holds what that lets through when our
/// side decodes, walks and drops it; frames of an unoptimised build are several times as large. Only what is touched takes
/// memory.
pub(crate) const STACK_BYTES: usize =
    if cfg!(debug_assertions) { 256 * 1024 * 1024 } else { 64 * 1024 * 1024 };

/// Texts that may wait for a thread, per thread; more block their callers.
const QUEUE_PER_THREAD: usize = 16;

struct Job {
    text: Arc<str>,
    reply: SyncSender<Result<Analysis, AnalysisError>>,
}

pub(crate) struct Pool {
    jobs: SyncSender<Job>,
}

impl Pool {
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let (jobs, waiting) = sync_channel(threads.saturating_mul(QUEUE_PER_THREAD));
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..threads {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new()
                .name(format!("sql-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || work(&waiting))?;
        }
        Ok(Self { jobs })
    }

    pub(crate) fn analyze(&self, text: Arc<str>) -> Result<Analysis, AnalysisError> {
        let (reply, answer) = sync_channel(1);
        self.jobs
            .send(Job { text, reply })
            .map_err(|_| AnalysisError::Internal("no analysis thread is left"))?;
        answer.recv().unwrap_or(Err(AnalysisError::Internal("the analysis thread failed")))
    }
}

/// Takes jobs until the pool is dropped. A panic on one text is that text's error.
fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { text, reply }) = job else { return };
        let answer = catch_unwind(AssertUnwindSafe(|| parse::analyze(text)))
            .unwrap_or(Err(AnalysisError::Internal("the analysis failed on this text")));
        // The caller may have given up; then nobody wants the answer.
        let _ = reply.send(answer);
    }
}
