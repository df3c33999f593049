//! `portcullis completions` and `portcullis man`: what shells and `man` want to know of the command line.

use std::path::PathBuf;

use clap::Command;

use crate::failure::Failure;

/// Prints completions for a shell, to be sourced or put where the shell looks for them.
///
/// bash: `portcullis completions bash > ~/.local/share/bash-completion/completions/portcullis`
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Writes a man page for every command into a folder.
///
/// `portcullis man ~/.local/share/man/man1`, then `man portcullis-request`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The folder; it is made where it is missing
    folder: PathBuf,
}

/// Runs `completions`.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "portcullis", &mut text);
    crate::output::line(String::from_utf8_lossy(&text).trim_end());
    Ok(())
}

/// Runs `man`.
pub fn man(args: &ManArgs, command: Command) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::cannot(format!("cannot write man pages to `{}`: {error}", args.folder.display()))
    };
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), &args.folder).map_err(failed)
}
