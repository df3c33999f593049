//! A child that runs until the demo ends: its log, its readiness, its end.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// How long a child may take until it answers. A limit for a machine under load, not an expectation.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a child may take to end once asked.
const ENDS_WITHIN: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(20);

/// A running child. Dropping it ends it.
pub(super) struct Server {
    name: &'static str,
    child: Child,
    /// The signal that ends it in order.
    stop: &'static str,
    log: PathBuf,
}

/// Who runs a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunAs {
    /// Whoever runs the demo.
    Ourselves,
    /// This user; only root can say so.
    User(String),
}

/// A command whose process the kernel ends when this one is gone, whatever ended it (prctl(2), `PR_SET_PDEATHSIG`), and which
/// does not hear the terminal's Ctrl-C: the demo stops its children itself, in order.
///
/// The kernel means the thread that forked: call it from the main task only.
pub(super) fn tied(program: &Path, signal: &str, run_as: &RunAs) -> Command {
    let mut command = Command::new("setpriv");
    if let RunAs::User(user) = run_as {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.args(["--pdeathsig", signal, "--"]).arg(program).process_group(0).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts it. What it prints goes to `log`.
    pub(super) fn start(
        name: &'static str,
        stop: &'static str,
        log: PathBuf,
        mut command: Command,
    ) -> anyhow::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| log.display().to_string())?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name} (through `setpriv`, of util-linux)"))?;
        Ok(Self { name, child, stop, log })
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The end of what it printed.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `probe` says yes.
    ///
    /// # Errors
    /// It ended before, or time ran out.
    pub(super) async fn ready(&mut self, mut probe: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if probe().await {
                return Ok(());
            }
            if self.has_ended() {
                bail!("{} ended before it was ready; it printed:\n{}", self.name, self.last_words());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {READY_WITHIN:?}; it printed:\n{}",
                    self.name,
                    self.last_words()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        self.signal(self.stop);
        let deadline = Instant::now() + ENDS_WITHIN;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether something accepts connections at a port of 127.0.0.1.
pub(super) async fn accepts(port: u16) -> bool {
    tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
}

/// A free port of 127.0.0.1, kept from others until it is released to the child that listens on it.
pub(super) struct Reserved {
    listener: TcpListener,
    port: u16,
}

impl Reserved {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Lets go of it. Whoever is to have it starts now.
    pub(super) fn release(self) -> u16 {
        drop(self.listener);
        self.port
    }
}
