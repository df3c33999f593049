//! Tokens of issuers in general.

use std::{io::Write as _, sync::Arc};

use portcullis_core::{PrincipalKind, Timestamp};
use portcullis_identity::{ConfigureError, Error, Identity, OauthChallenge, Standing};
use portcullis_policy::{Algorithm, JwksSource, ProviderConfig, ProviderKind};
use portcullis_testkit::ManualClock;
use serde_json::json;

use crate::{
    mint::{Key, with},
    world::{NOW, TENANT, World, entra_config, oidc_config, secrets},
};

fn jwks(config: &mut ProviderConfig, source: JwksSource) {
    let ProviderKind::Oidc(oidc) = &mut config.kind else { panic!("an OIDC provider") };
    oidc.jwks = Some(source);
}

#[tokio::test]
async fn every_algorithm_verifies_and_only_where_it_is_pinned() {
    for key in [Key::rsa(), Key::p256(), Key::p384(), Key::ed25519()] {
        let world = World::oidc(key, |_| {}).await;
        let principal = world.accepts(&world.claims(json!({}))).await;
        assert_eq!(principal.key().to_string(), "ci/repo:o/r:ref:refs/heads/main");
        if let Key::Rsa(_) = world.key {
            let token =
                world.key.sign(&with(&world.header(), json!({ "alg": "PS256" })), &world.claims(json!({})));
            assert!(world.authenticate(token).await.is_ok());
        }
        let world = World::oidc(Key::p256(), |config| config.algorithms = vec![Algorithm::ES384]).await;
        assert_eq!(world.refuses(&world.claims(json!({}))).await, Error::Algorithm);
    }
}

#[tokio::test]
async fn a_key_with_an_algorithm_of_its_own_signs_with_no_other() {
    let world = World::oidc(Key::rsa(), |_| {}).await;
    world.set_keys(&[with(&world.key.jwk("k1"), json!({ "alg": "PS256" }))]);
    assert_eq!(world.refuses(&world.claims(json!({}))).await, Error::Signature);
    let token = world.key.sign(&with(&world.header(), json!({ "alg": "PS256" })), &world.claims(json!({})));
    assert!(world.authenticate(token).await.is_ok());
}

#[tokio::test]
async fn a_kid_is_needed_when_there_is_more_than_one_key() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let token = world.key.sign(&json!({ "alg": "ES256" }), &world.claims(json!({})));
    assert!(world.authenticate(token.clone()).await.is_ok());
    let world = World::oidc(Key::p256(), |_| {}).await;
    world.set_keys(&[world.key.jwk("k1"), Key::p256().jwk("k2")]);
    let token = world.key.sign(&json!({ "alg": "ES256" }), &world.claims(json!({})));
    assert!(matches!(world.authenticate(token).await, Err(Error::Header { .. })));
    assert!(world.authenticate(world.sign(&world.claims(json!({})))).await.is_ok());
}

#[tokio::test]
async fn facts_are_read_by_pointer() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let principal = world
        .accepts(&world.claims(json!({
            "client_id": "ci-client", "repository": "o/r", "groups": ["/org/deployers", "/org/readers"],
            "realm_access": { "roles": "reader writer" }, "jti": null,
        })))
        .await;
    assert_eq!(principal.name, "o/r");
    assert_eq!(principal.application_id.as_deref(), Some("ci-client"));
    assert_eq!(principal.roles, ["reader", "writer"]);
    let groups: Vec<_> =
        principal.groups.iter().map(|group| (group.id.as_str(), group.name.as_deref())).collect();
    assert_eq!(groups, [("/org/deployers", Some("deployers")), ("/org/readers", None)]);
    assert_eq!(principal.tenant, None);
    assert_eq!(principal.token_id.len(), 32, "a keyed digest where the token has no id");

    let spaced = world.accepts(&world.claims(json!({ "groups": "a b" }))).await;
    assert_eq!(spaced.groups.len(), 2);
    for bad in [
        json!({ "groups": 7 }),
        json!({ "groups": [7] }),
        json!({ "realm_access": { "roles": {} } }),
        json!({ "sub": 7 }),
    ] {
        assert!(matches!(world.refuses(&world.claims(bad.clone())).await, Error::Claims { .. }), "{bad}");
    }
    assert!(matches!(world.refuses(&world.claims(json!({ "sub": null }))).await, Error::Claims { .. }));
    let elsewhere = json!({ "_claim_names": { "groups": "s" }, "_claim_sources": { "s": { "endpoint": world.server.base } } });
    assert!(matches!(world.refuses(&world.claims(elsewhere)).await, Error::GroupsOverage { .. }));
}

