//! [`Notifier`]: takes notices and brings them to their channels, one worker a channel.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis_core::Clock;
use portcullis_policy::{Notification, ResolveSecret};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep_until},
};

use crate::{
    Delivery, DeliveryLog, DeliveryState, Failed, LogError, Notice, Roots, Schedule,
    line::{Job, Line, Next, Settled},
    post::{SendNotice, Sender},
    scribe::Scribe,
    slack,
};

#[cfg(test)]
mod tests;

/// What a notifier is started with. The default is the product's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where jitter comes from. Gateways of one deployment should have different ones.
    pub seed: u64,
    /// Most notices that wait, all channels together.
    pub queue: usize,
    /// Longest a step may take: an HTTP exchange, one command of a mail server.
    pub timeout: Duration,
    /// When what failed is tried again.
    pub schedule: Schedule,
    /// Whom to trust over TLS.
    pub roots: Roots,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            queue: 10_000,
            timeout: Duration::from_secs(10),
            schedule: Schedule::default(),
            roots: Roots::Platform,
        }
    }
}

/// The notifier could not be started.
#[derive(Debug, thiserror::Error)]
#[error("notifications cannot be started: {0}")]
pub struct StartError(String);

/// Brings notices to their channels. Dropped, it stops; what waited is in the log as unfinished.
pub struct Notifier {
    shared: Arc<Shared>,
    sender: Option<Arc<Sender>>,
    workers: Mutex<HashMap<String, Worker>>,
    scribe: Mutex<Option<JoinHandle<()>>>,
    log: Arc<dyn DeliveryLog>,
    settings: Settings,
    handle: Handle,
}

/// What every worker has.
struct Shared {
    post: Arc<dyn SendNotice>,
    clock: Arc<dyn Clock>,
    /// None once stopped.
    scribe: Mutex<Option<Scribe>>,
    waiting: AtomicUsize,
}

struct Worker {
    queue: Arc<Queue>,
    task: AbortHandle,
}

/// One channel's line and the channel.
struct Queue {
    name: String,
    channel: Mutex<Arc<Notification>>,
    line: Mutex<Line>,
    wake: Notify,
}

impl Notifier {
    /// Starts one, on the runtime this is called on. Call [`Notifier::resume`] next.
    pub fn start(
        secrets: Arc<dyn ResolveSecret>,
        clock: Arc<dyn Clock>,
        log: Arc<dyn DeliveryLog>,
        settings: Settings,
    ) -> Result<Arc<Self>, StartError> {
        let sender = Sender::new(secrets, Arc::clone(&clock), settings.roots.clone(), settings.timeout);
        let sender = Arc::new(sender.map_err(StartError)?);
        Self::with(Arc::clone(&sender) as Arc<dyn SendNotice>, Some(sender), clock, log, settings)
    }

