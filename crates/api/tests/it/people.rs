//! People in a browser: signing in, staying signed in, and what others try with their cookies.

use std::time::Duration;

use portcullis_policy::ConsoleSettings;
use reqwest::{Method, StatusCode, header};
use serde_json::json;

use crate::world::{HOST, Seen, World};

#[tokio::test]
async fn a_person_signs_in_and_out() {
    let world = World::new().await;
    let unsigned = world.nobody().get("/me").await.json();
    assert_eq!((&unsigned["signed_in"], &unsigned["providers"][0]["name"]), (&false.into(), &"entra".into()));
    let (flow, query) = world.browsed("sam@contoso.example", "/requests/req_1?x=y").await;
    let back = world.come_back(&format!("__Host-portcullis-signin={flow}"), &query).await;
    assert_eq!(
        (back.status, back.header("location").as_str()),
        (StatusCode::SEE_OTHER, "/requests/req_1?x=y")
    );
    let set: Vec<&str> =
        back.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
    for cookie in &set {
        for part in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(cookie.contains(part) && !cookie.contains("Domain"), "{cookie}");
        }
    }
    let cookie = back.cookie("__Host-portcullis").unwrap();
    assert_eq!(cookie.len(), 64, "256 bits");
    let sam = world.with_cookie(&cookie).await;
    let me = sam.get("/me").await.json();
    assert_eq!(
        (&me["signed_in"], &me["name"], &me["roles"]),
        (&true.into(), &"sam@contoso.example".into(), &json!(["viewer", "approver"]))
    );
    assert_eq!(me["idle_seconds"], 1_800);
    assert_eq!(sam.post("/auth/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
    sam.get("/policy").await.is_problem(401, "not-authenticated");
    assert_eq!(sam.get("/me").await.json()["signed_in"], false);
    let steps: Vec<String> = world.sign_ins().into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, ["signed_in", "signed_out"]);
}

#[tokio::test]
async fn a_sign_in_that_ends_with_nobody_known_does_not_fill_the_journal() {
    let world = World::new().await;
    let (flow, query) = world.browsed("sam@contoso.example", "/").await;
    let state = query.split('&').find(|pair| pair.starts_with("state=")).unwrap();
    let cookies = format!("__Host-portcullis-signin={flow}");
    let declined = format!("{state}&error=access_denied");
    let refused = || world.sign_ins().into_iter().filter(|(step, _)| step == "refused").count();
    let mut answers = 0;
    // The same browser, again and again: as many as of bad tokens.
    while world.come_back(&cookies, &declined).await.status != StatusCode::TOO_MANY_REQUESTS {
        answers += 1;
    }
    assert_eq!((answers, refused()), (60, 1));
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.come_back(&cookies, &declined).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.come_back(&cookies, &declined).await.status, StatusCode::SEE_OTHER);
    assert_eq!(refused(), 2);
}

#[tokio::test]
async fn only_a_hash_of_the_cookie_is_kept() {
    let world = World::new().await;
    let cookie = world.sign_in("sam@contoso.example", "/").await;
    for entry in std::fs::read_dir(world.store().path().parent().unwrap()).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(cookie.len()).any(|window| window == cookie.as_bytes());
            assert!(!found, "{}", entry.path().display());
        }
    }
}

#[tokio::test]
async fn a_cookie_that_somebody_else_planted_never_becomes_anybodys() {
    let world = World::new().await;
    let planted = "a".repeat(64);
    let theirs = world.sign_in("nobody@contoso.example", "/").await;
    for before in [&planted, &theirs] {
        let (flow, query) = world.browsed("sam@contoso.example", "/").await;
        let cookies = format!("__Host-portcullis={before}; __Host-portcullis-signin={flow}");
        let back = world.come_back(&cookies, &query).await;
        let cookie = back.cookie("__Host-portcullis").unwrap();
        assert_ne!(&cookie, before);
        let old = world.with_cookie(before).await;
        assert_eq!(old.get("/me").await.json()["signed_in"], false, "what was there before is over");
    }
}

