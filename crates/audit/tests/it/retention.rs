//! What is past its time is deleted and stays provable; recordings are what was announced.

use std::fs;

use portcullis_audit::{
    Error, Position, read_dir,
    verify::{Cause, Sources, What, verify},
};
use portcullis_core::{AuditEvent, SessionId, Timestamp, event::RecordingSealedEvent};

use crate::signed::{Opened, Signed, rewrite};

/// Every event of [`Signed::written`] is before this.
const LATER: Timestamp = Timestamp::from_seconds(1_790_000_001);

/// Everything is indexed.
const INDEXED: Position = Position { sequence: u64::MAX, segment: u64::MAX, offset: 0 };

#[tokio::test]
async fn deleted_segments_stay_proven_and_the_journal_goes_on() {
    let signed = Signed::written(7);
    let numbers = signed.numbers();
    let running = signed.start();
    assert_eq!(running.notary.forget_before(Timestamp::from_seconds(1), INDEXED, LATER).await.unwrap(), None);
    let deleted = running.notary.forget_before(LATER, INDEXED, LATER).await.unwrap().unwrap();
    let last = *numbers.last().unwrap();
    assert_eq!((deleted.first_segment, deleted.last_segment, deleted.first_sequence), (1, last - 1, 0));
    assert_eq!(signed.numbers()[0], last);
    assert_eq!(running.notary.forget_before(LATER, INDEXED, LATER).await.unwrap(), None);
    running.write(&signed, "after");
    tokio::task::spawn_blocking(move || running.stop()).await.unwrap();

    let report = signed.assert_good();
    assert_eq!(report.deleted, deleted.last_sequence + 1);
    assert_eq!(report.deleted + report.events, report.covered);
    // Reading and starting begin at the lowest segment there is.
    let entries: Vec<_> = read_dir(signed.journal()).map(Result::unwrap).collect();
    assert_eq!(entries[0].sequence, deleted.last_sequence + 1);
    let says = entries.iter().filter_map(|entry| match entry.event().unwrap() {
        AuditEvent::Retention { journal, .. } => journal,
        _ => None,
    });
    assert_eq!(says.collect::<Vec<_>>(), [deleted]);
    let running = signed.start();
    running.write(&signed, "again");
    tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
    signed.assert_good();

    // One more at the front, and with it the event that says so: nothing excuses that any of them is gone.
    let next = signed.segment(signed.numbers()[0]);
    let bytes = fs::read(&next).unwrap();
    let more = signed.numbers().len() > 1;
    fs::remove_file(&next).unwrap();
    assert_eq!(signed.verify().findings[0].what, if more { What::Missing } else { What::Truncated });
    fs::write(&next, bytes).unwrap();
    signed.assert_good();
    // What is left of a deleted event is still bound by the signature.
    let path = signed.proof("leaves/0000000000");
    let mut leaves = fs::read(&path).unwrap();
    leaves[0] ^= 1;
    fs::write(&path, &leaves).unwrap();
    assert!(!signed.verify().is_good());
}

#[tokio::test]
async fn only_what_is_indexed_and_as_it_was_signed_is_deleted() {
    let signed = Signed::written(7);
    let running = signed.start();
    let second = Position { segment: 2, ..INDEXED };
    let deleted = running.notary.forget_before(LATER, second, LATER).await.unwrap().unwrap();
    assert_eq!((deleted.first_segment, deleted.last_segment), (1, 1));
    let mut segment = Opened::read(&signed.segment(3));
    rewrite(&mut segment.frames[0].1);
    segment.write();
    // Evidence of an alteration is not deleted.
    let refused = running.notary.forget_before(LATER, INDEXED, LATER).await;
    assert!(matches!(refused, Err(Error::Altered { sequence, .. }) if sequence == segment.first()));
    assert_eq!(signed.numbers()[0], 2);
    tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
}

/// Announces a segment of a recording, and writes it to where it belongs.
fn sealed(
    signed: &Signed,
    running: &crate::signed::Running,
    segment: u32,
    content: &[u8],
) -> std::path::PathBuf {
    let folder = signed.dir.path().join("recordings/2026-09-21").join(signed.session.to_string());
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{segment:06}.rec"));
    fs::write(&path, content).unwrap();
    let at = Timestamp::from_seconds(1_790_000_000);
    running.event(&AuditEvent::RecordingSealed(RecordingSealedEvent {
        at,
        session: signed.session,
        segment,
        sha256: format!("{:?}", portcullis_audit::Hash::of(content)),
        previous: String::new(),
        bytes: content.len() as u64,
        events: 1,
        first_at: at,
        last_at: at,
        last: false,
        torn: false,
    }));
    path
}

