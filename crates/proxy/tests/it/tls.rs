//! TLS on both sides: what verifies and what does not, and the certificate's life.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use portcullis_policy::{TlsMode, UpstreamTls};
use portcullis_proxy::{
    CertificatePaths, Deadline, DownstreamTls, Fill, ReadBuffer, Reloaded, TlsError, Transport,
    UpstreamTlsConfigs, Verify, WriteQueue, server_name,
};
use portcullis_testkit::{Scratch, ServerCertificate, TestCa};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn downstream(certificate: &ServerCertificate, dir: &Path) -> DownstreamTls {
    let files = certificate.write_to(dir);
    DownstreamTls::from_files(CertificatePaths { certificate: files.certificate, key: files.key }).unwrap()
}

/// Both ends of one handshake; the client's error, or both transports.
async fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    host: &str,
) -> io::Result<(Transport, Transport)> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (accepted, connected) = tokio::join!(
        Transport::duplex(near).accept_tls(server),
        Transport::duplex(far).connect_tls(client, server_name(host).unwrap()),
    );
    let connected = connected?;
    Ok((accepted?, connected))
}

async fn says_hello(server: &mut Transport, client: &mut Transport) {
    server.write_all(b"hello").await.unwrap();
    server.flush().await.unwrap();
    let mut got = [0; 5];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
}

#[tokio::test]
async fn each_mode_verifies_what_it_says() {
    let (ours, theirs) = (TestCa::new(), TestCa::new());
    let cases = [
        ("good", ours.localhost(), [true, true, true]),
        ("another host's", ours.wrong_host(), [true, true, false]),
        ("expired", ours.expired(), [true, false, false]),
        ("not yet valid", ours.not_yet_valid(), [true, false, false]),
        ("of an unknown ca", theirs.localhost(), [true, false, false]),
    ];
    let configs = UpstreamTlsConfigs::new();
    for (what, certificate, expected) in cases {
        let dir = Scratch::new();
        let server = downstream(&certificate, dir.path()).server_config(&[]).unwrap();
        for (verify, good) in [Verify::Nothing, Verify::Chain, Verify::ChainAndName].into_iter().zip(expected)
        {
            let client = configs.client_config(verify, Some(&ours.path()), &[]).unwrap();
            match handshake(&server, &client, "localhost").await {
                Ok((mut server, mut client)) => {
                    assert!(good, "{verify:?} took a certificate that is {what}");
                    says_hello(&mut server, &mut client).await;
                }
                Err(error) => assert!(!good, "{verify:?} refused a certificate that is {what}: {error}"),
            }
        }
    }
}

#[test]
fn a_connections_settings_choose_the_verification() {
    let ca = Some("/ca.pem".into());
    let verify = |mode, ca: &Option<std::path::PathBuf>| Verify::of(&UpstreamTls { mode, ca: ca.clone() });
    assert_eq!(verify(TlsMode::Disable, &ca), None);
    assert_eq!(verify(TlsMode::Prefer, &None), Some(Verify::Nothing));
    assert_eq!(verify(TlsMode::Require, &None), Some(Verify::Nothing));
    assert_eq!(verify(TlsMode::Require, &ca), Some(Verify::Chain));
    assert_eq!(verify(TlsMode::VerifyCa, &None), Some(Verify::Chain));
    assert_eq!(verify(TlsMode::VerifyFull, &ca), Some(Verify::ChainAndName));
}

#[tokio::test]
async fn a_name_is_asked_for_and_an_address_is_not() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let server = downstream(&ca.localhost(), dir.path()).server_config(&[]).unwrap();
    let client =
        UpstreamTlsConfigs::new().client_config(Verify::ChainAndName, Some(&ca.path()), &[]).unwrap();
    for (host, sni) in [
        ("localhost", Some("localhost")),
        ("localhost.", Some("localhost")),
        ("127.0.0.1", None),
        ("::1", None),
        ("[::1]", None),
    ] {
        let (server, client) = handshake(&server, &client, host).await.unwrap();
        assert_eq!(server.server_name(), sni, "{host}");
        assert!(client.is_encrypted() && server.is_encrypted());
    }
    assert!(server_name("not a host").is_err());
}

