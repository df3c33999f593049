//! `kill -9` at any moment loses no event of what ran, and no window.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_audit::read_dir;
use portcullis_core::AuditEvent;

use crate::lab::{Lab, TRIAGE};

/// How many times the gateway is killed in the middle of work.
const ROUNDS: usize = 6;

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

#[tokio::test]
async fn kill_9_in_the_middle_of_work_leaves_every_statement_the_server_saw_in_the_journal() {
    let mut lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    for round in 0..ROUNDS {
        let mut working = Vec::new();
        for worker in 0..3 {
            let session = Arc::new(lab.open("shop-db", &token).await);
            working.push(tokio::spawn(async move {
                for number in 0.. {
                    let sql = format!("SELECT 1 AS marked_{round}_{worker}_{number} FROM orders LIMIT 1");
                    if session.client.simple_query(&sql).await.is_err() {
                        return;
                    }
                }
            }));
        }
        // Another moment each time; the workers go on while it dies.
        let marks = format!("marked_{round}_");
        let enough = 5 + 29 * round;
        while lab.server.log().matches(&marks).count() < enough {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        lab.gateway.kill_hard();
        for worker in working {
            worker.await.unwrap();
        }
        // What is left verifies as it is, and again when the next gateway has taken it up.
        verified(&lab).await;
        lab.restart().await;
        verified(&lab).await;
    }
    let seen = marked(&lab.server.log());
    let mut journalled = BTreeSet::new();
    let mut reader = read_dir(lab.data().join("journal"));
    while let Some(entry) = reader.read().unwrap() {
        if let AuditEvent::Decision(decision) = entry.event().unwrap() {
            journalled.extend(marked(&decision.text));
        }
    }
    assert!(seen.len() >= ROUNDS * 5, "the server saw work: {}", seen.len());
    let missing: Vec<_> = seen.difference(&journalled).collect();
    assert!(missing.is_empty(), "ran and not recorded: {missing:?}");
}

async fn verified(lab: &Lab) {
    let report = lab.cli(&["audit", "verify", "--output", "json"]).await.json();
    assert_eq!(report["verified"], true, "{report:#}");
}

/// Every `marked_…` word of a text.
fn marked(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("marked_")).map(str::to_owned).collect()
}
