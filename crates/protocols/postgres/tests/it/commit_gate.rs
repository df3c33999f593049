//! The gate before COMMIT: what ran is counted, and a commit of too much waits for a person.

use portcullis_access::requests::{Mode, State};
use portcullis_core::{RequestStep, Verdict};

use crate::{
    holds::{lab, ran},
    lab::{Lab, Setup},
    wire::{Raw, Said},
};

pub const GATE: &str = "guardrails:
  - name: big changes
    statements: [insert, update, delete, merge, copy]
    action: approve
    at: commit
    rows_over: 10
    approvers: id:55aa0000-0000-4000-8000-000000000001
";

async fn raw(lab: &Lab) -> Raw {
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw
}

async fn noted(lab: &Lab, note: &str) -> i64 {
    let count = "SELECT count(*) FROM orders WHERE note = $1";
    lab.superuser().await.query_one(count, &[&note]).await.unwrap().get(0)
}

/// Whether anybody holds a lock on the orders.
async fn locked(lab: &Lab) -> bool {
    let count = "SELECT count(*) FROM pg_locks WHERE relation = 'public.orders'::regclass";
    lab.superuser().await.query_one(count, &[]).await.unwrap().get::<_, i64>(0) > 0
}

fn last(said: &Said) -> (&str, &str) {
    (&said[said.len() - 2], &said[said.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn few_rows_commit_and_many_wait() {
    let lab = lab(GATE).await;
    let mut raw = raw(&lab).await;
    let mark = lab.server.log().len();
    raw.query("BEGIN").query("UPDATE orders SET note = 'few' WHERE id <= 10").query("COMMIT");
    assert_eq!(last(&raw.send(3).await), ("C:COMMIT", "Z:I"));
    assert_eq!(noted(&lab, "few").await, 10);
    assert!(lab.requests().is_empty());
    raw.query("BEGIN").query("UPDATE orders SET note = 'many' WHERE id <= 6");
    raw.query("UPDATE orders SET note = 'many' WHERE id > 994").query("COMMIT");
    let (said, request) = tokio::join!(raw.send(4), lab.approve());
    assert_eq!(last(&said), ("C:COMMIT", "Z:I"));
    assert_eq!(noted(&lab, "many").await, 12);
    let asked = request.asked().what.operation().unwrap();
    assert_eq!((asked.mode, &*asked.text, asked.rows), (Mode::Commit, "COMMIT", Some(12)));
    assert!(asked.in_transaction);
    assert_eq!(asked.statements.iter().map(|it| it.rows).collect::<Vec<_>>(), [Some(6), Some(6)]);
    assert!(asked.statements[0].text.contains("id <= 6") && asked.statements[1].text.contains("id > 994"));
    assert_eq!(lab.steps(), [RequestStep::Filed, RequestStep::Approved, RequestStep::Used]);
    let commits: Vec<_> = lab.verdicts().into_iter().filter(|it| it.2 == "COMMIT").map(|it| it.0).collect();
    assert_eq!(commits, [Verdict::Allow, Verdict::Hold, Verdict::Allow]);
    assert_eq!(ran(&lab, mark, "COMMIT"), 2);
    // The next transaction begins at nothing.
    raw.query("BEGIN").query("UPDATE orders SET note = 'few' WHERE id <= 2").query("COMMIT");
    assert_eq!(last(&raw.send(3).await), ("C:COMMIT", "Z:I"));
    assert_eq!(lab.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_nobody_approves_is_rolled_back_and_lets_go_of_its_locks() {
    let lab = lab(GATE).await;
    let mut raw = raw(&lab).await;
    let mark = lab.server.log().len();
    // Locks of what stands before a savepoint would outlive an error after it.
    raw.query("BEGIN").query("UPDATE orders SET note = 'no'").query("SAVEPOINT s");
    raw.query("UPDATE orders SET note = 'no' WHERE id = 1").send(4).await;
    assert!(locked(&lab).await);
    raw.query("COMMIT");
    let (said, _) = tokio::join!(raw.send(1), lab.deny("too much at once"));
    assert_eq!(said, ["E:42501", "Z:I"]);
    assert!(raw.error().contains("too much at once"), "{}", raw.error());
    assert!(!locked(&lab).await);
    assert_eq!(noted(&lab, "no").await, 0);
    assert_eq!(ran(&lab, mark, "COMMIT"), 0);
    // Client and server agree: the session goes on.
    raw.query("SELECT 1");
    assert_eq!(raw.send(1).await, ["T", "D:1", "C:SELECT 1", "Z:I"]);
    // Taken back by a cancel, in the extended protocol.
    raw.query("BEGIN").query("DELETE FROM orders").send(2).await;
    raw.run("COMMIT").sync().send(0).await;
    lab.pending().await;
    raw.cancel(lab.address).await;
    let said = raw.read(1).await;
    assert_eq!(last(&said), ("E:57014", "Z:I"));
    assert!(!locked(&lab).await);
    // Left alone: gone with its session.
    raw.query("BEGIN").query("DELETE FROM orders").query("COMMIT").send(2).await;
    let request = lab.pending().await;
    drop(raw);
    while lab.gate.access.find_request(request.id()).unwrap().unwrap().state() == State::Pending {
        tokio::task::yield_now().await;
    }
    while locked(&lab).await {}
    let left: i64 = lab.superuser().await.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(left, 1000);
    assert_eq!(ran(&lab, mark, "COMMIT"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_commit_is_the_gate() {
    let lab = Lab::set_up(Setup { scope: "'*:*'", more: GATE, ..Setup::default() }).await;
    for end in [
        "COMMIT",
        "END",
        "commit work",
        "COMMIT AND CHAIN",
        "END TRANSACTION",
        "/* x */ cOmMiT AND NO CHAIN",
        "PREPARE TRANSACTION 'two'",
        "SELECT 1; COMMIT",
        "COMMIT; BEGIN",
    ] {
        let mut raw = raw(&lab).await;
        raw.query("BEGIN").query("UPDATE orders SET note = 'gate'").send(2).await;
        raw.query(end);
        let (said, _) = tokio::join!(raw.send(1), lab.deny("no"));
        assert_eq!(said, ["E:42501", "Z:I"], "{end}");
        assert_eq!(noted(&lab, "gate").await, 0, "{end}");
    }
    for end in ["COMMIT", "END", "COMMIT AND CHAIN"] {
        let mut raw = raw(&lab).await;
        // A portal bound before anything ran commits what ran since.
        raw.run("BEGIN")
            .parse("c", end)
            .bind("c", "c", &[])
            .run("UPDATE orders SET note = 'gate'")
            .execute("c")
            .sync();
        let (said, _) = tokio::join!(raw.send(1), lab.deny("no"));
        assert_eq!(last(&said), ("E:42501", "Z:I"), "{end} {said:?}");
        assert_eq!(noted(&lab, "gate").await, 0, "{end}");
    }
    assert!(lab.requests().iter().all(|request| request.state() == State::Denied));
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_a_block_and_together_with_a_commit_nothing_that_counts_is_sent() {
    let lab = lab(GATE).await;
    let mark = lab.server.log().len();
    let update = "UPDATE orders SET note = 'out'";
    let psql = lab.psql();
    let output = psql.query(update).await;
    assert!(output.err().contains("wants to see this before it is committed"), "{output:?}");
    assert!(output.stderr.contains("run it inside BEGIN … COMMIT"), "{output:?}");
    let mut raw = raw(&lab).await;
    assert_eq!(raw.query(update).send(1).await, ["E:25P01", "Z:I"]);
    for text in [
        format!("BEGIN; {update}; COMMIT"),
        format!("BEGIN; {update}; ROLLBACK; {update}"),
        format!("{update}; BEGIN"),
        format!("BEGIN; COMMIT; {update}"),
        format!("BEGIN; PREPARE TRANSACTION 'x'; {update}"),
    ] {
        let said = raw.query(&text).send(1).await;
        assert!(matches!(said[0].as_str(), "E:25P01" | "E:42501") && said[1] == "Z:I", "{text}: {said:?}");
    }
    let said = raw.run(update).sync().send(1).await;
    assert_eq!(last(&said), ("E:25P01", "Z:I"));
    // A block that ends within the batch is none.
    let said = raw.run("BEGIN").run("COMMIT").run(update).sync().send(1).await;
    assert_eq!(last(&said), ("E:25P01", "Z:I"));
    raw.query("BEGIN").send(0).await;
    raw.run("COMMIT").run(update).sync();
    let said = raw.send(2).await;
    assert_eq!(last(&said), ("E:25P01", "Z:I"));
    assert_eq!(ran(&lab, mark, update), 0);
    assert_eq!(noted(&lab, "out").await, 0);
    assert!(lab.requests().is_empty());
    let denied = lab.verdicts().into_iter().filter(|it| it.0 == Verdict::Deny);
    assert!(denied.clone().count() >= 9 && denied.into_iter().all(|it| it.1 == "big changes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_that_begin_in_the_same_batch_are_counted() {
    let lab = lab(GATE).await;
    let mut raw = raw(&lab).await;
    // As JDBC does: BEGIN and the first statement before one Sync.
    raw.run("BEGIN").run("UPDATE orders SET note = 'jdbc' WHERE id <= 10").sync();
    assert_eq!(last(&raw.send(1).await), ("C:UPDATE 10", "Z:T"));
    raw.run("UPDATE orders SET note = 'jdbc' WHERE id = 11").sync().send(1).await;
    raw.run("COMMIT").sync();
    let (said, request) = tokio::join!(raw.send(1), lab.approve());
    assert_eq!(last(&said), ("C:COMMIT", "Z:I"));
    assert_eq!(request.asked().what.operation().unwrap().rows, Some(11));
    assert_eq!(noted(&lab, "jdbc").await, 11);
    let mut client = lab.client().await;
    let transaction = client.transaction().await.unwrap();
    transaction.execute("UPDATE orders SET note = 'tokio' WHERE id <= $1", &[&20_i32]).await.unwrap();
    let (committed, _) = tokio::join!(transaction.commit(), lab.deny("no"));
    assert_eq!(committed.unwrap_err().code().unwrap().code(), "42501");
    assert_eq!(noted(&lab, "tokio").await, 0);
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_does_not_count_asks_whatever_the_limit() {
    let lab = Lab::set_up(Setup {
        scope: "'*:*'",
        more: GATE,
        sql: "CREATE PROCEDURE sly() LANGUAGE plpgsql AS $$ BEGIN UPDATE orders SET note = 'sly'; COMMIT; END $$;",
        ..Setup::default()
    })
    .await;
    for text in [
        "WITH d AS (DELETE FROM orders WHERE id > 1 RETURNING id) UPDATE customers SET name = 'x' WHERE id = 1",
        "WITH d AS (DELETE FROM orders RETURNING id) SELECT count(*) FROM d",
        "EXPLAIN ANALYZE DELETE FROM orders",
        "UPDATE customers SET name = touch()::text WHERE id = 1",
        "PREPARE p AS DELETE FROM orders; EXECUTE p",
    ] {
        let mut raw = raw(&lab).await;
        raw.query("BEGIN").query(text).send(2).await;
        raw.query("COMMIT");
        let (said, request) = tokio::join!(raw.send(1), lab.deny("no"));
        assert_eq!(said, ["E:42501", "Z:I"], "{text}");
        assert_eq!(request.asked().what.operation().unwrap().rows, None, "{text}");
    }
    let left: i64 = lab.superuser().await.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(left, 1000);
    // A portal whose rows are not all fetched has changed all of them all the same.
    let mut raw = raw(&lab).await;
    raw.query("BEGIN").send(1).await;
    raw.parse("", "UPDATE orders SET note = 'part' RETURNING id")
        .bind("p", "", &[])
        .execute_some("p", 1)
        .sync();
    let said = raw.send(1).await;
    assert_eq!(last(&said), ("s", "Z:T"), "{said:?}");
    raw.query("COMMIT");
    let (said, _) = tokio::join!(raw.send(1), lab.deny("no"));
    assert_eq!(said, ["E:42501", "Z:I"]);
    assert_eq!(noted(&lab, "part").await, 0);
    // A procedure cannot commit inside a block, whatever it holds.
    raw.query("BEGIN").query("UPDATE orders SET note = 'sly'").send(2).await;
    let said = raw.query("CALL sly()").send(1).await;
    assert_eq!(said, ["E:2D000", "Z:E"]);
    assert_eq!(raw.query("COMMIT").send(1).await, ["C:ROLLBACK", "Z:I"]);
    raw.query("BEGIN").query("UPDATE orders SET note = 'sly'").send(2).await;
    assert_eq!(raw.query("DO $$ BEGIN COMMIT; END $$").send(1).await, ["E:2D000", "Z:E"]);
    assert_eq!(raw.query("COMMIT").send(1).await, ["C:ROLLBACK", "Z:I"]);
    assert_eq!(noted(&lab, "sly").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollbacks_and_savepoints_pass_and_copy_counts() {
    use futures_util::SinkExt;
    let lab = lab(GATE).await;
    let mut raw = raw(&lab).await;
    raw.query("BEGIN").query("DELETE FROM orders").query("ROLLBACK");
    assert_eq!(last(&raw.send(3).await), ("C:ROLLBACK", "Z:I"));
    raw.query("BEGIN")
        .query("SAVEPOINT a")
        .query("UPDATE orders SET note = 'x' WHERE id = 1")
        .query("RELEASE a");
    raw.query("COMMIT");
    assert_eq!(last(&raw.send(5).await), ("C:COMMIT", "Z:I"));
    assert!(lab.requests().is_empty());
    // What is rolled back to a savepoint still counts: better one question too many.
    raw.query("BEGIN")
        .query("SAVEPOINT a")
        .query("DELETE FROM orders")
        .query("ROLLBACK TO a")
        .query("COMMIT");
    let (said, request) = tokio::join!(raw.send(5), lab.approve());
    assert_eq!(last(&said), ("C:COMMIT", "Z:I"));
    assert_eq!(request.asked().what.operation().unwrap().rows, Some(1000));
    let mut client = lab.client().await;
    let transaction = client.transaction().await.unwrap();
    {
        let sink = transaction.copy_in("COPY secrets FROM STDIN").await.unwrap();
        futures_util::pin_mut!(sink);
        for id in 0..20 {
            sink.send(bytes::Bytes::from(format!("{id}\tx\n"))).await.unwrap();
        }
        sink.finish().await.unwrap();
    }
    let (committed, request) = tokio::join!(transaction.commit(), lab.approve());
    committed.unwrap();
    assert_eq!(request.asked().what.operation().unwrap().rows, Some(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_and_a_savepoint_give_no_second_allowance() {
    let lab = lab(GATE).await;
    let mut raw = raw(&lab).await;
    // Ten rows, a COMMIT that fails, back to the savepoint, ten more: twenty are asked about.
    raw.query("BEGIN")
        .query("UPDATE orders SET note = 'salami' WHERE id <= 10")
        .query("SAVEPOINT s")
        .send(3)
        .await;
    raw.parse("c", "COMMIT").bind("c", "c", &[]).execute("nothing").sync();
    let said = raw.send(1).await;
    assert_eq!(last(&said), ("E:34000", "Z:E"));
    raw.query("ROLLBACK TO s").query("UPDATE orders SET note = 'salami' WHERE id > 990").send(2).await;
    raw.query("COMMIT");
    let (said, request) = tokio::join!(raw.send(1), lab.deny("no"));
    assert_eq!(said, ["E:42501", "Z:I"]);
    assert_eq!(request.asked().what.operation().unwrap().rows, Some(20));
    assert_eq!(noted(&lab, "salami").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_failed_and_came_back_is_asked_about() {
    let lab = lab(GATE).await;
    let begin = |raw: &mut Raw| {
        raw.query("BEGIN").query("UPDATE orders SET note = 'back'").query("SAVEPOINT s").query("SELECT 1/0");
    };
    // A COMMIT of a transaction that has failed rolls back: nobody is asked.
    let mut raw = raw(&lab).await;
    begin(&mut raw);
    raw.query("COMMIT");
    assert_eq!(last(&raw.send(5).await), ("C:ROLLBACK", "Z:I"));
    assert!(lab.requests().is_empty());
    // One that went back to its savepoint does not, in one text or one sequence.
    begin(&mut raw);
    assert_eq!(last(&raw.send(4).await), ("E:22012", "Z:E"));
    raw.query("ROLLBACK TO s; COMMIT");
    let (said, _) = tokio::join!(raw.send(1), lab.deny("no"));
    assert_eq!(said, ["E:42501", "Z:I"]);
    begin(&mut raw);
    assert_eq!(last(&raw.send(4).await), ("E:22012", "Z:E"));
    raw.run("ROLLBACK TO s").run("COMMIT").sync();
    let (said, _) = tokio::join!(raw.send(1), lab.deny("no"));
    assert_eq!(last(&said), ("E:42501", "Z:I"));
    assert_eq!(noted(&lab, "back").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_may_mean_two_portals_commits_nothing() {
    let lab = lab(GATE).await;
    let mut raw = raw(&lab).await;
    raw.query("BEGIN").query("SAVEPOINT s").send(2).await;
    raw.parse("c", "COMMIT").parse("o", "SELECT 1").bind("p", "c", &[]).sync().send(1).await;
    // Refused by the server, because the portal lives: the name now means either.
    let said = raw.bind("p", "o", &[]).sync().send(1).await;
    assert_eq!(last(&said), ("E:42P03", "Z:E"));
    raw.query("ROLLBACK TO s").query("UPDATE orders SET note = 'two'").send(2).await;
    let said = raw.execute("p").sync().send(1).await;
    assert!(said[0].starts_with("E:") && said[said.len() - 1] == "Z:E", "{said:?}");
    raw.query("ROLLBACK").send(1).await;
    assert_eq!(noted(&lab, "two").await, 0);
}
