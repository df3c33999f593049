//! What is recorded is read back, in segments that are sealed, chained and announced; nothing else is held.

use std::{
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use portcullis_core::{Clock, EndReason, Timestamp};
use portcullis_record::{Event, Item, RecordingsConfig, State, recordings::RowLimits};

use crate::support::{Lab, row, statement, texts};

#[test]
fn a_session_reads_back_as_it_went() {
    let lab = Lab::new();
    let (mut recorder, session) = lab.begin();
    let at = |n: i64| Timestamp::from_micros(crate::support::BEGIN + n);
    statement(&mut recorder, at(5), 1, "SELECT 1").unwrap();
    recorder.event(at(7), &Event::Row { number: 1, values: &row(&[Some(b"1")]) }).unwrap();
    recorder.event(at(9), &Event::Done { number: 1, tag: "SELECT 1", rows: 1, bytes: 7 }).unwrap();
    lab.get().flush();
    assert_eq!(lab.recording(session).state(), State::Open);
    let events = lab.read(session);
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(events.iter().skip(1).map(|event| event.at).collect::<Vec<_>>(), [at(5), at(7), at(9)]);
    recorder.finish(&EndReason::WindowOver);
    recorder.finish(&EndReason::ClientQuit);
    assert!(statement(&mut recorder, at(11), 2, "SELECT 2").is_err(), "nothing comes after the end");
    lab.get().settle();
    assert_eq!(lab.recording(session).state(), State::Whole);
    let sealed = lab.read(session);
    assert_eq!(sealed[..4], events[..]);
    assert_eq!(sealed[4].item, Item::Ended { reason: EndReason::WindowOver });
    let announced = lab.sealed();
    assert_eq!(announced.len(), 1);
    assert!(announced[0].last && !announced[0].torn && announced[0].index.events == 5);
    assert_eq!(announced[0].sha256, lab.recording(session).segments()[0].sha256);
}

#[test]
fn a_recorder_that_is_dropped_ends_its_recording() {
    let lab = Lab::new();
    let (recorder, session) = lab.begin();
    drop(recorder);
    lab.get().settle();
    assert!(matches!(
        lab.read(session).last().unwrap().item,
        Item::Ended { reason: EndReason::Internal { .. } }
    ));
    assert!(!lab.get().is_live(session));
}

#[test]
fn a_long_recording_is_sealed_in_chained_segments() {
    let lab = Lab::with(|config| RecordingsConfig { segment_bytes: 2_000, ..config });
    let (mut recorder, session) = lab.begin();
    for number in 1..=200 {
        let text = format!("SELECT {number}, '{}'", "x".repeat(100));
        statement(&mut recorder, lab.clock.now(), number, &text).unwrap();
        lab.clock.forward(Duration::from_secs(1));
        if number % 5 == 0 {
            lab.get().flush();
        }
    }
    recorder.finish(&EndReason::ClientQuit);
    lab.get().settle();
    let recording = lab.recording(session);
    let segments = recording.segments();
    assert!(segments.len() > 5, "{}", segments.len());
    for (before, after) in segments.iter().zip(&segments[1..]) {
        assert_eq!(after.header.previous, before.sha256);
        assert_eq!(after.header.first_event, before.header.first_event + before.header.index.events);
    }
    assert_eq!(segments.iter().map(|segment| segment.header.index.events).sum::<u64>(), 202);
    let announced: Vec<_> = lab.sealed().iter().map(|sealed| (sealed.number, sealed.sha256)).collect();
    let there: Vec<_> = segments.iter().map(|segment| (segment.header.number, segment.sha256)).collect();
    assert_eq!(announced, there);
    assert_eq!(texts(&lab.read(session)).len(), 200);
}

#[test]
fn a_segment_that_has_been_open_for_long_is_sealed() {
    let lab = Lab::new();
    let (mut recorder, session) = lab.begin();
    statement(&mut recorder, lab.clock.now(), 1, "SELECT 1").unwrap();
    lab.get().flush();
    lab.clock.forward(Duration::from_secs(601));
    // Each flush is a round of the writer; old segments are looked for every so many.
    for _ in 0..64 {
        lab.get().flush();
    }
    lab.get().settle();
    assert_eq!(lab.recording(session).segments().len(), 1);
    statement(&mut recorder, lab.clock.now(), 2, "SELECT 2").unwrap();
    drop(recorder);
    lab.get().settle();
    assert_eq!(lab.recording(session).segments().len(), 2);
    assert_eq!(texts(&lab.read(session)), ["SELECT 1", "SELECT 2"]);
}

#[test]
fn files_are_their_owner_s_alone() {
    let lab = Lab::new();
    let (mut recorder, session) = lab.begin();
    statement(&mut recorder, lab.clock.now(), 1, "SELECT 1").unwrap();
    lab.get().flush();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for entry in std::fs::read_dir(lab.dir.path().join("open")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    assert_eq!(mode(&lab.dir.path().join("open")), 0o700);
    drop(recorder);
    lab.get().settle();
    let segment = &lab.recording(session).segments()[0].path.clone();
    assert_eq!(mode(segment), 0o600);
    assert_eq!(mode(segment.parent().unwrap()), 0o700);
}

#[test]
fn the_limits_are_those_of_the_settings() {
    let lab = Lab::with(|config| RecordingsConfig { rows: 3, bytes: 99, ..config });
    let (recorder, _) = lab.begin();
    assert_eq!(recorder.limits(), RowLimits { rows: 3, bytes: 99 });
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_session_waits_for_a_slow_disk_and_is_woken() {
    let lab = Lab::with(|config| RecordingsConfig { waiting: 10_000, ..config });
    let (mut recorder, session) = lab.begin();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(matches!(recorder.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    {
        let _slow = lab.storage.hold();
        for number in 1..=200 {
            statement(&mut recorder, lab.clock.now(), number, &"x".repeat(200)).unwrap();
        }
        assert!(recorder.poll_ready(&mut cx).is_pending());
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    }
    while woken.0.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    lab.get().flush();
    assert!(matches!(recorder.poll_ready(&mut cx), Poll::Ready(Ok(()))));
    assert_eq!(texts(&lab.read(session)).len(), 200, "what was recorded meanwhile is there");
}

#[test]
fn many_sessions_are_recorded_side_by_side() {
    let lab = Lab::new();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let recordings = lab.recordings.clone().unwrap();
            let clock = lab.clock.clone();
            std::thread::spawn(move || {
                let facts = crate::support::facts(clock.now());
                let mut recorder = recordings.begin(&facts).unwrap();
                for number in 1..=300 {
                    statement(&mut recorder, clock.now(), number, &format!("{} {number}", facts.session))
                        .unwrap();
                }
                facts.session
            })
        })
        .collect();
    let sessions: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    lab.get().settle();
    for session in sessions {
        let expected: Vec<_> = (1..=300).map(|number| format!("{session} {number}")).collect();
        assert_eq!(texts(&lab.read(session)), expected);
    }
}
