use serde_json::{Value, json};

use super::*;

/// A request as the gateway tells it, with some of it changed.
pub(crate) fn request(changes: Value) -> RequestView {
    let mut request = json!({
        "id": "req_01a204ddda9176c79500357802d81e70", "kind": "window", "state": "pending",
        "requester": {
            "key": "entra/t/77aa", "name": "deploy-agent", "kind": "agent", "roles": [],
            "groups": [{ "id": "3fa8", "name": "deploy-agents" }, { "id": "9c02" }],
        },
        "connection": "orders-db", "source": "10.0.0.7:5000", "client": "psql", "reason": "INC-1432",
        "needs": [{ "rule": { "kind": "grant", "name": "deploys", "location": "policy.yaml:26" }, "approvers": ["group:oncall", "group:leads"], "approvals": 2, "given": 1 }],
        "filed_at": "2026-11-22T20:00:00Z", "answer_by": "2026-11-22T21:00:00Z", "policy": "1", "can_answer": true,
        "lifetime_seconds": 1800, "scope": ["read:*"],
    });
    let object = request.as_object_mut().unwrap();
    object.extend(changes.as_object().unwrap().clone());
    serde_json::from_value(request).unwrap()
}

fn operation() -> Value {
    json!({
        "session": "ses_01a204ddda9176c79500357802d81e71", "mode": "live", "statement": "update", "qualified": false,
        "text": "UPDATE orders\nSET total = $1 -- \u{202e}harmless\u{1b}[2J", "resources": [], "hash": "00ff", "in_transaction": true,
        "binds": [
            { "position": 1, "type": "int4", "value": "5" },
            { "position": 2, "type": "text", "value": "long\ntext", "cut": true },
            { "position": 3, "type": "text", "null": true },
        ],
    })
}

fn shown(request: &RequestView) -> String {
    show::lines(request, "2026-11-22T20:15:00Z".parse().unwrap()).join("\n")
}

#[test]
fn a_request_for_a_window_is_shown_whole() {
    let votes = json!([{ "by": "k", "name": "sam", "at": "2026-11-22T20:05:00Z", "answer": "approve", "note": "fine", "through": "cli" }]);
    insta::assert_snapshot!(shown(&request(json!({ "votes": votes }))));
}

#[test]
fn a_held_statement_is_shown_as_it_runs_and_nothing_in_it_hides() {
    let radius = json!({
        "state": "ready", "estimated_rows": 12000, "plan": "Update on orders  (cost=0.00..1.00)\n  ->  Seq Scan on orders",
        "tables": [{ "table": "public.orders", "columns": ["total"], "verb": "write" }], "not_counted": "its function `f` has side effects",
        "before": { "columns": ["id", "note"], "rows": [["1", null], ["2", "a\u{200b}b"]] },
    });
    let held = request(json!({ "kind": "operation", "operation": operation(), "blast_radius": radius }));
    insta::assert_snapshot!(shown(&held));
    let row = row(&held).join(" | ");
    assert!(row.contains("<U+202E>") && row.contains("<U+001B>") && !row.contains('\u{1b}'), "{row}");
}

#[test]
fn a_commit_that_waits_shows_what_ran() {
    let mut operation = operation();
    operation["rows"] = 343.into();
    operation["binds"] = json!([]);
    operation["statements"] = json!([
        { "number": 2, "text": "UPDATE orders\n  SET state = 'open'", "rows": 343 }, { "number": 3, "text": "SELECT 1" },
    ]);
    let waits = request(json!({
        "kind": "commit", "operation": operation, "can_answer": false, "why_not": "you asked for it yourself",
        "blast_radius": { "state": "unavailable", "why": "it is a commit" },
    }));
    insta::assert_snapshot!(shown(&waits));
    assert_eq!(what(&waits), "commit of 343 rows");
}

#[test]
fn a_line_says_what_waits_and_what_you_can_do() {
    let word = |changes: Value| row(&request(changes)).pop().unwrap();
    assert_eq!(word(json!({})), "answer");
    assert_eq!(word(json!({ "can_answer": false })), "-");
    assert_eq!(word(json!({ "needs_review": true, "state": "approved" })), "review");
    assert_eq!(what(&request(json!({}))), "window of 30m: read:*");
    let long = "SELECT ".repeat(30);
    let mut operation = operation();
    operation["text"] = long.into();
    let cut = what(&request(json!({ "operation": operation, "kind": "operation" })));
    assert!(cut.chars().count() == 60 && cut.ends_with('…'), "{cut}");
}

#[test]
fn what_hides_in_a_statement_is_shown() {
    assert_eq!(show::visible("a\u{202e}b\u{200b}c\x1b[2J\td"), "a<U+202E>b<U+200B>c<U+001B>[2J    d");
    assert_eq!(show::visible("größe = 'ö'"), "größe = 'ö'");
}
