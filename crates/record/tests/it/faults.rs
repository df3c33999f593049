//! Full and failing disks: nothing goes unrecorded, and what was recorded stays.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use portcullis_core::{Clock, EndReason};
use portcullis_record::{Error, Health, Recording, Recordings, RecordingsConfig, Seek, State};

use crate::support::{Fault, Lab, config, facts, statement, texts};

fn wait_until_healthy(lab: &Lab) {
    while lab.get().health() != Health::Good {
        std::thread::yield_now();
    }
}

#[test]
fn a_full_disk_ends_every_recorded_session_and_lets_none_begin() {
    let lab = Lab::new();
    let (mut busy, first) = lab.begin();
    let (idle, second) = lab.begin();
    let told = Arc::new(AtomicUsize::new(0));
    for recorder in [&busy, &idle] {
        let told = told.clone();
        recorder.on_failure(move |failure| {
            assert!(matches!(EndReason::from(failure), EndReason::NotRecorded { .. }));
            told.fetch_add(1, Ordering::SeqCst);
        });
    }
    statement(&mut busy, lab.clock.now(), 1, "kept").unwrap();
    lab.get().flush();
    lab.storage.break_down();
    statement(&mut busy, lab.clock.now(), 2, "lost").unwrap();
    lab.get().flush();
    assert_eq!(told.load(Ordering::SeqCst), 2, "the idle one is told as well");
    assert!(statement(&mut busy, lab.clock.now(), 3, "refused").is_err());
    assert!(idle.failure().is_some());
    assert!(matches!(lab.get().health(), Health::Failed { .. }));
    assert!(matches!(lab.get().begin(&facts(lab.clock.now())), Err(Error::Failed { .. })));

    lab.storage.mend();
    wait_until_healthy(&lab);
    assert!(statement(&mut busy, lab.clock.now(), 4, "still refused").is_err(), "it has a hole: it ends");
    let (mut new, third) = lab.begin();
    statement(&mut new, lab.clock.now(), 1, "recorded").unwrap();
    drop((busy, idle, new));
    lab.get().settle();
    assert_eq!(texts(&lab.read(first)), ["kept"]);
    assert_eq!(texts(&lab.read(third)), ["recorded"]);
    for (session, state) in [(first, State::Torn), (second, State::Torn), (third, State::Whole)] {
        assert_eq!(lab.recording(session).state(), state);
    }
    assert!(std::fs::read_dir(lab.dir.path().join("open")).unwrap().next().is_none());
}

#[test]
fn half_a_write_is_cut_off_and_what_was_before_stays() {
    for most in 0..60 {
        let lab = Lab::new();
        let (mut recorder, session) = lab.begin();
        statement(&mut recorder, lab.clock.now(), 1, "kept").unwrap();
        lab.get().flush();
        lab.storage.plan([Fault::Torn(most)]);
        statement(&mut recorder, lab.clock.now(), 2, &"lost ".repeat(30)).unwrap();
        lab.get().flush();
        wait_until_healthy(&lab);
        lab.get().settle();
        assert_eq!(texts(&lab.read(session)), ["kept"], "{most}");
        assert_eq!(lab.recording(session).state(), State::Torn);
        assert!(lab.sealed().iter().all(|sealed| sealed.torn));
    }
}

#[test]
fn a_session_that_cannot_be_recorded_does_not_begin() {
    let lab = Lab::new();
    for fault in [Fault::NoSpace, Fault::Torn(0), Fault::Torn(40), Fault::Torn(90)] {
        wait_until_healthy(&lab);
        lab.get().settle();
        lab.storage.plan([fault]);
        assert!(matches!(lab.get().begin(&facts(lab.clock.now())), Err(Error::Failed { .. })), "{fault:?}");
    }
    wait_until_healthy(&lab);
    lab.get().settle();
    assert!(std::fs::read_dir(lab.dir.path().join("open")).unwrap().next().is_none(), "no pieces are left");
}

