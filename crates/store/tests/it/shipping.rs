//! From journal to index: exactly once, whatever stops in between.

use std::{fs, io::Write, time::Instant};

use portcullis_audit::{Batch, Position};
use portcullis_core::{AuditEvent, Verdict};
use portcullis_store::{AuditQuery, AuditRow, Error, Order, Store, StoredEvent};

use crate::support::{Gateway, at, decision, ended, open_journal, open_store, session};

fn all(store: &Store) -> Vec<AuditRow> {
    let query = AuditQuery { order: Order::OldestFirst, limit: Some(10_000), ..AuditQuery::default() };
    store.audit(&query).unwrap().rows
}

#[test]
fn an_indexed_decision_is_the_record_that_was_written() {
    let gateway = Gateway::new();
    let session = session("sync", "records");
    let events = [
        decision(&session, 1, Verdict::Allow, "select 1"),
        decision(&session, 2, Verdict::Deny, "drop table \"x\"; -- 'quoted' \u{1F512}"),
        portcullis_core::decision::DecisionEvent {
            text_cut_from: Some(9_000_000),
            binds: None,
            obligations: vec![portcullis_core::Obligation::ReadOnly],
            ..decision(&session, 3, Verdict::Hold, "update t set x = 1")
        },
    ];
    for event in &events {
        gateway.append(Some(&session), &[AuditEvent::Decision(event.clone())]);
    }
    gateway.ship();
    let rows = all(&gateway.store);
    assert_eq!(rows[0].event, StoredEvent::Known(Box::new(AuditEvent::Session(session.facts().clone()))));
    for (row, event) in rows[1..].iter().zip(&events) {
        let record = row.decision().unwrap();
        assert_eq!((&record.event, &record.facts), (event, session.facts()));
    }
    assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let json = serde_json::to_value(&rows).unwrap();
    assert_eq!(json[0]["event"], "session");
    assert_eq!(
        (&json[2]["event"], &json[2]["decision"], &json[2]["sequence"]),
        (&"decision".into(), &"deny".into(), &2.into())
    );
    assert_eq!(json[2]["facts"]["connection"], "records");
}

#[test]
fn every_other_event_is_kept_as_written() {
    let gateway = Gateway::new();
    let events = [
        AuditEvent::GatewayStarted { at: at(0), version: "0.1.0".to_owned(), recovered_bytes: 3 },
        AuditEvent::PolicyLoaded { at: at(1), policy: "v1".into(), warnings: 2, by: None },
        AuditEvent::PolicyRejected { at: at(2), policy: "v1".into(), errors: "unknown key `thn`".to_owned() },
        AuditEvent::WindowRequest(portcullis_core::event::WindowRequestEvent {
            at: at(3),
            principal: session("a", "logs").facts().principal.as_ref().unwrap().key(),
            name: "a".to_owned(),
            connection: "logs".parse().unwrap(),
            grant: None,
            window: None,
            ends_at: None,
            reason: "incident 4711".to_owned(),
            refused: "too soon".to_owned(),
        }),
        AuditEvent::Kill {
            at: at(4),
            by: "op".to_owned(),
            target: "x".to_owned(),
            reason: "odd".to_owned(),
            sessions: 1,
        },
        AuditEvent::GatewayStopped { at: at(5) },
    ];
    gateway.append(None, &events);
    gateway.ship();
    let found: Vec<_> = all(&gateway.store).into_iter().map(|row| row.event).collect();
    let expected: Vec<_> = events.into_iter().map(|event| StoredEvent::Known(Box::new(event))).collect();
    assert_eq!(found, expected);
    let search = |text: &str| {
        gateway
            .store
            .audit(&AuditQuery { text: Some(text.to_owned()), ..AuditQuery::default() })
            .unwrap()
            .rows
            .len()
    };
    assert_eq!((search("4711"), search("too soon"), search("thn"), search("odd")), (1, 1, 1, 1));
    let by = AuditQuery { identity: Some("OID-a".to_owned()), ..AuditQuery::default() };
    assert_eq!(gateway.store.audit(&by).unwrap().rows.len(), 1);
}

