//! Every pitfall of Entra tokens, one by one, with real signatures.

use portcullis_core::{ErrorKind, GroupRef, PrincipalKind};
use portcullis_identity::{Error, GroupSource};
use serde_json::{Value, json};

use crate::{
    mint::{Key, encode, hs256, with},
    world::{AGENT, CLIENT, GATEWAY, GROUP, NOW, OTHER_GROUP, OTHER_TENANT, TENANT, World},
};

const BLUEPRINT: &str = "b1b10000-0000-4000-8000-000000000009";
const PERSON: &str = "55aa0000-0000-4000-8000-00000000000a";

#[tokio::test]
async fn a_v2_token_of_an_application_is_a_principal() {
    let world = World::entra(|_| {}).await;
    let principal = world.accepts(&world.v2(json!({}))).await;
    assert_eq!(principal.key().to_string(), format!("entra/{TENANT}/{AGENT}"));
    assert_eq!(principal.application_id.as_deref(), Some(CLIENT));
    assert_eq!(principal.kind, PrincipalKind::Application);
    assert_eq!(principal.token_id, "k3tokenid");
    assert_eq!(principal.roles, ["Gateway.Connect"]);
    assert_eq!(principal.groups, [GroupRef { id: GROUP.to_owned(), name: Some("triage".to_owned()) }]);
    assert_eq!((principal.issued_at.as_seconds(), principal.expires_at.as_seconds()), (NOW - 60, NOW + 4500));
    assert_eq!((&principal.parent_application, &principal.actor, &principal.subject), (&None, &None, &None));
}

#[tokio::test]
async fn a_v1_token_is_the_same_principal_and_needs_its_own_issuer_form() {
    let world = World::entra(|_| {}).await;
    let v1 = world.accepts(&world.v1(json!({}))).await;
    let v2 = world.accepts(&world.v2(json!({}))).await;
    assert_eq!(v1.key(), v2.key());
    assert_eq!(v1.application_id, v2.application_id);

    let issuer_v1 = format!("{}/{TENANT}/", world.server.base);
    let mixed = [
        world.v2(json!({ "ver": "1.0" })),
        world.v1(json!({ "ver": "2.0" })),
        world.v2(json!({ "iss": issuer_v1 })),
        world.v2(json!({ "ver": null })),
        world.v2(json!({ "ver": 2.0 })),
        world.v2(json!({ "ver": "3.0" })),
        // The client claim of the other version.
        world.v2(json!({ "azp": null, "appid": CLIENT })),
        world.v1(json!({ "appid": null, "azp": CLIENT })),
    ];
    for claims in mixed {
        assert!(matches!(world.refuses(&claims).await, Error::Claims { .. }), "{claims}");
    }
    let trimmed = issuer_v1.trim_end_matches('/').to_owned();
    for issuer in [
        trimmed,
        format!("{}/", world.issuer()),
        world.issuer().to_uppercase(),
        format!("{}#", world.issuer()),
    ] {
        assert_eq!(world.refuses(&world.v2(json!({ "iss": issuer }))).await, Error::Issuer, "{issuer}");
    }
}

#[tokio::test]
async fn forged_signatures_are_refused() {
    let world = World::entra(|_| {}).await;
    let claims = world.v2(json!({}));
    let header = world.header();
    let body = encode(claims.to_string());

    // `alg: none`, with and without something in the signature's place.
    for name in ["none", "None", "nOnE"] {
        let none = encode(with(&header, json!({ "alg": name })).to_string());
        let refused = world.authenticate(format!("{none}.{body}.")).await.unwrap_err();
        assert!(matches!(refused, Error::Malformed { .. }), "{refused:?}");
        let refused = world.authenticate(format!("{none}.{body}.{}", encode("x"))).await.unwrap_err();
        assert_eq!(refused, Error::Algorithm);
    }
    // The public key as an HMAC secret, in the forms a library could have it.
    let public = world.key.public();
    let modulus = world.key.jwk("k1")["n"].as_str().unwrap().to_owned();
    for secret in [public.as_slice(), modulus.as_bytes(), b""] {
        let token = hs256(&with(&header, json!({ "alg": "HS256" })), &claims, secret);
        assert_eq!(world.authenticate(token).await.unwrap_err(), Error::Algorithm);
        // The same signature under the name of the pinned algorithm.
        let token = hs256(&header, &claims, secret);
        assert_eq!(world.authenticate(token).await.unwrap_err(), Error::Signature);
    }
    // A good signature under another algorithm of the same key.
    let token = world.key.sign(&with(&header, json!({ "alg": "PS256" })), &claims);
    assert_eq!(world.authenticate(token).await.unwrap_err(), Error::Algorithm);
    // Somebody else's key under the published key's id.
    let token = Key::rsa().sign(&header, &claims);
    assert_eq!(world.authenticate(token).await.unwrap_err(), Error::Signature);
    // Claims swapped under a good signature.
    let good = world.sign(&claims);
    let (front, signature) = good.rsplit_once('.').unwrap();
    let head = front.split('.').next().unwrap();
    let other = encode(world.v2(json!({ "roles": ["Admin"] })).to_string());
    assert_eq!(
        world.authenticate(format!("{head}.{other}.{signature}")).await.unwrap_err(),
        Error::Signature
    );
    assert!(world.authenticate(good).await.is_ok());
}

