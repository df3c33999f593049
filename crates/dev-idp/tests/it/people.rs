//! People's sign-ins beyond the code: refresh tokens, devices, logging out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    signin::{ASKED, REDIRECT, VERIFIER, code, redeem},
    support::{AGENT, Answer, CLI, Lab, READER, SAM_OID, TENANT},
};

const SCOPE: &str = "openid profile offline_access api://portcullis/.default";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Sam signs in with these scopes.
async fn signed_in(lab: &Lab, scope: &str) -> Value {
    let mut form: Vec<(&str, &str)> = ASKED.iter().copied().filter(|(name, _)| *name != "scope").collect();
    form.extend([("scope", scope), ("user", "sam")]);
    let answer =
        lab.send(lab.http.post(lab.url(&format!("/{TENANT}/oauth2/v2.0/authorize"))).form(&form)).await;
    redeem(lab, &code(&answer), VERIFIER).await.ok()
}

async fn refresh(lab: &Lab, token: &Value, client: &str) -> Answer {
    let token = token.as_str().unwrap();
    lab.token(&[("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)]).await
}

async fn device(lab: &Lab) -> Value {
    let url = lab.url(&format!("/{TENANT}/oauth2/v2.0/devicecode"));
    lab.send(lab.http.post(url).form(&[("client_id", CLI), ("scope", SCOPE)])).await.ok()
}

async fn poll(lab: &Lab, device: &Value) -> Answer {
    let code = device["device_code"].as_str().unwrap();
    lab.token(&[("grant_type", DEVICE_CODE), ("client_id", CLI), ("device_code", code)]).await
}

async fn type_in(lab: &Lab, device: &Value, answer: (&str, &str)) -> Answer {
    let url = device["verification_uri"].as_str().unwrap();
    let form = [("user_code", device["user_code"].as_str().unwrap()), answer];
    lab.send(lab.http.post(url).form(&form)).await
}

#[tokio::test]
async fn metadata_says_where_people_sign_in_and_out() {
    let lab = Lab::start().await;
    let found = lab.get(&format!("/{TENANT}/v2.0/.well-known/openid-configuration")).await.ok();
    for (name, path) in [
        ("authorization_endpoint", "oauth2/v2.0/authorize"),
        ("device_authorization_endpoint", "oauth2/v2.0/devicecode"),
        ("end_session_endpoint", "oauth2/v2.0/logout"),
    ] {
        assert_eq!(found[name], lab.url(&format!("/{TENANT}/{path}")));
    }
    let grants = found["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&json!("refresh_token")) && grants.contains(&json!(DEVICE_CODE)));
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_sign_in() {
    let lab = Lab::start().await;
    assert!(signed_in(&lab, "openid api://portcullis/.default").await.get("refresh_token").is_none());
    let first = signed_in(&lab, SCOPE).await;
    let second = refresh(&lab, &first["refresh_token"], CLI).await.ok();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(second["scope"], SCOPE);
    let claims = lab.verify(second["access_token"].as_str().unwrap(), crate::support::API).await.unwrap();
    assert_eq!((claims["oid"].as_str(), claims["azp"].as_str()), (Some(SAM_OID), Some(CLI)));
    let id = lab.verify(second["id_token"].as_str().unwrap(), CLI).await.unwrap();
    assert!(id.get("nonce").is_none(), "the nonce was of the sign-in");

    refresh(&lab, &first["refresh_token"], CLI).await.oauth_error(400, "invalid_grant", 70_008);
    refresh(&lab, &second["refresh_token"], CLI).await.oauth_error(400, "invalid_grant", 70_000);
}

#[tokio::test]
async fn a_refresh_token_is_for_its_client_and_its_time_and_an_enabled_person() {
    let lab = Lab::start().await;
    let tokens = signed_in(&lab, SCOPE).await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", READER),
        ("client_secret", "reader"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    lab.token(&form).await.oauth_error(400, "invalid_grant", 70_000);
    refresh(&lab, &tokens["refresh_token"], AGENT).await.oauth_error(401, "invalid_client", 7_000_218);
    lab.idp.set_enabled("sam", false).unwrap();
    refresh(&lab, &tokens["refresh_token"], CLI).await.oauth_error(400, "invalid_grant", 50_057);
    lab.idp.set_enabled("sam", true).unwrap();
    let tokens = signed_in(&lab, SCOPE).await;
    lab.clock.advance(Duration::from_secs(91 * 24 * 3600));
    refresh(&lab, &tokens["refresh_token"], CLI).await.oauth_error(400, "invalid_grant", 700_082);
}

#[tokio::test]
async fn a_device_waits_until_a_person_confirms_its_code() {
    let lab = Lab::start().await;
    let device = device(&lab).await;
    assert_eq!((device["interval"].as_u64(), device["expires_in"].as_u64()), (Some(5), Some(900)));
    poll(&lab, &device).await.oauth_error(400, "authorization_pending", 70_016);

    let page = device["verification_uri"].as_str().unwrap();
    assert!(lab.get(page).await.text.contains("name=\"user_code\""));
    let typed = device["user_code"].as_str().unwrap().to_lowercase();
    let people = lab.get(&format!("{page}?user_code={}-{}", &typed[..4], &typed[4..])).await;
    assert!(people.text.contains("Sign in to cli on another device"), "{}", people.text);
    assert!(people.text.contains(SAM_OID) && people.text.contains("&lt;pat&gt;"));

    assert_eq!(type_in(&lab, &device, ("user", "sam")).await.status.as_u16(), 200);
    let tokens = poll(&lab, &device).await.ok();
    let claims = lab.verify(tokens["access_token"].as_str().unwrap(), crate::support::API).await.unwrap();
    assert_eq!(claims["oid"], SAM_OID);
    assert!(tokens["refresh_token"].is_string() && tokens["id_token"].is_string());
    poll(&lab, &device).await.oauth_error(400, "invalid_grant", 70_019);
    assert_eq!(type_in(&lab, &device, ("user", "sam")).await.status.as_u16(), 400, "the code is used");
}

#[tokio::test]
async fn a_device_that_polls_too_often_is_told_to_slow_down_each_time_further() {
    let lab = Lab::start().await;
    let device = device(&lab).await;
    poll(&lab, &device).await.oauth_error(400, "authorization_pending", 70_016);
    lab.clock.advance(Duration::from_secs(4));
    poll(&lab, &device).await.oauth_error(400, "slow_down", 90_055);
    lab.clock.advance(Duration::from_secs(9));
    poll(&lab, &device).await.oauth_error(400, "slow_down", 90_055);
    lab.clock.advance(Duration::from_secs(15));
    poll(&lab, &device).await.oauth_error(400, "authorization_pending", 70_016);
}

#[tokio::test]
async fn a_device_whose_code_is_declined_or_over_gets_nothing() {
    let lab = Lab::start().await;
    let declined = device(&lab).await;
    assert!(type_in(&lab, &declined, ("answer", "deny")).await.text.contains("Cancelled"));
    poll(&lab, &declined).await.oauth_error(400, "access_denied", 65_004);
    let late = device(&lab).await;
    lab.clock.advance(Duration::from_secs(900));
    assert_eq!(type_in(&lab, &late, ("user", "sam")).await.status.as_u16(), 400);
    poll(&lab, &late).await.oauth_error(400, "expired_token", 70_020);
    poll(&lab, &late).await.oauth_error(400, "invalid_grant", 70_019);
}

#[tokio::test]
async fn a_page_of_another_site_confirms_no_code() {
    let lab = Lab::start().await;
    let device = device(&lab).await;
    let form = [("user_code", device["user_code"].as_str().unwrap()), ("user", "sam")];
    let request = lab.http.post(device["verification_uri"].as_str().unwrap()).form(&form);
    let answer = lab.send(request.header("sec-fetch-site", "cross-site")).await;
    assert_eq!(answer.status.as_u16(), 403);
    poll(&lab, &device).await.oauth_error(400, "authorization_pending", 70_016);
}

#[tokio::test]
async fn confidential_clients_have_no_device_flow() {
    let lab = Lab::start().await;
    let url = lab.url(&format!("/{TENANT}/oauth2/v2.0/devicecode"));
    let answer = lab.send(lab.http.post(url).form(&[("client_id", READER), ("scope", SCOPE)])).await;
    answer.oauth_error(401, "invalid_client", 7_000_218);
}

#[tokio::test]
async fn logging_out_ends_the_refresh_tokens_and_sends_back_to_known_addresses_only() {
    let lab = Lab::start().await;
    let tokens = signed_in(&lab, SCOPE).await;
    let url = lab.url(&format!("/{TENANT}/oauth2/v2.0/logout"));
    let hint = ("id_token_hint", tokens["id_token"].as_str().unwrap());
    let query = [hint, ("post_logout_redirect_uri", "https://attacker.example/")];
    let answer = lab.send(lab.http.get(&url).query(&query)).await;
    assert!(answer.status.as_u16() == 200 && answer.text.contains("signed out"), "{}", answer.text);
    refresh(&lab, &tokens["refresh_token"], CLI).await.oauth_error(400, "invalid_grant", 70_000);

    let query = [("client_id", CLI), ("post_logout_redirect_uri", REDIRECT), ("state", "a b")];
    let answer = lab.send(lab.http.get(&url).query(&query)).await;
    assert_eq!(answer.headers["location"], format!("{REDIRECT}?state=a%20b"));

    let tokens = signed_in(&lab, SCOPE).await;
    for form in [
        [("id_token_hint", "a.b.c"), ("client_id", CLI)],
        [("id_token_hint", tokens["id_token"].as_str().unwrap()), ("client_id", READER)],
    ] {
        assert_eq!(lab.send(lab.http.post(&url).form(&form)).await.status.as_u16(), 400);
    }
    refresh(&lab, &tokens["refresh_token"], CLI).await.ok();
    assert_eq!(lab.idp.requests().logout, 4);
}