#[test]
fn recordings_are_checked_against_what_was_announced() {
    let signed = Signed::empty();
    let running = signed.start();
    let paths: Vec<_> =
        (1..=3).map(|segment| sealed(&signed, &running, segment, &[segment as u8; 100])).collect();
    let recordings = signed.dir.path().join("recordings");
    fs::create_dir_all(recordings.join("open")).unwrap();
    fs::write(recordings.join("open/ses_x.000001"), b"still open").unwrap();
    let sources = Sources { recordings: Some(recordings), ..signed.sources() };
    let check = || verify(&sources, &signed.verifier, &mut |_| {}).unwrap();
    let report = check();
    assert!(report.is_good() && report.recordings == 3, "{report:#?}");

    fs::write(&paths[1], [9; 100]).unwrap();
    let found = check().findings;
    assert_eq!((found.len(), found[0].what, &found[0].file), (1, What::Altered, &paths[1]));
    assert_eq!(found[0].session, Some(signed.session.to_string()));
    fs::write(&paths[1], [2; 99]).unwrap();
    assert_eq!(check().findings[0].what, What::Truncated);
    fs::remove_file(&paths[1]).unwrap();
    assert_eq!((check().findings[0].what, check().findings[0].cause), (What::Missing, Cause::Unclear));
    fs::write(&paths[1], [2; 100]).unwrap();
    // Before an announced one: nobody ever sealed it.
    fs::write(paths[0].with_file_name("000000.rec"), b"x").unwrap();
    assert_eq!(check().findings[0].what, What::Inserted);
    fs::remove_file(paths[0].with_file_name("000000.rec")).unwrap();
    // Behind the last one: it may just have been sealed.
    fs::write(paths[0].with_file_name("000004.rec"), b"x").unwrap();
    assert!(check().is_good() && check().notes.len() == 1);
    fs::remove_file(paths[0].with_file_name("000004.rec")).unwrap();

    for path in &paths {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(check().findings.len(), 3);
    let recordings: Vec<SessionId> = vec![signed.session];
    running.event(&AuditEvent::Retention { at: LATER, before: LATER, journal: None, recordings });
    running.stop();
    let report = check();
    assert!(report.is_good() && report.recordings_deleted == 3, "{report:#?}");
}

#[test]
fn recordings_announced_after_the_first_broken_event_are_said_once_to_be_unchecked() {
    let signed = Signed::empty();
    let running = signed.start();
    sealed(&signed, &running, 1, b"before");
    running.write(&signed, "statement");
    for segment in 2..=4 {
        sealed(&signed, &running, segment, b"after");
    }
    running.stop();
    let recordings = Some(signed.dir.path().join("recordings"));
    let sources = Sources { recordings, ..signed.sources() };
    let check = || verify(&sources, &signed.verifier, &mut |_| {}).unwrap();
    assert_eq!((check().is_good(), check().recordings, check().notes), (true, 4, Vec::new()));

    let mut segment = Opened::read(&signed.segment(1));
    rewrite(&mut segment.frames[1].1);
    segment.write();
    let report = check();
    assert_eq!((report.findings.len(), report.stopped, report.recordings), (1, true, 1), "{report:#?}");
    let said = "reading the journal stopped: recordings announced after that were not checked; \
                3 sealed segments are there that were not announced before";
    assert_eq!(report.notes, [said]);
}

#[test]
fn a_changed_segment_that_is_announced_anew_is_found() {
    let signed = Signed::empty();
    let running = signed.start();
    let path = sealed(&signed, &running, 1, &[1; 100]);
    let recordings = Some(signed.dir.path().join("recordings"));
    let sources = Sources { recordings, ..signed.sources() };
    let check = || verify(&sources, &signed.verifier, &mut |_| {}).unwrap();
    // The same again, as after a crash.
    sealed(&signed, &running, 1, &[1; 100]);
    assert!(check().is_good());
    // Changed, and put before a gateway that believes it was about to announce it.
    sealed(&signed, &running, 1, &[9; 100]);
    running.stop();
    let found = check().findings;
    assert_eq!((found.len(), found[0].what, &found[0].file), (1, What::Altered, &path), "{found:#?}");
}
