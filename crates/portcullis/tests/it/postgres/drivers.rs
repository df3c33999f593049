//! The scenarios of `tests/drivers`: what holds against the server itself (the testkit's own tests) holds through the gateway,
//! where everything passes, where every statement is judged, and where a mask is on a table that they do not touch. A scenario
//! more per driver reads a table that is masked from one end to the other.

use std::path::Path;

use portcullis_testkit::{
    cache_dir,
    drivers::{MASKED_SCHEMA, SCHEMA, run_driver},
};

use super::{Setup, Stage, has_program, left_out};

/// All the scenarios do, and no more. They watch `pg_stat_activity` to see a statement sleep before they cancel it.
pub const JUDGED: &str = "['read:public.driver_scenario', 'write:public.driver_scenario', 'read:channel/driver_scenario', \
     'write:channel/driver_scenario', 'read:pg_catalog.pg_stat_activity', 'execute:pg_catalog.pg_sleep']";

/// A table that the scenarios do not touch, and its mask.
pub const VAULT: &str = "CREATE SCHEMA vault; CREATE TABLE vault.cards (id int PRIMARY KEY, number text, name text); \
     INSERT INTO vault.cards VALUES (1, '4539577482337259', 'driver');";
pub const VAULT_MASKS: &str = "masks:\n  - { name: vault, connections: [masked], columns: [vault.cards.number, 'cards.n*'], with: redact }\n";

/// The columns of `masked.sql`, by the first letter of their names.
const MASKS: &str = "masks:
  - { name: redacted, columns: ['driver_masked.r_*'], with: redact }
  - { name: hashed, columns: ['public.driver_masked.h_*'], with: hash }
  - { name: last4, columns: ['public.driver_masked.l_*'], with: last4 }
  - { name: email, columns: ['public.driver_masked.e_*'], with: email }
  - { name: pattern, columns: ['public.driver_masked.p_*'], with: pattern, pattern: 'XXX-##' }
  - { name: 'null', columns: ['public.driver_masked.n_*'], with: 'null' }
";
/// What it holds.
const RAW: [&str; 3] = ["rawtext", "4539577482337259", "7755338899"];

async fn through_the_gateway(driver: &str) {
    if left_out(driver, installed(driver)) {
        return;
    }
    let connections: &[(&str, &str)] = &[("open", "'*:*'"), ("judged", JUDGED), ("masked", JUDGED)];
    let sql = format!("{SCHEMA}\n{VAULT}");
    let stage = Stage::start(Setup { connections, sql: &sql, policy: VAULT_MASKS, ..Setup::default() }).await;
    let token = stage.token().await;
    let open = run_driver(driver, &stage.target("open", &token)).await;
    assert!(open.len() >= 10, "{driver}: {open:?}");
    for connection in ["judged", "masked"] {
        let passed = run_driver(driver, &stage.target(connection, &token)).await;
        assert_eq!(open, passed, "{driver} to `{connection}`");
    }
}

/// A server whose table `driver_masked` is masked for everybody.
pub async fn masked() -> Stage {
    let connections: &[(&str, &str)] = &[("open", "'*:*'"), ("judged", "'read:public.driver_masked'")];
    Stage::start(Setup { connections, sql: MASKED_SCHEMA, policy: MASKS, ..Setup::default() }).await
}

async fn reads_masked_columns(driver: &str) {
    if left_out(driver, installed(driver)) {
        return;
    }
    let stage = masked().await;
    let token = stage.token().await;
    let scenario = format!("masked-{driver}");
    let open = run_driver(&scenario, &stage.target("open", &token)).await;
    let judged = run_driver(&scenario, &stage.target("judged", &token)).await;
    assert!(open.len() >= 5, "{driver}: {open:?}");
    assert_eq!(open, judged, "{driver}");
    for raw in RAW {
        assert!(!stage.gateway.log().contains(raw), "the log holds `{raw}`");
    }
}

#[tokio::test]
async fn driver_psycopg_through_the_gateway() {
    through_the_gateway("psycopg").await;
}

#[tokio::test]
async fn driver_psycopg_reads_masked_columns() {
    reads_masked_columns("psycopg").await;
}

#[tokio::test]
async fn driver_asyncpg_through_the_gateway() {
    through_the_gateway("asyncpg").await;
}

#[tokio::test]
async fn driver_asyncpg_reads_masked_columns() {
    reads_masked_columns("asyncpg").await;
}

#[tokio::test]
async fn driver_node_through_the_gateway() {
    through_the_gateway("node").await;
}

#[tokio::test]
async fn driver_node_reads_masked_columns() {
    reads_masked_columns("node").await;
}

#[tokio::test]
async fn driver_jdbc_through_the_gateway() {
    through_the_gateway("jdbc").await;
}

#[tokio::test]
async fn driver_jdbc_reads_masked_columns() {
    reads_masked_columns("jdbc").await;
}

#[tokio::test]
async fn driver_pgx_through_the_gateway() {
    through_the_gateway("pgx").await;
}

#[tokio::test]
async fn driver_pgx_reads_masked_columns() {
    reads_masked_columns("pgx").await;
}

/// Whether this machine can run the scenario of `driver`.
pub fn installed(driver: &str) -> bool {
    let there = |path: &str| Path::new(path).exists();
    match driver {
        "node" => has_program("node") && cache_dir().join("npm-tests-drivers/node_modules/pg").exists(),
        "jdbc" => has_program("java") && there("/usr/share/java/postgresql.jar"),
        "pgx" => has_program("go") && there("/usr/share/gocode/src/github.com/jackc/pgx"),
        _ => cache_dir().join("pip/bin/python").exists(),
    }
}