#[test]
fn a_restart_between_batches_neither_skips_nor_repeats() {
    let mut gateway = Gateway::new();
    let session = session("a", "logs");
    for number in 0..2_500 {
        let event = decision(&session, number, Verdict::Allow, &format!("select {number}"));
        gateway.append(Some(&session), &[AuditEvent::Decision(event)]);
    }
    crate::support::settle(&gateway.journal);
    let mut reader = gateway.journal.durable_reader(gateway.store.shipped().unwrap());
    assert_eq!(gateway.store.ship_batch(&mut reader).unwrap(), 1_000);
    // Killed here: the store is opened anew, and the journal too.
    drop(reader);
    let Gateway { dir, journal, store } = gateway;
    drop((journal, store));
    gateway = Gateway { journal: open_journal(dir.path()), store: open_store(dir.path()), dir };
    assert_eq!(gateway.store.shipped().unwrap().sequence, 1_000);
    gateway.ship();
    let events = gateway.journal.end().unwrap().sequence;
    let sequences: Vec<_> = all(&gateway.store).into_iter().map(|row| row.sequence).collect();
    let repeated_facts = events - sequences.len() as u64;
    assert_eq!(
        gateway
            .store
            .audit(&AuditQuery {
                kind: Some("decision".to_owned()),
                limit: Some(10_000),
                ..AuditQuery::default()
            })
            .unwrap()
            .rows
            .len(),
        2_500
    );
    // Facts repeated at the start of each further segment are no further events.
    assert_eq!(repeated_facts, gateway.journal.end().unwrap().segment - 1);
}

#[test]
fn a_batch_that_fails_half_way_leaves_nothing_and_is_shipped_later() {
    let gateway = Gateway::new();
    let session = session("a", "logs");
    for number in 0..10 {
        let event = decision(&session, number, Verdict::Allow, &format!("select {number}"));
        gateway.append(Some(&session), &[AuditEvent::Decision(event)]);
    }
    crate::support::settle(&gateway.journal);
    let outside = rusqlite::Connection::open(gateway.store.path()).unwrap();
    outside
        .execute_batch(
            "CREATE TRIGGER sabotage BEFORE INSERT ON runs WHEN new.count = 10 BEGIN SELECT raise(ABORT, 'no'); END",
        )
        .unwrap();
    assert!(gateway.store.catch_up(&gateway.journal).is_err());
    assert_eq!(gateway.store.shipped().unwrap(), Position::START);
    assert_eq!(all(&gateway.store).len(), 0);
    outside.execute_batch("DROP TRIGGER sabotage").unwrap();
    gateway.ship();
    assert_eq!(all(&gateway.store).len(), 11);
}

#[test]
fn two_shippers_do_not_ship_an_event_twice() {
    let gateway = Gateway::new();
    gateway.append(None, &[AuditEvent::GatewayStopped { at: at(0) }]);
    crate::support::settle(&gateway.journal);
    let mut readers = [(); 2].map(|()| gateway.journal.durable_reader(Position::START));
    assert_eq!(gateway.store.ship_batch(&mut readers[0]).unwrap(), 1);
    assert!(matches!(gateway.store.ship_batch(&mut readers[1]), Err(Error::Contended)));
    assert_eq!(all(&gateway.store).len(), 1);
}

#[test]
fn a_lost_store_is_built_again_from_the_journal() {
    let gateway = Gateway::new();
    let session = session("a", "logs");
    gateway
        .append(Some(&session), &[AuditEvent::Decision(decision(&session, 1, Verdict::Allow, "select 1"))]);
    gateway.ship();
    let before = all(&gateway.store);
    let store = Store::open(gateway.dir.path().join("again.db"), at(0)).unwrap();
    store.catch_up(&gateway.journal).unwrap();
    assert_eq!(all(&store), before);
}

#[test]
fn an_event_of_a_newer_version_is_indexed_whole() {
    let gateway = Gateway::new();
    let session = session("a", "logs");
    gateway
        .append(Some(&session), &[AuditEvent::Decision(decision(&session, 1, Verdict::Allow, "select 1"))]);
    gateway.ship();
    let Gateway { dir, journal, store } = gateway;
    let sequence = journal.end().unwrap().sequence;
    drop((journal, store));
    let json = format!(
        r#"{{"event":"moon_phase","at":"2026-09-21T15:00:00Z","session":"{}","phase":3}}"#,
        session.facts().session
    );
    append_raw(&dir.path().join("journal/0000000001.seg"), sequence, json.as_bytes());
    let gateway = Gateway { journal: open_journal(dir.path()), store: open_store(dir.path()), dir };
    gateway.ship();
    let query = AuditQuery {
        kind: Some("moon_phase".to_owned()),
        connection: Some("logs".to_owned()),
        ..AuditQuery::default()
    };
    let rows = gateway.store.audit(&query).unwrap().rows;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].event, StoredEvent::Unknown(serde_json::from_str(&json).unwrap()));
    assert_eq!(rows[0].facts.as_ref(), Some(session.facts()));
}

