//! Attacks on the API that are not answered by what it does anyway.

use std::time::Duration;

use aws_lc_rs::digest;
use portcullis_core::{Clock as _, Principal};
use portcullis_store::Person;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::world::{Caller, PATIENCE, World, documents, policy_of};

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

#[tokio::test]
async fn a_blocked_person_s_answer_is_refused_and_journalled() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.principal("sam@contoso.example").await;
    let kill = json!({ "identity": sam.key().to_string(), "reason": "a stolen phone" });
    assert_eq!(world.admin().post("/kill", &kill).await.status, StatusCode::OK);
    let seen = world.by("sam@contoso.example").post(&format!("/requests/{id}/approve"), &json!({})).await;
    seen.is_problem(403, "blocked");
    assert_eq!(world.steps(&id), ["filed", "answer_refused"]);
    assert_eq!(world.window_of(&*world.principal("triage-agent").await), 0);
}

#[tokio::test]
async fn a_place_to_go_to_fits_into_the_cookie_of_the_sign_in() {
    let world = World::new().await;
    let nobody = world.nobody();
    let widest = format!("/auth/login?next=/{}", "%C3%A9".repeat(400));
    nobody.get(&widest).await.is_problem(400, "malformed");
    let long = format!("/auth/login?next=/{}", "a".repeat(999));
    let seen = nobody.get(&long).await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER, "{seen:?}");
    assert!(
        seen.header("set-cookie").len() < 4_096,
        "a browser drops it: {}",
        seen.header("set-cookie").len()
    );
}

#[tokio::test]
async fn a_stream_of_somebody_blocked_ends_though_they_had_no_role() {
    let world = World::new().await;
    let mut stream = opened(&world.by("triage-agent")).await;
    heard(&mut stream, "event: hello").await.unwrap();
    let agent = world.principal("triage-agent").await;
    let kill = json!({ "identity": agent.key().to_string(), "reason": "it went astray" });
    let id = world.asked().await;
    heard(&mut stream, &id).await.unwrap();
    assert_eq!(world.admin().post("/kill", &kill).await.status, StatusCode::OK);
    // Its request is withdrawn, which would be an event of its own.
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(heard(&mut stream, "withdrawn").await, None);
}

#[tokio::test]
async fn documents_that_take_long_to_check_wait_for_each_other() {
    let world = World::new().await;
    let vera = world.by("vera@contoso.example");
    let grants = "  - { name: a, connection: nowhere, to: 'group:nobody', when: always, scope: 'read:*' }\n"
        .repeat(2_000);
    let body = json!({ "files": [{ "name": "policy.yaml", "text": format!("grants:\n{grants}") }] });
    let answers = futures_util::future::join_all((0..4).map(|_| vera.post("/policy/check", &body))).await;
    for seen in answers {
        assert_eq!(seen.status, StatusCode::OK);
        let findings = seen.json()["diagnostics"].as_array().unwrap().len();
        assert!((1..=500).contains(&findings), "{findings}");
    }
}

#[tokio::test]
async fn a_session_outlives_its_token_but_what_only_the_token_said_does_not() {
    let world = World::new().await;
    let now = world.clock.now();
    let mut principal = Principal::clone(&*world.principal("sam@contoso.example").await);
    principal.roles = vec!["Portcullis.Admin".to_owned()];
    principal.expires_at = now.plus(Duration::from_secs(60));
    let cookie = "5".repeat(64);
    let mut token_hash = [0; 32];
    token_hash.copy_from_slice(digest::digest(&digest::SHA256, cookie.as_bytes()).as_ref());
    let ends_at = now.plus(Duration::from_secs(3_600));
    let person = Person { token_hash, principal, made_at: now, seen_at: now, ends_at };
    world.store().put_person(&person).unwrap();
    let sam = world.with_cookie(&cookie).await;
    assert_eq!(sam.get("/whoami").await.json()["roles"], json!(["Portcullis.Admin"]));
    world.clock.advance(Duration::from_secs(61));
    let later = sam.get("/whoami").await;
    assert_eq!((later.status, &later.json()["roles"]), (StatusCode::OK, &json!([])), "{later:?}");
    // Without a directory there is nobody left who says anything.
    let documents = documents(world.idp.authority().unwrap(), "");
    let start = documents.find("    liveness:").unwrap();
    let end = start + documents[start..].find('\n').unwrap();
    let (policy, ..) = policy_of(&format!("{}{}", &documents[..start], &documents[end..]));
    world.api.identity.configure(policy.providers()).unwrap();
    sam.get("/whoami").await.is_problem(401, "not-authenticated");
}

#[tokio::test]
async fn one_principal_waits_for_so_many_answers_at_once() {
    let world = World::new().await;
    let id = world.asked().await;
    let (path, parsed) = (format!("/requests/{id}?wait=60"), id.parse().unwrap());
    let before = world.api.access.waiters(parsed);
    let agent = world.by("triage-agent");
    let waits: Vec<_> = (0..20).map(|_| tokio::spawn(agent.bare(Method::GET, &path).send())).collect();
    while world.api.access.waiters(parsed) < before + 20 {
        tokio::task::yield_now().await;
    }
    let refused = agent.get(&path).await;
    refused.is_problem(429, "rate");
    assert_eq!(refused.header("retry-after"), "5");
    // Nobody else is kept out, and looking without waiting is not either.
    assert_eq!(agent.get(&format!("/requests/{id}")).await.status, StatusCode::OK);
    let sam = world.by("sam@contoso.example");
    let denied = sam.post(&format!("/requests/{id}/deny"), &json!({ "note": "no" })).await;
    assert_eq!(denied.status, StatusCode::OK, "{denied:?}");
    for wait in waits {
        assert_eq!(wait.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(agent.get(&path).await.status, StatusCode::OK, "the places are given back");
}

#[tokio::test]
async fn what_waits_for_people_is_counted_by_kind() {
    let world = World::new().await;
    world.asked().await;
    world.held().await;
    let waiting = world.api.access.waiting();
    assert_eq!((waiting.windows, waiting.operations, waiting.commits, waiting.live), (1, 1, 0, 1));
}

#[tokio::test]
async fn who_asked_or_signed_in_is_known_though_they_never_connected() {
    let world = World::new().await;
    world.asked_by("triage-agent", "orders-db").await;
    let vera = world.browser("vera@contoso.example").await;
    let rows = vera.get("/identities").await.json()["rows"].clone();
    let mut names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names.len(), 2, "{rows}");
    assert!(names.contains(&"vera@contoso.example"), "{rows}");
}