#[tokio::test]
async fn a_callback_is_for_the_browser_that_began_and_once() {
    let world = World::new().await;
    let (flow, query) = world.browsed("sam@contoso.example", "/").await;
    let (other, _) = world.browsed("kim@contoso.example", "/").await;
    let refused = |seen: &Seen| {
        assert_eq!(seen.status, StatusCode::SEE_OTHER, "{seen:?}");
        assert!(seen.header("location").starts_with("/signin?error="), "{seen:?}");
        assert!(seen.cookie("__Host-portcullis").is_none());
    };
    refused(&world.come_back("", &query).await);
    refused(&world.come_back(&format!("__Host-portcullis-signin={other}"), &query).await);
    refused(&world.come_back(&format!("__Host-portcullis-signin={}", "0".repeat(64)), &query).await);
    // Another browser's attempt used nothing up.
    let cookies = format!("__Host-portcullis-signin={flow}");
    assert!(world.come_back(&cookies, &query).await.cookie("__Host-portcullis").is_some());
    // Of one address once in a minute, where nobody is known.
    world.clock.advance(Duration::from_secs(61));
    refused(&world.come_back(&cookies, &query).await);
    let steps: Vec<String> = world.sign_ins().into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, ["refused", "signed_in", "refused"]);
}

#[tokio::test]
async fn next_leads_to_a_page_of_ours_or_nowhere() {
    let world = World::new().await;
    let nobody = world.nobody();
    for bad in [
        "https://evil.example/",
        "//evil.example",
        "/%5Cevil.example",
        "%2F%2Fevil.example",
        "javascript:alert(1)",
        "evil",
        "/%09/evil.example",
        "/%0d%0aSet-Cookie:x=y",
        "/api/v1/auth/login",
        "/..//evil.example",
        "",
        "/a%20b",
    ] {
        let seen = nobody.get(&format!("/auth/login?provider=entra&next={bad}")).await;
        seen.is_problem(400, "malformed");
        assert!(!seen.text.contains("evil"), "{seen:?}");
    }
    for good in ["/", "/requests/req_1", "/sessions?x=y%23z"] {
        let good = good.replace('?', "%3F");
        assert_eq!(
            nobody.get(&format!("/auth/login?provider=entra&next={good}")).await.status,
            StatusCode::SEE_OTHER,
            "{good}"
        );
    }
}

#[tokio::test]
async fn redirects_are_made_from_the_process_file_whatever_host_is_claimed() {
    let world = World::new().await;
    let request = world.nobody().bare(Method::GET, "/auth/login").header("host", "evil.example");
    let seen = Seen::of(request.send().await.unwrap()).await;
    let to: reqwest::Url = seen.header("location").parse().unwrap();
    let redirect = to.query_pairs().find(|(key, _)| key == "redirect_uri").unwrap().1.into_owned();
    assert_eq!(redirect, format!("https://{HOST}/api/v1/auth/callback"));
    assert!(!format!("{seen:?}").contains("evil"), "{seen:?}");
}

#[tokio::test]
async fn a_session_ends_by_idleness_and_by_age() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let console = ConsoleSettings { idle: minutes(30), absolute: minutes(120) };
    let world = World::with(console, "", &[]).await;
    let sam = world.browser("sam@contoso.example").await;
    for _ in 0..4 {
        world.clock.advance(minutes(25));
        assert_eq!(sam.get("/policy").await.status, StatusCode::OK, "used, it goes on");
    }
    world.clock.advance(minutes(25));
    sam.get("/policy").await.is_problem(401, "not-authenticated");
    let kim = world.browser("kim@contoso.example").await;
    world.clock.advance(minutes(30));
    kim.get("/policy").await.is_problem(401, "not-authenticated");
    let ended: Vec<String> =
        world.sign_ins().into_iter().filter(|(step, _)| step == "ended").map(|(_, note)| note).collect();
    assert_eq!(ended, ["its time was over", "it was idle for too long"]);
}

#[tokio::test]
async fn rights_go_with_the_group_and_the_session_with_the_person() {
    let world = World::new().await;
    let sam = world.browser("sam@contoso.example").await;
    assert_eq!(sam.get("/policy").await.status, StatusCode::OK);
    world.idp.set_member("oncall", "sam@contoso.example", false).unwrap();
    world.clock.advance(Duration::from_secs(2));
    sam.get("/policy").await.is_problem(403, "not-allowed");
    assert_eq!(sam.get("/me").await.json()["roles"], json!([]));
    world.idp.set_enabled("sam@contoso.example", false).unwrap();
    world.clock.advance(Duration::from_secs(2));
    sam.get("/requests").await.is_problem(401, "not-authenticated");
    assert!(world.sign_ins().iter().any(|(step, note)| step == "ended" && note.contains("disabled")));
    world.idp.set_enabled("sam@contoso.example", true).unwrap();
    world.clock.advance(Duration::from_secs(3));
    sam.get("/requests").await.is_problem(401, "not-authenticated");
}