/// Appends a frame as the journal's format describes it.
fn append_raw(path: &std::path::Path, sequence: u64, payload: &[u8]) {
    let checked = [payload, sequence.to_le_bytes().as_slice()].concat();
    let crc = !checked.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    });
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(&u32::try_from(payload.len()).unwrap().to_le_bytes()).unwrap();
    file.write_all(&crc.to_le_bytes()).unwrap();
    file.write_all(&sequence.to_le_bytes()).unwrap();
    file.write_all(payload).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_ships_what_is_appended_while_it_runs() {
    let gateway = Gateway::new();
    let looping = tokio::spawn(gateway.store.clone().ship(gateway.journal.clone()));
    for number in 0..50 {
        gateway.append(None, &[AuditEvent::GatewayStopped { at: at(number) }]);
        while gateway.store.shipped().unwrap().sequence <= number.unsigned_abs() {
            tokio::task::yield_now().await;
        }
    }
    looping.abort();
    assert_eq!(all(&gateway.store).len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_ends_when_the_journal_is_not_the_one_it_read_before() {
    let gateway = Gateway::new();
    gateway.append(None, &[AuditEvent::GatewayStopped { at: at(0) }]);
    gateway.journal.grown(Position::START).await.unwrap();
    gateway.store.catch_up(&gateway.journal).unwrap();
    let other = tempfile::tempdir().unwrap();
    let journal = open_journal(other.path());
    assert!(matches!(gateway.store.clone().ship(journal).await, Err(Error::Journal(_))));
}

#[test]
fn forgetting_takes_old_events_and_what_only_they_used() {
    let gateway = Gateway::new();
    let (old, live) = (session("old", "logs"), session("live", "logs"));
    for number in 1..=20 {
        gateway.append(
            Some(&old),
            &[AuditEvent::Decision(decision(&old, number, Verdict::Allow, &format!("select old {number}")))],
        );
    }
    gateway.append(Some(&old), &[ended(&old, 21)]);
    gateway.append(Some(&live), &[AuditEvent::Decision(decision(&live, 5, Verdict::Allow, "select live 5"))]);
    gateway.append(
        Some(&live),
        &[AuditEvent::Decision(decision(&live, 900, Verdict::Allow, "select live 900"))],
    );
    gateway.ship();
    let forgotten = gateway.store.forget_before(at(100)).unwrap();
    assert_eq!((forgotten.events, forgotten.sessions), (24, 1));
    let rows = all(&gateway.store);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].decision().unwrap().facts, *live.facts());
    let text = |text: &str| AuditQuery { text: Some(text.to_owned()), ..AuditQuery::default() };
    assert_eq!(gateway.store.audit(&text("select old")).unwrap().rows.len(), 0);
    assert_eq!(gateway.store.audit(&text("live")).unwrap().rows.len(), 1);
    let outside = rusqlite::Connection::open(gateway.store.path()).unwrap();
    for (table, left) in [("shapes", 1), ("principals", 1), ("sessions", 1)] {
        let rows: i64 =
            outside.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, left, "{table}");
    }
    outside.execute_batch("INSERT INTO search (search) VALUES ('integrity-check')").unwrap();
    // Shipping goes on after it.
    gateway
        .append(Some(&live), &[AuditEvent::Decision(decision(&live, 901, Verdict::Allow, "select old 1"))]);
    gateway.ship();
    assert_eq!(gateway.store.audit(&text("select old")).unwrap().rows.len(), 1);
}

/// Prints how fast events are indexed; asserts only that they are.
#[test]
fn a_hundred_thousand_events_are_shipped() {
    let gateway = Gateway::new();
    let session = session("a", "logs");
    let mut batch = Batch::new();
    for number in 0..100_000_u64 {
        // Half of them point queries that repeat, half texts of their own.
        let text = match number % 2 {
            0 => format!("SELECT abalance FROM pgbench_accounts WHERE aid = ${}", number % 10),
            _ => format!(
                "SELECT * FROM orders JOIN customers USING (customer_id) WHERE order_id = {number} AND note LIKE '%late%'"
            ),
        };
        batch.push(&AuditEvent::Decision(decision(&session, number, Verdict::Allow, &text))).unwrap();
        if batch.len() == 100 {
            gateway.journal.append(Some(&session), &batch).unwrap();
            batch.clear();
        }
    }
    crate::support::settle(&gateway.journal);
    let started = Instant::now();
    gateway.ship();
    let took = started.elapsed();
    let bytes = fs::metadata(gateway.store.path()).unwrap().len();
    println!("{:.0} events/s, {} bytes/event", 100_000.0 / took.as_secs_f64(), bytes / 100_000);
    assert!(gateway.store.shipped().unwrap().sequence >= 100_000);
    let query = AuditQuery { text: Some("order_id = 4711".to_owned()), ..AuditQuery::default() };
    let started = Instant::now();
    let found = gateway.store.audit(&query).unwrap().rows.len();
    println!("searched in {:?}", started.elapsed());
    assert!(found > 0);
}
