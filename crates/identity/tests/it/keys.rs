//! How published keys are kept: rotation, floods, failures, and the cache of verified tokens.

use std::{sync::Arc, time::Duration};

use portcullis_core::Secret;
use portcullis_identity::Error;
use serde_json::json;

use crate::{
    mint::{Key, with},
    server::Reply,
    world::{NOW, World, oidc_config},
};

const KEYS: &str = "/discovery/keys";

fn signed_by(world: &World, key: &Key, kid: &str) -> String {
    key.sign(&with(&world.header(), json!({ "kid": kid })), &world.claims(json!({ "jti": kid })))
}

#[tokio::test]
async fn a_flood_of_unknown_kids_costs_one_fetch() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    assert!(world.authenticate(world.sign(&world.claims(json!({})))).await.is_ok());
    assert_eq!(world.server.count(KEYS), 1);
    let forger = Key::p256();
    let tokens: Vec<String> =
        (0..50).map(|number| signed_by(&world, &forger, &format!("made-up-{number}"))).collect();
    world.server.hold();
    let mut answers = tokio::task::JoinSet::new();
    for token in tokens {
        let identity = Arc::clone(&world.identity);
        answers.spawn(async move { identity.authenticate(&Secret::new(token)).await.map(|_| ()) });
    }
    world.server.wait_for("/.well-known/", 2).await;
    world.server.release();
    while let Some(answer) = answers.join_next().await {
        assert!(matches!(answer.unwrap(), Err(Error::UnknownKey { .. })));
    }
    assert_eq!(world.server.count(KEYS), 2, "one fetch for fifty unknown kids");
    for number in 50..100 {
        let token = signed_by(&world, &forger, &format!("made-up-{number}"));
        assert!(matches!(world.authenticate(token).await, Err(Error::UnknownKey { .. })));
    }
    assert_eq!(world.server.count(KEYS), 2);
    world.clock.advance(Duration::from_secs(300));
    let token = signed_by(&world, &forger, "made-up");
    assert!(matches!(world.authenticate(token).await, Err(Error::UnknownKey { .. })));
    assert_eq!(world.server.count(KEYS), 3, "five minutes later once more");
}

#[tokio::test]
async fn a_peer_that_hangs_up_does_not_abort_the_fetch_others_need() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    assert!(world.authenticate(world.sign(&world.claims(json!({})))).await.is_ok());
    let next = Key::p256();
    world.set_keys(&[world.key.jwk("k1"), next.jwk("k2")]);
    let token = signed_by(&world, &next, "k2");
    world.server.hold();
    let identity = Arc::clone(&world.identity);
    let hasty = tokio::spawn({
        let token = token.clone();
        async move { identity.authenticate(&Secret::new(token)).await.map(|_| ()) }
    });
    world.server.wait_for("/.well-known/", 2).await;
    hasty.abort();
    assert!(hasty.await.is_err());
    world.server.release();
    assert!(world.authenticate(token).await.is_ok());
    assert_eq!(world.server.count(KEYS), 2);
}

#[tokio::test]
async fn a_first_use_by_many_fetches_once() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    world.server.hold();
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let identity = Arc::clone(&world.identity);
        let token = world.sign(&world.claims(json!({ "jti": number.to_string() })));
        answers.spawn(async move { identity.authenticate(&Secret::new(token)).await.map(|_| ()) });
    }
    world.server.wait_for("/.well-known/", 1).await;
    world.server.release();
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap(), Ok(()));
    }
    assert_eq!(world.server.asked().len(), 2);
}

#[tokio::test]
async fn keys_rotate_and_a_withdrawn_key_stops_counting() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let old = world.sign(&world.claims(json!({ "exp": NOW + 100_000 })));
    assert!(world.authenticate(old.clone()).await.is_ok());
    let next = Key::p256();
    world.set_keys(&[world.key.jwk("k1"), next.jwk("k2")]);
    let new = next
        .sign(&with(&world.header(), json!({ "kid": "k2" })), &world.claims(json!({ "exp": NOW + 100_000 })));
    assert!(world.authenticate(new.clone()).await.is_ok(), "an unknown kid fetches");
    assert!(world.authenticate(old.clone()).await.is_ok());
    // The old key is withdrawn: noticed by the hourly refresh, behind the first token after it.
    world.set_keys(&[next.jwk("k2")]);
    world.clock.advance(Duration::from_secs(3600));
    assert!(world.authenticate(new.clone()).await.is_ok());
    world.server.wait_for(KEYS, 3).await;
    world.identity.refresh_keys().await;
    loop {
        // The refresh goes on in the background; until it has ended the old keys count.
        match world.authenticate(old.clone()).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(refused) => {
                assert!(matches!(refused, Error::UnknownKey { .. }), "{refused:?}");
                break;
            }
        }
    }
    assert!(world.authenticate(new).await.is_ok());
}

