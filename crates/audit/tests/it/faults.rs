//! Full disks, failing disks, short writes: what was acknowledged is there, and nothing is acknowledged that is not.

use std::{collections::HashSet, sync::Arc};

use portcullis_audit::{Error, Health, Journal, JournalConfig, JournalSession, Position, Sync, read_dir};
use portcullis_core::{AuditEvent, SessionId};
use proptest::prelude::*;

use crate::support::{Fault, Faulty, TestClock, batch, config, decision, facts, texts};

fn open(dir: &std::path::Path, sync: Sync, faulty: &Faulty) -> Arc<Journal> {
    Journal::open_on(config(dir, sync), TestClock::new(), Arc::new(faulty.clone())).unwrap().0
}

fn wait_until_healthy(journal: &Journal) {
    while journal.health() != Health::Good {
        std::thread::yield_now();
    }
}

fn append(journal: &Journal, text: &str) -> Result<Position, Error> {
    journal.append(None, &batch(&[decision(facts(1).session, 1, text)]))
}

fn read(journal: &Journal) -> Vec<String> {
    texts(&journal.reader(Position::START).map(Result::unwrap).collect::<Vec<_>>())
}

#[test]
fn a_full_disk_refuses_at_once_and_ends_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    // A probe a long time away: the state is looked at without a race.
    let settings = JournalConfig {
        probe_interval: std::time::Duration::from_secs(3600),
        ..config(dir.path(), Sync::Strict)
    };
    let (journal, _) = Journal::open_on(settings, TestClock::new(), Arc::new(faulty.clone())).unwrap();
    faulty.plan([Fault::NoSpace]);
    assert!(matches!(append(&journal, "lost"), Err(Error::Failed { .. })));
    assert!(matches!(journal.health(), Health::Failed { cause, .. } if cause.contains("cannot write")));
    // Writing would work by now; nobody may find out by trying.
    assert!(matches!(append(&journal, "refused"), Err(Error::Failed { .. })));
    drop(journal);
    let journal = open(dir.path(), Sync::Fast, &faulty);
    faulty.plan([Fault::Short(7), Fault::NoSpace, Fault::None, Fault::NoSpace, Fault::NoSpace]);
    assert!(append(&journal, "lost").is_err());
    wait_until_healthy(&journal);
    append(&journal, "kept").unwrap();
    assert_eq!(read(&journal), ["kept"]);
}

#[test]
fn short_writes_and_interruptions_are_continued() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let settings = JournalConfig {
        group_interval: std::time::Duration::from_secs(3600),
        ..config(dir.path(), Sync::Fast)
    };
    let (journal, _) = Journal::open_on(settings, TestClock::new(), Arc::new(faulty.clone())).unwrap();
    faulty.plan([Fault::Short(1), Fault::Interrupted, Fault::Short(16), Fault::Short(3)]);
    append(&journal, "whole").unwrap();
    assert_eq!(read(&journal), ["whole"]);
}

#[test]
fn a_tail_that_cannot_be_cut_keeps_the_journal_failed_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let journal = open(dir.path(), Sync::Fast, &faulty);
    // Write, cut, probe, cut, probe: then all is well.
    faulty.plan([Fault::Short(40), Fault::Io, Fault::Io, Fault::None, Fault::Io, Fault::None]);
    assert!(append(&journal, "lost").is_err());
    wait_until_healthy(&journal);
    append(&journal, "kept").unwrap();
    assert_eq!(read(&journal), ["kept"]);
    drop(journal);
    let (_, recovery) = Journal::open(config(dir.path(), Sync::Fast), TestClock::new()).unwrap();
    assert_eq!(recovery.cut, None);
}

#[tokio::test]
async fn a_failed_sync_is_told_to_who_waits_and_closes_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let journal = open(dir.path(), Sync::Strict, &faulty);
    let position = append(&journal, "first").unwrap();
    journal.settled(position).await.unwrap();
    faulty.plan([Fault::None, Fault::Io]);
    let lost = append(&journal, "unconfirmed").unwrap();
    assert!(matches!(journal.settled(lost).await, Err(Error::NotSynced)));
    // A later success does not make it confirmed.
    let next = append(&journal, "second").unwrap();
    journal.settled(next).await.unwrap();
    assert!(matches!(journal.settled(lost).await, Err(Error::NotSynced)));
    assert_eq!((position.segment, lost.segment, next.segment), (1, 1, 2));
    assert_eq!(read(&journal), ["first", "unconfirmed", "second"]);
}

