//! What a relay is made of: bytes read from one peer and not yet judged, bytes released and not yet written to the other.
//!
//! **Promises.** Bounded: neither side holds more than its limit says, whatever the peers do. Nothing while idle: the
//! memory goes back to the thread when a buffer runs empty. Many messages per write, one flush when all is written.
//! Large pieces are forwarded as slices of what was read, small ones are copied together.
//!
//! **Does not** know messages, and takes no locks: one task polls both sides of a relay.
//!
//! **How to read it**: [`ReadBuffer`], [`WriteQueue`]; `pool` is where empty memory waits.
//!
//! One turn of a relay, inside `poll_fn`:
//!
//! ```text
//! loop {
//!     let blocked = to_server.poll_drain(cx, &mut upstream)?.is_pending();
//!     if to_server.is_full() { break }               // back-pressure: stop reading the client
//!     match from_client.poll_fill(cx, &mut downstream)? {
//!         Ready(Fill::Read(_)) => judge(from_client.bytes()), then from_client.forward(n, &mut to_server),
//!         Ready(Fill::Closed) => …,  Ready(Fill::Full) => the message is longer than the limit,  Pending => break,
//!     }
//! }
//! ```

use std::{
    collections::VecDeque,
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use zeroize::Zeroize as _;

mod pool;

use pool::CHUNK;

/// Room below which a buffer that holds something gets more memory instead of a tiny read.
const MIN_ROOM: usize = 1024;

/// What a busy peer is read with at once: four full TLS records.
const BUSY_CHUNK: usize = 64 * 1024;

/// Pieces shorter than this are copied: cheaper than a reference, and they do not keep a chunk alive.
const COPY_BELOW: usize = 512;

/// The most pieces waiting: each may keep a chunk of up to [`BUSY_CHUNK`] alive. INVARIANT(bounded-memory).
const MAX_SEGMENTS: usize = 32;

/// Slices per vectored write: more than a full queue usually has.
const MAX_SLICES: usize = 16;

/// Segments for which the queue keeps its own memory while empty: none to speak of.
const KEPT_SEGMENTS: usize = 4;

/// What [`ReadBuffer::poll_fill`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// So many bytes more.
    Read(usize),
    /// The peer will send no more. Also where it went without TLS's goodbye, as many clients do: a protocol that ends
    /// by a message of its own knows whether that came.
    Closed,
    /// The limit is reached: consume something first.
    Full,
}

/// Bytes read from a peer, not yet judged.
#[derive(Debug)]
pub struct ReadBuffer {
    bytes: BytesMut,
    limit: usize,
    /// Whether the last fill took all the room there was.
    busy: bool,
}

impl ReadBuffer {
    /// Holds at most `limit` bytes. Takes no memory until something is read.
    pub fn new(limit: usize) -> Self {
        Self { bytes: BytesMut::new(), limit, busy: false }
    }

    /// Reads what is there, up to the room there is. `Pending` exactly when nothing was read and `cx` will be woken;
    /// after [`Fill::Read`] poll again before waiting. Grows by doubling with what has arrived, never by what a peer
    /// announces.
    ///
    /// # Errors
    /// Reading failed. What was read before the failure is handed out first.
    pub fn poll_fill<T>(&mut self, cx: &mut Context<'_>, io: &mut T) -> Poll<io::Result<Fill>>
    where
        T: AsyncRead + Unpin + ?Sized,
    {
        if self.is_full() {
            return Poll::Ready(Ok(Fill::Full));
        }
        self.make_room();
        let room = (self.bytes.capacity() - self.bytes.len()).min(self.limit - self.bytes.len());
        let mut total = 0;
        let end = loop {
            let mut target = (&mut self.bytes).limit(room - total);
            match std::pin::pin!(io.read_buf(&mut target)).poll(cx) {
                Poll::Ready(Ok(n)) if n > 0 => total += n,
                end => break end,
            }
            if total == room {
                break Poll::Pending;
            }
        };
        self.busy = total == room;
        if total > 0 {
            return Poll::Ready(Ok(Fill::Read(total)));
        }
        self.give_back();
        match end {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(Fill::Closed)),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(Fill::Closed))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How much is there.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether as much is there as the limit allows.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= self.limit
    }

    /// Drops the first `n` bytes, or all there are.
    pub fn consume(&mut self, n: usize) {
        self.bytes.advance(n.min(self.bytes.len()));
    }

    /// Overwrites and drops the first `n` bytes, or all there are: a password must not stay in memory that is reused.
    pub fn wipe(&mut self, n: usize) {
        let n = n.min(self.bytes.len());
        self.bytes.get_mut(..n).unwrap_or_default().zeroize();
        self.bytes.advance(n);
    }

    /// Takes the first `n` bytes, or all there are, without copying them.
    pub fn take(&mut self, n: usize) -> Bytes {
        self.bytes.split_to(n.min(self.bytes.len())).freeze()
    }

    /// Releases the first `n` bytes, or all there are, to the other peer.
    pub fn forward(&mut self, n: usize, to: &mut WriteQueue) {
        let n = n.min(self.bytes.len());
        if n < COPY_BELOW {
            to.push_slice(self.bytes.get(..n).unwrap_or_default());
            self.bytes.advance(n);
        } else {
            to.push(self.take(n));
        }
    }

