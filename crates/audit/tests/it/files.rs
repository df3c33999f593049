//! What is on the disk: modes, lock, rotation, torn ends, damage.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use portcullis_audit::{Error, Health, Journal, JournalSession, Position, Sync, read_dir};
use portcullis_core::AuditEvent;

use crate::support::{TestClock, batch, config, decision, facts, open, texts};

/// Writes `texts` as decisions of one session and closes the journal.
fn written(dir: &Path, texts: &[&str]) {
    let journal = open(dir);
    let session = JournalSession::new(facts(1));
    for (number, text) in (1..).zip(texts) {
        journal.append(Some(&session), &batch(&[decision(session.facts().session, number, text)])).unwrap();
    }
}

fn segment(dir: &Path, number: u64) -> std::path::PathBuf {
    dir.join(format!("journal/{number:010}.seg"))
}

fn read(dir: &Path) -> Vec<String> {
    texts(&read_dir(dir.join("journal")).collect::<Result<Vec<_>, _>>().unwrap())
}

#[test]
fn folder_and_files_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("journal")).unwrap();
    fs::set_permissions(dir.path().join("journal"), fs::Permissions::from_mode(0o755)).unwrap();
    written(dir.path(), &["select 1"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("journal")), 0o700);
    for file in fs::read_dir(dir.path().join("journal")).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn a_second_process_cannot_open_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let second = Journal::open(config(dir.path(), Sync::Fast), TestClock::new());
    assert!(matches!(second, Err(Error::Locked { .. })));
    drop(journal);
    open(dir.path());
}

#[test]
fn what_was_appended_is_there_after_reopening_and_sequences_go_on() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &["a", "b"]);
    written(dir.path(), &["c"]);
    let entries: Vec<_> = read_dir(dir.path().join("journal")).map(Result::unwrap).collect();
    assert_eq!(texts(&entries), ["a", "b", "c"]);
    assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn an_empty_batch_writes_nothing_not_even_facts() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let end = journal.end().unwrap();
    assert_eq!(journal.append(Some(&JournalSession::new(facts(1))), &batch(&[])).unwrap(), end);
    assert_eq!(journal.end().unwrap(), end);
}

#[test]
fn facts_are_written_once_per_segment_before_the_sessions_events() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let (journal, _) = Journal::open(config(dir.path(), Sync::Fast), clock.clone()).unwrap();
    let (one, two) = (JournalSession::new(facts(1)), JournalSession::new(facts(2)));
    for round in 0..3 {
        for session in [&one, &two, &one] {
            journal.append(Some(session), &batch(&[decision(session.facts().session, round, "x")])).unwrap();
        }
        clock.forward(Duration::from_secs(25 * 60 * 60));
    }
    let kinds: Vec<_> = journal
        .reader(Position::START)
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.next.segment, matches!(entry.event().unwrap(), AuditEvent::Session(_)))
        })
        .collect();
    let per_segment = [true, false, true, false, false];
    let expected: Vec<_> = (1..=3).flat_map(|segment| per_segment.map(|facts| (segment, facts))).collect();
    assert_eq!(kinds, expected);
}

#[test]
fn a_full_segment_is_followed_by_the_next_and_all_is_read_across() {
    let dir = tempfile::tempdir().unwrap();
    let settings = portcullis_audit::JournalConfig { segment_bytes: 2_000, ..config(dir.path(), Sync::Fast) };
    let (journal, _) = Journal::open(settings.clone(), TestClock::new()).unwrap();
    let all: Vec<String> = (0..50).map(|n| format!("statement {n}")).collect();
    let session = JournalSession::new(facts(1));
    for (number, text) in (1..).zip(&all) {
        journal.append(Some(&session), &batch(&[decision(session.facts().session, number, text)])).unwrap();
    }
    assert!(journal.end().unwrap().segment > 5);
    assert_eq!(texts(&journal.reader(Position::START).map(Result::unwrap).collect::<Vec<_>>()), all);
    drop(journal);
    assert_eq!(read(dir.path()), all);
    let (_, recovery) = Journal::open(settings, TestClock::new()).unwrap();
    assert_eq!(recovery.cut, None);
}

