//! Allowed decisions are stored many in a row: every search finds what looking at each event would.

use portcullis_core::{AuditEvent, Verdict, decision::DecisionEvent};
use portcullis_store::{AuditQuery, Order, SessionQuery};

use crate::support::{Gateway, at, decision, session};

/// Decisions of three sessions, interleaved, in batches of several lengths; what was written, in order.
struct Mixed {
    gateway: Gateway,
    written: Vec<DecisionEvent>,
    connections: Vec<String>,
    first: portcullis_core::SessionId,
}

impl Mixed {
    fn new() -> Self {
        let gateway = Gateway::new();
        let sessions = [session("one", "logs"), session("two", "logs"), session("three", "records")];
        let (mut written, mut connections) = (Vec::new(), Vec::new());
        for number in 0..600_u64 {
            let from = &sessions[usize::try_from(number * 7 % 3).unwrap()];
            let (verdict, text) = match number % 10 {
                0 => (Verdict::Deny, format!("DROP TABLE t{number}")),
                1 => (Verdict::Allow, "begin".to_owned()),
                2 => (Verdict::Allow, format!("select 'naïve {number}'")),
                3 => (Verdict::Allow, format!("update T set a = 'it''s {number}', b = {}.5", number * 3)),
                4 => (Verdict::Allow, "select $1 from \"Quoted\"".to_owned()),
                5 => (Verdict::Allow, String::new()),
                6 => (Verdict::Allow, format!("select '\u{1}', {number}")),
                _ => (Verdict::Allow, format!("SELECT abalance FROM accounts WHERE aid = {};", number % 97)),
            };
            // Times do not always follow the order of the journal.
            let event = DecisionEvent {
                at: at((number ^ 1).cast_signed()),
                binds: (number % 4 == 0).then(|| format!("{number:032x}")),
                ..decision(from, number, verdict, &text)
            };
            gateway.append(Some(from), &[AuditEvent::Decision(event.clone())]);
            connections.push(from.facts().connection.as_ref().unwrap().to_string());
            written.push(event);
            if [3, 50, 51, 300, 599].contains(&number) {
                gateway.ship();
            }
        }
        let first = sessions[0].facts().session;
        Self { gateway, written, connections, first }
    }

    fn expected(&self, is: impl Fn(&DecisionEvent, &str) -> bool) -> Vec<DecisionEvent> {
        let all = self.written.iter().zip(&self.connections);
        all.filter(|(event, connection)| is(event, connection)).map(|(event, _)| event.clone()).collect()
    }

    /// Every page of `query`, in both orders, must be `expected`.
    fn check(&self, what: &str, query: AuditQuery, expected: &[DecisionEvent]) {
        for (order, limit) in [
            (Order::OldestFirst, 1000),
            (Order::NewestFirst, 1000),
            (Order::OldestFirst, 7),
            (Order::NewestFirst, 7),
            (Order::NewestFirst, 1),
        ] {
            let (mut found, mut cursor) = (Vec::new(), None);
            loop {
                let kind = Some("decision".to_owned());
                let query = AuditQuery { order, limit: Some(limit), cursor, kind, ..query.clone() };
                let page = self.gateway.store.audit(&query).unwrap();
                found.extend(page.rows.iter().map(|row| row.decision().unwrap().event));
                cursor = page.next;
                if cursor.is_none() || found.len() > 40 && limit < 10 {
                    break;
                }
            }
            let mut expected = expected.to_vec();
            if order == Order::NewestFirst {
                expected.reverse();
            }
            if limit < 10 {
                expected.truncate(found.len());
            }
            assert_eq!(found, expected, "{what} {order:?} {limit}");
        }
    }
}