#[tokio::test]
async fn a_delegated_token_names_actor_and_subject() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let principal = world
        .accepts(&world.claims(json!({ "act": { "sub": "agent-7", "act": { "sub": "before" } } })))
        .await;
    assert_eq!(principal.actor.as_deref(), Some("agent-7"));
    assert_eq!(principal.subject.as_deref(), Some("repo:o/r:ref:refs/heads/main"));
    assert!(matches!(world.refuses(&world.claims(json!({ "act": "agent-7" }))).await, Error::Claims { .. }));
}

#[tokio::test]
async fn people_and_applications_are_told_apart_where_issuers_let_them() {
    let person = json!({ "preferred_username": "sam", "azp": "web", "given_name": "Sam" });
    let world = World::oidc(Key::p256(), |_| {}).await;
    assert!(matches!(world.refuses(&world.claims(person.clone())).await, Error::UserToken { .. }));
    for application in [
        json!({ "preferred_username": "service-account-bot", "azp": "bot", "acr": "1" }),
        json!({ "gty": "client-credentials", "azp": "abc", "sub": "abc@clients" }),
        json!({ "client_id": "bot", "sub": "bot", "auth_time": NOW }),
        json!({ "email": "bot@project.iam.gserviceaccount.com", "email_verified": true, "azp": "1" }),
    ] {
        assert_eq!(world.accepts(&world.claims(application)).await.kind, PrincipalKind::Application);
    }
    let world = World::oidc(Key::p256(), |config| config.allow_users = true).await;
    assert_eq!(world.accepts(&world.claims(person)).await.kind, PrincipalKind::User);
}

#[tokio::test]
async fn tokens_for_something_else_are_refused() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    for changes in [
        json!({ "typ": "ID" }),
        json!({ "typ": "Refresh" }),
        json!({ "token_use": "id" }),
        json!({ "nonce": "n" }),
        json!({ "events": {} }),
    ] {
        assert!(
            matches!(world.refuses(&world.claims(changes.clone())).await, Error::TokenType { .. }),
            "{changes}"
        );
    }
    for typ in ["secevent+jwt", "logout+jwt", "dpop+jwt"] {
        let token = world.key.sign(&with(&world.header(), json!({ "typ": typ })), &world.claims(json!({})));
        assert!(matches!(world.authenticate(token).await, Err(Error::TokenType { .. })), "{typ}");
    }
    for typ in ["at+jwt", "application/at+jwt", "jwt"] {
        let token = world
            .key
            .sign(&with(&world.header(), json!({ "typ": typ })), &world.claims(json!({ "typ": "Bearer" })));
        assert!(world.authenticate(token).await.is_ok(), "{typ}");
    }
    let untyped = world.key.sign(&with(&world.header(), json!({ "typ": null })), &world.claims(json!({})));
    assert!(world.authenticate(untyped.clone()).await.is_ok());
    let world = World::oidc(Key::p256(), |config| config.types = vec!["at+jwt".to_owned()]).await;
    let untyped = world.key.sign(&with(&world.header(), json!({ "typ": null })), &world.claims(json!({})));
    assert!(matches!(world.authenticate(untyped).await, Err(Error::TokenType { .. })));
}

#[tokio::test]
async fn the_issuer_is_compared_byte_for_byte() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let issuer = world.issuer();
    for other in
        [format!("{issuer}/"), issuer.replace("127.0.0.1", "localhost"), String::new(), format!(" {issuer}")]
    {
        assert_eq!(world.refuses(&world.claims(json!({ "iss": other }))).await, Error::Issuer, "{other}");
    }
    assert!(matches!(world.refuses(&world.claims(json!({ "iss": [issuer] }))).await, Error::Claims { .. }));
    assert_eq!(world.server.asked().len(), 0, "nothing is fetched for issuers that are not configured");
}

#[tokio::test]
async fn a_token_of_one_issuer_is_never_checked_with_keys_of_another() {
    let (one, other) = (World::oidc(Key::p256(), |_| {}).await, World::oidc(Key::p256(), |_| {}).await);
    let mut second = oidc_config(&other.server.base);
    second.name = "second".to_owned();
    one.identity.configure(&[Arc::new(oidc_config(&one.server.base)), Arc::new(second)]).unwrap();
    // Both publish `k1`; each has its own.
    assert!(one.authenticate(one.sign(&one.claims(json!({})))).await.is_ok());
    assert!(one.authenticate(other.sign(&other.claims(json!({})))).await.is_ok());
    let crossed = other.key.sign(&one.header(), &one.claims(json!({})));
    assert_eq!(one.authenticate(crossed).await.unwrap_err(), Error::Signature);
}

