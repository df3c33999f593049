//! The relay: one task, both directions, from the first statement to the goodbye.
//!
//! **Promises.** INVARIANT(recorded-before-released): what [`Inspector::frontend`] let through is written upstream only after
//! [`GateSession::commit`](portcullis_proxy::gate::GateSession::commit), and in strict mode after the disk has it. Memory is bounded: a side that
//! is not read stops the other from being read. A session that must end ends whatever either peer does.
//!
//! **Does not** look into messages (`inspect` does) or take locks.
//!
//! **How to read it**: [`Session::run`], [`Relay::turn`], then `outputs`, `flight`, `names`.
//!
//! **References**: PostgreSQL documentation, 55.2.9 "Termination".

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use portcullis_access::Permit;
use portcullis_audit::Position;
use portcullis_core::EndReason;
use portcullis_proxy::{
    Activity, CancelRegistration, Transport,
    buffer::{Fill, ReadBuffer, WriteQueue},
    gate::{Gate, Interrupt},
};
use portcullis_sql::AnalysisError;
use tokio::{io::AsyncWriteExt, sync::Semaphore};

use crate::{
    Cancellable,
    catalog::{LoadError, load},
    codec::frontend,
    connect,
    error::Error,
    inspect::{Blocked, Inspector, longest_message},
    masking::NotMasked,
    upstream::{self, Logins, UpstreamKey},
};

pub(crate) mod commits;
pub(crate) mod expected;
pub(crate) mod flight;
mod holding;
pub(crate) mod names;
pub(crate) mod outputs;

use holding::{Following, Using, Waits};
use names::Prepared;
use outputs::Outputs;

/// The most bytes of a server's message that are kept where nothing is masked: an error as long as is waited for whole, and some.
const SERVER_BUFFER: usize = 256 * 1024;

/// How long a client may take to read its goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Texts longer than this are analysed one at a time in the whole process.
const LONG_TEXT: usize = 32 * 1024;
static LONG_TEXTS: Semaphore = Semaphore::const_new(1);

/// Catalog reads in a row that may fail before the session is told.
const CATALOG_ATTEMPTS: u32 = 3;

/// What the relay shares with the rest of the listener.
pub(crate) struct Around {
    pub(crate) gate: Arc<Gate>,
    pub(crate) logins: Arc<Logins>,
    /// What cancels a statement of this session upstream.
    pub(crate) cancel: Option<UpstreamKey>,
    /// How the client takes back what waits for a person.
    pub(crate) interrupt: Arc<Interrupt>,
    /// The client's cancel key, worth something until this is dropped.
    pub(crate) _key: Option<CancelRegistration<Cancellable>>,
}

/// A session between two peers, both ready for it.
pub(crate) struct Session(Box<Relay>);

impl Session {
    pub(crate) fn new(inspector: Box<Inspector>, down: Transport, up: Transport, around: Around) -> Self {
        let limits = &around.gate.limits;
        let from_client = ReadBuffer::new(longest_message(limits.statement));
        let from_server = ReadBuffer::new(SERVER_BUFFER.max(limits.masked_row));
        Self(Box::new(Relay {
            from_client,
            from_server,
            out: Outputs::new(),
            inspector,
            down,
            up,
            around,
            job: None,
            catalog_failures: 0,
            recorded: None,
            background: None,
        }))
    }

    /// Relays until the session ends; says goodbye to both peers, and why in the journal.
    pub(crate) async fn run(mut self) -> EndReason {
        let reason = std::future::poll_fn(|cx| self.0.poll(cx)).await;
        // On the heap, and only now: what ending a session takes is no part of every idle one.
        Box::pin(self.0.end(reason)).await
    }
}

/// On the heap, with the inspector in a place of its own: futures are copied and keep room for what they were given.
struct Relay {
    from_client: ReadBuffer,
    from_server: ReadBuffer,
    out: Outputs,
    inspector: Box<Inspector>,
    down: Transport,
    up: Transport,
    around: Around,
    job: Option<Job>,
    catalog_failures: u32,
    /// Where the journal ends after what was decided last.
    recorded: Option<Position>,
    /// A read of the catalog that nothing waits for.
    background: Option<Boxed<Result<(), LoadError>>>,
}

