//! Searching: every filter, pages, and words that look like syntax.

use portcullis_core::{AuditEvent, Verdict};
use portcullis_store::{AuditQuery, Order};

use crate::support::{Gateway, at, decision, session};

/// Two principals, two connections, every verdict; the texts found by `query`.
struct Filled {
    gateway: Gateway,
    first_session: portcullis_core::SessionId,
}

impl Filled {
    fn new() -> Self {
        let gateway = Gateway::new();
        let (one, two) = (session("triage-agent", "prod-logs"), session("sync-agent", "records"));
        for (number, verdict, text) in [
            (1, Verdict::Allow, "SELECT * FROM public.orders WHERE note = 'it''s 100% \"done\"'"),
            (2, Verdict::Deny, "DROP TABLE public.customers"),
            (3, Verdict::Hold, "UPDATE payments SET card_number = NULL"),
        ] {
            gateway.append(Some(&one), &[AuditEvent::Decision(decision(&one, number, verdict, text))]);
        }
        for (number, text) in
            [(10, "select straße from städte"), (11, "select a-b, c*d, e:f, (g) from t"), (12, "x")]
        {
            gateway.append(Some(&two), &[AuditEvent::Decision(decision(&two, number, Verdict::Allow, text))]);
        }
        gateway.ship();
        Self { gateway, first_session: one.facts().session }
    }

    /// The numbers of the decisions found, the first first.
    fn find(&self, query: AuditQuery) -> Vec<u64> {
        let query = AuditQuery { order: Order::OldestFirst, kind: Some("decision".to_owned()), ..query };
        let page = self.gateway.store.audit(&query).unwrap();
        page.rows.iter().map(|row| row.decision().unwrap().event.number).collect()
    }

    fn text(&self, text: &str) -> Vec<u64> {
        self.find(AuditQuery { text: Some(text.to_owned()), ..AuditQuery::default() })
    }
}

#[test]
fn every_filter_narrows() {
    let filled = Filled::new();
    let find = |query| filled.find(query);
    let default = AuditQuery::default;
    assert_eq!(find(default()), [1, 2, 3, 10, 11, 12]);
    assert_eq!(find(AuditQuery { connection: Some("records".to_owned()), ..default() }), [10, 11, 12]);
    for identity in
        ["triage-agent", "Triage-Agent", "oid-triage-agent", "app-triage-agent", "entra/t1/oid-triage-agent"]
    {
        assert_eq!(
            find(AuditQuery { identity: Some(identity.to_owned()), ..default() }),
            [1, 2, 3],
            "{identity}"
        );
    }
    for group in ["triage", "3fa8"] {
        assert_eq!(find(AuditQuery { identity: Some(group.to_owned()), ..default() }).len(), 6, "{group}");
    }
    for nobody in ["triage-", "%", "", "triage-agent' OR '1'='1"] {
        assert_eq!(find(AuditQuery { identity: Some(nobody.to_owned()), ..default() }), [0; 0], "{nobody}");
    }
    assert_eq!(find(AuditQuery { from: Some(at(2)), until: Some(at(11)), ..default() }), [2, 3, 10]);
    assert_eq!(find(AuditQuery { decision: Some(Verdict::Deny), ..default() }), [2]);
    assert_eq!(find(AuditQuery { decision: Some(Verdict::Allow), ..default() }), [1, 10, 11, 12]);
    assert_eq!(find(AuditQuery { rule: Some("the hold rule".to_owned()), ..default() }), [3]);
    assert_eq!(find(AuditQuery { rule: Some("guardrail".to_owned()), ..default() }), [2, 3]);
    assert_eq!(find(AuditQuery { session: Some(filled.first_session), ..default() }), [1, 2, 3]);
    let narrow = AuditQuery {
        connection: Some("prod-logs".to_owned()),
        identity: Some("triage".to_owned()),
        text: Some("table".to_owned()),
        decision: Some(Verdict::Deny),
        session: Some(filled.first_session),
        ..default()
    };
    assert_eq!(find(narrow), [2]);
}

#[test]
fn text_is_found_inside_words_in_any_case_in_statement_and_reason() {
    let filled = Filled::new();
    assert_eq!(filled.text("drop table"), [2]);
    assert_eq!(filled.text("TABLE drop"), [2]);
    assert_eq!(filled.text("\"table drop\""), [0; 0]);
    assert_eq!(filled.text("\"DROP TABLE public.cust\""), [2]);
    assert_eq!(filled.text("ard_numb"), [3]);
    assert_eq!(filled.text("go through migrations"), [2]);
    assert_eq!(filled.text("STÄDTE"), [10]);
    assert_eq!(filled.text("nowhere"), [0; 0]);
    assert_eq!(filled.text("  "), [1, 2, 3, 10, 11, 12]);
}

#[test]
fn words_too_short_for_the_index_are_found_too() {
    let filled = Filled::new();
    assert_eq!(filled.text("x"), [12]);
    assert_eq!(filled.text("0%"), [1]);
    assert_eq!(filled.text("_n"), [3]);
    assert_eq!(filled.text("ß"), [10]);
    assert_eq!(filled.text("x select"), [0; 0]);
    assert_eq!(filled.text("pa update"), [3]);
}

#[test]
fn words_that_look_like_syntax_are_words() {
    let filled = Filled::new();
    for (text, found) in [
        ("\"done\"'", vec![1]),
        ("'it''s", vec![1]),
        ("100%", vec![1]),
        ("a-b", vec![11]),
        ("c*d", vec![11]),
        ("e:f", vec![11]),
        ("(g)", vec![11]),
        ("select*", vec![]),
        ("drop OR select", vec![]),
        ("drop NOT customers", vec![]),
        ("NEAR(drop table)", vec![]),
        ("text:drop", vec![]),
        ("{text reason}:drop", vec![]),
        ("^DROP", vec![]),
        ("drop AND table", vec![]),
        ("\"", vec![1]),
        ("\"\"\"", vec![1]),
        ("a\"b", vec![]),
        ("drop\0table", vec![2]),
        ("\"drop\0\"", vec![2]),
        ("'; DROP TABLE events; --", vec![]),
        ("\\", vec![]),
        ("%%%", vec![]),
        ("___", vec![]),
    ] {
        assert_eq!(filled.text(text), found, "{text:?}");
    }
}

#[test]
fn pages_follow_each_other_without_gap_or_overlap_in_both_orders() {
    let filled = Filled::new();
    let store = &filled.gateway.store;
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let whole = store.audit(&AuditQuery { order, ..AuditQuery::default() }).unwrap();
        assert_eq!(whole.next, None);
        assert_eq!(whole.rows.is_sorted_by_key(|row| row.sequence), order == Order::OldestFirst);
        for limit in 1..=9 {
            let (mut rows, mut cursor) = (Vec::new(), None);
            loop {
                let query = AuditQuery { order, limit: Some(limit), cursor, ..AuditQuery::default() };
                let page = store.audit(&query).unwrap();
                assert!(page.rows.len() <= limit as usize);
                rows.extend(page.rows);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(rows, whole.rows, "{order:?} {limit}");
        }
    }
}

#[test]
fn a_query_reads_back_from_json_and_refuses_unknown_keys() {
    let query =
        AuditQuery { decision: Some(Verdict::Deny), order: Order::OldestFirst, ..AuditQuery::default() };
    let json = serde_json::to_string(&query).unwrap();
    assert_eq!(serde_json::from_str::<AuditQuery>(&json).unwrap(), query);
    assert!(serde_json::from_str::<AuditQuery>(r#"{"verdict":"deny"}"#).is_err());
}
