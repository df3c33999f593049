//! A recorder that cannot write: recorded sessions end and none begins, the others go on, and service returns with the folder.
//! And `kill -9` under recorded traffic: what can be read afterwards.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis_core::{AuditEvent, EndReason};
use portcullis_testkit::{GatewayOptions, Scratch};
use serde_json::Value;

use super::{Setup, Stage, client, journal_failure::limit};

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

/// A session whose end is heard, whether or not something is asked at that moment.
struct Watched {
    client: tokio_postgres::Client,
    ended: tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Watched {
    async fn open(stage: &Stage, token: &str) -> Self {
        let (client, connection) = client::open(&stage.target("shop", token)).await.unwrap();
        Self { client, ended: tokio::spawn(connection) }
    }

    /// Asks until the session is ended: what its client was told. What is recorded may wait 50 ms before it is written.
    async fn asks_until_ended(self, sql: &str) -> (String, String, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.client.simple_query(sql).await {
                Err(error) if error.as_db_error().is_some() => return told(&error),
                Err(_) => return self.ends().await,
                Ok(_) => assert!(Instant::now() < deadline, "it goes on unrecorded"),
            }
        }
    }

    /// Waits for its end without asking anything.
    async fn ends(self) -> (String, String, String) {
        let ended = tokio::time::timeout(PATIENCE, self.ended).await.expect("it is never ended");
        told(&ended.unwrap().expect_err("an end with a reason"))
    }
}

/// (severity, SQLSTATE, message)
#[track_caller]
fn told(error: &tokio_postgres::Error) -> (String, String, String) {
    let told = error.as_db_error().unwrap_or_else(|| panic!("the client is told why: {error:?}"));
    (told.severity().to_owned(), told.code().code().to_owned(), told.message().to_owned())
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
    let recorded = Watched::open(&stage, &token).await;
    let idle = Watched::open(&stage, &token).await;
    let unrecorded = client::connect(&stage.target("unrecorded", &token)).await.unwrap();
    recorded.client.simple_query("SELECT 'before' FROM events").await.unwrap();
    idle.client.simple_query("SELECT 'before' FROM events").await.unwrap();

    // Once it is in the files it stays there, whatever becomes of the folder.
    let deadline = Instant::now() + PATIENCE;
    while everything_exported(&stage).await.matches("'before'").count() < 2 {
        assert!(Instant::now() < deadline, "it was never written");
    }

    // Root may write where permissions forbid it; nobody writes into a folder that is a file.
    let folder = stage.gateway.data().join("recordings/open");
    let aside = folder.with_extension("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();

    let (severity, code, message) = recorded.asks_until_ended("SELECT * FROM events").await;
    assert_eq!((&*severity, &*code), ("FATAL", "57P01"), "{message}");
    assert!(message.contains("record"), "{message}");
    let (severity, code, message) = idle.ends().await;
    assert_eq!(
        (&*severity, &*code),
        ("FATAL", "57P01"),
        "one that has nothing to record ends too: {message}"
    );
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
    let texts = everything_exported(&stage).await;
    for kept in ["'before'", "'afterwards'"] {
        assert!(texts.contains(kept), "{kept} is not recorded:\n{texts}");
    }
    assert!(!texts.contains("'goes on'") && !texts.contains("'begins'"), "nobody asked to record that");
}

#[tokio::test]
async fn a_recording_that_finds_no_room_ends_its_session() {
    // A limit on the size of files stands in for the disk: the signal that comes with it is ignored from outside.
    let home = Scratch::new();
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_portcullis"));
    let program = home.write("portcullis", script);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let setup = Setup { connections: &[("shop", "'*:*'")], sql: SQL, ..Setup::default() };
    let mut stage = Stage::start_with(setup, |options| GatewayOptions { program, ..options }).await;
    let token = stage.token().await;
    let recorded = Watched::open(&stage, &token).await;
    recorded.client.simple_query("SELECT 'before' FROM events").await.unwrap();
    let id = stage.gateway.process().id();
    // Journal and store are far from a megabyte, rows are not.
    limit(id, "1048576:unlimited");
    let wide = "SELECT repeat('x', 100000) FROM generate_series(1, 9)";
    let (severity, code, message) = recorded.asks_until_ended(wide).await;
    assert_eq!((&*severity, &*code), ("FATAL", "57P01"), "{message}");
    limit(id, "unlimited:unlimited");
    let again = until_open(&stage, &token).await;
    again.simple_query("SELECT 'afterwards' FROM events").await.unwrap();
    let why = ends(&stage);
    let told =
        |end: &EndReason| matches!(end, EndReason::NotRecorded { detail } if detail.contains("too large"));
    assert!(why.iter().any(told), "the journal says why: {why:?}");
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

async fn everything_exported(stage: &Stage) -> String {
    let mut texts = String::new();
    for id in sessions(stage) {
        texts.push_str(&exported(stage, &id).await);
    }
    texts
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
