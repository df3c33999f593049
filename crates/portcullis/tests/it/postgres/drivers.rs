//! The scenarios of `tests/drivers`: what holds against the server itself (the testkit's own tests) holds through the gateway,
//! where everything passes and where every statement is judged.

use std::path::Path;

use portcullis_testkit::{
    cache_dir,
    drivers::{SCHEMA, run_driver},
};

use super::{Setup, Stage, has_program, left_out};

/// All the scenarios do, and no more. They watch `pg_stat_activity` to see a statement sleep before they cancel it.
pub const JUDGED: &str = "['read:public.driver_scenario', 'write:public.driver_scenario', 'read:channel/driver_scenario', \
     'write:channel/driver_scenario', 'read:pg_catalog.pg_stat_activity', 'execute:pg_catalog.pg_sleep']";

async fn through_the_gateway(driver: &str) {
    if left_out(driver, installed(driver)) {
        return;
    }
    let connections: &[(&str, &str)] = &[("open", "'*:*'"), ("judged", JUDGED)];
    let stage = Stage::start(Setup { connections, sql: SCHEMA, ..Setup::default() }).await;
    let token = stage.token().await;
    let open = run_driver(driver, &stage.target("open", &token)).await;
    let judged = run_driver(driver, &stage.target("judged", &token)).await;
    assert!(open.len() >= 10, "{driver}: {open:?}");
    assert_eq!(open, judged, "{driver}");
}

#[tokio::test]
async fn driver_psycopg_through_the_gateway() {
    through_the_gateway("psycopg").await;
}

#[tokio::test]
async fn driver_asyncpg_through_the_gateway() {
    through_the_gateway("asyncpg").await;
}

#[tokio::test]
async fn driver_node_through_the_gateway() {
    through_the_gateway("node").await;
}

#[tokio::test]
async fn driver_jdbc_through_the_gateway() {
    through_the_gateway("jdbc").await;
}

#[tokio::test]
async fn driver_pgx_through_the_gateway() {
    through_the_gateway("pgx").await;
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
