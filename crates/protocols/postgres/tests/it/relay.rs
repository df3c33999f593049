//! The relay with real clients and a real server: what a client does against the server, it does through the gateway.

use std::time::Duration;

use portcullis_core::Verdict;

use crate::{lab::Lab, wire::Raw};

async fn everything() -> Lab {
    Lab::start("'*:*'", "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_in_scope_is_answered_and_journalled() {
    let lab = Lab::start("read:*", "").await;
    let output = lab.psql().query("SELECT count(*) FROM orders").await;
    assert_eq!(output.ok().trim(), "1000");
    let decisions = lab.decisions();
    let last = decisions.last().unwrap();
    assert_eq!((last.decision, &*last.text), (Verdict::Allow, "SELECT count(*) FROM orders"));
    assert!(last.resources.iter().any(|r| r.resource.as_str() == "public.orders"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_log_names_the_agent() {
    let lab = everything().await;
    let output = lab.psql().query("SHOW application_name").await;
    assert_eq!(output.ok().trim(), format!("psql [{}]", crate::lab::AGENT));
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_transactions_and_copy_work_as_directly() {
    use futures_util::{SinkExt, StreamExt, pin_mut};
    let lab = everything().await;
    let mut client = lab.client().await;
    let statement = client.prepare("SELECT name FROM customers WHERE id = $1").await.unwrap();
    for id in 1..=20_i32 {
        let row = client.query_one(&statement, &[&id]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), format!("customer {id}"));
    }
    let transaction = client.transaction().await.unwrap();
    transaction.execute("DELETE FROM orders WHERE id > $1", &[&500_i32]).await.unwrap();
    transaction.rollback().await.unwrap();
    let count: i64 = client.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(count, 1000);

    client.batch_execute("CREATE TEMP TABLE bulk (id int, text text)").await.unwrap();
    let sink = client.copy_in("COPY bulk FROM STDIN").await.unwrap();
    pin_mut!(sink);
    let line = format!("7\t{}\n", "x".repeat(1000));
    for _ in 0..5_000 {
        sink.send(bytes::Bytes::from(line.clone())).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 5_000);
    let stream = client.copy_out("COPY bulk TO STDOUT").await.unwrap();
    pin_mut!(stream);
    let mut total = 0;
    while let Some(piece) = stream.next().await {
        total += piece.unwrap().len();
    }
    assert_eq!(total, line.len() * 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_larger_than_every_buffer_stream_through() {
    let lab = everything().await;
    let client = lab.client().await;
    let big = "y".repeat(24 * 1024 * 1024);
    let row = client.query_one("SELECT length($1::text), md5($1::text), $1::text", &[&big]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), i32::try_from(big.len()).unwrap());
    assert_eq!(row.get::<_, String>(2), big);
    let decisions = lab.decisions();
    assert!(decisions.last().unwrap().binds.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_binds_have_equal_fingerprints_whatever_their_size() {
    let lab = everything().await;
    let client = lab.client().await;
    for text in
        ["a".repeat(100), "b".repeat(100), "a".repeat(100), "c".repeat(3_000_000), "c".repeat(3_000_000)]
    {
        client.query("SELECT length($1::text)", &[&text]).await.unwrap();
    }
    let binds: Vec<String> = lab.decisions().into_iter().filter_map(|d| d.binds).collect();
    assert_eq!(binds.len(), 5, "{binds:?}");
    assert_eq!(binds[0], binds[2]);
    assert_ne!(binds[0], binds[1]);
    assert_eq!(binds[3], binds[4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_reaches_its_own_session() {
    let lab = everything().await;
    let (one, other) = (lab.client().await, lab.client().await);
    let token = one.cancel_token();
    let running = tokio::spawn(async move { one.batch_execute("SELECT pg_sleep(60)").await });
    // Seen running by the other session, so that the cancel has something to cancel.
    loop {
        let row = other.query_one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()", &[]).await.unwrap();
        if row.get::<_, i64>(0) > 0 {
            break;
        }
    }
    token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    other.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_arrive_between_statements() {
    let lab = everything().await;
    let output = lab.psql().run(&["-c", "LISTEN news", "-c", "NOTIFY news, 'hello'", "-c", "SELECT 1"]).await;
    assert!(output.ok().contains("hello"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_every_transaction_state_leaves_client_and_server_in_one() {
    let lab = Lab::start("[read:*, write:public.orders]", "").await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    assert_eq!(raw.send(1).await, ["R", "Z:I"]);
    // No transaction: answered here, the session goes on.
    assert_eq!(raw.query("DROP TABLE orders").send(1).await, ["E:42501", "Z:I"]);
    // Inside a transaction: failed on both sides.
    assert_eq!(raw.query("BEGIN").send(1).await, ["C:BEGIN", "Z:T"]);
    assert_eq!(
        raw.query("UPDATE orders SET note = 'lost' WHERE id = 1").send(1).await,
        ["C:UPDATE 1", "Z:T"]
    );
    assert_eq!(raw.query("DROP TABLE orders").send(1).await, ["E:42501", "Z:E"]);
    assert_eq!(raw.query("SELECT 1").send(1).await, ["E:25P02", "Z:E"]);
    assert_eq!(raw.query("DROP TABLE orders").send(1).await, ["E:42501", "Z:E"]);
    assert_eq!(raw.query("COMMIT").send(1).await, ["C:ROLLBACK", "Z:I"]);
    assert_eq!(
        raw.query("SELECT note FROM orders WHERE id = 1").send(1).await,
        ["T", "D:note 1", "C:SELECT 1", "Z:I"]
    );
    // Several statements in one string: none runs.
    let said = raw.query("UPDATE orders SET note = 'lost' WHERE id = 1; DROP TABLE orders").send(1).await;
    assert_eq!(said, ["E:42501", "Z:I"]);
    // Extended protocol, alone.
    assert_eq!(raw.run("DROP TABLE orders").sync().send(1).await, ["E:42501", "Z:I"]);
    // Extended protocol, after a write in the same implicit transaction: the write is lost too.
    let said = raw
        .run("UPDATE orders SET note = 'lost' WHERE id = 1")
        .run("DROP TABLE orders")
        .run("SELECT 1")
        .sync()
        .send(1)
        .await;
    assert_eq!(said, ["1", "2", "C:UPDATE 1", "E:42501", "Z:I"]);
    assert_eq!(
        raw.query("SELECT note FROM orders WHERE id = 1").send(1).await,
        ["T", "D:note 1", "C:SELECT 1", "Z:I"]
    );
    // Pipelined: what comes before and after in other sync groups is not touched.
    let said =
        raw.run("SELECT 1").sync().run("DROP TABLE orders").sync().run("SELECT 2").sync().send(3).await;
    assert_eq!(
        said,
        ["1", "2", "D:1", "C:SELECT 1", "Z:I", "E:42501", "Z:I", "1", "2", "D:2", "C:SELECT 1", "Z:I"]
    );
    assert!(!lab.server.saw("DROP TABLE"), "{}", lab.server.log());
    let denied: Vec<_> = lab.decisions().into_iter().filter(|d| d.decision == Verdict::Deny).collect();
    assert_eq!(denied.len(), 7, "{denied:?}");
    assert!(denied.iter().all(|d| d.text.contains("DROP TABLE orders")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_an_error_of_the_server_is_not_mixed_up_with_it() {
    let lab = Lab::start("read:*", "").await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let said = raw.run("SELECT 1/0").run("DROP TABLE orders").sync().run("SELECT 3").sync().send(2).await;
    // The server folds the constant, and fails, at Bind.
    assert_eq!(said, ["1", "E:22012", "Z:I", "1", "2", "D:3", "C:SELECT 1", "Z:I"]);
    // A portal that does not exist is the client's own mistake.
    assert_eq!(raw.execute("nothing").sync().send(1).await, ["E:34000", "Z:I"]);
    assert_eq!(raw.bind("", "nothing", &[]).sync().send(1).await, ["E:26000", "Z:I"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_prepared_twice_keeps_its_first_meaning_in_the_record() {
    let lab = everything().await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.parse("s", "SELECT 'first'").sync().send(1).await;
    // The server refuses the second; what Bind runs, and what is recorded, is the first.
    assert_eq!(raw.parse("s", "SELECT 'second'").sync().send(1).await, ["E:42P05", "Z:I"]);
    let said = raw.bind("", "s", &[]).execute("").sync().send(1).await;
    assert_eq!(said, ["2", "D:first", "C:SELECT 1", "Z:I"]);
    assert_eq!(&*lab.decisions().last().unwrap().text, "SELECT 'first'");
    // The same, pipelined: the meaning is settled by the answers before it is recorded.
    let said = raw.parse("s", "SELECT 'third'").sync().bind("", "s", &[]).execute("").sync().send(2).await;
    assert_eq!(said, ["E:42P05", "Z:I", "2", "D:first", "C:SELECT 1", "Z:I"]);
    assert_eq!(&*lab.decisions().last().unwrap().text, "SELECT 'first'");
    // A name counts by its first 63 bytes, as in the server.
    let (long, longer) = ("n".repeat(63), "n".repeat(64));
    raw.parse(&long, "SELECT 'long'").sync().send(1).await;
    assert_eq!(raw.parse(&longer, "SELECT 'longer'").sync().send(1).await, ["E:42P05", "Z:I"]);
    raw.bind("", &longer, &[]).execute("").sync().send(1).await;
    assert_eq!(&*lab.decisions().last().unwrap().text, "SELECT 'long'");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_within_an_unsynced_sequence_is_answered_as_by_the_server() {
    let lab = Lab::start("read:*", "").await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let said = raw.parse("", "SELECT 1").query("SELECT 2").send(1).await;
    assert_eq!(said, ["1", "T", "D:2", "C:SELECT 1", "Z:I"]);
    // The sequence has failed: the server drops the query, the Sync is answered.
    let said = raw.run("SELECT 1/0").query("SELECT 3").sync().send(1).await;
    assert_eq!(said, ["1", "E:22012", "Z:I"]);
    let said = raw.run("SELECT 4").sync().run("SELECT 5").query("SELECT 6").send(2).await;
    let expected = [
        "1",
        "2",
        "D:4",
        "C:SELECT 1",
        "Z:I",
        "1",
        "2",
        "D:5",
        "C:SELECT 1",
        "T",
        "D:6",
        "C:SELECT 1",
        "Z:I",
    ];
    assert_eq!(said, expected);
    assert_eq!(raw.parse("", "SELECT 1").query("DROP TABLE orders").send(1).await, ["1", "E:42501", "Z:I"]);
    assert_eq!(raw.query("SELECT 7").send(1).await, ["T", "D:7", "C:SELECT 1", "Z:I"]);
    assert!(!lab.server.saw("DROP TABLE orders"));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_code_nobody_sees_into_the_server_is_asked_for_its_search_path() {
    let lab = Lab::start("[read:public.*, execute:public.*]", "").await;
    let sql = "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.orders (id int);
        CREATE FUNCTION public.moves() RETURNS int LANGUAGE plpgsql VOLATILE AS
        'BEGIN PERFORM set_config(''search_path'', ''elsewhere, public'', false); RETURN 2; END'";
    lab.server.execute_in("shop", sql).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    // The client's unnamed statement outlives the question.
    let said = raw.run("SELECT touch()").parse("", "SELECT 'mine'").sync().send(1).await;
    assert_eq!(said, ["1", "2", "D:1", "C:SELECT 1", "1", "Z:I"]);
    assert_eq!(raw.bind("", "", &[]).execute("").sync().send(1).await, ["2", "D:mine", "C:SELECT 1", "Z:I"]);
    let whole = ["T", "D:1000", "C:SELECT 1", "Z:I"];
    assert_eq!(raw.query("SELECT count(*) FROM orders").send(1).await, whole);
    // What the code did to the path counts: `orders` is another table now, and out of scope.
    assert_eq!(raw.query("SELECT moves()").send(1).await, ["T", "D:2", "C:SELECT 1", "Z:I"]);
    assert_eq!(raw.query("SELECT count(*) FROM orders").send(1).await, ["E:42501", "Z:I"]);
    assert_eq!(raw.query("SELECT count(*) FROM public.orders").send(1).await, whole);
    // Within a transaction nobody is asked: what is shown there may be taken back.
    assert_eq!(raw.query("BEGIN").send(1).await, ["C:BEGIN", "Z:T"]);
    raw.query("SELECT touch()").send(1).await;
    assert_eq!(raw.query("SELECT count(*) FROM customers").send(1).await, ["E:42501", "Z:E"]);
    assert_eq!(raw.query("ROLLBACK").send(1).await, ["C:ROLLBACK", "Z:I"]);
    assert_eq!(raw.query("SELECT count(*) FROM customers").send(1).await, whole);
    assert!(lab.decisions().iter().all(|decision| !decision.text.contains("current_setting")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_no_names_does_not_make_the_catalog_be_read_again() {
    let lab = Lab::start("[read:*, admin:pg_temp.*]", "").await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let mark = lab.server.log().len();
    for text in ["DISCARD PLANS", "DISCARD ALL", "RESET ALL", "BEGIN; ROLLBACK"] {
        let said = raw.query(text).send(1).await;
        assert_eq!(said.last().map(String::as_str), Some("Z:I"), "{text}: {said:?}");
        assert!(said.iter().all(|one| !one.starts_with('E')), "{text}: {said:?}");
        assert_eq!(
            raw.query("SELECT count(*) FROM orders").send(1).await,
            ["T", "D:1000", "C:SELECT 1", "Z:I"]
        );
    }
    assert!(!lab.server.log_since(mark).contains("portcullis catalog"), "{}", lab.server.log_since(mark));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_sent_ahead_do_not_run_once_the_session_was_ended() {
    let lab = everything().await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.run("SELECT pg_sleep(600)").sync();
    for id in 5001..5010 {
        raw.run(&format!("INSERT INTO orders (id) VALUES ({id})")).sync();
    }
    let out = raw.out.split();
    let writer = tokio::spawn(async move {
        raw.out = out;
        raw.send(1).await
    });
    let client = lab.client().await;
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND state = 'active' AND pid <> pg_backend_pid()";
    while client.query_one(running, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
    // Every statement was decided and sent before the end.
    while lab.decisions().iter().filter(|d| d.text.starts_with("INSERT INTO orders")).count() < 9 {
        tokio::task::yield_now().await;
    }
    let ended = portcullis_core::EndReason::Killed { by: "test".to_owned(), reason: String::new() };
    let first = lab.gate.sessions.list().first().map(|live| live.facts.session).unwrap();
    assert!(lab.gate.sessions.end(first, ended));
    assert!(writer.await.unwrap().contains(&"E:57P01".to_owned()));
    while client.query_one(running, &[]).await.unwrap().get::<_, i64>(0) > 0 {}
    let count = "SELECT count(*) FROM orders WHERE id > 5000";
    assert_eq!(client.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sent_before_it_left_still_runs() {
    let lab = everything().await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.query("UPDATE orders SET note = 'left' WHERE id = 2");
    portcullis_postgres::codec::frontend::empty(&mut raw.out, b'X');
    raw.send(9).await;
    let client = lab.client().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let row = client.query_one("SELECT note FROM orders WHERE id = 2", &[]).await.unwrap();
        if row.get::<_, String>(0) == "left" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the update never ran");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_password_and_the_token_are_nowhere_to_be_seen() {
    let lab = Lab::start("read:*", "").await;
    let output = lab.psql().query("SELECT 1").await;
    let journal = lab.decisions().iter().map(|d| format!("{d:?}")).collect::<String>();
    for text in [&output.stdout, &output.stderr, &journal] {
        assert!(!text.contains("app-secret") && !text.contains("eyJ"), "{text}");
    }
}

/// `x` is a statement whose table the search path decides: what it reads later depends on what the gateway takes `x` for.
async fn with_a_statement_that_follows_the_path(raw: &mut Raw) {
    raw.query("CREATE SCHEMA inner_part").query("CREATE TABLE inner_part.t (v text)");
    raw.query("CREATE TABLE public.t (v text)").query("SET search_path = inner_part");
    assert!(raw.send(5).await.iter().all(|said| !said.starts_with("E:")));
    assert_eq!(raw.parse("x", "SELECT v FROM t").sync().send(1).await, ["1", "Z:I"]);
}

const COPY_DONE: &[u8] = b"c\0\0\0\x04";

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_the_server_swallows_during_a_copy_mixes_up_no_answers() {
    let lab = everything().await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    with_a_statement_that_follows_the_path(&mut raw).await;
    // The server answers the COPY and swallows the Sync: one ReadyForQuery.
    raw.query("COPY inner_part.t FROM STDIN").sync().out.extend_from_slice(COPY_DONE);
    assert_eq!(raw.send(1).await, ["G", "C:COPY 0", "Z:I"]);
    // Were one more owed, this failure would count as that answer's, and the next answer as this one's.
    assert_eq!(raw.query("PREPARE x AS SELECT 1").send(1).await, ["E:42P05", "Z:I"]);
    assert_eq!(
        raw.parse("y", "SELECT 2").bind("", "y", &[]).execute("").sync().send(1).await,
        ["1", "2", "D:2", "C:SELECT 1", "Z:I"]
    );
    raw.bind("", "x", &[]).execute("").sync().send(1).await;
    let decisions = lab.decisions();
    let prepared = decisions.iter().filter(|decision| &*decision.text == "PREPARE x AS SELECT 1").count();
    assert_eq!(prepared, 1, "a Bind of `x` is recorded as what `x` does not mean: {decisions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_data_is_sent_past_a_copy_until_it_is_known_to_take_data() {
    let lab = everything().await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    with_a_statement_that_follows_the_path(&mut raw).await;
    // As libpq does it, but in one write: the first Sync is swallowed.
    raw.parse("c", "COPY t FROM STDIN").bind("", "c", &[]).execute("").sync();
    raw.out.extend_from_slice(b"d\0\0\0\x06a\n");
    raw.out.extend_from_slice(COPY_DONE);
    raw.sync().parse("y", "SELECT 2").bind("", "y", &[]).execute("").sync();
    assert_eq!(raw.send(2).await, ["1", "2", "G", "C:COPY 1", "Z:I", "1", "2", "D:2", "C:SELECT 1", "Z:I"]);
    // Data that the COPY refuses; what follows could be taken for part of the COPY or not, so the session ends.
    raw.bind("", "c", &[]).execute("").sync().out.extend_from_slice(b"d\0\0\0\x08a\tb\n");
    raw.sync().parse("z", "SELECT v FROM t").sync();
    let said = raw.send(3).await;
    assert_eq!(said.last().map(String::as_str), Some("closed"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_drops_hides_nothing_from_its_scope() {
    let lab = Lab::start("[\"read:mine.*\", \"admin:mine.*\", \"admin:server/schema/mine\"]", "").await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.query("CREATE SCHEMA mine").query("CREATE TABLE mine.secrets (value text)");
    assert!(raw.send(3).await.iter().all(|said| !said.starts_with("E:")));
    assert_eq!(raw.query("SET search_path = mine, public").send(1).await, ["C:SET", "Z:I"]);
    assert_eq!(raw.query("SELECT value FROM secrets").send(1).await, ["T", "C:SELECT 0", "Z:I"]);
    // In one text, in one write, in one transaction: what is left is the table of another schema.
    let refused = ["E:42501", "Z:I"];
    assert_eq!(raw.query("DROP TABLE secrets; SELECT value FROM secrets").send(1).await, refused);
    raw.query("BEGIN").query("DROP TABLE mine.secrets").query("SELECT value FROM secrets").query("ROLLBACK");
    assert_eq!(
        raw.send(4).await,
        ["C:BEGIN", "Z:T", "C:DROP TABLE", "Z:T", "E:42501", "Z:E", "C:ROLLBACK", "Z:I"]
    );
    assert_eq!(raw.query("SELECT value FROM secrets").send(1).await, ["T", "C:SELECT 0", "Z:I"]);
    raw.query("BEGIN").query("ALTER TABLE mine.secrets RENAME TO other").query("COMMIT");
    assert_eq!(raw.send(3).await.last().map(String::as_str), Some("Z:I"));
    assert_eq!(raw.query("SELECT value FROM secrets").send(1).await, refused);
    assert!(!String::from_utf8_lossy(&raw.seen).contains("hunter2"));
}
