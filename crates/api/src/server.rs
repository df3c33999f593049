//! From an accepted transport to the router: TLS, HTTP/1.1 or HTTP/2, limits.
//!
//! A peer has the listener's deadline for the TLS handshake, the same again for its first request, [`HEADER_WITHIN`] for each
//! request's header, [`ANSWER_WITHIN`] for body and answer, and [`TRANSPORT_WITHIN`] for everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use metrics_exporter_prometheus::PrometheusHandle;
use portcullis_access::Access;
use portcullis_audit::{Journal, Notary};
use portcullis_core::{Clock, Operation, Source};
use portcullis_identity::{Identity, SignIns};
use portcullis_notify::{Notifier, slack};
use portcullis_policy::{Connection, ResolveSecret, Url};
use portcullis_proxy::{
    Accepted, Health, Sessions, Shutdown, gate::InForce, handshake_failed, supervise::Supervisor,
};
use portcullis_record::Recordings;
use portcullis_store::Store;
use rustls::ServerConfig;
use tower::ServiceExt as _;

use crate::{AdminToken, Hub, ManagedDocuments, People, PolicyStatus, RateLimits, routes};

/// The listener's name in metrics and logs.
pub const LISTENER: &str = "web";

/// What the web listener offers in ALPN (RFC 7301), in order.
pub const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The largest request header, in bytes: a token of 64 KiB and 8 KiB for everything else.
pub const MAX_HEADER: usize = 72 * 1024;

/// The largest request body, in bytes: a request for a window with the longest reason takes 5 KiB.
pub const MAX_BODY: usize = 64 * 1024;

/// How long a request's header may take, and how long a kept-alive transport may be silent.
pub const HEADER_WITHIN: Duration = Duration::from_secs(15);

/// How long a request's body and answer may take together.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long one transport is served; then it is told to go, so that a peer that reads nothing holds nothing for ever.
pub const TRANSPORT_WITHIN: Duration = Duration::from_secs(15 * 60);

/// How many requests one HTTP/2 transport has at a time.
const MAX_STREAMS: u32 = 32;

/// Everything the routes need, wired once by the binary.
pub struct Api {
    /// Verifies agents' tokens.
    pub identity: Arc<Identity>,
    /// Windows, blocks, what is reachable.
    pub access: Arc<Access>,
    /// Takes what administrators do.
    pub journal: Arc<Journal>,
    /// Answers searches.
    pub store: Arc<Store>,
    /// The live sessions.
    pub sessions: Arc<Sessions<InForce>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Opens administrative routes.
    pub admin: AdminToken,
    /// How the documents stand.
    pub policy: Arc<PolicyStatus>,
    /// Keeps the documents; none: they are files that others write.
    pub documents: Option<Arc<dyn ManagedDocuments>>,
    /// How upstreams answered.
    pub health: Arc<Health>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// The sessions' listeners: stopped once the gateway drains.
    pub draining: Shutdown,
    /// Repeats decisions of live sessions when a block came into force.
    pub supervisor: Arc<Supervisor>,
    /// What sessions did.
    pub recordings: Arc<Recordings>,
    /// The people who are signed in.
    pub people: People,
    /// Signs people in.
    pub sign_ins: SignIns,
    /// Events, for who follows.
    pub hub: Arc<Hub>,
    /// How often somebody may ask.
    pub limits: RateLimits,
    /// Where people and clients find this.
    pub public: PublicUrl,
    /// Proves the journal.
    pub notary: Arc<Notary>,
    /// Tells people.
    pub notifier: Arc<Notifier>,
    /// Whether calls come from Slack.
    pub slack: slack::Verifier,
    /// Where Slack may be answered.
    pub slack_hosts: slack::ResponseHosts,
    /// Reads the secrets that documents name.
    pub secrets: Arc<dyn ResolveSecret>,
    /// Reads statements without a server, for explanations.
    pub statements: Arc<dyn ReadStatements>,
    /// The web listener's: streams end when it does.
    pub closing: Shutdown,
}

/// Reads a statement as a session on the connection would that knows no catalog.
pub trait ReadStatements: Send + Sync {
    /// Its operations; what cannot be read is one that nobody classified.
    fn read(&self, connection: &Connection, text: &str) -> Vec<Operation>;
}

/// Where people and clients find the web listener: what links, redirects and the check of origins are made from. Never a request's
/// `Host`, which is the peer's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Without a slash at the end.
    pub base: String,
    /// As browsers write it in `Origin`.
    pub origin: String,
}

impl PublicUrl {
    /// From the address.
    pub fn new(url: &Url) -> Self {
        Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            origin: url.origin().ascii_serialization(),
        }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// The peer of a request, for handlers.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub(crate) Source);

/// Serves the web listener: one value, shared by all transports.
#[derive(Clone)]
pub struct Web {
    router: Router,
    tls: Arc<ServerConfig>,
    handshake: Duration,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web").finish_non_exhaustive()
    }
}

impl Web {
    /// `tls` offers [`PROTOCOLS`]; `handshake` bounds the wait for the first request; `shutdown` is the web listener's own,
    /// which outlives the sessions' so that a drain can be watched.
    pub fn new(api: Arc<Api>, tls: Arc<ServerConfig>, handshake: Duration, shutdown: Shutdown) -> Self {
        Self { router: routes::router(api), tls, handshake, shutdown }
    }

    /// Serves one client until it leaves, is too slow or the gateway drains.
    pub async fn serve(self, accepted: Accepted) {
        let (transport, source, deadline, _slot) = accepted.into_parts();
        let transport = match deadline.bound(transport.accept_tls(&self.tls)).await {
            Ok(Ok(transport)) => transport,
            Ok(Err(error)) => {
                handshake_failed(LISTENER, "tls");
                tracing::debug!(%error, "the TLS handshake with a web client failed");
                return;
            }
            Err(_too_slow) => return,
        };
        let builder = auto::Builder::new(TokioExecutor::new());
        // Chosen by ALPN: looking at the first bytes instead would wait for them without a limit.
        let mut builder = match transport.alpn() {
            Some(b"h2") => builder.http2_only(),
            _ => builder.http1_only(),
        };
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).max_buf_size(MAX_HEADER);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(MAX_HEADER).unwrap_or(u32::MAX))
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(Some(HEADER_WITHIN))
            .keep_alive_timeout(HEADER_WITHIN);
        let asked = Arc::new(AtomicBool::new(false));
        let service = service_fn({
            let (router, asked) = (self.router.clone(), Arc::clone(&asked));
            move |request: hyper::Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let mut request: Request = request.map(Body::new);
                request.extensions_mut().insert(Peer(source.clone()));
                router.clone().oneshot(request)
            }
        });
        let connection = builder.serve_connection(TokioIo::new(transport), service);
        tokio::pin!(connection);
        let first = tokio::time::sleep(self.handshake);
        let last = tokio::time::sleep(TRANSPORT_WITHIN);
        tokio::pin!(first, last);
        let (mut waits_for_first, mut leaving) = (true, false);
        loop {
            tokio::select! {
                done = connection.as_mut() => {
                    if let Err(error) = done {
                        tracing::debug!(%error, "a web client's transport ended");
                    }
                    return;
                }
                () = first.as_mut(), if waits_for_first => {
                    waits_for_first = false;
                    if !asked.load(Ordering::Relaxed) {
                        handshake_failed(LISTENER, "timeout");
                        return;
                    }
                }
                () = self.shutdown.stopped(), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = last.as_mut() => {
                    if leaving {
                        return;
                    }
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                    last.as_mut().reset(tokio::time::Instant::now() + ANSWER_WITHIN);
                }
            }
        }
    }
}
