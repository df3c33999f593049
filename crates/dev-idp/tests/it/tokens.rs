//! Metadata, keys and client credentials.

use std::{sync::Arc, time::Duration};

use portcullis_core::SystemClock;
use portcullis_dev_idp::{DevIdp, Error, TokenSpec};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    self, ADMIN, AGENT, AGENT_OID, API, BLUEPRINT, INNER, Lab, MACHINE, OUTER, READER, TENANT,
};

const SCOPE: &str = "api://portcullis/.default";
const SECRET: &str = "triage: s/cret+%";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn access_token(body: &Value) -> String {
    body["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_listener_that_others_can_reach_is_refused() {
    let idp = DevIdp::new(support::directory(), Arc::new(SystemClock)).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let error = idp.serve(listener, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::NotLoopback(_)), "{error}");
}

#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    let lab = Lab::start().await;
    let url = lab.url(&format!("/{TENANT}/v2.0/.well-known/openid-configuration"));
    let answer = lab.send(lab.http.get(url).header("host", "attacker.example")).await;
    assert_eq!(answer.status.as_u16(), 421);
    assert_eq!(lab.idp.requests().metadata, 0);
}

#[tokio::test]
async fn metadata_has_the_issuers_and_addresses_of_both_versions() {
    let lab = Lab::start().await;
    let base = lab.url(&format!("/{TENANT}"));
    let v1 = lab.get(&format!("/{TENANT}/.well-known/openid-configuration")).await.ok();
    let v2 = lab.get(&format!("/{TENANT}/v2.0/.well-known/openid-configuration")).await.ok();
    assert_eq!(v1["issuer"], format!("{base}/"));
    assert_eq!(v1["jwks_uri"], format!("{base}/discovery/keys"));
    assert_eq!(v1["token_endpoint"], format!("{base}/oauth2/token"));
    assert_eq!(v2["issuer"], format!("{base}/v2.0"));
    assert_eq!(v2["jwks_uri"], format!("{base}/discovery/v2.0/keys"));
    assert_eq!(v2["token_endpoint"], format!("{base}/oauth2/v2.0/token"));
    let keys = lab.get(v2["jwks_uri"].as_str().unwrap()).await.ok();
    let key = &keys["keys"][0];
    assert_eq!(key["cloud_instance_name"], v2["cloud_instance_name"]);
    assert_eq!(key["issuer"], lab.url("/{tenantid}/v2.0"));
    assert_eq!((&key["kty"], &key["use"], &key["e"]), (&json!("RSA"), &json!("sig"), &json!("AQAB")));
    assert_eq!((lab.idp.requests().metadata, lab.idp.requests().keys), (2, 1));
    let common = lab.get("/common/v2.0/.well-known/openid-configuration").await.ok();
    assert_eq!(common["issuer"], lab.url("/{tenantid}/v2.0"));
}

#[tokio::test]
async fn another_tenant_is_unknown() {
    let lab = Lab::start().await;
    let other = "/4c5a0d3e-0000-4000-8000-0000000000ff/v2.0/.well-known/openid-configuration";
    lab.get(other).await.oauth_error(400, "invalid_request", 90002);
}

#[tokio::test]
async fn an_agents_v2_token_verifies_and_has_entras_claims() {
    let lab = Lab::start().await;
    let body = lab.client_credentials(AGENT, SECRET, SCOPE).await.ok();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(4500)));
    let claims = lab.verify(&access_token(&body), API).await.unwrap();
    for (name, value) in [
        ("azp", json!(AGENT)),
        ("azpacr", json!("1")),
        ("idtyp", json!("app")),
        ("oid", json!(AGENT_OID)),
        ("sub", json!(AGENT_OID)),
        ("tid", json!(TENANT)),
        ("ver", json!("2.0")),
        ("roles", json!(["Gateway.Connect"])),
        ("groups", json!([INNER, OUTER])),
        ("iat", json!(1_790_000_000)),
        ("nbf", json!(1_790_000_000)),
        ("exp", json!(1_790_004_500)),
        ("xms_par_app_azp", json!(BLUEPRINT)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    for facts in ["xms_act_fct", "xms_sub_fct"] {
        assert!(claims[facts].as_str().unwrap().split(' ').any(|fact| fact == "11"), "{facts}");
    }
    assert!(claims["uti"].is_string());
    assert!(!claims.contains_key("scp") && !claims.contains_key("appid"));
    let header = jsonwebtoken::decode_header(access_token(&body)).unwrap();
    assert_eq!((header.typ.as_deref(), header.x5t), (Some("JWT"), None));
}

#[tokio::test]
async fn a_v1_resource_gets_v1_tokens_from_either_endpoint() {
    let lab = Lab::start().await;
    let from_v2 = lab.client_credentials(AGENT, SECRET, "https://old.example/.default").await.ok();
    let url = lab.url(&format!("/{TENANT}/oauth2/token"));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", AGENT),
        ("client_secret", SECRET),
        ("resource", "https://old.example"),
    ];
    let from_v1 = lab.send(lab.http.post(url).form(&form)).await.ok();
    assert_eq!((&from_v1["expires_in"], &from_v1["expires_on"]), (&json!("600"), &json!("1790000600")));
    for body in [from_v1, from_v2] {
        let token = access_token(&body);
        let claims = lab.verify(&token, "https://old.example").await.unwrap();
        assert_eq!(claims["iss"], lab.url(&format!("/{TENANT}/")));
        assert_eq!(
            (&claims["ver"], &claims["appid"], &claims["appidacr"]),
            (&json!("1.0"), &json!(AGENT), &json!("1"))
        );
        assert!(!claims.contains_key("groups"), "the resource does not ask for groups");
        let header = jsonwebtoken::decode_header(token).unwrap();
        assert_eq!(header.x5t, header.kid);
    }
}