#[tokio::test]
async fn the_application_protocol_is_agreed_or_the_handshake_fails() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let server = downstream(&ca.localhost(), dir.path()).server_config(&[b"postgresql"]).unwrap();
    let configs = UpstreamTlsConfigs::new();
    let client =
        |protocols: &[&[u8]]| configs.client_config(Verify::Chain, Some(&ca.path()), protocols).unwrap();
    let (ours, theirs) = handshake(&server, &client(&[b"postgresql"]), "localhost").await.unwrap();
    assert_eq!(
        (ours.alpn(), theirs.alpn()),
        (Some(b"postgresql".as_slice()), Some(b"postgresql".as_slice()))
    );
    let (ours, _theirs) = handshake(&server, &client(&[]), "localhost").await.unwrap();
    assert_eq!(ours.alpn(), None);
    assert!(handshake(&server, &client(&[b"h2"]), "localhost").await.is_err());
}

#[tokio::test]
async fn the_channel_binding_is_the_servers_certificate() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let tls = downstream(&ca.localhost(), dir.path());
    let client = UpstreamTlsConfigs::new().client_config(Verify::Nothing, None, &[]).unwrap();
    // The second handshake resumes the first one's session: the certificate is still known.
    let server_config = tls.server_config(&[]).unwrap();
    for _ in 0..2 {
        let (mut server, mut client) = handshake(&server_config, &client, "localhost").await.unwrap();
        says_hello(&mut server, &mut client).await;
        assert_eq!(client.tls_server_end_point().unwrap(), tls.fingerprint().unwrap().as_bytes());
        assert_eq!(server.tls_server_end_point(), None);
    }
}

#[tokio::test]
async fn configurations_are_shared_until_the_ca_file_changes() {
    let (ours, theirs) = (TestCa::new(), TestCa::new());
    let dir = Scratch::new();
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, ours.pem()).unwrap();
    let configs = UpstreamTlsConfigs::new();
    let get = || configs.client_config(Verify::Chain, Some(&ca), &[]);
    let first = get().unwrap();
    assert!(Arc::ptr_eq(&first, &get().unwrap()));
    // Replaced by rename, as tools do: another inode, whatever the clock's resolution.
    fs::write(dir.path().join("new.pem"), theirs.pem()).unwrap();
    fs::rename(dir.path().join("new.pem"), &ca).unwrap();
    let second = get().unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    let server_dir = Scratch::new();
    let server = downstream(&ours.localhost(), server_dir.path()).server_config(&[]).unwrap();
    assert!(handshake(&server, &second, "localhost").await.is_err(), "the old ca is not trusted any more");
    fs::write(&ca, "nothing of use").unwrap();
    assert!(matches!(get(), Err(TlsError::Content { .. })));
    fs::remove_file(&ca).unwrap();
    assert!(matches!(get(), Err(TlsError::File { .. })));
}

#[tokio::test]
async fn a_replaced_certificate_is_presented_and_open_transports_go_on() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let tls = downstream(&ca.localhost(), dir.path());
    let server = tls.server_config(&[]).unwrap();
    let client = UpstreamTlsConfigs::new().client_config(Verify::Chain, Some(&ca.path()), &[]).unwrap();
    let (mut near, mut far) = handshake(&server, &client, "localhost").await.unwrap();
    let before = tls.fingerprint().unwrap();
    assert_eq!(tls.reload().unwrap(), Reloaded::Unchanged);

    ca.localhost().write_to(dir.path());
    let Reloaded::Replaced(after) = tls.reload().unwrap() else { panic!("not replaced") };
    assert!(before != after && tls.fingerprint() == Some(after));
    says_hello(&mut near, &mut far).await;
    let fresh = UpstreamTlsConfigs::new().client_config(Verify::Chain, Some(&ca.path()), &[]).unwrap();
    let (_near, far) = handshake(&server, &fresh, "localhost").await.unwrap();
    assert_eq!(far.tls_server_end_point().unwrap(), after.as_bytes());
}

