//! `portcullis audit checkpoint` and `portcullis audit prove`: what to keep elsewhere, and what to hand out.

use portcullis_audit::{SignedCheckpoint, prove};
use serde_json::json;

use super::place::{Place, cannot};
use crate::{
    failure::Failure,
    output::{self, Format},
};

/// Prints the latest signed checkpoint.
///
/// Keep it where the gateway's machine cannot reach it. `audit verify --checkpoint` then shows whether the journal is a
/// continuation of it: nothing else finds that journal and proof were taken back to an older state together.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  portcullis audit checkpoint --config gateway.yaml | ssh vault 'cat >> checkpoints/gateway-1'")]
pub struct Checkpoint {
    #[command(flatten)]
    place: Place,
}

impl Checkpoint {
    /// Runs it.
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let found = self.place.find()?;
        let note = prove::latest_checkpoint(&found.journal)
            .map_err(|error| cannot(error.to_string()))?
            .ok_or_else(|| cannot(format!("there is no checkpoint in `{}`", found.journal.display())))?;
        let signed = SignedCheckpoint::open(&note, &found.key).map_err(|fault| {
            cannot(format!("the latest checkpoint: {fault}")).next("run `portcullis audit verify`")
        })?;
        match format {
            Format::Table => output::line(note.trim_end()),
            Format::Json => output::json(&json!({
                "origin": signed.checkpoint().origin,
                "events": signed.size(),
                "root": signed.checkpoint().root.to_string(),
                "note": signed.note(),
            }))?,
        }
        Ok(())
    }
}

/// Prints a proof that one event is in the journal.
///
/// It holds the event, the hashes that lead from it to the latest checkpoint, and the checkpoint. `audit verify --proof FILE
/// --key VKEY` checks it without the journal. The form is C2SP tlog-proof.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  portcullis audit prove 41 --config gateway.yaml > event-41.tlog-proof")]
pub struct Prove {
    /// The event: the number that `audit search` shows first
    sequence: u64,
    #[command(flatten)]
    place: Place,
}

impl Prove {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let found = self.place.find()?;
        let proof = prove::prove(&found.journal, self.sequence, &found.key)
            .map_err(|error| cannot(error.to_string()))?;
        output::line(proof.trim_end());
        Ok(())
    }
}
