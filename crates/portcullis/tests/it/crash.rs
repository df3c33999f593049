//! `kill -9` at any moment loses no event of what ran, and no window.

use std::collections::BTreeSet;

use crate::lab::{Lab, TRIAGE};

#[tokio::test]
async fn kill_9_loses_no_event_of_a_statement_that_ran_and_no_window() {
    let mut lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let window = lab
        .as_agent(&token, &["request", "shop-on-request", "--reason", "x", "--output", "json"])
        .await
        .json();
    let session = lab.open("shop-db", &token).await;
    let mut answered = Vec::new();
    for round in 0..200 {
        session.one(&format!("SELECT {round} AS marked_{round} FROM orders LIMIT 1")).await;
        answered.push(format!("marked_{round} "));
    }
    lab.gateway.kill_hard();

    // Without a gateway the command line reads what is on the disk, and says so.
    let offline =
        lab.cli(&["audit", "search", "--text", "marked", "--limit", "1000", "--output", "json"]).await;
    assert!(offline.stderr.contains("no gateway runs here"), "{}", offline.stderr);
    let found = offline.json()["rows"].as_array().unwrap().clone();
    let texts: BTreeSet<_> = found.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
    for marked in &answered {
        assert!(
            texts.iter().any(|text| text.contains(marked)),
            "{marked} was answered and is not in the journal"
        );
    }

    lab.restart().await;
    assert_eq!(
        lab.psql("shop-on-request", &token, "SELECT count(*) FROM orders").await.ok(),
        "7",
        "the window is still open"
    );
    let again = lab
        .as_agent(&token, &["request", "shop-on-request", "--reason", "y", "--output", "json"])
        .await
        .json();
    assert_eq!((&again["id"], &again["ends_at"]), (&window["id"], &window["ends_at"]));
    let sessions = lab.cli(&["sessions", "--all", "--output", "json"]).await.json();
    let lost = sessions["rows"].as_array().unwrap().iter().filter(|row| row["state"] == "lost").count();
    assert_eq!(lost, 1, "{sessions:#}");
    assert_eq!(lab.audit(&["--text", "marked"], |rows| rows.len() >= 200).await.len(), 200, "none twice");
}
