//! Commands as a person types them, run by `sh`.

use std::{process::Stdio, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// What is never asked for through a proxy.
const LOOPBACK: &str = "127.0.0.1,localhost";

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The environment that every command of the story runs in.
#[derive(Debug, Clone, Default)]
pub(super) struct Shell {
    env: Vec<(&'static str, String)>,
}

/// What a command left.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) succeeded: bool,
    /// Standard output and standard error, in the order they were written.
    pub(super) text: String,
}

impl Output {
    pub(super) fn has(&self, part: &str) -> bool {
        self.text.contains(part)
    }
}

impl Shell {
    /// Sets a variable for what is run from now on.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.into()));
    }

    pub(super) fn exports(&self) -> &[(&'static str, String)] {
        &self.env
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec 2>&1\n{line}"));
        // Nothing of the caller's own PostgreSQL settings.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG") || name.starts_with("PORTCULLIS_")) {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .env("PSQLRC", "/dev/null")
            .env("PGPASSFILE", "/dev/null")
            .env("PSQL_PAGER", "cat")
            .env("LC_ALL", "C.UTF-8");
        // A proxy of the environment is not for this machine's own addresses.
        command.env("NO_PROXY", LOOPBACK).env("no_proxy", LOOPBACK);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a line to its end.
    ///
    /// # Errors
    /// There is no shell, or the command does not end.
    pub(super) async fn run(&self, line: &str) -> anyhow::Result<Output> {
        let output = tokio::time::timeout(PATIENCE, self.command(line).output())
            .await
            .with_context(|| format!("`{line}` did not end within {PATIENCE:?}"))?
            .context("cannot run `sh`")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Output { succeeded: output.status.success(), text })
    }

    /// Starts a line that goes on for a while.
    ///
    /// # Errors
    /// There is no shell.
    pub(super) fn start(&self, line: &str) -> anyhow::Result<Running> {
        let mut child = self.command(line).spawn().context("cannot run `sh`")?;
        let stdout = child.stdout.take().context("no output")?;
        Ok(Running { child, lines: BufReader::new(stdout).lines(), text: String::new() })
    }
}

/// A command that has not ended yet.
pub(super) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    text: String,
}

impl Running {
    /// The next line; none where there is no more.
    ///
    /// # Errors
    /// None came for long.
    pub(super) async fn line(&mut self) -> anyhow::Result<Option<String>> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.with_context(|| {
            format!("nothing was printed for {PATIENCE:?}; before that:\n{}", self.text)
        })??;
        if let Some(line) = &line {
            self.text.push_str(line);
            self.text.push('\n');
        }
        Ok(line)
    }

    /// The next line, however long a person takes; none where there is no more. Cancel safe.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn line_at_leisure(&mut self) -> anyhow::Result<Option<String>> {
        let line = self.lines.next_line().await?;
        if let Some(line) = &line {
            self.text.push_str(line);
            self.text.push('\n');
        }
        Ok(line)
    }

    /// What it printed so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What came so far, and whether it ended well.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) async fn finish(mut self) -> anyhow::Result<Output> {
        while self.line().await?.is_some() {}
        let status = self.child.wait().await?;
        Ok(Output { succeeded: status.success(), text: self.text })
    }
}
