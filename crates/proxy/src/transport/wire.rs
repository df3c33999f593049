//! The byte stream below TLS: a socket and what was read ahead of its reader.
//!
//! Reading ahead serves two ends. Bytes read too early (after a PROXY header, a peeked byte) are handed out first. And
//! rustls asks the socket for 4 KiB at a time, which on bulk data is a system call per quarter of a record; once a read
//! fills the caller's buffer, the next one fetches `READ_AHEAD` bytes at once. The memory goes back as soon as the
//! socket has nothing more, so that an idle session holds none.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};

/// Bytes fetched at once from a socket that keeps filling its reader: two full TLS records.
const READ_AHEAD: usize = 32 * 1024;

/// The most that may be put back in front of the stream: more than any PROXY header or protocol preamble.
const MAX_UNREAD: usize = 16 * 1024;

/// Silence after which a peer is probed, between probes, and probes lost until it counts as gone: two minutes. No
/// `TCP_USER_TIMEOUT`: it would also end a client that pauses in the middle of a large result.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// The byte stream below TLS.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    peer: Option<SocketAddr>,
    ahead: BytesMut,
    /// Whether the last read filled its buffer, so that more is likely waiting.
    busy: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Duplex(Box<DuplexStream>),
}

impl Wire {
    /// A socket, with `TCP_NODELAY` and keep-alive set.
    ///
    /// # Errors
    /// An option cannot be set: the socket is dead.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive)?;
        let peer = stream.peer_addr()?;
        Ok(Self { stream: Stream::Tcp(stream), peer: Some(peer), ahead: BytesMut::new(), busy: false })
    }

    /// One end of an in-memory pipe. It has no peer address.
    pub fn duplex(stream: DuplexStream) -> Self {
        Self { stream: Stream::Duplex(Box::new(stream)), peer: None, ahead: BytesMut::new(), busy: false }
    }

    /// The socket's peer; none for a pipe.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the socket's peer is this machine. A pipe's peer is not: what is unknown does not pass.
    pub fn peer_is_loopback(&self) -> bool {
        self.peer.is_some_and(|peer| is_loopback(peer.ip()))
    }

    /// Whether bytes were read that no reader has had yet. They are the first that a TLS handshake on this wire sees,
    /// so that plaintext sent ahead of TLS is never taken for what comes under it (CVE-2021-23214).
    pub fn has_read_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Puts `bytes` back in front of the stream.
    ///
    /// # Errors
    /// More than 16 KiB would be waiting.
    pub fn unread(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len().saturating_add(self.ahead.len()) > MAX_UNREAD {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too much was read ahead"));
        }
        let mut front = BytesMut::with_capacity(bytes.len() + self.ahead.len());
        front.extend_from_slice(bytes);
        front.extend_from_slice(&self.ahead);
        self.ahead = front;
        Ok(())
    }

    /// The next byte, left in place; `None` at the end of the stream.
    pub(crate) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        if self.ahead.is_empty() {
            let mut byte = [0; 1];
            let mut buf = ReadBuf::new(&mut byte);
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            self.ahead.extend_from_slice(buf.filled());
        }
        Poll::Ready(Ok(self.ahead.first().copied()))
    }

    /// Hands out what is ahead; the memory stays for the next large read while the socket is busy.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let n = buf.remaining().min(self.ahead.len());
        buf.put_slice(self.ahead.get(..n).unwrap_or_default());
        self.ahead.advance(n);
        if self.ahead.is_empty() && !self.busy {
            self.ahead = BytesMut::new();
        }
    }

    /// One large read. Ready once something is ahead or the stream ended.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.capacity() < READ_AHEAD && !self.ahead.try_reclaim(READ_AHEAD) {
            self.ahead = BytesMut::with_capacity(READ_AHEAD);
        }
        let read = std::pin::pin!(self.stream.read_buf(&mut self.ahead)).poll(cx);
        self.busy = matches!(read, Poll::Ready(Ok(n)) if n >= READ_AHEAD / 2);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        read.map_ok(|_| ())
    }
}

/// Whether `ip` is this machine, also where IPv4 is written as IPv6.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let room = buf.remaining();
        if this.ahead.is_empty() {
            if !this.busy || room >= READ_AHEAD {
                let before = buf.filled().len();
                let read = Pin::new(&mut this.stream).poll_read(cx, buf);
                this.busy = read.is_ready() && buf.filled().len() - before == room;
                if !this.busy {
                    this.ahead = BytesMut::new();
                }
                return read;
            }
            std::task::ready!(this.poll_read_ahead(cx))?;
        }
        this.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Duplex(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Duplex(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Duplex(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Duplex(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Duplex(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Duplex(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
