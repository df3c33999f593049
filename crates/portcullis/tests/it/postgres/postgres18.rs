//! The newest server as the upstream, and what older ones do not tell.

use portcullis_testkit::{PgServer, drivers::SCHEMA};

use super::{Setup, Stage, client, drivers::JUDGED, left_out, rust};

const TABLES: &str = "
CREATE TABLE readable (id int);
CREATE SCHEMA hidden;
CREATE TABLE hidden.readable (id int);
INSERT INTO hidden.readable VALUES (4711);
CREATE FUNCTION go_to(path text) RETURNS text LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN RETURN set_config('search_path', path, false); END $$;
";

#[tokio::test]
async fn postgresql_18_answers_through_the_gateway() {
    if left_out("PostgreSQL 18", PgServer::available(18)) {
        return;
    }
    let connections: &[(&str, &str)] = &[("open", "'*:*'"), ("judged", JUDGED)];
    let stage = Stage::start(Setup { version: 18, connections, sql: SCHEMA, ..Setup::default() }).await;
    let token = stage.token().await;
    for connection in ["open", "judged"] {
        let target = stage.target(connection, &token);
        rust::scenario(&target).await;
        let (client, parameters) = client::open(&target).await.unwrap();
        let version = parameters.parameter("server_version").unwrap_or_default().to_owned();
        assert!(version.starts_with("18."), "the server's own version: {version}");
        assert!(parameters.parameter("search_path").is_some(), "reported since 18, and passed on");
        drop((client, parameters));
    }
}

#[tokio::test]
async fn a_read_only_session_on_postgresql_18_stays_read_only() {
    if left_out("PostgreSQL 18", PgServer::available(18)) {
        return;
    }
    let connections: &[(&str, &str)] = &[("shop", "'read:*'")];
    let stage = Stage::start(Setup { version: 18, connections, sql: TABLES, ..Setup::default() }).await;
    let psql = stage.gateway.psql("shop", &stage.token().await);
    assert_eq!(psql.query("SHOW default_transaction_read_only").await.ok(), "on");
    assert_eq!(psql.query("SELECT count(*) FROM readable").await.ok(), "0");
    assert_eq!(psql.query("DISCARD ALL").await.ok(), "");
    assert_eq!(
        psql.run(&["-c", "RESET ALL", "-c", "SHOW default_transaction_read_only"]).await.ok(),
        "on",
        "where it began"
    );
    let ways_out = [
        "INSERT INTO readable VALUES (1)",
        "SET default_transaction_read_only = off",
        "BEGIN READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "RESET transaction_read_only",
        "COMMIT; BEGIN; INSERT INTO readable VALUES (2)",
    ];
    for way_out in ways_out {
        let refused = psql.query(way_out).await;
        assert!(refused.stderr.contains("ERROR:"), "{way_out}: {refused:?}");
        assert!(!stage.server.saw(&format!("statement: {way_out}")), "{way_out} reached the server");
    }
}

#[tokio::test]
async fn the_search_path_that_postgresql_18_reports_is_the_one_names_are_judged_under() {
    if left_out("PostgreSQL 18", PgServer::available(18)) {
        return;
    }
    let connections: &[(&str, &str)] = &[("shop", "['read:public.*', 'execute:public.go_to', 'admin:*']")];
    let stage = Stage::start(Setup { version: 18, connections, sql: TABLES, ..Setup::default() }).await;
    let client = client::connect(&stage.target("shop", &stage.token().await)).await.unwrap();
    client.batch_execute("SELECT * FROM readable").await.unwrap();
    // What a function does cannot be seen, but for what the server reports of it.
    client.batch_execute("SELECT go_to('hidden')").await.unwrap();
    let refused = client.simple_query("SELECT id FROM readable").await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "42501");
    assert!(refused.message().contains("`hidden.readable`"), "{}", refused.message());
    client.batch_execute("SELECT public.go_to('public')").await.unwrap();
    client.batch_execute("SELECT id FROM readable").await.unwrap();
    assert_eq!(
        stage.server.log().matches("statement: SELECT id FROM readable").count(),
        1,
        "the refused one never arrived"
    );
}

#[tokio::test]
async fn a_server_that_does_not_report_the_search_path_is_asked_outside_of_transactions() {
    let connections: &[(&str, &str)] = &[("shop", "['read:public.*', 'execute:public.go_to']")];
    let stage = Stage::start(Setup { connections, sql: TABLES, ..Setup::default() }).await;
    let client = client::connect(&stage.target("shop", &stage.token().await)).await.unwrap();
    client.batch_execute("SELECT go_to('hidden')").await.unwrap();
    let refused = client.simple_query("SELECT id FROM readable").await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "42501");
    assert!(refused.message().contains("`hidden.readable`"), "{}", refused.message());
    assert!(!stage.server.saw("SELECT id FROM readable"), "it never arrived");
    client.batch_execute("SELECT id FROM public.readable").await.unwrap();
    client.batch_execute("SELECT public.go_to('public')").await.unwrap();
    client.batch_execute("SELECT id FROM readable").await.unwrap();
    // Inside a transaction what is shown may be taken back: names stay unknown, and the refusal says what helps.
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("SELECT go_to('hidden')").await.unwrap();
    let refused = client.simple_query("SELECT id AS twice FROM readable").await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    let message = refused.message();
    assert!(message.contains("`SET search_path`, or write names with their schema"), "{message}");
    assert!(!stage.server.saw("AS twice"), "it never arrived");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("SELECT id FROM readable").await.unwrap();
}
