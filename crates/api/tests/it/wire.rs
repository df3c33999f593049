//! What goes over the wire: sizes, forms, headers, limits; and that no problem repeats what was sent.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{ADMIN, HOST, Seen, World};

const CANARY: &str = "canary-7f3a";

#[tokio::test]
async fn problems_never_repeat_what_was_sent() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.by("sam@contoso.example");
    let raw = |path: &str, body: String| {
        sam.bare(Method::POST, path).header("content-type", "application/json").body(body)
    };
    let get = |path: String| sam.bare(Method::GET, &path);
    let requests = [
        (400, raw("/requests", format!("{{\"{CANARY}\": 1}}"))),
        (400, raw("/requests", format!("{{\"connection\": [\"{CANARY}\"]}}"))),
        (400, raw("/requests", CANARY.to_owned())),
        (400, raw(&format!("/requests/{id}/approve"), format!("{{\"note\": \"x\", \"{CANARY}\": true}}"))),
        (400, raw(&format!("/requests/{id}/approve"), format!("{{\"lifetime_seconds\": \"{CANARY}\"}}"))),
        (403, raw("/requests", json!({ "connection": CANARY, "reason": CANARY }).to_string())),
        (404, raw(&format!("/requests/{CANARY}/approve"), "{}".to_owned())),
        (404, raw("/policy/explain", json!({ "connection": CANARY }).to_string())),
        (404, raw("/policy/explain", json!({ "connection": "logs-db", "identity": CANARY }).to_string())),
        (400, raw("/policy/explain", json!({ "connection": "logs-db", "window": CANARY }).to_string())),
        (400, get(format!("/requests?{CANARY}=1"))),
        (400, get(format!("/requests?state={CANARY}"))),
        (400, get(format!("/requests?limit={CANARY}"))),
        (400, get("/requests?limit=1&limit=2".to_owned())),
        (404, get(format!("/requests/{CANARY}"))),
        (404, get(format!("/connections/{CANARY}"))),
        (404, get(format!("/sessions/{CANARY}"))),
        (404, get(format!("/reach?connection={CANARY}"))),
        (404, get(format!("/{CANARY}"))),
        (404, world.nobody().bare(Method::GET, &format!("/auth/login?provider={CANARY}"))),
        (401, world.as_token(CANARY).bare(Method::GET, "/requests")),
    ];
    for (n, (status, request)) in requests.into_iter().enumerate() {
        let seen = Seen::of(request.send().await.unwrap()).await;
        assert_eq!(seen.status.as_u16(), status, "{n}: {seen:?}");
        assert_eq!(seen.header("content-type"), "application/problem+json", "{n}: {seen:?}");
        assert!(!format!("{seen:?}").contains(CANARY), "{n}: {seen:?}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_json() {
    let world = World::new().await;
    let agent = world.by("triage-agent");
    let long = json!({ "connection": "orders-db", "reason": "x".repeat(70_000) });
    agent.post("/requests", &long).await.is_problem(413, "too-large");
    let sam = world.by("sam@contoso.example");
    let documents = json!({ "files": [{ "name": "a.yaml", "text": "x".repeat(5 * 1024 * 1024) }] });
    sam.post("/policy/check", &documents).await.is_problem(413, "too-large");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json-patch+json"] {
        let request = agent.bare(Method::POST, "/requests").header("content-type", kind).body("{}");
        Seen::of(request.send().await.unwrap()).await.is_problem(415, "media-type");
    }
    let request = agent.bare(Method::DELETE, "/requests");
    Seen::of(request.send().await.unwrap()).await.is_problem(405, "method");
}

