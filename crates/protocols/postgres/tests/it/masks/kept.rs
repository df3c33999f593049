//! Values in what the gateway wrote: its journal, its recordings, its log.

use std::{collections::BTreeMap, fs, path::PathBuf};

use portcullis_core::AuditEvent;
use portcullis_record::{Item, Recording, Seek};

use super::{
    case::Setup,
    leaks::{Look, Scanner},
    log,
};
use crate::lab::Lab;

/// Where a value is that may not be kept.
pub fn values(setup: &Setup, lab: &Lab) -> Vec<String> {
    let mut wrong = recorded(setup, lab);
    let scanner = Scanner::new(setup.columns.iter().chain(&setup.detected), Look::Files);
    let mut files = 0;
    let mut folders = vec![lab.home().join("journal")];
    while let Some(folder) = folders.pop() {
        for path in paths(folder) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            // What was removed meanwhile is not kept.
            for leak in scanner.find(&fs::read(&path).unwrap_or_default()) {
                wrong.push(format!("{}: {leak}", path.display()));
            }
        }
    }
    for event in lab.events() {
        for leak in scanner.find(format!("{event:?}").as_bytes()) {
            wrong.push(format!("the journal: {leak}"));
        }
    }
    let log = log::kept();
    for leak in scanner.find(log.as_bytes()) {
        wrong.push(format!("the log: {leak}"));
    }
    assert!(files > 0 && !log.is_empty(), "the gateway wrote nothing");
    wrong
}

fn paths(folder: PathBuf) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Every recording, by what its principal may not see.
fn recorded(setup: &Setup, lab: &Lab) -> Vec<String> {
    let principals = &setup.principals;
    let scanners = BTreeMap::from([
        (&principals.columns, Scanner::new(&setup.columns, Look::Files)),
        (&principals.filter_allow, Scanner::new(&setup.cards, Look::Files)),
        (&principals.opaque, Scanner::new(&setup.cards, Look::Files)),
        (&principals.detect, Scanner::new(&setup.detected, Look::Plain)),
        (&principals.except, Scanner::default()),
    ]);
    lab.gate.recordings.flush();
    let (mut wrong, mut sessions, mut rows, mut masked) = (Vec::new(), 0, 0, 0);
    for event in lab.events() {
        let AuditEvent::Session(facts) = event else { continue };
        let Some(scanner) = facts.principal.as_ref().and_then(|one| scanners.get(&one.object_id)) else {
            continue;
        };
        // Facts are repeated in every segment of the journal; to read a recording twice does no harm.
        let Ok(recording) = Recording::open(lab.gate.recordings.dir(), facts.session) else { continue };
        sessions += 1;
        for event in recording.events(Seek::START) {
            let bytes = match event.expect("a recording that can be read").item {
                Item::Row { values, .. } => values,
                Item::CopyData { data, .. } => data,
                other => format!("{other:?}").into_bytes(),
            };
            rows += 1;
            masked += usize::from(bytes.windows(8).any(|window| window == b"****7259"));
            for leak in scanner.find(&bytes) {
                wrong.push(format!("the recording of {}: {leak}", facts.session));
            }
        }
    }
    eprintln!("{sessions} recordings, {rows} events, {masked} with a masked card");
    if std::env::var_os("MASKS_CASE").is_none() && std::env::var_os("MASKS_THEME").is_none() {
        assert!(masked > 100, "no masked rows were recorded: {sessions} recordings, {rows} events, {masked}");
    }
    wrong
}
