//! The scenarios against PostgreSQL itself: what they ask for is what the real server does.

use portcullis_testkit::{
    PgOptions, PgServer, TestCa,
    drivers::{DriverTarget, SCHEMA, run_driver},
    postgres::{PASSWORD, SUPERUSER},
};

async fn direct(driver: &str, version: u16) {
    let ca = TestCa::new();
    let ssl = Some(ca.localhost());
    let server =
        PgServer::start(PgOptions { version, ssl, setup_sql: SCHEMA.to_owned(), ..PgOptions::default() })
            .await;
    let target = DriverTarget {
        port: server.port(),
        user: SUPERUSER.to_owned(),
        password: PASSWORD.to_owned(),
        database: "postgres".to_owned(),
        ca: Some(ca.path()),
    };
    let passed = run_driver(driver, &target).await;
    assert!(passed.len() >= 10, "{driver}: {passed:?}");
}

#[tokio::test]
async fn driver_psycopg_against_postgresql_itself() {
    direct("psycopg", 15).await;
    direct("psycopg", 18).await;
}

#[tokio::test]
async fn driver_asyncpg_against_postgresql_itself() {
    direct("asyncpg", 15).await;
}

#[tokio::test]
async fn driver_node_against_postgresql_itself() {
    direct("node", 15).await;
}

#[tokio::test]
async fn driver_jdbc_against_postgresql_itself() {
    direct("jdbc", 15).await;
}

#[tokio::test]
async fn driver_pgx_against_postgresql_itself() {
    direct("pgx", 15).await;
}
