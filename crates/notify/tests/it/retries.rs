//! What is tried again, what is not, and that no channel waits for another.

use std::time::Duration;

use portcullis_notify::{DeliveryState, Roots};
use portcullis_policy::Channel;
use portcullis_testkit::TestCa;
use tokio::net::TcpListener;

use crate::{
    http_server::{Answer, HttpServer},
    world::{World, acceptor, channel, env, is, notice, roots},
};

fn slack() -> Channel {
    Channel::Slack { url: env("URL"), signing_secret: None, users: Default::default(), team: None }
}

async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_server_that_recovers_gets_the_message() {
    let server = HttpServer::start(vec![Answer::status("500 Oops"), Answer::HangUp, Answer::ok()]).await;
    let world = World::new(&[("URL", &server.url("/services/secret"))]);
    let delivery = world.tell(&channel("oncall", slack()), notice()).await;
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, 3));
    let got = server.got();
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|request| request.line == "POST /services/secret HTTP/1.1"));
    assert!(got.iter().all(|request| request.headers["content-type"] == "application/json"));
    assert_eq!(got[0].json(), got[2].json());
}

#[tokio::test]
async fn a_pause_the_server_asks_for_is_in_the_log() {
    let server =
        HttpServer::start(vec![Answer::Say("429 Slow down", "retry-after: 1800\r\n", String::new())]).await;
    let world = World::new(&[("URL", &server.url("/"))]);
    world.notifier.notify(&[channel("oncall", slack())], notice());
    let delivery = world.until("oncall", is(DeliveryState::Retrying)).await;
    assert_eq!(delivery.last_error.as_deref(), Some("the server answered 429"));
    assert_eq!(delivery.next_at.unwrap().since(delivery.at), Duration::from_secs(1800));
}

#[tokio::test]
async fn what_would_be_refused_again_is_final_and_the_server_s_words_stay_out_of_the_log() {
    for (status, headers, body, expected) in [
        ("400 Bad Request", "", "invalid_payload", "the server answered 400: invalid_payload"),
        ("404 Not Found", "", "no such hook: xoxb-secret", "the server answered 404"),
        ("410 Gone", "", "CHANNEL\nforged log line", "the server answered 410"),
        ("401 Unauthorized", "", "", "the server answered 401"),
        (
            "302 Found",
            "location: http://127.0.0.1:1/\r\n",
            "",
            "the server answered 302: redirects are not followed",
        ),
    ] {
        let server = HttpServer::start(vec![Answer::Say(status, headers, body.to_owned())]).await;
        let world = World::new(&[("URL", &server.url("/"))]);
        let delivery = world.tell(&channel("oncall", slack()), notice()).await;
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Failed, 1), "{status}");
        assert_eq!(delivery.last_error.as_deref(), Some(expected));
        assert_eq!(server.got().len(), 1);
    }
}

#[tokio::test]
async fn a_long_answer_is_not_read_to_its_end() {
    let long = "a".repeat(1024 * 1024);
    let server = HttpServer::start(vec![Answer::Say("400 Bad Request", "", long)]).await;
    let world = World::new(&[("URL", &server.url("/"))]);
    let delivery = world.tell(&channel("oncall", slack()), notice()).await;
    assert_eq!(delivery.last_error.as_deref(), Some("the server answered 400"));
}

#[tokio::test]
async fn a_dead_channel_delays_no_other() {
    let server = HttpServer::start(vec![Answer::ok()]).await;
    let dead = format!("http://127.0.0.1:{}/", closed_port().await);
    let world = World::new(&[("URL", &server.url("/")), ("DEAD", &dead)]);
    let channels = [channel("dead", Channel::Teams { url: env("DEAD") }), channel("oncall", slack())];
    world.notifier.notify(&channels, notice());
    world.until("oncall", is(DeliveryState::Delivered)).await;
    let failed = world.until("dead", is(DeliveryState::Failed)).await;
    assert_eq!(failed.attempts, 12);
    let error = failed.last_error.unwrap();
    assert!(error.starts_with("no answer: ") && error.ends_with("(given up after 12 attempts)"), "{error}");
    assert!(!error.contains("127.0.0.1"), "the address is a secret: {error}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_after_the_timeout() {
    let server = HttpServer::start(vec![Answer::Hang, Answer::ok()]).await;
    let world = World::with(&[("URL", &server.url("/"))], Roots::Platform, Duration::from_millis(300));
    world.notifier.notify(&[channel("oncall", slack())], notice());
    let retried = world.until("oncall", |delivery| delivery.attempts > 0).await;
    assert_eq!(retried.last_error.as_deref(), Some("no answer: timed out"));
    world.until("oncall", is(DeliveryState::Delivered)).await;
}

#[tokio::test]
async fn tls_is_verified_and_a_good_certificate_is_trusted() {
    let ca = TestCa::new();
    let server = HttpServer::tls(vec![Answer::ok()], acceptor(&ca)).await;
    let url = format!("https://localhost:{}/", server.port);
    let trusting = World::with(&[("URL", &url)], roots(&ca), Duration::from_secs(10));
    assert_eq!(trusting.tell(&channel("oncall", slack()), notice()).await.state, DeliveryState::Delivered);
    let strange = World::with(&[("URL", &url)], roots(&TestCa::new()), Duration::from_secs(10));
    let failed = strange.tell(&channel("oncall", slack()), notice()).await;
    assert_eq!(failed.state, DeliveryState::Failed);
    assert!(failed.last_error.unwrap().contains("certificate"));
    assert_eq!(server.got().len(), 1, "the stranger got nothing");
}

#[tokio::test]
async fn nothing_goes_out_in_the_clear_or_to_an_address_with_a_password() {
    for (url, expected) in [
        ("http://chat.internal/hook/topsecret", "the address is neither `https` nor `http` to loopback"),
        ("http://10.0.0.1/hook/topsecret", "the address is neither `https` nor `http` to loopback"),
        ("ftp://127.0.0.1/topsecret", "the address is neither `https` nor `http` to loopback"),
        ("https://user:topsecret@127.0.0.1/", "the address has a user or a password in it"),
    ] {
        let world = World::new(&[("URL", url)]);
        let delivery = world.tell(&channel("oncall", slack()), notice()).await;
        assert_eq!(delivery.state, DeliveryState::Failed);
        assert_eq!(delivery.last_error.as_deref(), Some(expected), "{url}");
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_or_no_address_is_named_and_not_shown() {
    let world = World::new(&[("URL", "topsecret")]);
    world.notifier.notify(&[channel("bad", slack())], notice());
    let bad = world.until("bad", is(DeliveryState::Failed)).await.last_error.unwrap();
    assert!(bad.starts_with("what `env:URL` names is no URL"), "{bad}");
    let missing = channel("missing", Channel::Teams { url: env("NOT_SET") });
    let missing = world.tell(&missing, notice()).await.last_error.unwrap();
    assert!(
        missing.starts_with("cannot read the secret `env:NOT_SET`: the variable is not set"),
        "{missing}"
    );
}
