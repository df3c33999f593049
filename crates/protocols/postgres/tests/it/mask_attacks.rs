//! Attacks on masks by what the mask suites cannot say: raw protocol sequences, several sessions.

use crate::{
    lab::{Lab, Setup},
    wire::{Raw, Said},
};

const CARDS: &str = "CREATE TABLE cards (id int PRIMARY KEY, number text, name text);
    INSERT INTO cards VALUES (1, '4539578763621486', 'Ada Lovelace');
    CREATE SCHEMA other; CREATE TABLE other.cards (id int, number text, name text);
    INSERT INTO other.cards VALUES (1, 'harmless', 'nobody');
    CREATE TABLE notes (id int PRIMARY KEY, note text); INSERT INTO notes VALUES (1, 'a note');
    CREATE TABLE owners (id int PRIMARY KEY); INSERT INTO owners VALUES (1);
    CREATE TABLE bound (owner int NOT NULL REFERENCES owners ON DELETE SET NULL, number text);
    INSERT INTO bound VALUES (1, '4539578763621486');
    CREATE TABLE ruled (id int);
    CREATE RULE ruled AS ON INSERT TO ruled DO ALSO SELECT number || '' FROM cards;
    CREATE TYPE person AS (email text); CREATE TABLE typed OF person;
    INSERT INTO typed VALUES ('4539578763621486');";

const MASKS: &str = "masks:
  - name: cards
    columns: [public.cards.number, public.cards.name, public.bound.number, public.typed.email]
    with: redact
";

const HASHED: &str = "masks:
  - name: cards
    columns: [public.cards.number]
    with: hash
";

const BOTH: &str = "SELECT number FROM cards UNION ALL SELECT number FROM cards";

async fn lab() -> Lab {
    lab_on(15).await
}

async fn lab_on(version: u16) -> Lab {
    let scope = "['*:*']";
    Lab::set_up(Setup { version, scope, more: MASKS, sql: CARDS, ..Setup::default() }).await
}

async fn raw(lab: &Lab) -> Raw {
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    assert_eq!(raw.send(1).await.last().map(String::as_str), Some("Z:I"));
    raw
}

/// Returns when the statement of a task waits for a lock, or was answered.
async fn until_it_waits<T>(lab: &Lab, task: &tokio::task::JoinHandle<T>) {
    let server = lab.superuser().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while !task.is_finished() {
        let waiting: i64 = server.query_one(waits, &[]).await.unwrap().get(0);
        if waiting > 0 {
            break;
        }
    }
}

