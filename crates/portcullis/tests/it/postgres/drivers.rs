//! The scenarios of `tests/drivers`: what holds against the server itself (the testkit's own tests) holds through the gateway,
//! where everything passes and where every statement is judged.

use portcullis_testkit::drivers::{SCHEMA, run_driver};

use super::{Setup, Stage, missing};

/// All the scenarios do, and no more. They watch `pg_stat_activity` to see a statement sleep before they cancel it.
pub const JUDGED: &str = "['read:public.driver_scenario', 'write:public.driver_scenario', 'read:channel/driver_scenario', \
     'write:channel/driver_scenario', 'read:pg_catalog.pg_stat_activity', 'execute:pg_catalog.pg_sleep']";

async fn through_the_gateway(driver: &str, program: &str) {
    if missing(program) {
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
    through_the_gateway("psycopg", "python3").await;
}

#[tokio::test]
async fn driver_asyncpg_through_the_gateway() {
    through_the_gateway("asyncpg", "python3").await;
}

#[tokio::test]
async fn driver_node_through_the_gateway() {
    through_the_gateway("node", "node").await;
}

#[tokio::test]
async fn driver_jdbc_through_the_gateway() {
    through_the_gateway("jdbc", "java").await;
}

#[tokio::test]
async fn driver_pgx_through_the_gateway() {
    through_the_gateway("pgx", "go").await;
}
