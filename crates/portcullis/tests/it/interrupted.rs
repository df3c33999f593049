//! How waiting ends otherwise: a no, no answer, the client, the window, a kill, the gateway, the policy.

use crate::{
    lab::{Lab, TRIAGE},
    people::{RAISE, id, interrupt},
};

/// Nothing reached the server.
async fn nothing_ran(lab: &Lab) {
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
}

#[tokio::test]
async fn a_no_reaches_psql_with_its_note_and_the_session_goes_on() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE, "SELECT 'still ' || 'here'"]);
    let request = lab.waiting(&sam, |_| true).await;
    let without = lab.as_agent(&sam, &["deny", id(&request), "--note", " "]).await;
    assert!(without.code == 4 && without.stderr.contains("a note of 1 to"), "{without:?}");
    lab.deny(&sam, id(&request), "say which orders").await.ok();
    psql.wait().await;
    let log = psql.log();
    assert!(log.contains("ERROR:  42501") && log.contains("say which orders"), "{log}");
    assert!(log.contains("still here"), "the session goes on: {log}");
    nothing_ran(&lab).await;
    let steps = lab.steps(id(&request), "denied").await;
    assert_eq!(steps[2], ("denied".to_owned(), "sam".to_owned(), "say which orders".to_owned()), "{steps:?}");
    let decided = lab.audit(&["--kind", "decision", "--text", "UPDATE"], |rows| rows.len() == 2).await;
    assert_eq!((&decided[0]["decision"], &decided[1]["decision"]), (&"hold".into(), &"deny".into()));
}

#[tokio::test]
async fn a_no_inside_a_transaction_fails_it_on_both_sides() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let script = [
        "BEGIN",
        "UPDATE orders SET total = 0 WHERE id = 1",
        RAISE,
        "SELECT 'not answered'",
        "COMMIT",
        "SELECT 'sum', sum(total) FROM orders",
    ];
    let mut psql = lab.start_psql("shop-db", &token, &script);
    let request = lab.waiting(&sam, |_| true).await;
    assert_eq!(request["operation"]["in_transaction"], true);
    let shown = lab.as_agent(&sam, &["requests", "show", id(&request)]).await;
    assert!(shown.ok().contains("locks are held"), "{}", shown.stdout);
    lab.deny(&sam, id(&request), "not in one go").await.ok();
    psql.wait().await;
    let log = psql.log();
    assert!(log.contains("42501") && log.contains("not in one go"), "{log}");
    assert!(log.contains("25P02") && !log.contains("\nnot answered"), "the transaction has failed: {log}");
    assert!(log.contains("sum|280"), "and was rolled back: {log}");
    nothing_ran(&lab).await;
}

#[tokio::test]
async fn without_an_answer_in_time_it_is_refused() {
    let lab = Lab::asking().await;
    let token = lab.token(TRIAGE).await;
    let answer = lab.psql("shop-brief", &token, RAISE).await;
    assert!(answer.err().contains("57014"), "{}", answer.stderr);
    nothing_ran(&lab).await;
    let all = ["requests", "--state", "all", "--output", "json"];
    let requests = lab.as_agent(&lab.person("sam"), &all).await.json();
    assert_eq!(requests["rows"][0]["state"], "expired", "{requests:#}");
    assert_eq!(lab.step_names(id(&requests["rows"][0]), "expired").await, ["filed", "expired"]);
    let late = lab.approve(&lab.person("sam"), id(&requests["rows"][0])).await;
    assert!(late.code == 4 && late.stderr.contains("expired"), "{late:?}");
    nothing_ran(&lab).await;
}

#[tokio::test]
async fn without_an_answer_a_transaction_fails_and_a_commit_rolls_back() {
    let lab = Lab::asking().await;
    let token = lab.token(TRIAGE).await;
    let script = [
        "BEGIN",
        "UPDATE orders SET total = 0 WHERE id = 1",
        RAISE,
        "SELECT 'not answered'",
        "ROLLBACK",
        "BEGIN",
        "INSERT INTO orders SELECT n, 1 FROM generate_series(100, 104) n",
        "COMMIT",
        "SELECT 'sum', sum(total) FROM orders",
    ];
    let mut psql = lab.start_psql("shop-brief", &token, &script);
    psql.wait().await;
    let log = psql.log();
    assert_eq!(log.matches("ERROR:  57014").count(), 2, "{log}");
    assert!(log.contains("25P02") && !log.contains("\nnot answered"), "{log}");
    assert!(log.contains("sum|280"), "both are rolled back, and the session goes on: {log}");
    nothing_ran(&lab).await;
    assert_eq!(lab.ran("COMMIT"), 0);
    lab.audit(&["--kind", "request"], |rows| rows.iter().filter(|row| row["step"] == "expired").count() == 2)
        .await;
}

