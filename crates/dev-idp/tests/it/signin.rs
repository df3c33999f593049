//! Sign-in of people: page, code, PKCE.

use std::time::Duration;

use jsonwebtoken::dangerous::insecure_decode;
use serde_json::{Value, json};

use crate::support::{AGENT, API, Answer, CLI, Lab, SAM_OID, TENANT};

pub const REDIRECT: &str = "http://localhost:51823/callback";
// RFC 7636, appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub const ASKED: [(&str, &str); 8] = [
    ("client_id", CLI),
    ("response_type", "code"),
    ("redirect_uri", REDIRECT),
    ("scope", "openid profile api://portcullis/access_as_user"),
    ("state", "a&b \"<"),
    ("nonce", "n-1"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

fn asked_but(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    ASKED
        .iter()
        .map(|(n, v)| (*n, if *n == name { value } else { *v }))
        .filter(|(_, v)| !v.is_empty())
        .collect()
}

async fn page(lab: &Lab, query: &[(&str, &str)]) -> Answer {
    lab.send(lab.http.get(lab.url(&format!("/{TENANT}/oauth2/v2.0/authorize"))).query(query)).await
}

async fn sign_in(lab: &Lab, user: &str, password: &str) -> Answer {
    let mut form = ASKED.to_vec();
    form.extend([("user", user), ("password", password)]);
    lab.send(lab.http.post(lab.url(&format!("/{TENANT}/oauth2/v2.0/authorize"))).form(&form)).await
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status.as_u16(), 302, "{}", answer.text);
    answer.headers["location"].to_str().unwrap().to_owned()
}

pub fn code(answer: &Answer) -> String {
    let location = location(answer);
    let query = location.strip_prefix(REDIRECT).unwrap().strip_prefix("?code=").unwrap();
    let (code, state) = query.split_once('&').unwrap();
    assert_eq!(state, "state=a%26b%20%22%3C");
    code.replace("%2D", "-").replace("%5F", "_")
}

pub async fn redeem(lab: &Lab, code: &str, verifier: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", CLI),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", verifier),
    ];
    lab.token(&form).await
}

#[tokio::test]
async fn the_page_lists_people_and_escapes_what_it_shows() {
    let lab = Lab::start().await;
    let answer = page(&lab, &ASKED).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert!(answer.text.contains(SAM_OID) && answer.text.contains("&lt;pat&gt;"));
    assert!(answer.text.contains("value=\"a&amp;b &quot;&lt;\"") && !answer.text.contains("<pat>"));
    assert!(answer.headers.contains_key("content-security-policy"));
}

#[tokio::test]
async fn a_code_becomes_tokens_once() {
    let lab = Lab::start().await;
    let code = code(&sign_in(&lab, "sam", "").await);
    let body = redeem(&lab, &code, VERIFIER).await.ok();
    let claims = lab.verify(body["access_token"].as_str().unwrap(), API).await.unwrap();
    assert_eq!((&claims["oid"], &claims["scp"]), (&json!(SAM_OID), &json!("access_as_user")));
    assert_eq!((&claims["azp"], &claims["azpacr"]), (&json!(CLI), &json!("0")));
    assert_eq!(claims["groups"].as_array().unwrap().len(), 2);
    let id_token: Value = insecure_decode(body["id_token"].as_str().unwrap()).unwrap().claims;
    assert_eq!(
        (&id_token["aud"], &id_token["nonce"], &id_token["oid"]),
        (&json!(CLI), &json!("n-1"), &json!(SAM_OID))
    );
    redeem(&lab, &code, VERIFIER).await.oauth_error(400, "invalid_grant", 70008);
}

#[tokio::test]
async fn a_code_needs_its_verifier() {
    let lab = Lab::start().await;
    let without = code(&sign_in(&lab, "sam", "").await);
    redeem(&lab, &without, "").await.oauth_error(400, "invalid_request", 900_144);
    let code = code(&sign_in(&lab, "sam", "").await);
    redeem(&lab, &code, "wrong").await.oauth_error(400, "invalid_grant", 501_481);
    redeem(&lab, &code, VERIFIER).await.oauth_error(400, "invalid_grant", 70008);
}

#[tokio::test]
async fn a_code_is_for_its_client_and_address_only() {
    let lab = Lab::start().await;
    for (client, secret, redirect) in
        [(AGENT, "triage: s/cret+%", REDIRECT), (CLI, "", "http://localhost:1/callback")]
    {
        let code = code(&sign_in(&lab, "sam", "").await);
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("client_secret", secret),
            ("code", &code),
            ("redirect_uri", redirect),
            ("code_verifier", VERIFIER),
        ];
        lab.token(&form).await.oauth_error(400, "invalid_grant", 70000);
    }
}

#[tokio::test]
async fn an_old_code_is_refused() {
    let lab = Lab::start().await;
    let code = code(&sign_in(&lab, "sam", "").await);
    lab.clock.advance(Duration::from_secs(600));
    redeem(&lab, &code, VERIFIER).await.oauth_error(400, "invalid_grant", 70008);
}

#[tokio::test]
async fn a_password_is_asked_for_where_there_is_one() {
    let lab = Lab::start().await;
    let wrong = sign_in(&lab, "<pat>", "wrong").await;
    assert!(wrong.status.as_u16() == 400 && wrong.text.contains("AADSTS50126"), "{}", wrong.text);
    code(&sign_in(&lab, "<pat>", "correct horse").await);
    assert!(sign_in(&lab, "nobody", "").await.text.contains("AADSTS50126"));
}

#[tokio::test]
async fn a_disabled_person_cannot_sign_in_nor_redeem() {
    let lab = Lab::start().await;
    let code = code(&sign_in(&lab, "sam", "").await);
    lab.idp.set_enabled("sam", false).unwrap();
    redeem(&lab, &code, VERIFIER).await.oauth_error(400, "invalid_grant", 50057);
    assert!(sign_in(&lab, "sam", "").await.text.contains("AADSTS50057"));
}

#[tokio::test]
async fn an_unregistered_address_is_never_redirected_to() {
    let lab = Lab::start().await;
    let answer = page(&lab, &asked_but("redirect_uri", "https://attacker.example/callback")).await;
    assert!(answer.status.as_u16() == 400 && answer.text.contains("AADSTS50011"), "{}", answer.text);
    let answer = page(&lab, &asked_but("client_id", "00000000-0000-4000-8000-000000000000")).await;
    assert!(answer.status.as_u16() == 400 && answer.text.contains("AADSTS700016"), "{}", answer.text);
}

#[tokio::test]
async fn what_the_client_asks_wrongly_is_told_by_redirect() {
    let lab = Lab::start().await;
    for (name, value, error) in [
        ("response_type", "token", "invalid%5Frequest"),
        ("code_challenge_method", "plain", "invalid%5Frequest"),
        ("code_challenge", "", "invalid%5Frequest"),
        ("scope", "api://nobody/x", "invalid%5Fresource"),
        ("scope", "api://portcullis/x api://old/x", "invalid%5Frequest"),
    ] {
        let location = location(&page(&lab, &asked_but(name, value)).await);
        assert!(location.starts_with(&format!("{REDIRECT}?error={error}&")), "{name}={value}: {location}");
        assert!(location.ends_with("&state=a%26b%20%22%3C"), "{location}");
    }
}
