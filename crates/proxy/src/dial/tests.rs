use tokio::net::TcpListener;

use super::*;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_name_is_resolved_and_the_address_that_answers_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dial = DirectDial::new(Duration::from_secs(60));
    let transport = dial.to(&address(&format!("localhost:{port}"))).await.unwrap();
    assert_eq!(transport.wire().peer().unwrap().port(), port);
    assert!(!transport.is_encrypted() && transport.peer_is_loopback());
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = listener.local_addr().unwrap();
    let bad = SocketAddr::from(([127, 0, 0, 1], closed_port().await));
    assert_eq!(first_to_answer(vec![bad, bad, good]).await.unwrap().peer_addr().unwrap(), good);
    assert_eq!(first_to_answer(vec![bad]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(first_to_answer(vec![]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn what_a_client_is_told_has_no_inner_address() {
    let port = closed_port().await;
    let dial = DirectDial::new(Duration::from_secs(60));
    let refused = dial.to(&address(&format!("127.0.0.1:{port}"))).await.unwrap_err();
    let unknown = dial.to(&address("db.internal.invalid:5432")).await.unwrap_err();
    assert!(refused.to_string().contains(&port.to_string()));
    assert!(matches!(unknown, DialError::Resolve { .. }), "{unknown}");
    for error in [refused, unknown] {
        assert_eq!(error.kind(), ErrorKind::Upstream);
        assert_eq!(error.client_message(), "the upstream cannot be reached");
    }
}

#[test]
fn families_alternate_and_keep_their_order() {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let got = interleave(parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]));
    assert_eq!(got, parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
    let got = interleave(parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]));
    assert_eq!(got, parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]));
}