    fn make_room(&mut self) {
        if self.bytes.is_empty() {
            let wanted = if self.busy { BUSY_CHUNK.min(self.limit).max(CHUNK) } else { CHUNK };
            // Reuses the memory in hand where the queue has let go of it.
            if self.bytes.capacity() < MIN_ROOM.min(self.limit) && !self.bytes.try_reclaim(wanted) {
                self.bytes = if wanted == CHUNK { pool::take() } else { BytesMut::with_capacity(wanted) };
            }
        } else if self.bytes.capacity() - self.bytes.len() < MIN_ROOM {
            let more = self.bytes.len().max(CHUNK).min(self.limit - self.bytes.len());
            self.bytes.reserve(more);
        }
    }

    /// Memory that is still shared with a queue is kept, not dropped: were it dropped, a peer that dribbles would make
    /// each few bytes queued keep a chunk of their own. INVARIANT(bounded-memory).
    fn give_back(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 && self.bytes.try_reclaim(CHUNK) {
            pool::give_back(std::mem::take(&mut self.bytes));
        }
    }
}

/// Bytes released to a peer, not yet written.
#[derive(Debug)]
pub struct WriteQueue {
    segments: VecDeque<Bytes>,
    /// Short pieces, after all segments.
    tail: BytesMut,
    /// Bytes in `segments` and `tail`.
    length: usize,
    limit: usize,
    /// Whether something was written since the last flush.
    unflushed: bool,
}

impl WriteQueue {
    /// A queue that is full at `limit` bytes. Pushing to a full queue works, so that what was decided is never lost:
    /// the relay asks [`WriteQueue::is_full`] before it reads more, and exceeds the limit by one read at most.
    pub fn new(limit: usize) -> Self {
        Self { segments: VecDeque::new(), tail: BytesMut::new(), length: 0, limit, unflushed: false }
    }

    /// Appends bytes without copying them, unless they are few.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < COPY_BELOW {
            self.push_slice(&bytes);
            return;
        }
        self.length += bytes.len();
        if !self.tail.is_empty() {
            self.segments.push_back(self.tail.split().freeze());
        }
        self.segments.push_back(bytes);
    }

    /// Appends a copy.
    pub fn push_slice(&mut self, bytes: &[u8]) {
        self.tail_for(bytes.len()).extend_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Appends what `encode` writes: messages of our own, encoded in place.
    pub fn push_with(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let tail = self.tail_for(1);
        let before = tail.len();
        encode(tail);
        self.length += self.tail.len().saturating_sub(before);
    }

    /// Bytes waiting to be written.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing waits to be written; something may still be to be flushed.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether to stop reading the other peer until some is written.
    pub fn is_full(&self) -> bool {
        self.length >= self.limit || self.segments.len() >= MAX_SEGMENTS
    }

    /// Writes as much as the peer takes, and flushes once when all is written. Ready when nothing is left to do;
    /// `Pending` when `cx` will be woken to do more. Nothing is written twice if it is polled again.
    ///
    /// # Errors
    /// Writing failed: the peer is gone.
    pub fn poll_drain<T>(&mut self, cx: &mut Context<'_>, io: &mut T) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin + ?Sized,
    {
        while self.length > 0 {
            let n = ready!(self.poll_write(cx, Pin::new(&mut *io)))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.written(n);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<T>(&self, cx: &mut Context<'_>, io: Pin<&mut T>) -> Poll<io::Result<usize>>
    where
        T: AsyncWrite + ?Sized,
    {
        match self.segments.front() {
            None => io.poll_write(cx, &self.tail),
            Some(first) if !io.is_write_vectored() => io.poll_write(cx, first),
            Some(_) => {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let pieces =
                    self.segments.iter().map(Bytes::as_ref).chain(std::iter::once(self.tail.as_ref()));
                let mut used = 0;
                for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
                    *slice = IoSlice::new(piece);
                    used += 1;
                }
                io.poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
            }
        }
    }

    /// Forgets `n` written bytes, and all memory once nothing is left.
    fn written(&mut self, mut n: usize) {
        self.length = self.length.saturating_sub(n);
        while let Some(first) = self.segments.front_mut() {
            if n < first.len() {
                first.advance(n);
                return;
            }
            n -= first.len();
            self.segments.pop_front();
        }
        self.tail.advance(n.min(self.tail.len()));
        if self.tail.is_empty() {
            if self.tail.capacity() > 0 && self.tail.try_reclaim(CHUNK) {
                pool::give_back(std::mem::take(&mut self.tail));
            }
            self.tail = BytesMut::new();
            if self.segments.capacity() > KEPT_SEGMENTS {
                self.segments = VecDeque::new();
            }
        }
    }

    fn tail_for(&mut self, more: usize) -> &mut BytesMut {
        if self.tail.is_empty() && self.tail.capacity() < more {
            // `split` left an empty handle on memory that a segment still uses; a new chunk is as good.
            self.tail = pool::take();
        }
        &mut self.tail
    }
}

#[cfg(test)]
mod tests;
