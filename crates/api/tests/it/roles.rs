//! Every route by everybody: who gets in and who does not, as one table.

use portcullis_api::openapi;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Caller, World};

/// What a route makes of somebody: N nothing (401), F forbidden, M missing or not theirs (404), Y let in.
/// In order: nobody, an agent, a person without a role, viewer, approver, auditor, admin, the admin token.
const TABLE: [(&str, &str, &str); 36] = [
    ("GET", "/me", "YYYYYYYY"),
    ("GET", "/auth/login", "YYYYYYYY"),
    ("GET", "/auth/callback", "YYYYYYYY"),
    ("GET", "/auth/callback/{provider}", "YYYYYYYY"),
    ("POST", "/auth/logout", "NYYYYYYY"),
    ("POST", "/auth/slack", "FFFFFFFF"),
    ("GET", "/whoami", "NYYYYYYF"),
    ("GET", "/connections", "NYYYYYYF"),
    ("GET", "/connections/{name}", "NYMYYYYY"),
    ("GET", "/windows", "NYYYYYYF"),
    ("GET", "/reach", "NFFYYYYY"),
    ("GET", "/identities", "NFFYYYYY"),
    // Whoever has a grant; the others are told that there is nothing to ask for.
    ("POST", "/requests", "NYFFFFFF"),
    ("GET", "/requests", "NYYYYYYY"),
    ("GET", "/requests/{id}", "NYMYYYYY"),
    ("POST", "/requests/{id}/approve", "NFMFYFFF"),
    ("POST", "/requests/{id}/deny", "NFMFYFFF"),
    ("POST", "/requests/{id}/withdraw", "NYMFFFFF"),
    ("POST", "/requests/{id}/review", "NYMYYYYF"),
    ("GET", "/sessions", "NYYYYYYY"),
    ("GET", "/sessions/{id}", "NMMMMMMM"),
    ("GET", "/sessions/{id}/recording", "NFFFFMMM"),
    ("GET", "/sessions/{id}/recording/events", "NFFFFMMM"),
    ("POST", "/sessions/{id}/kill", "NFFFFFMM"),
    ("POST", "/kill", "NFFFFFYY"),
    ("POST", "/lift", "NFFFFFYY"),
    ("GET", "/audit/events", "NFFFFYYY"),
    ("GET", "/audit/proof", "NFFFFYYY"),
    ("GET", "/policy", "NFFYYYYY"),
    ("GET", "/policy/documents", "NFFYYYYY"),
    ("PUT", "/policy/documents", "NFFFFFYY"),
    ("POST", "/policy/check", "NFFYYYYY"),
    ("POST", "/policy/explain", "NFFYYYYY"),
    ("GET", "/notifications/deliveries", "NFFFFFYY"),
    ("GET", "/events", "NYYYYYYY"),
    ("GET", "/openapi.json", "YYYYYYYY"),
];

fn body(path: &str) -> Value {
    match path {
        "/requests" => json!({ "connection": "logs-db", "reason": "r" }),
        "/kill" => {
            json!({ "identity": "entra/4c5a0d3e-0000-4000-8000-000000000001/77aa0000-0000-4000-8000-0000000000ff" })
        }
        "/lift" => {
            json!({ "identity": "entra/4c5a0d3e-0000-4000-8000-000000000001/77aa0000-0000-4000-8000-0000000000ff" })
        }
        "/policy/documents" | "/policy/check" => json!({ "files": [{ "name": "p.yaml", "text": "" }] }),
        "/policy/explain" => json!({ "connection": "logs-db" }),
        path if path.ends_with("/deny") || path.ends_with("/review") => json!({ "note": "n" }),
        _ => json!({}),
    }
}

#[tokio::test]
async fn what_another_application_got_in_a_persons_name_has_no_role() {
    let world = World::new().await;
    let own = world.by("root@contoso.example");
    assert_eq!(own.get("/me").await.json()["roles"], json!(["viewer", "approver", "auditor", "admin"]));
    let assistant = world.as_token(&world.token_through("cli", "root@contoso.example"));
    assert_eq!(assistant.get("/me").await.json()["roles"], json!([]));
    let identity = body("/lift");
    assistant.post("/lift", &identity).await.is_problem(403, "not-allowed");
    assistant.post("/kill", &identity).await.is_problem(403, "not-allowed");
    assistant.get("/audit/events").await.is_problem(403, "not-allowed");
    assert_eq!(own.post("/kill", &identity).await.status, reqwest::StatusCode::OK);
}

#[tokio::test]
async fn every_route_lets_in_who_may_and_nobody_else() {
    let world = World::new().await;
    let callers: Vec<Caller<'_>> = vec![
        world.nobody(),
        world.by("triage-agent"),
        world.by("nobody@contoso.example"),
        world.by("vera@contoso.example"),
        world.by("sam@contoso.example"),
        world.by("aud@contoso.example"),
        world.by("root@contoso.example"),
        world.admin(),
    ];
    let mut mounted: Vec<(String, String)> = Vec::new();
    for (path, methods) in openapi()["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/api/v1").unwrap().to_owned();
        mounted
            .extend(methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    for (method, path) in &mounted {
        assert!(
            TABLE.iter().any(|(m, p, _)| m == method && p == path),
            "{method} {path} is not in the table"
        );
    }
    assert_eq!(mounted.len(), TABLE.len());
    let mut wrong = Vec::new();
    for (method, path, expected) in TABLE {
        let mut got = String::new();
        for caller in &callers {
            // A fresh request each, so that one answer does not change the next.
            let id = if path.contains("requests/{id}") { world.held().await } else { String::new() };
            let session = "ses_0192f0a0b0c07000800000000000000a";
            let filled = path
                .replace("requests/{id}", &format!("requests/{id}"))
                .replace("sessions/{id}", &format!("sessions/{session}"))
                .replace("{name}", "logs-db")
                .replace("{provider}", "entra");
            let method: Method = method.parse().unwrap();
            let request = caller.bare(method.clone(), &filled);
            let request = if method == Method::GET { request } else { request.json(&body(path)) };
            let status = request.send().await.unwrap().status().as_u16();
            got.push(match status {
                401 => 'N',
                403 => 'F',
                404 => 'M',
                // Let in, and told what is wrong with it.
                200..400 | 409 | 422 | 400 => 'Y',
                _ => '?',
            });
            if !id.is_empty() {
                let back = world.by("triage-agent");
                back.post(&format!("/requests/{id}/withdraw"), &json!({})).await;
            }
        }
        if got != expected {
            wrong.push(format!("{method} {path}: {got}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
