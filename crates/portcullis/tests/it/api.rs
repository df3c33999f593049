//! The web listener as clients and attackers meet it.

use std::time::Duration;

use reqwest::{StatusCode, header};

use crate::lab::{Lab, TRIAGE};

#[tokio::test]
async fn who_is_nobody_is_told_nothing() {
    let lab = Lab::new().await;
    let (http, agent) = (lab.http(), lab.token(TRIAGE).await);
    let damaged = format!("{agent}x");
    for route in
        ["sessions", "audit/events", "policy", "requests", "connections", "whoami", "identities", "events"]
    {
        let url = format!("{}/api/v1/{route}", lab.url());
        for request in [
            http.get(&url),
            http.get(&url).bearer_auth("x".repeat(43)),
            http.get(&url).bearer_auth(&damaged),
            http.get(&url).header(header::COOKIE, format!("__Host-portcullis={}", "x".repeat(43))),
        ] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{route}");
            assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE));
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
            let text = answer.text().await.unwrap();
            assert!(!text.contains(&agent) && !text.contains("xxxx"), "no token is repeated: {text}");
        }
    }
}

/// Who may ask for what: the status of each answer to the admin token, an agent, sam (on call), robin (auditor) and alex (nobody).
#[tokio::test]
async fn each_route_is_for_whom_the_roles_say() {
    let lab = Lab::asking().await;
    let tokens = [
        lab.admin_token(),
        lab.token(TRIAGE).await,
        lab.person("sam"),
        lab.person("robin"),
        lab.person("alex"),
    ];
    let http = lab.http();
    for (route, expected) in [
        ("whoami", [403, 200, 200, 200, 200]),
        ("me", [200, 200, 200, 200, 200]),
        ("requests", [200, 200, 200, 200, 200]),
        ("connections", [403, 200, 200, 200, 200]),
        ("connections?all=true", [200, 403, 200, 200, 403]),
        ("sessions", [200, 200, 200, 200, 200]),
        ("policy", [200, 403, 200, 200, 403]),
        ("policy/documents", [200, 403, 200, 200, 403]),
        ("audit/events", [200, 403, 403, 200, 403]),
        ("audit/proof", [200, 403, 403, 200, 403]),
        ("notifications/deliveries", [200, 403, 403, 403, 403]),
        ("nowhere", [404, 404, 404, 404, 404]),
    ] {
        let mut answered = Vec::new();
        for token in &tokens {
            let answer = http.get(format!("{}/api/v1/{route}", lab.url())).bearer_auth(token).send().await;
            answered.push(answer.unwrap().status().as_u16());
        }
        assert_eq!(answered, expected, "{route}");
    }
    for (token, may) in tokens.iter().zip([true, false, false, false, false]) {
        let body = serde_json::json!({ "identity": crate::lab::key(TRIAGE), "for_seconds": 0 });
        let url = format!("{}/api/v1/kill", lab.url());
        let answer = http.post(url).bearer_auth(token).json(&body).send().await.unwrap();
        assert_eq!(answer.status().is_success(), may, "{answer:?}");
    }
}

#[tokio::test]
async fn health_is_open_and_every_answer_is_dressed() {
    let lab = Lab::new().await;
    let http = lab.http();
    for (path, part) in
        [("healthz", "ok"), ("readyz", "\"ready\":true"), ("metrics", "portcullis_sessions_live")]
    {
        let answer = http.get(format!("{}/{path}", lab.url())).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        for name in [
            "cache-control",
            "x-content-type-options",
            "content-security-policy",
            "strict-transport-security",
        ] {
            assert!(answer.headers().contains_key(name), "{path} lacks {name}");
        }
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        let text = answer.text().await.unwrap();
        if path != "metrics" || !text.is_empty() {
            assert!(text.contains(part) || path == "metrics", "{path}: {text}");
        }
    }
    assert_eq!(http.get(format!("{}/api/v1/nowhere", lab.url())).send().await.unwrap().status(), 404);
    assert_eq!(http.delete(format!("{}/healthz", lab.url())).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn bodies_are_json_small_and_exact() {
    let lab = Lab::new().await;
    let (http, token) = (lab.http(), lab.token(TRIAGE).await);
    let post = || http.post(format!("{}/api/v1/requests", lab.url())).bearer_auth(&token);
    let good = r#"{"connection": "shop-on-request", "reason": "x"}"#;
    let json = "application/json";
    for (body, kind, status) in [
        (good.to_owned(), "text/plain", 415),
        (good.to_owned(), "application/x-www-form-urlencoded", 415),
        ("{".to_owned(), json, 400),
        (r#"{"connection": "shop-on-request", "reason": "x", "secret-word": 1}"#.to_owned(), json, 400),
        (format!(r#"{{"connection": "a", "reason": "{}"}}"#, "x".repeat(70_000)), json, 413),
        (good.to_owned(), "application/json; charset=utf-8", 201),
    ] {
        let answer = post().header(header::CONTENT_TYPE, kind).body(body).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(!answer.text().await.unwrap().contains("secret-word"), "the body is not quoted back");
    }
}

#[tokio::test]
async fn a_token_of_64_kib_fits_the_header() {
    let lab = Lab::new().await;
    let answer = lab
        .http()
        .get(format!("{}/api/v1/whoami", lab.url()))
        .bearer_auth("y".repeat(64 * 1024))
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 401);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_hung_up_on() {
    use tokio::io::AsyncReadExt as _;
    let lab = Lab::with("limits: { handshake: 1s }\n").await;
    let mut silent = tokio::net::TcpStream::connect(lab.listeners["web"].as_str().unwrap()).await.unwrap();
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(60), silent.read(&mut byte)).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
}
