//! Real servers with every login method and TLS mode, and servers that misbehave.

use bytes::BytesMut;
use portcullis_policy::TlsMode;
use portcullis_testkit::{PgAuth, PgOptions, PgServer, ServerCertificate, TestCa, postgres::PASSWORD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
};

use super::*;
use crate::codec::{
    Report, Severity,
    backend::{self, Authentication, BackendKeyData},
    frontend,
};

fn as_superuser(password: &str) -> UpstreamLogin<'static> {
    UpstreamLogin {
        user: "postgres",
        password: Some(Secret::new(password.to_owned())),
        database: "postgres",
        parameters: &[],
    }
}

fn tls(mode: TlsMode, ca: Option<&TestCa>) -> UpstreamTls {
    UpstreamTls { mode, ca: ca.map(TestCa::path) }
}

async fn server(auth: PgAuth, ssl: Option<ServerCertificate>) -> PgServer {
    PgServer::start(PgOptions { auth, ssl, ..PgOptions::default() }).await
}

async fn to(server: &PgServer) -> Transport {
    Transport::tcp(TcpStream::connect(("127.0.0.1", server.port())).await.unwrap()).unwrap()
}

async fn log_in(
    server: &PgServer,
    host: &str,
    tls: &UpstreamTls,
    login: &UpstreamLogin<'_>,
) -> Result<Upstream, Error> {
    open(to(server).await, Target { host, tls }, login, &Logins::default()).await
}

/// Asks the session something; the first value of the answer.
async fn ask(upstream: &mut Upstream, sql: &str) -> String {
    let mut out = BytesMut::new();
    frontend::query(&mut out, sql.as_bytes());
    upstream.transport.write_all(&out).await.unwrap();
    upstream.transport.flush().await.unwrap();
    let mut answer = String::new();
    loop {
        let mut head = [0; 5];
        upstream.transport.read_exact(&mut head).await.unwrap();
        let header = codec::Header::peek(codec::Direction::Backend, &head).unwrap().unwrap();
        let mut body = vec![0; header.body];
        upstream.transport.read_exact(&mut body).await.unwrap();
        match header.tag {
            backend::tag::DATA_ROW => {
                let row = codec::rows::DataRow::decode(&body).unwrap();
                answer = String::from_utf8(row.values().iter().next().unwrap().unwrap().to_vec()).unwrap();
            }
            backend::tag::READY_FOR_QUERY => return answer,
            _ => {}
        }
    }
}

#[tokio::test]
async fn every_login_method_of_a_real_server_works_and_a_wrong_password_does_not() {
    for auth in [PgAuth::Scram, PgAuth::Md5, PgAuth::Password, PgAuth::Trust] {
        let server = server(auth, None).await;
        let plain = tls(TlsMode::Disable, None);
        let mut upstream = log_in(&server, "127.0.0.1", &plain, &as_superuser(PASSWORD)).await.unwrap();
        assert!(upstream.parameter("server_version").is_some() && upstream.cancel.is_some(), "{auth:?}");
        assert_eq!(ask(&mut upstream, "SELECT current_user").await, "postgres");
        if auth != PgAuth::Trust {
            let error = log_in(&server, "127.0.0.1", &plain, &as_superuser("wrong")).await.unwrap_err();
            assert!(matches!(&error, Error::Refused { code, .. } if code == "28P01"), "{auth:?}: {error}");
            assert_eq!(error.told().code, "08004");
            assert!(!error.told().message.contains("postgres") && !error.to_string().contains("wrong"));
        }
    }
}

#[tokio::test]
async fn the_second_login_salts_nothing_and_a_missing_database_keeps_its_code() {
    let server = server(PgAuth::Scram, None).await;
    let (plain, logins) = (tls(TlsMode::Disable, None), Logins::default());
    let target = Target { host: "127.0.0.1", tls: &plain };
    for _ in 0..2 {
        open(to(&server).await, target, &as_superuser(PASSWORD), &logins).await.unwrap();
        assert_eq!(logins.salted.len(), 1);
    }
    let nowhere = UpstreamLogin { database: "nowhere", ..as_superuser(PASSWORD) };
    let error = open(to(&server).await, target, &nowhere, &logins).await.unwrap_err();
    assert_eq!((error.told().code.as_str(), error.kind()), ("3D000", portcullis_core::ErrorKind::Upstream));
}

