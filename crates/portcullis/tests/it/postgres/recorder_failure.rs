//! A recorder that cannot write: recorded sessions end and none begins, the others go on, and service returns with the folder.
//! And `kill -9` under recorded traffic: what can be read afterwards.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis_core::{AuditEvent, EndReason};
use serde_json::Value;

use super::{Setup, Stage, client};

const PATIENCE: Duration = Duration::from_secs(60);
const SQL: &str = "CREATE TABLE events (id int PRIMARY KEY, body text);
INSERT INTO events SELECT n, 'body of ' || n FROM generate_series(1, 5) n;";
/// A second connection whose sessions are not recorded.
const UNRECORDED: &str =
    "  - { connection: unrecorded, to: \"group:agents\", when: always, recorded: no, scope: '*:*' }\n";

async fn stage() -> Stage {
    let connections: &[(&str, &str)] = &[("shop", "'*:*'")];
    let setup =
        Setup { connections, on_request: "unrecorded", policy: UNRECORDED, sql: SQL, ..Setup::default() };
    Stage::start(setup).await
}

/// Tries until the session is ended: (severity, SQLSTATE, message). What is recorded may wait 50 ms before it is written.
async fn until_ended(client: &tokio_postgres::Client) -> (String, String, String) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Err(error) = client.simple_query("SELECT * FROM events").await {
            let told = error.as_db_error().unwrap_or_else(|| panic!("the client is told why: {error:?}"));
            return (told.severity().to_owned(), told.code().code().to_owned(), told.message().to_owned());
        }
        assert!(Instant::now() < deadline, "it goes on unrecorded");
    }
}

