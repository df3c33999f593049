//! Real and misbehaving clients in every state, over pipes in memory.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::{BufMut, BytesMut};
use portcullis_access::Answer;
use portcullis_proxy::{CertificatePaths, DownstreamTls, UpstreamTlsConfigs, Verify};
use portcullis_testkit::{Scratch, TestCa};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};

use super::*;
use crate::codec::{
    Direction, ErrorFields, Frames, Header, Next, backend, frontend,
    frontend::SaslInitialResponse,
    startup::{gssenc_request, ssl_request},
};

mod client_library;
mod tokens;

const LIMIT: usize = 1000;
const PIPE: usize = 256 * 1024;

fn server_tls() -> Arc<ServerConfig> {
    let folder = Scratch::new();
    let files = TestCa::new().localhost().write_to(folder.path());
    let tls = DownstreamTls::from_files(CertificatePaths { certificate: files.certificate, key: files.key })
        .unwrap();
    tls.server_config(&[ALPN]).unwrap()
}

fn startup_packet(minor: u16) -> BytesMut {
    let mut out = BytesMut::new();
    StartupMessage {
        version: ProtocolVersion::new(minor),
        user: "prod-logs".to_owned(),
        database: Some("logs".to_owned()),
        parameters: vec![("application_name".to_owned(), "test".to_owned())],
        extensions: Vec::new(),
    }
    .encode(&mut out);
    out
}

/// A server that negotiates, and the client's end.
fn negotiating(plaintext: Plaintext) -> (DuplexStream, JoinHandle<Result<Negotiation, Failed>>) {
    let (client, server) = duplex(PIPE);
    let accepted = Accepted::new(Transport::duplex(server));
    let tls = server_tls();
    (client, tokio::spawn(async move { accepted.negotiate(&tls, plaintext).await }))
}

/// The client's own TLS over a pipe, with these application protocols.
async fn client_tls(client: DuplexStream, protocols: &[&[u8]]) -> io::Result<Transport> {
    let config = UpstreamTlsConfigs::new().client_config(Verify::Nothing, None, protocols).unwrap();
    Transport::duplex(client).connect_tls(&config, ServerName::try_from("localhost").unwrap()).await
}

async fn tag_and_body(client: &mut (impl tokio::io::AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    client.read_exact(&mut head).await.unwrap();
    let header = Header::peek(Direction::Backend, &head).unwrap().unwrap();
    let mut body = vec![0; header.body];
    client.read_exact(&mut body).await.unwrap();
    (header.tag, body)
}

/// Reads the FATAL that ends things; its SQLSTATE, message and hint. Nothing may follow it.
async fn fatal(client: &mut (impl tokio::io::AsyncRead + Unpin)) -> (String, String, String) {
    let (tag, body) = tag_and_body(client).await;
    assert_eq!(tag, backend::tag::ERROR_RESPONSE);
    let fields = ErrorFields::decode(&body).unwrap();
    assert!(fields.is_fatal());
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{rest:?}");
    let hint = String::from_utf8_lossy(fields.field(b'H').unwrap_or_default()).into_owned();
    (fields.code().to_owned(), fields.message(), hint)
}

async fn expect_failure(server: JoinHandle<Result<Negotiation, Failed>>) -> Failed {
    match server.await.unwrap() {
        Err(failed) => failed,
        Ok(other) => panic!("went on with {other:?}"),
    }
}

async fn session(server: JoinHandle<Result<Negotiation, Failed>>) -> Negotiated {
    match server.await.unwrap() {
        Ok(Negotiation::Session(negotiated)) => negotiated,
        other => panic!("no session: {other:?}"),
    }
}

#[tokio::test]
async fn a_client_that_only_connects_is_gone_and_no_failure() {
    let (client, server) = negotiating(Plaintext::Refused);
    drop(client);
    assert!(matches!(server.await.unwrap(), Ok(Negotiation::Gone(_))));
}

#[tokio::test]
async fn plaintext_is_refused_and_the_client_told_what_to_do() {
    let (mut client, server) = negotiating(Plaintext::Refused);
    client.write_all(&startup_packet(0)).await.unwrap();
    let (code, _, hint) = fatal(&mut client).await;
    assert_eq!(code, "28000");
    assert!(hint.contains("sslmode"));
    let failed = expect_failure(server).await;
    assert!(failed.reported.is_delivered() && matches!(failed.error, Error::PlaintextRefused));
}

#[tokio::test]
async fn plaintext_is_taken_where_it_is_allowed() {
    let (mut client, server) = negotiating(Plaintext::Allowed);
    client.write_all(&startup_packet(0)).await.unwrap();
    let negotiated = session(server).await;
    assert_eq!((negotiated.startup().user.as_str(), negotiated.is_encrypted()), ("prod-logs", false));
}

#[tokio::test]
async fn gssapi_encryption_is_declined_and_tls_follows() {
    let (mut client, server) = negotiating(Plaintext::Refused);
    let mut out = BytesMut::new();
    gssenc_request(&mut out);
    client.write_all(&out).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'N');
    out.clear();
    ssl_request(&mut out);
    client.write_all(&out).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'S');
    // Without ALPN: clients before libpq 17 know none.
    let mut client = client_tls(client, &[]).await.unwrap();
    client.write_all(&startup_packet(0)).await.unwrap();
    client.flush().await.unwrap();
    assert!(session(server).await.is_encrypted());
}

