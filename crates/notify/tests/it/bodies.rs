//! What arrives, byte for byte, for a plain notice and for one in which everything that others write is hostile.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use portcullis_core::{Secret, Timestamp};
use portcullis_notify::{DeliveryState, Notice, NoticeId, slack};
use portcullis_policy::{Channel, NoticeKind};
use serde_json::Value as Json;

use crate::{
    http_server::{Answer, HttpServer, Request},
    world::{World, channel, env, hostile, notice},
};

/// Characters that are not ASCII as their numbers, so that a reader sees them.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

fn golden(body: &Json) -> String {
    visible(&serde_json::to_string_pretty(body).unwrap())
}

async fn arrives(channel_of: Channel, notice: Notice) -> Request {
    let server = HttpServer::start(vec![Answer::ok()]).await;
    let world =
        World::new(&[("URL", &server.url("/")), ("SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]);
    let delivery = world.tell(&channel("oncall", channel_of), notice).await;
    assert_eq!(delivery.state, DeliveryState::Delivered);
    server.got().remove(0)
}

fn slack_with_buttons() -> Channel {
    Channel::Slack {
        url: env("URL"),
        signing_secret: Some(env("SECRET")),
        users: Default::default(),
        team: None,
    }
}

#[tokio::test]
async fn slack_gets_blocks_with_buttons() {
    insta::assert_snapshot!(golden(&arrives(slack_with_buttons(), notice()).await.json()));
}

#[tokio::test]
async fn slack_gets_hostile_text_as_text() {
    insta::assert_snapshot!(golden(&arrives(slack_with_buttons(), hostile()).await.json()));
}

#[tokio::test]
async fn teams_gets_a_card() {
    insta::assert_snapshot!(golden(&arrives(Channel::Teams { url: env("URL") }, notice()).await.json()));
}

#[tokio::test]
async fn teams_gets_hostile_text_as_text() {
    insta::assert_snapshot!(golden(&arrives(Channel::Teams { url: env("URL") }, hostile()).await.json()));
}

#[tokio::test]
async fn a_webhook_gets_signed_json() {
    for (name, notice) in [("plain", notice()), ("hostile", hostile())] {
        let request = arrives(Channel::Webhook { url: env("URL"), secret: env("SECRET") }, notice).await;
        insta::assert_snapshot!(format!("webhook_{name}"), golden(&request.json()));
        let header = |name: &str| request.headers[name].as_str();
        assert_eq!(header("webhook-id"), "ntc_01998f6f0b7a7000a000000000000009");
        assert_eq!(header("webhook-timestamp"), "1767268800");
        // As a receiver verifies it, by the standard.
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = [
            header("webhook-id").as_bytes(),
            b".",
            header("webhook-timestamp").as_bytes(),
            b".",
            &request.body,
        ]
        .concat();
        let tag = BASE64_STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &tag).unwrap();
    }
}

#[tokio::test]
async fn a_webhook_that_is_tried_again_keeps_its_id() {
    let server = HttpServer::start(vec![Answer::status("503 Later"), Answer::ok()]).await;
    let world = World::new(&[("URL", &server.url("/")), ("SECRET", "a long enough secret")]);
    world.tell(&channel("hook", Channel::Webhook { url: env("URL"), secret: env("SECRET") }), notice()).await;
    let ids: Vec<_> = server.got().iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert_eq!(ids, ["ntc_01998f6f0b7a7000a000000000000009"; 2]);
}

/// A press of the button that Slack got, as Slack would call, for this server as response URL.
fn press(message: &Json, response_url: &str) -> Vec<u8> {
    let blocks = message["blocks"].as_array().unwrap();
    let button = &blocks.last().unwrap()["elements"][0];
    let payload = serde_json::json!({
        "type": "block_actions",
        "user": { "id": "U0123ABC" },
        "team": { "id": "T9" },
        "response_url": response_url,
        "actions": [{ "action_id": button["action_id"], "value": button["value"] }],
        "message": message,
    });
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &payload.to_string())
        .finish()
        .into_bytes()
}

#[tokio::test]
async fn a_button_goes_round_and_who_pressed_it_is_answered() {
    let message = arrives(slack_with_buttons(), hostile_and_open()).await.json();
    let responses = HttpServer::start(vec![Answer::ok()]).await;
    let body = press(&message, &responses.url("/actions/secret"));
    // Slack signs, we verify.
    let (secret, now) =
        (Secret::new("8f742231b10e8888abcd99yyyzzz85a5".to_owned()), Timestamp::from_seconds(1_767_268_800));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, &[b"v0:1767268800:", body.as_slice()].concat());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("x-slack-request-timestamp", "1767268800".parse().unwrap());
    headers.insert("x-slack-signature", format!("v0={hex}").parse().unwrap());
    let verifier = slack::Verifier::default();
    verifier.verify(&headers, &body, &secret, now).unwrap();
    assert_eq!(verifier.verify(&headers, &body, &secret, now), Err(slack::NotFromSlack::Replayed));
    // It says what it must.
    let pressed = slack::Interaction::parse(&body, slack::ResponseHosts::SlackOrLoopback).unwrap();
    assert_eq!((pressed.action, pressed.request), (slack::Action::Approve, notice().request));
    assert_eq!(
        slack::Interaction::parse(&body, slack::ResponseHosts::Slack),
        Err(slack::InvalidInteraction::ResponseUrl)
    );
    // And they hear of it.
    let world = World::new(&[]);
    let whisper = slack::Reply::Whisper("<!here> you asked for it yourself".to_owned());
    world.notifier.respond(&pressed.response_url, &whisper).await.unwrap();
    let ended = Notice { kind: NoticeKind::Answered, ..hostile() };
    let instead = slack::Reply::Instead(Box::new(Notice { id: NoticeId::generate(now), ..ended }));
    world.notifier.respond(&pressed.response_url, &instead).await.unwrap();
    let got = responses.got();
    assert_eq!(got[0].json()["response_type"], "ephemeral");
    assert_eq!(got[0].json()["replace_original"], false);
    assert_eq!(visible(got[0].json()["text"].as_str().unwrap()), "&lt;!here&gt; you asked for it yourself");
    assert_eq!(got[1].json()["replace_original"], true);
    let text = String::from_utf8(got[1].body.clone()).unwrap();
    assert!(!text.contains(slack::APPROVE) && text.contains("Request denied"));
}

fn hostile_and_open() -> Notice {
    Notice { answered: None, ..hostile() }
}

#[tokio::test]
async fn an_answer_that_slack_does_not_take_is_an_error_without_the_address() {
    let responses = HttpServer::start(vec![Answer::Say("404 Not Found", "", "used_url".to_owned())]).await;
    let message = arrives(slack_with_buttons(), notice()).await.json();
    let body = press(&message, &responses.url("/actions/secret"));
    let pressed = slack::Interaction::parse(&body, slack::ResponseHosts::SlackOrLoopback).unwrap();
    let world = World::new(&[]);
    let refused = world.notifier.respond(&pressed.response_url, &slack::Reply::Whisper("x".to_owned())).await;
    assert_eq!(refused.unwrap_err().to_string(), "the server answered 404: used_url");
}
