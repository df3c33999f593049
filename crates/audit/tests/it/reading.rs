//! Reading behind the writer, resuming, and what newer versions wrote.

use std::{fs, io::Write};

use portcullis_audit::{Error, Journal, JournalConfig, Position, Sync, read_dir};
use portcullis_core::AuditEvent;

use crate::support::{TestClock, batch, config, decision, facts, open, texts};

#[test]
fn a_reader_follows_the_writer_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let settings = JournalConfig { segment_bytes: 900, ..config(dir.path(), Sync::Fast) };
    let (journal, _) = Journal::open(settings, TestClock::new()).unwrap();
    let session = facts(1).session;
    let mut reader = journal.reader(Position::START);
    let mut outside = read_dir(dir.path().join("journal"));
    assert!(reader.next().is_none() && outside.next().is_none());
    for number in 0..40 {
        let end = journal.append(None, &batch(&[decision(session, number, &format!("{number}"))])).unwrap();
        for reader in [&mut reader, &mut outside] {
            let entry = reader.next().unwrap().unwrap();
            assert_eq!((entry.sequence, entry.next), (number, end));
            assert!(reader.next().is_none());
        }
    }
}

#[test]
fn reading_resumes_at_every_position() {
    let dir = tempfile::tempdir().unwrap();
    let settings = JournalConfig { segment_bytes: 900, ..config(dir.path(), Sync::Fast) };
    let (journal, _) = Journal::open(settings, TestClock::new()).unwrap();
    let session = facts(1).session;
    for number in 0..12 {
        journal.append(None, &batch(&[decision(session, number, &format!("{number}"))])).unwrap();
    }
    let all: Vec<_> = journal.reader(Position::START).map(Result::unwrap).collect();
    for (index, entry) in all.iter().enumerate() {
        let rest: Vec<_> = journal.reader(entry.next).map(Result::unwrap).collect();
        assert_eq!(rest, all[index + 1..]);
    }
}

#[test]
fn a_position_of_another_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let session = facts(1).session;
    let first = journal.append(None, &batch(&[decision(session, 1, "a")])).unwrap();
    let end = journal.append(None, &batch(&[decision(session, 2, "b")])).unwrap();
    let past = Position { offset: end.offset + 1, ..end };
    assert!(matches!(journal.reader(past).next(), Some(Err(Error::Corrupt { .. }))));
    let other_sequence = Position { sequence: 7, ..first };
    assert!(matches!(journal.reader(other_sequence).next(), Some(Err(Error::Corrupt { .. }))));
    let gone = Position { segment: 9, ..end };
    assert!(matches!(journal.reader(gone).next(), Some(Err(Error::Missing { segment: 9, .. }))));
}

#[test]
fn events_and_fields_of_newer_versions_are_kept_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.append(None, &batch(&[decision(facts(1).session, 1, "a")])).unwrap();
    drop(journal);
    // A newer version appends two events with the frames of today.
    let path = dir.path().join("journal/0000000001.seg");
    let known: &[u8] = br#"{"event":"gateway_stopped","at":"2026-01-31T08:00:00Z","mood":"calm"}"#;
    let unknown: &[u8] = br#"{"event":"moon_phase","phase":3}"#;
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    for (sequence, payload) in [(1_u64, known), (2, unknown)] {
        let checked = [payload, sequence.to_le_bytes().as_slice()].concat();
        file.write_all(&u32::try_from(payload.len()).unwrap().to_le_bytes()).unwrap();
        file.write_all(&crc32(&checked).to_le_bytes()).unwrap();
        file.write_all(&sequence.to_le_bytes()).unwrap();
        file.write_all(payload).unwrap();
    }
    let journal = open(dir.path());
    let entries: Vec<_> = journal.reader(Position::START).map(Result::unwrap).collect();
    assert!(matches!(entries[1].event(), Ok(AuditEvent::GatewayStopped { .. })));
    assert_eq!(entries[1].json, known);
    assert!(entries[2].event().is_err());
    assert_eq!(entries[2].json, unknown);
}

/// CRC-32 as in IEEE 802.3, bit by bit: an implementation the journal does not share.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

#[tokio::test]
async fn a_durable_reader_sees_what_grown_has_announced() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let session = facts(1).session;
    let mut reader = journal.durable_reader(Position::START);
    for number in 0..20 {
        journal.append(None, &batch(&[decision(session, number, &format!("{number}"))])).unwrap();
        journal.grown(reader.reached()).await.unwrap();
        assert_eq!(texts(&[reader.next().unwrap().unwrap()]), [format!("{number}")]);
        assert!(reader.next().is_none());
    }
}

#[test]
fn a_durable_reader_does_not_see_what_is_not_synced() {
    let dir = tempfile::tempdir().unwrap();
    let settings = JournalConfig {
        group_interval: std::time::Duration::from_secs(3600),
        ..config(dir.path(), Sync::Fast)
    };
    let (journal, _) = Journal::open(settings, TestClock::new()).unwrap();
    journal.append(None, &batch(&[decision(facts(1).session, 1, "a")])).unwrap();
    assert_eq!(journal.reader(Position::START).count(), 1);
    assert_eq!(journal.durable_reader(Position::START).count(), 0);
}