/// Opens a session once that works again.
async fn until_open(stage: &Stage, token: &str) -> tokio_postgres::Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client::connect(&stage.target("shop", token)).await {
            Ok(client) => return client,
            Err(error) => assert!(error.as_db_error().is_some(), "refused by protocol: {error:?}"),
        }
        assert!(Instant::now() < deadline, "it never recovered: {}", stage.gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Why sessions ended, by the journal.
fn ends(stage: &Stage) -> Vec<EndReason> {
    let mut ends = Vec::new();
    let mut reader = portcullis_audit::read_dir(stage.gateway.data().join("journal"));
    while let Some(entry) = reader.read().unwrap() {
        if let AuditEvent::SessionEnded { reason, .. } = entry.event().unwrap() {
            ends.push(reason);
        }
    }
    ends
}

async fn ready(stage: &Stage) -> String {
    let answer = stage.http().get(format!("{}/readyz", stage.gateway.web())).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test]
async fn recorded_sessions_end_and_none_begins_while_the_folder_cannot_be_written() {
    let mut stage = stage().await;
    let token = stage.token().await;
    let recorded = client::connect(&stage.target("shop", &token)).await.unwrap();
    let idle = client::connect(&stage.target("shop", &token)).await.unwrap();
    let unrecorded = client::connect(&stage.target("unrecorded", &token)).await.unwrap();
    recorded.simple_query("SELECT 'before' FROM events").await.unwrap();
    idle.simple_query("SELECT 'before' FROM events").await.unwrap();

    // Root may write where permissions forbid it; nobody writes into a folder that is a file.
    let folder = stage.gateway.data().join("recordings/open");
    let aside = folder.with_extension("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();

    let (severity, code, message) = until_ended(&recorded).await;
    assert_eq!((&*severity, &*code), ("FATAL", "57P01"), "{message}");
    assert!(message.contains("record"), "{message}");
    let (_, code, _) = until_ended(&idle).await;
    assert_eq!(code, "57P01", "one that has nothing to record ends too");
    let Err(refused) = client::connect(&stage.target("shop", &token)).await else {
        panic!("a session nobody could replay")
    };
    assert_eq!(refused.as_db_error().unwrap().severity(), "FATAL", "{refused:?}");
    unrecorded.simple_query("SELECT 'goes on' FROM events").await.unwrap();
    let another = client::connect(&stage.target("unrecorded", &token)).await.unwrap();
    another.simple_query("SELECT 'begins' FROM events").await.unwrap();
    let ready = ready(&stage).await;
    assert!(ready.contains("recording"), "{ready}");
    let not_recorded = ends(&stage).iter().filter(|end| matches!(end, EndReason::NotRecorded { .. })).count();
    assert_eq!(not_recorded, 2, "{:?}", ends(&stage));

    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let again = until_open(&stage, &token).await;
    again.simple_query("SELECT 'afterwards' FROM events").await.unwrap();
    unrecorded.simple_query("SELECT 'goes on' FROM events").await.unwrap();
    for session in [again, another, unrecorded] {
        drop(session);
    }
    assert!(stage.gateway.process().terminate().await.success());
    verified(&stage).await;
    // What was recorded before can be read, and says that it was cut short.
    let mut texts = String::new();
    for id in sessions(&stage) {
        texts.push_str(&exported(&stage, &id).await);
    }
    for kept in ["'before'", "'afterwards'"] {
        assert!(texts.contains(kept), "{kept} is not recorded:\n{texts}");
    }
    assert!(!texts.contains("'goes on'") && !texts.contains("'begins'"), "nobody asked to record that");
}

#[tokio::test]
async fn a_full_disk_under_one_recording_ends_its_session() {
    let mut stage = stage().await;
    let token = stage.token().await;
    let recorded = client::connect(&stage.target("shop", &token)).await.unwrap();
    recorded.simple_query("SELECT 'before' FROM events").await.unwrap();
    let folder = stage.gateway.data().join("recordings/open");
    let segment = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    // Every write to this device fails as on a full disk.
    let aside = stage.gateway.data().join("aside");
    std::fs::rename(&segment, &aside).unwrap();
    std::os::unix::fs::symlink("/dev/full", &segment).unwrap();
    let (severity, code, message) = until_ended(&recorded).await;
    assert_eq!((&*severity, &*code), ("FATAL", "57P01"), "{message}");
    std::fs::rename(&aside, &segment).unwrap();
    let again = until_open(&stage, &token).await;
    again.simple_query("SELECT 'afterwards' FROM events").await.unwrap();
    let why = ends(&stage);
    let told =
        why.iter().any(|end| matches!(end, EndReason::NotRecorded { detail } if detail.contains("space")));
    assert!(told, "the journal says why: {why:?}");
    drop(again);
    assert!(stage.gateway.process().terminate().await.success());
    verified(&stage).await;
}

#[tokio::test]
async fn kill_9_under_recorded_traffic_loses_no_more_than_a_second_of_a_recording() {
    const WRITERS: usize = 2;
    const ROUNDS: usize = 2;
    let mut stage = stage().await;
    let token = stage.token().await;
    let mut before_the_kill: Vec<(String, Instant)> = Vec::new();
    for round in 0..ROUNDS {
        let done = Arc::new(AtomicUsize::new(0));
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let client = client::connect(&stage.target("shop", &token)).await.unwrap();
            let done = Arc::clone(&done);
            writers.push(tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let marked = format!("marked_{round}_{writer}_{number}_");
                    let sql = format!("SELECT body AS {marked} FROM events ORDER BY id");
                    let answered = match number % 2 {
                        0 => client.simple_query(&sql).await.map(drop),
                        _ => client.query(&sql, &[]).await.map(drop),
                    };
                    if answered.is_err() {
                        break;
                    }
                    acknowledged.push((marked, Instant::now()));
                    done.fetch_add(1, Ordering::Relaxed);
                    // A pace at which what is recorded in a second can be looked through soon.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                acknowledged
            }));
        }
        // Long enough that some of it is older than what may be lost.
        let began = Instant::now();
        while done.load(Ordering::Relaxed) < 20 * (round + 1) || began.elapsed() < Duration::from_millis(1300)
        {
            assert!(began.elapsed() < PATIENCE, "nothing is answered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let killed = Instant::now();
        stage.gateway.kill_hard();
        for writer in writers {
            let all = writer.await.unwrap();
            before_the_kill.extend(all.into_iter().filter(|(_, at)| *at + Duration::from_secs(1) < killed));
        }
        // Before anything repairs it, and after the next start has sealed it.
        let read = everything_recorded(&stage).await;
        missing(&before_the_kill, &read);
        stage.gateway.restart().await;
        verified(&stage).await;
        missing(&before_the_kill, &everything_recorded(&stage).await);
    }
    assert!(before_the_kill.len() > WRITERS * ROUNDS, "something was recorded: {}", before_the_kill.len());
    let listed = stage.gateway.cli(&["sessions", "--all", "--output", "json"]).await;
    let listed: Value = serde_json::from_str(listed.ok()).unwrap();
    let lost = listed["rows"].as_array().unwrap().iter().filter(|row| row["state"] == "lost").count();
    assert_eq!(lost, WRITERS * ROUNDS, "{listed:#}");
}

#[track_caller]
fn missing(acknowledged: &[(String, Instant)], read: &str) {
    let missing: Vec<&str> =
        acknowledged.iter().map(|(marked, _)| &**marked).filter(|marked| !read.contains(marked)).collect();
    assert!(missing.is_empty(), "answered more than a second before the kill and not recorded: {missing:?}");
}

/// What the recordings of all sessions say, by the command line, from the files alone.
async fn everything_recorded(stage: &Stage) -> String {
    let mut read = String::new();
    for id in sessions(stage) {
        let exported = exported(stage, &id).await;
        // Rows are there, not statements alone.
        assert!(exported.contains("body of 5") || !exported.contains("\"done\""), "{exported}");
        read.push_str(&exported);
    }
    read
}

async fn exported(stage: &Stage, id: &str) -> String {
    let data = stage.gateway.data().display().to_string();
    let replayed = stage.gateway.cli(&["replay", id, "--instant", "--data", &data]).await;
    replayed.ok();
    stage.gateway.cli(&["export", id, "--data", &data]).await.ok().to_owned()
}

async fn verified(stage: &Stage) {
    let answer = stage.gateway.cli(&["audit", "verify", "--output", "json"]).await;
    let report: Value = serde_json::from_str(answer.ok()).unwrap();
    assert_eq!(report["verified"], true, "{report:#}");
}

/// The sessions that have a recording.
fn sessions(stage: &Stage) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut folders: Vec<PathBuf> = vec![stage.gateway.data().join("recordings")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let session = name.split('.').next().unwrap().to_owned();
            if session.starts_with("ses_") {
                names.push(session);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}
