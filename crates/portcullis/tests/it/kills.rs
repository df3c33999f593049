//! Kills end what is open and keep it ended until they are lifted or over.

use crate::lab::{Lab, SYNC, TRIAGE, key};

#[tokio::test]
async fn a_killed_session_ends_with_the_reason_and_does_not_come_back() {
    let lab = Lab::new().await;
    let (token, other) = (lab.token(TRIAGE).await, lab.token(SYNC).await);
    lab.as_agent(&token, &["request", "shop-on-request", "--reason", "x"]).await.ok();
    let session = lab.open("shop-on-request", &token).await;
    let bystander = lab.open("shop-db", &other).await;
    let live = lab.cli(&["sessions", "--connection", "shop-on-request", "--output", "json"]).await.json();
    let id = live["rows"][0]["session"].as_str().unwrap().to_owned();

    let killed = lab.cli(&["kill", &id, "--reason", "looks wrong", "--output", "json"]).await.json();
    assert_eq!((&killed["sessions"], killed["windows"].as_array().unwrap().len()), (&1.into(), 1));
    let (code, message) = session.ended().await;
    assert_eq!(code, "57P01");
    assert!(message.contains("looks wrong"), "{message}");

    let (code, message) = lab.refused("shop-on-request", &token).await;
    assert_eq!(code, "28000");
    assert!(message.contains("blocked") && message.contains("looks wrong"), "{message}");
    let asked = lab.as_agent(&token, &["request", "shop-on-request", "--reason", "again"]).await;
    assert_eq!(asked.code, 4, "a block covers requests too: {asked:?}");
    lab.psql("shop-db", &token, "SELECT 1").await.ok();
    assert_eq!(bystander.one("SELECT 1").await, "1", "others are left alone");

    lab.cli(&["kill", "--lift", "--identity", &key(TRIAGE)]).await.ok();
    let after = lab.psql("shop-on-request", &token, "SELECT 1").await;
    assert!(after.err().contains("must be requested"), "the window stays ended: {}", after.stderr);
    let kills = lab.audit(&["--kind", "kill"], |rows| rows.len() == 2).await;
    assert_eq!((&kills[0]["target"], &kills[0]["sessions"]), (&id.into(), &1.into()));
}

#[tokio::test]
async fn a_killed_identity_is_out_everywhere_also_after_a_restart() {
    let mut lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let (first, second) = (lab.open("shop-db", &token).await, lab.open("shop-db", &token).await);
    let killed =
        lab.cli(&["kill", "--identity", &key(TRIAGE), "--reason", "leaked", "--output", "json"]).await.json();
    assert_eq!(killed["sessions"], 2);
    for session in [first, second] {
        assert_eq!(session.ended().await.0, "57P01");
    }
    assert!(lab.psql("shop-db", &token, "SELECT 1").await.err().contains("leaked"));

    lab.gateway.terminate().await;
    lab.restart().await;
    assert!(
        lab.psql("shop-db", &token, "SELECT 1").await.err().contains("leaked"),
        "blocks outlive the gateway"
    );
    lab.cli(&["kill", "--lift", "--identity", &key(TRIAGE)]).await.ok();
    lab.psql("shop-db", &token, "SELECT 1").await.ok();
}

#[tokio::test]
async fn a_block_ends_by_itself() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    lab.cli(&["kill", "--identity", &key(TRIAGE), "--for", "2s"]).await.ok();
    lab.psql_until("shop-db", &token, |output| output.code == 0).await;
}

#[tokio::test]
async fn who_cannot_be_killed_is_said() {
    let lab = Lab::new().await;
    let nobody = format!("ses_{:032x}", 7);
    let answer = lab.cli(&["kill", &nobody]).await;
    assert_eq!((answer.code, answer.stderr.contains("no live session")), (4, true), "{answer:?}");
    let answer = lab.cli(&["kill", "--identity", "elsewhere/x"]).await;
    assert_eq!((answer.code, answer.stderr.contains("no identity provider")), (4, true), "{answer:?}");
    assert_eq!(lab.cli(&["kill"]).await.code, 2);
}
