use super::*;
use crate::Store;

/// How SQLite would answer `query`.
fn plan(query: &AuditQuery) -> String {
    plan_of(query.sql(100))
}

fn plan_of((filter, sql): (Filter, String)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("portcullis.db"), Timestamp::default()).unwrap();
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let steps = store.read(|connection| filter.rows(connection, &sql, (), |row, ()| row.get::<_, String>(3)));
    steps.unwrap().join("\n")
}

#[test]
fn common_questions_read_in_order_from_an_index() {
    let default = AuditQuery::default;
    let all = plan(&default());
    assert!(all.contains("SCAN e\n") && !all.contains("TEMP B-TREE"), "{all}");
    let session = Some(SessionId::generate(Timestamp::default()));
    let moment = Some(Timestamp::default());
    for (index, query) in [
        ("events_by_connection", AuditQuery { connection: Some("a".to_owned()), ..default() }),
        ("events_not_allowed", AuditQuery { decision: Some(Verdict::Deny), ..default() }),
        ("events_by_session", AuditQuery { session, ..default() }),
        ("events_by_principal", AuditQuery { identity: Some("a".to_owned()), ..default() }),
        ("events_by_shape", AuditQuery { text: Some("drop".to_owned()), ..default() }),
        ("events_by_time", AuditQuery { from: moment, until: moment, ..default() }),
    ] {
        let plan = plan(&query);
        assert!(plan.contains(index), "{plan}");
    }
}

#[test]
fn common_questions_read_runs_in_order_from_an_index() {
    let default = AuditQuery::default;
    let session = Some(SessionId::generate(Timestamp::default()));
    let moment = Some(Timestamp::default());
    for (index, query) in [
        ("SCAN r", default()),
        ("runs_by_connection", AuditQuery { connection: Some("a".to_owned()), ..default() }),
        ("runs_by_session", AuditQuery { session, ..default() }),
        ("runs_by_principal", AuditQuery { identity: Some("a".to_owned()), ..default() }),
        ("runs_by_time", AuditQuery { from: moment, until: moment, ..default() }),
        ("INTEGER PRIMARY KEY", AuditQuery { cursor: Some(7), ..default() }),
    ] {
        let plan = plan_of(query.runs_sql());
        assert!(plan.contains(index), "{index}: {plan}");
    }
}

#[test]
fn what_a_later_version_wrote_is_an_object_whatever_it_was() {
    assert_eq!(unknown("a", r#"{"b":1}"#), serde_json::json!({ "b": 1 }));
    assert_eq!(unknown("a", "[1]"), serde_json::json!({ "event": "a", "value": [1] }));
    assert_eq!(unknown("a", "\u{1}"), serde_json::json!({ "event": "a", "value": "\u{1}" }));
}