#[test]
fn every_search_finds_what_looking_at_each_event_would() {
    let mixed = Mixed::new();
    let default = AuditQuery::default;
    mixed.check("all", default(), &mixed.expected(|_, _| true));
    mixed.check(
        "connection",
        AuditQuery { connection: Some("logs".to_owned()), ..default() },
        &mixed.expected(|_, connection| connection == "logs"),
    );
    mixed.check(
        "identity",
        AuditQuery { identity: Some("oid-three".to_owned()), ..default() },
        &mixed.expected(|_, connection| connection == "records"),
    );
    mixed.check(
        "session",
        AuditQuery { session: Some(mixed.first), ..default() },
        &mixed.expected(|event, _| event.session == mixed.first),
    );
    mixed.check(
        "time",
        AuditQuery { from: Some(at(100)), until: Some(at(333)), ..default() },
        &mixed.expected(|event, _| event.at >= at(100) && event.at < at(333)),
    );
    for verdict in [Verdict::Allow, Verdict::Deny, Verdict::Hold] {
        mixed.check(
            "decision",
            AuditQuery { decision: Some(verdict), ..default() },
            &mixed.expected(|event, _| event.decision == verdict),
        );
    }
    mixed.check(
        "rule",
        AuditQuery { rule: Some("the allow rule".to_owned()), ..default() },
        &mixed.expected(|event, _| event.decision == Verdict::Allow),
    );
    for word in [
        "aid = 42",
        "42;",
        "T42",
        "abalance",
        "FROM ACCOUNTS",
        "naïve",
        "NAÏVE 12",
        "scope",
        "it''s 13",
        "9.5",
        "= 1",
        "5",
        "t3",
        "beg",
        "$1",
        "quoted",
        "begin select",
        "\u{1}",
        "nowhere",
        "T set a = 'it",
    ] {
        let query = AuditQuery { text: Some(format!("\"{word}\"")), ..default() };
        let folded = word.to_lowercase();
        let expected = mixed.expected(|event, _| {
            event.text.to_lowercase().contains(&folded) || event.reason.to_lowercase().contains(&folded)
        });
        mixed.check(word, query, &expected);
    }
    mixed.check(
        "several",
        AuditQuery {
            connection: Some("logs".to_owned()),
            text: Some("accounts 12;".to_owned()),
            from: Some(at(100)),
            decision: Some(Verdict::Allow),
            ..default()
        },
        &mixed.expected(|event, connection| {
            connection == "logs"
                && event.text.contains("accounts")
                && event.text.contains("12;")
                && event.at >= at(100)
        }),
    );
}

#[test]
fn sessions_are_found_by_what_was_said_in_them() {
    let mixed = Mixed::new();
    for text in [
        "aid = 42",
        "it''s 13",
        "begin",
        "naïve",
        "5",
        "t3",
        "\"aid = 42; \"",
        "abalance begin",
        "abalance 42",
    ] {
        let query = SessionQuery { text: Some(text.to_owned()), ..SessionQuery::default() };
        let page = mixed.gateway.store.sessions(&query).unwrap();
        let mut found: Vec<_> = page.rows.into_iter().map(|row| row.session).collect();
        let words: Vec<_> = match text.strip_prefix('"') {
            Some(whole) => vec![whole.trim_end_matches('"')],
            None => text.split(' ').collect(),
        };
        let holds = |event: &DecisionEvent, word: &&str| {
            event.text.to_lowercase().contains(&word.to_lowercase()) || event.reason.contains(*word)
        };
        let events = mixed.expected(|event, _| words.iter().all(|word| holds(event, word)));
        let mut expected: Vec<_> = events.iter().map(|event| event.session).collect();
        expected.sort_unstable();
        expected.dedup();
        found.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn what_repeats_is_stored_once() {
    let mixed = Mixed::new();
    let outside = rusqlite::Connection::open(mixed.gateway.store.path()).unwrap();
    let count = |sql: &str| outside.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT sum(count) FROM runs"), 540);
    assert!(count("SELECT count(*) FROM runs WHERE literals") <= 5 * 3 * 2);
    assert_eq!(count("SELECT count(*) FROM events WHERE decision = 'allow'"), 0);
    let of_point_queries = "SELECT count(*) FROM shapes WHERE text LIKE 'SELECT abalance%'";
    assert_eq!(count(of_point_queries), 1);
}

#[test]
fn a_run_that_is_old_in_part_is_forgotten_in_part() {
    let mixed = Mixed::new();
    let all: i64 = 600 + 3;
    let before = at(205);
    let forgotten = mixed.gateway.store.forget_before(before).unwrap();
    let left = mixed.expected(|event, _| event.at >= before);
    mixed.check("left", AuditQuery::default(), &left);
    assert_eq!(i64::try_from(forgotten.events).unwrap(), all - i64::try_from(left.len()).unwrap());
    assert_eq!(mixed.gateway.store.forget_before(before).unwrap().events, 0);
    mixed.gateway.store.forget_before(at(10_000)).unwrap();
    mixed.check("nothing", AuditQuery::default(), &[]);
    let outside = rusqlite::Connection::open(mixed.gateway.store.path()).unwrap();
    for table in ["runs", "shapes"] {
        let rows: i64 =
            outside.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}
