//! `journal: { sync: strict }`: everything works, and what was answered is in the journal already.

use portcullis_core::AuditEvent;
use portcullis_testkit::drivers::SCHEMA;

use super::{Setup, Stage, client, drivers::JUDGED, rust};

const STRICT: &str = "journal: { sync: strict }";

#[tokio::test]
async fn sessions_work_where_every_event_is_forced_to_the_disk() {
    let connections: &[(&str, &str)] = &[("open", "'*:*'"), ("judged", JUDGED)];
    let mut stage =
        Stage::start(Setup { connections, sql: SCHEMA, process: STRICT, ..Setup::default() }).await;
    let token = stage.token().await;
    for connection in ["open", "judged"] {
        rust::scenario(&stage.target(connection, &token)).await;
    }
    let session = client::connect(&stage.target("judged", &token)).await.unwrap();
    session.query("SELECT 'the last one' FROM driver_scenario", &[]).await.unwrap();
    stage.gateway.kill_hard();
    let mut reader = portcullis_audit::read_dir(stage.gateway.data().join("journal"));
    let mut found = 0;
    while let Some(entry) = reader.read().unwrap() {
        match entry.event().unwrap() {
            AuditEvent::Decision(decision) if decision.text.contains("the last one") => found += 1,
            _ => {}
        }
    }
    assert_eq!((found, reader.torn()), (1, None));
    stage.gateway.restart().await;
    rust::scenario(&stage.target("judged", &token)).await;
}
