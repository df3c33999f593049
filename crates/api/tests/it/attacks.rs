//! Attacks on the API that are not answered by what it does anyway.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::world::{Caller, PATIENCE, World};

async fn opened(caller: &Caller<'_>) -> Response {
    let answer = caller.bare(Method::GET, "/events").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

/// What a stream says until `until` is in it, or until it ends: then `None`.
async fn heard(answer: &mut Response, until: &str) -> Option<String> {
    let mut text = String::new();
    while !text.contains(until) {
        match tokio::time::timeout(PATIENCE, answer.chunk()).await.expect("nothing came") {
            Ok(Some(bytes)) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            Ok(None) | Err(_) => return None,
        }
    }
    Some(text)
}

#[tokio::test]
async fn a_stream_by_cookie_ends_with_the_role_it_was_opened_with() {
    let world = World::new().await;
    let vera = world.browser("vera@contoso.example").await;
    let mut stream = opened(&vera).await;
    heard(&mut stream, "event: hello").await.unwrap();
    world.idp.set_member("viewers", "vera@contoso.example", false).unwrap();
    world.clock.advance(Duration::from_secs(2));
    let id = world.asked().await;
    assert_eq!(heard(&mut stream, &id).await, None, "the role is gone, and the stream goes on");
}

#[tokio::test]
async fn who_waits_by_cookie_for_a_request_sees_no_more_than_their_role_of_now() {
    let world = World::new().await;
    let id = world.held().await;
    let aud = world.browser("aud@contoso.example").await;
    assert!(aud.get(&format!("/requests/{id}")).await.text.contains("secret-literal"));
    let (path, parsed) = (format!("/requests/{id}?wait=60"), id.parse().unwrap());
    let before = world.api.access.waiters(parsed);
    let (seen, ()) = tokio::join!(aud.get(&path), async {
        while world.api.access.waiters(parsed) <= before {
            tokio::task::yield_now().await;
        }
        world.idp.set_member("audit", "aud@contoso.example", false).unwrap();
        world.clock.advance(Duration::from_secs(2));
        world.by("sam@contoso.example").post(&format!("/requests/{id}/deny"), &json!({ "note": "no" })).await;
    });
    assert_eq!(seen.status, StatusCode::UNAUTHORIZED, "{seen:?}");
    assert!(!seen.text.contains("secret-literal"), "{seen:?}");
}

#[tokio::test]
async fn an_open_stream_does_not_keep_a_session_from_being_idle() {
    let world = World::new().await;
    let sam = world.browser("sam@contoso.example").await;
    let mut stream = opened(&sam).await;
    for _ in 0..2 {
        world.clock.advance(Duration::from_secs(20 * 60));
        let id = world.asked_by("triage-agent", "orders-db").await;
        let _over = heard(&mut stream, &id).await;
        let withdrawn =
            world.by("triage-agent").post(&format!("/requests/{id}/withdraw"), &json!({ "note": "" })).await;
        assert_eq!(withdrawn.status, StatusCode::OK, "{withdrawn:?}");
    }
    sam.get("/policy").await.is_problem(401, "not-authenticated");
}

#[tokio::test]
async fn bad_tokens_of_one_address_do_not_keep_the_administrator_out() {
    let world = World::new().await;
    let bad = world.as_token("not-a-token");
    while bad.get("/policy").await.status != StatusCode::TOO_MANY_REQUESTS {}
    let seen = world.admin().get("/policy").await;
    assert_eq!(seen.status, StatusCode::OK, "a kill must get through: {seen:?}");
}

#[tokio::test]
async fn one_address_does_not_use_up_the_places_of_everybodys_sign_in() {
    let world = World::new().await;
    // What one address may begin within the time a person has, at its rate.
    let (flow, query) = world.browsed("sam@contoso.example", "/").await;
    let somebody = world.nobody();
    for _ in 0..260 {
        for _ in 0..20 {
            assert_eq!(somebody.get("/auth/login?provider=entra").await.status, StatusCode::SEE_OTHER);
        }
        world.clock.advance(Duration::from_secs(1));
    }
    drop((flow, query));
}
