use super::*;
use crate::Store;

#[test]
fn words_are_split_at_space_and_kept_whole_in_quotes() {
    assert_eq!(words(" drop  table "), ["drop", "table"]);
    assert_eq!(words("\"drop  table\""), ["drop  table"]);
    assert_eq!(words("\""), ["\""]);
    assert_eq!(words("a\0b"), ["a", "b"]);
    assert_eq!(words("\"\""), [""; 0]);
}

#[test]
fn nothing_in_a_phrase_is_syntax() {
    assert_eq!(fts_phrase("a\" OR b*"), "\"a\"\" OR b*\"");
}

#[test]
fn nothing_in_a_pattern_is_a_wildcard() {
    assert_eq!(like_pattern("%_\\"), "%\\%\\_\\\\%");
}

/// How SQLite would answer `query`.
fn plan(query: &AuditQuery) -> String {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("portcullis.db"), Timestamp::default()).unwrap();
    let (filter, sql) = query.sql(100);
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
fn what_a_later_version_wrote_is_an_object_whatever_it_was() {
    assert_eq!(unknown("a", r#"{"b":1}"#), serde_json::json!({ "b": 1 }));
    assert_eq!(unknown("a", "[1]"), serde_json::json!({ "event": "a", "value": [1] }));
    assert_eq!(unknown("a", "\u{1}"), serde_json::json!({ "event": "a", "value": "\u{1}" }));
}