#[tokio::test]
async fn a_secret_may_come_by_basic_authentication() {
    let lab = Lab::start().await;
    let url = lab.url(&format!("/{TENANT}/oauth2/v2.0/token"));
    let form = [("grant_type", "client_credentials"), ("scope", SCOPE)];
    let encoded = "triage%3A+s%2Fcret%2B%25";
    let request = lab.http.post(&url).form(&form).basic_auth(AGENT, Some(encoded));
    lab.send(request).await.ok();
    let twice = [("grant_type", "client_credentials"), ("scope", SCOPE), ("client_secret", SECRET)];
    let request = lab.http.post(&url).form(&twice).basic_auth(AGENT, Some(encoded));
    lab.send(request).await.oauth_error(400, "invalid_request", 90023);
    let request = lab.http.post(&url).form(&form).header("authorization", "Basic ???");
    lab.send(request).await.oauth_error(400, "invalid_request", 90023);
}

#[tokio::test]
async fn refused_token_requests_say_why_in_entras_words() {
    let lab = Lab::start().await;
    let stranger = "00000000-0000-4000-8000-000000000000";
    lab.client_credentials(AGENT, "wrong", SCOPE).await.oauth_error(401, "invalid_client", 7_000_215);
    lab.client_credentials(AGENT, "", SCOPE).await.oauth_error(401, "invalid_client", 7_000_218);
    lab.client_credentials(stranger, "x", SCOPE).await.oauth_error(400, "unauthorized_client", 700_016);
    lab.client_credentials("' or 1=1", "x", SCOPE).await.oauth_error(400, "unauthorized_client", 700_016);
    lab.client_credentials(AGENT, SECRET, "api://nobody/.default").await.oauth_error(
        400,
        "invalid_resource",
        500_011,
    );
    lab.client_credentials(AGENT, SECRET, "api://portcullis/read").await.oauth_error(
        400,
        "invalid_scope",
        1_002_012,
    );
    let two = format!("openid {SCOPE}");
    lab.client_credentials(AGENT, SECRET, &two).await.oauth_error(400, "invalid_scope", 1_002_012);
    lab.token(&[]).await.oauth_error(400, "invalid_request", 900_144);
    lab.token(&[("grant_type", "password")]).await.oauth_error(400, "unsupported_grant_type", 70003);
    let repeated = [("grant_type", "client_credentials"), ("client_id", AGENT), ("client_id", ADMIN)];
    lab.token(&repeated).await.oauth_error(400, "invalid_request", 90023);
    let public = [("grant_type", "client_credentials"), ("client_id", support::CLI), ("scope", SCOPE)];
    lab.token(&public).await.oauth_error(401, "invalid_client", 7_000_218);
}

#[tokio::test]
async fn an_oversized_form_or_address_is_refused() {
    let lab = Lab::start().await;
    let long = "x".repeat(300 * 1024);
    assert_eq!(lab.client_credentials(AGENT, &long, SCOPE).await.status.as_u16(), 413);
    let path = format!("/{TENANT}/discovery/keys?x={}", "y".repeat(9_000));
    assert_eq!(lab.get(&path).await.status.as_u16(), 414);
}

#[tokio::test]
async fn a_disabled_application_gets_no_token_until_it_is_enabled() {
    let lab = Lab::start().await;
    lab.idp.set_enabled("triage-agent", false).unwrap();
    lab.client_credentials(AGENT, SECRET, SCOPE).await.oauth_error(400, "unauthorized_client", 7_000_112);
    lab.client_credentials(AGENT, "wrong", SCOPE).await.oauth_error(401, "invalid_client", 7_000_215);
    lab.idp.set_enabled(AGENT_OID, true).unwrap();
    lab.client_credentials(AGENT, SECRET, SCOPE).await.ok();
}

