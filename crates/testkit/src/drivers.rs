//! The driver scenarios of `tests/drivers`, run in their own languages.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Process, ProcessOptions};

/// The drivers, as `tests/drivers/run` names them.
pub const DRIVERS: [&str; 5] = ["psycopg", "asyncpg", "node", "jdbc", "pgx"];

/// What a database needs before the scenarios run in it.
pub const SCHEMA: &str = include_str!("../../../tests/drivers/schema.sql");

/// What it needs before the `masked-…` scenarios run in it.
pub const MASKED_SCHEMA: &str = include_str!("../../../tests/drivers/masked.sql");

/// Where and as whom a driver connects, always to 127.0.0.1.
#[derive(Debug, Clone)]
pub struct DriverTarget {
    /// The port.
    pub port: u16,
    /// The user: through a gateway, the connection's name.
    pub user: String,
    /// The password: through a gateway, the token.
    pub password: String,
    /// The database.
    pub database: String,
    /// The authority to verify the server with, in full; none: no TLS.
    pub ca: Option<PathBuf>,
}

/// Runs the scenario of `driver` and returns its `ok NAME` lines. Panics, with all it printed, when it fails.
pub async fn run_driver(driver: &str, target: &DriverTarget) -> Vec<String> {
    run(driver, target, &[]).await
}

/// Logs in with SASL OAUTHBEARER, by libpq 18: the password of `target` is the token, `issuer` whom the server must name.
pub async fn run_oauthbearer(target: &DriverTarget, issuer: &str) -> Vec<String> {
    run("oauthbearer", target, &[("OAUTH_ISSUER", issuer)]).await
}

async fn run(driver: &str, target: &DriverTarget, env: &[(&str, &str)]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/drivers/run");
    let mut options = ProcessOptions::new(script)
        .arg(driver)
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", target.port.to_string())
        .env("PGUSER", &target.user)
        .env("PGPASSWORD", &target.password)
        .env("PGDATABASE", &target.database);
    if let Some(ca) = &target.ca {
        options = options.env("PGSSLROOTCERT", ca);
    }
    for (name, value) in env {
        options = options.env(name, value);
    }
    // The first run of one compiles it, perhaps on a busy machine.
    let mut process = Process::start(options.within(Duration::from_secs(240)));
    let status = process.wait().await;
    let log = process.log();
    assert!(status.success(), "{driver} failed ({status}):\n{log}");
    let passed: Vec<String> = log.lines().filter(|line| line.starts_with("ok ")).map(str::to_owned).collect();
    assert!(
        log.lines().any(|line| line == format!("done {}", passed.len())),
        "{driver} did not finish:\n{log}"
    );
    passed
}
