//! Accepting transports: limits, PROXY protocol, one task and one span for each.
//!
//! **Promises.** No more transports than the limits allow, in all and per source. A PROXY header is believed only from
//! the networks named, and required from them where it is on: INVARIANT(source-is-proven). A peer has until its
//! [`Deadline`] to log in, header included. A panic ends its own transport. Failing to accept (no file descriptors)
//! backs off instead of spinning.
//!
//! **Does not** negotiate TLS or speak a protocol: the handler does.
//!
//! **How to read it**: [`serve_on`], then [`admission`] (limits), then [`proxy_header`] (the decoder).
//!
//! **References**: haproxy's doc/proxy-protocol.txt, version 1 and 2; accept(2).

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use portcullis_core::Source;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{metrics, sessions::Sessions, transport::Transport, workers::Workers};

pub mod admission;
pub mod proxy_header;

pub use admission::{Admission, Refused, Slot};
pub use proxy_header::{ProxyNetworks, fuzz_proxy_header};

/// The first and the longest pause after `accept(2)` failed for want of resources.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long a session that was told to end has to say goodbye on the wire.
const GOODBYE: Duration = Duration::from_secs(2);

/// How one listener accepts.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// The protocol's name: the metric label and the span's field.
    pub name: &'static str,
    /// From accept to the end of the login.
    pub handshake: Duration,
    /// Whose PROXY header is believed, and required; `None`: the header is never read.
    pub proxy: Option<ProxyNetworks>,
    /// The limits, shared by all listeners.
    pub admission: Arc<Admission>,
}

/// A transport that was let in.
#[derive(Debug)]
pub struct Accepted {
    /// The socket. What followed a PROXY header is still to be read from it.
    pub transport: Transport,
    /// Where it came from.
    pub source: Source,
    /// Until when the login must be done.
    pub deadline: Deadline,
    loopback: bool,
    slot: Slot,
}

impl Accepted {
    /// Whether the client itself is this machine: the socket's peer is, and so is the client that a PROXY header
    /// names. A header that names nobody is not taken for loopback. What plaintext may be allowed for.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The parts, with the slot in the limits: the transport counts until that is dropped, so keep it with the
    /// transport.
    pub fn into_parts(self) -> (Transport, Source, Deadline, Slot) {
        (self.transport, self.source, self.deadline, self.slot)
    }
}

/// Until when a login must be done.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    listener: &'static str,
}

/// The login took too long.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the login was not done in time")]
pub struct TooSlow;

impl Deadline {
    /// `limit` from now.
    pub fn after(limit: Duration, listener: &'static str) -> Self {
        Self { at: Instant::now() + limit, listener }
    }

    /// Runs `login` until it is done or time is up; then it is dropped where it waits.
    ///
    /// # Errors
    /// Time was up; counted as a failed handshake.
    pub async fn bound<T>(&self, login: impl Future<Output = T>) -> Result<T, TooSlow> {
        tokio::time::timeout_at(self.at, login).await.map_err(|_| {
            metrics::handshake_failed(self.listener, "timeout");
            TooSlow
        })
    }
}

/// How listeners are told to stop: first accepting, then, once the sessions had their time, everything.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    abort: CancellationToken,
}

impl Shutdown {
    /// Nobody was told yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stop accepting; what is open goes on.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// End what is still open, where it stands.
    pub fn abort(&self) {
        self.stop.cancel();
        self.abort.cancel();
    }

    /// The whole of it, in order: stop accepting, let sessions finish for `limit`, end what is left. How many had to be
    /// ended where they stood.
    pub async fn drain<R: Send + Sync + 'static>(&self, sessions: &Sessions<R>, limit: Duration) -> usize {
        self.stop();
        let left = sessions.drain(limit, GOODBYE).await;
        self.abort();
        left
    }

    /// Waits until accepting stops. Cancel safe.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether accepting has stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

/// Accepts until told to stop, running `handler` for each transport in a task of its own, then waits until the last is
/// done. Dropping the future, or [`Shutdown::abort`], ends them where they stand.
pub async fn serve<H, F>(listener: TcpListener, config: ListenerConfig, handler: H, shutdown: Shutdown)
where
    H: Fn(Accepted) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    serve_on(listener, config, handler, shutdown, Workers::here()).await;
}

/// As [`serve`], with each transport's task and socket on one of `workers`.
pub async fn serve_on<H, F>(
    listener: TcpListener,
    config: ListenerConfig,
    handler: H,
    shutdown: Shutdown,
    workers: Arc<Workers>,
) where
    H: Fn(Accepted) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut backoff = BACKOFF_FIRST;
    loop {
        tokio::select! {
            biased;
            () = shutdown.stop.cancelled() => break,
            Some(done) = tasks.join_next(), if !tasks.is_empty() => finished(config.name, done, tasks.len()),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    backoff = BACKOFF_FIRST;
                    admit(&mut tasks, &workers, stream, peer, &config, &handler);
                    metrics::open(config.name, tasks.len());
                }
                Err(error) => {
                    metrics::accept_failed(config.name);
                    if is_of_one_transport(&error) {
                        continue;
                    }
                    if backoff == BACKOFF_FIRST {
                        tracing::error!(listener = config.name, %error, "cannot accept: pausing");
                    }
                    tokio::select! {
                        () = shutdown.stop.cancelled() => break,
                        () = tokio::time::sleep(backoff) => {}
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            },
        }
    }
    drop(listener);
    loop {
        tokio::select! {
            biased;
            () = shutdown.abort.cancelled() => break,
            done = tasks.join_next() => match done {
                Some(done) => finished(config.name, done, tasks.len()),
                None => return,
            },
        }
    }
    tracing::warn!(
        listener = config.name,
        open = tasks.len(),
        "ending transports that did not finish in time"
    );
    tasks.shutdown().await;
    metrics::open(config.name, 0);
}