#[tokio::test]
async fn a_token_outlives_the_disabling_of_its_application() {
    let lab = Lab::start().await;
    let token = lab.graph_token(READER, "reader").await;
    lab.idp.set_enabled(READER, false).unwrap();
    let request = lab.http.get(lab.url("/v1.0/groups")).bearer_auth(&token);
    lab.send(request).await.ok();
}

#[tokio::test]
async fn an_agent_gets_a_token_by_its_blueprints_assertion() {
    let lab = Lab::start().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", BLUEPRINT),
        ("client_secret", "blueprint"),
        ("scope", "api://AzureADTokenExchange/.default"),
        ("fmi_path", AGENT),
    ];
    let assertion = access_token(&lab.token(&form).await.ok());
    let with = |client: &'static str, assertion: String| {
        let lab = &lab;
        async move {
            let form = [
                ("grant_type", "client_credentials"),
                ("client_id", client),
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", &assertion),
                ("scope", SCOPE),
            ];
            lab.token(&form).await
        }
    };
    let claims = lab.verify(&access_token(&with(AGENT, assertion.clone()).await.ok()), API).await.unwrap();
    assert_eq!((&claims["azpacr"], &claims["oid"]), (&json!("2"), &json!(AGENT_OID)));
    with(MACHINE, assertion.clone()).await.oauth_error(401, "invalid_client", 700_213);
    with(AGENT, "a.b.c".to_owned()).await.oauth_error(401, "invalid_client", 700_213);
    lab.clock.advance(Duration::from_secs(4_500));
    with(AGENT, assertion).await.oauth_error(401, "invalid_client", 700_213);
}

#[tokio::test]
async fn a_federated_credential_is_a_token_with_its_subject() {
    let lab = Lab::start().await;
    let exchange = "api://AzureADTokenExchange";
    let good = TokenSpec::new("blueprint", exchange).claim("sub", "system:machine");
    for (spec, accepted) in [
        (good.clone(), true),
        (good.clone().claim("sub", "system:other"), false),
        (good.clone().claim("aud", "api://portcullis"), false),
        (good.clone().claim("iss", "https://elsewhere.example"), false),
    ] {
        let assertion = lab.idp.mint(&spec).unwrap();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", MACHINE),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &assertion),
            ("scope", SCOPE),
        ];
        let answer = lab.token(&form).await;
        if accepted {
            let claims = lab.verify(&access_token(&answer.ok()), API).await.unwrap();
            assert!(!claims.contains_key("groups") && claims["_claim_names"]["groups"] == "src1");
            assert!(claims["_claim_sources"]["src1"]["endpoint"].is_string());
        } else {
            answer.oauth_error(401, "invalid_client", 700_213);
        }
    }
}

#[tokio::test]
async fn more_than_200_groups_are_an_overage() {
    let mut directory = support::directory();
    for number in 0..199 {
        let text = format!(
            "{{ object_id: 44aa0000-0000-4000-8000-{number:012}, display_name: g{number}, members: [triage-agent] }}"
        );
        directory.groups.push(yaml_group(&text));
    }
    let lab = Lab::with(directory).await;
    let token = access_token(&lab.client_credentials(AGENT, SECRET, SCOPE).await.ok());
    let claims = lab.verify(&token, API).await.unwrap();
    assert!(!claims.contains_key("groups") && claims.contains_key("_claim_names"));
    lab.idp.set_member("g0", "triage-agent", false).unwrap();
    let token = access_token(&lab.client_credentials(AGENT, SECRET, SCOPE).await.ok());
    assert_eq!(lab.verify(&token, API).await.unwrap()["groups"].as_array().unwrap().len(), 200);
}

fn yaml_group(text: &str) -> portcullis_dev_idp::Group {
    let text = format!(
        "tenant: {TENANT}\napplications:\n  - {{ client_id: {AGENT}, object_id: {AGENT_OID}, display_name: triage-agent }}\ngroups:\n  - {text}\n"
    );
    portcullis_dev_idp::Directory::parse(&text, "group").unwrap().groups.remove(0)
}

#[tokio::test]
async fn a_failing_issuer_answers_503() {
    let lab = Lab::start().await;
    lab.idp.set_issuer_failing(true);
    assert_eq!(lab.get(&format!("/{TENANT}/discovery/v2.0/keys")).await.status.as_u16(), 503);
    assert_eq!(lab.client_credentials(AGENT, SECRET, SCOPE).await.status.as_u16(), 503);
    lab.idp.set_issuer_failing(false);
    lab.client_credentials(AGENT, SECRET, SCOPE).await.ok();
    assert_eq!((lab.idp.requests().keys, lab.idp.requests().token), (1, 2));
}

#[tokio::test]
async fn a_stopped_issuer_no_longer_listens() {
    let lab = Lab::start().await;
    let url = lab.url("/common/discovery/keys");
    lab.idp.stop().await.unwrap();
    assert!(lab.http.get(url).send().await.is_err());
}