#[tokio::test]
async fn a_bad_pair_keeps_the_old_one_and_is_reported_once() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let tls = downstream(&ca.localhost(), dir.path());
    let before = tls.fingerprint();
    // Another key, the old certificate: caught half-way through being replaced.
    fs::write(&tls.paths().key, ca.localhost().key_pem).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pair(_))));
    assert_eq!(tls.reload().unwrap(), Reloaded::Unchanged);
    fs::write(&tls.paths().certificate, "-----BEGIN nonsense").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Content { .. })));
    fs::remove_file(&tls.paths().key).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::File { .. })));
    assert_eq!(tls.fingerprint(), before);
    ca.localhost().write_to(dir.path());
    assert!(matches!(tls.reload().unwrap(), Reloaded::Replaced(_)));
}

#[tokio::test(start_paused = true)]
async fn watching_takes_a_new_pair_into_use() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let tls = Arc::new(downstream(&ca.localhost(), dir.path()));
    let before = tls.fingerprint();
    ca.localhost().write_to(dir.path());
    let watching = tokio::spawn(Arc::clone(&tls).watch(Duration::from_secs(5)));
    while tls.fingerprint() == before {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    watching.abort();
}

#[tokio::test]
async fn a_self_signed_certificate_is_made_once_and_is_private() {
    let dir = Scratch::new();
    let names = ["gateway.example".to_owned(), "bücher.example".to_owned(), String::new()];
    let first = DownstreamTls::self_signed(dir.path(), &names).unwrap();
    let again = DownstreamTls::self_signed(dir.path(), &[]).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_eq!(first.fingerprint().unwrap().to_string().len(), 95);
    assert_eq!(first.not_after().unwrap().to_string(), "2126-01-01T00:00:00.000000Z");
    for path in [&first.paths().certificate, &first.paths().key] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
    let server = again.server_config(&[]).unwrap();
    let configs = UpstreamTlsConfigs::new();
    let client = configs.client_config(Verify::ChainAndName, Some(&first.paths().certificate), &[]).unwrap();
    for host in ["localhost", "127.0.0.1", "::1", "gateway.example"] {
        assert!(handshake(&server, &client, host).await.is_ok(), "{host}");
    }
    assert!(handshake(&server, &client, "elsewhere.example").await.is_err());
}

#[test]
fn a_broken_self_signed_pair_is_not_replaced_silently() {
    let dir = Scratch::new();
    let tls = DownstreamTls::self_signed(dir.path(), &[]).unwrap();
    fs::write(&tls.paths().key, "gone").unwrap();
    assert!(DownstreamTls::self_signed(dir.path(), &[]).is_err());
    // A crash between the two files leaves a key without a certificate: that makes a new pair.
    fs::remove_file(&tls.paths().certificate).unwrap();
    assert!(DownstreamTls::self_signed(dir.path(), &[]).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_finishes_its_handshake_is_let_go_at_the_deadline() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let server = downstream(&ca.localhost(), dir.path()).server_config(&[]).unwrap();
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let deadline = Deadline::after(Duration::from_secs(10), "test");
    assert!(deadline.bound(Transport::duplex(near).accept_tls(&server)).await.is_err());
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0, "the transport is closed");
}

#[tokio::test]
async fn what_was_read_before_tls_is_part_of_the_handshake() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let server = downstream(&ca.localhost(), dir.path()).server_config(&[]).unwrap();
    let client = UpstreamTlsConfigs::new().client_config(Verify::Nothing, None, &[]).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accept = async {
        let mut transport = Transport::duplex(near);
        assert_eq!(transport.peek_first_byte().await.unwrap(), Some(0x16));
        transport.accept_tls(&server).await
    };
    let (accepted, connected) =
        tokio::join!(accept, Transport::duplex(far).connect_tls(&client, server_name("localhost").unwrap()));
    says_hello(&mut accepted.unwrap(), &mut connected.unwrap()).await;

    // Plaintext sent ahead of TLS is read as TLS, where it fails; it is never read as what comes under TLS.
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(b"Q\0\0\0\x0dSELECT 1\0").await.unwrap();
    let mut transport = Transport::duplex(near);
    transport.peek_first_byte().await.unwrap();
    assert!(transport.accept_tls(&server).await.is_err());
}

#[tokio::test]
async fn bulk_crosses_tls_whole() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let server = downstream(&ca.localhost(), dir.path()).server_config(&[]).unwrap();
    let client = UpstreamTlsConfigs::new().client_config(Verify::Nothing, None, &[]).unwrap();
    let (mut server, mut client) = handshake(&server, &client, "localhost").await.unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 253).to_le_bytes()[0]).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        server.write_all(&sent).await.unwrap();
        server.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    writing.await.unwrap();
    assert!(got == expected);
}

