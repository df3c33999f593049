//! `portcullis demo`: the product on one machine, walked through and checked step by step.
//!
//! **Promises.** Everything shown is real: the issuer and the gateway are child processes of this same binary, the upstream
//! is a PostgreSQL server made for the occasion, the client is psql, and each line after a `$` is given to a shell as it
//! stands. All of it listens on loopback. Children and files are gone when the demo is, however it ends; after a failed
//! step the logs stay.
//!
//! **Does not** use anything of the gateway but its command line, its listeners and its documents.
//!
//! **How to read it**: `story` (the steps), `stage` (the processes), `upstream` (PostgreSQL), `narrator` (what is printed),
//! `audience` (who answers what people are asked).
//!
//! **References**: `examples/demo/`, the documents that the stage is set with.

use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Exit, Failure};

mod audience;
mod narrator;
mod server;
mod shell;
mod stage;
mod story;
#[cfg(test)]
mod tests;
mod upstream;

use audience::Audience;
use narrator::Narrator;
use stage::Stage;

/// Shows an identity reaching a real PostgreSQL through the gateway, and checks every step.
///
/// Starts an Entra-shaped identity provider, a throw-away PostgreSQL and a gateway on this machine, walks through what an
/// agent can and cannot do and what people are asked, and stays up for trying by hand. What people are asked, you answer in the
/// console, or press Enter and the demo answers. Needs a PostgreSQL server and psql installed; they are looked for in PG_BIN, in
/// the PATH and in /usr/lib/postgresql. Stops and removes everything on Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask nobody and stop after the last step: exit 0 if every step held, 1 if not
    #[arg(long)]
    once: bool,
    /// Keep everything in this directory, which must not exist yet, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print without colours
    #[arg(long)]
    no_color: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    // On this very thread: the kernel ends the children when the thread that started them is gone.
    match crate::block_on(demo(args))? {
        Ok(Outcome::Held) => Ok(()),
        Ok(Outcome::NotHeld) => Err(Failure::told(Exit::No)),
        Err(error) => Err(Failure::cannot(format!("{error:#}"))),
    }
}

enum Outcome {
    Held,
    NotHeld,
}

/// Sets the stage, tells the story, cleans up.
async fn demo(args: &Args) -> anyhow::Result<Outcome> {
    let mut narrator = Narrator::new(args.no_color);
    let mut interrupted = Interrupted::new()?;
    let mut stage = Stage::new(args.keep.as_deref())?;
    let told = tokio::select! {
        told = tell(&mut stage, &mut narrator, Audience::new(args.once)) => Some(told),
        () = interrupted.wait() => None,
    };
    let Some(told) = told else {
        narrator.note("interrupted: stopping, and cleaning up");
        return Ok(Outcome::NotHeld);
    };
    if let Err(error) = told {
        let logs = stage.keep_logs();
        return Err(error.context(format!("the demo could not go on; its logs are in {}", logs.display())));
    }
    let failed = narrator.failures();
    if failed > 0 {
        narrator.verdict(&format!(
            "{failed} of the checks FAILED; the logs are in {}",
            stage.keep_logs().display()
        ));
    } else {
        narrator.verdict("Every step held.");
    }
    if !args.once {
        story::by_hand(&stage, &narrator);
        tokio::select! {
            () = interrupted.wait() => {}
            ended = stage.watch() => narrator.note(&format!("{ended} has ended")),
        }
        narrator.note("stopping, and cleaning up");
    }
    Ok(if failed == 0 { Outcome::Held } else { Outcome::NotHeld })
}

async fn tell(stage: &mut Stage, narrator: &mut Narrator, mut audience: Audience) -> anyhow::Result<()> {
    stage.set(narrator).await?;
    story::tell(stage, narrator, &mut audience).await
}

/// Ctrl-C and the other ways a person or a supervisor says stop.
struct Interrupted {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Interrupted {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Cancel safe.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