#[tokio::test]
async fn every_answer_is_dressed_and_nothing_is_another_sites() {
    let world = World::new().await;
    let http = world.http();
    for path in ["/", "/requests/req_1", "/api/v1/me", "/api/v1/requests", "/api/v1/nothing", "/healthz"] {
        let request = http.get(world.url(path)).header("origin", "https://evil.example");
        let seen = Seen::of(request.send().await.unwrap()).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(seen.header(name), value, "{path}");
        }
        let policy = seen.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(!seen.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{path}");
    }
    let page = Seen::of(http.get(world.url("/requests/req_1")).send().await.unwrap()).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    let again = http.get(world.url("/requests/req_1")).header("if-none-match", page.header("etag"));
    assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn guesses_are_slowed_down_and_then_refused() {
    let world = World::new().await;
    let guesser = world.as_token("not-a-token");
    let mut refused = None;
    for n in 0..100 {
        let seen = guesser.get("/requests").await;
        if seen.status == 429 {
            seen.is_problem(429, "rate");
            assert!(seen.header("retry-after").parse::<u64>().unwrap() >= 1);
            refused = Some(n);
            break;
        }
        assert_eq!(seen.status, 401);
    }
    assert!(refused.is_some(), "nobody stopped it");
    // Others at the same address are not kept out.
    assert_eq!(world.as_token(ADMIN).get("/requests").await.status, 200);
    assert_eq!(world.by("sam@contoso.example").get("/requests").await.status, 200);
    world.clock.advance(std::time::Duration::from_secs(2));
    assert_eq!(guesser.get("/requests").await.status, 401);
}

#[tokio::test]
async fn documents_are_read_and_checked_and_not_replaced() {
    let world = World::new().await;
    let vera = world.by("vera@contoso.example");
    let documents = vera.get("/policy/documents").await;
    assert_eq!(documents.json()["managed"], "files");
    assert_eq!(documents.header("etag"), documents.json()["etag"].as_str().unwrap());
    let file = documents.json()["files"][0].clone();
    let same = vera.post("/policy/check", &json!({ "files": [file] })).await.json();
    assert_eq!((&same["ok"], &same["version"]), (&true.into(), &vera.get("/policy").await.json()["version"]));
    let broken = json!({ "files": [{ "name": "a.yaml", "text": "grants: [{ connection: none }]" }] });
    let broken = vera.post("/policy/check", &broken).await.json();
    assert_eq!(broken["ok"], false);
    assert_eq!(
        (&broken["diagnostics"][0]["file"], &broken["diagnostics"][0]["line"]),
        (&"a.yaml".into(), &1.into())
    );
    let replace = world.admin().send(Method::PUT, "/policy/documents", &json!({ "files": [] })).await;
    replace.is_problem(409, "file-managed");
}

#[tokio::test]
async fn explanations_and_reach_are_those_of_the_policy() {
    let world = World::new().await;
    let vera = world.by("vera@contoso.example");
    let explain = |groups: &[&str]| json!({ "connection": "orders-db", "groups": groups });
    assert_eq!(vera.post("/policy/explain", &explain(&["agents"])).await.json()["outcome"], "needs-approval");
    assert_eq!(vera.post("/policy/explain", &explain(&["audit"])).await.json()["outcome"], "deny");
    let reach = vera.get("/reach?groups=agents").await.json();
    let ways = reach["rows"][0]["ways"].as_array().unwrap();
    assert_eq!(ways.len(), 3, "{reach}");
    let all = vera.get("/connections?all=true").await.json();
    assert_eq!(all[0]["address"], "upstream.internal:5432");
    assert!(!all.to_string().contains("upstream-password"));
    let own = world.by("triage-agent").get("/connections").await.json();
    assert_eq!(own.as_array().unwrap().len(), 3);
    assert!(own[0].get("address").is_none());
}

#[tokio::test]
async fn the_proof_says_what_is_covered() {
    let world = World::new().await;
    world.asked().await;
    let proof = world.by("aud@contoso.example").get("/audit/proof").await.json();
    assert_eq!(proof["key"], "portcullis/test");
    assert!(!proof["checkpoint"]["note"].as_str().unwrap().contains(HOST));
    assert_eq!(
        proof["events"].as_u64().unwrap(),
        proof["checkpoint"]["size"].as_u64().unwrap() + proof["lag"].as_u64().unwrap()
    );
}
