//! Minted tokens, keys that rotate: what the tests of a verifier are made of.

use std::time::Duration;

use portcullis_dev_idp::{GroupsClaim, Signer, TokenSpec, TokenVersion};
use serde_json::json;

use crate::support::{AGENT_OID, API, CLI, Lab, SAM_OID};

fn spec() -> TokenSpec {
    TokenSpec::new("triage-agent", "api://portcullis")
}

#[tokio::test]
async fn a_minted_token_verifies_and_carries_what_was_asked() {
    let lab = Lab::start().await;
    let changed = spec()
        .claim("exp", "soon")
        .without("tid")
        .claim("new", json!([1]))
        .header("jku", "https://x.example");
    let token = lab.idp.mint(&changed).unwrap();
    let claims = lab.verify(&token, API).await.unwrap();
    assert_eq!(
        (&claims["exp"], &claims["new"], &claims["oid"]),
        (&json!("soon"), &json!([1]), &json!(AGENT_OID))
    );
    assert!(!claims.contains_key("tid"));
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().jku.as_deref(), Some("https://x.example"));
}

#[tokio::test]
async fn a_version_can_be_minted_against_the_resources_wish() {
    let lab = Lab::start().await;
    let token = lab.idp.mint(&spec().version(TokenVersion::V1)).unwrap();
    let claims = lab.verify(&token, "api://portcullis").await.unwrap();
    assert_eq!(claims["ver"], "1.0");
}

#[tokio::test]
async fn groups_can_be_an_overage_or_absent() {
    let lab = Lab::start().await;
    let overage = lab.idp.claims(&spec().groups(GroupsClaim::Overage)).unwrap();
    assert!(overage.contains_key("_claim_names") && !overage.contains_key("groups"));
    let absent = lab.idp.claims(&spec().groups(GroupsClaim::Absent)).unwrap();
    assert!(!absent.contains_key("_claim_names") && !absent.contains_key("groups"));
}

#[tokio::test]
async fn a_users_token_names_person_and_client() {
    let lab = Lab::start().await;
    let claims = lab.idp.claims(&TokenSpec::new("sam", "api://portcullis").client("cli")).unwrap();
    assert_eq!(
        (&claims["oid"], &claims["azp"], &claims["azpacr"]),
        (&json!(SAM_OID), &json!(CLI), &json!("0"))
    );
    assert!(claims.contains_key("scp") && !claims.contains_key("idtyp") && claims["sub"] != claims["oid"]);
}

#[tokio::test]
async fn forged_tokens_do_not_verify() {
    let lab = Lab::start().await;
    for signer in [Signer::Unpublished, Signer::PublicKeyAsSecret, Signer::Nothing, Signer::Damaged] {
        let token = lab.idp.mint(&spec().signed_by(signer)).unwrap();
        assert!(lab.verify(&token, API).await.is_err(), "{signer:?}");
        let graph = TokenSpec::new("admin", "https://graph.microsoft.com").signed_by(signer);
        let token = lab.idp.mint(&graph).unwrap();
        let answer = lab.send(lab.http.get(lab.url("/v1.0/groups")).bearer_auth(token)).await;
        answer.graph_error(401, "InvalidAuthenticationToken");
    }
}

#[tokio::test]
async fn a_payload_can_be_any_text() {
    let lab = Lab::start().await;
    let text = r#"{"tid":"a","tid":"b","ver":"2.0"}"#;
    let token = lab.idp.mint(&spec().payload(text)).unwrap();
    assert_eq!(token.split('.').nth(1).unwrap(), "eyJ0aWQiOiJhIiwidGlkIjoiYiIsInZlciI6IjIuMCJ9");
}

#[tokio::test]
async fn nothing_is_minted_for_strangers() {
    let lab = Lab::start().await;
    assert!(lab.idp.mint(&TokenSpec::new("nobody", "api://portcullis")).is_err());
    assert!(lab.idp.mint(&TokenSpec::new("triage-agent", "api://nobody")).is_err());
}

#[tokio::test]
async fn a_rotated_key_stays_published_for_a_day() {
    let lab = Lab::start().await;
    let (old_key, old) = (lab.idp.key_id(), lab.idp.mint(&spec()).unwrap());
    lab.idp.rotate_keys().unwrap();
    assert_ne!(lab.idp.key_id(), old_key);
    let new = lab.idp.mint(&spec()).unwrap();
    lab.verify(&old, API).await.unwrap();
    lab.verify(&new, API).await.unwrap();
    lab.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(lab.verify(&old, API).await.unwrap_err(), "unknown kid");
    lab.verify(&new, API).await.unwrap();
}

#[tokio::test]
async fn a_withdrawn_key_is_gone_at_once() {
    let lab = Lab::start().await;
    let old = lab.idp.mint(&spec()).unwrap();
    lab.idp.rotate_keys().unwrap();
    lab.idp.withdraw_replaced_keys();
    assert_eq!(lab.verify(&old, API).await.unwrap_err(), "unknown kid");
}
