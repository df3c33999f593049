//! SASL OAUTHBEARER: libpq 18 with a token from its program, and the challenge that every client is sent for a bad one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis_testkit::{drivers::run_oauthbearer, gateway::TENANT};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Setup, Stage, client::Tls, drivers::installed, left_out};

const OAUTHBEARER: &str = "    authentication: oauthbearer\n";

#[tokio::test]
async fn libpq_18_logs_in_with_oauthbearer() {
    if left_out("libpq 18", installed("psycopg")) {
        return;
    }
    let stage = Stage::start(Setup { connection: OAUTHBEARER, ..Setup::default() }).await;
    let token = stage.token().await;
    let issuer = format!("{}/{TENANT}/v2.0", stage.gateway.issuer());
    let passed = run_oauthbearer(&stage.target("shop", &token), &issuer).await;
    assert_eq!(passed, ["ok oauthbearer", "ok challenge", "ok refused"]);
}

#[tokio::test]
async fn a_bad_bearer_token_is_answered_with_where_to_get_a_good_one() {
    let stage = Stage::start(Setup { connection: OAUTHBEARER, ..Setup::default() }).await;
    let token = stage.token().await;
    let configuration = format!("{}/{TENANT}/v2.0/.well-known/openid-configuration", stage.gateway.issuer());
    let forged = format!("{token}x");
    // Discovery is the same with no token at all (RFC 7628 section 4.3).
    for said in [format!("n,,\u{1}auth=Bearer {forged}\u{1}\u{1}"), "n,,\u{1}auth=\u{1}\u{1}".to_owned()] {
        let received = stage.server.log().matches("connection received").count();
        let mut wire = begin(&stage).await;
        let (kind, body) = message(&mut wire).await;
        assert_eq!((kind, &body[..4]), (b'R', [0, 0, 0, 10].as_slice()), "AuthenticationSASL");
        assert_eq!(&body[4..], b"OAUTHBEARER\0\0", "no other mechanism is offered");

        let mut response = b"OAUTHBEARER\0".to_vec();
        response.extend(u32::try_from(said.len()).unwrap().to_be_bytes());
        response.extend(said.as_bytes());
        send(&mut wire, &response).await;
        let (kind, body) = message(&mut wire).await;
        assert_eq!((kind, &body[..4]), (b'R', [0, 0, 0, 11].as_slice()), "AuthenticationSASLContinue");
        let challenge: serde_json::Value = serde_json::from_slice(&body[4..]).unwrap();
        assert_eq!(challenge["status"], "invalid_token", "{challenge}");
        assert_eq!(challenge["openid-configuration"], configuration.as_str(), "{challenge}");
        assert!(challenge["scope"].as_str().is_some_and(|scope| scope.ends_with("/.default")), "{challenge}");

        send(&mut wire, b"\x01").await;
        let (kind, body) = message(&mut wire).await;
        let error = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(kind, b'E', "{error}");
        assert!(error.contains("FATAL") && error.contains("28"), "{error}");
        assert!(!error.contains(&forged), "a token is not repeated");
        assert_eq!(
            stage.server.log().matches("connection received").count(),
            received,
            "nothing was dialled"
        );
    }
    // A bad token is a decision; a client that only asks where to get one has not asked for anything yet.
    let search = ["audit", "search", "--decision", "deny", "--output", "json"];
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // The index is a moment behind the journal.
        let found: serde_json::Value = serde_json::from_str(stage.gateway.cli(&search).await.ok()).unwrap();
        let denied = found["rows"].as_array().unwrap();
        if !denied.is_empty() {
            assert!(denied.iter().all(|row| row["rule"]["kind"] == "identity"), "{found:#}");
            break;
        }
        assert!(Instant::now() < deadline, "a bad token leaves no event");
    }
}

/// A session on TLS that has asked for the connection and hears how to log in.
async fn begin(stage: &Stage) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut plain = TcpStream::connect(("127.0.0.1", stage.gateway.postgres_port())).await.unwrap();
    plain.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await.unwrap();
    assert_eq!(plain.read_u8().await.unwrap(), b'S');
    let Tls(config) = Tls::trusting(&stage.gateway.certificate());
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut wire = tokio_rustls::TlsConnector::from(Arc::clone(&config)).connect(name, plain).await.unwrap();
    let startup = b"\x00\x03\x00\x00user\0shop\0database\0shop\0\0";
    wire.write_u32(u32::try_from(startup.len() + 4).unwrap()).await.unwrap();
    wire.write_all(startup).await.unwrap();
    wire.flush().await.unwrap();
    wire
}

/// A password message, which SASL uses too.
async fn send(wire: &mut (impl tokio::io::AsyncWrite + Unpin), body: &[u8]) {
    wire.write_u8(b'p').await.unwrap();
    wire.write_u32(u32::try_from(body.len() + 4).unwrap()).await.unwrap();
    wire.write_all(body).await.unwrap();
    wire.flush().await.unwrap();
}

async fn message(wire: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let kind = wire.read_u8().await.unwrap();
    let length = wire.read_u32().await.unwrap();
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    wire.read_exact(&mut body).await.unwrap();
    (kind, body)
}
