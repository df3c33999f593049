//! The kit against real servers.

mod drivers;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use portcullis_testkit::{PgAuth, PgOptions, PgServer, Process, ProcessOptions, TestCa, postgres::PASSWORD};

#[tokio::test]
async fn a_server_starts_answers_and_shows_what_it_saw() {
    let server = PgServer::start(PgOptions {
        setup_sql: "CREATE DATABASE shop;\n\\connect shop\nCREATE TABLE orders (id int);".to_owned(),
        settings: vec![("max_connections".to_owned(), "12".to_owned())],
        ..PgOptions::default()
    })
    .await;
    assert_eq!(server.psql(&["-c", "SHOW max_connections"]).await.ok(), "12");
    assert_eq!(server.client().database("shop").query("SELECT count(*) FROM orders").await.ok(), "0");
    assert_eq!(server.execute_in("shop", "SELECT current_user, 'it''s'").await, "postgres|it's");
    assert!(server.saw("SELECT count(*) FROM orders"));
    assert!(!server.saw("DROP TABLE orders"));
}

#[tokio::test]
async fn every_way_to_log_in_asks_for_the_right_password() {
    for auth in [PgAuth::Scram, PgAuth::Md5, PgAuth::Password] {
        let server = PgServer::start(PgOptions { auth, ..PgOptions::default() }).await;
        assert_eq!(server.psql(&["-c", "SELECT 1"]).await.ok(), "1", "{auth:?}");
        let refused = server.client().password("wrong").query("SELECT 1").await;
        assert!(refused.err().contains("password authentication failed"), "{auth:?}: {}", refused.stderr);
    }
    let server = PgServer::start(PgOptions { auth: PgAuth::Trust, ..PgOptions::default() }).await;
    assert_eq!(server.client().password("wrong").query("SELECT 1").await.ok(), "1");
}

#[tokio::test]
async fn certificates_are_good_or_wrong_in_one_way() {
    let ca = TestCa::new();
    let over_tls = async |certificate| {
        let server =
            PgServer::start(PgOptions { ssl: Some(certificate), ssl_only: true, ..PgOptions::default() })
                .await;
        let plain = server.client().env("PGSSLMODE", "disable").query("SELECT 1").await;
        assert!(plain.err().contains("no encryption"), "{}", plain.stderr);
        server
            .client()
            .verify_full(&ca.path())
            .query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .await
    };
    assert_eq!(over_tls(ca.localhost()).await.ok(), "t");
    // libpq says the same of both.
    assert!(over_tls(ca.expired()).await.err().contains("certificate verify failed"));
    assert!(over_tls(ca.not_yet_valid()).await.err().contains("certificate verify failed"));
    assert!(over_tls(ca.wrong_host()).await.err().contains("does not match host name"));
}

#[tokio::test]
async fn a_stopped_server_refuses_and_leaves_no_process() {
    let mut server = PgServer::start_default().await;
    let id = server.id();
    assert!(Path::new(&format!("/proc/{id}")).exists());
    server.stop();
    assert!(server.psql(&["-c", "SELECT 1"]).await.err().contains("refused"));
    let dir = server.socket_dir().to_owned();
    drop(server);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    assert!(!dir.exists());
}

#[tokio::test]
async fn postgresql_18_starts_with_tls() {
    // Installed by `scripts/setup test`; the packages it comes from have no build for some machines.
    if !PgServer::available(18) {
        assert!(std::env::var_os("CI").is_none(), "PostgreSQL 18 is missing: run `scripts/setup test`");
        return;
    }
    let ca = TestCa::new();
    let server =
        PgServer::start(PgOptions { version: 18, ssl: Some(ca.localhost()), ..PgOptions::default() }).await;
    let version =
        server.client().verify_full(&ca.path()).password(PASSWORD).query("SHOW server_version").await;
    assert!(version.ok().starts_with("18."), "{}", version.stdout);
}

/// Not a test by itself: the one below runs it as a process that is killed.
#[tokio::test]
async fn helper_that_waits_to_be_killed() {
    if std::env::var_os("TESTKIT_WAIT_TO_BE_KILLED").is_some() {
        let server = PgServer::start_default().await;
        println!("\npostmaster {} {}", server.id(), server.socket_dir().display());
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_server_dies_with_a_test_process_that_is_killed() {
    let this = std::env::current_exe().unwrap();
    let options =
        ProcessOptions::new(this).args(["--exact", "helper_that_waits_to_be_killed", "--nocapture"]);
    let mut victim = Process::start(options.env("TESTKIT_WAIT_TO_BE_KILLED", "1"));
    let line = victim.wait_for_line("postmaster ").await;
    let (id, dir) = line.trim().trim_start_matches("postmaster ").split_once(' ').unwrap();
    victim.kill_hard();

    let deadline = Instant::now() + Duration::from_secs(60);
    while Path::new(&format!("/proc/{id}")).exists() {
        assert!(Instant::now() < deadline, "postmaster {id} outlived its test");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::fs::remove_dir_all(dir).unwrap();
}
