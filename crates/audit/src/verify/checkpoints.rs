//! The file of checkpoints: signatures, and that each names the one before.

use std::{collections::BTreeSet, path::Path};

use super::{Cause, Finding, Report, What};
use crate::{
    Error, Hash, SignedCheckpoint, VerifierKey,
    checkpoint::{Found, NoteReader, RawNote},
    note::NoteFault,
    proof,
};

/// How many signatures are checked at once.
const BATCH: usize = 4096;
/// From this many bad ones on the rest is not looked at.
const ENOUGH: usize = 1000;

/// The good checkpoints of the file, in order, as often as they are asked for.
pub(super) struct Notes {
    reader: Option<NoteReader>,
    bad: BTreeSet<u64>,
    path: std::path::PathBuf,
    /// How many events the largest good one covers.
    pub(super) covered: u64,
}

impl Notes {
    /// The size and root of the next good one.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Hash)>, Error> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        loop {
            match reader.next().map_err(Error::io("read", &self.path))? {
                Found::Note(note) if !self.bad.contains(&note.offset) => {
                    let mut lines = note.text.lines().skip(1);
                    let size = lines.next().and_then(|line| line.parse().ok());
                    let root = lines.next().and_then(Hash::from_base64);
                    if let (Some(size), Some(root)) = (size, root) {
                        return Ok(Some((size, root)));
                    }
                }
                Found::Note(_) | Found::Garbage { .. } => {}
                Found::Torn { .. } | Found::End => return Ok(None),
            }
        }
    }
}

/// Checks the file; findings go into the report.
pub(super) fn check(journal: &Path, key: &VerifierKey, report: &mut Report) -> Result<Notes, Error> {
    let path = proof::checkpoints_path(journal);
    let len = proof::length(&path)?;
    let mut notes = Notes { reader: None, bad: BTreeSet::new(), path: path.clone(), covered: 0 };
    let mut chain = Chain { path: &path, last: None, length: 0, count: 0, findings: Vec::new() };
    if len == 0 {
        let text = "there are no checkpoints: the file is missing or empty";
        report.findings.push(Finding::new(What::Missing, Cause::Unclear, &path, text));
        return Ok(notes);
    }
    let mut reader = NoteReader::open(&path, len)?;
    let (mut over, mut torn) = (false, None);
    while !over && notes.bad.len() < ENOUGH {
        let mut batch = Vec::new();
        while batch.len() < BATCH && !over {
            match reader.next().map_err(Error::io("read", &path))? {
                Found::Note(note) => batch.push(note),
                Found::Garbage { offset } => {
                    chain.bad(offset, NoteFault::Form);
                    over = true;
                }
                Found::Torn { offset } => {
                    torn = Some(offset);
                    over = true;
                }
                Found::End => over = true,
            }
        }
        for (note, opened) in open(&batch, key) {
            match opened {
                Ok(checkpoint) => {
                    report.checkpoints += 1;
                    notes.covered = notes.covered.max(checkpoint.size());
                    chain.good(note.offset, checkpoint);
                }
                Err(fault) => {
                    notes.bad.insert(note.offset);
                    chain.bad(note.offset, fault);
                }
            }
        }
    }
    match torn {
        // What is as long as the one before it was whole once.
        Some(offset) if len - offset < chain.length => {
            report
                .notes
                .push(format!("the last checkpoint, at byte {offset}, is incomplete: it was being written"));
        }
        Some(offset) => chain.bad(offset, NoteFault::Form),
        None => {}
    }
    report.covered = notes.covered;
    report.findings.append(&mut chain.findings);
    notes.reader = Some(NoteReader::open(&path, len)?);
    Ok(notes)
}

/// Checks signatures on all cores.
fn open<'a>(
    notes: &'a [RawNote],
    key: &VerifierKey,
) -> Vec<(&'a RawNote, Result<SignedCheckpoint, NoteFault>)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = notes.len().div_ceil(cores).max(64);
    let some = |notes: &'a [RawNote]| {
        notes.iter().map(|note| (note, SignedCheckpoint::open(&note.text, key))).collect::<Vec<_>>()
    };
    if notes.len() <= share {
        return some(notes);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = notes.chunks(share).map(|notes| scope.spawn(move || some(notes))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

/// The checkpoints so far. One finding is enough: what follows a break is broken, too.
struct Chain<'a> {
    path: &'a Path,
    last: Option<SignedCheckpoint>,
    /// How many bytes the last one had.
    length: u64,
    count: u64,
    findings: Vec<Finding>,
}

impl Chain<'_> {
    fn find(&mut self, what: What, cause: Cause, offset: u64, text: String) {
        if self.findings.is_empty() {
            self.findings.push(Finding::new(what, cause, self.path, text).at(offset));
        }
    }

    fn bad(&mut self, offset: u64, fault: NoteFault) {
        let (what, cause) = match fault {
            NoteFault::Form => (What::Altered, Cause::Unclear),
            NoteFault::OtherKey => (What::Forged, Cause::Intent),
            NoteFault::Signature => (What::Altered, Cause::Unclear),
        };
        let text = format!("checkpoint {} is not good: {fault}", self.count);
        self.find(what, cause, offset, text);
        self.count += 1;
        // The next one names the hash of what stood here, which nobody can tell any more.
        self.last = None;
    }

    fn good(&mut self, offset: u64, next: SignedCheckpoint) {
        let previous = next.checkpoint().previous;
        let number = self.count;
        match &self.last {
            Some(last) if next.size() < last.size() => {
                let text = format!(
                    "checkpoint {number} covers {} events, and the one before it {}: they changed places",
                    next.size(),
                    last.size()
                );
                self.find(What::Reordered, Cause::Intent, offset, text);
            }
            Some(last) if last.note() == next.note() => {
                let text = format!("checkpoint {number} is there twice");
                self.find(What::Duplicated, Cause::Intent, offset, text);
            }
            Some(last) if previous != Some(last.hash()) => {
                let text = format!(
                    "checkpoint {number} does not follow the one before it: one or more between them are gone"
                );
                self.find(What::Missing, Cause::Intent, offset, text);
            }
            None if number == 0 && previous.is_some() => {
                let text =
                    "the first checkpoints are gone: the first that is there names one before it".to_owned();
                self.find(What::Missing, Cause::Intent, offset, text);
            }
            _ => {}
        }
        self.count += 1;
        self.length = next.note().len() as u64;
        self.last = Some(next);
    }
}
