//! The blast radius against real servers: what it says, and above all that nothing is otherwise afterwards.

use portcullis_access::requests::{Answer, BlastRadius, BlastState};
use portcullis_core::RequestId;
use portcullis_policy::Preview;
use portcullis_testkit::PgServer;

use crate::lab::Lab;

mod bench;

use bench::Bench;

const OPEN: &str = "['*:*']";

/// The last rule makes it so that statements are classified: outside of it everything passes.
const GUARD: &str = "guardrails:
  - { name: none, statements: [vacuum], action: block }
";

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_planned_and_counted_and_nothing_is_otherwise() {
    for version in [15, 18] {
        if is_missing(version) {
            continue;
        }
        let bench = Bench::start_on(version, OPEN, GUARD, "").await;
        let before = bench.state().await;
        // Without the guardrail's word nothing is run.
        let found = bench.planned("DELETE FROM plain").await;
        assert_eq!(
            (found.state, found.exact_rows, found.not_counted.as_str()),
            (BlastState::Ready, None, "")
        );
        assert_eq!(found.estimated_rows, Some(200));
        let found = bench.counted("UPDATE plain SET state = 'closed' WHERE id <= 120").await;
        assert_eq!((found.state, found.why.as_str()), (BlastState::Ready, ""), "{found:?}");
        assert_eq!(found.exact_rows, Some(120), "{found:?}");
        assert!(found.estimated_rows.is_some_and(|rows| (100..=140).contains(&rows)), "{found:?}");
        assert!(found.plan.starts_with("Update on plain"), "{}", found.plan);
        assert!(found.plan.contains("id <= 120"), "{}", found.plan);
        assert_eq!(found.tables.first().map(|table| table.table.as_str()), Some("public.plain"));
        let (old, new) = (found.before.unwrap(), found.after.unwrap());
        assert_eq!(old.columns, ["id", "state", "card"]);
        assert_eq!(new.columns, old.columns);
        assert_eq!((old.rows.len(), new.rows.len()), (5, 5));
        assert!(old.rows.iter().all(|row| row[1].as_deref() == Some("open")), "{old:?}");
        assert!(new.rows.iter().all(|row| row[1].as_deref() == Some("closed")), "{new:?}");

        let found = bench.counted("DELETE FROM plain WHERE id IN (1, 2)").await;
        assert_eq!((found.exact_rows, found.after.map(|rows| rows.rows.len())), (Some(2), Some(2)));
        let found = bench.counted("DELETE FROM plain").await;
        assert_eq!(found.exact_rows, Some(200));
        let found = bench.counted("DELETE FROM plain WHERE id = 0").await;
        assert_eq!(found.exact_rows, Some(0));
        // What the statement returns by itself is what is shown.
        let found = bench.counted("DELETE FROM plain WHERE id < 8 RETURNING id, id + 1 AS next").await;
        assert_eq!(
            (found.exact_rows, found.after.unwrap().columns),
            (Some(7), vec!["id".into(), "next".into()])
        );
        let found = bench.counted(
            "MERGE INTO plain p USING numbered n ON p.id = n.id WHEN MATCHED THEN UPDATE SET state = 'x'",
        );
        let found = found.await;
        assert_eq!((found.exact_rows, found.before, found.after), (Some(10), None, None));
        assert_eq!(bench.state().await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_values_are_the_statements_own() {
    let bench = Bench::start(OPEN, GUARD, "").await;
    let text = "UPDATE plain SET state = $2 WHERE id < $1::int";
    let found = bench.ask(Preview::Rows, text, &["11", "gone"]).await;
    assert_eq!((found.exact_rows, found.estimated_rows), (Some(10), Some(10)), "{found:?}");
    let (old, new) = (found.before.unwrap(), found.after.unwrap());
    assert!(old.rows.iter().all(|row| row[1].as_deref() == Some("open")), "{old:?}");
    assert!(new.rows.iter().all(|row| row[1].as_deref() == Some("gone")), "{new:?}");
    // A value is a value, whatever it looks like.
    let found = bench.ask(Preview::Rows, "DELETE FROM plain WHERE state = $1", &["x'; COMMIT; --"]).await;
    assert_eq!(found.exact_rows, Some(0), "{found:?}");
    let found = bench.ask(Preview::Rows, "DELETE FROM plain WHERE id = $1", &["no number"]).await;
    assert_eq!(found.state, BlastState::Unavailable);
    assert!(found.why.contains("22P02") && !found.why.contains("no number"), "{found:?}");
    assert_eq!(found.not_counted, found.why);
}

/// What must not be counted by running it, and a word of why.
const UNCOUNTED: [(&str, &str); 35] = [
    ("UPDATE watched SET n = 0", "trigger"),
    ("DELETE FROM parent WHERE id = 1", "trigger"),
    ("DELETE FROM ruled", "rule"),
    ("UPDATE numbered SET n = nextval('numbered_id_seq')", "nextval"),
    ("UPDATE numbered SET n = setval('numbered_id_seq', 999)", "setval"),
    ("UPDATE numbered SET id = DEFAULT", "default"),
    ("UPDATE defaulted SET id = DEFAULT", "default"),
    ("UPDATE checked SET t = 'x'", "check constraint"),
    ("UPDATE worded SET w = 'x'", "domain"),
    ("UPDATE plain SET state = 'x'::word", "sly_text"),
    ("UPDATE worded SET id = 1", "domain"),
    ("UPDATE plain_view SET state = 'x'", "ordinary table"),
    ("UPDATE secured SET n = 1", "row security"),
    ("UPDATE made SET n = 1", "generated column"),
    ("UPDATE indexed SET n = 1", "index"),
    ("DELETE FROM anchor", "default"),
    ("UPDATE guarded SET n = 1", "foreign table"),
    ("UPDATE cut SET n = 1", "trigger"),
    ("UPDATE above SET id = 1", "rule"),
    ("DELETE FROM plain WHERE id = (SELECT sly_sum(n) FROM numbered)", "sly_sum"),
    ("UPDATE pg_class SET relname = 'x'", "ordinary table"),
    ("DELETE FROM plain WHERE state = set_config('lock_timeout', '0', false)", "set_config"),
    ("DELETE FROM plain WHERE id IN (SELECT n FROM secured)", "row security"),
    ("DELETE FROM plain WHERE id = sly(1)", "sly"),
    ("DELETE FROM plain WHERE id IN (SELECT id FROM sly_view)", "sly"),
    ("DELETE FROM plain WHERE id ==== 1", "sly_equal"),
    ("DELETE FROM plain WHERE random() < 0.5", "random"),
    ("DELETE FROM plain WHERE clock_timestamp() IS NOT NULL", "clock_timestamp"),
    ("DELETE FROM plain WHERE pg_sleep(60) IS NULL", "code"),
    ("DELETE FROM plain WHERE pg_try_advisory_lock(1)", "pg_try_advisory_lock"),
    ("DELETE FROM plain WHERE lo_create(0) > 0", "lo_create"),
    ("DELETE FROM plain WHERE pg_notify('a', 'b') IS NULL", "tables"),
    (
        "WITH n AS (INSERT INTO numbered (n) VALUES (1) RETURNING id) DELETE FROM plain USING n WHERE plain.id = n.id",
        "insert",
    ),
    ("INSERT INTO numbered (n) VALUES (1)", "insert"),
    (
        "MERGE INTO numbered t USING plain p ON t.id = p.id WHEN NOT MATCHED THEN INSERT (n) VALUES (1)",
        "insert",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rollback_does_not_take_back_is_not_run() {
    not_run(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rollback_does_not_take_back_is_not_run_on_the_newest_server() {
    not_run(18).await;
}

fn is_missing(version: u16) -> bool {
    let missing = !PgServer::available(version);
    assert!(
        !missing || std::env::var_os("CI").is_none(),
        "PostgreSQL {version} is missing: run `scripts/setup test`"
    );
    missing
}

async fn not_run(version: u16) {
    if is_missing(version) {
        return;
    }
    let bench = Bench::start_on(version, OPEN, GUARD, "").await;
    let before = bench.state().await;
    for (text, word) in UNCOUNTED {
        let found = bench.counted(text).await;
        assert_eq!(found.exact_rows, None, "{text}: {found:?}");
        assert!(found.not_counted.contains(word), "{text}: {found:?}");
        assert_eq!((&found.before, &found.after), (&None, &None), "{text}");
        assert!(!found.tables.is_empty(), "{text}");
        assert_eq!(bench.state().await, before, "{text}");
    }
    // Beside them, what is like them and harmless.
    for (text, rows) in [
        ("DELETE FROM kept", 5),
        ("DELETE FROM plain WHERE id === 1", 1),
        ("UPDATE defaulted SET n = 1", 0),
        ("DELETE FROM plain WHERE id IN (SELECT id FROM plain_view) AND upper(state) = 'OPEN'", 200),
        ("UPDATE plain SET state = now()::text", 200),
    ] {
        let found = bench.counted(text).await;
        assert_eq!((found.exact_rows, found.not_counted.as_str()), (Some(rows), ""), "{text}: {found:?}");
        assert_eq!(bench.state().await, before, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planning_runs_no_function_of_users() {
    let bench = Bench::start(OPEN, GUARD, "").await;
    let before = bench.state().await;
    for text in [
        "SELECT sly(1)",
        "SELECT * FROM plain WHERE id = sly(1)",
        "SELECT * FROM sly_view",
        "SELECT 1 ==== 1",
        "INSERT INTO plain VALUES (sly(1000))",
        "DELETE FROM orders WHERE id = (SELECT touch())",
    ] {
        let found = bench.planned(text).await;
        assert_eq!(found.state, BlastState::Unavailable, "{text}: {found:?}");
        assert!(!found.why.is_empty() && found.plan.is_empty(), "{text}: {found:?}");
        assert_eq!(bench.state().await, before, "{text}");
    }
    // They would: that is what the refusals are for.
    let client = bench.lab.superuser().await;
    client.simple_query("EXPLAIN SELECT * FROM plain WHERE id = sly(1)").await.unwrap();
    assert_ne!(bench.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_would_run_inside_of_explain_is_not_wrapped() {
    let bench = Bench::start(OPEN, GUARD, "").await;
    let before = bench.state().await;
    for text in [
        "EXPLAIN ANALYZE DELETE FROM plain",
        "EXPLAIN (ANALYZE, FORMAT JSON) DELETE FROM plain",
        "EXPLAIN DELETE FROM plain",
        "PREPARE p AS DELETE FROM plain",
        "DELETE FROM plain; COMMIT",
        "COMMIT",
        "ROLLBACK AND CHAIN",
        "COPY plain FROM STDIN",
        "COPY (DELETE FROM plain RETURNING id) TO STDOUT",
        "TRUNCATE plain",
        "DROP TABLE plain CASCADE",
        "DO 'BEGIN DELETE FROM plain; END'",
        "LOCK TABLE plain",
        "CREATE TABLE n AS SELECT * FROM plain",
        "SELECT * INTO n FROM plain",
        "VACUUM plain",
    ] {
        let found = bench.counted(text).await;
        assert_eq!(found.exact_rows, None, "{text}");
        assert!(!found.not_counted.is_empty(), "{text}: {found:?}");
        assert_eq!(bench.state().await, before, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_go_as_a_whole_are_told_by_their_size() {
    let sql = "CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
        CREATE TABLE p2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
        INSERT INTO parts SELECT i, i FROM generate_series(0, 149) i; ANALYZE;";
    let bench = Bench::start(OPEN, GUARD, sql).await;
    let found = bench.planned("TRUNCATE plain, parts").await;
    assert_eq!((found.state, found.estimated_rows), (BlastState::Ready, Some(350)), "{found:?}");
    assert!(found.plan.starts_with("public.plain: about 200 rows, "), "{}", found.plan);
    assert!(
        found.plan.contains("public.parts: about 150 rows, ") && found.plan.contains(" in 2 tables"),
        "{}",
        found.plan
    );
    assert!(found.plan.ends_with("as of the last vacuum or analyze of each table"), "{}", found.plan);
    let found = bench.planned("TRUNCATE kept CASCADE").await;
    assert!(found.plan.contains("public.keeps: about 5 rows"), "{}", found.plan);
    let found = bench.planned("DROP TABLE plain CASCADE").await;
    assert!(found.estimated_rows == Some(200) && found.plan.contains("depends on"), "{found:?}");
    let found = bench.planned("COPY plain TO STDOUT").await;
    assert_eq!(found.estimated_rows, Some(200), "{found:?}");
    let found = bench.planned("ALTER TABLE plain ADD COLUMN x int").await;
    assert!(found.estimated_rows.is_none() && found.plan.contains("about 200 rows"), "{found:?}");
    let found = bench.planned("DO 'BEGIN NULL; END'").await;
    assert_eq!(found.state, BlastState::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_shown_as_the_session_would_see_them() {
    let masks = format!(
        "{GUARD}masks:
  - {{ name: cards, columns: ['public.plain.card'], with: last4 }}
  - {{ name: numbers, columns: ['public.numbered.n'], with: 'null' }}
  - {{ name: mail, connections: ['*'], detect: [email], with: redact }}
"
    );
    let bench = Bench::start(OPEN, &masks, "").await;
    let before = bench.state().await;
    let found = bench.counted("UPDATE plain SET state = 'write to sam@example.com' WHERE id < 4").await;
    assert_eq!(found.exact_rows, Some(3), "{found:?}");
    let text = format!("{found:?}");
    let (old, new) = (found.before.unwrap(), found.after.unwrap());
    for rows in [&old, &new] {
        let cards: Vec<_> = rows.rows.iter().map(|row| row[2].clone().unwrap()).collect();
        assert!(cards.iter().all(|card| card.ends_with("000") || !card.contains("4111")), "{cards:?}");
    }
    assert!(!text.contains("4111") && !text.contains("sam@example.com"), "{text}");
    // Conditions are not in the plan: who knows what the planner put there.
    assert!(!found.plan.contains("id <"), "{}", found.plan);
    let found = bench.counted("UPDATE numbered SET n = 7").await;
    let (old, new) = (found.before.unwrap(), found.after.unwrap());
    assert!(
        old.rows.iter().chain(&new.rows).all(|row| row[1].is_none() && row[0].is_some()),
        "{old:?} {new:?}"
    );
    assert_eq!(bench.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_session_may_not_read_are_counted_and_not_shown() {
    let bench = Bench::start("['write:public.plain', 'read:public.orders']", GUARD, "").await;
    let found = bench.counted("DELETE FROM plain WHERE id < 11").await;
    assert_eq!((found.exact_rows, found.before, found.after), (Some(10), None, None));
    // A guardrail on reading counts as well.
    let guard = "guardrails:
  - { name: eyes off, statements: [select], resources: ['public.plain'], action: block }
";
    let bench = Bench::start(OPEN, guard, "").await;
    let found = bench.counted("DELETE FROM plain WHERE id < 11").await;
    assert_eq!((found.exact_rows, found.before, found.after), (Some(10), None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_session_is_not_waited_for() {
    let bench = Bench::start(OPEN, GUARD, "").await;
    let mut other = bench.lab.superuser().await;
    let holding = other.transaction().await.unwrap();
    holding.execute("UPDATE plain SET state = 'held' WHERE id = 7", &[]).await.unwrap();
    let found = bench.counted("DELETE FROM plain").await;
    assert_eq!((found.state, found.exact_rows), (BlastState::Ready, None), "{found:?}");
    assert!(found.not_counted.contains("lock"), "{found:?}");
    assert_eq!(found.estimated_rows, Some(200));
    // The plan itself needs a lock on the table.
    holding.execute("LOCK TABLE plain", &[]).await.unwrap();
    let found = bench.counted("DELETE FROM plain").await;
    assert_eq!(found.state, BlastState::Unavailable, "{found:?}");
    assert!(found.why.contains("lock") && found.not_counted.contains("lock"), "{found:?}");
    // Whoever holds the lock was not disturbed.
    holding.commit().await.unwrap();
    let found = bench.counted("DELETE FROM plain").await;
    assert_eq!(found.exact_rows, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_would_run_for_ever_is_given_up() {
    let bench = Bench::start(OPEN, GUARD, "").await;
    let before = bench.state().await;
    let text = "DELETE FROM plain WHERE id IN (SELECT a FROM generate_series(1, 1000000) a CROSS JOIN \
                generate_series(1, 1000000) b WHERE a + b = -1)";
    let found = bench.counted(text).await;
    assert_eq!((found.state, found.exact_rows), (BlastState::Ready, None), "{found:?}");
    assert!(found.not_counted.contains("3 seconds"), "{found:?}");
    assert_eq!(bench.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_take_turns() {
    let bench = Bench::start(OPEN, GUARD, "").await;
    let before = bench.state().await;
    let all = (0..8).map(|at| {
        let (bench, text) = (&bench, format!("UPDATE plain SET state = 'x' WHERE id > {at}"));
        async move { bench.counted(&text).await }
    });
    let found = futures_util::future::join_all(all).await;
    for found in &found {
        let waited = found.not_counted.contains("lock") || found.not_counted.contains("in the way");
        assert!(found.exact_rows.is_some() || waited, "{found:?}");
    }
    assert!(found.iter().any(|found| found.exact_rows.is_some()), "{found:?}");
    assert_eq!(bench.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_thousand_partitions_is_planned_and_counted() {
    let sql = "SELECT format('CREATE TABLE part_%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', i, i * 10, i * 10 + 10)
        FROM generate_series(0, 999) i \\gexec
        INSERT INTO parts SELECT i, i FROM generate_series(0, 9999) i; ANALYZE parts;";
    let bench = Bench::start(OPEN, GUARD, sql).await;
    let found = bench.counted("UPDATE parts SET n = -1").await;
    assert_eq!(found.state, BlastState::Ready, "{found:?}");
    assert!(found.plan.contains("more steps") && found.plan.len() < 16 * 1024, "{}", found.plan);
    assert_eq!((found.exact_rows, found.not_counted.as_str()), (Some(10_000), ""));
    let client = bench.lab.superuser().await;
    let changed: i64 = client.query_one("SELECT count(*) FROM parts WHERE n < 0", &[]).await.unwrap().get(0);
    assert_eq!(changed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_session_runs_nothing() {
    let bench = Bench::start("read:*", "", "").await;
    let before = bench.state().await;
    let found = bench.counted("DELETE FROM plain").await;
    assert_eq!(found.exact_rows, None);
    assert!(found.not_counted.contains("read-only"), "{found:?}");
    assert_eq!(bench.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_error_says_of_values_is_not_told() {
    let sql = "CREATE TABLE texts (id int PRIMARY KEY, t text); INSERT INTO texts VALUES (1, 'hunter2'), (2, '7');
        CREATE TABLE uniq (id int PRIMARY KEY, t text UNIQUE); INSERT INTO uniq VALUES (1, 'hunter2'), (2, 'b');";
    let bench = Bench::start(OPEN, GUARD, sql).await;
    for text in [
        "UPDATE texts SET id = t::int",
        "UPDATE uniq SET t = 'hunter2'",
        "DELETE FROM texts WHERE 1 / (id - 1) = 0",
    ] {
        let found = bench.counted(text).await;
        assert_eq!((found.state, found.exact_rows), (BlastState::Ready, None), "{found:?}");
        assert!(found.not_counted.contains("SQLSTATE"), "{found:?}");
        assert!(!found.not_counted.contains("hunter2"), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_gone_is_said_without_its_address() {
    let bench = Bench::start(OPEN, GUARD, "").await;
    // The catalog is read, then nobody may log in any more.
    assert_eq!(bench.planned("DELETE FROM plain").await.state, BlastState::Ready);
    let client = bench.lab.superuser().await;
    client.simple_query("ALTER ROLE app CONNECTION LIMIT 0; ALTER ROLE app NOSUPERUSER").await.unwrap();
    let found = bench.counted("DELETE FROM plain").await;
    assert_eq!(found.state, BlastState::Unavailable);
    assert_eq!(found.why, "the upstream could not be asked");
    assert_eq!(found.tables.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cast_that_users_made_is_not_run_unseen() {
    let sql = "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE moods (id int, m mood, t text); INSERT INTO moods VALUES (1, 'sad', 'x');
        CREATE FUNCTION to_mood(text) RETURNS mood LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES ('cast'); RETURN 'sad'::mood; END $$;
        CREATE CAST (text AS mood) WITH FUNCTION to_mood(text) AS ASSIGNMENT;";
    let bench = Bench::start(OPEN, GUARD, sql).await;
    let before = bench.state().await;
    let found = bench.counted("UPDATE moods SET m = t").await;
    assert_eq!(found.exact_rows, None);
    assert!(found.not_counted.contains("cast"), "{found:?}");
    assert_eq!(bench.state().await, before);
    bench.lab.superuser().await.execute("UPDATE moods SET m = t", &[]).await.unwrap();
    assert_ne!(bench.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_small_whatever_the_table_is() {
    let columns: Vec<String> = (0..30).map(|at| format!("c{at} text DEFAULT repeat('é', 1000)")).collect();
    let sql = format!(
        "CREATE TABLE wide (id int, {}); INSERT INTO wide SELECT i FROM generate_series(1, 20) i;
         CREATE TABLE huge (id int, t text); ALTER TABLE huge ALTER t SET STORAGE EXTERNAL;
         INSERT INTO huge SELECT i, repeat('x', 5000000) FROM generate_series(1, 3) i; ANALYZE;",
        columns.join(", ")
    );
    let bench = Bench::start(OPEN, GUARD, &sql).await;
    let found = bench.counted("UPDATE wide SET c1 = NULL").await;
    let (old, new) = (found.before.unwrap(), found.after.unwrap());
    assert_eq!(found.exact_rows, Some(20));
    for sample in [&old, &new] {
        assert_eq!((sample.columns.len(), sample.rows.len()), (20, 5));
        let cells = sample.rows.iter().flatten().flatten();
        assert!(cells.clone().all(|cell| cell.chars().count() <= 201), "{sample:?}");
    }
    // Rows that are too long to be kept are counted all the same.
    let found = bench.counted("UPDATE huge SET id = 0").await;
    assert_eq!((found.exact_rows, found.before, found.after), (Some(3), None, None), "{}", found.not_counted);
    let text =
        "UPDATE wide AS w SET c0 = p.state FROM plain p JOIN numbered n ON n.id = p.id WHERE w.id = p.id";
    let found = bench.counted(text).await;
    assert_eq!(found.exact_rows, Some(10), "{found:?}");
    assert!(found.after.unwrap().rows.iter().all(|row| row[1].as_deref() == Some("open")));
    assert_eq!(found.before.unwrap().rows.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_connections_role_may_read_is_shown() {
    let sql = "RESET ROLE; CREATE TABLE others (id int, n int, secret text); INSERT INTO others SELECT i, i, 'hunter2' FROM generate_series(1, 9) i;
        GRANT UPDATE, DELETE ON others TO app; GRANT SELECT (id, n) ON others TO app;
        CREATE TABLE closed (id int); GRANT SELECT ON closed TO app; ANALYZE; ALTER ROLE app NOSUPERUSER;";
    let bench = Bench::start(OPEN, GUARD, sql).await;
    let found = bench.counted("UPDATE others SET n = 0 WHERE id < 4").await;
    assert_eq!((found.exact_rows, found.not_counted.as_str()), (Some(3), ""), "{found:?}");
    assert_eq!(found.before.unwrap().columns, ["id", "n"]);
    assert_eq!(found.after.unwrap().columns, ["id", "n"]);
    let found = bench.counted("DELETE FROM closed").await;
    assert_eq!(found.exact_rows, None);
    assert!(found.why.contains("may not") || found.not_counted.contains("may not"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_any_more_is_cancelled() {
    let bench = Bench::start(OPEN, GUARD, "").await;
    let before = bench.state().await;
    let client = bench.lab.superuser().await;
    let running = || async {
        let active =
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DELETE FROM plain%'
            AND application_name = 'portcullis blast radius'";
        client.query_one(active, &[]).await.unwrap().get::<_, i64>(0) > 0
    };
    let mark = bench.lab.server.log().len();
    let text = "DELETE FROM plain WHERE id IN (SELECT a FROM generate_series(1, 1000000) a CROSS JOIN \
                generate_series(1, 1000000) b WHERE a + b = -1)";
    let runs = async {
        while !running().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        found = bench.counted(text) => panic!("{found:?}"),
        () = runs => {}
    }
    while running().await {
        tokio::task::yield_now().await;
    }
    let log = bench.lab.server.log_since(mark);
    assert!(log.contains("canceling statement due to user request"), "{log}");
    assert!(!log.contains("statement timeout\n"), "{log}");
    assert_eq!(bench.state().await, before);
}

/// A guardrail that holds, and wants the rows counted.
const HOLD: &str = "guardrails:
  - name: unqualified writes
    statements: [update, delete]
    without: where
    action: approve
    approvers: id:55aa0000-0000-4000-8000-000000000001
    preview: rows
masks:
  - { name: notes, columns: ['public.orders.note'], with: redact }
";

/// The blast radius of the request that waits, once it is known.
async fn radius_of_pending(lab: &Lab) -> (RequestId, BlastRadius) {
    let pending = lab.pending().await;
    loop {
        let known = lab.requests().into_iter().find(|request| request.id() == pending.id());
        match known.and_then(|request| request.blast().cloned()) {
            Some(radius) if radius.state != BlastState::Working => break (pending.id(), radius),
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execute_is_asked_about_as_what_it_runs() {
    let lab = Lab::start("'*:*'", HOLD).await;
    let client = lab.client().await;
    // Whether the PREPARE waits as well is not what this is about.
    let prepare = client.batch_execute("PREPARE clear (int) AS UPDATE orders SET customer = $1");
    tokio::pin!(prepare);
    tokio::select! {
        prepared = &mut prepare => prepared.unwrap(),
        _ = lab.approve() => prepare.await.unwrap(),
    }
    for (text, rows) in [("EXECUTE clear (-7)", Some(1000)), ("EXECUTE clear (abs(-7))", None)] {
        let (ran, ()) = tokio::join!(client.batch_execute(text), async {
            let (id, radius) = radius_of_pending(&lab).await;
            let asked = lab.requests().into_iter().find(|it| it.id() == id).unwrap();
            let asked = asked.asked().what.operation().unwrap().text.clone();
            assert_eq!(radius.exact_rows, rows, "{asked}: {radius:?}");
            if rows.is_some() {
                assert!(radius.plan.starts_with("Update on orders"), "{radius:?}");
                let after = radius.after.unwrap();
                assert!(after.rows.iter().all(|row| row[1].as_deref() == Some("-7")), "{after:?}");
            } else {
                assert!(radius.not_counted.contains("computed"), "{radius:?}");
            }
            lab.answer(id, Answer::Deny, "no").await;
        });
        assert!(ran.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_sees_how_far_a_held_statement_reaches() {
    let lab = Lab::start("'*:*'", HOLD).await;
    let client = lab.client().await;
    let held = async {
        let statement = client.prepare("UPDATE orders SET total = $1::int").await.unwrap();
        client.execute(&statement, &[&None::<i32>]).await
    };
    let (ran, _) = tokio::join!(held, async {
        let (id, radius) = radius_of_pending(&lab).await;
        assert_eq!((radius.state, radius.exact_rows), (BlastState::Ready, Some(1000)), "{radius:?}");
        let (old, new) = (radius.before.unwrap(), radius.after.unwrap());
        assert!(old.rows.iter().all(|row| row[2].is_some()) && new.rows.iter().all(|row| row[2].is_none()));
        assert!(old.rows.iter().chain(&new.rows).all(|row| row[3].as_deref() == Some("****")), "{old:?}");
        let left = "SELECT count(*) FROM orders WHERE total IS NULL";
        let changed: i64 = lab.superuser().await.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(changed, 0, "it ran before anybody said yes");
        lab.answer(id, Answer::Approve, "go").await;
    });
    assert_eq!(ran.unwrap(), 1000);
}