/// Something the client's side waits for. The server's side goes on meanwhile.
enum Job {
    /// The disk, in strict mode. Nothing is written upstream until then.
    Settle(Boxed<Result<(), portcullis_audit::Error>>),
    Catalog(Boxed<Result<(), LoadError>>),
    Analysis(Boxed<(Arc<str>, Result<Prepared, AnalysisError>)>),
    /// People's answer.
    Hold(Box<Waits>),
    /// The approval to be used up.
    Use(Using),
    /// The request to be taken back.
    Leave(Boxed<()>),
    /// The session's rules, where the policy has moved.
    Follow(Following),
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Relay {
    /// Ends the session; why.
    async fn end(self: Box<Self>, reason: EndReason) -> EndReason {
        let Self { mut inspector, around, down, up, out, recorded: position, job, .. } = *self;
        // Taken back before anything else: nobody is to say yes to what nobody waits for.
        match job {
            Some(Job::Hold(mut waits)) => waits.leaves(&reason).await,
            Some(Job::Leave(leaving)) => leaving.await,
            _ => {}
        }
        let Outputs { up: to_server, down: to_client, .. } = out;
        // What the client sent before it left still runs, as it would have without a gateway in between.
        let recorded = match reason {
            EndReason::ClientQuit => finish_recording(&mut inspector, &around, position).await,
            _ => false,
        };
        // Journalled before the peer hears it, so that whoever sees the goodbye finds the reason.
        inspector.session.end(&reason);
        let last_words = if recorded { Some(to_server) } else { None };
        tokio::join!(
            say_goodbye(down, to_client, &reason, &inspector),
            leave(up, last_words, &reason, &inspector, &around)
        );
        reason
    }

    /// Ready when the session must end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        loop {
            let idle = self.inspector.is_idle() || self.inspector.is_holding();
            let activity = if idle { Activity::Idle } else { Activity::Busy };
            if let Poll::Ready(reason) = self.inspector.session.handle().poll_ended(cx, activity) {
                return Poll::Ready(reason);
            }
            match self.turn(cx) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(reason) => return Poll::Ready(reason),
            }
        }
    }

    /// One turn: whatever can be done now in each direction. Whether something was done; if not, everything that could wake
    /// the task is registered.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        let mut moved = self.poll_job(cx)?;
        self.poll_background(cx);
        if !self.poll_recorder(cx)? {
            return Ok(moved);
        }
        moved |= self.client_to_server(cx)?;
        moved |= self.server_to_client(cx)?;
        Ok(moved)
    }

    /// Whether the recorder takes more: else nothing is read until it does.
    fn poll_recorder(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        match self.inspector.session.recorder().map(|recorder| recorder.poll_ready(cx)) {
            None | Some(Poll::Ready(Ok(()))) => Ok(true),
            Some(Poll::Pending) => Ok(false),
            Some(Poll::Ready(Err(error))) => Err(EndReason::NotRecorded { detail: error.to_string() }),
        }
    }

    fn client_to_server(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        let mut moved = false;
        if self.job.is_none() && !self.from_client.is_empty() && self.catalog_is_too_old() {
            moved |= self.start_catalog();
        }
        if self.job.is_none() {
            let blocked = self.inspector.frontend(&mut self.from_client, &mut self.out)?;
            moved |= self.commit()?;
            match blocked {
                Blocked::NeedInput => moved |= self.read_client(cx)?,
                // Answers and room come by the other direction, or by the drain below.
                Blocked::Answers | Blocked::Backpressure => {}
                // What waits for the disk waits first: the message is looked at again, and asks again.
                Blocked::Catalog | Blocked::Analysis(_) if self.job.is_some() => {}
                Blocked::Catalog => moved |= self.start_catalog(),
                Blocked::Analysis(text) => moved |= self.start_analysis(text),
                Blocked::Hold if self.job.is_some() => {}
                Blocked::Hold => moved |= self.hold(),
            }
        }
        moved |= self.watch_client(cx)?;
        if !matches!(self.job, Some(Job::Settle(_))) {
            moved |= self.drain_up(cx)?;
        }
        Ok(moved)
    }

    /// Puts what was decided into the journal. In strict mode, whether the disk has it is waited for before anything is written.
    fn commit(&mut self) -> Result<bool, EndReason> {
        let position = self.inspector.session.commit()?;
        let Some(position) = position else { return Ok(false) };
        self.recorded = Some(position);
        let now = self.around.gate.clock.now();
        if self.background.is_none() && self.inspector.judge.database().is_old(now) {
            self.background = Some(self.read_catalog());
        }
        if self.around.gate.journal.is_strict() {
            self.job = Some(Job::Settle(self.settle(position)));
        }
        Ok(true)
    }

    fn settle(&self, position: Position) -> Boxed<Result<(), portcullis_audit::Error>> {
        let journal = Arc::clone(&self.around.gate.journal);
        Box::pin(async move { journal.settled(position).await })
    }

    fn read_client(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        match self.from_client.poll_fill(cx, &mut self.down) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(Fill::Read(n))) => {
                self.inspector.session.handle().add_bytes_in(n);
                Ok(true)
            }
            Poll::Ready(Ok(Fill::Full)) => {
                Err(crate::inspect::violation("a message is longer than the gateway keeps"))
            }
            Poll::Ready(Ok(Fill::Closed) | Err(_)) => Err(EndReason::ClientQuit),
        }
    }

    fn drain_up(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        let before = self.out.up.len();
        match self.out.up.poll_drain(cx, &mut self.up) {
            Poll::Ready(Ok(())) => Ok(before > 0),
            Poll::Pending => Ok(self.out.up.len() < before),
            Poll::Ready(Err(error)) => Err(self.upstream_lost(&error)),
        }
    }

    fn server_to_client(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        let mut moved = false;
        if !self.from_server.is_empty() && !self.out.down.is_full() {
            // What was left when the client did not take more.
            let held = self.from_server.len();
            self.inspector.backend(&mut self.from_server, &mut self.out)?;
            moved |= self.from_server.len() < held;
        }
        if !self.out.down.is_full() {
            match self.from_server.poll_fill(cx, &mut self.up) {
                Poll::Pending => {}
                Poll::Ready(Ok(Fill::Read(_) | Fill::Full)) => {
                    let held = self.from_server.len();
                    self.inspector.backend(&mut self.from_server, &mut self.out)?;
                    if self.from_server.is_full()
                        && self.from_server.len() == held
                        && !self.out.down.is_full()
                    {
                        return Err(NotMasked::TooLong.into());
                    }
                    moved = true;
                }
                Poll::Ready(Ok(Fill::Closed)) => {
                    // What it said before it went (a FATAL error) still reaches the client, with the goodbye.
                    let detail = "the upstream closed the session".to_owned();
                    return Err(EndReason::UpstreamQuit { detail });
                }
                Poll::Ready(Err(error)) => return Err(self.upstream_lost(&error)),
            }
        }
        let before = self.out.down.len();
        match self.out.down.poll_drain(cx, &mut self.down) {
            Poll::Ready(Ok(())) => moved |= before > 0,
            Poll::Pending => moved |= self.out.down.len() < before,
            Poll::Ready(Err(_)) => return Err(EndReason::ClientQuit),
        }
        self.inspector.session.handle().add_bytes_out(before - self.out.down.len());
        Ok(moved)
    }

    fn upstream_lost(&self, error: &std::io::Error) -> EndReason {
        EndReason::UpstreamQuit { detail: format!("the transport to the upstream failed: {error}") }
    }

    fn catalog_is_too_old(&self) -> bool {
        let judge = &self.inspector.judge;
        !judge.needs_no_catalog() && judge.database().is_too_old(self.around.gate.clock.now())
    }

    fn start_catalog(&mut self) -> bool {
        self.job = Some(Job::Catalog(self.read_catalog()));
        true
    }

    fn read_catalog(&self) -> Boxed<Result<(), LoadError>> {
        let database = Arc::clone(self.inspector.judge.database());
        let (permit, rules) = (Arc::clone(self.inspector.session.permit()), self.inspector.session.rules());
        let (gate, logins) = (Arc::clone(&self.around.gate), Arc::clone(&self.around.logins));
        Box::pin(async move {
            let catalog = database.refresh(&gate, &logins, &permit).await?;
            let connection = &permit.connection().name;
            database.work_out_masks(&gate, connection, &rules, &catalog).await.map(|_| ())
        })
    }

    /// Reads an old catalog again while it is used. A failure shows when it is too old to be used.
    fn poll_background(&mut self, cx: &mut Context<'_>) {
        if let Some(reading) = &mut self.background
            && let Poll::Ready(result) = reading.as_mut().poll(cx)
        {
            if let Err(error) = result {
                tracing::warn!(session = %self.inspector.session.permit().facts().session, %error, "catalog");
            }
            self.background = None;
        }
    }

    fn start_analysis(&mut self, text: Arc<str>) -> bool {
        let analyzer = Arc::clone(self.inspector.judge.analyzer());
        let analysis = async move {
            // One at a time, so that a thread is left for short texts whatever a session sends.
            let _turn = match text.len() > LONG_TEXT {
                true => LONG_TEXTS.acquire().await.ok(),
                false => None,
            };
            let copy = Arc::clone(&text);
            let result = tokio::task::spawn_blocking(move || analyzer.analyze(&copy)).await;
            let result = result.unwrap_or(Err(AnalysisError::Internal("the analysis failed")));
            (text, result)
        };
        self.job = Some(Job::Analysis(Box::pin(analysis)));
        true
    }

    fn poll_job(&mut self, cx: &mut Context<'_>) -> Result<bool, EndReason> {
        match &mut self.job {
            None => return Ok(false),
            Some(Job::Hold(_)) => return Ok(self.poll_hold(cx)),
            Some(Job::Use(_)) => return Ok(self.poll_use(cx)),
            Some(Job::Leave(_)) => return Ok(self.poll_leave(cx)),
            Some(Job::Follow(_)) => return Ok(self.poll_follow(cx)),
            Some(Job::Settle(settled)) => match settled.as_mut().poll(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(EndReason::NotRecorded { detail: error.to_string() }),
            },
            Some(Job::Catalog(read)) => match read.as_mut().poll(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(())) => self.catalog_failures = 0,
                Poll::Ready(Err(error)) => {
                    self.catalog_failures += 1;
                    tracing::warn!(session = %self.inspector.session.permit().facts().session, %error, "catalog");
                    if self.catalog_failures >= CATALOG_ATTEMPTS {
                        return Err(EndReason::UpstreamQuit { detail: error.to_string() });
                    }
                }
            },
            Some(Job::Analysis(analysis)) => match analysis.as_mut().poll(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready((text, result)) => self.inspector.judge.analysed(text, result),
            },
        }
        self.job = None;
        Ok(true)
    }
}

