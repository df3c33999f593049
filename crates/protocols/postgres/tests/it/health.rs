//! What opening a session tells of its upstream.

use std::{sync::Arc, time::Duration};

use portcullis_core::{Clock as _, SystemClock};
use portcullis_proxy::{Failing, health::Seen};
use portcullis_testkit::ManualClock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::lab::{Lab, Setup};

fn seen(lab: &Lab) -> Option<Seen> {
    let policy = lab.gate.access.policy();
    lab.gate.health.of(policy.connections().next().unwrap())
}

/// Tries to open a session: whether one opened.
async fn opens(lab: &Lab) -> bool {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(lab.address.port()).user("shop").password(lab.token());
    config.connect(tokio_postgres::NoTls).await.is_ok()
}

/// A server that says this to the first client, and closes.
async fn server(says: Vec<u8>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        startup(&mut client).await;
        let _ = client.write_all(&says).await;
    });
    address
}

async fn startup(client: &mut TcpStream) {
    let length = client.read_u32().await.unwrap();
    let mut rest = vec![0; length as usize - 4];
    client.read_exact(&mut rest).await.unwrap();
}

fn error(code: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno, inner_role at 10.0.0.1\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    [b"E".as_slice(), &length, fields.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_answers_is_known_by_its_kind() {
    let lab = Lab::start("read:*", "").await;
    assert_eq!(seen(&lab), None, "nothing is asked for its own sake");
    assert!(opens(&lab).await);
    assert_eq!(seen(&lab).map(|seen| seen.failing), Some(None));
    for (says, failing) in [
        (error("28P01"), Some(Failing::Login)),
        (error("53300"), Some(Failing::Full)),
        (error("57P03"), Some(Failing::Unavailable)),
        // What was asked for is not there: it answers.
        (error("3D000"), None),
        (Vec::new(), Some(Failing::Broken)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Some(Failing::Broken)),
    ] {
        lab.lead_to(server(says.clone()).await);
        assert_eq!(seen(&lab), None, "another address is another connection");
        assert!(!opens(&lab).await);
        assert_eq!(seen(&lab).map(|seen| seen.failing), Some(failing), "{says:?}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    lab.lead_to(closed);
    assert!(!opens(&lab).await);
    assert_eq!(seen(&lab).map(|seen| seen.failing), Some(Some(Failing::Refused)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_is_known_when_somebody_gave_up_on_it() {
    for (waited, failing) in
        [(Duration::from_secs(1), None), (Duration::from_secs(6), Some(Failing::Timeout))]
    {
        let clock = ManualClock::at(SystemClock.now());
        let lab = Lab::set_up(Setup { clock: Arc::new(clock.clone()), ..Setup::default() }).await;
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        lab.lead_to(silent.local_addr().unwrap());
        let (mut upstream, opened) = tokio::join!(
            async {
                let (mut upstream, _) = silent.accept().await.unwrap();
                startup(&mut upstream).await;
                clock.advance(waited);
                lab.shutdown.abort();
                upstream
            },
            opens(&lab)
        );
        assert!(!opened);
        // Closed on our side: whoever waited is gone.
        assert_eq!(upstream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        while failing.is_some() && seen(&lab).is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(seen(&lab).and_then(|seen| seen.failing), failing);
    }
}
