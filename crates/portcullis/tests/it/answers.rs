//! Who may answer: nobody for themselves, only people, only those the rule names, as the directory has them at that moment.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    lab::{Lab, PATIENCE, SYNC, TRIAGE},
    people::{RAISE, id},
};

#[tokio::test]
async fn nobody_answers_for_themselves_and_agents_answer_for_nobody() {
    let lab = Lab::asking().await;
    let (sam, kim, alex) = (lab.person("sam"), lab.person("kim"), lab.person("alex"));
    let (triage, sync) = (lab.token(TRIAGE).await, lab.token(SYNC).await);
    // A person with a client of their own: sam is on call, and among those who may answer.
    let mut psql = lab.start_psql("shop-db", &sam, &[RAISE]);
    let request = lab.waiting(&kim, |_| true).await;
    let own = lab.request(&sam, id(&request)).await;
    assert_eq!(own["can_answer"], false);
    assert!(own["why_not"].as_str().unwrap().contains("yourself"), "{own:#}");
    let refused = lab.approve(&sam, id(&request)).await;
    assert!(refused.code == 4 && refused.stderr.contains("you asked for it yourself"), "{refused:?}");
    for (who, token) in [("triage", &triage), ("sync", &sync), ("alex", &alex)] {
        let refused = lab.approve(token, id(&request)).await;
        assert_eq!(refused.code, 4, "{who}: {refused:?}");
        let refused = lab.deny(token, id(&request), "no").await;
        assert_eq!(refused.code, 4, "{who}: {refused:?}");
    }
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    assert!(lab.pending(&alex).await.is_empty(), "who may not answer is shown nothing");
    assert!(lab.pending(&sync).await.is_empty());
    lab.approve(&kim, id(&request)).await.ok();
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
    let steps = lab.steps(id(&request), "used").await;
    let refused = steps.iter().filter(|(step, ..)| step == "answer_refused");
    let who: Vec<_> = refused.map(|(_, by, _)| by.as_str()).collect();
    assert!(who.contains(&"sam"), "{steps:?}");
}

#[tokio::test]
async fn an_agent_does_not_approve_its_own_request() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&token, |_| true).await;
    assert_eq!(request["can_answer"], false, "it sees its own: {request:#}");
    let refused = lab.approve(&token, id(&request)).await;
    assert!(refused.code == 4 && refused.stderr.contains("only a person"), "{refused:?}");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    let steps = lab.steps(id(&request), "answer_refused").await;
    assert_eq!(steps[1].1, TRIAGE.name, "{steps:?}");
    lab.as_agent(&token, &["withdraw", id(&request)]).await.ok();
    let mut psql = psql;
    assert!(!psql.wait().await.success());
    assert!(psql.log().contains("withdrawn"), "{}", psql.log());
    assert_eq!(lab.request(&sam, id(&request)).await["state"], "withdrawn");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
}

#[tokio::test]
async fn whoever_left_the_group_between_looking_and_answering_is_refused() {
    let lab = Lab::asking().await;
    let (token, sam, kim) = (lab.token(TRIAGE).await, lab.person("sam"), lab.person("kim"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |request| request["can_answer"] == true).await;
    lab.idp.set_member("oncall", "sam", false).unwrap();
    // The directory is asked again within its interval; until then the answer would have counted, so only looking goes on.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = lab.as_agent(&sam, &["requests", "show", id(&request), "--output", "json"]).await;
        if seen.code != 0 || seen.json()["can_answer"] == false {
            break;
        }
        assert!(Instant::now() < deadline, "sam may still answer: {seen:?}");
    }
    let refused = lab.approve(&sam, id(&request)).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    let steps = lab.steps(id(&request), "answer_refused").await;
    assert_eq!((steps[1].0.as_str(), steps[1].1.as_str()), ("answer_refused", "sam"));
    lab.approve(&kim, id(&request)).await.ok();
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
}

#[tokio::test]
async fn of_two_answers_at_the_same_moment_one_counts() {
    let lab = Lab::asking().await;
    let (token, sam, kim) = (lab.token(TRIAGE).await, lab.person("sam"), lab.person("kim"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |_| true).await;
    let (yes, no) = tokio::join!(lab.approve(&sam, id(&request)), lab.deny(&kim, id(&request), "no"));
    let (winner, loser) = if yes.code == 0 { (&yes, &no) } else { (&no, &yes) };
    assert_eq!((winner.code, loser.code), (0, 4), "{yes:?} {no:?}");
    assert!(loser.stderr.contains("no longer pending"), "{loser:?}");
    let approved = yes.code == 0;
    assert_eq!(psql.wait().await.success(), approved, "{}", psql.log());
    let ran = if approved { (1, "287") } else { (0, "280") };
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), ran);
    let state = lab.request(&sam, id(&request)).await["state"].clone();
    assert_eq!(state, if approved { "approved" } else { "denied" });
}

