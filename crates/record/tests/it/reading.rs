//! Reading: whatever was altered is said, any place is found, a live recording is followed.

use std::{fs, time::Duration};

use portcullis_core::{Clock, EndReason, SessionId};
use portcullis_record::{Error, Item, Recording, RecordingsConfig, Seek, State};

use crate::support::{Lab, statement, texts};

/// A recording of 60 statements, a second apart, in several segments.
fn long(lab: &Lab) -> SessionId {
    let (mut recorder, session) = lab.begin();
    for number in 1..=60 {
        lab.clock.forward(Duration::from_secs(1));
        statement(&mut recorder, lab.clock.now(), number, &format!("SELECT {number}")).unwrap();
        if number % 10 == 0 {
            lab.get().flush();
        }
    }
    recorder.finish(&EndReason::ClientQuit);
    lab.get().settle();
    session
}

fn in_segments() -> Lab {
    Lab::with(|config| RecordingsConfig {
        segment_bytes: 600,
        interval: Duration::from_secs(3_600),
        ..config
    })
}

#[test]
fn any_place_is_found_by_number_time_and_statement() {
    let lab = in_segments();
    let session = long(&lab);
    let recording = lab.recording(session);
    assert!(recording.segments().len() >= 5, "{}", recording.segments().len());
    let all = lab.read(session);
    let from = |seek| recording.events(seek).map(Result::unwrap).collect::<Vec<_>>();
    for (place, event) in all.iter().enumerate() {
        assert_eq!(from(Seek::Event(event.number)), all[place..], "event {place}");
        let first = all.iter().position(|other| other.at >= event.at).unwrap();
        assert_eq!(from(Seek::Time(event.at)), all[first..], "time {place}");
        if let Item::Statement(statement) = &event.item {
            assert_eq!(from(Seek::Statement(statement.number)), all[place..], "statement {place}");
        }
    }
    assert_eq!(from(Seek::Event(1_000)), []);
}

#[test]
fn a_changed_byte_anywhere_is_said() {
    let lab = in_segments();
    let session = long(&lab);
    let path = lab.recording(session).segments()[1].path.clone();
    let good = fs::read(&path).unwrap();
    for place in 0..good.len() {
        let mut changed = good.clone();
        changed[place] ^= 1;
        fs::write(&path, &changed).unwrap();
        let error = Recording::open(lab.dir.path(), session).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{place}: {error}");
        assert!(error.to_string().contains("000002.rec"), "{error}");
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(lab.read(session).len(), 62);
}

#[test]
fn a_segment_that_was_forged_whole_breaks_the_chain() {
    let lab = in_segments();
    let (mine, other) = (long(&lab), long(&lab));
    let path = |session, place: usize| lab.recording(session).segments()[place].path.clone();
    // The second of another session, and an older self: both are well-formed.
    let (second, third) = (path(mine, 1), path(mine, 2));
    let original = fs::read(&second).unwrap();
    fs::copy(path(other, 1), &second).unwrap();
    let error = Recording::open(lab.dir.path(), mine).unwrap_err();
    assert!(error.to_string().contains("another segment"), "{error}");
    fs::copy(&third, &second).unwrap();
    assert!(matches!(Recording::open(lab.dir.path(), mine), Err(Error::Broken { .. })));
    fs::write(&second, original).unwrap();
    assert!(Recording::open(lab.dir.path(), mine).is_ok());
}

#[test]
fn a_missing_segment_is_said_in_between_and_at_the_end() {
    let lab = in_segments();
    let session = long(&lab);
    let paths: Vec<_> =
        lab.recording(session).segments().iter().map(|segment| segment.path.clone()).collect();
    let last = paths.last().unwrap();
    let kept = fs::read(last).unwrap();
    fs::remove_file(last).unwrap();
    assert_eq!(lab.recording(session).state(), State::Unfinished);
    fs::write(last, kept).unwrap();
    for (place, path) in paths.iter().enumerate().take(paths.len() - 1) {
        let kept = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let error = Recording::open(lab.dir.path(), session).unwrap_err();
        assert!(matches!(error, Error::Missing { number, .. } if number as usize == place + 1), "{error}");
        fs::write(path, kept).unwrap();
    }
}

#[test]
fn a_live_recording_is_followed_over_its_segments_to_its_end() {
    let lab = in_segments();
    let (mut recorder, session) = lab.begin();
    let mut events = lab.recording(session).events(Seek::START);
    let mut seen = Vec::new();
    for number in 1..=40 {
        statement(&mut recorder, lab.clock.now(), number, &format!("SELECT {number}")).unwrap();
        if number % 3 == 0 {
            lab.get().flush();
        }
        if number % 4 == 0 {
            lab.get().settle();
        }
        seen.extend(events.by_ref().map(Result::unwrap));
    }
    assert!(!events.has_ended());
    recorder.finish(&EndReason::Drained);
    lab.get().settle();
    seen.extend(events.by_ref().map(Result::unwrap));
    assert!(events.has_ended());
    assert!(lab.recording(session).segments().len() >= 3);
    assert_eq!(seen, lab.read(session), "each once, in order");
    assert_eq!(texts(&seen).len(), 40);
}

#[test]
fn a_session_without_a_recording_is_said_to_have_none() {
    let lab = Lab::new();
    let session = SessionId::generate(lab.clock.now());
    assert!(matches!(Recording::open(lab.dir.path(), session), Err(Error::NotFound(id)) if id == session));
}
