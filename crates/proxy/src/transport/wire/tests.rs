use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn a_peeked_byte_is_read_again() {
    let (mut far, near) = tokio::io::duplex(64);
    let mut wire = Wire::duplex(near);
    far.write_all(b"hello").await.unwrap();
    let peeked = std::future::poll_fn(|cx| wire.poll_peek(cx)).await.unwrap();
    assert_eq!(peeked, Some(b'h'));
    assert!(wire.has_read_ahead());
    let mut all = [0; 5];
    wire.read_exact(&mut all).await.unwrap();
    assert_eq!(&all, b"hello");
    assert!(!wire.has_read_ahead());
}

#[tokio::test]
async fn peeking_at_a_closed_stream_is_none() {
    let (far, near) = tokio::io::duplex(64);
    drop(far);
    let mut wire = Wire::duplex(near);
    assert_eq!(std::future::poll_fn(|cx| wire.poll_peek(cx)).await.unwrap(), None);
}

#[tokio::test]
async fn unread_bytes_come_first_and_are_bounded() {
    let (mut far, near) = tokio::io::duplex(64);
    let mut wire = Wire::duplex(near);
    far.write_all(b"c").await.unwrap();
    wire.unread(b"b").unwrap();
    wire.unread(b"a").unwrap();
    let mut all = [0; 3];
    wire.read_exact(&mut all).await.unwrap();
    assert_eq!(&all, b"abc");
    assert!(wire.unread(&vec![0; MAX_UNREAD + 1]).is_err());
}

#[tokio::test]
async fn bulk_is_read_ahead_in_order_and_an_idle_wire_holds_nothing() {
    let (mut far, near) = tokio::io::duplex(1 << 20);
    let mut wire = Wire::duplex(near);
    let sent: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    far.write_all(&sent).await.unwrap();
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    let mut was_ahead = false;
    while got.len() < sent.len() {
        let n = wire.read(&mut piece).await.unwrap();
        got.extend_from_slice(&piece[..n]);
        was_ahead |= wire.has_read_ahead();
    }
    assert!(was_ahead, "a busy wire reads ahead");
    assert_eq!(got, sent);
    let idle = std::future::poll_fn(|cx| {
        let mut buf = ReadBuf::new(&mut piece);
        Poll::Ready(Pin::new(&mut wire).poll_read(cx, &mut buf).is_pending())
    });
    assert!(idle.await);
    assert_eq!(wire.ahead.capacity(), 0);
}

#[tokio::test]
async fn a_pipe_is_not_loopback() {
    let (_far, near) = tokio::io::duplex(1);
    assert!(!Wire::duplex(near).peer_is_loopback());
}

#[test]
fn loopback_is_recognised_in_every_spelling() {
    for yes in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(is_loopback(yes.parse().unwrap()), "{yes}");
    }
    for no in ["10.0.0.1", "::", "0.0.0.0", "::ffff:10.0.0.1", "fe80::1"] {
        assert!(!is_loopback(no.parse().unwrap()), "{no}");
    }
}