#[tokio::test]
async fn keys_come_from_a_file_or_an_address_where_there_is_no_discovery() {
    let key = Key::p256();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(json!({ "keys": [key.jwk("k1")] }).to_string().as_bytes()).unwrap();
    let path = file.path().to_owned();
    let world = World::oidc(key, |config| jwks(config, JwksSource::File(path))).await;
    assert!(world.authenticate(world.sign(&world.claims(json!({})))).await.is_ok());
    assert_eq!(world.server.asked().len(), 0);

    let world = World::oidc(Key::p256(), |_| {}).await;
    let mut config = oidc_config("https://kubernetes.default.svc");
    jwks(&mut config, JwksSource::Url(format!("{}/discovery/keys", world.server.base).parse().unwrap()));
    world.identity.configure(&[Arc::new(config)]).unwrap();
    assert!(
        world
            .authenticate(world.sign(&world.claims(json!({ "iss": "https://kubernetes.default.svc" }))))
            .await
            .is_ok()
    );

    let mut missing = oidc_config("https://nowhere.example");
    jwks(&mut missing, JwksSource::File("/nonexistent/keys.json".into()));
    world.identity.configure(&[Arc::new(missing)]).unwrap();
    let refused = world.refuses(&world.claims(json!({ "iss": "https://nowhere.example" }))).await;
    assert!(matches!(refused, Error::KeysUnavailable { .. }), "{refused:?}");
}

#[tokio::test]
async fn settings_that_cannot_be_safe_are_refused_and_the_old_ones_stay() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let good = world.sign(&world.claims(json!({})));
    for issuer in [
        "http://idp.example",
        "ftp://idp.example",
        "not an address",
        "https://idp.example/?tenant=1",
        "https://u:p@idp.example",
    ] {
        let refused = world.identity.configure(&[Arc::new(oidc_config(issuer))]);
        assert!(matches!(refused, Err(ConfigureError::Setting { .. })), "{issuer}");
    }
    let (one, mut two) = (oidc_config("https://idp.example"), oidc_config("https://idp.example"));
    two.name = "two".to_owned();
    let refused = world.identity.configure(&[Arc::new(one), Arc::new(two)]);
    assert!(matches!(refused, Err(ConfigureError::SameIssuer { .. })));
    assert!(world.authenticate(good).await.is_ok());
}

#[tokio::test]
async fn nothing_is_accepted_before_providers_are_configured_or_after_they_are_gone() {
    let clock = ManualClock::at(Timestamp::from_seconds(NOW));
    let identity = Identity::new(Arc::new(clock), secrets());
    let token = portcullis_core::Secret::new("a.b.c".to_owned());
    assert_eq!(identity.authenticate(&token).await.unwrap_err(), Error::Issuer);
    assert_eq!(identity.oauth_challenge(None), None);

    let world = World::oidc(Key::p256(), |_| {}).await;
    let token = world.sign(&world.claims(json!({})));
    let principal = Arc::clone(world.authenticate(token.clone()).await.unwrap().principal());
    assert!(matches!(world.identity.recheck(&principal).await, Standing::Good(_)));
    assert_eq!(world.identity.next_recheck(&principal), None);
    world.identity.configure(&[]).unwrap();
    assert_eq!(world.authenticate(token).await.unwrap_err(), Error::Issuer);
    assert!(matches!(world.identity.recheck(&principal).await, Standing::Revoked { .. }));
}

#[tokio::test]
async fn a_changed_group_map_renames_groups_of_live_sessions() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let principal = world.accepts(&world.claims(json!({ "groups": ["/org/deployers"] }))).await;
    let mut config = oidc_config(&world.server.base);
    config.groups = [("shippers".to_owned(), "/org/deployers".to_owned())].into();
    world.identity.configure(&[Arc::new(config)]).unwrap();
    let Standing::Good(now) = world.identity.recheck(&principal).await else { panic!("good") };
    assert_eq!(now.groups[0].name.as_deref(), Some("shippers"));
}

#[tokio::test]
async fn clients_are_told_where_to_get_a_token() {
    let world = World::oidc(Key::p256(), |_| {}).await;
    let mut entra = entra_config(&world.server.base);
    let ProviderKind::Entra(settings) = &mut entra.kind else { panic!("an Entra provider") };
    settings.authority = None;
    let auth0 = oidc_config("https://tenant.auth0.example/");
    world.identity.configure(&[Arc::new(entra), Arc::new(auth0)]).unwrap();
    let challenge = world.identity.oauth_challenge(None).unwrap();
    let address = format!("https://login.microsoftonline.com/{TENANT}/v2.0/.well-known/openid-configuration");
    let scope = "api://portcullis/.default".to_owned();
    assert_eq!(challenge, OauthChallenge { openid_configuration: address.clone(), scope });
    let json: serde_json::Value = serde_json::from_str(&challenge.to_json()).unwrap();
    assert_eq!(
        json,
        json!({ "status": "invalid_token", "openid-configuration": address, "scope": "api://portcullis/.default" })
    );
    let challenge = world.identity.oauth_challenge(Some("ci")).unwrap();
    assert_eq!(
        challenge.openid_configuration,
        "https://tenant.auth0.example/.well-known/openid-configuration"
    );
    assert_eq!(world.identity.oauth_challenge(Some("nobody")), None);
}