#[tokio::test]
async fn gssapi_encryption_is_declined_once() {
    let (mut client, server) = negotiating(Plaintext::Refused);
    let mut out = BytesMut::new();
    gssenc_request(&mut out);
    client.write_all(&out).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'N');
    client.write_all(&out).await.unwrap();
    assert_eq!(fatal(&mut client).await.0, "08P01");
    assert!(matches!(expect_failure(server).await.error, Error::Repeated { .. }));
}

#[tokio::test]
async fn bytes_sent_ahead_of_tls_are_refused_and_never_read_as_the_session() {
    for request in [ssl_request, gssenc_request] {
        let (mut client, server) = negotiating(Plaintext::Allowed);
        let mut out = BytesMut::new();
        request(&mut out);
        out.extend_from_slice(&startup_packet(0));
        client.write_all(&out).await.unwrap();
        // The first byte is already the error: no `S`, no `N`.
        assert_eq!(fatal(&mut client).await.0, "08P01");
        assert!(matches!(expect_failure(server).await.error, Error::Stuffed));
    }
}

#[tokio::test]
async fn plaintext_after_the_answer_to_an_ssl_request_is_not_the_session() {
    let (mut client, server) = negotiating(Plaintext::Allowed);
    let mut out = BytesMut::new();
    ssl_request(&mut out);
    client.write_all(&out).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'S');
    client.write_all(&startup_packet(0)).await.unwrap();
    assert!(matches!(expect_failure(server).await.error, Error::DownstreamTls(_)));
}

#[tokio::test]
async fn direct_tls_must_name_the_protocol() {
    let (client, server) = negotiating(Plaintext::Refused);
    let mut client = client_tls(client, &[ALPN]).await.unwrap();
    client.write_all(&startup_packet(0)).await.unwrap();
    client.flush().await.unwrap();
    assert!(session(server).await.is_encrypted());

    let (client, server) = negotiating(Plaintext::Refused);
    let mut client = client_tls(client, &[]).await.unwrap();
    assert_eq!(fatal(&mut client).await.0, "08P01");
    assert!(matches!(expect_failure(server).await.error, Error::NoAlpn));
}

#[tokio::test]
async fn another_application_protocol_is_refused_by_tls() {
    let (mut client, server) = negotiating(Plaintext::Refused);
    let mut out = BytesMut::new();
    ssl_request(&mut out);
    client.write_all(&out).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'S');
    assert!(client_tls(client, &[b"http/1.1"]).await.is_err());
    assert!(matches!(expect_failure(server).await.error, Error::DownstreamTls(_)));
}

#[tokio::test]
async fn tls_is_not_negotiated_twice() {
    let (client, server) = negotiating(Plaintext::Refused);
    let mut client = client_tls(client, &[ALPN]).await.unwrap();
    let mut out = BytesMut::new();
    ssl_request(&mut out);
    client.write_all(&out).await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(fatal(&mut client).await.0, "08P01");
    assert!(matches!(expect_failure(server).await.error, Error::Repeated { .. }));
}

#[tokio::test]
async fn a_cancel_request_is_taken_with_and_without_tls() {
    let request = CancelRequest { process: 7, key: vec![9; 32] };
    let mut out = BytesMut::new();
    request.encode(&mut out);

    let (mut client, server) = negotiating(Plaintext::Refused);
    client.write_all(&out).await.unwrap();
    assert!(matches!(server.await.unwrap(), Ok(Negotiation::Cancel(seen, _)) if seen == request));

    let (client, server) = negotiating(Plaintext::Refused);
    let mut client = client_tls(client, &[ALPN]).await.unwrap();
    client.write_all(&out).await.unwrap();
    client.flush().await.unwrap();
    let Ok(Negotiation::Cancel(seen, waiting)) = server.await.unwrap() else { panic!("no cancel request") };
    assert_eq!(seen, request);
    assert!(waiting.done().await.is_delivered());
    let mut rest = Vec::new();
    // An end without a close_notify would be an error here, and is one for libpq.
    assert_eq!(client.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn startup_packets_that_cannot_be_are_refused_by_their_head() {
    for (head, code) in [
        (&b"\x00\x00\x27\x15\x00\x03\x00\x00"[..], "08P01"),
        (b"\x00\x00\x00\x07\x00\x03\x00\x00", "08P01"),
        (b"GET / HTTP/1.1\r\n", "08P01"),
        (b"\x00\x00\x00\x09\x00\x02\x00\x00\x00", "0A000"),
        (b"\x00\x00\x00\x09\x00\x03\x00\x00\x00", "28000"),
        (b"\x00\x00\x00\x21\x00\x03\x00\x00user\0a\0replication\0true\0\0", "0A000"),
    ] {
        let (mut client, server) = negotiating(Plaintext::Allowed);
        client.write_all(head).await.unwrap();
        assert_eq!(fatal(&mut client).await.0, code, "{}", head.escape_ascii());
        assert!(matches!(expect_failure(server).await.error, Error::Malformed(_)));
    }
}

#[tokio::test]
async fn a_startup_packet_that_ends_early_is_a_lost_client() {
    let (mut client, server) = negotiating(Plaintext::Allowed);
    let packet = startup_packet(0);
    client.write_all(&packet[..packet.len() - 1]).await.unwrap();
    drop(client);
    let failed = expect_failure(server).await;
    assert!(matches!(failed.error, Error::Downstream(_)) && !failed.reported.is_delivered());
}