fn shows_nothing(raw: &Raw, said: &Said, what: &str) {
    let seen =
        |needle: &[u8]| raw.seen.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle));
    assert!(!seen(b"453957876362148") && !seen(b"lovelace"), "LEAK: {what}: {said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_portals_name_given_to_a_cursor_runs_the_cursor() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    one.query("BEGIN").parse("s", "SELECT note FROM notes").bind("p", "s", &[]).sync().send(2).await;
    let mut said = one.query("CLOSE p").query(&format!("DECLARE p CURSOR FOR {BOTH}")).send(2).await;
    said.extend(one.execute("p").sync().send(1).await);
    shows_nothing(&one, &said, "execute of a cursor under a portal's plan");
    // All in one sequence.
    let mut one = raw(&lab).await;
    one.query("BEGIN").parse("s", "SELECT note FROM notes").bind("p", "s", &[]).sync().send(2).await;
    one.run("CLOSE p").run(&format!("DECLARE p CURSOR FOR {BOTH}"));
    let said = one.execute("p").sync().send(1).await;
    shows_nothing(&one, &said, "the same in one sequence");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_runs_execute_or_fetch_runs_what_the_name_means_then() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    one.query("BEGIN").query("PREPARE s AS SELECT note FROM notes").parse("e", "EXECUTE s").send(2).await;
    one.bind("p", "e", &[]).sync().send(1).await;
    one.query("DEALLOCATE s").query("PREPARE s AS SELECT number FROM cards").send(2).await;
    let said = one.execute("p").sync().send(1).await;
    shows_nothing(&one, &said, "EXECUTE bound before its name was prepared anew");
    // Described before.
    let mut one = raw(&lab).await;
    one.query("BEGIN").query("PREPARE s AS SELECT note FROM notes").parse("e", "EXECUTE s").send(2).await;
    one.bind("p", "e", &[]).message(b'D', b"Pp\0").sync().send(1).await;
    one.query("DEALLOCATE s").query("PREPARE s AS SELECT number FROM cards").send(2).await;
    let said = one.execute("p").sync().send(1).await;
    shows_nothing(&one, &said, "EXECUTE described before its name was prepared anew");
    let mut one = raw(&lab).await;
    one.query("BEGIN").query("DECLARE c CURSOR FOR SELECT note FROM notes").send(2).await;
    one.parse("e", "FETCH ALL FROM c").bind("p", "e", &[]).sync().send(1).await;
    one.query("CLOSE c").query("DECLARE c CURSOR FOR SELECT number FROM cards").send(2).await;
    let said = one.execute("p").sync().send(1).await;
    shows_nothing(&one, &said, "FETCH bound before its cursor was declared anew");
    // Into a table.
    let mut one = raw(&lab).await;
    one.query("BEGIN").query("PREPARE s AS SELECT note FROM notes").send(2).await;
    one.parse("e", "CREATE TABLE taken AS EXECUTE s").bind("p", "e", &[]).sync().send(1).await;
    one.query("DEALLOCATE s").query("PREPARE s AS SELECT number FROM cards").send(2).await;
    let mut said = one.execute("p").sync().send(1).await;
    said.extend(one.query("SELECT * FROM taken").send(1).await);
    shows_nothing(&one, &said, "CREATE TABLE AS EXECUTE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_copy_looks_its_names_up_when_it_runs() {
    let lab = lab().await;
    for text in ["COPY cards TO STDOUT", "COPY (SELECT upper(number) FROM cards) TO STDOUT"] {
        let mut one = raw(&lab).await;
        one.query("SET search_path = other").send(1).await;
        one.query("BEGIN").parse("c", text).bind("p", "c", &[]).sync().send(2).await;
        one.query("SET search_path = public").send(1).await;
        let said = one.execute("p").sync().send(1).await;
        shows_nothing(&one, &said, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_what_its_names_meant_when_it_was_declared() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    one.query("BEGIN").query(&format!("DECLARE c CURSOR WITH HOLD FOR {BOTH}")).query("COMMIT").send(3).await;
    one.query("SET search_path = other").send(1).await;
    let said = one.execute("c").sync().send(1).await;
    shows_nothing(&one, &said, "execute of a cursor under another path");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_bound_twice_is_what_its_names_meant_when_it_was_bound() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    one.query("BEGIN").parse("s", BOTH).bind("p", "s", &[]).sync().send(2).await;
    one.query("SET search_path = other").query("SAVEPOINT a").send(2).await;
    one.parse("t", "SELECT note FROM public.notes").bind("p", "t", &[]).sync().send(1).await;
    let mut said = one.query("ROLLBACK TO a").send(1).await;
    said.extend(one.execute("p").sync().send(1).await);
    shows_nothing(&one, &said, "a portal bound twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_of_a_portal_that_the_server_skips_closes_nothing() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    one.query("BEGIN")
        .parse("s", BOTH)
        .parse("t", "SELECT note FROM notes")
        .bind("p", "s", &[])
        .sync()
        .send(2)
        .await;
    one.query("SAVEPOINT a").send(1).await;
    one.run("SELECT 1/0").message(b'C', b"Pp\0").bind("p", "t", &[]).sync().send(1).await;
    let mut said = one.query("ROLLBACK TO a").send(1).await;
    said.extend(one.execute("p").sync().send(1).await);
    shows_nothing(&one, &said, "a skipped close");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_prepared_by_sql_and_protocol_in_one_sequence_end_in_order() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    one.run("PREPARE s AS SELECT note FROM notes")
        .message(b'C', b"Ss\0")
        .parse("s", BOTH)
        .sync()
        .send(1)
        .await;
    let said = one.bind("", "s", &[]).execute("").sync().send(1).await;
    shows_nothing(&one, &said, "PREPARE, Close, Parse of one name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_declared_anew_on_its_way_counts() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    one.query("BEGIN").query("DECLARE c CURSOR FOR SELECT note FROM notes").send(2).await;
    one.query("CLOSE c").query("DECLARE c CURSOR FOR SELECT note FROM notes");
    one.query("SELECT pg_sleep(0.3)").query("CLOSE c").query(&format!("DECLARE c CURSOR FOR {BOTH}"));
    one.send(2).await;
    let said = one.query("FETCH ALL FROM c").send(4).await;
    shows_nothing(&one, &said, "FETCH of a cursor declared anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_columns_are_those_the_server_gives() {
    for version in [15, 18] {
        let lab = lab_on(version).await;
        let mut one = raw(&lab).await;
        for text in [
            "SELECT (SELECT upper(number) FROM json_array_elements_text('[\"x\"]') AS number) FROM cards",
            "SELECT (SELECT upper(number) FROM jsonb_array_elements('[\"x\"]') AS number) FROM cards",
            "SELECT (SELECT upper(name) FROM (SELECT ('x'::name)::text) s) FROM cards",
            "SELECT (SELECT upper(name) FROM (SELECT CASE WHEN true THEN 'x' ELSE 'y'::name END) s) FROM cards",
            "SELECT (SELECT upper(number) FROM generate_series(1, 1) AS number) FROM cards",
            "SELECT (SELECT upper(number) FROM regexp_matches('x', 'x') AS number) FROM cards",
            "SELECT (SELECT upper(number) FROM regexp_split_to_table('x', 'x') AS number) FROM cards",
            "SELECT (SELECT upper(number) FROM string_to_table('x', 'x') AS number) FROM cards",
            "SELECT (SELECT upper(number) FROM json_object_keys('{\"x\":1}') AS number) FROM cards",
            "SELECT (SELECT upper(number) FROM generate_subscripts(array[1], 1) AS number) FROM cards",
        ] {
            let said = one.query(text).send(1).await;
            shows_nothing(&one, &said, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_selects_is_not_shown() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    let said = one.query("INSERT INTO ruled VALUES (1)").send(1).await;
    shows_nothing(&one, &said, "DO ALSO SELECT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_cascade_shows_no_row() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    let said = one.query("DELETE FROM owners").send(1).await;
    shows_nothing(&one, &said, "ON DELETE SET NULL of a column that is not null");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copys_null_is_no_question() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    let said = one.query("COPY (SELECT number FROM cards) TO STDOUT (NULL '4539578763621486')").send(1).await;
    shows_nothing(&one, &said, "a value that is what null is called");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_not_renamed_by_its_type() {
    let lab = lab().await;
    let mut one = raw(&lab).await;
    let mut said = one.query("ALTER TYPE person RENAME ATTRIBUTE email TO other CASCADE").send(1).await;
    said.extend(one.query("SELECT other FROM typed").send(1).await);
    shows_nothing(&one, &said, "ALTER TYPE … RENAME ATTRIBUTE … CASCADE");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hides_a_masked_relation_may_go_while_a_statement_waits() {
    let lab = lab().await;
    for text in ["SELECT upper(number) FROM cards", "COPY cards TO STDOUT"] {
        let (mut one, mut two) = (raw(&lab).await, raw(&lab).await);
        let made = "DROP TABLE IF EXISTS other.cards; CREATE TABLE other.cards (id int, number text)";
        two.query(made).query("SET search_path = other, public").send(2).await;
        one.query("SET search_path = other, public").send(1).await;
        two.query("BEGIN").query("DROP TABLE other.cards").send(2).await;
        one.query(text);
        let waiting = tokio::spawn(async move {
            let said = one.send(1).await;
            (one, said)
        });
        until_it_waits(&lab, &waiting).await;
        two.query("COMMIT").send(1).await;
        let (one, said) = waiting.await.unwrap();
        shows_nothing(&one, &said, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_hides_a_masked_one_may_go_while_a_statement_waits() {
    let lab = lab().await;
    let (mut one, mut two) = (raw(&lab).await, raw(&lab).await);
    two.query("CREATE TABLE mine (number text); INSERT INTO mine VALUES ('x')").send(1).await;
    one.query("SELECT 1 FROM mine").send(1).await;
    two.query("BEGIN").query("ALTER TABLE mine RENAME COLUMN number TO gone").send(2).await;
    one.query("SELECT (SELECT upper(number) FROM mine LIMIT 1) FROM cards");
    let waiting = tokio::spawn(async move {
        let said = one.send(1).await;
        (one, said)
    });
    until_it_waits(&lab, &waiting).await;
    two.query("COMMIT").send(1).await;
    let (one, said) = waiting.await.unwrap();
    shows_nothing(&one, &said, "a column renamed meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_a_value_of_its_own_hashed_to_compare() {
    let lab = Lab::set_up(Setup { scope: "read:*", more: HASHED, sql: CARDS, ..Setup::default() }).await;
    let mut one = raw(&lab).await;
    let said = one.query("SELECT number FROM public.cards").send(1).await;
    for text in [
        "SELECT '4539578763621486' UNION ALL SELECT number FROM public.cards",
        "VALUES ('4539578763621486') UNION ALL SELECT number FROM public.cards",
        "WITH x AS (SELECT '4539578763621486' UNION ALL SELECT number FROM public.cards) SELECT * FROM x",
        "SELECT * FROM (SELECT '4539578763621486' UNION ALL SELECT number FROM public.cards) x",
    ] {
        let guess = one.query(text).send(1).await;
        assert_ne!(guess.get(1), said.get(1), "LEAK: {text}: {guess:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_an_earlier_sequence_forgets_no_portal_bound_since() {
    let lab = Lab::start("read:*", "").await;
    let mut one = raw(&lab).await;
    // The error of the first sequence is answered while the second stands between its Bind and its Execute.
    one.run("SELECT 1/0").sync();
    one.parse("", "SELECT 2").bind("", "", &[]);
    let said = one.send(1).await;
    assert!(said.iter().any(|line| line.starts_with('E')), "{said:?}");
    let said = one.execute("").sync().send(1).await;
    assert!(said.iter().any(|line| line == "D:2"), "{said:?}");
}