    fn with(
        post: Arc<dyn SendNotice>,
        sender: Option<Arc<Sender>>,
        clock: Arc<dyn Clock>,
        log: Arc<dyn DeliveryLog>,
        settings: Settings,
    ) -> Result<Arc<Self>, StartError> {
        let handle = Handle::try_current().map_err(|error| StartError(error.to_string()))?;
        let (scribe, writing) = Scribe::start(&handle, Arc::clone(&log));
        let shared = Shared { post, clock, scribe: Mutex::new(Some(scribe)), waiting: AtomicUsize::new(0) };
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            sender,
            workers: Mutex::default(),
            scribe: Mutex::new(Some(writing)),
            log,
            settings,
            handle,
        }))
    }

    /// Tells the notice to those of `channels` that tell of its kind and cover its connection. Returns at once, from any
    /// thread; what does not fit the queue is in the log as failed.
    pub fn notify(&self, channels: &[Arc<Notification>], notice: Notice) {
        let notice = Arc::new(notice.bounded());
        for channel in channels.iter().filter(|c| c.tells(notice.kind) && c.covers(&notice.connection)) {
            let delivery = Delivery::queued(&notice, &channel.name, self.shared.clock.now());
            if self.shared.enter(self.settings.queue) {
                self.shared.record(delivery, &notice);
                self.enqueue(channel, &notice, 0);
            } else {
                self.shared.failed(delivery, &notice, "too many notices wait".to_owned());
            }
        }
    }

    /// Takes up what the log has as unfinished, for channels that are still there; the others' are recorded as failed. Once,
    /// after the start.
    pub async fn resume(&self, channels: &[Arc<Notification>]) -> Result<usize, LogError> {
        let log = Arc::clone(&self.log);
        let unfinished = tokio::task::spawn_blocking(move || log.unfinished()).await;
        let unfinished = unfinished.unwrap_or_else(|error| Err(LogError(error.to_string())))?;
        let mut taken = 0_usize;
        for (mut delivery, notice) in unfinished {
            let notice = Arc::new(notice.bounded());
            delivery.at = self.shared.clock.now();
            let Some(channel) = channels.iter().find(|channel| channel.name == delivery.channel) else {
                self.shared.failed(delivery, &notice, REMOVED.to_owned());
                continue;
            };
            if !self.shared.enter(self.settings.queue) {
                self.shared.failed(delivery, &notice, "too many notices wait".to_owned());
            } else if self.enqueue(channel, &notice, delivery.attempts) {
                taken = taken.saturating_add(1);
            } else {
                self.shared.leave();
            }
        }
        Ok(taken)
    }

    /// The channels of a new policy. What waits for one that changed is tried at once; what waits for one that is gone fails.
    pub fn reconfigure(&self, channels: &[Arc<Notification>]) {
        let mut workers = lock(&self.workers);
        workers.retain(|name, worker| {
            let queue = &worker.queue;
            if let Some(channel) = channels.iter().find(|channel| channel.name == *name) {
                queue.replace(channel);
                return true;
            }
            worker.task.abort();
            for job in lock(&queue.line).clear() {
                let delivery = Delivery {
                    attempts: job.attempts,
                    ..Delivery::queued(&job.notice, name, self.shared.clock.now())
                };
                self.shared.leave();
                self.shared.failed(delivery, &job.notice, REMOVED.to_owned());
            }
            false
        });
    }

    /// Answers somebody who pressed a button in Slack. One attempt, within the timeout.
    pub async fn respond(&self, to: &slack::ResponseUrl, reply: &slack::Reply) -> Result<(), Failed> {
        match &self.sender {
            Some(sender) => sender.respond(to, reply).await,
            None => Err(Failed::never("nothing is sent")),
        }
    }

    /// How many notices wait.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Stops: nothing is sent any more, and the log has everything. What waited is unfinished there, for the next start.
    /// An attempt under way is dropped and may have arrived.
    pub async fn stop(&self) {
        for (_, worker) in lock(&self.workers).drain() {
            worker.task.abort();
        }
        lock(&self.shared.scribe).take();
        let writing = lock(&self.scribe).take();
        if let Some(writing) = writing {
            writing.await.ok();
        }
    }

    /// Whether it was put in the line; not where it is there already. From now on the channel is this one.
    fn enqueue(&self, channel: &Arc<Notification>, notice: &Arc<Notice>, attempts: u32) -> bool {
        let age = self.shared.clock.now().since(notice.at);
        // Held until the notice is in the line, so that a channel is not removed in between.
        let mut workers = lock(&self.workers);
        let worker = workers.entry(channel.name.clone()).or_insert_with(|| self.worker(channel));
        worker.queue.replace(channel);
        let mut line = lock(&worker.queue.line);
        if line.has(notice.id) {
            return false;
        }
        line.push(Arc::clone(notice), attempts, age, Instant::now());
        drop(line);
        worker.queue.wake.notify_one();
        true
    }

    fn worker(&self, channel: &Arc<Notification>) -> Worker {
        let mut seed = DefaultHasher::new();
        (self.settings.seed, &channel.name).hash(&mut seed);
        let queue = Arc::new(Queue {
            name: channel.name.clone(),
            channel: Mutex::new(Arc::clone(channel)),
            line: Mutex::new(Line::new(self.settings.schedule, seed.finish())),
            wake: Notify::new(),
        });
        let task = self.handle.spawn(work(Arc::clone(&self.shared), Arc::clone(&queue))).abort_handle();
        Worker { queue, task }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        for worker in lock(&self.workers).values() {
            worker.task.abort();
        }
    }
}

