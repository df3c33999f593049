//! Sessions as the index tells them.

use portcullis_core::{AuditEvent, EndReason, Verb, Verdict, decision::DecisionEvent};
use portcullis_store::{Ending, SessionQuery, SessionRow, Sessions};

use crate::support::{Gateway, at, decision, ended, session};

fn find(gateway: &Gateway, query: SessionQuery) -> Vec<SessionRow> {
    gateway.store.sessions(&query).unwrap().rows
}

#[test]
fn a_session_is_live_until_it_ends_and_its_decisions_are_counted() {
    let gateway = Gateway::new();
    let session = session("a", "logs");
    let verdicts = [Verdict::Allow, Verdict::Allow, Verdict::Hold, Verdict::Deny];
    for (number, verdict) in (1..).zip(verdicts) {
        gateway.append(Some(&session), &[AuditEvent::Decision(decision(&session, number, verdict, "x"))]);
    }
    gateway.ship();
    let live = SessionQuery { which: Sessions::Live, ..SessionQuery::default() };
    let rows = find(&gateway, live.clone());
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].allowed, rows[0].held, rows[0].denied), (2, 1, 1));
    assert_eq!((&rows[0].ending, rows[0].facts.as_ref()), (&Ending::Open, Some(session.facts())));

    gateway.append(Some(&session), &[ended(&session, 9)]);
    gateway.ship();
    assert_eq!(find(&gateway, live), []);
    let rows = find(&gateway, SessionQuery::default());
    assert_eq!(rows[0].ending, Ending::Ended { at: at(9), reason: EndReason::ClientQuit });
    assert_eq!((rows[0].bytes_in, rows[0].bytes_out), (10, 20));
}

#[test]
fn a_refused_attempt_is_no_live_session() {
    let gateway = Gateway::new();
    let session = session("a", "logs");
    let refusal =
        DecisionEvent { at: at(3), verb: Verb::Connect, ..decision(&session, 0, Verdict::Deny, "") };
    gateway.append(Some(&session), &[AuditEvent::Decision(refusal)]);
    gateway.ship();
    assert_eq!(find(&gateway, SessionQuery::default())[0].ending, Ending::Refused { at: at(3) });
    let live = SessionQuery { which: Sessions::Live, ..SessionQuery::default() };
    assert_eq!(find(&gateway, live), []);
}

#[test]
fn a_session_that_was_refused_a_connect_later_on_is_still_live() {
    let gateway = Gateway::new();
    let session = session("a", "logs");
    let connects = [(0, Verdict::Allow), (1, Verdict::Deny)].map(|(number, verdict)| {
        AuditEvent::Decision(DecisionEvent { verb: Verb::Connect, ..decision(&session, number, verdict, "") })
    });
    gateway.append(Some(&session), &connects);
    gateway.ship();
    assert_eq!(find(&gateway, SessionQuery::default())[0].ending, Ending::Open);
}

#[test]
fn sessions_open_when_the_gateway_died_are_lost_when_it_starts_again() {
    let gateway = Gateway::new();
    let (before, after) = (session("before", "logs"), session("after", "logs"));
    gateway.append(Some(&before), &[AuditEvent::Decision(decision(&before, 1, Verdict::Allow, "x"))]);
    gateway.append(
        None,
        &[AuditEvent::GatewayStarted { at: at(50), version: "1".to_owned(), recovered_bytes: 0 }],
    );
    gateway.append(Some(&after), &[AuditEvent::Decision(decision(&after, 1, Verdict::Allow, "x"))]);
    gateway.ship();
    let endings: Vec<_> = find(&gateway, SessionQuery::default()).into_iter().map(|row| row.ending).collect();
    assert_eq!(endings, [Ending::Open, Ending::Lost { at: at(50) }]);
}

#[test]
fn sessions_are_found_by_connection_and_identity_page_by_page() {
    let gateway = Gateway::new();
    for number in 0..10 {
        let name = format!("agent-{number}");
        let session = session(&name, if number % 2 == 0 { "logs" } else { "records" });
        gateway.append(Some(&session), &[AuditEvent::Decision(decision(&session, 1, Verdict::Allow, "x"))]);
    }
    gateway.ship();
    assert_eq!(
        find(&gateway, SessionQuery { connection: Some("logs".to_owned()), ..SessionQuery::default() }).len(),
        5
    );
    for identity in ["agent-3", "app-agent-3", "oid-agent-3"] {
        let query = SessionQuery { identity: Some(identity.to_owned()), ..SessionQuery::default() };
        assert_eq!(find(&gateway, query).len(), 1, "{identity}");
    }
    assert_eq!(
        find(&gateway, SessionQuery { identity: Some("triage".to_owned()), ..SessionQuery::default() }).len(),
        10
    );
    assert_eq!(find(&gateway, SessionQuery { until: Some(at(0)), ..SessionQuery::default() }), []);

    let whole = find(&gateway, SessionQuery::default());
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = gateway
            .store
            .sessions(&SessionQuery { limit: Some(3), cursor, ..SessionQuery::default() })
            .unwrap();
        rows.extend(page.rows);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(rows, whole);
}
