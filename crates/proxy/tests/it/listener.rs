//! The listener over real sockets: limits, PROXY protocol, panics, shutdown.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use portcullis_core::Source;
use portcullis_proxy::{Accepted, Admission, ListenerConfig, ProxyNetworks, Shutdown, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

/// Bytes that make the handler panic, or say nothing for ever.
const PANIC: u8 = b'!';

struct Gateway {
    address: SocketAddr,
    shutdown: Shutdown,
    seen: mpsc::UnboundedReceiver<(Source, bool)>,
    serving: JoinHandle<()>,
}

impl Gateway {
    async fn start(admission: Arc<Admission>, proxy: Option<&[&str]>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let proxy = proxy.map(|networks| {
            ProxyNetworks::new(networks.iter().map(|network| network.parse().unwrap()).collect())
        });
        let config = ListenerConfig { name: "test", handshake: Duration::from_secs(10), proxy, admission };
        let (tell, seen) = mpsc::unbounded_channel();
        let handler = move |accepted: Accepted| {
            let tell = tell.clone();
            async move {
                tell.send((accepted.source.clone(), accepted.is_loopback())).unwrap();
                echo(accepted).await;
            }
        };
        let serving = tokio::spawn(serve(listener, config, handler, shutdown.clone()));
        Self { address, shutdown, seen, serving }
    }

    async fn open() -> Self {
        Self::start(Admission::new(100, 100), None).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Answers each byte with itself.
async fn echo(accepted: Accepted) {
    let (mut transport, _source, _deadline, _slot) = accepted.into_parts();
    let mut byte = [0; 1];
    while transport.read_exact(&mut byte).await.is_ok() {
        assert_ne!(byte[0], PANIC, "told to panic");
        if transport.write_all(&byte).await.is_err() {
            return;
        }
    }
}

async fn answers(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    stream.write_all(b"x").await.is_ok() && stream.read_exact(&mut byte).await.is_ok()
}

/// Closed by the other side, in order or by reset.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_panic_ends_its_own_transport_only() {
    let gateway = Gateway::open().await;
    let (mut calm, mut wild) = (gateway.connect().await, gateway.connect().await);
    assert!(answers(&mut calm).await && answers(&mut wild).await);
    wild.write_all(&[PANIC]).await.unwrap();
    assert!(is_closed(&mut wild).await);
    assert!(answers(&mut calm).await);
    assert!(answers(&mut gateway.connect().await).await);
}

#[tokio::test]
async fn a_source_at_its_limit_is_refused_until_one_of_its_own_leaves() {
    let gateway = Gateway::start(Admission::new(100, 2), None).await;
    let (mut one, mut two) = (gateway.connect().await, gateway.connect().await);
    assert!(answers(&mut one).await && answers(&mut two).await);
    let mut three = gateway.connect().await;
    assert!(is_closed(&mut three).await);
    drop(one);
    // The place is free once the gateway has seen the goodbye.
    while !answers(&mut gateway.connect().await).await {}
}

#[tokio::test]
async fn all_listeners_together_are_limited() {
    let admission = Admission::new(2, 100);
    let first = Gateway::start(Arc::clone(&admission), None).await;
    let second = Gateway::start(admission, None).await;
    let (mut one, mut two) = (first.connect().await, second.connect().await);
    assert!(answers(&mut one).await && answers(&mut two).await);
    assert!(is_closed(&mut first.connect().await).await);
    assert!(is_closed(&mut second.connect().await).await);
}

#[tokio::test]
async fn a_direct_peer_is_the_source() {
    let mut gateway = Gateway::open().await;
    let client = gateway.connect().await;
    let (source, loopback) = gateway.seen.recv().await.unwrap();
    assert_eq!(source, Source { address: client.local_addr().unwrap(), via: None });
    assert!(loopback);
}

#[tokio::test]
async fn a_header_from_a_trusted_proxy_names_the_source() {
    let mut gateway = Gateway::start(Admission::new(100, 100), Some(&["127.0.0.0/8"])).await;
    for (header, address, is_loopback) in [
        ("PROXY TCP4 192.0.2.7 10.0.0.1 12345 5432\r\n", Some("192.0.2.7:12345"), false),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 12345 5432\r\n", Some("192.0.2.7:12345"), false),
        ("PROXY TCP4 127.0.0.1 127.0.0.1 12345 5432\r\n", Some("127.0.0.1:12345"), true),
        ("PROXY UNKNOWN\r\n", None, false),
    ] {
        let mut client = gateway.connect().await;
        client.write_all(header.as_bytes()).await.unwrap();
        assert!(answers(&mut client).await, "{header}");
        let (source, loopback) = gateway.seen.recv().await.unwrap();
        let local = client.local_addr().unwrap();
        assert_eq!(source.address, address.map_or(local, |address| address.parse().unwrap()));
        assert_eq!((source.via, loopback), (Some(local), is_loopback), "{header}");
    }
}

#[tokio::test]
async fn a_peer_that_is_no_trusted_proxy_cannot_claim_a_source() {
    // Where the header is on, a stranger is refused, with or without one.
    let mut gateway = Gateway::start(Admission::new(100, 100), Some(&["192.0.2.0/24"])).await;
    let mut spoof = gateway.connect().await;
    let _ = spoof.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 5432\r\n").await;
    assert!(is_closed(&mut spoof).await);
    assert!(is_closed(&mut gateway.connect().await).await);
    assert!(gateway.seen.try_recv().is_err(), "no handler saw it");

    // Where it is off, the header is the protocol's first bytes and nothing else.
    let mut gateway = Gateway::open().await;
    let mut spoof = gateway.connect().await;
    spoof.write_all(b"PROXY").await.unwrap();
    let mut echoed = [0; 5];
    spoof.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"PROXY");
    assert_eq!(gateway.seen.recv().await.unwrap().0.address, spoof.local_addr().unwrap());
}

#[tokio::test]
async fn a_trusted_proxy_without_a_header_is_refused() {
    let mut gateway = Gateway::start(Admission::new(100, 100), Some(&["127.0.0.0/8"])).await;
    for bytes in [b"\0\0\0\x08\x04\xd2\x16\x2f".as_slice(), b"\x16\x03\x01\x02\x00", b"PROXY TCP4 nobody\r\n"]
    {
        let mut client = gateway.connect().await;
        client.write_all(bytes).await.unwrap();
        assert!(is_closed(&mut client).await);
    }
    assert!(gateway.seen.try_recv().is_err());
}

#[tokio::test]
async fn sources_behind_a_proxy_are_limited_each() {
    let gateway = Gateway::start(Admission::new(100, 1), Some(&["127.0.0.0/8"])).await;
    let connect = async |source: &str| {
        let mut client = gateway.connect().await;
        let header = format!("PROXY TCP4 {source} 10.0.0.1 12345 5432\r\n");
        client.write_all(header.as_bytes()).await.unwrap();
        client
    };
    let (mut one, mut two) = (connect("192.0.2.1").await, connect("192.0.2.2").await);
    assert!(answers(&mut one).await && answers(&mut two).await);
    assert!(is_closed(&mut connect("192.0.2.1").await).await);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_dribbles_is_cut_off_at_the_deadline() {
    let mut gateway = Gateway::start(Admission::new(100, 100), Some(&["127.0.0.0/8"])).await;
    let mut client = gateway.connect().await;
    client.write_all(b"PROXY TC").await.unwrap();
    assert!(is_closed(&mut client).await);
    assert!(gateway.seen.try_recv().is_err());
}

#[tokio::test]
async fn stopping_refuses_newcomers_and_waits_for_who_is_there() {
    let gateway = Gateway::open().await;
    let mut client = gateway.connect().await;
    assert!(answers(&mut client).await);
    gateway.shutdown.stop();
    gateway.shutdown.stopped().await;
    while let Ok(mut late) = TcpStream::connect(gateway.address).await {
        assert!(is_closed(&mut late).await);
    }
    assert!(answers(&mut client).await);
    assert!(!gateway.serving.is_finished());
    drop(client);
    gateway.serving.await.unwrap();
}

#[tokio::test]
async fn aborting_ends_who_is_still_there() {
    let gateway = Gateway::open().await;
    let mut client = gateway.connect().await;
    assert!(answers(&mut client).await);
    gateway.shutdown.abort();
    gateway.serving.await.unwrap();
    assert!(is_closed(&mut client).await);
}

/// Runs [`out_of_descriptors`] in a process that may open few files.
#[test]
fn running_out_of_file_descriptors_is_survived() {
    let limited = "ulimit -n 64 && exec \"$0\" --ignored --exact listener::out_of_descriptors";
    let output = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by `running_out_of_file_descriptors_is_survived` under a limit"]
async fn out_of_descriptors() {
    let gateway = Gateway::start(Admission::new(1000, 1000), None).await;
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(gateway.address).await {
        clients.push(client);
        assert!(clients.len() < 100, "the limit is in force");
        tokio::task::yield_now().await;
    }
    // Every descriptor is taken: whoever is accepted is served, and newcomers are once some are free again.
    assert!(answers(&mut clients[0]).await);
    clients.truncate(1);
    while !answers(&mut gateway.connect().await).await {}
    assert!(answers(&mut clients[0]).await);
}
