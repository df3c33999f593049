//! The threads that sessions run on: each with a reactor of its own, so that a session's sockets, its timers and its task
//! live on one thread and a wake-up crosses to no other.
//!
//! **Promises.** A transport stays on the worker it was placed on, the one with the fewest at that moment. A task that
//! always has something to do yields to its neighbours: what it polls counts against Tokio's budget for one turn. A panic
//! ends its own task, not the worker.
//!
//! **Does not** run what serves no single session: accepting, the API, supervision and the store stay where they are started.
//!
//! **References**: docs/design/0010-data-path-threads.md.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

/// How long work that blocks may go on once a worker stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Where transports are served.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    load: Arc<AtomicUsize>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// A transport's place on a worker; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    load: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Relaxed);
    }
}

impl Workers {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// The operating system gives no thread or no reactor.
    pub fn start(count: usize) -> io::Result<Arc<Self>> {
        let workers = (0..count.max(1)).map(Worker::start).collect::<io::Result<_>>()?;
        Ok(Arc::new(Self { workers }))
    }

    /// No threads of its own: everything runs on the runtime this is called in.
    pub fn here() -> Arc<Self> {
        let worker = Worker { handle: Handle::current(), load: Arc::default(), thread: None };
        Arc::new(Self { workers: vec![worker] })
    }

    /// The worker with the fewest transports, and a place on it.
    pub(crate) fn place(&self) -> Option<(&Handle, Place)> {
        let worker = self.workers.iter().min_by_key(|worker| worker.load.load(Relaxed))?;
        worker.load.fetch_add(1, Relaxed);
        Some((&worker.handle, Place { load: Arc::clone(&worker.load) }))
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name("session-work").build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread =
            thread::Builder::new().name(format!("session-{number}")).spawn(move || run(runtime, stopped))?;
        Ok(Self { handle, load: Arc::default(), thread: Some(Thread { stop, thread }) })
    }
}

fn run(runtime: Runtime, stopped: oneshot::Receiver<()>) {
    // Told to stop, or nobody is left who could.
    let _ = runtime.block_on(stopped);
    runtime.shutdown_timeout(STOP_WITHIN);
}

impl Drop for Workers {
    /// Ends what still runs on the workers, and waits for their threads. Blocks: not for a worker's own tasks to call.
    fn drop(&mut self) {
        let threads: Vec<_> = self.workers.iter_mut().filter_map(|worker| worker.thread.take()).collect();
        let threads: Vec<_> = threads
            .into_iter()
            .map(|Thread { stop, thread }| {
                let _ = stop.send(());
                thread
            })
            .collect();
        for thread in threads {
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread that serves sessions panicked: this is a defect");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(workers: &Workers) -> Vec<usize> {
        workers.workers.iter().map(|worker| worker.load.load(Relaxed)).collect()
    }

    #[test]
    fn transports_go_where_the_fewest_are() {
        let workers = Workers::start(3).unwrap();
        let mut places: Vec<_> = (0..7).map(|_| workers.place().unwrap().1).collect();
        assert_eq!(loads(&workers), [3, 2, 2]);
        places.drain(..1);
        places.extend((0..2).map(|_| workers.place().unwrap().1));
        assert_eq!(loads(&workers), [3, 3, 2]);
        drop(places);
        assert_eq!(loads(&workers), [0, 0, 0]);
    }

    #[test]
    fn what_still_runs_ends_with_the_workers() {
        let workers = Workers::start(2).unwrap();
        let kept = Arc::new(());
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (kept, (handle, place)) = (Arc::clone(&kept), workers.place().unwrap());
                handle.spawn(async move {
                    let _held = (kept, place);
                    std::future::pending::<()>().await;
                })
            })
            .collect();
        drop(workers);
        assert!(tasks.iter().all(tokio::task::JoinHandle::is_finished));
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn a_task_that_always_has_work_does_not_hold_up_its_neighbours() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let workers = Workers::start(1).unwrap();
        let (handle, _place) = workers.place().unwrap();
        let (mut busy, mut other_end) = tokio::io::duplex(64);
        // Reads its own bytes for ever: never pending but for the budget.
        let greedy = handle.spawn(async move {
            let mut byte = [0; 1];
            loop {
                if other_end.write_all(b"x").await.is_err() || busy.read_exact(&mut byte).await.is_err() {
                    return;
                }
            }
        });
        let neighbour = handle.spawn(async { 1 });
        let waiting = Builder::new_current_thread().build().unwrap();
        assert_eq!(waiting.block_on(neighbour).unwrap(), 1);
        greedy.abort();
    }
}
