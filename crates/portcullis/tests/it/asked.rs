//! Windows that people answer: asked for, waited for, opened, refused, opened at once.

use portcullis_testkit::{Process, ProcessOptions};

use crate::{
    lab::{Lab, TRIAGE},
    people::{RAISE, id, id_in},
};

impl Lab {
    /// `portcullis request … --wait`, left to itself.
    fn start_request(&self, token: &str, connection: &str) -> Process {
        Process::start(
            ProcessOptions::new(env!("CARGO_BIN_EXE_portcullis"))
                .args(["request", connection, "--reason", "INC-1432", "--wait"])
                .env("PORTCULLIS_GATEWAY", self.url())
                .env("PORTCULLIS_CA", self.listeners["certificate"].as_str().unwrap())
                .env("PORTCULLIS_TOKEN", token)
                .env("NO_COLOR", "1"),
        )
    }
}

#[tokio::test]
async fn a_window_is_asked_for_waited_for_and_opened_for_less_time() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let before = lab.psql("shop-approved", &token, "SELECT 1").await;
    assert!(before.err().contains("portcullis request shop-approved"), "{}", before.stderr);
    let bare = lab.as_agent(&token, &["request", "shop-approved"]).await;
    assert!(bare.code == 4 && bare.stderr.contains("a reason of 1 to"), "{bare:?}");

    let mut asking = lab.start_request(&token, "shop-approved");
    let request = lab.waiting(&sam, |_| true).await;
    asking.wait_for_line("waits for group:oncall or group:leads").await;
    assert_eq!((&request["kind"], &request["reason"]), (&"window".into(), &"INC-1432".into()));
    assert_eq!((&request["lifetime_seconds"], &request["scope"][0]), (&1800.into(), &"read:public.*".into()));
    lab.psql("shop-approved", &token, "SELECT 1").await.err();
    let again =
        lab.as_agent(&token, &["request", "shop-approved", "--reason", "x", "--output", "json"]).await.json();
    assert_eq!(id(&again), id(&request), "asking twice is one request");
    lab.server_saw_nobody();

    let longer = lab.as_agent(&sam, &["approve", id(&request), "--lifetime", "2h"]).await;
    assert!(longer.code == 4 && longer.stderr.contains("only be shortened"), "{longer:?}");
    lab.as_agent(&sam, &["approve", id(&request), "--lifetime", "5m", "--note", "five minutes"]).await.ok();
    assert!(asking.wait().await.success(), "{}", asking.log());
    assert!(asking.log().contains("shop-approved is open until"), "{}", asking.log());
    assert_eq!(lab.psql("shop-approved", &token, "SELECT count(*) FROM orders").await.ok(), "7");
    let over = lab.request(&sam, id(&request)).await;
    assert_eq!((&over["state"], &over["lifetime_seconds"]), (&"approved".into(), &300.into()));
    let steps = lab.step_names(id(&request), "approved").await;
    assert_eq!(steps, ["filed", "answer_refused", "approved"]);
    lab.audit(&["--connection", "shop-approved", "--decision", "allow"], |rows| {
        rows.iter().any(|row| row["facts"]["window"] == over["window"]["id"])
    })
    .await;
}

#[tokio::test]
async fn a_no_ends_the_waiting_with_its_note() {
    let lab = Lab::asking().await;
    let (token, robin) = (lab.token(TRIAGE).await, lab.person("robin"));
    let mut asking = lab.start_request(&token, "shop-approved");
    let request = lab.waiting(&robin, |_| true).await;
    lab.deny(&robin, id(&request), "use the replica").await.ok();
    assert_eq!(asking.wait().await.code(), Some(1));
    assert!(asking.log().contains("denied by robin: use the replica"), "{}", asking.log());
    lab.psql("shop-approved", &token, "SELECT 1").await.err();
    lab.server_saw_nobody();
    assert_eq!(lab.step_names(id(&request), "denied").await, ["filed", "denied"]);
}

#[tokio::test]
async fn two_people_have_to_say_yes() {
    let lab = Lab::asking().await;
    let (token, sam, robin) = (lab.token(TRIAGE).await, lab.person("sam"), lab.person("robin"));
    let mut asking = lab.start_request(&token, "shop-two");
    let request = lab.waiting(&sam, |_| true).await;
    let first = lab.approve(&sam, id(&request)).await;
    assert!(first.ok().contains("1 more needed"), "{first:?}");
    let twice = lab.approve(&sam, id(&request)).await;
    assert!(twice.code == 4 && twice.stderr.contains("answered it already"), "{twice:?}");
    let half = lab.request(&robin, id(&request)).await;
    assert_eq!((&half["state"], &half["needs"][0]["given"]), (&"pending".into(), &1.into()));
    lab.psql("shop-two", &token, "SELECT 1").await.err();
    lab.server_saw_nobody();
    lab.approve(&robin, id(&request)).await.ok();
    assert!(asking.wait().await.success(), "{}", asking.log());
    assert_eq!(lab.psql("shop-two", &token, "SELECT 1").await.ok(), "1");
    let steps = lab.step_names(id(&request), "approved").await;
    assert_eq!(steps, ["filed", "vote", "answer_refused", "approved"]);
}

