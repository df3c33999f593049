//! A disk that takes no more: sessions end rather than go unrecorded, and service returns with the space.
//!
//! The limit on the size of files (RLIMIT_FSIZE) stands in for the full disk: it needs no privilege, can be set and lifted
//! under a running process, and every write past it fails. The signal that comes with it is ignored from outside.

use std::{
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use portcullis_core::AuditEvent;
use portcullis_testkit::{Scratch, drivers::DriverTarget};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::{Setup, Stage, client};

const TABLE: &str = "CREATE TABLE written (value text PRIMARY KEY);";

#[tokio::test]
async fn sessions_end_rather_than_go_unrecorded_on_a_full_disk() {
    for sync in ["fast", "strict"] {
        full_disk(sync).await;
    }
}

async fn full_disk(sync: &str) {
    let home = Scratch::new();
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_portcullis"));
    let program = home.write("portcullis", script);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let process = format!("journal: {{ sync: {sync} }}");
    let connections: &[(&str, &str)] = &[("shop", "['read:public.*', 'write:public.*']"), ("open", "'*:*'")];
    let setup = Setup { connections, sql: TABLE, process: &process, ..Setup::default() };
    let mut stage =
        Stage::start_with(setup, |options| portcullis_testkit::GatewayOptions { program, ..options }).await;
    let token = stage.token().await;
    let target = stage.target("shop", &token);
    let (simple, simple_end) = session(&target).await;
    let (prepared, prepared_end) = session(&target).await;
    let insert = prepared.prepare("INSERT INTO written VALUES ($1)").await.unwrap();
    let (in_transaction, transaction_end) = session(&stage.target("open", &token)).await;
    in_transaction
        .batch_execute("BEGIN; INSERT INTO written VALUES ('in an open transaction')")
        .await
        .unwrap();
    simple.batch_execute("INSERT INTO written VALUES ('before')").await.unwrap();
    prepared.execute(&insert, &[&"before, bound"]).await.unwrap();
    assert_eq!(ready(&stage).await.0, 200);

    let id = stage.gateway.process().id();
    limit(id, "0:unlimited");
    let ended = [
        simple.batch_execute("INSERT INTO written VALUES ('unrecorded')").await,
        prepared.execute(&insert, &[&"unrecorded, bound"]).await.map(drop),
        in_transaction.batch_execute("COMMIT /* unrecorded */").await,
    ];
    for (result, end) in ended.into_iter().zip([simple_end, prepared_end, transaction_end]) {
        let mut error = result.unwrap_err();
        if error.as_db_error().is_none() {
            // The recorder found out first, and the session was over before the statement was sent.
            error = end.await.unwrap().unwrap_err();
        }
        let told = error.as_db_error().unwrap_or_else(|| panic!("the client is told why: {error:?}"));
        assert_eq!((told.severity(), told.code().code()), ("FATAL", "57P01"), "{told:?}");
        assert!(told.message().contains("cannot record"), "{told:?}");
    }
    let Err(refused) = client::connect(&target).await else { panic!("a session nobody could account for") };
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.severity(), "FATAL", "{refused:?}");
    let (status, body) = ready(&stage).await;
    assert_eq!((status, &body["ready"]), (503, &Value::Bool(false)), "{body}");
    assert!(body["journal"].as_str().unwrap().contains("takes no events since"), "{body}");
    assert!(!stage.server.saw("unrecorded"), "nothing unrecorded reached the server");

    limit(id, "unlimited:unlimited");
    let deadline = Instant::now() + Duration::from_secs(60);
    while ready(&stage).await.0 != 200 {
        assert!(Instant::now() < deadline, "it never recovered: {}", stage.gateway.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again = client::connect(&target).await.unwrap();
    again.batch_execute("INSERT INTO written VALUES ('afterwards')").await.unwrap();
    let rows = stage.server.execute_in("shop", "SELECT value FROM written ORDER BY value").await;
    assert_eq!(rows, "afterwards\nbefore\nbefore, bound", "the open transaction was rolled back");

    let mut texts = Vec::new();
    let mut reader = portcullis_audit::read_dir(stage.gateway.data().join("journal"));
    while let Some(entry) = reader.read().unwrap() {
        if let AuditEvent::Decision(decision) = entry.event().unwrap() {
            texts.push(decision.text.to_string());
        }
    }
    assert!(
        texts.iter().any(|text| text.contains("'before'"))
            && texts.iter().any(|text| text.contains("'afterwards'"))
    );
    assert!(
        !texts.iter().any(|text| text.contains("unrecorded")),
        "what was not let through is not recorded as if it had been"
    );
    // The index is a moment behind.
    let search = ["audit", "search", "--text", "afterwards", "--output", "json"];
    while !stage.gateway.cli(&search).await.ok().contains("afterwards") {
        assert!(Instant::now() < deadline, "what is in the journal is never found: {}", stage.gateway.log());
    }
}

/// A session, and how it ends.
async fn session(target: &DriverTarget) -> (Client, JoinHandle<Result<(), tokio_postgres::Error>>) {
    let (client, connection) = client::open(target).await.unwrap();
    (client, tokio::spawn(connection))
}

/// Sets the soft and hard limit on the size of files of a running process.
pub fn limit(id: u32, limits: &str) {
    let status = Command::new("prlimit").arg(format!("--pid={id}")).arg(format!("--fsize={limits}")).status();
    assert!(status.unwrap().success());
}

/// What `/readyz` answers: status and body.
async fn ready(stage: &Stage) -> (u16, Value) {
    let answer = stage.http().get(format!("{}/readyz", stage.gateway.web())).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}
