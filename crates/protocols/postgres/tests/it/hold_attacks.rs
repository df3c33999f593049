//! Attempts to get something past a hold, a ticket or the gate before a commit.

use portcullis_access::requests::State;
use portcullis_core::Verdict;

use crate::{
    commit_gate::GATE,
    holds::{HOLD, lab, ran},
    lab::{Lab, Setup},
    wire::{Raw, Said},
};

const BARE: &str = "UPDATE orders SET note = 'all'";

async fn raw(lab: &Lab) -> Raw {
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw
}

async fn noted(lab: &Lab, note: &str) -> i64 {
    let count = "SELECT count(*) FROM orders WHERE note = $1";
    lab.superuser().await.query_one(count, &[&note]).await.unwrap().get(0)
}

/// Long enough for whatever is ready to be done.
async fn idle() {
    for _ in 0..100_000 {
        tokio::task::yield_now().await;
    }
}

fn last(said: &Said) -> (&str, &str) {
    (&said[said.len() - 2], &said[said.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_fails_leaves_the_gate_shut() {
    let lab = lab(GATE).await;
    let mark = lab.server.log().len();
    // The name that the gateway's own ROLLBACK might be prepared under is taken, and a savepoint outlives its failure.
    let mut raw = raw(&lab).await;
    raw.query("PREPARE \"portcullis rollback\" AS SELECT 1").query("BEGIN");
    raw.query("UPDATE orders SET note = 'sly'").query("SAVEPOINT s").send(4).await;
    raw.query("COMMIT").send(0).await;
    lab.pending().await;
    raw.cancel(lab.address).await;
    let said = raw.read(1).await;
    assert_eq!(said, ["E:57014", "Z:I"], "{said:?}");
    raw.query("ROLLBACK TO s").query("COMMIT");
    raw.send(2).await;
    assert_eq!(noted(&lab, "sly").await, 0);
    assert_eq!(lab.requests()[0].state(), State::Withdrawn);
    assert!(lab.verdicts().iter().any(|it| it.0 == Verdict::Deny && it.2 == "COMMIT"));
    assert_eq!(ran(&lab, mark, "UPDATE orders SET note = 'sly'"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_run_by_name_is_a_commit() {
    let lab = lab(GATE).await;
    for end in ["COMMIT", "END", "COMMIT AND CHAIN", "PREPARE TRANSACTION 'two'"] {
        let mut raw = raw(&lab).await;
        raw.parse("x", end).sync().send(1).await;
        raw.query("BEGIN").query("UPDATE orders SET note = 'by name'").send(2).await;
        let said = raw.query("EXECUTE x").send(1).await;
        assert!(said[0].starts_with("E:"), "{end}: {said:?}");
        assert_eq!(noted(&lab, "by name").await, 0, "{end}");
        let mut raw = self::raw(&lab).await;
        raw.parse("x", end).sync().send(1).await;
        raw.query("BEGIN").query("UPDATE orders SET note = 'by name'").send(2).await;
        let said = raw.run("EXECUTE x").sync().send(1).await;
        assert!(said.iter().any(|said| said.starts_with("E:")), "{end}: {said:?}");
        assert_eq!(noted(&lab, "by name").await, 0, "{end}");
    }
    // Nor does one open a way behind it: in one sequence, a block that has ended is none.
    let mut raw = raw(&lab).await;
    raw.parse("x", "COMMIT").sync().send(1).await;
    raw.query("BEGIN").send(1).await;
    let said = raw.run("EXECUTE x").run("UPDATE orders SET note = 'behind'").sync().send(1).await;
    assert!(said.iter().any(|said| said.starts_with("E:")), "{said:?}");
    assert_eq!(noted(&lab, "behind").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_portal_runs_by_name_is_counted_as_what_it_is_by_then() {
    let gate = GATE.replace("[insert, update, delete, merge, copy]", "[update, delete]");
    let lab = lab(&gate).await;
    for (bound, by_then) in [
        ("INSERT INTO orders DEFAULT VALUES", "DELETE FROM orders"),
        ("INSERT INTO orders (note) VALUES ('late')", "UPDATE orders SET note = 'late'"),
    ] {
        let mut raw = raw(&lab).await;
        raw.query("BEGIN").send(1).await;
        raw.parse("x", bound).parse("e", "EXECUTE x").bind("p", "e", &[]).sync().send(1).await;
        raw.query("DEALLOCATE x").send(1).await;
        let mark = lab.server.log().len();
        raw.parse("x", by_then).sync().send(1).await;
        let said = raw.execute("p").sync().send(1).await;
        assert_eq!(said, ["E:42501", "Z:E"], "{by_then}");
        assert!(raw.error().contains("bind it again"), "{}", raw.error());
        raw.query("COMMIT").send(1).await;
        assert_eq!(ran(&lab, mark, "EXECUTE x"), 0, "{by_then}");
        let denied = lab.verdicts().into_iter().rfind(|it| it.0 == Verdict::Deny).unwrap();
        assert_eq!(denied.2, "EXECUTE x");
    }
    let left: i64 = lab.superuser().await.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!((left, noted(&lab, "late").await), (1000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_runs_under_the_settings_that_it_was_approved_under() {
    let lab = lab(HOLD).await;
    let mut raw = raw(&lab).await;
    let text = "UPDATE orders SET note = current_setting('app.tenant')";
    let run = async |raw: &mut Raw, between: &str| {
        raw.query("BEGIN").query("SET app.tenant = 'one'").send(2).await;
        raw.parse("", text).bind("p", "", &[]).sync();
        tokio::join!(raw.send(1), lab.approve());
        raw.query(between).send(1).await;
        raw.execute("p").sync().send(1).await
    };
    let mark = lab.server.log().len();
    let said = run(&mut raw, "SET app.tenant = 'two'").await;
    assert_eq!(said, ["E:42501", "Z:E"]);
    assert!(raw.error().contains("bind it again"), "{}", raw.error());
    raw.query("COMMIT").send(1).await;
    assert_eq!((ran(&lab, mark, "execute p"), noted(&lab, "two").await), (0, 0));
    assert!(lab.verdicts().iter().any(|it| it.0 == Verdict::Deny && it.2 == text));
    // What changes nothing of that is nobody's concern.
    let said = run(&mut raw, "SET statement_timeout = '1h'").await;
    assert_eq!(said, ["C:UPDATE 1000", "Z:T"]);
    raw.query("COMMIT").send(1).await;
    assert_eq!(noted(&lab, "one").await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_is_fetched_from_is_counted() {
    let lab = lab(GATE).await;
    for fetch in ["FETCH ALL FROM p", "MOVE ALL FROM p"] {
        let mut raw = raw(&lab).await;
        raw.query("BEGIN").send(1).await;
        raw.parse("u", "UPDATE orders SET note = 'fetched' RETURNING id")
            .bind("p", "u", &[])
            .sync()
            .send(1)
            .await;
        let said = raw.query(fetch).send(1).await;
        if !said[0].starts_with("E:") {
            raw.query("COMMIT");
            let (said, _) = tokio::join!(raw.send(1), lab.deny("no"));
            assert_eq!(said, ["E:42501", "Z:I"], "{fetch}");
        }
        drop(raw);
        assert_eq!(noted(&lab, "fetched").await, 0, "{fetch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_made_by_name_are_not_run_unseen() {
    let lab = lab(HOLD).await;
    let mut raw = raw(&lab).await;
    // What EXECUTE does to names is seen, or it is refused.
    raw.query("PREPARE z AS SELECT 1").send(1).await;
    raw.parse("d", "DEALLOCATE z")
        .parse("x", "PREPARE z AS UPDATE orders SET note = 'unseen'")
        .sync()
        .send(1)
        .await;
    let mark = lab.server.log().len();
    assert_eq!(raw.query("EXECUTE d").send(1).await, ["E:42501", "Z:I"]);
    assert_eq!(raw.query("EXECUTE x").send(1).await, ["E:42501", "Z:I"]);
    assert_eq!(raw.query("EXECUTE z").send(1).await, ["T", "D:1", "C:SELECT 1", "Z:I"]);
    let said = raw.run("EXECUTE d").sync().send(1).await;
    assert_eq!(last(&said), ("E:42501", "Z:I"));
    assert_eq!((ran(&lab, mark, "EXECUTE d"), ran(&lab, mark, "EXECUTE x")), (0, 0));
    assert_eq!(noted(&lab, "unseen").await, 0);
    let denied: Vec<_> =
        lab.verdicts().into_iter().filter(|it| it.0 == Verdict::Deny).map(|it| it.2).collect();
    assert_eq!(denied, ["EXECUTE d", "EXECUTE x", "EXECUTE d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_for_the_day_that_was_meant() {
    let more = HOLD
        .replace("    action: approve", "    action: approve\n    on_timeout: ticket")
        .replace("    without: where\n", "");
    let lab = Lab::set_up(Setup {
        scope: "'*:*'",
        more: &more,
        sql: "CREATE TABLE days (day date); INSERT INTO days VALUES ('2026-01-02'), ('2026-02-01');",
        ..Setup::default()
    })
    .await;
    let text = "DELETE FROM days WHERE day = '01/02/2026'";
    for set in
        ["SET datestyle = 'ISO, DMY'", "SET timezone = 'Asia/Tokyo'", "SET intervalstyle = 'sql_standard'"]
    {
        let output = lab.psql().query(text).await;
        output.err();
        let request = lab.pending().await;
        lab.answer(request.id(), portcullis_access::requests::Answer::Approve, "").await;
        lab.psql().run(&["-c", set, "-c", text]).await.err();
        // In one sequence the server has not said yet what changed.
        let mut raw = raw(&lab).await;
        let said = raw.run(set).run(text).sync().send(1).await;
        assert!(said.iter().any(|said| said.starts_with("E:55P03")), "{set}: {said:?}");
        let rows = lab.superuser().await.query("SELECT day::text FROM days", &[]).await.unwrap();
        assert_eq!(rows.len(), 2, "{set}");
        for pending in lab.requests().into_iter().filter(|it| it.state() == State::Pending) {
            lab.answer(pending.id(), portcullis_access::requests::Answer::Deny, "no").await;
        }
        // The one that was meant still may.
        lab.superuser().await.batch_execute("BEGIN; LOCK days; COMMIT").await.unwrap();
        lab.psql().query(text).await.ok();
        lab.superuser().await.batch_execute("INSERT INTO days VALUES ('2026-01-02')").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_for_the_role_that_was_meant() {
    let more = HOLD.replace("    action: approve", "    action: approve\n    on_timeout: ticket");
    let lab = Lab::set_up(Setup {
        scope: "'*:*'",
        more: &more,
        sql: "CREATE ROLE other SUPERUSER;",
        ..Setup::default()
    })
    .await;
    for set in ["SET ROLE other", "SET app.tenant = '7'", "SET LOCAL app.tenant = '7'"] {
        lab.psql().query(BARE).await.err();
        let request = lab.pending().await;
        lab.answer(request.id(), portcullis_access::requests::Answer::Approve, "").await;
        let mut raw = raw(&lab).await;
        raw.query("BEGIN").query(set).send(2).await;
        let said = raw.query(BARE).send(1).await;
        assert!(said[0].starts_with("E:") && said[1] == "Z:E", "{set}: {said:?}");
        raw.query("ROLLBACK").send(1).await;
        assert_eq!(noted(&lab, "all").await, 0, "{set}");
        for pending in lab.requests().into_iter().filter(|it| it.state() == State::Pending) {
            lab.answer(pending.id(), portcullis_access::requests::Answer::Deny, "no").await;
        }
        lab.psql().query(BARE).await.ok();
        lab.superuser().await.batch_execute("UPDATE orders SET note = ''").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_used_in_two_sessions_at_once_runs_once() {
    let more = HOLD.replace("    action: approve", "    action: approve\n    on_timeout: ticket");
    let lab = lab(&more).await;
    let mark = lab.server.log().len();
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(raw(&lab).await);
    }
    all[0].query(BARE).send(1).await;
    lab.approve().await;
    let each = all.iter_mut().map(|raw| async move { raw.query(BARE).send(1).await });
    let said = futures_util::future::join_all(each).await;
    let through = said.iter().filter(|said| said[0] == "C:UPDATE 1000").count();
    assert_eq!(through, 1, "{said:?}");
    assert!(said.iter().all(|said| said[0] == "C:UPDATE 1000" || said[0] == "E:55P03"), "{said:?}");
    assert_eq!(ran(&lab, mark, BARE), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_commit_nothing_that_waits() {
    use tokio::io::AsyncWriteExt as _;
    let lab = lab(GATE).await;
    let mark = lab.server.log().len();
    for goodbye in [false, true] {
        let mut raw = raw(&lab).await;
        raw.query("BEGIN").query("UPDATE orders SET note = 'bye'").query("COMMIT");
        if goodbye {
            raw.message(b'X', b"");
        }
        raw.send(2).await;
        let request = lab.pending().await;
        // Half closed: it has said everything, and would still read.
        raw.stream.shutdown().await.unwrap();
        raw.read(1).await;
        let request = lab.gate.access.find_request(request.id()).unwrap().unwrap();
        assert_eq!(request.state(), State::Withdrawn, "{goodbye}");
        assert_eq!(noted(&lab, "bye").await, 0);
    }
    // Everything at once and gone, before anything was answered.
    for _ in 0..20 {
        let mut raw = raw(&lab).await;
        raw.query("BEGIN").query("UPDATE orders SET note = 'bye'").query("COMMIT").message(b'X', b"");
        raw.send(0).await;
        drop(raw);
    }
    while !lab.gate.sessions.controls().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(noted(&lab, "bye").await, 0);
    assert_eq!(ran(&lab, mark, "COMMIT"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_gives_up_ends_the_wait() {
    let lab = lab(HOLD).await;
    let mut raw = raw(&lab).await;
    raw.query("SET idle_in_transaction_session_timeout = '200ms'").query("BEGIN").query(BARE).send(2).await;
    let request = lab.pending().await;
    let said = raw.read(1).await;
    assert_eq!(last(&said), ("E:25P03", "closed"));
    while lab.gate.access.find_request(request.id()).unwrap().unwrap().state() == State::Pending {
        tokio::task::yield_now().await;
    }
    assert_eq!(noted(&lab, "all").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_batch_is_not_what_is_put_behind_its_names() {
    let lab = lab(HOLD).await;
    let mut raw = raw(&lab).await;
    let mark = lab.server.log().len();
    // While the Bind waits: its names are closed, made anew and run, all pipelined behind it.
    raw.query("BEGIN").send(1).await;
    raw.parse("s", BARE).bind("p", "s", &[]);
    raw.message(b'C', b"Ss\0").message(b'C', b"Pp\0");
    raw.parse("s", "DELETE FROM orders").bind("p", "s", &[]).execute("p").sync();
    let answers = async {
        let first = lab.approve().await;
        let second = lab.deny("not that").await;
        (first, second)
    };
    let (said, (first, second)) = tokio::join!(raw.send(1), answers);
    assert_eq!(last(&said), ("E:42501", "Z:E"));
    assert_eq!(first.asked().what.operation().unwrap().text, BARE);
    assert_eq!(second.asked().what.operation().unwrap().text, "DELETE FROM orders");
    assert_eq!(ran(&lab, mark, "execute p: DELETE FROM orders"), 0);
    let left: i64 = lab.superuser().await.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!((left, noted(&lab, "all").await), (1000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_gives_no_name_another_meaning() {
    let lab = lab(HOLD).await;
    let mut raw = raw(&lab).await;
    raw.query("PREPARE z AS SELECT 1").send(1).await;
    let mark = lab.server.log().len();
    for code in ["DEALLOCATE z", "PREPARE z AS UPDATE orders SET note = ''do''"] {
        let said = raw.query(&format!("DO 'BEGIN {code}; END'")).send(1).await;
        assert_eq!(said, ["E:42501", "Z:I"], "{code}");
        assert!(raw.error().contains("run by name"), "{}", raw.error());
    }
    assert_eq!(ran(&lab, mark, "DO 'BEGIN"), 0);
    assert_eq!(raw.query("EXECUTE z").send(1).await, ["T", "D:1", "C:SELECT 1", "Z:I"]);
    assert_eq!(lab.verdicts().iter().filter(|it| it.0 == Verdict::Deny).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_values_are_counted_as_short_ones_are() {
    let lab = lab(GATE).await;
    let mut client = lab.client().await;
    let long = "y".repeat(4 * 1024 * 1024);
    let statement = client.prepare("UPDATE orders SET note = left($1::text, 3)").await.unwrap();
    let error = client.execute(&statement, &[&long]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25P01");
    let transaction = client.transaction().await.unwrap();
    assert_eq!(transaction.execute(&statement, &[&long]).await.unwrap(), 1000);
    let (committed, request) = tokio::join!(transaction.commit(), lab.deny("no"));
    assert_eq!(committed.unwrap_err().code().unwrap().code(), "42501");
    assert_eq!(request.asked().what.operation().unwrap().rows, Some(1000));
    assert_eq!(noted(&lab, "yyy").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_gives_back_masked_values() {
    let more = format!(
        "masks:
  - name: addresses
    columns: [public.customers.email]
    with: redact
{HOLD}"
    );
    let lab = lab(&more).await;
    let mut raw = raw(&lab).await;
    raw.query("UPDATE customers SET name = 'x' RETURNING email");
    let (said, request) = tokio::join!(raw.send(1), lab.approve());
    assert_eq!(said.iter().filter(|said| said.starts_with("D:")).count(), 1000, "{:?}", &said[..2]);
    assert!(said.iter().all(|said| !said.contains("@example.com")), "{:?}", &said[..3]);
    raw.parse("", "UPDATE customers SET name = 'y' RETURNING email").bind("", "", &[]).execute("").sync();
    let (said, _) = tokio::join!(raw.send(1), lab.approve());
    assert!(said.iter().any(|said| said == "C:UPDATE 1000"), "{:?}", &said[..3]);
    assert!(said.iter().all(|said| !said.contains("@example.com")));
    let shown = format!("{:?}", lab.gate.access.find_request(request.id()).unwrap().unwrap());
    assert!(!shown.contains("@example.com"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_yes_and_the_run_lets_nothing_half_through() {
    let lab = lab(HOLD).await;
    for round in 0..20 {
        let note = format!("killed {round}");
        let mut raw = raw(&lab).await;
        raw.query(&format!("UPDATE orders SET note = '{note}'")).send(0).await;
        let request = lab.pending().await;
        let kill = async {
            for control in lab.gate.sessions.controls() {
                control.end(portcullis_core::EndReason::WindowOver);
            }
        };
        let answer = async {
            let ballot = portcullis_access::requests::Ballot {
                by: lab.person(),
                answer: portcullis_access::requests::Answer::Approve,
                note: String::new(),
                lifetime_seconds: None,
                through: "api",
            };
            let (access, id) = (lab.gate.access.clone(), request.id());
            let _perhaps =
                tokio::task::spawn_blocking(move || access.answer(id, ballot, &Default::default())).await;
        };
        tokio::join!(answer, kill);
        raw.read(2).await;
        while !lab.gate.sessions.controls().is_empty() {
            tokio::task::yield_now().await;
        }
        let ran = noted(&lab, &note).await;
        let settled = lab.gate.access.find_request(request.id()).unwrap().unwrap();
        assert!(ran == 0 || (ran == 1000 && settled.state() == State::Approved), "{ran} {settled:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_floods_while_it_waits_is_not_read_and_not_run() {
    use tokio::io::AsyncWriteExt as _;
    let lab = lab(HOLD).await;
    let mut raw = raw(&lab).await;
    let mark = lab.server.log().len();
    raw.query(BARE).send(0).await;
    let request = lab.pending().await;
    // Until the gateway takes no more: it reads what it keeps, and the rest stays where it is.
    let mut flood = bytes::BytesMut::new();
    portcullis_postgres::codec::frontend::query(&mut flood, b"SELECT 'flood'");
    let flood = flood.repeat(4096);
    let mut sent = 0;
    loop {
        let wrote = tokio::select! {
            biased;
            wrote = raw.stream.write(&flood) => wrote.unwrap(),
            () = idle() => break,
        };
        sent += wrote;
        assert!(sent < 64 * 1024 * 1024, "everything is taken");
    }
    assert_eq!(ran(&lab, mark, "flood"), 0);
    for control in lab.gate.sessions.controls() {
        control.end(portcullis_core::EndReason::WindowOver);
    }
    while lab.gate.access.find_request(request.id()).unwrap().unwrap().state() == State::Pending {
        tokio::task::yield_now().await;
    }
    assert_eq!((ran(&lab, mark, "flood"), noted(&lab, "all").await), (0, 0));
}
