//! `kill -9`: what was in the file stays, is sealed by the next start and says that it was cut short.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use portcullis_core::{Clock, SessionId};
use portcullis_record::{Recording, Recordings, RecordingsConfig, Seek, State};

use crate::support::{TestClock, config, facts, statement, texts};

const CHILD: &str = "PORTCULLIS_RECORD_TEST_CHILD";
const ROUNDS: usize = 20;
const SESSIONS: usize = 4;

fn settings(dir: &Path) -> RecordingsConfig {
    RecordingsConfig { segment_bytes: 30_000, ..config(dir) }
}

/// Not a test of its own: what [`what_was_written_survives_kill_9_at_any_point`] runs in a process of its own.
#[test]
#[ignore = "run by its parent"]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let clock = TestClock::new();
    let recordings =
        Recordings::open(settings(Path::new(&dir)), clock.clone(), Arc::new(|_| Ok(()))).unwrap();
    let mut recorders: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let facts = facts(clock.now());
            (recordings.begin(&facts).unwrap(), facts.session)
        })
        .collect();
    for number in 1.. {
        for (recorder, _) in &mut recorders {
            let text = format!("{number} {}", "x".repeat(usize::try_from(number * 37 % 900).unwrap()));
            statement(recorder, clock.now(), number, &text).unwrap();
        }
        recordings.flush();
        let mut out = std::io::stdout().lock();
        for (_, session) in &recorders {
            writeln!(out, "written {session} {number} .").unwrap();
        }
    }
}

#[test]
fn what_was_written_survives_kill_9_at_any_point() {
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut written: Vec<(SessionId, usize)> = Vec::new();
        let mut take = |line: &[u8]| {
            let line = String::from_utf8_lossy(line).into_owned();
            // The last line of a killed child may be torn.
            let words: Vec<_> = line.split(' ').collect();
            let ["written", session, number, "."] = words[..] else { return };
            let (session, number) = (session.parse().unwrap(), number.parse().unwrap());
            written.retain(|(other, _)| *other != session);
            written.push((session, number));
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
        let wait_for = 1 + (round * 7_919) % 300;
        for line in lines.by_ref().take(wait_for + 20) {
            take(&line.unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            take(&line.unwrap());
        }
        let announced = Arc::new(Mutex::new(Vec::new()));
        let announce = {
            let announced = announced.clone();
            move |sealed: &portcullis_record::Sealed| {
                announced.lock().unwrap().push((sealed.session, sealed.number, sealed.sha256));
                Ok(())
            }
        };
        // Before anybody has mended anything, the recording can be read as it lies there.
        for (session, number) in &written {
            let recording = Recording::open(dir.path(), *session).unwrap();
            let events: Vec<_> = recording.events(Seek::START).collect::<Result<_, _>>().unwrap();
            assert!(texts(&events).len() >= *number, "round {round}: {session} before recovery");
        }
        drop(Recordings::open(settings(dir.path()), TestClock::new(), Arc::new(announce)).unwrap());
        assert!(!written.is_empty());
        for (session, number) in &written {
            let recording = Recording::open(dir.path(), *session).unwrap();
            assert_eq!(recording.state(), State::Torn, "round {round}");
            let events: Vec<_> = recording.events(Seek::START).collect::<Result<_, _>>().unwrap();
            let texts = texts(&events);
            assert!(texts.len() >= *number, "round {round}: {} of {number}", texts.len());
            for (place, text) in texts.iter().enumerate() {
                assert!(text.starts_with(&format!("{} ", place + 1)), "round {round}: {place} is {text}");
            }
            let last = recording.segments().last().unwrap();
            assert!(last.header.torn && last.header.last);
            let known = announced.lock().unwrap();
            assert!(known.contains(&(*session, last.header.number, last.sha256)), "round {round}");
        }
        assert!(std::fs::read_dir(dir.path().join("open")).unwrap().next().is_none());
    }
}
