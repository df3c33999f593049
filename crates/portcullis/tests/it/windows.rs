//! Just-in-time windows: asked for, used, over.

use crate::lab::{Lab, SYNC, TRIAGE};

#[tokio::test]
async fn a_window_is_asked_for_used_and_over() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;

    let before = lab.psql("shop-on-request", &token, "SELECT 1").await;
    assert!(before.err().contains("portcullis request shop-on-request"), "{}", before.stderr);
    assert_eq!(lab.refused("shop-on-request", &token).await.0, "28000");
    lab.server_saw_nobody();

    let asked =
        ["request", "shop-on-request", "--reason", "INC-1432", "--lifetime", "5s", "--output", "json"];
    let window = lab.as_agent(&token, &asked).await.json();
    let again = lab.as_agent(&token, &asked).await.json();
    assert_eq!(window["id"], again["id"], "asking again extends nothing");
    assert_eq!(window["ends_at"], again["ends_at"]);

    let session = lab.open("shop-on-request", &token).await;
    assert_eq!(session.one("SELECT count(*) FROM orders").await, "7");
    let (code, message) = session.ended().await;
    assert_eq!(code, "57P01");
    assert!(message.contains("window is over"), "{message}");

    let after = lab.psql("shop-on-request", &token, "SELECT 1").await;
    assert!(after.err().contains("must be requested"), "{}", after.stderr);

    let events = lab.audit(&["--connection", "shop-on-request"], |rows| {
        rows.iter().filter(|row| row["event"] == "decision" && row["decision"] == "deny").count() == 3
            && rows.iter().any(|row| row["event"] == "session_ended")
    });
    let events = events.await;
    let request = events.iter().find(|row| row["event"] == "window_request").unwrap();
    assert_eq!(request["reason"], "INC-1432");
    assert_eq!(request["window"], window["id"]);
    let ended = events.iter().find(|row| row["event"] == "session_ended").unwrap();
    assert_eq!(ended["reason"]["why"], "window_over");
    let inside = events.iter().find(|row| row["text"] == "SELECT count(*) FROM orders").unwrap();
    assert_eq!(inside["facts"]["window"], window["id"], "every record names the window");
}

#[tokio::test]
async fn a_request_that_policy_refuses_says_why_and_opens_nothing() {
    let lab = Lab::new().await;
    let (triage, sync) = (lab.token(TRIAGE).await, lab.token(SYNC).await);
    for (token, args, problem) in [
        (&sync, &["request", "shop-on-request", "--reason", "x"][..], "there is nothing to request"),
        (&sync, &["request", "no-such-db", "--reason", "x"], "there is nothing to request"),
        (&triage, &["request", "shop-db", "--reason", "x"], "needs no request"),
        (&triage, &["request", "shop-on-request", "--reason", " "], "a reason of 1 to"),
        (
            &triage,
            &["request", "shop-on-request", "--reason", "x", "--lifetime", "2h"],
            "the lifetime must be between",
        ),
    ] {
        let answer = lab.as_agent(token, args).await;
        assert_eq!(answer.code, 4, "{answer:?}");
        assert!(answer.stderr.contains(problem), "{answer:?}");
    }
    lab.audit(&["--kind", "window_request"], |rows| {
        rows.len() == 5 && rows.iter().all(|row| row["refused"] != "")
    })
    .await;
    assert_eq!(lab.as_agent(&triage, &["connections", "--output", "json"]).await.json()[1]["open"], false);
}

#[tokio::test]
async fn connections_shows_what_is_open_and_what_could_be() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let connections = lab.as_agent(&token, &["connections", "--output", "json"]).await.json();
    let names: Vec<_> = connections
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["connection"].as_str().unwrap(), c["open"].as_bool().unwrap()))
        .collect();
    assert_eq!(names, [("shop-db", true), ("shop-on-request", false)]);
    lab.as_agent(&token, &["request", "shop-on-request", "--reason", "x"]).await.ok();
    let table = lab.as_agent(&token, &["connections"]).await;
    assert!(table.ok().contains("open until"), "{}", table.stdout);
    let me = lab.as_agent(&token, &["whoami", "--output", "json"]).await.json();
    assert_eq!(me["key"], crate::lab::key(TRIAGE));
    assert_eq!(me["groups"][0]["name"], "incident-triage-agents");
}
