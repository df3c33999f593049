//! A scripted server on the other end: what it says wrongly, and what is not said to it then.

use bytes::BufMut as _;
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::codec::{Report, Severity, rows::RowDescription};

fn pair() -> (Login, DuplexStream) {
    let (peer, ours) = duplex(64 * 1024 * 1024);
    (Login::over(Transport::duplex(ours), TransactionStatus::Idle), peer)
}

fn bytes(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

/// Everything that was said to the server.
async fn heard(mut peer: DuplexStream, login: Login) -> String {
    drop(login);
    let mut all = Vec::new();
    peer.read_to_end(&mut all).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

async fn begun() -> (Login, DuplexStream) {
    let (mut login, mut peer) = pair();
    peer.write_all(&bytes(|out| TransactionStatus::InTransaction.encode(out))).await.unwrap();
    login.begin(Access::ReadWrite).await.unwrap();
    (login, peer)
}

#[tokio::test]
async fn nothing_runs_where_the_server_does_not_say_that_a_transaction_is_open() {
    for status in [TransactionStatus::Idle, TransactionStatus::Failed] {
        let (mut login, mut peer) = pair();
        peer.write_all(&bytes(|out| status.encode(out))).await.unwrap();
        assert_eq!(login.begin(Access::ReadWrite).await, Err(Trouble::Odd));
        let ran = login.run("DELETE FROM t", &Parameters::default(), 0).await;
        assert_eq!(ran.err(), Some(Trouble::Odd));
        let heard = heard(peer, login).await;
        assert!(heard.contains("BEGIN READ WRITE; SET LOCAL statement_timeout"), "{heard}");
        assert!(!heard.contains("DELETE"), "{heard}");
    }
}

#[tokio::test]
async fn a_transaction_that_the_server_ended_by_itself_runs_nothing_more() {
    let (mut login, mut peer) = begun().await;
    peer.write_all(&bytes(|out| TransactionStatus::Idle.encode(out))).await.unwrap();
    login.say("SELECT 1").await.unwrap();
    assert_eq!(login.run("DELETE FROM t", &Parameters::default(), 0).await.err(), Some(Trouble::Odd));
    assert!(!heard(peer, login).await.contains("DELETE"));
}

#[tokio::test]
async fn of_an_error_only_its_code_is_kept() {
    let (mut login, mut peer) = begun().await;
    peer.write_all(&bytes(|out| {
        Report::new(Severity::Error, "22P02", "invalid input: \"hunter2\"").detail("hunter2").encode(out);
        TransactionStatus::Failed.encode(out);
    }))
    .await
    .unwrap();
    let trouble = login.run("SELECT 1", &Parameters::default(), 0).await.err().unwrap();
    assert_eq!(trouble, Trouble::Refused("22P02".to_owned()));
    assert!(!format!("{trouble:?} {}", trouble.words()).contains("hunter2"));
    // A code is five letters and digits.
    for odd in ["hunter2", "", "4\u{e9}00", "a b c"] {
        let (mut login, mut peer) = begun().await;
        peer.write_all(&bytes(|out| {
            Report::new(Severity::Error, odd, "no").encode(out);
            TransactionStatus::Failed.encode(out);
        }))
        .await
        .unwrap();
        let trouble = login.say("x").await.err().unwrap();
        assert_eq!(trouble, Trouble::Refused("XX000".to_owned()), "{odd}");
    }
    // After a FATAL nothing comes.
    let (mut login, mut peer) = begun().await;
    peer.write_all(&bytes(|out| Report::new(Severity::Fatal, "57P01", "bye").encode(out))).await.unwrap();
    assert_eq!(login.say("x").await.err(), Some(Trouble::Lost));
}

#[tokio::test]
async fn what_is_kept_of_an_answer_is_bounded() {
    let (mut login, mut peer) = begun().await;
    let cell = vec![b'x'; 3 * 1024 * 1024];
    let sent = bytes(|out| {
        RowDescription::encode(out, &[crate::codec::rows::Column::text(b"a")]);
        DataRow::encode(out, [Some(&b"short"[..])].into_iter());
        for _ in 0..5 {
            DataRow::encode(out, [Some(&*cell)].into_iter());
        }
        // Longer than any message that is kept: passed over without being held.
        out.put_u8(tag::DATA_ROW);
        out.put_u32(4 + 9 * 1024 * 1024);
        out.put_bytes(b'x', 9 * 1024 * 1024);
        backend::command_complete(out, b"UPDATE 7");
        TransactionStatus::InTransaction.encode(out);
    });
    peer.write_all(&sent).await.unwrap();
    let answer = login.run("UPDATE t SET a = 1", &Parameters::default(), 5).await.unwrap();
    assert!(answer.cut && answer.kept > MAX_KEPT);
    assert!(answer.rows.iter().map(Bytes::len).sum::<usize>() <= MAX_KEPT);
    assert_eq!(answer.affected(), Some(7));
    assert!(login.buffer.len() <= MAX_MESSAGE);
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_the_end_of_it() {
    for odd in [
        &b"H\0\0\0\x0b\0\0\x01\0\0"[..],
        b"G\0\0\0\x07\0\0\0",
        b"!\0\0\0\x04",
        b"D\0\0\0\x01",
        b"Z\0\0\0\x05?",
        b"C\0\0\0\x05x",
    ] {
        let (mut login, mut peer) = begun().await;
        peer.write_all(odd).await.unwrap();
        drop(peer);
        assert!(login.run("SELECT 1", &Parameters::default(), 0).await.is_err(), "{odd:?}");
    }
}

#[test]
fn arrays_hold_whatever_names_hold() {
    assert_eq!(array([]), "{}");
    assert_eq!(array(["a", "b\"c", "d\\e", "f,g{h}", ""]), r#"{"a","b\"c","d\\e","f,g{h}",""}"#);
}
