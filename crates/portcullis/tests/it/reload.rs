//! Documents that change under a running gateway: all of it or nothing.

use crate::lab::{Lab, SYNC, TRIAGE};

#[tokio::test]
async fn a_good_change_counts_for_live_sessions_at_once() {
    let mut lab = Lab::new().await;
    let session = lab.open("shop-db", &lab.token(TRIAGE).await).await;
    assert_eq!(session.one("SELECT count(*) FROM orders").await, "7");
    lab.edit_policy("statements: [drop, truncate, alter]", "statements: [drop, truncate, alter, select]");
    lab.gateway.wait_for_line("policy loaded").await;
    let error = loop {
        match session.client.simple_query("SELECT count(*) FROM orders").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.as_db_error().unwrap().code().code(), "42501");
    lab.audit(&["--kind", "policy_loaded"], |rows| rows.len() == 2).await;
}

#[tokio::test]
async fn a_grant_that_goes_takes_its_sessions_along() {
    let mut lab = Lab::new().await;
    let (token, other) = (lab.token(TRIAGE).await, lab.token(SYNC).await);
    let (session, bystander) = (lab.open("shop-db", &token).await, lab.open("shop-db", &other).await);
    lab.edit_policy(
        "- name: triage-shop\n    connection: shop-db\n    to: group:incident-triage-agents",
        "- name: triage-shop\n    connection: shop-db\n    to: app:00000000-0000-4000-8000-000000000000",
    );
    lab.gateway.wait_for_line("policy loaded").await;
    let (code, message) = session.ended().await;
    assert_eq!(code, "57P01");
    assert!(message.contains("no grant covers"), "{message}");
    assert_eq!(lab.refused("shop-db", &token).await.0, "28000");
    assert_eq!(bystander.one("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_bad_change_changes_nothing_and_says_why() {
    let mut lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let session = lab.open("shop-db", &token).await;
    lab.edit_policy("action: block", "action: blok");
    lab.gateway.wait_for_line("refused").await;
    assert!(lab.gateway.log().contains("blok"), "the log has the errors");
    assert_eq!(session.one("SELECT count(*) FROM orders").await, "7");
    assert!(session.client.simple_query("DROP TABLE orders").await.is_err(), "the old policy is in force");

    let http = lab.http();
    let ready = http.get(format!("{}/readyz", lab.url())).send().await.unwrap();
    assert_eq!(ready.status(), 200, "the gateway serves");
    assert!(ready.text().await.unwrap().contains("was refused"));
    let metrics = http.get(format!("{}/metrics", lab.url())).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("portcullis_policy_rejected 1"), "{metrics}");
    let policy =
        http.get(format!("{}/api/v1/policy", lab.url())).bearer_auth(lab.admin_token()).send().await.unwrap();
    assert!(policy.text().await.unwrap().contains("blok"));
    let rejected = lab.audit(&["--kind", "policy_rejected"], |rows| rows.len() == 1).await;
    assert!(rejected[0]["errors"].as_str().unwrap().contains("blok"));

    lab.edit_policy("action: blok", "action: block");
    lab.gateway.wait_for_line("those of the policy in force").await;
    let ready = http.get(format!("{}/readyz", lab.url())).send().await.unwrap();
    assert!(!ready.text().await.unwrap().contains("was refused"));
}

#[tokio::test]
async fn documents_that_vanish_change_nothing() {
    let mut lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let policy = lab.config().with_file_name("policy.yaml");
    std::fs::rename(&policy, policy.with_extension("away")).unwrap();
    lab.gateway.wait_for_line("refused").await;
    lab.psql("shop-db", &token, "SELECT 1").await.ok();
    std::fs::rename(policy.with_extension("away"), &policy).unwrap();
    lab.gateway.wait_for_line("those of the policy in force").await;
}
