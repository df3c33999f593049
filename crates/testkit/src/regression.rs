//! PostgreSQL's own regression suite (`tests/regression`), run against a server or through a gateway.

use std::path::{Path, PathBuf};

use crate::{Process, ProcessOptions, cache_dir, drivers::DriverTarget};

/// How much of the suite is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// What is soon done where every change of structure costs a look at the catalog.
    FewChanges,
}

impl Part {
    fn schedule(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::FewChanges => Some("masked_schedule"),
        }
    }
}

/// Whether `scripts/setup test` could fetch the suite for a server of this machine.
pub fn available() -> bool {
    let kept = std::fs::read_dir(cache_dir())
        .map(|entries| entries.flatten().collect())
        .unwrap_or_else(|_| Vec::new());
    kept.iter().any(|entry| entry.file_name().to_string_lossy().starts_with("regression-"))
}

/// Settings for a server that the suite runs against: it expects the defaults that [`crate::PgServer`] changes for speed.
pub fn server_settings() -> Vec<(String, String)> {
    let settings = [("autovacuum", "on"), ("shared_buffers", "128MB"), ("log_statement", "none")];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Runs the suite and leaves its results in `out`, a folder that must be reachable by the user PostgreSQL runs as.
/// The server must be fresh. Panics when fewer tests than expected ran; which passed is for [`compare`] to judge.
pub async fn run_suite(target: &DriverTarget, part: Part, out: &Path) {
    let mut options = ProcessOptions::new(script()).arg("suite").arg(out).args(part.schedule());
    options = options.env("PGHOST", "127.0.0.1").env("PGPORT", target.port.to_string());
    options = options.env("PGUSER", &target.user).env("PGPASSWORD", &target.password);
    if let Some(ca) = &target.ca {
        options = options.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", ca);
    }
    run(options).await;
}

/// Panics, showing the first lines of each, when the results in `through` differ from those in `direct` where no list in
/// `tests/regression` says so: that named, or the usual one.
pub async fn compare(direct: &Path, through: &Path, expected: Option<&str>) {
    run(ProcessOptions::new(script()).arg("compare").arg(direct).arg(through).args(expected)).await;
}

async fn run(options: ProcessOptions) {
    let mut process = Process::start(options.within(std::time::Duration::from_secs(1800)));
    let status = process.wait().await;
    assert!(status.success(), "tests/regression/run failed ({status}):\n{}", process.log());
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/regression/run")
}