#[tokio::test]
async fn tls_is_what_the_mode_demands() {
    let ca = TestCa::new();
    let server = server(PgAuth::Scram, Some(ca.localhost())).await;
    for mode in TlsMode::ALL {
        let mut upstream =
            log_in(&server, "localhost", &tls(mode, Some(&ca)), &as_superuser(PASSWORD)).await.unwrap();
        let encrypted = ask(&mut upstream, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await;
        assert_eq!(encrypted == "t", mode != TlsMode::Disable, "{mode:?}");
        assert_eq!(upstream.transport.is_encrypted(), mode != TlsMode::Disable);
    }
    let stranger = TestCa::new();
    for mode in [TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let refused =
            log_in(&server, "localhost", &tls(mode, Some(&stranger)), &as_superuser(PASSWORD)).await;
        assert!(matches!(refused, Err(Error::Tls(_))), "{mode:?}");
    }
    let full =
        log_in(&server, "elsewhere.example", &tls(TlsMode::VerifyFull, Some(&ca)), &as_superuser(PASSWORD))
            .await;
    assert!(matches!(full, Err(Error::Tls(_))));
    log_in(&server, "elsewhere.example", &tls(TlsMode::VerifyCa, Some(&ca)), &as_superuser(PASSWORD))
        .await
        .unwrap();
    // The binding of SCRAM-SHA-256-PLUS is to the server's certificate; PostgreSQL offers it on every TLS login, and would
    // refuse the flag `y`, so that having come in shows that it was used.
    assert!(!server.log().contains("channel binding"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_plaintext_may_do() {
    let ca = TestCa::new();
    let server = server(PgAuth::Scram, None).await;
    for mode in [TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let refused = log_in(&server, "localhost", &tls(mode, Some(&ca)), &as_superuser(PASSWORD)).await;
        assert!(matches!(refused, Err(Error::NoTls)), "{mode:?}");
    }
    log_in(&server, "localhost", &tls(TlsMode::Prefer, None), &as_superuser(PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn a_cancel_request_ends_the_statement_it_is_about() {
    let ca = TestCa::new();
    let server = server(PgAuth::Scram, Some(ca.localhost())).await;
    let (full, logins) = (tls(TlsMode::VerifyFull, Some(&ca)), Logins::default());
    let target = Target { host: "localhost", tls: &full };
    let mut upstream = open(to(&server).await, target, &as_superuser(PASSWORD), &logins).await.unwrap();
    let key = upstream.cancel.clone().unwrap();
    let asking = tokio::spawn(async move { ask(&mut upstream, "SELECT pg_sleep(600)").await });
    // Not before the statement runs: a cancel that comes too early is for nothing.
    while server
        .execute_as_superuser("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'")
        .await
        .trim()
        == "0"
    {}
    interrupt(to(&server).await, target, &logins, &key).await.unwrap();
    assert_eq!(asking.await.unwrap(), "");
}

/// A scripted server: reads the startup packet, says its part, and keeps the line open.
async fn scripted(script: impl FnOnce(&mut BytesMut)) -> Error {
    let (mut peer, ours) = duplex(256 * 1024);
    let mut out = BytesMut::new();
    script(&mut out);
    peer.write_all(&out).await.unwrap();
    let plain = tls(TlsMode::Disable, None);
    let target = Target { host: "db.internal", tls: &plain };
    let result = open(Transport::duplex(ours), target, &as_superuser("s3cret"), &Logins::default()).await;
    let mut sent = vec![0; 4096];
    let read = peer.read(&mut sent).await.unwrap();
    assert!(!sent[..read].windows(6).any(|window| window == b"s3cret"), "the password went out");
    let error = result.unwrap_err();
    assert!(!error.to_string().contains("s3cret") && !error.told().message.contains("internal"), "{error}");
    error
}

#[tokio::test]
async fn servers_that_misbehave_are_refused_in_every_state() {
    let request = |request: Authentication<'static>| scripted(move |out| request.encode(out));
    assert!(matches!(request(Authentication::CleartextPassword).await, Error::Cleartext));
    assert!(matches!(request(Authentication::Other(7)).await, Error::Method(name) if name == "GSSAPI"));
    assert!(matches!(
        request(Authentication::Sasl(backend::Mechanisms::OAUTHBEARER)).await,
        Error::Method(_)
    ));
    assert!(matches!(request(Authentication::SaslFinal(b"v=")).await, Error::Unexpected { .. }));
    assert!(matches!(
        scripted(|out| backend::TransactionStatus::Idle.encode(out)).await,
        Error::Unexpected { .. }
    ));
    assert!(matches!(scripted(|out| out.extend_from_slice(b"?\0\0\0\x04")).await, Error::Malformed(_)));
    assert!(matches!(
        scripted(|out| out.extend_from_slice(b"E\x00\x10\x00\x00")).await,
        Error::TooMuch { .. }
    ));
    let failed = scripted(|out| {
        Authentication::Ok.encode(out);
        backend::TransactionStatus::Failed.encode(out);
    });
    assert!(matches!(failed.await, Error::Malformed(_)));
    let late = scripted(|out| {
        Authentication::Ok.encode(out);
        BackendKeyData { process: 1, key: b"four" }.encode(out);
        Report::new(Severity::Fatal, "53300", "too many connections for role \"postgres\"").encode(out);
    });
    let late = late.await;
    assert_eq!((late.told().code.as_str(), late.told().message.contains("postgres")), ("53300", false));
    let endless = scripted(|out| {
        Authentication::Ok.encode(out);
        let long = "x".repeat(20_000);
        (0..11).for_each(|_| Report::new(Severity::Notice, "00000", long.as_str()).encode(out));
        out.extend_from_slice(b"N\x00\x00\x80\x00");
    });
    assert!(matches!(endless.await, Error::TooMuch { .. }));
}

async fn after_ssl_request(answer: &[u8]) -> Error {
    let (mut peer, ours): (DuplexStream, DuplexStream) = duplex(4096);
    peer.write_all(answer).await.unwrap();
    let require = tls(TlsMode::Require, None);
    let target = Target { host: "db.internal", tls: &require };
    open(Transport::duplex(ours), target, &as_superuser("s3cret"), &Logins::default()).await.unwrap_err()
}

#[tokio::test]
async fn nothing_but_one_byte_answers_an_ssl_request() {
    assert!(matches!(after_ssl_request(b"N").await, Error::NoTls));
    assert!(matches!(after_ssl_request(b"SR\0\0\0\x08\0\0\0\0").await, Error::Stuffed));
    assert!(matches!(after_ssl_request(b"E\0\0\0\x05\0").await, Error::Unexpected { .. }));
}