#[test]
fn a_torn_end_is_cut_kept_and_reported_wherever_it_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &["a", "b"]);
    let whole = fs::read(segment(dir.path(), 1)).unwrap();
    written(dir.path(), &["c"]);
    let longer = fs::read(segment(dir.path(), 1)).unwrap();
    let frame = {
        let rest = &longer[whole.len()..];
        16 + u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize
    };
    for cut in 1..frame {
        fs::write(segment(dir.path(), 1), &longer[..whole.len() + cut]).unwrap();
        let (journal, recovery) = Journal::open(config(dir.path(), Sync::Fast), TestClock::new()).unwrap();
        let found = recovery.cut.clone().unwrap();
        assert_eq!(
            (found.bytes, found.offset, recovery.cut_bytes()),
            (cut as u64, whole.len() as u64, cut as u64)
        );
        assert_eq!(fs::read(found.kept).unwrap(), longer[whole.len()..whole.len() + cut]);
        drop(journal);
        assert_eq!(fs::read(segment(dir.path(), 1)).unwrap(), whole);
    }
    assert_eq!(read(dir.path()), ["a", "b"]);
}

#[test]
fn a_segment_whose_header_was_never_finished_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &["a"]);
    for len in [0, 1, 95] {
        fs::write(segment(dir.path(), 2), vec![b'P'; len]).unwrap();
        written(dir.path(), &[]);
    }
    written(dir.path(), &["b"]);
    assert_eq!(read(dir.path()), ["a", "b"]);
}

#[test]
fn a_torn_first_segment_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("journal")).unwrap();
    fs::write(segment(dir.path(), 1), b"PCJ").unwrap();
    written(dir.path(), &["a"]);
    assert_eq!(read(dir.path()), ["a"]);
}

/// Opening and reading both refuse, and name file and offset.
fn assert_damaged(dir: &Path, number: u64, offset: u64) {
    let opened = Journal::open(config(dir, Sync::Fast), TestClock::new());
    let read = read_dir(dir.join("journal")).find_map(Result::err);
    for error in [opened.err(), read] {
        match error {
            Some(Error::Corrupt { path, offset: at, .. }) => {
                assert_eq!((path, at), (segment(dir, number), offset));
            }
            other => panic!("expected damage at {number}:{offset}, found {other:?}"),
        }
    }
}

#[test]
fn a_flipped_bit_before_the_last_event_is_damage_and_not_a_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &["a", "b", "c"]);
    let good = fs::read(segment(dir.path(), 1)).unwrap();
    let first = 16 + u32::from_le_bytes(good[96..100].try_into().unwrap()) as usize;
    for at in 0..first {
        let mut bad = good.clone();
        bad[96 + at] ^= 0x10;
        fs::write(segment(dir.path(), 1), bad).unwrap();
        assert_damaged(dir.path(), 1, 96);
    }
    fs::write(segment(dir.path(), 1), good).unwrap();
    assert_eq!(read(dir.path()), ["a", "b", "c"]);
}

#[test]
fn a_segment_that_is_cut_missing_swapped_or_renamed_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let settings = portcullis_audit::JournalConfig { segment_bytes: 1_000, ..config(dir.path(), Sync::Fast) };
    let (journal, _) = Journal::open(settings, TestClock::new()).unwrap();
    for number in 0..8 {
        let session = facts(1).session;
        journal.append(None, &batch(&[decision(session, number, &format!("{number}"))])).unwrap();
    }
    drop(journal);
    let path = |number| segment(dir.path(), number);
    let second = fs::read(path(2)).unwrap();
    let third = fs::read(path(3)).unwrap();

    fs::write(path(2), &second[..second.len() - 1]).unwrap();
    let last_frame = {
        let mut at = 96;
        loop {
            let next = at + 16 + u32::from_le_bytes(second[at..at + 4].try_into().unwrap()) as usize;
            if next >= second.len() {
                break at;
            }
            at = next;
        }
    };
    assert_damaged(dir.path(), 2, last_frame as u64);
    // Cut at the edge of an event: the next segment does not start where this one ends.
    fs::write(path(2), &second[..last_frame]).unwrap();
    assert_damaged(dir.path(), 3, 0);
    fs::write(path(2), &third).unwrap();
    assert_damaged(dir.path(), 2, 0);
    fs::remove_file(path(2)).unwrap();
    let opened = Journal::open(config(dir.path(), Sync::Fast), TestClock::new());
    assert!(matches!(opened, Err(Error::Missing { segment: 2, .. })));
    fs::write(path(2), &second).unwrap();
    assert_eq!(read(dir.path()).len(), 8);
}

#[test]
fn strangers_in_the_folder_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &["a"]);
    for name in ["1.seg", "00000000002.seg", "0000000002.seg.bak", "notes.txt"] {
        fs::write(dir.path().join("journal").join(name), b"x").unwrap();
    }
    written(dir.path(), &["b"]);
    assert_eq!(read(dir.path()), ["a", "b"]);
}

#[test]
fn a_healthy_journal_says_so() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).health(), Health::Good);
}
