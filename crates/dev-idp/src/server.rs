//! How the issuer is reached: one plain HTTP listener on loopback.
//!
//! INVARIANT(loopback-only): the listener, the peer and the request's host are each checked to be loopback. The last
//! keeps a web page from reaching the issuer by pointing a name of its own at 127.0.0.1 (DNS rebinding).

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{StatusCode, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
    serve::Listener,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use crate::{authorize, device, discovery, error::Error, graph, idp::DevIdp, logout, token_endpoint};

/// The largest request body, in bytes: a form with two tokens in it, or a batch of 20 requests.
pub(crate) const MAX_BODY: usize = 256 * 1024;
/// The longest path with query, in bytes: a delta link filtered to 50 objects takes about 4,000.
const MAX_URI: usize = 8 * 1024;

/// A running issuer on a port of its own; it stops when this is dropped.
pub struct Running {
    idp: Arc<DevIdp>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Stops listening and waits for open requests to be answered.
    pub async fn stop(mut self) -> Result<(), Error> {
        drop(self.stop.take());
        (&mut self.task).await.map_err(|error| Error::Io(io::Error::other(error)))?
    }
}

impl std::ops::Deref for Running {
    type Target = DevIdp;

    fn deref(&self) -> &DevIdp {
        &self.idp
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.stop.take().is_some() {
            self.task.abort();
        }
    }
}

impl DevIdp {
    /// Serves until `shutdown` is ready, then answers what is open. The listener must be on loopback.
    pub async fn serve<F>(self: Arc<Self>, listener: TcpListener, shutdown: F) -> Result<(), Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.bind(listener.local_addr()?)?;
        let router = router(self);
        Ok(axum::serve(LoopbackOnly(listener), router).with_graceful_shutdown(shutdown).await?)
    }

    /// Serves on a free port of 127.0.0.1 in a task of its own. What [`DevIdp::authority`] says is true on return.
    pub async fn start(self: Arc<Self>) -> Result<Running, Error> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        self.bind(listener.local_addr()?)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&self).serve(listener, async move {
            let _ = stopped.await;
        });
        Ok(Running { idp: self, stop: Some(stop), task: tokio::spawn(serving) })
    }
}

/// Whether an address is one that only this machine reaches; an IPv4 address inside IPv6 counts as itself.
pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn router(idp: Arc<DevIdp>) -> Router {
    Router::new()
        .route("/{tenant}/.well-known/openid-configuration", get(discovery::metadata_v1))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(discovery::metadata_v2))
        .route("/{tenant}/discovery/keys", get(discovery::keys))
        .route("/{tenant}/discovery/v2.0/keys", get(discovery::keys))
        .route("/{tenant}/oauth2/token", post(token_endpoint::v1))
        .route("/{tenant}/oauth2/v2.0/token", post(token_endpoint::v2))
        .route("/{tenant}/oauth2/v2.0/authorize", get(authorize::page).post(authorize::sign_in))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device::begin))
        .route("/{tenant}/oauth2/deviceauth", get(device::page).post(device::answer))
        .route("/{tenant}/oauth2/v2.0/logout", get(logout::get).post(logout::post))
        .route("/v1.0/{*path}", any(graph::serve))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard))
        .with_state(idp)
}

/// Refuses requests for other hosts, and overlong addresses.
async fn guard(request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().cloned().or_else(|| header.and_then(|host| host.parse().ok()));
    if !authority.is_some_and(|authority| names_loopback(&authority)) {
        return (StatusCode::MISDIRECTED_REQUEST, "the dev issuer answers loopback names only\n")
            .into_response();
    }
    if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > MAX_URI) {
        return (StatusCode::URI_TOO_LONG, "the request's address is too long\n").into_response();
    }
    next.run(request).await
}

fn names_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.eq_ignore_ascii_case("localhost")
        || literal.is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback())
}

/// A listener that hangs up on peers from elsewhere.
struct LoopbackOnly(TcpListener);

impl Listener for LoopbackOnly {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.0).await;
            if is_loopback(peer) {
                return (stream, peer);
            }
            tracing::warn!(%peer, "refused a peer that is not loopback");
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_loopback() {
        for inside in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["0.0.0.0:1", "10.0.0.1:1", "192.0.2.1:1", "[::]:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1"]
        {
            assert!(!is_loopback(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn only_loopback_names_are_answered() {
        for inside in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080"] {
            assert!(names_loopback(&inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["attacker.example", "127.0.0.1.attacker.example:80", "localhost.attacker.example", "0.0.0.0"]
        {
            assert!(!names_loopback(&outside.parse().unwrap()), "{outside}");
        }
    }
}