#[tokio::test]
async fn a_blocked_identity_s_requests_are_withdrawn() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let asked = ["request", "shop-approved", "--reason", "x", "--output", "json"];
    let request = lab.as_agent(&token, &asked).await.json();
    lab.cli(&["kill", "--identity", &crate::lab::key(TRIAGE), "--reason", "leaked"]).await.ok();
    lab.request_in(&sam, id(&request), "withdrawn").await;
    assert_eq!(lab.approve(&sam, id(&request)).await.code, 4);
    lab.psql("shop-approved", &token, "SELECT 1").await.err();
    lab.server_saw_nobody();
}

#[tokio::test]
async fn a_disabled_person_answers_nothing() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let _psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&token, |_| true).await;
    lab.idp.set_enabled("sam", false).unwrap();
    let refused = lab.approve(&sam, id(&request)).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    assert_eq!(lab.request(&token, id(&request)).await["state"], "pending");
}

/// The first cookie of this name that an answer sets, as a browser would send it back.
fn cookie(answer: &reqwest::Response, name: &str) -> String {
    let set = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let found = set.filter_map(|cookie| cookie.split(';').next()).find(|cookie| cookie.starts_with(name));
    found.unwrap_or_else(|| panic!("no cookie {name}: {answer:?}")).to_owned()
}

#[tokio::test]
async fn a_browser_signs_in_and_answers_and_nobody_answers_through_it() {
    let lab = Lab::asking().await;
    let token = lab.token(TRIAGE).await;
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&lab.person("sam"), |_| true).await;
    let http = lab.browser();
    let api = |path: &str| format!("{}/api/v1/{path}", lab.url());

    let begun = http.get(api("auth/login?provider=entra&next=/requests")).send().await.unwrap();
    let sign_in = cookie(&begun, "__Host-portcullis-signin=");
    let page: reqwest::Url = begun.headers()["location"].to_str().unwrap().parse().unwrap();
    let mut form: Vec<(String, String)> = page.query_pairs().into_owned().collect();
    form.push(("user".to_owned(), "sam".to_owned()));
    let mut action = page.clone();
    action.set_query(None);
    let back = http.post(action).form(&form).send().await.unwrap();
    let back = back.headers()["location"].to_str().unwrap().to_owned();
    let stranger = http.get(&back).send().await.unwrap();
    assert!(
        stranger.headers()["location"].to_str().unwrap().starts_with("/signin?error=state"),
        "{stranger:?}"
    );
    let given = stranger.headers().get_all("set-cookie").iter();
    assert!(given.into_iter().all(|cookie| !cookie.to_str().unwrap().starts_with("__Host-portcullis=")));

    // Somebody else's browser gets nothing by sam's code. Sam begins again.
    let begun = http.get(api("auth/login?provider=entra&next=/requests")).send().await.unwrap();
    let sign_in_again = cookie(&begun, "__Host-portcullis-signin=");
    assert_ne!(sign_in, sign_in_again);
    let page: reqwest::Url = begun.headers()["location"].to_str().unwrap().parse().unwrap();
    let mut form: Vec<(String, String)> = page.query_pairs().into_owned().collect();
    form.push(("user".to_owned(), "sam".to_owned()));
    let mut action = page.clone();
    action.set_query(None);
    let back = http.post(action).form(&form).send().await.unwrap();
    let back = back.headers()["location"].to_str().unwrap().to_owned();
    let signed_in = http.get(&back).header("cookie", &sign_in_again).send().await.unwrap();
    assert_eq!(signed_in.headers()["location"], "/requests");
    let session = cookie(&signed_in, "__Host-portcullis=");
    let me: Value =
        http.get(api("me")).header("cookie", &session).send().await.unwrap().json().await.unwrap();
    assert_eq!((&me["signed_in"], &me["name"]), (&true.into(), &"sam".into()), "{me:#}");
    let csrf = me["csrf"].as_str().unwrap();

    // What another site, or a script without the page's word, would send.
    let url = api(&format!("requests/{}/approve", id(&request)));
    let own = lab.url();
    for (origin, word) in [
        ("https://evil.example", Some(csrf)),
        (own.as_str(), None),
        (own.as_str(), Some("0000")),
        ("null", Some(csrf)),
    ] {
        let post = http.post(&url).header("cookie", &session).header("origin", origin).json(&json!({}));
        let post = word.map_or_else(
            || post.try_clone().unwrap(),
            |word| post.try_clone().unwrap().header("X-Portcullis-CSRF", word),
        );
        assert_eq!(post.send().await.unwrap().status(), 403, "{origin} {word:?}");
    }
    let by_get = http.get(&url).header("cookie", &session).send().await.unwrap();
    assert_eq!(by_get.status(), 405);
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));

    let answer =
        http.post(&url).header("cookie", &session).header("origin", &own).header("X-Portcullis-CSRF", csrf);
    let answer = answer.json(&json!({ "note": "seen" })).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
    let over = lab.request(&lab.person("kim"), id(&request)).await;
    assert_eq!((&over["votes"][0]["through"], &over["votes"][0]["name"]), (&"console".into(), &"sam".into()));

    let out = http.post(api("auth/logout")).header("cookie", &session).header("origin", &own);
    assert!(out.header("X-Portcullis-CSRF", csrf).send().await.unwrap().status().is_success());
    let after = http.get(api("requests")).header("cookie", &session).send().await.unwrap();
    assert_eq!(after.status(), 401, "signed out");
}