#[tokio::test]
async fn keys_are_refreshed_hourly_by_who_keeps_them_warm() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    world.identity.refresh_keys().await;
    assert_eq!(world.server.asked().len(), 0, "nothing is fetched before it is used");
    assert!(world.authenticate(world.sign(&world.claims(json!({})))).await.is_ok());
    world.clock.advance(Duration::from_secs(3599));
    world.identity.refresh_keys().await;
    assert_eq!(world.server.count(KEYS), 1);
    world.clock.advance(Duration::from_secs(1));
    world.identity.refresh_keys().await;
    world.identity.refresh_keys().await;
    assert_eq!(world.server.count(KEYS), 2);
}

#[tokio::test]
async fn the_last_good_keys_stay_when_a_refresh_fails_but_not_for_ever() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let token = world.sign(&world.claims(json!({ "exp": NOW + 200_000 })));
    assert!(world.authenticate(token.clone()).await.is_ok());
    let huge = Reply { status: 200, headers: Vec::new(), body: vec![b' '; 1024 * 1024 + 1] };
    let wrong = Reply::json(&json!({ "issuer": "https://evil.example", "jwks_uri": world.server.base }));
    let redirect = Reply::status(302).header("location", format!("{}/evil", world.server.base));
    for broken in [Reply::status(500), Reply::status(404), redirect, huge, wrong, Reply::json(&json!([]))] {
        world.set_broken(Some(broken));
        world.clock.advance(Duration::from_secs(3600));
        world.identity.refresh_keys().await;
        assert!(world.authenticate(token.clone()).await.is_ok());
        // Not tried again at once.
        let asked = world.server.asked().len();
        world.identity.refresh_keys().await;
        assert_eq!(world.server.asked().len(), asked);
    }
    assert_eq!(world.server.count("evil"), 0, "redirects are not followed");
    world.clock.advance(Duration::from_secs(18 * 3600));
    let refused = world.authenticate(token.clone()).await.unwrap_err();
    assert!(matches!(refused, Error::KeysUnavailable { .. }), "{refused:?}");
    world.set_broken(None);
    world.clock.advance(Duration::from_secs(5));
    assert!(world.authenticate(token).await.is_ok(), "back as soon as the issuer is");
}

#[tokio::test]
async fn a_bad_key_set_is_refused_as_a_whole() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let token = world.sign(&world.claims(json!({})));
    world.set_keys(&[world.key.jwk("k1"), Key::p256().jwk("k1")]);
    let refused = world.authenticate(token.clone()).await.unwrap_err();
    assert!(
        matches!(&refused, Error::KeysUnavailable { detail, .. } if detail.contains("same `kid`")),
        "{refused:?}"
    );
    // While there are none, the issuer is not asked for every connection.
    let asked = world.server.asked().len();
    assert!(world.authenticate(token.clone()).await.is_err());
    assert_eq!(world.server.asked().len(), asked);
    world.set_keys(&[world.key.jwk("k1")]);
    world.clock.advance(Duration::from_secs(5));
    assert!(world.authenticate(token).await.is_ok());
}

#[tokio::test]
async fn a_remembered_token_still_expires_to_the_second() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let token = world.sign(&world.claims(json!({})));
    assert!(world.authenticate(token.clone()).await.is_ok());
    world.clock.advance(Duration::from_secs(359));
    assert!(world.authenticate(token.clone()).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.authenticate(token).await.unwrap_err(), Error::Expired);
}

#[tokio::test]
async fn a_changed_provider_judges_remembered_tokens_again_with_the_same_keys() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let token = world.sign(&world.claims(json!({})));
    assert!(world.authenticate(token.clone()).await.is_ok());
    let mut moved = oidc_config(&world.server.base);
    moved.location = "policy.yaml:99".to_owned();
    world.identity.configure(&[Arc::new(moved.clone())]).unwrap();
    assert!(world.authenticate(token.clone()).await.is_ok());
    moved.audience = vec!["other".to_owned()];
    world.identity.configure(&[Arc::new(moved)]).unwrap();
    assert_eq!(world.authenticate(token).await.unwrap_err(), Error::Audience);
    assert_eq!(world.server.count(KEYS), 1, "the keys were kept");
}