#[tokio::test]
async fn a_directory_that_does_not_answer_lets_nobody_do_anything() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.browser("sam@contoso.example").await;
    world.idp.set_graph_failing(true);
    world.clock.advance(Duration::from_secs(5));
    sam.post(&format!("/requests/{id}/approve"), &json!({})).await.is_problem(503, "unavailable");
    assert_eq!(world.steps(&id), ["filed"]);
}

#[tokio::test]
async fn a_kill_signs_a_person_out_everywhere() {
    let world = World::new().await;
    let (one, other) =
        (world.browser("sam@contoso.example").await, world.browser("sam@contoso.example").await);
    let kim = world.browser("kim@contoso.example").await;
    let key = world.principal("sam@contoso.example").await.key().to_string();
    assert_eq!(
        world.admin().post("/kill", &json!({ "identity": key, "reason": "r" })).await.status,
        StatusCode::OK
    );
    for browser in [&one, &other] {
        browser.get("/requests").await.is_problem(401, "not-authenticated");
    }
    assert_eq!(kim.get("/requests").await.status, StatusCode::OK);
    // Nor do they get back in while the block stands.
    let (flow, query) = world.browsed("sam@contoso.example", "/").await;
    let back = world.come_back(&format!("__Host-portcullis-signin={flow}"), &query).await;
    assert!(back.header("location").starts_with("/signin?error=blocked"), "{back:?}");
    assert!(back.cookie("__Host-portcullis").is_none());
}

#[tokio::test]
async fn a_write_by_cookie_is_made_by_our_own_page() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.browser("sam@contoso.example").await;
    let other = world.browser("sam@contoso.example").await;
    let path = format!("/requests/{id}/approve");
    let ours = format!("https://{HOST}");
    let by_port = format!("https://{HOST}:{}", world.address.port());
    let good = |origin: &str, csrf: &str| {
        sam.bare(Method::POST, &path)
            .json(&json!({}))
            .header("origin", origin)
            .header("x-portcullis-csrf", csrf)
    };
    let refused = [
        sam.bare(Method::POST, &path).json(&json!({})),
        sam.bare(Method::POST, &path).json(&json!({})).header("x-portcullis-csrf", sam.csrf()),
        sam.bare(Method::POST, &path).json(&json!({})).header("origin", &ours),
        good("https://evil.example", sam.csrf()),
        good("null", sam.csrf()),
        good(&format!("{ours}.evil.example"), sam.csrf()),
        good(&format!("http://{HOST}"), sam.csrf()),
        good(&ours, ""),
        good(&ours, other.csrf()),
        good(&ours, &"0".repeat(64)),
        good(&ours, sam.csrf()).header("sec-fetch-site", "cross-site"),
        good(&ours, sam.csrf()).header("sec-fetch-site", "same-site"),
        good(&ours, sam.csrf()).header("origin", "https://evil.example"),
    ];
    for (n, request) in refused.into_iter().enumerate() {
        let seen = Seen::of(request.send().await.unwrap()).await;
        assert_eq!(seen.status, 403, "{n}: {seen:?}");
        seen.is_problem(403, "cross-site");
        assert!(!seen.text.contains("evil"), "{seen:?}");
    }
    // What a form can send is no JSON.
    for twice in ["text/plain", "application/x-www-form-urlencoded"] {
        let form = good(&ours, sam.csrf()).header("content-type", twice);
        assert_eq!(form.send().await.unwrap().status(), 415);
    }
    assert_eq!(world.steps(&id), ["filed"], "nothing came of any of them");
    let seen =
        Seen::of(good(&by_port, sam.csrf()).header("sec-fetch-site", "same-origin").send().await.unwrap())
            .await;
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    assert_eq!(seen.json()["votes"][0]["through"], "console");
}

#[tokio::test]
async fn two_session_cookies_are_none() {
    let world = World::new().await;
    let cookie = world.sign_in("sam@contoso.example", "/").await;
    let request = world.nobody().bare(Method::GET, "/requests");
    let both = format!("__Host-portcullis={}; __Host-portcullis={cookie}", "a".repeat(64));
    let seen = Seen::of(request.header(header::COOKIE, both).send().await.unwrap()).await;
    seen.is_problem(400, "malformed");
}

#[tokio::test]
async fn a_person_asks_for_access_from_the_console() {
    let world = World::new().await;
    let sam = world.browser("sam@contoso.example").await;
    let seen = sam.post("/requests", &json!({ "connection": "orders-db", "reason": "a look" })).await;
    assert_eq!(seen.status, StatusCode::ACCEPTED, "{seen:?}");
    assert_eq!(seen.header("location"), format!("/api/v1/requests/{}", seen.json()["id"].as_str().unwrap()));
}