#[tokio::test]
async fn entra_signs_with_rs256_whatever_the_document_allows() {
    let world = World::entra(|config| config.algorithms = portcullis_policy::Algorithm::ALL.to_vec()).await;
    let token = world.key.sign(&with(&world.header(), json!({ "alg": "PS256" })), &world.v2(json!({})));
    assert_eq!(world.authenticate(token).await.unwrap_err(), Error::Algorithm);
}

#[tokio::test]
async fn headers_that_ask_for_more_are_refused() {
    let world = World::entra(|_| {}).await;
    let claims = world.v2(json!({}));
    let evil = format!("{}/evil", world.server.base);
    for (name, value) in [
        ("jku", json!(evil)),
        ("x5u", json!(evil)),
        ("jwk", world.key.jwk("k1")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("kid", json!("k".repeat(10_240))),
        ("kid", json!("k1\u{0}")),
        ("kid", json!("")),
    ] {
        let token = world.key.sign(&with(&world.header(), json!({ name: value })), &claims);
        let refused = world.authenticate(token).await.unwrap_err();
        assert!(matches!(refused, Error::Header { .. } | Error::Malformed { .. }), "{name}: {refused:?}");
    }
    assert_eq!(world.server.asked().len(), 0, "nothing is fetched for them");
    for kid in ["../../keys", "k1' OR '1'='1", "http://127.0.0.1/evil"] {
        let token = world.key.sign(&with(&world.header(), json!({ "kid": kid })), &claims);
        assert!(matches!(world.authenticate(token).await.unwrap_err(), Error::UnknownKey { .. }));
    }
    assert_eq!(world.server.count("evil"), 0);
    // The header of a v1.0 token has `x5t` too, and Graph's has a nonce; they do not matter.
    let token = world.key.sign(&with(&world.header(), json!({ "x5t": "k1", "nonce": "n" })), &claims);
    assert!(world.authenticate(token).await.is_ok());
}

#[tokio::test]
async fn other_kinds_of_tokens_are_not_access_tokens() {
    let world = World::entra(|_| {}).await;
    for typ in ["secevent+jwt", "logout+jwt", "id_token+jwt", "dpop+jwt", "entity-statement+jwt", "JOSE", ""]
    {
        let token = world.key.sign(&with(&world.header(), json!({ "typ": typ })), &world.v2(json!({})));
        assert!(matches!(world.authenticate(token).await.unwrap_err(), Error::TokenType { .. }), "{typ}");
    }
    for changes in [
        json!({ "events": { "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {} } }),
        json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
        json!({ "nonce": "n-0S6_WzA2Mj" }),
        json!({ "at_hash": "77QmUPtjPfzWtF2AnpK9RQ" }),
        json!({ "c_hash": "LDktKdoQak3Pk0cnXxCltA" }),
    ] {
        let refused = world.refuses(&world.v2(changes.clone())).await;
        assert!(matches!(refused, Error::TokenType { .. }), "{changes}: {refused:?}");
    }
    // An Entra ID token without a nonce: for the client, so without a client claim.
    let id_token = world.v2(json!({ "azp": null, "idtyp": null, "preferred_username": "a@b.example" }));
    assert!(matches!(world.refuses(&id_token).await, Error::Claims { .. }));
    let encrypted = format!("{}.a.b.c.d", encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#));
    assert_eq!(world.authenticate(encrypted).await.unwrap_err(), Error::Encrypted);
}

#[tokio::test]
async fn the_tenant_is_pinned_and_said_exactly_once() {
    let world = World::entra(|_| {}).await;
    assert_eq!(world.refuses(&world.v2(json!({ "tid": OTHER_TENANT }))).await, Error::Tenant);
    let elsewhere = format!("{}/{OTHER_TENANT}/v2.0", world.server.base);
    assert_eq!(
        world.refuses(&world.v2(json!({ "iss": elsewhere, "tid": OTHER_TENANT }))).await,
        Error::Issuer
    );
    for tid in [
        json!(null),
        json!("contoso.onmicrosoft.com"),
        json!(TENANT.replace('-', "")),
        json!(1),
        json!([TENANT]),
    ] {
        let refused = world.refuses(&world.v2(json!({ "tid": tid }))).await;
        assert!(matches!(refused, Error::Claims { .. }), "{tid}: {refused:?}");
    }
    for name in ["TID", "Tid", "tiD"] {
        let refused = world.refuses(&world.v2(json!({ name: OTHER_TENANT }))).await;
        assert!(matches!(refused, Error::Claims { .. }), "{name}: {refused:?}");
    }
    assert!(matches!(
        world.refuses(&world.v2(json!({ "tid": TENANT.to_uppercase() }))).await,
        Error::Tenant | Error::Claims { .. }
    ));
}

#[tokio::test]
async fn a_claim_twice_is_refused() {
    let world = World::entra(|_| {}).await;
    let claims = world.v2(json!({})).to_string();
    for (name, value) in
        [("tid", OTHER_TENANT), ("aud", "api://other"), ("oid", PERSON), ("exp", "9"), ("other", "x")]
    {
        let doubled =
            format!(r#"{},"{name}":"{value}","{name}":"{value}"}}"#, claims.strip_suffix('}').unwrap());
        let token = world.key.sign_text(&world.header().to_string(), &doubled);
        assert!(matches!(world.authenticate(token).await.unwrap_err(), Error::Malformed { .. }), "{name}");
    }
    let header = r#"{"alg":"RS256","alg":"RS256","typ":"JWT","kid":"k1"}"#;
    let token = world.key.sign_text(header, &claims);
    assert!(matches!(world.authenticate(token).await.unwrap_err(), Error::Malformed { .. }));
}

#[tokio::test]
async fn a_token_for_another_resource_is_refused() {
    let world = World::entra(|_| {}).await;
    for audience in [
        "https://graph.microsoft.com",
        "00000003-0000-0000-c000-000000000000",
        "api://portcullis/",
        "API://PORTCULLIS",
    ] {
        assert_eq!(world.refuses(&world.v2(json!({ "aud": audience }))).await, Error::Audience, "{audience}");
    }
    assert_eq!(world.refuses(&world.v2(json!({ "aud": ["api://x", "api://y"] }))).await, Error::Audience);
    assert!(matches!(world.refuses(&world.v2(json!({ "aud": null }))).await, Error::Claims { .. }));
    world.accepts(&world.v2(json!({ "aud": ["api://x", GATEWAY] }))).await;
}

#[tokio::test]
async fn times_hold_and_are_whole_seconds() {
    let world = World::entra(|_| {}).await;
    assert_eq!(world.refuses(&world.v2(json!({ "exp": NOW - 61, "iat": NOW - 4000 }))).await, Error::Expired);
    assert!(matches!(world.refuses(&world.v2(json!({ "nbf": NOW + 61 }))).await, Error::NotYetValid { .. }));
    assert!(matches!(world.refuses(&world.v2(json!({ "iat": NOW + 61 }))).await, Error::NotYetValid { .. }));
    for (name, value) in [
        ("exp", json!(NOW as f64 + 4500.0)),
        ("exp", json!((NOW + 4500).to_string())),
        ("exp", json!(null)),
        ("nbf", json!("0")),
        ("iat", json!(1.5)),
        ("iat", json!(null)),
    ] {
        // Without `iat`, `nbf` would stand in for it; Entra's tokens have both.
        let claims = world.v2(
            json!({ name: value.clone(), "nbf": if name == "nbf" { value.clone() } else { Value::Null } }),
        );
        assert!(matches!(world.refuses(&claims).await, Error::Claims { .. }), "{name} {value}");
    }
    // `1.79e9` is a whole number to some parsers.
    let text = world.v2(json!({})).to_string().replace(&format!("\"exp\":{}", NOW + 4500), "\"exp\":1.8e9");
    let token = world.key.sign_text(&world.header().to_string(), &text);
    assert!(matches!(world.authenticate(token).await.unwrap_err(), Error::Claims { .. }));
}

#[tokio::test]
async fn a_key_signs_only_for_its_issuer_and_cloud() {
    let world = World::entra(|_| {}).await;
    let base = world.server.base.clone();
    let template = format!("{base}/{{tenantid}}/v2.0");
    let jwk = |issuer: &str, cloud: &str| {
        with(&world.key.jwk("k1"), json!({ "issuer": issuer, "cloud_instance_name": cloud }))
    };
    let personal = format!("{base}/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0");
    for (jwk, good) in [
        (jwk(&template, "microsoftonline.com"), true),
        (jwk(&world.issuer(), "microsoftonline.com"), true),
        (jwk(&personal, "microsoftonline.com"), false),
        (jwk(&template.to_uppercase(), "microsoftonline.com"), false),
        (jwk("{tenantid}", "microsoftonline.com"), false),
        (jwk(&template, "microsoftonline.us"), false),
    ] {
        let world = World { ..World::entra(|_| {}).await };
        let key = &world.key;
        let mut fitted = with(
            &key.jwk("k1"),
            json!({ "issuer": jwk["issuer"], "cloud_instance_name": jwk["cloud_instance_name"] }),
        );
        fitted["issuer"] = json!(jwk["issuer"].as_str().unwrap().replace(&base, &world.server.base));
        world.set_keys(&[fitted]);
        for claims in [world.v2(json!({})), world.v1(json!({}))] {
            let answer = world.authenticate(world.sign(&claims)).await;
            match good {
                true => assert!(answer.is_ok(), "{jwk}: {answer:?}"),
                false => assert!(matches!(answer, Err(Error::Key { .. })), "{jwk}: {answer:?}"),
            }
        }
    }
}

#[tokio::test]
async fn people_are_refused_unless_allowed() {
    let person = json!({ "oid": PERSON, "sub": "pairwise-subject", "idtyp": null, "scp": "access_as_user", "preferred_username": "sam@b.example" });
    let world = World::entra(|_| {}).await;
    for changes in [
        person.clone(),
        with(&person, json!({ "idtyp": "user" })),
        with(&person, json!({ "scp": null })),
        with(&person, json!({ "scp": "/" })),
        with(&person, json!({ "scp": "", "idtyp": "user" })),
    ] {
        let refused = world.refuses(&world.v2(changes.clone())).await;
        assert_eq!(refused, Error::UserToken { provider: "entra".to_owned() }, "{changes}");
    }
    for odd in [
        json!({ "idtyp": "device" }),
        json!({ "idtyp": "app", "scp": "access_as_user" }),
        json!({ "idtyp": 1 }),
    ] {
        assert!(matches!(world.refuses(&world.v2(odd.clone())).await, Error::Claims { .. }), "{odd}");
    }
    let world = World::entra(|config| config.allow_users = true).await;
    let principal = world.accepts(&world.v2(person)).await;
    assert_eq!(principal.kind, PrincipalKind::User);
    assert_eq!((principal.object_id.as_str(), principal.name.as_str()), (PERSON, "sam@b.example"));
}

#[tokio::test]
async fn an_application_is_known_without_idtyp() {
    let world = World::entra(|_| {}).await;
    for changes in [
        json!({ "idtyp": null }),
        json!({ "idtyp": null, "scp": "/" }),
        json!({ "idtyp": "app", "sub": "other" }),
    ] {
        assert_eq!(world.accepts(&world.v2(changes)).await.kind, PrincipalKind::Application);
    }
}

#[tokio::test]
async fn agents_have_a_parent_and_when_delegated_an_actor_and_a_subject() {
    let autonomous = json!({ "xms_par_app_azp": BLUEPRINT, "xms_act_fct": "9 3 11", "xms_sub_fct": "11 3 9", "xms_idrel": "7" });
    let delegated = json!({ "xms_par_app_azp": BLUEPRINT, "xms_act_fct": "11 3", "xms_sub_fct": "1", "idtyp": "user", "oid": PERSON,
        "sub": "pairwise", "scp": "access_as_user" });
    let own_account = with(&delegated, json!({ "xms_sub_fct": "13 3", "scp": "/" }));

    let world = World::entra(|_| {}).await;
    let agent = world.accepts(&world.v2(autonomous.clone())).await;
    assert_eq!(agent.kind, PrincipalKind::Agent);
    assert_eq!(agent.parent_application.as_deref(), Some(BLUEPRINT));
    assert_eq!((&agent.actor, &agent.subject), (&None, &None));
    // Either mark is enough; 111 is not 11.
    for (changes, kind) in [
        (json!({ "xms_par_app_azp": BLUEPRINT }), PrincipalKind::Agent),
        (json!({ "xms_act_fct": "11" }), PrincipalKind::Agent),
        (json!({ "xms_act_fct": "111 1" }), PrincipalKind::Application),
    ] {
        assert_eq!(world.accepts(&world.v2(changes)).await.kind, kind);
    }
    // An agent that acts for a person has the person's authority.
    assert!(matches!(world.refuses(&world.v2(delegated.clone())).await, Error::UserToken { .. }));
    assert!(matches!(
        world.refuses(&world.v2(json!({ "xms_par_app_azp": "x/../y" }))).await,
        Error::Claims { .. }
    ));

    let world = World::entra(|config| config.allow_users = true).await;
    for claims in [delegated, own_account] {
        let agent = world.accepts(&world.v2(claims)).await;
        assert_eq!(agent.kind, PrincipalKind::Agent);
        assert_eq!((agent.actor.as_deref(), agent.subject.as_deref()), (Some(CLIENT), Some(PERSON)));
        assert_eq!(agent.object_id, PERSON);
    }
}

#[tokio::test]
async fn a_token_bound_to_a_key_cannot_be_proven_here() {
    let world = World::entra(|_| {}).await;
    for cnf in [json!({ "x5t#S256": "abc" }), json!({ "jkt": "abc" }), json!({}), json!("x")] {
        assert_eq!(world.refuses(&world.v2(json!({ "cnf": cnf }))).await, Error::SenderConstrained);
    }
}

#[tokio::test]
async fn ids_must_be_there_and_be_guids() {
    let world = World::entra(|_| {}).await;
    for (name, value) in [
        ("oid", json!(null)),
        ("oid", json!("../users/x")),
        ("oid", json!([AGENT])),
        ("azp", json!(null)),
        ("azp", json!("x")),
        ("sub", json!(null)),
        ("roles", json!("Gateway.Connect")),
        ("roles", json!([1])),
        ("groups", json!(GROUP)),
        ("uti", json!("a\nb")),
    ] {
        let refused = world.refuses(&world.v2(json!({ name: value }))).await;
        assert!(matches!(refused, Error::Claims { .. }), "{name}: {refused:?}");
    }
}

#[tokio::test]
async fn groups_none_not_told_and_overage_are_three_things() {
    let world = World::entra(|_| {}).await;
    for (groups, expected) in [(json!([]), GroupSource::Token), (json!(null), GroupSource::NotStated)] {
        let proof = world.authenticate(world.sign(&world.v2(json!({ "groups": groups })))).await.unwrap();
        assert!(proof.principal().groups.is_empty());
        assert_eq!(proof.group_source(), expected);
    }
    let evil = format!("{}/evil", world.server.base);
    let fetched = world.server.asked().len();
    for changes in [
        json!({ "groups": null, "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": { "endpoint": evil } } }),
        json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": { "endpoint": evil } } }),
        json!({ "groups": null, "hasgroups": true }),
        json!({ "groups": null, "hasgroups": "true" }),
    ] {
        let refused = world.refuses(&world.v2(changes.clone())).await;
        assert_eq!(refused, Error::GroupsOverage { provider: "entra".to_owned() }, "{changes}");
    }
    assert_eq!(world.server.asked().len(), fetched, "the token's addresses are never followed");
    let two = world.accepts(&world.v2(json!({ "groups": [OTHER_GROUP, GROUP.to_uppercase(), GROUP] }))).await;
    let named: Vec<_> = two.groups.iter().map(|group| (group.id.as_str(), group.name.as_deref())).collect();
    assert_eq!(named, [(GROUP, Some("triage")), (OTHER_GROUP, None)]);
}

#[tokio::test]
async fn errors_tell_the_peer_what_to_do_and_nothing_else() {
    let world = World::entra(|_| {}).await;
    let marked = json!({ "aud": "api://marker-audience", "oid": AGENT, "name": "marker-name" });
    let mut errors = vec![world.refuses(&world.v2(marked)).await];
    errors.push(world.refuses(&world.v2(json!({ "iss": "https://marker.example" }))).await);
    errors.push(world.refuses(&world.v2(json!({ "exp": NOW - 3600, "iat": NOW - 7200 }))).await);
    errors.push(world.authenticate("marker.marker.marker").await.unwrap_err());
    errors.push(world.authenticate("m".repeat(70_000)).await.unwrap_err());
    errors.push(Error::KeysUnavailable {
        provider: "entra".to_owned(),
        detail: "https://marker.example".to_owned(),
    });
    for error in errors {
        let message = error.client_message();
        assert!(
            !message.contains("marker") && !message.contains("http") && !message.contains(&world.server.base),
            "{message}"
        );
        assert!(
            !message.ends_with('.') && message.starts_with(|first: char| first.is_lowercase()),
            "{message}"
        );
        if error.kind() != ErrorKind::Dependency {
            assert!(!error.to_string().contains("marker"), "{error}");
        }
    }
}
