//! One peer's byte stream: a socket, bare or under TLS, whatever the direction.
//!
//! **Promises.** One type for every protocol, so that a relay is one task over two [`Transport`]s, without locks and
//! without splitting a TLS stream. An idle transport holds no read or write buffer of ours, and rustls at most one of
//! 4 KiB. Bytes that were read before TLS began (a PROXY header, a first byte) reach the TLS layer, never the
//! plaintext that comes after it.
//!
//! **Does not** decide whether plaintext is acceptable: protocols ask [`Transport::is_encrypted`] and
//! [`Accepted::is_loopback`](crate::listener::Accepted::is_loopback).
//!
//! **How to read it**: this file, then [`wire`] (below TLS), then `endpoint` (RFC 5929 channel binding).
//!
//! **References**: RFC 8446 (TLS 1.3), RFC 5929 section 4, RFC 7301 (ALPN).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

mod endpoint;
pub mod wire;

pub use wire::Wire;

/// What rustls may hold for a peer that does not read, in bytes: four full records, written in one system call.
///
/// Only a stalled peer reaches it; an idle session holds nothing in it. INVARIANT(bounded-memory).
const TLS_SEND_LIMIT: usize = 64 * 1024;

/// One peer's byte stream.
///
/// Reading and writing are cancel safe at the poll level: nothing read is lost, nothing is written twice.
#[derive(Debug)]
pub enum Transport {
    /// No encryption (yet).
    Plain(Wire),
    /// TLS in which we are the server: the downstream side.
    ServerTls(Box<server::TlsStream<Wire>>),
    /// TLS in which we are the client: the upstream side.
    ClientTls(Box<client::TlsStream<Wire>>),
}

impl Transport {
    /// A socket as it is, with `TCP_NODELAY` and keep-alive set.
    ///
    /// # Errors
    /// Setting the options failed: the socket is dead.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        Ok(Self::Plain(Wire::tcp(stream)?))
    }

    /// One end of an in-memory pipe, for tests and for parts of the gateway that talk to each other.
    pub fn duplex(stream: DuplexStream) -> Self {
        Self::Plain(Wire::duplex(stream))
    }

    /// Performs the server's side of a TLS handshake.
    ///
    /// Bytes already read ahead are taken as the start of the client's TLS. Not cancel safe: a dropped future has
    /// consumed the transport. Has no deadline of its own: run it under [`crate::listener::Deadline`].
    ///
    /// # Errors
    /// The handshake failed (an alert was sent where TLS allows one) or the transport is encrypted already.
    pub async fn accept_tls(self, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let Self::Plain(wire) = self else { return Err(already_encrypted()) };
        let accept = TlsAcceptor::from(Arc::clone(config))
            .accept_with(wire, |connection| connection.set_buffer_limit(Some(TLS_SEND_LIMIT)));
        Ok(Self::ServerTls(Box::new(Box::pin(accept).await?)))
    }

    /// Performs the client's side of a TLS handshake. `name` is verified as `config` says; an IP address sends no SNI
    /// (RFC 6066 section 3).
    ///
    /// Not cancel safe: a dropped future has consumed the transport.
    ///
    /// # Errors
    /// The handshake failed, the certificate among the reasons, or the transport is encrypted already.
    pub async fn connect_tls(
        self,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let Self::Plain(wire) = self else { return Err(already_encrypted()) };
        let connect = TlsConnector::from(Arc::clone(config))
            .connect_with(name, wire, |connection| connection.set_buffer_limit(Some(TLS_SEND_LIMIT)));
        Ok(Self::ClientTls(Box::new(Box::pin(connect).await?)))
    }

    /// Whether TLS protects what is read and written.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// The application protocol both sides agreed on (RFC 7301), if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::ServerTls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::ClientTls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The name the client asked for (SNI), if it sent one.
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::ServerTls(stream) => stream.get_ref().1.server_name(),
            Self::Plain(_) | Self::ClientTls(_) => None,
        }
    }

    /// The `tls-server-end-point` channel binding (RFC 5929 section 4) of a transport we opened: the hash of the
    /// server's certificate. `None` without TLS, on the server's side, and where the certificate's signature
    /// algorithm defines no hash (Ed25519).
    pub fn tls_server_end_point(&self) -> Option<Vec<u8>> {
        match self {
            Self::ClientTls(stream) => {
                let certificate = stream.get_ref().1.peer_certificates()?.first()?;
                endpoint::hash(certificate)
            }
            Self::Plain(_) | Self::ServerTls(_) => None,
        }
    }

    /// The raw byte stream below any TLS.
    pub fn wire(&self) -> &Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::ServerTls(stream) => stream.get_ref().0,
            Self::ClientTls(stream) => stream.get_ref().0,
        }
    }

    /// Whether the socket's peer is this machine. Says nothing about a client behind a load balancer: for that see
    /// [`Accepted::is_loopback`](crate::listener::Accepted::is_loopback).
    pub fn peer_is_loopback(&self) -> bool {
        self.wire().peer_is_loopback()
    }

    /// The first byte the peer sends, left in place: how a listener tells TLS (`0x16`) from a protocol's own start.
    /// `None` when the peer closed first. Cancel safe.
    ///
    /// # Errors
    /// Reading failed, or TLS is already in place.
    pub async fn peek_first_byte(&mut self) -> io::Result<Option<u8>> {
        match self {
            Self::Plain(wire) => std::future::poll_fn(|cx| wire.poll_peek(cx)).await,
            Self::ServerTls(_) | Self::ClientTls(_) => Err(already_encrypted()),
        }
    }
}

fn already_encrypted() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the transport is encrypted already")
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::ServerTls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::ClientTls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::ServerTls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::ClientTls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::ServerTls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            Self::ClientTls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::ServerTls(_) | Self::ClientTls(_) => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::ServerTls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::ClientTls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::ServerTls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::ClientTls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