#[test]
fn a_segment_whose_successor_could_not_be_made_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let group_interval = std::time::Duration::from_secs(3600);
    let settings = JournalConfig { segment_bytes: 1_500, group_interval, ..config(dir.path(), Sync::Fast) };
    let (journal, _) = Journal::open_on(settings, TestClock::new(), Arc::new(faulty.clone())).unwrap();
    append(&journal, "first").unwrap();
    faulty.plan([Fault::None, Fault::Io]);
    assert!(append(&journal, &"x".repeat(1_200)).is_err());
    wait_until_healthy(&journal);
    // It would fit into the first segment; the second may have existed for a moment.
    assert_eq!(append(&journal, "second").unwrap().segment, 2);
    assert_eq!(read(&journal), ["first", "second"]);
}

#[tokio::test]
async fn strict_waiters_share_syncs_and_all_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), Sync::Strict, &Faulty::default());
    let mut waiters = tokio::task::JoinSet::new();
    for number in 0..64 {
        let journal = journal.clone();
        waiters.spawn(async move {
            let position = append(&journal, &number.to_string())?;
            journal.settled(position).await
        });
    }
    assert!(waiters.join_all().await.iter().all(Result::is_ok));
    assert_eq!(journal.durable_reader(Position::START).count(), 64);
}

#[derive(Clone, Debug)]
enum Step {
    Append { session: usize, events: usize, bytes: usize },
    Reopen,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::NoSpace),
        1 => Just(Fault::Io),
        1 => Just(Fault::Interrupted),
        2 => (0_usize..600).prop_map(Fault::Short),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0_usize..3, 1_usize..4, 0_usize..400)
            .prop_map(|(session, events, bytes)| Step::Append { session, events, bytes }),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_read_back_once_and_in_order_whatever_fails(
        steps in prop::collection::vec(step(), 1..40),
        faults in prop::collection::vec(fault(), 0..120),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let settings = JournalConfig { segment_bytes: 3_000, ..config(dir.path(), Sync::Fast) };
        let faulty = Faulty::default();
        faulty.plan(faults);
        // The plan is finite, so opening succeeds in the end.
        let open = || loop {
            if let Ok((journal, _)) = Journal::open_on(settings.clone(), TestClock::new(), Arc::new(faulty.clone())) {
                break journal;
            }
        };
        let mut journal = open();
        let new_sessions = || [1, 2, 3].map(|seconds| JournalSession::new(facts(seconds)));
        let mut sessions = new_sessions();
        let (mut acknowledged, mut attempted) = (Vec::new(), HashSet::new());
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Append { session, events, bytes } => {
                    let session = &sessions[*session];
                    let new: Vec<String> = (0..*events).map(|event| format!("{number}.{event}.{}", "x".repeat(*bytes))).collect();
                    let id = session.facts().session;
                    let events: Vec<_> = new.iter().map(|text| decision(id, number as u64, text)).collect();
                    attempted.extend(new.iter().cloned());
                    match journal.append(Some(session), &batch(&events)) {
                        Ok(_) => acknowledged.extend(new),
                        Err(_) if number % 2 == 0 => wait_until_healthy(&journal),
                        Err(_) => {}
                    }
                }
                Step::Reopen => {
                    drop(journal);
                    journal = open();
                    sessions = new_sessions();
                }
            }
        }
        drop(journal);
        let journal = open();
        let entries: Vec<_> = journal.reader(Position::START).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&entries, &read_dir(dir.path().join("journal")).collect::<Result<Vec<_>, _>>().unwrap());
        let found = texts(&entries);
        let known: HashSet<&String> = acknowledged.iter().collect();
        let in_order: Vec<_> = found.iter().filter(|text| known.contains(text)).cloned().collect();
        prop_assert_eq!(in_order, acknowledged);
        prop_assert_eq!(found.iter().collect::<HashSet<_>>().len(), found.len());
        prop_assert!(found.iter().all(|text| attempted.contains(text)));
        facts_come_first(&entries)?;
    }
}

/// Every decision stands after its session's facts in its own segment.
fn facts_come_first(entries: &[portcullis_audit::Entry]) -> Result<(), TestCaseError> {
    let mut seen: HashSet<(u64, SessionId)> = HashSet::new();
    for entry in entries {
        match entry.event().unwrap() {
            AuditEvent::Session(facts) => {
                seen.insert((entry.next.segment, facts.session));
            }
            AuditEvent::Decision(event) => prop_assert!(seen.contains(&(entry.next.segment, event.session))),
            _ => {}
        }
    }
    Ok(())
}
