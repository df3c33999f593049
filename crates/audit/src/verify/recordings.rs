//! Recordings: every sealed segment that the journal announced is there and is what was announced, unless retention deleted it.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_core::{SessionId, event::RecordingSealedEvent};

use super::{Cause, Finding, Report, What};
use crate::Error;

/// How deep sealed segments lie: `<day>/<session>/<number>.rec`.
const OPEN: &str = "open";

/// What the journal says of recordings.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    sealed: BTreeMap<(SessionId, u32), Announced>,
    /// Sessions whose recordings retention deleted.
    pub(super) deleted: HashSet<SessionId>,
    /// Whether the journal was read to its end. If not, what was announced after that is not known.
    pub(super) complete: bool,
}

#[derive(Debug)]
struct Announced {
    sha256: String,
    bytes: u64,
}

impl Outcome {
    /// Takes in what was announced. The first word counts: a segment that is announced again after a crash is the same, and whoever
    /// changed it could have had it announced anew.
    pub(super) fn sealed(&mut self, event: &RecordingSealedEvent) {
        let announced = Announced { sha256: event.sha256.clone(), bytes: event.bytes };
        self.sealed.entry((event.session, event.segment)).or_insert(announced);
    }
}

/// The sealed segments that are in the folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    found: BTreeMap<(SessionId, u32), PathBuf>,
    strangers: Vec<PathBuf>,
}

impl Folder {
    pub(super) fn list(path: &Path) -> Result<Self, Error> {
        let mut this = Self { path: path.to_owned(), found: BTreeMap::new(), strangers: Vec::new() };
        for day in entries(path)? {
            if day.file_name().is_some_and(|name| name == OPEN) || !day.is_dir() {
                continue;
            }
            for session in entries(&day)? {
                let Some(id) =
                    session.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok())
                else {
                    this.strangers.push(session);
                    continue;
                };
                for file in entries(&session)? {
                    let number = file.file_name().and_then(|name| name.to_str()).and_then(number_of);
                    match number {
                        Some(number) => this.strangers.extend(this.found.insert((id, number), file)),
                        // A segment that is being sealed stands beside its place until it is whole.
                        None if file.extension().is_some_and(|ending| ending == "tmp") => {}
                        None => this.strangers.push(file),
                    }
                }
            }
        }
        Ok(this)
    }

    pub(super) fn check(&self, outcome: &Outcome, report: &mut Report) -> Result<(), Error> {
        let mut again = None;
        for ((session, number), announced) in &outcome.sealed {
            let broken = |what, cause, path: &Path, text: String| {
                let mut finding = Finding::new(what, cause, path, text);
                finding.session = Some(session.to_string());
                finding
            };
            let key = (*session, *number);
            if !self.found.contains_key(&key) && again.is_none() {
                // It may have been sealed and announced since the folder was listed.
                again = Some(Self::list(&self.path)?);
            }
            let now = again.as_ref().and_then(|again| again.found.get(&key));
            let finding = match self.found.get(&key).or(now) {
                Some(path) => match matches(path, &announced.sha256)? {
                    true => {
                        report.recordings += 1;
                        continue;
                    }
                    false => {
                        let text =
                            format!("segment {number} of the recording is not the one that was sealed");
                        let bytes = path.metadata().map_or(announced.bytes, |metadata| metadata.len());
                        let what = if bytes < announced.bytes { What::Truncated } else { What::Altered };
                        broken(what, Cause::Unclear, path, text)
                    }
                },
                None if outcome.deleted.contains(session) => {
                    report.recordings_deleted += 1;
                    continue;
                }
                None => {
                    // So is one that was sealed after its folder was copied, in a copy of files that were in use.
                    let text = format!(
                        "segment {number} of the recording is gone, and no signed retention event says so; or this is a \
                         copy whose recordings were taken before its journal"
                    );
                    broken(What::Missing, Cause::Unclear, &self.path.join(session.to_string()), text)
                }
            };
            report.findings.push(finding);
        }
        self.check_unannounced(outcome, report);
        for path in &self.strangers {
            report.notes.push(format!("`{}` is no recording of this gateway", path.display()));
        }
        Ok(())
    }

    fn check_unannounced(&self, outcome: &Outcome, report: &mut Report) {
        let unannounced = self.found.iter().filter(|(key, _)| !outcome.sealed.contains_key(key));
        if !outcome.complete {
            report.notes.push(not_checked(unannounced.count()));
            return;
        }
        for ((session, number), path) in unannounced {
            // The newest may just have been sealed, and its announcement be on its way; it comes again after a crash.
            let newest = !outcome.sealed.keys().any(|(other, later)| other == session && later > number);
            if newest {
                report.notes.push(format!("`{}` is not announced in the journal yet", path.display()));
            } else if !outcome.deleted.contains(session) {
                let text = format!("segment {number} of the recording was never announced");
                report.findings.push(Finding::new(What::Inserted, Cause::Intent, path, text));
            }
        }
    }
}

/// Reading the journal stopped: what recordings are there that it did not announce up to then.
fn not_checked(there: usize) -> String {
    let text = "reading the journal stopped: recordings announced after that were not checked";
    match there {
        0 => text.to_owned(),
        1 => format!("{text}; 1 sealed segment is there that was not announced before"),
        more => format!("{text}; {more} sealed segments are there that were not announced before"),
    }
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_suffix(".rec")?.parse().ok()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io("list", folder))).collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("list", folder)(error)),
    }
}

/// Whether a file's SHA-256 is this one, in hex.
pub(super) fn matches(path: &Path, sha256: &str) -> Result<bool, Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => break,
            got => context.update(buffer.get(..got).unwrap_or_default()),
        }
    }
    let digest = context.finish();
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(hex == sha256)
}