#[test]
fn a_segment_that_cannot_be_sealed_is_sealed_when_it_can() {
    let lab = Lab::new();
    let (mut recorder, session) = lab.begin();
    statement(&mut recorder, lab.clock.now(), 1, "kept").unwrap();
    lab.get().flush();
    // The last write succeeds, sealing fails.
    lab.storage.plan([Fault::None, Fault::NoSpace]);
    recorder.finish(&EndReason::ClientQuit);
    lab.get().settle();
    wait_until_healthy(&lab);
    lab.get().settle();
    assert_eq!(lab.recording(session).state(), State::Whole, "its end was written: nothing is missing");
    assert_eq!(lab.sealed().len(), 1);
}

#[test]
fn a_segment_the_journal_did_not_take_is_announced_again() {
    let mut lab = Lab::new();
    lab.refuses.store(true, Ordering::Relaxed);
    let (recorder, first) = lab.begin();
    drop(recorder);
    lab.get().settle();
    assert!(lab.sealed().is_empty());
    lab.refuses.store(false, Ordering::Relaxed);
    let (recorder, second) = lab.begin();
    drop(recorder);
    lab.get().settle();
    assert_eq!(lab.sealed().iter().map(|sealed| sealed.session).collect::<Vec<_>>(), [first, second]);

    // And where the gateway stopped in between, by the next one.
    lab.refuses.store(true, Ordering::Relaxed);
    let (recorder, third) = lab.begin();
    drop(recorder);
    lab.get().settle();
    lab.recordings = None;
    lab.refuses.store(false, Ordering::Relaxed);
    lab.open(|config| config);
    assert_eq!(lab.sealed().last().unwrap().session, third);
    assert_eq!(lab.sealed().last().unwrap().sha256, lab.recording(third).segments()[0].sha256);
}

#[test]
fn nothing_is_recorded_once_recordings_are_stopped() {
    let lab = Lab::new();
    let (mut recorder, session) = lab.begin();
    statement(&mut recorder, lab.clock.now(), 1, "kept").unwrap();
    lab.get().stop();
    assert!(statement(&mut recorder, lab.clock.now(), 2, "refused").is_err());
    assert!(lab.get().begin(&facts(lab.clock.now())).is_err());
    assert_eq!(texts(&lab.read(session)), ["kept"]);
}

#[test]
fn a_sealed_segment_that_was_exchanged_before_the_journal_knew_is_not_announced() {
    let mut lab = Lab::new();
    lab.refuses.store(true, Ordering::Relaxed);
    let (mut recorder, mine) = lab.begin();
    statement(&mut recorder, lab.clock.now(), 1, "DROP TABLE evidence").unwrap();
    drop(recorder);
    lab.get().settle();
    let path = lab.recording(mine).segments()[0].path.clone();
    let good = std::fs::read(&path).unwrap();
    lab.recordings = None;
    lab.refuses.store(false, Ordering::Relaxed);
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&path, changed).unwrap();
    lab.open(|config| config);
    assert!(lab.sealed().is_empty(), "the gateway starts, and blesses nothing");
    std::fs::write(&path, good).unwrap();
    lab.open(|config| config);
    assert_eq!(lab.sealed().len(), 1);
}

/// The folder as a machine that died now would leave it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to)
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_session_cut_short_between_two_segments_is_said_to_be_torn() {
    let lab = Lab::with(|config| RecordingsConfig { segment_bytes: 1, ..config });
    let (mut recorder, session) = lab.begin();
    statement(&mut recorder, lab.clock.now(), 1, "kept").unwrap();
    lab.get().settle();
    assert_eq!(lab.recording(session).segments().len(), 1);
    assert_eq!(lab.recording(session).state(), State::Open, "live, with nothing in the new segment");
    let died = tempfile::tempdir().unwrap();
    copy(lab.dir.path(), died.path());
    drop(Recordings::open(config(died.path()), lab.clock.clone(), Arc::new(|_| Ok(()))).unwrap());
    let recording = Recording::open(died.path(), session).unwrap();
    assert_eq!(recording.state(), State::Torn);
    let events: Vec<_> = recording.events(Seek::START).collect::<Result<_, _>>().unwrap();
    assert_eq!(texts(&events), ["kept"]);
}
