//! The real `psql`, pointed at a server or at a gateway.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

/// Where and as whom to run `psql`. No start-up file is read and nothing is asked on a terminal.
#[derive(Debug, Clone)]
pub struct Psql {
    program: PathBuf,
    env: Vec<(&'static str, String)>,
}

/// What `psql` answered.
#[derive(Debug, Clone)]
pub struct PsqlOutput {
    /// The exit code: 0 fine, 1 error of psql's own, 2 connection lost, 3 a script failed (`-v ON_ERROR_STOP=1`).
    pub code: i32,
    /// Standard output: unaligned, tuples only, unless the arguments say otherwise.
    pub stdout: String,
    /// Standard error: what the server complained of.
    pub stderr: String,
}

impl Psql {
    /// To 127.0.0.1:`port` as `user`, to the database of the same name, without TLS.
    pub fn to(port: u16, user: &str) -> Self {
        Self { program: "psql".into(), env: Vec::new() }
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", port.to_string())
            .env("PGUSER", user)
            .env("PGSSLMODE", "disable")
            .env("PGCONNECT_TIMEOUT", "60")
    }

    /// With this password.
    #[must_use]
    pub fn password(self, password: &str) -> Self {
        self.env("PGPASSWORD", password)
    }

    /// To this database.
    #[must_use]
    pub fn database(self, database: &str) -> Self {
        self.env("PGDATABASE", database)
    }

    /// Through TLS, the server's name and certificate checked against the authority in the file `ca`.
    #[must_use]
    pub fn verify_full(self, ca: &Path) -> Self {
        self.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", ca.display().to_string())
    }

    /// Through TLS that checks nothing.
    #[must_use]
    pub fn tls(self) -> Self {
        self.env("PGSSLMODE", "require")
    }

    /// Sets any variable that libpq reads; the last one of a name wins.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// With another `psql`.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Runs one `-c` per statement string.
    pub async fn query(&self, sql: &str) -> PsqlOutput {
        self.run(&["-c", sql]).await
    }

    /// Runs `psql -X -w -q -A -t ARGS`. Other tasks of the runtime go on meanwhile.
    pub async fn run(&self, args: &[&str]) -> PsqlOutput {
        let output = tokio::process::Command::new(&self.program)
            .args(["-X", "-w", "-q", "-A", "-t"])
            .args(args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("PGSYSCONFDIR", "/nonexistent")
            .env("PGPASSFILE", "/nonexistent")
            .env("PSQL_HISTORY", "/dev/null")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|error| panic!("running {}: {error}", self.program.display()));
        PsqlOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl PsqlOutput {
    /// Standard output, trimmed; panics with the server's complaint unless psql exited 0.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "psql failed: {}", self.stderr);
        self.stdout.trim()
    }

    /// Standard error; panics if psql exited 0.
    #[track_caller]
    pub fn err(&self) -> &str {
        assert_ne!(self.code, 0, "psql should have failed; it printed: {}", self.stdout);
        self.stderr.trim()
    }
}
