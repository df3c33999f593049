//! Statements that wait for a person: real clients, a real server, and everything that can come between.

use std::time::Duration;

use portcullis_access::requests::{Answer, Mode, State, Withdrawer};
use portcullis_core::{RequestStep, Verdict};

use crate::{
    lab::{Lab, PERSON, Setup},
    wire::Raw,
};

pub const HOLD: &str = "guardrails:
  - name: unqualified writes
    statements: [update, delete]
    without: where
    action: approve
    approvers: id:55aa0000-0000-4000-8000-000000000001
    message: say which rows you mean
";

const BARE: &str = "UPDATE orders SET note = 'all'";

pub async fn lab(more: &str) -> Lab {
    assert!(more.contains(PERSON));
    Lab::start("'*:*'", more).await
}

/// How often the server was given a text since, by sessions of clients: what is asked for approvers is on logins of the gateway's own.
pub fn ran(lab: &Lab, mark: usize, text: &str) -> usize {
    let log = lab.server.log_since(mark);
    let of_clients = log.lines().filter(|line| !line.contains("portcullis blast radius"));
    of_clients.filter(|line| line.contains(text)).count()
}

async fn notes(lab: &Lab, note: &str) -> i64 {
    let count = "SELECT count(*) FROM orders WHERE note = $1";
    lab.superuser().await.query_one(count, &[&note]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_statement_runs_once_and_the_journal_has_the_hold_the_answer_and_the_allow() {
    let lab = lab(HOLD).await;
    let mark = lab.server.log().len();
    let psql = lab.psql();
    let (output, request) = tokio::join!(psql.query(BARE), lab.approve());
    output.ok();
    let id = request.id().to_string();
    assert!(output.stderr.contains("NOTICE:  request req_") && output.stderr.contains(&id), "{output:?}");
    assert!(output.stderr.contains("held by guardrail `unqualified writes`"), "{output:?}");
    assert!(output.stderr.contains(&format!("https://gateway.example.com/requests/{id}")), "{output:?}");
    assert_eq!(notes(&lab, "all").await, 1000);
    let asked = request.asked().what.operation().unwrap();
    assert_eq!((asked.mode, &*asked.text, asked.qualified), (Mode::Live, BARE, Some(false)));
    assert_eq!((asked.statement.as_str(), asked.in_transaction), ("update", false));
    assert_eq!(asked.shape, "UPDATE orders SET note = ?");
    assert!(asked.resources.iter().any(|pair| pair.resource.as_str() == "public.orders"), "{asked:?}");
    assert_eq!((asked.highlights[0].from, asked.highlights[0].to), (0, BARE.len() as u64));
    assert_eq!(lab.steps(), [RequestStep::Filed, RequestStep::Approved, RequestStep::Used]);
    let decisions: Vec<_> = lab.decisions().into_iter().filter(|it| it.number > 0).collect();
    assert_eq!(decisions.iter().map(|it| it.decision).collect::<Vec<_>>(), [Verdict::Hold, Verdict::Allow]);
    assert_eq!(decisions[1].rule.name, "unqualified writes");
    assert_eq!(decisions[1].reason, format!("approved by sam ({id})"));
    assert_eq!(ran(&lab, mark, BARE), 1);
    // Not a second time: the same again is a new request.
    let (output, again) = tokio::join!(psql.query(BARE), lab.deny("once was enough"));
    assert_ne!(again.id(), request.id());
    assert!(output.err().contains("was denied by sam: once was enough"), "{output:?}");
    assert_eq!(ran(&lab, mark, BARE), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_statement_leaves_client_and_server_in_one_transaction_state() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let mark = lab.server.log().len();
    // No transaction.
    raw.query(BARE);
    let denied = async { lab.deny("not today").await };
    let (said, request) = tokio::join!(raw.send(1), denied);
    assert_eq!(said, ["E:42501", "Z:I"]);
    assert!(
        raw.error().contains("not today") && raw.error().contains(&request.id().to_string()),
        "{}",
        raw.error()
    );
    assert!(!request.asked().what.operation().unwrap().in_transaction);
    // In a transaction: it has failed, on both sides.
    assert_eq!(raw.query("BEGIN").send(1).await, ["C:BEGIN", "Z:T"]);
    raw.query(BARE);
    let (said, request) = tokio::join!(raw.send(1), async { lab.deny("no").await });
    assert_eq!(said, ["E:42501", "Z:E"]);
    assert!(request.asked().what.operation().unwrap().in_transaction);
    // In a transaction that has failed nobody is asked.
    assert_eq!(raw.query(BARE).send(1).await, ["E:25P02", "Z:E"]);
    assert_eq!(raw.query("COMMIT").send(1).await, ["C:ROLLBACK", "Z:I"]);
    // A batch of the extended protocol: what stands before it ran, and is lost with it; what stands behind is skipped.
    raw.run("UPDATE orders SET note = 'before' WHERE id = 1").run(BARE).run("SELECT 1").sync();
    let (said, request) = tokio::join!(raw.send(1), async { lab.deny("no").await });
    assert_eq!(said.last().unwrap(), "Z:I");
    assert_eq!(said.iter().filter(|said| said.starts_with("E:")).collect::<Vec<_>>(), ["E:42501"]);
    assert!(request.asked().what.operation().unwrap().in_transaction);
    assert_eq!(notes(&lab, "before").await, 0);
    assert_eq!(ran(&lab, mark, "note = 'all'"), 0);
    let verdicts: Vec<_> = lab.verdicts().into_iter().filter(|it| it.2 == BARE).map(|it| it.0).collect();
    let each = [Verdict::Hold, Verdict::Deny];
    assert_eq!(verdicts, [each, each, each].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_text_is_one_approval() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let text = "SELECT 1; UPDATE orders SET note = 'x'; DELETE FROM orders WHERE id = 1; DELETE FROM secrets";
    raw.query(text);
    let (said, request) = tokio::join!(raw.send(1), lab.approve());
    assert_eq!(said, ["T", "D:1", "C:SELECT 1", "C:UPDATE 1000", "C:DELETE 1", "C:DELETE 1", "Z:I"]);
    let asked = request.asked().what.operation().unwrap();
    assert_eq!(asked.text, text);
    let marked: Vec<_> = asked.highlights.iter().map(|h| &text[h.from as usize..h.to as usize]).collect();
    assert_eq!(marked.len(), 2, "{marked:?}");
    assert!(marked[0].contains("UPDATE orders") && marked[1].contains("DELETE FROM secrets"), "{marked:?}");
    assert_eq!(lab.steps().iter().filter(|step| **step == RequestStep::Filed).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_is_held_with_its_values_and_the_execute_passes() {
    let lab = lab(HOLD).await;
    let client = lab.client().await;
    let statement = client.prepare("UPDATE orders SET note = $1, customer = $2").await.unwrap();
    assert!(lab.requests().is_empty());
    let run = async { client.execute(&statement, &[&"secret words", &7_i32]).await };
    let (rows, request) = tokio::join!(run, lab.approve());
    assert_eq!(rows.unwrap(), 1000);
    let asked = request.asked().what.operation().unwrap();
    assert_eq!(asked.binds.len(), 2);
    assert_eq!((asked.binds[0].value.as_str(), asked.binds[0].null), ("secret words", false));
    assert_eq!(asked.text, "UPDATE orders SET note = $1, customer = $2");
    // The same with other values is another operation.
    let other = async { client.execute(&statement, &[&"other", &7_i32]).await };
    let (rows, _) = tokio::join!(other, lab.deny("no"));
    assert_eq!(rows.unwrap_err().code().unwrap().code(), "42501");
    assert_eq!(notes(&lab, "other").await, 0);
    // Declared types decode binary values.
    let typed = client.prepare_typed("UPDATE orders SET customer = $1", &[tokio_postgres::types::Type::INT4]);
    let typed = typed.await.unwrap();
    let (rows, request) = tokio::join!(async { client.execute(&typed, &[&4711_i32]).await }, lab.approve());
    assert_eq!(rows.unwrap(), 1000);
    let asked = request.asked().what.operation().unwrap();
    assert_eq!((asked.binds[0].value.as_str(), asked.binds[0].type_name.as_str()), ("4711", "int4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_takes_the_request_back_and_nothing_reaches_the_server() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let mark = lab.server.log().len();
    for (begin, state) in [(false, "Z:I"), (true, "Z:E")] {
        if begin {
            raw.query("BEGIN").send(1).await;
        }
        raw.query(BARE).send(0).await;
        let request = lab.pending().await;
        raw.cancel(lab.address).await;
        assert_eq!(raw.read(1).await, ["E:57014", state]);
        assert!(raw.error().contains("canceling statement due to user request"), "{}", raw.error());
        let request = lab.gate.access.find_request(request.id()).unwrap().unwrap();
        assert_eq!(request.state(), State::Withdrawn);
    }
    assert_eq!(ran(&lab, mark, "note = 'all'"), 0);
    assert_eq!(
        lab.steps(),
        [RequestStep::Filed, RequestStep::Withdrawn, RequestStep::Filed, RequestStep::Withdrawn]
    );
    // A cancel that finds nothing waiting is the server's again.
    raw.query("ROLLBACK").send(1).await;
    raw.query("SELECT pg_sleep(60)").send(0).await;
    loop {
        raw.cancel(lab.address).await;
        let running = lab.superuser().await;
        let row = running.query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()",
            &[],
        );
        if row.await.unwrap().get::<_, i64>(0) == 0 {
            break;
        }
    }
    let said = raw.read(1).await;
    assert!(said.contains(&"E:57014".to_owned()), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query(BARE).send(0).await;
    let request = lab.pending().await;
    drop(raw);
    loop {
        let request = lab.gate.access.find_request(request.id()).unwrap().unwrap();
        if request.state() == State::Withdrawn {
            assert_eq!(request.settled().unwrap().note(), "the client that waited is gone");
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(notes(&lab, "all").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_must_end_ends_while_it_waits() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query(BARE).send(0).await;
    let request = lab.pending().await;
    for control in lab.gate.sessions.controls() {
        control.end(portcullis_core::EndReason::WindowOver);
    }
    assert_eq!(raw.read(1).await, ["E:57P01", "closed"]);
    let request = lab.gate.access.find_request(request.id()).unwrap().unwrap();
    assert_eq!(request.state(), State::Withdrawn);
    assert_eq!(notes(&lab, "all").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_withdrawn_or_not_answered_fails_the_statement() {
    let lab = lab(&HOLD.replace("    action: approve", "    action: approve\n    hold_limit: 1s")).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query(BARE).send(0).await;
    let request = lab.pending().await;
    let access = lab.gate.access.clone();
    let who = Withdrawer::Requester(request.asked().requester.key());
    tokio::task::spawn_blocking(move || access.withdraw(request.id(), &who, "changed my mind").unwrap())
        .await
        .unwrap();
    assert_eq!(raw.read(1).await, ["E:57014", "Z:I"]);
    assert!(raw.error().contains("changed my mind"), "{}", raw.error());
    assert_eq!(raw.query(BARE).send(1).await, ["E:57014", "Z:I"]);
    assert!(raw.error().contains("in time"), "{}", raw.error());
    assert_eq!(notes(&lab, "all").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sessions_and_the_servers_own_messages_go_on_meanwhile() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query("LISTEN news").send(1).await;
    raw.query(BARE).send(0).await;
    let request = lab.pending().await;
    raw.notice("waits for approval").await;
    let other = lab.client().await;
    other.batch_execute("NOTIFY news, 'hello'").await.unwrap();
    assert_eq!(raw.read_one().await.unwrap(), "A");
    lab.answer(request.id(), Answer::Approve, "").await;
    assert_eq!(raw.read(1).await, ["C:UPDATE 1000", "Z:I"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_behind_is_judged_on_its_own() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query(BARE).query("DELETE FROM secrets").query("SELECT 2");
    let answers = async {
        let first = lab.approve().await;
        let second = lab.deny("not that").await;
        (first, second)
    };
    let (said, (first, second)) = tokio::join!(raw.send(3), answers);
    assert_eq!(said, ["C:UPDATE 1000", "Z:I", "E:42501", "Z:I", "T", "D:2", "C:SELECT 1", "Z:I"]);
    assert_eq!(first.asked().what.operation().unwrap().text, BARE);
    assert_eq!(second.asked().what.operation().unwrap().text, "DELETE FROM secrets");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_another_session_or_text_lets_nothing_through() {
    let lab = lab(HOLD).await;
    let mut one = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    let mut two = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    one.send(1).await;
    two.send(1).await;
    one.query(BARE).send(0).await;
    let first = lab.pending().await;
    two.query("DELETE FROM orders").send(0).await;
    let second = loop {
        let other = lab.requests().into_iter().find(|it| it.id() != first.id());
        if let Some(other) = other {
            break other;
        }
        tokio::task::yield_now().await;
    };
    lab.answer(first.id(), Answer::Approve, "").await;
    assert_eq!(one.read(1).await, ["C:UPDATE 1000", "Z:I"]);
    assert_eq!(lab.gate.access.find_request(second.id()).unwrap().unwrap().state(), State::Pending);
    lab.answer(second.id(), Answer::Deny, "no").await;
    assert_eq!(two.read(1).await, ["E:42501", "Z:I"]);
    let hashes = [&first, &second].map(|it| it.asked().what.operation().unwrap().hash.clone());
    assert_ne!(hashes[0], hashes[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_moves_meanwhile_judges_the_message_anew() {
    let lab = Lab::start("[read:*, write:public.orders]", HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    // Under rules that still hold it: a new request, and the old one is gone.
    raw.query(BARE).send(0).await;
    let first = lab.pending().await;
    lab.change_scope("[read:*, write:public.orders, write:public.customers]");
    let second = loop {
        let pending = lab.pending().await;
        if pending.id() != first.id() {
            break pending;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(lab.gate.access.find_request(first.id()).unwrap().unwrap().state(), State::Withdrawn);
    lab.answer(second.id(), Answer::Approve, "").await;
    assert_eq!(raw.read(1).await, ["C:UPDATE 1000", "Z:I"]);
    // Under rules that forbid it: refused.
    raw.query("UPDATE orders SET note = 'late'").send(0).await;
    let third = lab.pending().await;
    lab.change_scope("[read:*, write:public.secrets]");
    assert_eq!(raw.read(1).await, ["E:42501", "Z:I"]);
    assert!(raw.error().contains("is not in the scope"), "{}", raw.error());
    assert_eq!(lab.gate.access.find_request(third.id()).unwrap().unwrap().state(), State::Withdrawn);
    assert_eq!(notes(&lab, "late").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_by_name_is_part_of_what_is_approved() {
    let lab = lab(&HOLD.replace("    without: where\n", "")).await;
    let inner = "UPDATE orders SET note = 'by name' WHERE note IS NOT NULL OR true";
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    // PREPARE names what it would run: held, too.
    raw.query(&format!("PREPARE x AS {inner}"));
    tokio::join!(raw.send(1), lab.approve());
    raw.query("EXECUTE x");
    let (said, request) = tokio::join!(raw.send(1), lab.approve());
    assert_eq!(said, ["C:UPDATE 1000", "Z:I"]);
    let asked = request.asked().what.operation().unwrap();
    assert!(asked.text.starts_with("EXECUTE x") && asked.text.contains(inner), "{}", asked.text);
    // A portal that runs it by name was approved with that text: with another one behind the name it does not run.
    raw.query("BEGIN").send(1).await;
    raw.parse("e", "EXECUTE x").bind("p", "e", &[]).sync();
    tokio::join!(raw.send(1), lab.approve());
    raw.query("DEALLOCATE x").send(1).await;
    raw.query("PREPARE x AS UPDATE orders SET note = 'swapped'");
    tokio::join!(raw.send(1), lab.approve());
    let said = raw.execute("p").sync().send(1).await;
    assert_eq!(said, ["E:42501", "Z:E"]);
    assert!(raw.error().contains("bind it again"), "{}", raw.error());
    assert_eq!(notes(&lab, "swapped").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_data_is_asked_for_after_the_yes_only() {
    use futures_util::SinkExt;
    let hold = HOLD.replace("[update, delete]", "[copy]").replace("    without: where\n", "");
    let lab = lab(&hold).await;
    let client = lab.client().await;
    let copy = async {
        let sink = client.copy_in("COPY secrets FROM STDIN").await.unwrap();
        futures_util::pin_mut!(sink);
        sink.send(bytes::Bytes::from_static(b"2\tx\n")).await.unwrap();
        sink.finish().await.unwrap()
    };
    let (rows, request) = tokio::join!(copy, lab.approve());
    assert_eq!(rows, 1);
    assert_eq!(request.asked().what.operation().unwrap().statement.as_str(), "copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_call_is_held_with_its_arguments() {
    let hold = "guardrails:
  - name: no touching
    statements: [call]
    action: approve
    approvers: id:55aa0000-0000-4000-8000-000000000001
";
    let lab = lab(hold).await;
    let oid: u32 = lab
        .superuser()
        .await
        .query_one("SELECT oid FROM pg_proc WHERE proname = 'touch'", &[])
        .await
        .unwrap()
        .get(0);
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.function(oid, &[]);
    let (said, request) = tokio::join!(raw.send(1), lab.deny("no"));
    assert_eq!(said, ["E:42501", "Z:I"]);
    assert!(request.asked().what.operation().unwrap().text.contains("public.touch"));
    assert_eq!(notes(&lab, "touched").await, 0);
    raw.function(oid, &[]);
    let (said, _) = tokio::join!(raw.send(1), lab.approve());
    assert_eq!(said, ["V", "Z:I"]);
    assert_eq!(notes(&lab, "touched").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_values_are_held_whole_and_longer_ones_refused() {
    let lab = lab(HOLD).await;
    let client = lab.client().await;
    let statement = client.prepare("UPDATE orders SET note = left($1::text, 3)").await.unwrap();
    let long = "x".repeat(900 * 1024);
    let (rows, request) = tokio::join!(async { client.execute(&statement, &[&long]).await }, lab.approve());
    assert_eq!(rows.unwrap(), 1000);
    let bind = &request.asked().what.operation().unwrap().binds[0];
    assert_eq!((bind.value.len(), bind.cut), (1024, true));
    assert_eq!(notes(&lab, "xxx").await, 1000);
    let mark = lab.server.log().len();
    let longer = "y".repeat(4 * 1024 * 1024);
    let error = client.execute(&statement, &[&longer]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "54000", "{error:?}");
    assert_eq!(ran(&lab, mark, "yyyy"), 0);
    // Where nothing is held, values of any length pass.
    let row = client.query_one("SELECT length($1::text)", &[&longer]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 4 * 1024 * 1024);
    assert_eq!(notes(&lab, "yyy").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_that_wait_are_told_so() {
    let lab = lab(HOLD).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
        raw.send(1).await;
        raw.query(BARE).send(0).await;
        raw.notice("waits for approval").await;
        waiting.push(raw);
    }
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    assert_eq!(raw.query(BARE).send(1).await, ["E:53400", "Z:I"]);
    assert_eq!(notes(&lab, "all").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_and_cancel_at_once_run_it_once_or_not_at_all() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    for round in 0..30 {
        let note = format!("round {round}");
        raw.query(&format!("UPDATE orders SET note = '{note}'")).send(0).await;
        let request = lab.pending().await;
        let approve = async {
            let ballot = portcullis_access::requests::Ballot {
                by: lab.person(),
                answer: Answer::Approve,
                note: String::new(),
                lifetime_seconds: None,
                through: "api",
            };
            let access = lab.gate.access.clone();
            let id = request.id();
            let _perhaps =
                tokio::task::spawn_blocking(move || access.answer(id, ballot, &Default::default())).await;
        };
        tokio::join!(approve, raw.cancel(lab.address));
        let said = raw.read(1).await;
        let state = lab.gate.access.find_request(request.id()).unwrap().unwrap().state();
        let ran = notes(&lab, &note).await;
        match said[0].as_str() {
            "C:UPDATE 1000" => assert_eq!((ran, state), (1000, State::Approved)),
            "E:57014" => assert_eq!(ran, 0),
            other => panic!("{other}"),
        }
        assert!(state != State::Withdrawn || ran == 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_answers_at_once_and_lets_the_same_operation_through_once() {
    let lab = lab(&HOLD.replace("    action: approve", "    action: approve\n    on_timeout: ticket")).await;
    let mark = lab.server.log().len();
    let output = lab.psql().query(BARE).await;
    let request = lab.pending().await;
    assert!(output.err().contains(&request.id().to_string()), "{output:?}");
    assert!(output.stderr.contains("run the same statement again"), "{output:?}");
    // The same again is the same request, from another session too.
    lab.psql().query(BARE).await.err();
    assert_eq!(lab.requests().len(), 1);
    lab.answer(request.id(), Answer::Approve, "").await;
    // Another text is not what was approved.
    lab.psql().query("UPDATE orders SET note = 'other'").await.err();
    assert_eq!(lab.requests().len(), 2);
    assert_eq!(ran(&lab, mark, "note = '"), 0);
    lab.psql().query(BARE).await.ok();
    assert_eq!(notes(&lab, "all").await, 1000);
    // A second run files anew.
    lab.psql().query(BARE).await.err();
    assert_eq!(lab.requests().len(), 3);
    assert_eq!(ran(&lab, mark, BARE), 1);
    let used = lab.steps().iter().filter(|step| **step == RequestStep::Used).count();
    assert_eq!(used, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_for_the_table_that_was_meant() {
    let more = HOLD.replace("    action: approve", "    action: approve\n    on_timeout: ticket");
    let lab = Lab::set_up(Setup {
        scope: "'*:*'",
        more: &more,
        sql: "CREATE SCHEMA other; CREATE TABLE other.orders AS SELECT * FROM orders;",
        ..Setup::default()
    })
    .await;
    lab.psql().query(BARE).await.err();
    let request = lab.pending().await;
    lab.answer(request.id(), Answer::Approve, "").await;
    // The same text under another search path means another table.
    let output = lab.psql().run(&["-c", "SET search_path = other", "-c", BARE]).await;
    output.err();
    let client = lab.superuser().await;
    let row = client.query_one("SELECT count(*) FROM other.orders WHERE note = 'all'", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    lab.psql().query(BARE).await.ok();
    assert_eq!(notes(&lab, "all").await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_client_asks_is_told_to_who_answers_and_not_to_the_server() {
    let lab = lab(HOLD).await;
    let psql = lab.psql().env("PGOPTIONS", "-c portcullis.reason=ticket\\ 4711 -c statement_timeout=1h");
    let running = psql.run(&["-c", BARE, "-c", "SHOW statement_timeout"]);
    let (output, request) = tokio::join!(running, lab.approve());
    assert_eq!(request.asked().reason, "ticket 4711");
    assert_eq!(output.ok(), "1h");
    let shown = psql_setting(&lab).await;
    assert_eq!(shown, "");
}

async fn psql_setting(lab: &Lab) -> String {
    let psql = lab.psql().env("PGOPTIONS", "-c portcullis.reason=x");
    let output = psql.query("SELECT coalesce(current_setting('portcullis.reason', true), '')").await;
    output.ok().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_wait_with_long_messages_leave_others_alone() {
    let lab = lab(HOLD).await;
    let long = format!("UPDATE orders SET note = left('{}', 3)", "z".repeat(900 * 1024));
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
        raw.send(1).await;
        raw.query(&long).send(0).await;
        raw.notice("waits for approval").await;
        waiting.push(raw);
    }
    let other = lab.client().await;
    let answered = tokio::time::timeout(Duration::from_secs(60), other.batch_execute("SELECT 1")).await;
    answered.unwrap().unwrap();
    let request = lab.pending().await;
    let asked = request.asked().what.operation().unwrap();
    assert!(asked.text.len() <= 64 * 1024);
    assert_eq!(asked.text_cut_from, Some(long.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_comes_again_for_its_ticket_under_another_name() {
    let lab = lab(&HOLD.replace("    action: approve", "    action: approve\n    on_timeout: ticket")).await;
    let client = lab.client().await;
    let text = "UPDATE orders SET note = $1";
    let one = client.prepare(text).await.unwrap();
    let error = client.execute(&one, &[&"driver"]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "55P03");
    lab.approve().await;
    let two = client.prepare(text).await.unwrap();
    assert_eq!(client.execute(&two, &[&"another"]).await.unwrap_err().code().unwrap().code(), "55P03");
    assert_eq!(client.execute(&two, &[&"driver"]).await.unwrap(), 1000);
    assert_eq!(notes(&lab, "driver").await, 1000);
    assert_eq!(client.execute(&two, &[&"driver"]).await.unwrap_err().code().unwrap().code(), "55P03");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_of_the_server_counts_the_wait_of_a_batch() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query("SET statement_timeout = '300ms'").send(1).await;
    // The server's clock runs from the Parse; what it says of it comes with the next message that it reads.
    raw.run(BARE).sync().send(0).await;
    let request = lab.pending().await;
    lab.superuser().await.batch_execute("SELECT pg_sleep(0.6)").await.unwrap();
    lab.answer(request.id(), Answer::Approve, "").await;
    assert_eq!(raw.read(1).await, ["1", "E:57014", "Z:I"]);
    assert_eq!(notes(&lab, "all").await, 0);
    // A text has no such clock: it has not begun.
    raw.query(BARE).send(0).await;
    let request = lab.pending().await;
    lab.superuser().await.batch_execute("SELECT pg_sleep(0.6)").await.unwrap();
    lab.answer(request.id(), Answer::Approve, "").await;
    assert_eq!(raw.read(1).await, ["C:UPDATE 1000", "Z:I"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_and_a_leaving_at_once_run_it_once_or_not_at_all() {
    let lab = lab(HOLD).await;
    for round in 0..20 {
        let note = format!("left {round}");
        let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
        raw.send(1).await;
        raw.query(&format!("UPDATE orders SET note = '{note}'")).send(0).await;
        let request = lab.pending().await;
        let ballot = portcullis_access::requests::Ballot {
            by: lab.person(),
            answer: Answer::Approve,
            note: String::new(),
            lifetime_seconds: None,
            through: "api",
        };
        let (access, id) = (lab.gate.access.clone(), request.id());
        let answered =
            tokio::task::spawn_blocking(move || access.answer(id, ballot, &Default::default()).is_ok());
        drop(raw);
        let approved = answered.await.unwrap();
        while !lab.gate.sessions.controls().is_empty() {
            tokio::task::yield_now().await;
        }
        let settled = lab.gate.access.find_request(id).unwrap().unwrap();
        let ran = notes(&lab, &note).await;
        assert!(ran == 0 || (ran == 1000 && approved), "{ran} {approved}");
        assert!(approved || settled.state() == State::Withdrawn);
    }
    let used = lab.steps().iter().filter(|step| **step == RequestStep::Used).count();
    let filed = lab.steps().iter().filter(|step| **step == RequestStep::Filed).count();
    assert!(used <= filed && filed == 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_strict_mode_the_hold_is_on_the_disk_before_anybody_is_asked() {
    let lab = Lab::set_up(Setup {
        scope: "'*:*'",
        more: HOLD,
        sync: portcullis_audit::Sync::Strict,
        ..Setup::default()
    })
    .await;
    let psql = lab.psql();
    let (output, _) = tokio::join!(psql.query(BARE), lab.approve());
    output.ok();
    let verdicts: Vec<_> = lab.verdicts().into_iter().map(|it| it.0).collect();
    assert_eq!(verdicts, [Verdict::Hold, Verdict::Allow]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_held_when_it_is_made_and_when_it_is_read() {
    let hold = "guardrails:
  - name: no touching
    statements: [select]
    tables: [public.secrets]
    action: approve
    approvers: id:55aa0000-0000-4000-8000-000000000001
";
    let lab = lab(hold).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query("BEGIN").send(1).await;
    raw.query("DECLARE c CURSOR FOR SELECT value FROM secrets");
    let (said, _) = tokio::join!(raw.send(1), lab.approve());
    assert_eq!(said, ["C:DECLARE CURSOR", "Z:T"]);
    raw.query("FETCH c");
    let (said, request) = tokio::join!(raw.send(1), lab.approve());
    assert_eq!(said, ["T", "D:hunter2", "C:FETCH 1", "Z:T"]);
    assert!(request.asked().what.operation().unwrap().text.contains("SELECT value FROM secrets"));
    // The same cursor by the extended protocol is nothing that was asked about.
    let said = raw.execute("c").sync().send(1).await;
    assert_eq!(said, ["E:42501", "Z:E"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_goes_and_a_drain_end_the_wait() {
    let lab = lab(HOLD).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query("BEGIN").query(BARE).send(1).await;
    let request = lab.pending().await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%[%'";
    lab.superuser().await.batch_execute(kill).await.unwrap();
    let said = raw.read(1).await;
    assert!(
        said.iter().any(|said| said.starts_with("E:57P01")) && said.last().unwrap() == "closed",
        "{said:?}"
    );
    while lab.gate.access.find_request(request.id()).unwrap().unwrap().state() == State::Pending {
        tokio::task::yield_now().await;
    }
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query(BARE).send(0).await;
    let request = lab.pending().await;
    lab.gate.sessions.drain(Duration::from_secs(60), Duration::from_secs(60)).await;
    assert_eq!(raw.read(1).await, ["E:57P01", "closed"]);
    let request = lab.gate.access.find_request(request.id()).unwrap().unwrap();
    assert_eq!(request.state(), State::Withdrawn);
    assert_eq!(notes(&lab, "all").await, 0);
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and half a gigabyte; run by hand"]
async fn two_hundred_that_wait_with_long_messages_hold_a_bounded_amount() {
    const SESSIONS: usize = 200;
    let lab = Lab::set_up(Setup { scope: "'*:*'", more: HOLD, pending: 250, ..Setup::default() }).await;
    let before = resident();
    let mut waiting = Vec::new();
    for number in 0..SESSIONS {
        let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
        raw.send(1).await;
        let long = format!("UPDATE orders SET note = left('{number}{}', 3)", "z".repeat(900 * 1024));
        raw.query(&long).send(0).await;
        raw.notice("waits for approval").await;
        waiting.push(raw);
    }
    let each = (resident() - before) / SESSIONS;
    println!("{each} bytes for each session that waits");
    assert!(each < 4 * 1024 * 1024, "{each}");
    lab.client().await.batch_execute("SELECT 1").await.unwrap();
}