/// Errors that accept(2) reports for one peer; everything else is a want of resources that concerns all.
fn is_of_one_transport(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn finished(listener: &'static str, done: Result<(), tokio::task::JoinError>, open: usize) {
    metrics::open(listener, open);
    if let Err(error) = done
        && error.is_panic()
    {
        // The panic hook has said where; the payload may quote a peer's bytes, so it is not repeated.
        metrics::panicked(listener);
        tracing::error!(listener, "a session panicked and was ended: this is a defect");
    }
}

fn admit<H, F>(
    tasks: &mut JoinSet<()>,
    workers: &Workers,
    stream: TcpStream,
    peer: SocketAddr,
    config: &ListenerConfig,
    handler: &H,
) where
    H: Fn(Accepted) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let name = config.name;
    let trusted = config.proxy.as_ref().map(|networks| networks.contains(peer.ip()));
    // Refusals before any task exists: a flood costs an accept, a close and a counter.
    if trusted == Some(false) {
        metrics::refused(name, "not_from_proxy");
        tracing::debug!(listener = name, %peer, "refused: not from a trusted proxy");
        return;
    }
    let mut slot = match config.admission.admit(trusted.is_none().then_some(peer.ip())) {
        Ok(slot) => slot,
        Err(refused) => {
            metrics::refused(name, refused.label());
            tracing::debug!(listener = name, %peer, %refused, "refused");
            return;
        }
    };
    metrics::accepted(name);
    let Some((handle, place)) = workers.place() else { return };
    slot.place = Some(place);
    let stream = match moved_to(handle, stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(listener = name, %peer, %error, "gone before it was accepted");
            return;
        }
    };
    let span = tracing::info_span!("transport", listener = name, %peer);
    let deadline = Deadline::after(config.handshake, name);
    if trusted.is_none() {
        // No header to wait for: the handler's future is the task, nothing around it that an idle session pays for.
        match Transport::tcp(stream) {
            Ok(transport) => {
                let loopback = transport.peer_is_loopback();
                let source = Source { address: canonical(peer), via: None };
                let accepted = Accepted { transport, source, deadline, loopback, slot };
                tasks.spawn_on(handler(accepted).instrument(span), handle);
            }
            Err(error) => tracing::debug!(listener = name, %peer, %error, "gone before it was accepted"),
        }
        return;
    }
    let handler = handler.clone();
    let admission = Arc::clone(&config.admission);
    let task = async move {
        // Both boxed: the header's buffer is gone once it is read, the handler's future exists only after that.
        if let Some(accepted) = Box::pin(behind_proxy(stream, peer, deadline, slot, &admission)).await {
            Box::pin(handler(accepted)).await;
        }
    };
    tasks.spawn_on(task.instrument(span), handle);
}

/// Hands a socket over to the reactor of the worker that will serve it.
fn moved_to(handle: &Handle, stream: TcpStream) -> io::Result<TcpStream> {
    if handle.id() == Handle::current().id() {
        return Ok(stream);
    }
    let stream = stream.into_std()?;
    let _inside = handle.enter();
    TcpStream::from_std(stream)
}

/// Reads the header of a trusted load balancer and counts the client it names.
async fn behind_proxy(
    stream: TcpStream,
    peer: SocketAddr,
    deadline: Deadline,
    mut slot: Slot,
    admission: &Arc<Admission>,
) -> Option<Accepted> {
    let name = deadline.listener;
    let mut transport = Transport::tcp(stream).ok()?;
    let header = match deadline.bound(proxy_header::read(&mut transport)).await {
        Ok(Ok(header)) => header,
        Ok(Err(error)) => {
            metrics::handshake_failed(name, "proxy_header");
            tracing::warn!(listener = name, %peer, %error, "refused: no valid proxy header from a trusted proxy");
            return None;
        }
        Err(TooSlow) => return None,
    };
    let peer = canonical(peer);
    let (address, loopback) = match header {
        proxy_header::Header::Proxied { source } => {
            let source = canonical(source);
            (source, transport.peer_is_loopback() && source.ip().is_loopback())
        }
        proxy_header::Header::Local => (peer, false),
    };
    if let Err(refused) = admission.count_source(&mut slot, address.ip()) {
        metrics::refused(name, refused.label());
        tracing::debug!(listener = name, %address, %refused, "refused");
        return None;
    }
    let source = Source { address, via: Some(peer) };
    Some(Accepted { transport, source, deadline, loopback, slot })
}

/// An IPv4 client of a dual-stack socket is an IPv4 client: conditions and records see one spelling.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_one_peer_are_passed_over() {
        for (errno, of_one) in
            [(103, true), (104, true), (4, true), (24, false), (23, false), (105, false), (12, false)]
        {
            // ECONNABORTED, ECONNRESET, EINTR; EMFILE, ENFILE, ENOBUFS, ENOMEM on Linux.
            assert_eq!(is_of_one_transport(&io::Error::from_raw_os_error(errno)), of_one, "{errno}");
        }
    }
}
