//! Checking a journal with the public key and the files alone: every frame, sequence, leaf hash, checkpoint and recording.
//!
//! **Promises.** Names the first event that is not as it was when it was signed, and says what happened to it as far as the
//! files tell. Reads beside a running gateway, too. Trusts the key and nothing else.
//!
//! **Does not** notice that everything, checkpoints included, was taken back to an older state: only a checkpoint that was
//! kept elsewhere shows that ([`Sources::kept`]).
//!
//! **How to read it**: this file (what is asked and answered), `checkpoints` (signatures and their order), `pass` (journal,
//! leaf hashes and checkpoints in lockstep), `diagnose` (what happened to an event), `segment` (frames), `recordings`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, SignedCheckpoint, VerifierKey, proof};

mod checkpoints;
mod diagnose;
mod pass;
mod recordings;
mod segment;

/// What is checked.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The journal's folder.
    pub journal: PathBuf,
    /// The folder of recordings; `None`: they are not looked at.
    pub recordings: Option<PathBuf>,
    /// Checkpoints that were kept elsewhere: the journal must be a continuation of each.
    pub kept: Vec<SignedCheckpoint>,
}

/// What happened to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// It has other content.
    Altered,
    /// It is not there.
    Missing,
    /// It stands in another place.
    Reordered,
    /// The end is not there.
    Truncated,
    /// It was not there before.
    Inserted,
    /// It is there twice.
    Duplicated,
    /// The signature is not the key's.
    Forged,
    /// A checkpoint that was kept elsewhere is not among the states of this journal.
    RolledBack,
}

/// What it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The format's own checksum shows it: a disk, a copy, a crash. Also what somebody leaves who did not care.
    Accident,
    /// The checksums were made to fit.
    Intent,
    /// Either.
    Unclear,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What happened.
    pub what: What,
    /// What it looks like.
    pub cause: Cause,
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The session it says to belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// In words.
    pub text: String,
}

impl Finding {
    fn new(what: What, cause: Cause, file: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            what,
            cause,
            file: file.into(),
            offset: None,
            sequence: None,
            session: None,
            text: text.into(),
        }
    }

    fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    fn event(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }
}

/// What was checked and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Events whose records were read and are good.
    pub events: u64,
    /// Events whose segments retention deleted; their hashes are good.
    pub deleted: u64,
    /// Segments read to their end.
    pub segments: u64,
    /// Whether reading stopped at a broken event: what follows it was not looked at.
    pub stopped: bool,
    /// Checkpoints whose signatures are good.
    pub checkpoints: u64,
    /// Events under the last of them.
    pub covered: u64,
    /// Events behind it: written since, not yet under a signature.
    pub uncovered: u64,
    /// Recordings' segments that are as they were announced.
    pub recordings: u64,
    /// Recordings' segments that retention deleted.
    pub recordings_deleted: u64,
    /// What is broken; the first event first. Empty: all is as it was signed.
    pub findings: Vec<Finding>,
    /// What is worth knowing and not broken.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether nothing is broken.
    pub const fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// How far checking is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Read so far.
    pub done: u64,
    /// In all.
    pub total: u64,
}

/// Checks. An error means that it could not be done: the files cannot be read, or there is no proof to check with.
pub fn verify(
    sources: &Sources,
    key: &VerifierKey,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, Error> {
    let journal = sources.journal.as_path();
    if !proof::folder(journal).is_dir() {
        let fault = "there is no such folder: no gateway has kept a proof of this journal".to_owned();
        return Err(Error::Proof { path: proof::folder(journal), fault });
    }
    let mut report = Report::default();
    // Read first what runs behind: checkpoints, leaf hashes, then the journal. What is written meanwhile is not missed then.
    let recordings = sources.recordings.as_deref().map(recordings::Folder::list).transpose()?;
    let notes = checkpoints::check(journal, key, &mut report)?;
    let outcome = pass::Pass::new(journal, notes, &sources.kept)?.run(&mut report, progress)?;
    if let Some(folder) = recordings {
        folder.check(&outcome, &mut report)?;
    }
    Ok(report)
}

fn show(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