/// Journals what was decided last. Whether it is recorded, so that it may still be written.
async fn finish_recording(inspector: &mut Inspector, around: &Around, before: Option<Position>) -> bool {
    match inspector.session.commit().map(|last| last.or(before)) {
        Ok(Some(position)) => around.gate.journal.settled(position).await.is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Tells the client why, if it did not leave by itself, and closes. Bounded in time: a client that does not read is cut.
async fn say_goodbye(
    mut down: Transport,
    mut to_client: WriteQueue,
    reason: &EndReason,
    inspector: &Inspector,
) {
    let goodbye = async {
        let told = inspector.was_told_fatal() && matches!(reason, EndReason::UpstreamQuit { .. });
        if *reason != EndReason::ClientQuit && !told && !inspector.is_within_a_message() {
            to_client.push_with(|bytes| Error::Ended(reason.clone()).to_wire().encode(bytes));
        }
        if *reason != EndReason::ClientQuit {
            let _ = std::future::poll_fn(|cx| to_client.poll_drain(cx, &mut down)).await;
        }
        let _ = down.shutdown().await;
    };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

/// Stops what runs upstream. A cancel stops one statement; where more were sent behind it the server would go on with those, so that
/// its whole session is ended, over a login of the gateway's own.
async fn stop(key: &UpstreamKey, inspector: &Inspector, around: &Around) {
    let permit = inspector.session.permit();
    if inspector.has_sent_ahead() {
        let ended = terminate(key, permit, around).await;
        match ended {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(session = %permit.facts().session, error, "statements sent ahead may still run")
            }
        }
    }
    if let Err(error) = upstream::cancel(permit, &*around.gate.dial, &around.logins, key).await {
        tracing::warn!(session = %permit.facts().session, %error, "the running statement could not be cancelled");
    }
}

async fn terminate(key: &UpstreamKey, permit: &Permit, around: &Around) -> Result<(), String> {
    let name = [("application_name".to_owned(), "portcullis end of session".to_owned())];
    let opened = connect::open(&around.gate, &around.logins, permit, &name).await;
    let mut upstream = opened.map_err(|error| error.to_string())?;
    let mut query = BytesMut::new();
    let text = format!("SELECT pg_catalog.pg_terminate_backend({})", key.process());
    frontend::query(&mut query, text.as_bytes());
    load::exchange(&mut upstream.transport, &query, 1).await.map_err(|error| error.to_string())?;
    Ok(())
}

/// Leaves the upstream: what still runs there is cancelled, unless the client left by itself, then the session is terminated.
async fn leave(
    mut up: Transport,
    last_words: Option<WriteQueue>,
    reason: &EndReason,
    inspector: &Inspector,
    around: &Around,
) {
    let leaving = async {
        if let Some(mut queue) = last_words {
            let _ = std::future::poll_fn(|cx| queue.poll_drain(cx, &mut up)).await;
        } else if inspector.is_running()
            && !matches!(reason, EndReason::UpstreamQuit { .. })
            && let Some(key) = &around.cancel
        {
            stop(key, inspector, around).await;
        }
        // Inside a half-written message a Terminate would be read as part of it; closing says the same.
        if !inspector.is_within_a_statement() {
            let mut bye = BytesMut::new();
            frontend::empty(&mut bye, frontend::tag::TERMINATE);
            let _ = up.write_all(&bye).await;
        }
        let _ = up.shutdown().await;
    };
    let _ = tokio::time::timeout(GOODBYE, leaving).await;
}