/// Why what waits for a channel that is no more is not delivered.
const REMOVED: &str = "the channel is no longer in the documents";

/// One channel's worker. Ends by being aborted.
async fn work(shared: Arc<Shared>, queue: Arc<Queue>) {
    loop {
        let next = lock(&queue.line).next(Instant::now());
        match next {
            Next::Idle => queue.wake.notified().await,
            Next::At(then) => tokio::select! {
                () = sleep_until(then) => {}
                () = queue.wake.notified() => {}
            },
            Next::Try(job) => shared.attempt(&queue, job).await,
            Next::TooLate(job, why) => {
                let delivery = shared.delivery(&queue, &job);
                shared.leave();
                shared.failed(delivery, &job.notice, format!("given up: {why}"));
            }
        }
    }
}

impl Shared {
    async fn attempt(&self, queue: &Queue, job: Job) {
        let (channel, notice) = (Arc::clone(&lock(&queue.channel)), Arc::clone(&job.notice));
        let outcome = self.post.send(&channel, &notice).await;
        let mut delivery = self.delivery(queue, &job);
        delivery.attempts = job.attempts.saturating_add(1);
        let settled = lock(&queue.line).settle(outcome, Instant::now());
        match settled {
            Settled::Delivered(note) => {
                count("delivered");
                self.leave();
                self.record(
                    Delivery { state: DeliveryState::Delivered, last_error: note, ..delivery },
                    &notice,
                );
            }
            Settled::Again(pause, reason) => {
                count("retried");
                tracing::warn!(channel = %queue.name, notice = %notice.id, request = %notice.request, %reason, "a notice is tried again");
                let next_at = Some(delivery.at.plus(pause));
                let state = DeliveryState::Retrying;
                self.record(Delivery { state, last_error: Some(reason), next_at, ..delivery }, &notice);
            }
            Settled::Failed(reason) => {
                self.leave();
                self.failed(delivery, &notice, reason);
            }
            Settled::Gone => {}
        }
    }

    fn delivery(&self, queue: &Queue, job: &Job) -> Delivery {
        Delivery { attempts: job.attempts, ..Delivery::queued(&job.notice, &queue.name, self.clock.now()) }
    }

    /// The end of a delivery that people must look at: nobody was told.
    fn failed(&self, delivery: Delivery, notice: &Arc<Notice>, reason: String) {
        count("failed");
        tracing::error!(channel = %delivery.channel, notice = %notice.id, request = %notice.request, %reason, "a notice is not delivered");
        let state = DeliveryState::Failed;
        self.record(Delivery { state, last_error: Some(reason), next_at: None, ..delivery }, notice);
    }

    fn record(&self, delivery: Delivery, notice: &Arc<Notice>) {
        if let Some(scribe) = &*lock(&self.scribe) {
            scribe.record(delivery, notice);
        }
    }

    /// Takes a place, where there is one.
    fn enter(&self, most: usize) -> bool {
        let more = |waiting: usize| (waiting < most).then(|| waiting.saturating_add(1));
        let entered = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.gauge();
        entered
    }

    fn leave(&self) {
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| waiting.checked_sub(1))
            .ok();
        self.gauge();
    }

    fn gauge(&self) {
        let waiting = u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        metrics::gauge!("portcullis_notifications_waiting").set(f64::from(waiting));
    }
}

impl Queue {
    /// From now on it is this channel; where that is another than before, what waits is tried at once.
    fn replace(&self, channel: &Arc<Notification>) {
        let mut current = lock(&self.channel);
        if Arc::ptr_eq(&current, channel) {
            return;
        }
        let changed = current.channel != channel.channel;
        *current = Arc::clone(channel);
        drop(current);
        if changed {
            lock(&self.line).refresh(Instant::now());
            self.wake.notify_one();
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("portcullis_notifications_total", "outcome" => outcome).increment(1);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
