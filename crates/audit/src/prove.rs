//! Inclusion proofs: that one event is in the journal, for whoever has the public key and nothing else. C2SP tlog-proof.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64 of the event's JSON>
//! index <sequence>
//! <base64 hash>                       the audit path, from the lowest level up
//!
//! <checkpoint>
//! ```

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    Error, Position, Reader, SignedCheckpoint, VerifierKey,
    checkpoint::last_note,
    format::HEADER_LEN,
    proof::{self, read_blocks, root_of},
    reader::{Source, read_header, segments},
    tree::{Hash, inclusion_path, root_from_path},
};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// An event that was shown to be under a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Its sequence.
    pub sequence: u64,
    /// The event as it stands in the journal, JSON.
    pub json: Vec<u8>,
    /// What proves it.
    pub checkpoint: SignedCheckpoint,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// Not the form of a proof.
    #[error(
        "it is no proof: expected `{FIRST_LINE}`, `extra`, `index`, hashes, an empty line and a checkpoint"
    )]
    Form,
    /// The checkpoint is not good.
    #[error("the checkpoint in it: {0}")]
    Checkpoint(#[from] crate::note::NoteFault),
    /// Event, path and checkpoint do not belong together.
    #[error("the event is not the one that the checkpoint covers at this place")]
    Root,
}

/// The latest whole checkpoint of a journal's folder, if there is any.
pub fn latest_checkpoint(journal: &Path) -> Result<Option<String>, Error> {
    Ok(last_note(&proof::checkpoints_path(journal))?.map(|(note, _)| note.text))
}

/// The proof of one event against the latest checkpoint of a journal's folder.
pub fn prove(journal: &Path, sequence: u64, key: &VerifierKey) -> Result<String, Error> {
    let path = proof::checkpoints_path(journal);
    let fault = |fault: String| Error::Proof { path: path.clone(), fault };
    let note = latest_checkpoint(journal)?.ok_or_else(|| fault("there is no checkpoint".to_owned()))?;
    let checkpoint = SignedCheckpoint::open(&note, key).map_err(|error| fault(error.to_string()))?;
    if sequence >= checkpoint.size() {
        return Err(fault(format!(
            "the latest checkpoint covers {} events, not {sequence}",
            checkpoint.size()
        )));
    }
    let json = event(journal, sequence)?;
    let blocks = read_blocks(journal)?;
    let incomplete = || Error::Proof {
        path: proof::leaves_folder(journal),
        fault: "leaf hashes are missing; run `portcullis audit verify`".to_owned(),
    };
    let path = inclusion_path(sequence, checkpoint.size(), |range| {
        root_of(journal, &blocks, range)?.ok_or_else(incomplete)
    })?;
    let hashes: String = path.unwrap_or_default().iter().map(|hash| format!("{hash}\n")).collect();
    let text = format!(
        "{FIRST_LINE}\nextra {}\nindex {sequence}\n{hashes}\n{}",
        STANDARD.encode(json),
        checkpoint.note()
    );
    // What does not prove the event is not handed out.
    match check(&text, key) {
        Ok(_) => Ok(text),
        Err(error) => Err(fault(format!("event {sequence}: {error}; run `portcullis audit verify`"))),
    }
}

/// The event's JSON.
fn event(journal: &Path, sequence: u64) -> Result<Vec<u8>, Error> {
    let mut start = None;
    for number in segments(journal)? {
        let header = read_header(journal, number)?;
        if header.first_sequence > sequence {
            break;
        }
        start =
            Some(Position { sequence: header.first_sequence, segment: number, offset: HEADER_LEN as u64 });
    }
    if let Some(start) = start {
        let mut reader = Reader::new(journal.to_owned(), start, Source::Files);
        while let Some(entry) = reader.read()? {
            if entry.sequence == sequence {
                return Ok(entry.json);
            }
        }
    }
    Err(Error::Proof { path: journal.to_owned(), fault: format!("event {sequence} is not there any more") })
}

/// Checks a proof.
pub fn check(text: &str, key: &VerifierKey) -> Result<Proven, ProofFault> {
    let (head, note) = text.split_once("\n\n").ok_or(ProofFault::Form)?;
    let mut lines = head.lines();
    let mut after =
        |start: &str| lines.next().and_then(|line| line.strip_prefix(start)).ok_or(ProofFault::Form);
    after(FIRST_LINE).and_then(|rest| if rest.is_empty() { Ok(()) } else { Err(ProofFault::Form) })?;
    let json = STANDARD.decode(after("extra ")?).map_err(|_| ProofFault::Form)?;
    let sequence = after("index ")?.parse().map_err(|_| ProofFault::Form)?;
    let path: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
    let checkpoint = SignedCheckpoint::open(note, key)?;
    let leaf = Hash::of_event(sequence, &json, &mut Vec::new());
    let root = root_from_path(leaf, sequence, checkpoint.size(), &path.ok_or(ProofFault::Form)?);
    if root != Some(checkpoint.checkpoint().root) {
        return Err(ProofFault::Root);
    }
    Ok(Proven { sequence, json, checkpoint })
}
