//! Attacks on what the gateway believes a session's names, settings and transactions to be.

use std::{sync::Arc, time::Duration};

use portcullis_core::{Clock, SystemClock, Verdict};
use portcullis_testkit::ManualClock;

use crate::{
    lab::{Lab, Setup},
    wire::Raw,
};

/// `orders` is harmless in `public` and a secret in `private`.
const TWO_SCHEMAS: &str = "CREATE SCHEMA private; CREATE TABLE private.orders (id int, note text);
    INSERT INTO private.orders VALUES (1, 'top-secret-note');";

async fn narrow() -> Lab {
    Lab::set_up(Setup { scope: "read:public.orders", sql: TWO_SCHEMAS, ..Setup::default() }).await
}

async fn raw(lab: &Lab, parameters: &[(&str, &str)]) -> Raw {
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), parameters).await;
    assert_eq!(raw.send(1).await.last().map(String::as_str), Some("Z:I"));
    raw
}

async fn is_denied(raw: &mut Raw, text: &str) {
    let said = raw.query(text).send(1).await;
    assert_eq!(said.first().map(String::as_str), Some("E:42501"), "{text}: {said:?}");
    assert!(!raw.seen.windows(10).any(|window| window == b"top-secret"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_path_counts_only_once_it_was_certainly_set() {
    let lab = narrow().await;
    let private = [("search_path", "private")];
    // Bound, never executed.
    let mut one = raw(&lab, &private).await;
    one.parse("", "SET search_path = public").bind("", "", &[]).sync().send(1).await;
    is_denied(&mut one, "SELECT * FROM orders").await;
    // Another portal is executed instead.
    let mut one = raw(&lab, &private).await;
    one.parse("", "SELECT 1").bind("other", "", &[]).parse("", "SET search_path = public").bind("", "", &[]);
    one.execute("other").sync().send(1).await;
    is_denied(&mut one, "SELECT * FROM orders").await;
    // Executed, and undone by an error of the same group, with a good group behind it.
    let mut one = raw(&lab, &private).await;
    one.run("SET search_path = public").execute("nothing").sync().sync().send(2).await;
    is_denied(&mut one, "SELECT * FROM orders").await;
    // Executed, and undone by a rollback of the same group.
    let mut one = raw(&lab, &private).await;
    one.run("SET search_path = public").run("ROLLBACK").sync().send(1).await;
    is_denied(&mut one, "SELECT * FROM orders").await;
    // A transaction that is rolled back, all in one write.
    let mut one = raw(&lab, &private).await;
    one.query("BEGIN").query("SET search_path = public").query("ROLLBACK").query("SELECT 1").send(4).await;
    is_denied(&mut one, "SELECT * FROM orders").await;
    // A COPY that fails after it.
    let mut one = raw(&lab, &private).await;
    one.query("SET search_path = public; SELECT 1 FROM public.orders WHERE id / 0 = 1").send(1).await;
    is_denied(&mut one, "SELECT * FROM orders").await;
    // Set for certain, it counts.
    let mut one = raw(&lab, &private).await;
    one.query("SET search_path = public").send(1).await;
    let said = one.query("SELECT id FROM orders WHERE id = 1").send(1).await;
    assert_eq!(said, ["T", "D:1", "C:SELECT 1", "Z:I"]);
    let mut one = raw(&lab, &private).await;
    one.run("SET search_path = public").sync().send(1).await;
    let said = one.query("SELECT id FROM orders WHERE id = 1").send(1).await;
    assert_eq!(said, ["T", "D:1", "C:SELECT 1", "Z:I"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepare_that_is_only_bound_changes_no_meaning() {
    let lab = narrow().await;
    let mut one = raw(&lab, &[]).await;
    one.query("PREPARE s AS SELECT * FROM orders").send(1).await;
    // Bound, never executed: `s` is still the first.
    one.parse("", "PREPARE s AS SELECT 1").bind("", "", &[]).sync().send(1).await;
    one.parse("", "DEALLOCATE s").bind("", "", &[]).sync().send(1).await;
    one.query("SET search_path = private").send(1).await;
    is_denied(&mut one, "EXECUTE s").await;
    // The same under a name prepared by the protocol.
    let mut one = raw(&lab, &[]).await;
    one.parse("s", "SELECT * FROM orders").sync().send(1).await;
    one.query("PREPARE s AS SELECT 1").send(1).await;
    one.query("SET search_path = private").send(1).await;
    is_denied(&mut one, "EXECUTE s").await;
    // Two meanings and nothing that settles it: what cannot be told is not run.
    let said = one.bind("", "s", &[]).execute("").sync().send(1).await;
    assert_eq!(said, ["E:26000", "Z:I"]);
    // A Close that the server skips forgets nothing that it keeps.
    let mut one = raw(&lab, &[]).await;
    one.parse("s", "SELECT * FROM orders").sync().send(1).await;
    one.execute("nothing").message(b'C', b"Ss\0").sync().send(1).await;
    one.query("SET search_path = private").send(1).await;
    let said = one.bind("", "s", &[]).execute("").sync().send(1).await;
    assert_eq!(said, ["E:42501", "Z:I"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_told_apart_as_the_server_tells_them_apart() {
    let lab = narrow().await;
    let mut one = raw(&lab, &[]).await;
    // 62 letters and one character of two bytes: SQL cuts before it, the protocol inside it.
    let (cut, long) = ("n".repeat(62), format!("{}é", "n".repeat(62)));
    one.parse(&cut, "SELECT * FROM orders").sync().send(1).await;
    let said = one.query(&format!("PREPARE \"{long}\" AS SELECT 1")).send(1).await;
    assert_eq!(said[0], "E:42P05", "{said:?}");
    one.query("SET search_path = private").send(1).await;
    is_denied(&mut one, &format!("EXECUTE \"{long}\"")).await;
    is_denied(&mut one, &format!("EXECUTE {cut}")).await;
    // Portals and cursors of names that differ after 63 bytes.
    let mut one = raw(&lab, &[]).await;
    let (name, longer) = ("c".repeat(63), "c".repeat(70));
    one.query("BEGIN").send(1).await;
    one.query(&format!("DECLARE {name} CURSOR FOR SELECT id FROM orders ORDER BY id")).send(1).await;
    let said = one.query(&format!("FETCH 1 FROM {longer}")).send(1).await;
    assert_eq!(said, ["T", "D:1", "C:FETCH 1", "Z:T"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_or_cursor_is_judged_again_when_the_policy_has_changed() {
    let lab = Lab::start("read:*", "").await;
    let mut one = raw(&lab, &[]).await;
    one.query("BEGIN").send(1).await;
    one.query("DECLARE c CURSOR FOR SELECT value FROM secrets").send(1).await;
    one.parse("s", "SELECT value FROM secrets").bind("p", "s", &[]).sync().send(1).await;
    // Binding it again fails, and leaves the first in place.
    one.query("SAVEPOINT x").send(1).await;
    assert!(
        one.parse("", "SELECT 1").bind("p", "", &[]).sync().send(1).await.contains(&"E:42P03".to_owned())
    );
    one.query("ROLLBACK TO x").send(1).await;
    lab.change_scope("read:public.orders");
    let mark = lab.server.log().len();
    assert_eq!(one.execute("p").sync().send(1).await, ["E:42501", "Z:E"]);
    one.query("ROLLBACK TO x").send(1).await;
    assert_eq!(one.execute("c").sync().send(1).await, ["E:42501", "Z:E"]);
    one.query("ROLLBACK TO x").send(1).await;
    assert_eq!(one.query("FETCH c").send(1).await, ["E:42501", "Z:E"]);
    one.query("ROLLBACK TO x").send(1).await;
    assert_eq!(one.bind("", "s", &[]).execute("").sync().send(1).await, ["E:42501", "Z:E"]);
    one.query("ROLLBACK TO x").send(1).await;
    assert_eq!(one.query("EXECUTE s").send(1).await, ["E:42501", "Z:E"]);
    one.query("ROLLBACK").send(1).await;
    assert_eq!(one.query("SELECT id FROM orders WHERE id = 1").send(1).await[1], "D:1");
    assert!(!one.seen.windows(7).any(|window| window == b"hunter2"));
    assert!(!lab.server.log_since(mark).contains("secrets"), "{}", lab.server.log_since(mark));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_come_and_go_under_one_name() {
    let lab = narrow().await;
    let mut one = raw(&lab, &[]).await;
    for number in 1..=20 {
        one.query("BEGIN").send(1).await;
        let declare =
            format!("DECLARE c CURSOR FOR SELECT id FROM orders WHERE id = {number} /* {number} */");
        one.query(&declare).send(1).await;
        assert_eq!(one.query("FETCH c").send(1).await[1], format!("D:{number}"));
        one.query("COMMIT").send(1).await;
        let hold = format!(
            "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM orders WHERE id = {number} /* {number} */"
        );
        one.query(&hold).send(1).await;
        assert_eq!(one.query("FETCH h").send(1).await[1], format!("D:{number}"));
        one.query("CLOSE h").send(1).await;
    }
    is_denied(&mut one, "FETCH h").await;
    is_denied(&mut one, "FETCH c").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_in_copy_data() {
    let lab = Lab::start("[read:*, write:public.orders]", "").await;
    let superuser = lab.superuser().await;
    let rows = || async {
        let row =
            superuser.query_one("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM secrets)", &[]);
        let row = row.await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let before = rows().await;
    // A Query while the server takes in data: judged as any other.
    let mut one = raw(&lab, &[]).await;
    one.query("COPY orders FROM STDIN").message(b'd', b"9001\t1\t1\tx\n").query("DELETE FROM secrets");
    let said = one.send(2).await;
    assert!(said.contains(&"closed".to_owned()) || said.contains(&"E:42501".to_owned()), "{said:?}");
    // Behind a failed COPY in the extended protocol.
    let mut one = raw(&lab, &[]).await;
    one.run("COPY orders FROM STDIN")
        .message(b'd', b"no number\n")
        .message(b'c', b"")
        .run("DELETE FROM secrets")
        .sync();
    let said = one.send(1).await;
    assert!(said.iter().any(|one| one.starts_with("E:")), "{said:?}");
    // A Sync in it, and text that looks like messages.
    let mut one = raw(&lab, &[]).await;
    let mut data = b"Q\0\0\0\x18DELETE FROM secrets\0".to_vec();
    data.push(b'\n');
    one.query("COPY orders FROM STDIN").sync().message(b'd', &data).message(b'c', b"");
    let said = one.send(1).await;
    assert!(said.iter().any(|one| one.starts_with("E:22")), "{said:?}");
    // Data after the copy is over, and without one.
    let mut one = raw(&lab, &[]).await;
    one.message(b'd', &data).message(b'c', b"").message(b'f', b"x\0").query("SELECT 1");
    assert_eq!(one.send(1).await, ["T", "D:1", "C:SELECT 1", "Z:I"]);
    assert_eq!(rows().await, before);
    assert!(
        !lab.server.saw("DELETE FROM secrets\n") && !lab.server.saw(": DELETE FROM secrets"),
        "{}",
        lab.server.log()
    );
    // And a copy that is in order.
    let mut one = raw(&lab, &[]).await;
    one.query("COPY orders FROM STDIN")
        .message(b'd', b"9001\t1\t1\tx\n")
        .message(b'c', b"")
        .query("SELECT 2");
    assert_eq!(one.send(2).await, ["G", "C:COPY 1", "Z:I", "T", "D:2", "C:SELECT 1", "Z:I"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_behind_a_refusal_runs_before_its_sync() {
    let lab = Lab::start("[read:*, write:public.orders]", "").await;
    let mut one = raw(&lab, &[]).await;
    let write = "UPDATE orders SET note = 'lost' WHERE id = 1";
    // Alone, at the start of a sequence; everything up to the Sync is dropped, whatever it is.
    one.run("DROP TABLE secrets").run(write).message(b'D', b"S\0").message(b'H', b"").message(b'C', b"S\0");
    assert_eq!(one.sync().send(1).await, ["E:42501", "Z:I"]);
    // In a transaction; COMMIT behind it does not save what came before.
    one.query("BEGIN").send(1).await;
    one.run(write).run("DROP TABLE secrets").run("COMMIT").sync();
    assert_eq!(one.send(1).await.last().map(String::as_str), Some("Z:E"));
    assert_eq!(one.query("COMMIT").send(1).await, ["C:ROLLBACK", "Z:I"]);
    // Pipelined: refused, refused, good, each in its own group, a hundred times.
    for _ in 0..100 {
        one.run("DROP TABLE secrets").sync().query("TRUNCATE secrets").run("SELECT 1").sync();
    }
    let said = one.send(300).await;
    let refused = said.iter().filter(|one| *one == "E:42501").count();
    assert_eq!((refused, said.iter().filter(|one| *one == "D:1").count()), (200, 100), "{said:?}");
    // Inside a transaction that has failed by itself.
    one.query("BEGIN").query("SELECT 1 / 0").send(2).await;
    assert_eq!(one.query("DROP TABLE secrets").send(1).await, ["E:42501", "Z:E"]);
    assert_eq!(one.query("ROLLBACK; DROP TABLE secrets").send(1).await, ["E:42501", "Z:E"]);
    assert_eq!(one.query("ROLLBACK").send(1).await, ["C:ROLLBACK", "Z:I"]);
    let said = one.query("SELECT note FROM orders WHERE id = 1").send(1).await;
    assert_eq!(said[1], "D:note 1");
    assert!(!lab.server.saw("DROP TABLE") && !lab.server.saw("TRUNCATE"), "{}", lab.server.log());
    let denied = lab.decisions().into_iter().filter(|decision| decision.decision == Verdict::Deny).count();
    assert_eq!(denied, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_reset_stays_read_only_on_the_server() {
    let lab = Lab::start("read:*", "").await;
    let mut one = raw(&lab, &[]).await;
    for text in [
        "RESET ALL",
        "DISCARD ALL",
        "SET default_transaction_read_only TO DEFAULT",
        "RESET default_transaction_read_only",
    ] {
        one.query(text).send(1).await;
        for name in ["default_transaction_read_only", "transaction_read_only"] {
            assert_eq!(one.query(&format!("SHOW {name}")).send(1).await[1], "D:on", "{text}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_psql_asks_for_works_in_a_narrow_scope() {
    let lab = narrow().await;
    for command in [
        "\\d",
        "\\dt",
        "\\dt+",
        "\\dv",
        "\\di",
        "\\ds",
        "\\df",
        "\\d orders",
        "\\d+ orders",
        "\\l",
        "\\l+",
        "\\du",
        "\\dn",
        "\\dn+",
        "\\dx",
        "\\dT",
        "\\do",
        "\\dp",
        "\\db",
        "\\dC",
        "\\da",
        "\\dD",
        "\\dO",
        "\\dL",
        "\\dy",
        "\\dRp",
        "\\dF",
        "\\dew",
        "\\sf leak",
        "\\encoding",
        "\\conninfo",
    ] {
        let output = lab.psql().run(&["-c", command]).await;
        assert_eq!((output.code, output.stderr.trim()), (0, ""), "{command}: {output:?}");
    }
    // Options of foreign servers and settings of roles can hold credentials.
    for command in ["\\des+", "\\deu+", "\\det", "\\drds"] {
        let output = lab.psql().run(&["-c", command]).await;
        assert!(output.stderr.contains("is not in the scope"), "{command}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_past_the_gateway_is_seen_after_half_a_minute_also_by_a_session_that_paused() {
    let clock = ManualClock::at(SystemClock.now());
    let lab = Lab::set_up(Setup {
        scope: "read:public.*",
        sql: "CREATE SCHEMA private;",
        clock: Arc::new(clock.clone()),
        ..Setup::default()
    });
    let lab = lab.await;
    let superuser = lab.superuser().await;
    let mut one = raw(&lab, &[("search_path", "private, public")]).await;
    assert_eq!(one.query("SELECT value FROM secrets WHERE id = 2").send(1).await[0], "T");
    assert_eq!(one.query("SELECT leak() IS NULL").send(1).await[1], "D:f");
    // A table that comes first now, and a function that became volatile.
    superuser
        .batch_execute("CREATE TABLE private.secrets AS SELECT 2 AS id, 'top-secret' AS value")
        .await
        .unwrap();
    superuser.batch_execute("ALTER FUNCTION leak() VOLATILE").await.unwrap();
    clock.advance(Duration::from_secs(31));
    is_denied(&mut one, "SELECT value FROM secrets WHERE id = 2").await;
    is_denied(&mut one, "SELECT leak()").await;
    // Another session begins with what is true now.
    superuser.batch_execute("ALTER FUNCTION leak() STABLE; DROP TABLE private.secrets").await.unwrap();
    clock.advance(Duration::from_secs(31));
    let mut two = raw(&lab, &[("search_path", "private, public")]).await;
    assert_eq!(two.query("SELECT leak() IS NULL").send(1).await[1], "D:f");
}
