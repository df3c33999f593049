//! `kill -9` at any point loses no acknowledged event, and what is left verifies.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use portcullis_audit::{
    Journal, JournalConfig, JournalSession, Notary, NotaryConfig, SigningKey, Sync, notary, read_dir,
    verify::{Report, Sources, verify},
};
use portcullis_core::Secret;

use crate::support::{TestClock, batch, config, decision, facts, texts};

const CHILD: &str = "PORTCULLIS_AUDIT_TEST_CHILD";
const ROUNDS: u64 = 40;
const THREADS: usize = 4;
/// Acknowledgements the parent waits for at most before it kills.
const MOST: u64 = 400;

fn settings(dir: &Path) -> JournalConfig {
    JournalConfig { segment_bytes: 60_000, ..config(dir, Sync::Fast) }
}

/// The key of the proof, made before the first child runs.
fn key(dir: &Path) -> SigningKey {
    SigningKey::decode(&Secret::new(std::fs::read_to_string(dir.join("audit.key")).unwrap())).unwrap()
}

fn sign(journal: &Arc<Journal>, dir: &Path) -> Notary {
    let config = NotaryConfig { interval: std::time::Duration::from_millis(1), ..NotaryConfig::default() };
    Notary::open(journal.clone(), key(dir), config).unwrap()
}

#[track_caller]
fn verified(dir: &Path) -> Report {
    let sources = Sources { journal: dir.join("journal"), recordings: None, kept: Vec::new() };
    let report = verify(&sources, key(dir).verifier(), &mut |_| {}).unwrap();
    assert!(report.is_good(), "{report:#?}");
    report
}

/// Not a test of its own: what [`acknowledged_events_survive_kill_9_at_any_point`] runs in a process of its own.
#[test]
#[ignore = "run by its parent"]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let (journal, recovery) = Journal::open(settings(Path::new(&dir)), TestClock::new()).unwrap();
    let _notary = sign(&journal, Path::new(&dir));
    let round = recovery.end.sequence;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let journal: Arc<Journal> = journal.clone();
            std::thread::spawn(move || {
                let session = JournalSession::new(facts(1));
                for number in 0.. {
                    // Texts of uneven length, so that kills fall on uneven places.
                    let text = format!("{round}.{thread}.{number}.{}", "x".repeat(number * 37 % 900));
                    journal
                        .append(Some(&session), &batch(&[decision(session.facts().session, 1, &text)]))
                        .unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "acknowledged {text}").unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn acknowledged_events_survive_kill_9_at_any_point() {
    let dir = tempfile::tempdir().unwrap();
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    println!("seed {seed}");
    let new = SigningKey::generate("portcullis/test").unwrap();
    notary::begin(&dir.path().join("journal"), &new).unwrap();
    std::fs::write(dir.path().join("audit.key"), new.encode().expose()).unwrap();
    let (mut acknowledged, mut unsigned) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        // A multiplicative hash: spreads the rounds over the range.
        let wait_for = (seed ^ round).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
        let mut seen = 0;
        for line in lines {
            let line = String::from_utf8(line.unwrap()).unwrap();
            // The last line of a killed child may be torn as well; texts say how long they are.
            if let Some(text) = line.strip_prefix("acknowledged ").filter(|text| is_whole(text)) {
                acknowledged.push(text.to_owned());
                seen += 1;
            }
            if seen == wait_for % MOST {
                child.kill().unwrap();
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // As it was left: torn ends and all.
        unsigned += verified(dir.path()).uncovered;
    }
    println!("{unsigned} events were not yet signed when the process died");
    assert!(acknowledged.len() as u64 > ROUNDS);
    let (journal, _) = Journal::open(settings(dir.path()), TestClock::new()).unwrap();
    sign(&journal, dir.path()).finish().unwrap();
    let report = verified(dir.path());
    assert_eq!((report.events, report.uncovered), (journal.end().unwrap().sequence, 0));
    let entries: Vec<_> = read_dir(journal.dir()).collect::<Result<_, _>>().unwrap();
    let sequences: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, (0..entries.len() as u64).collect::<Vec<_>>());
    let found = texts(&entries);
    let set: HashSet<&String> = found.iter().collect();
    assert_eq!(set.len(), found.len(), "an event is there twice");
    let missing: Vec<_> = acknowledged.iter().filter(|text| !set.contains(text)).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), acknowledged.len());
}

fn is_whole(text: &str) -> bool {
    let mut parts = text.split('.');
    let number: Option<usize> = parts.nth(2).and_then(|number| number.parse().ok());
    number.is_some_and(|number| parts.next().is_some_and(|xs| xs.len() == number * 37 % 900))
}