#[tokio::test]
async fn ctrl_c_takes_the_request_back() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |_| true).await;
    psql.wait_for_line("NOTICE").await;
    interrupt(&psql);
    psql.wait().await;
    assert!(psql.log().contains("57014"), "{}", psql.log());
    let over = lab.request_in(&sam, id(&request), "withdrawn").await;
    assert!(over["note"].as_str().unwrap().contains("cancelled"), "{over:#}");
    let late = lab.approve(&sam, id(&request)).await;
    assert!(late.code == 4 && late.stderr.contains("withdrawn"), "{late:?}");
    nothing_ran(&lab).await;
    assert_eq!(
        lab.step_names(id(&request), "answer_refused").await,
        ["filed", "withdrawn", "answer_refused"]
    );
}

#[tokio::test]
async fn a_driver_s_cancel_takes_the_request_back_and_the_session_goes_on() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let session = lab.open("shop-db", &token).await;
    let cancel = session.client.cancel_token();
    let running =
        tokio::spawn(async move { (session.client.simple_query(RAISE).await.unwrap_err(), session) });
    let request = lab.waiting(&sam, |_| true).await;
    cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    let (error, session) = running.await.unwrap();
    assert_eq!(error.as_db_error().unwrap().code().code(), "57014", "{error:?}");
    lab.request_in(&sam, id(&request), "withdrawn").await;
    assert_eq!(session.one("SELECT sum(total) FROM orders").await, "280");
    nothing_ran(&lab).await;
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_no_request_behind() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |_| true).await;
    psql.kill_hard();
    lab.request_in(&sam, id(&request), "withdrawn").await;
    nothing_ran(&lab).await;
}

#[tokio::test]
async fn kill_9_of_the_gateway_runs_nothing_and_withdraws_what_waited() {
    let mut lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |_| true).await;
    lab.gateway.kill_hard();
    assert!(!psql.wait().await.success());
    lab.restart().await;
    let over = lab.request_in(&sam, id(&request), "withdrawn").await;
    assert_eq!(over["can_answer"], false, "{over:#}");
    let late = lab.approve(&sam, id(&request)).await;
    assert_eq!(late.code, 4, "{late:?}");
    nothing_ran(&lab).await;
    let steps = lab.step_names(id(&request), "answer_refused").await;
    assert_eq!(steps, ["filed", "withdrawn", "answer_refused"]);
}

#[tokio::test]
async fn a_gateway_that_stops_in_order_says_so_and_withdraws_what_waited() {
    let mut lab = Lab::asking_with("limits: { drain: 1s }\n").await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |_| true).await;
    assert!(lab.gateway.terminate().await.success());
    assert!(!psql.wait().await.success());
    assert!(psql.log().contains("57P01"), "{}", psql.log());
    lab.restart().await;
    assert_eq!(lab.request(&sam, id(&request)).await["state"], "withdrawn");
    assert_eq!(lab.step_names(id(&request), "withdrawn").await, ["filed", "withdrawn"]);
    nothing_ran(&lab).await;
}

#[tokio::test]
async fn a_kill_ends_the_session_and_its_request() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |_| true).await;
    let session = request["operation"]["session"].as_str().unwrap();
    lab.cli(&["kill", session, "--reason", "looks wrong"]).await.ok();
    psql.wait().await;
    assert!(psql.log().contains("57P01") && psql.log().contains("looks wrong"), "{}", psql.log());
    lab.request_in(&sam, id(&request), "withdrawn").await;
    assert_eq!(lab.approve(&sam, id(&request)).await.code, 4);
    nothing_ran(&lab).await;
}

#[tokio::test]
async fn a_window_ends_what_waits_in_it() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    lab.as_agent(&token, &["request", "shop-window", "--reason", "x", "--lifetime", "3s"]).await.ok();
    let mut psql = lab.start_psql("shop-window", &token, &[RAISE]);
    let request = lab.waiting(&sam, |_| true).await;
    psql.wait().await;
    assert!(psql.log().contains("57P01") && psql.log().contains("window is over"), "{}", psql.log());
    lab.request_in(&sam, id(&request), "withdrawn").await;
    assert_eq!(lab.approve(&sam, id(&request)).await.code, 4);
    nothing_ran(&lab).await;
}

#[tokio::test]
async fn a_policy_that_changed_meanwhile_asks_again_under_its_own_terms() {
    let mut lab = Lab::asking().await;
    let (token, sam, robin) = (lab.token(TRIAGE).await, lab.person("sam"), lab.person("robin"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |_| true).await;
    lab.edit_policy(
        "without: where\n    action: approve\n    approvers: group:oncall\n  - name: a person within",
        "without: where\n    action: approve\n    approvers: group:leads\n  - name: a person within",
    );
    lab.gateway.wait_for_line("policy loaded").await;
    let over = lab.request_in(&robin, id(&request), "withdrawn").await;
    assert!(over["note"].as_str().unwrap().contains("policy"), "{over:#}");
    let late = lab.approve(&sam, id(&request)).await;
    assert_eq!(late.code, 4, "{late:?}");
    nothing_ran(&lab).await;

    let next = lab.waiting(&robin, |_| true).await;
    assert_ne!(id(&next), id(&request));
    assert_eq!(next["needs"][0]["approvers"], serde_json::json!(["group:leads"]));
    assert_eq!(lab.approve(&sam, id(&next)).await.code, 4, "those on call are not asked any more");
    nothing_ran(&lab).await;
    lab.approve(&robin, id(&next)).await.ok();
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
}