/// The shape of every relay: two TLS transports, one task, both directions at once.
#[tokio::test]
async fn a_relay_of_one_task_moves_both_directions() {
    let ca = TestCa::new();
    let dir = Scratch::new();
    let server = downstream(&ca.localhost(), dir.path()).server_config(&[]).unwrap();
    let config = UpstreamTlsConfigs::new().client_config(Verify::Nothing, None, &[]).unwrap();
    let (mut downstream, client) = handshake(&server, &config, "localhost").await.unwrap();
    let (mut echo, mut upstream) = handshake(&server, &config, "localhost").await.unwrap();
    let echoing = tokio::spawn(async move {
        let mut piece = [0; 10_000];
        loop {
            match echo.read(&mut piece).await {
                Ok(n) if n > 0 => echo.write_all(&piece[..n]).await.unwrap(),
                _ => return,
            }
            echo.flush().await.unwrap();
        }
    });
    let asking = tokio::spawn(async move {
        let sent: Vec<u8> = (0..500_000_u32).map(|i| (i % 241).to_le_bytes()[0]).collect();
        let (mut reading, mut writing) = tokio::io::split(client);
        let copy = sent.clone();
        let writer = tokio::spawn(async move {
            writing.write_all(&copy).await.unwrap();
            writing.flush().await.unwrap();
            writing
        });
        let mut got = vec![0; sent.len()];
        reading.read_exact(&mut got).await.unwrap();
        drop((reading, writer.await.unwrap()));
        got == sent
    });
    let (mut to_server, mut to_client) = (WriteQueue::new(32 * 1024), WriteQueue::new(32 * 1024));
    let (mut from_client, mut from_server) = (ReadBuffer::new(32 * 1024), ReadBuffer::new(32 * 1024));
    std::future::poll_fn(|cx| {
        let up = turn(cx, &mut from_client, &mut downstream, &mut to_server, &mut upstream);
        let down = turn(cx, &mut from_server, &mut upstream, &mut to_client, &mut downstream);
        if up || down { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert!(asking.await.unwrap());
    drop((upstream, downstream));
    echoing.await.unwrap();
}

/// One direction of a relay, as far as it goes. Whether the peer closed.
fn turn(
    cx: &mut Context<'_>,
    from: &mut ReadBuffer,
    reader: &mut Transport,
    to: &mut WriteQueue,
    writer: &mut Transport,
) -> bool {
    loop {
        let _ = to.poll_drain(cx, writer).map(Result::unwrap);
        if to.is_full() {
            return false;
        }
        match from.poll_fill(cx, reader).map(Result::unwrap) {
            Poll::Ready(Fill::Read(n)) => from.forward(n, to),
            Poll::Ready(Fill::Closed | Fill::Full) => return true,
            Poll::Pending => return false,
        }
    }
}

/// Promise "bounded": what is held for a peer that does not read is limited, in rustls and in the queue.
#[tokio::test]
async fn a_peer_that_does_not_read_holds_a_bounded_amount() {
    const PIPE: usize = 64 * 1024;
    const HELD: usize = 64 * 1024;
    let ca = TestCa::new();
    let dir = Scratch::new();
    let server = downstream(&ca.localhost(), dir.path()).server_config(&[]).unwrap();
    let config = UpstreamTlsConfigs::new().client_config(Verify::Nothing, None, &[]).unwrap();
    let (mut near, _far) = handshake(&server, &config, "localhost").await.unwrap();
    let mut queue = WriteQueue::new(32 * 1024);
    let mut pushed = 0;
    std::future::poll_fn(|cx| {
        loop {
            let drained = queue.poll_drain(cx, &mut near).map(Result::unwrap);
            if drained.is_pending() && queue.is_full() {
                return Poll::Ready(());
            }
            queue.push(vec![7; 8 * 1024].into());
            pushed += 8 * 1024;
            assert!(pushed < 10_000_000, "nobody reads, and still more is taken");
        }
    })
    .await;
    let limit = PIPE + HELD + 32 * 1024 + 8 * 1024;
    assert!(pushed <= limit + limit / 8, "{pushed} bytes were taken for a peer that reads none");
}