#[tokio::test]
async fn broken_glass_opens_at_once_and_is_reviewed_by_somebody_else() {
    let lab = Lab::asking().await;
    let (token, sam, robin) = (lab.token(TRIAGE).await, lab.person("sam"), lab.person("robin"));
    let open = |token: &str| {
        let token = token.to_owned();
        let lab = &lab;
        async move {
            let args =
                ["request", "shop-approved", "--break-glass", "--reason", "site is down", "--output", "json"];
            lab.as_agent(&token, &args).await
        }
    };
    let refused = open(&token).await;
    assert_eq!(refused.code, 4, "the grant does not name it: {refused:?}");
    let without = lab.as_agent(&robin, &["request", "shop-approved", "--break-glass"]).await;
    assert_eq!(without.code, 4, "a reason is needed: {without:?}");
    lab.server_saw_nobody();

    open(&robin).await.ok();
    assert_eq!(lab.psql("shop-approved", &robin, "SELECT count(*) FROM orders").await.ok(), "7");
    let list = ["requests", "--needs-review", "--output", "json"];
    let rows = lab.as_agent(&sam, &list).await.json()["rows"].clone();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["break_glass"]), (1, &true.into()), "{rows:#}");
    let request = id(&rows[0]);
    let own = lab.as_agent(&robin, &["review", request, "--note", "fine"]).await;
    assert_eq!(own.code, 4, "nobody reviews themselves: {own:?}");
    let reviewed = lab.as_agent(&sam, &["review", request, "--note", "the site was down"]).await;
    assert!(reviewed.ok().contains("reviewed"), "{reviewed:?}");
    assert!(lab.as_agent(&sam, &list).await.json()["rows"].as_array().unwrap().is_empty());
    assert_eq!(lab.request(&sam, request).await["review"]["name"], "sam");
    let steps = lab.step_names(request, "reviewed").await;
    assert_eq!(steps.first().map(String::as_str), Some("break_glass"));
}

#[tokio::test]
async fn connecting_asks_and_goes_on_once_a_person_said_yes() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let count = "SELECT 'rows', count(*) FROM orders";
    let (mut first, mut second) =
        (lab.start_psql("shop-connect", &token, &[count]), lab.start_psql("shop-connect", &token, &[count]));
    for psql in [&mut first, &mut second] {
        psql.wait_for_line("NOTICE").await;
    }
    let request = lab.waiting(&sam, |_| true).await;
    for psql in [&first, &second] {
        assert_eq!(id_in(&psql.log()), id(&request), "both wait for one request");
        assert!(psql.log().contains(&format!("/requests/{}", id(&request))), "{}", psql.log());
    }
    lab.server_saw_nobody();
    lab.approve(&sam, id(&request)).await.ok();
    for psql in [&mut first, &mut second] {
        assert!(psql.wait().await.success(), "{}", psql.log());
        assert!(psql.log().contains("rows|7"), "{}", psql.log());
    }
    assert_eq!(lab.step_names(id(&request), "approved").await, ["filed", "approved"]);
    let third = lab.psql("shop-connect", &token, "SELECT 1").await;
    assert!(third.ok() == "1" && !third.stderr.contains("req_"), "the window is open: {third:?}");
}

#[tokio::test]
async fn of_two_that_connect_one_may_leave_and_the_other_still_gets_in() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let count = "SELECT 'rows', count(*) FROM orders";
    let mut leaves = lab.start_psql("shop-connect", &token, &[count]);
    leaves.wait_for_line("NOTICE").await;
    let mut stays = lab.start_psql("shop-connect", &token, &[count]);
    stays.wait_for_line("NOTICE").await;
    leaves.kill_hard();
    let request = lab.waiting(&sam, |_| true).await;
    lab.approve(&sam, id(&request)).await.ok();
    assert!(stays.wait().await.success(), "{}", stays.log());
    assert!(stays.log().contains("rows|7"), "{}", stays.log());
}

