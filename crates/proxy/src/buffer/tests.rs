use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Takes at most `step` bytes per write and remembers the calls.
#[derive(Default)]
struct Sink {
    taken: Vec<u8>,
    step: usize,
    writes: usize,
    flushes: usize,
    blocked: bool,
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.blocked {
            return Poll::Pending;
        }
        self.writes += 1;
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        let n = all.len().min(self.step);
        self.taken.extend(&all[..n]);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn sink(step: usize) -> Sink {
    Sink { step, ..Sink::default() }
}

async fn drain(queue: &mut WriteQueue, sink: &mut Sink) -> bool {
    poll_fn(|cx| Poll::Ready(matches!(queue.poll_drain(cx, sink), Poll::Ready(Ok(()))))).await
}

async fn fill(buffer: &mut ReadBuffer, io: &mut (impl AsyncRead + Unpin)) -> Option<Fill> {
    poll_fn(|cx| match buffer.poll_fill(cx, io) {
        Poll::Ready(fill) => Poll::Ready(Some(fill.unwrap())),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn an_idle_buffer_and_queue_hold_no_memory() {
    let (mut far, mut near) = tokio::io::duplex(1 << 20);
    let mut buffer = ReadBuffer::new(1 << 20);
    let mut queue = WriteQueue::new(1 << 20);
    for size in [1, 100, 5_000, 300_000] {
        far.write_all(&vec![7; size]).await.unwrap();
        let mut sink = sink(usize::MAX);
        while let Some(Fill::Read(n)) = fill(&mut buffer, &mut near).await {
            buffer.forward(n, &mut queue);
            assert!(drain(&mut queue, &mut sink).await);
        }
        assert_eq!(sink.taken.len(), size);
        assert_eq!(buffer.bytes.capacity(), 0, "after {size}");
        assert_eq!(queue.tail.capacity(), 0, "after {size}");
        assert!(queue.segments.capacity() <= KEPT_SEGMENTS);
    }
}

#[tokio::test]
async fn a_buffer_stops_at_its_limit_and_goes_on_once_consumed() {
    let (mut far, mut near) = tokio::io::duplex(1 << 20);
    far.write_all(&vec![1; 100_000]).await.unwrap();
    let mut buffer = ReadBuffer::new(20_000);
    while fill(&mut buffer, &mut near).await.is_some_and(|fill| matches!(fill, Fill::Read(_))) {}
    assert_eq!(buffer.len(), 20_000);
    assert_eq!(fill(&mut buffer, &mut near).await, Some(Fill::Full));
    buffer.consume(1);
    assert_eq!(fill(&mut buffer, &mut near).await, Some(Fill::Read(1)));
    assert!(buffer.bytes.capacity() <= 64 * 1024);
}

#[tokio::test]
async fn the_end_of_the_stream_comes_after_the_last_bytes() {
    let (mut far, mut near) = tokio::io::duplex(64);
    far.write_all(b"bye").await.unwrap();
    drop(far);
    let mut buffer = ReadBuffer::new(1024);
    assert_eq!(fill(&mut buffer, &mut near).await, Some(Fill::Read(3)));
    assert_eq!(fill(&mut buffer, &mut near).await, Some(Fill::Closed));
    assert_eq!(buffer.bytes(), b"bye");
}

#[tokio::test]
async fn many_pieces_leave_in_order_in_one_write_and_one_flush() {
    let mut queue = WriteQueue::new(1 << 20);
    let mut expected: Vec<u8> = Vec::new();
    for i in 0..6_u8 {
        queue.push_slice(&[i; 3]);
        queue.push(Bytes::from(vec![i; 1000]));
        queue.push_with(|out| out.put_slice(b"own"));
        expected.extend([i; 3]);
        expected.extend(vec![i; 1000]);
        expected.extend(b"own");
    }
    assert_eq!(queue.len(), expected.len());
    let mut sink = sink(usize::MAX);
    assert!(drain(&mut queue, &mut sink).await);
    assert_eq!(sink.taken, expected);
    assert_eq!((sink.writes, sink.flushes), (1, 1));
    assert!(drain(&mut queue, &mut sink).await);
    assert_eq!(sink.flushes, 1, "nothing new, nothing flushed");
}

#[tokio::test]
async fn partial_writes_at_every_step_lose_and_repeat_nothing() {
    for step in [1, 2, 3, 511, 512, 513, 999, 1000, 1001] {
        let mut queue = WriteQueue::new(1 << 20);
        let mut expected: Vec<u8> = Vec::new();
        for i in 0..20_u8 {
            let piece = vec![i; usize::from(i) * 77 + 1];
            expected.extend(&piece);
            if i % 3 == 0 { queue.push_slice(&piece) } else { queue.push(piece.into()) }
        }
        let mut sink = sink(step);
        assert!(drain(&mut queue, &mut sink).await);
        assert_eq!(sink.taken, expected, "step {step}");
        assert!(queue.is_empty());
    }
}

#[tokio::test]
async fn a_blocked_peer_keeps_the_queue_and_is_not_flushed() {
    let mut queue = WriteQueue::new(10);
    queue.push_slice(b"0123456789");
    assert!(queue.is_full());
    let mut sink = Sink { blocked: true, ..sink(4) };
    assert!(!drain(&mut queue, &mut sink).await);
    assert_eq!((queue.len(), sink.flushes), (10, 0));
    sink.blocked = false;
    assert!(drain(&mut queue, &mut sink).await);
    assert_eq!((sink.taken.as_slice(), sink.flushes), (b"0123456789".as_slice(), 1));
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_an_error() {
    let mut queue = WriteQueue::new(10);
    queue.push_slice(b"x");
    let mut sink = sink(0);
    assert!(!drain(&mut queue, &mut sink).await);
}

/// The attack: ten bytes at a time, forwarded to a peer that does not read. Each few bytes must not keep a chunk.
#[tokio::test]
async fn dribbled_bytes_do_not_pin_a_chunk_each() {
    let (mut far, mut near) = tokio::io::duplex(1024);
    let mut buffer = ReadBuffer::new(1 << 20);
    let mut queue = WriteQueue::new(1 << 20);
    for _ in 0..100 {
        far.write_all(&[1; COPY_BELOW]).await.unwrap();
        assert_eq!(fill(&mut buffer, &mut near).await, Some(Fill::Read(COPY_BELOW)));
        let slice = buffer.take(COPY_BELOW);
        queue.push(slice);
        assert_eq!(fill(&mut buffer, &mut near).await, None);
    }
    let chunks: std::collections::BTreeSet<usize> =
        queue.segments.iter().map(|segment| segment.as_ptr() as usize / (2 * CHUNK)).collect();
    assert!(chunks.len() <= 100 * COPY_BELOW / CHUNK * 2 + 2, "{} chunks", chunks.len());
    assert!(queue.is_full(), "so many pieces are enough");
}

#[tokio::test]
async fn a_relay_of_both_moves_everything_through_small_pipes() {
    let (mut client, mut downstream) = tokio::io::duplex(333);
    let (mut upstream, mut server) = tokio::io::duplex(777);
    let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        drop(client);
    });
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        got
    });
    let mut buffer = ReadBuffer::new(4096);
    let mut queue = WriteQueue::new(4096);
    poll_fn(|cx| {
        loop {
            let drained = queue.poll_drain(cx, &mut upstream).map_err(|error| panic!("{error}"));
            if queue.is_full() {
                return Poll::Pending;
            }
            match buffer.poll_fill(cx, &mut downstream).map(Result::unwrap) {
                Poll::Ready(Fill::Read(n)) => buffer.forward(n, &mut queue),
                Poll::Ready(Fill::Closed) => return drained.map(|_| ()),
                Poll::Ready(Fill::Full) => panic!("everything is forwarded"),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    drop(upstream);
    writer.await.unwrap();
    assert_eq!(reader.await.unwrap(), expected);
}

#[tokio::test]
async fn wiped_bytes_are_gone_and_the_rest_stays() {
    let (mut far, mut near) = tokio::io::duplex(64);
    far.write_all(b"secretrest").await.unwrap();
    let mut buffer = ReadBuffer::new(1024);
    assert_eq!(fill(&mut buffer, &mut near).await, Some(Fill::Read(10)));
    buffer.wipe(6);
    assert_eq!(buffer.bytes(), b"rest");
    buffer.wipe(usize::MAX);
    assert!(buffer.is_empty());
}
