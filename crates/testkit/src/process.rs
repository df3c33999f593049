//! Child processes that cannot be left behind.
//!
//! A child is started through `setpriv --pdeathsig`, so the kernel ends it when this process dies, whatever killed it.
//! The kernel means the *thread* that forked (prctl(2), PR_SET_PDEATHSIG), so one thread that never ends forks them all.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use crate::Scratch;

/// How long a child may take to become ready. A limit for a machine under load, not an expectation.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(10);

/// Which program to run and how. The environment is inherited; `env` adds to it.
#[derive(Debug, Clone, Default)]
pub struct ProcessOptions {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    within: Option<Duration>,
}

impl ProcessOptions {
    /// `program`: a path, such as `env!("CARGO_BIN_EXE_portcullis")`, or a name to look up.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { program: program.as_ref().to_owned(), ..Self::default() }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// How long [`Process::wait`] and its kin wait at most; 90 s unless told.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = Some(limit);
        self
    }

    /// Runs it in `dir`.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }
}

/// A running program: its output is kept, and it is killed, with its children, on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Scratch,
    limit: Duration,
}

impl Process {
    /// Starts it. Its standard input is empty; its output and errors go to one log, in the order they were written.
    pub fn start(options: ProcessOptions) -> Self {
        let name = Path::new(&options.program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = Scratch::new();
        let log = File::create(output.join("log")).expect("a log file");
        let mut command = tied_to_us(&options.program, "KILL", None);
        command.args(&options.args).envs(options.env);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        if let Some(dir) = options.dir {
            command.current_dir(dir);
        }
        let limit = options.within.unwrap_or(READY_WITHIN);
        Self { child: spawn(command), name, output, limit }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.output.join("log")).unwrap_or_default()).into_owned()
    }

    /// Waits until it has printed a line that contains `text`, and returns that line. Panics, with the log, when the
    /// program ends first.
    pub async fn wait_for_line(&mut self, text: &str) -> String {
        let what = format!("a line with `{text}`");
        self.wait_until(&what, |process| {
            process
                .log()
                .split_inclusive('\n')
                .find(|line| line.ends_with('\n') && line.contains(text))
                .map(str::to_owned)
        })
        .await
    }

    /// Waits until `path` holds a whole JSON document, such as the gateway's `listeners.json`, and returns it.
    pub async fn wait_for_json(&mut self, path: impl AsRef<Path>) -> serde_json::Value {
        let path = path.as_ref();
        let what = format!("JSON in {}", path.display());
        self.wait_until(&what, |_| serde_json::from_slice(&fs::read(path).ok()?).ok()).await
    }

    /// Waits until `probe` gives a value. Panics, with the log, when the program ends first or time runs out.
    pub async fn wait_until<T>(&mut self, what: &str, mut probe: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + self.limit;
        loop {
            // Asked before the probe: what it wrote last still counts.
            let ended = self.child.try_wait().expect("its status");
            if let Some(value) = probe(self) {
                return value;
            }
            if let Some(status) = ended {
                panic!("{} ended ({status}) before {what}; it printed:\n{}", self.name, self.log());
            }
            assert!(
                Instant::now() < deadline,
                "{} never gave {what}; it printed:\n{}",
                self.name,
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for it to end by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} did not end; it printed:\n{}", self.name, self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        signal("TERM", &self.child.id().to_string());
        self.wait().await
    }

    /// SIGKILL to it and its children, now; returns when the program is gone. What it wrote to files stays.
    pub fn kill_hard(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            signal("KILL", &format!("-{}", self.child.id()));
            self.child.wait().expect("the end of a killed process");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_hard();
        if std::thread::panicking() {
            let mut text = String::new();
            let _ = writeln!(text, "--- {} printed:", self.name);
            for line in self.log().lines() {
                let _ = writeln!(text, "    {line}");
            }
            eprint!("{text}");
        }
    }
}

/// A command for `program` that gets `signal` when this process dies, in a process group of its own, as `user` when given.
pub(crate) fn tied_to_us(program: impl AsRef<OsStr>, signal: &str, user: Option<&str>) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("setpriv");
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.args(["--pdeathsig", signal, "--"]).arg(program).process_group(0);
    command
}

/// Starts `command` from the thread that lives as long as this process.
pub(crate) fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::SyncSender<std::io::Result<Child>>);
    static FORKER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("forker".to_owned())
            .spawn(move || {
                for (mut command, reply) in queue {
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread");
        orders
    });
    let what = format!("{:?}", command.get_program());
    let (reply, answer) = mpsc::sync_channel(1);
    forker.send((command, reply)).expect("the forker lives as long as we do");
    answer.recv().expect("the forker's answer").unwrap_or_else(|error| panic!("starting {what}: {error}"))
}

/// Sends a signal through the shell's own `kill`: the library call would need `unsafe`, kill(1) may not be installed.
pub(crate) fn signal(signal: &str, target: &str) {
    let script = r#"kill -s "$0" -- "$1""#;
    let _ = Command::new("sh").args(["-c", script, signal, target]).stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests;