#[tokio::test]
async fn a_request_made_by_connecting_outlives_the_gateway_and_opens_at_the_next_connect() {
    let mut lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-connect", &token, &["SELECT 1"]);
    let request = lab.waiting(&sam, |_| true).await;
    lab.gateway.kill_hard();
    assert!(!psql.wait().await.success());
    lab.restart().await;
    lab.server_saw_nobody();
    assert_eq!(lab.request(&sam, id(&request)).await["state"], "pending");
    lab.approve(&sam, id(&request)).await.ok();
    assert_eq!(lab.psql("shop-connect", &token, "SELECT count(*) FROM orders").await.ok(), "7");
}

#[tokio::test]
async fn a_grant_that_goes_sends_away_who_waits_to_come_in() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-connect", &token, &["SELECT 1"]);
    let request = lab.waiting(&sam, |_| true).await;
    lab.edit_policy(
        "connection: shop-connect\n    to: group:incident-triage-agents",
        "connection: shop-connect\n    to: group:sync-agents",
    );
    assert!(!psql.wait().await.success());
    assert!(psql.log().contains("FATAL") && psql.log().contains("withdrawn"), "{}", psql.log());
    assert_eq!(lab.request(&sam, id(&request)).await["state"], "withdrawn");
    assert_eq!(lab.approve(&sam, id(&request)).await.code, 4);
    lab.server_saw_nobody();
}

#[tokio::test]
async fn who_is_disabled_while_waiting_does_not_come_in_whatever_people_say() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut waits = lab.start_psql("shop-connect", &token, &["SELECT 1"]);
    waits.wait_for_line("NOTICE").await;
    let request = lab.waiting(&sam, |_| true).await;
    lab.server_saw_nobody();
    // A session of the same identity shows when the directory has told.
    let mut live = lab.start_psql("shop-db", &token, &[RAISE]);
    live.wait_for_line("NOTICE").await;
    lab.idp.set_enabled(TRIAGE.name, false).unwrap();
    assert!(!live.wait().await.success());
    assert!(live.log().contains("disabled"), "{}", live.log());
    lab.approve(&sam, id(&request)).await.ok();
    assert!(!waits.wait().await.success());
    assert!(waits.log().contains("FATAL") && waits.log().contains("disabled"), "{}", waits.log());
    let refused = ["--connection", "shop-connect", "--decision", "deny"];
    lab.audit(&refused, |rows| rows.len() == 1 && rows[0]["rule"]["kind"] == "identity").await;
}

#[tokio::test]
async fn connecting_is_refused_with_the_note_of_a_no() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-connect", &token, &["SELECT 1"]);
    let request = lab.waiting(&sam, |_| true).await;
    lab.deny(&sam, id(&request), "not during the freeze").await.ok();
    assert!(!psql.wait().await.success());
    assert!(psql.log().contains("FATAL") && psql.log().contains("not during the freeze"), "{}", psql.log());
    lab.server_saw_nobody();
    assert_eq!(lab.step_names(id(&request), "denied").await, ["filed", "denied"]);
    let refused = ["--connection", "shop-connect", "--decision", "deny"];
    lab.audit(&refused, |rows| rows.len() == 1).await;
}

#[tokio::test]
async fn a_client_that_gives_up_connecting_leaves_the_request_to_be_answered_or_withdrawn() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-connect", &token, &["SELECT 1"]);
    let request = lab.waiting(&sam, |_| true).await;
    psql.kill_hard();
    lab.server_saw_nobody();
    let over = lab.as_agent(&token, &["withdraw", id(&request), "--note", "not needed"]).await;
    let state = lab.request(&sam, id(&request)).await["state"].clone();
    assert!(over.code == 0 || over.stderr.contains("withdrawn"), "{over:?}");
    assert_eq!(state, "withdrawn");
    lab.server_saw_nobody();
}

#[tokio::test]
async fn whoever_watches_sees_each_request_come_and_go() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut watching = Process::start(
        ProcessOptions::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["requests", "--watch"])
            .env("PORTCULLIS_GATEWAY", lab.url())
            .env("PORTCULLIS_CA", lab.listeners["certificate"].as_str().unwrap())
            .env("PORTCULLIS_TOKEN", &sam),
    );
    watching.wait_for_line("no requests").await;
    let asked = ["request", "shop-approved", "--reason", "INC-1432", "--output", "json"];
    let request = lab.as_agent(&token, &asked).await.json();
    let line = watching.wait_for_line(id(&request)).await;
    assert!(line.contains("pending until") && line.contains("0/1 group:oncall or group:leads"), "{line}");
    lab.deny(&sam, id(&request), "no").await.ok();
    watching.wait_for_line("  denied  ").await;
    // What concerns nobody here is not told: alex has neither a role nor a request.
    assert!(lab.pending(&lab.person("alex")).await.is_empty());
}
