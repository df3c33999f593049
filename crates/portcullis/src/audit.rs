//! `portcullis audit`: what happened, and the proof that nothing of it was changed.
//!
//! **How to read it**: `search` (the index), `verify` (the whole check), `proof` (checkpoints and single events), `place` (which
//! files and which key).

use crate::{failure::Failure, output::Format};

mod place;
mod proof;
mod search;
mod verify;

/// Asks the audit log, and proves it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Search(Box<search::Search>),
    Verify(verify::Verify),
    Checkpoint(proof::Checkpoint),
    Prove(proof::Prove),
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    match &args.command {
        Command::Search(search) => search::run(search, format),
        Command::Verify(verify) => verify.run(format),
        Command::Checkpoint(checkpoint) => checkpoint.run(format),
        Command::Prove(prove) => prove.run(),
    }
}
