//! Sharing: two texts share an analysis only where their analyses are equal.

use std::{fs, path::Path};

use portcullis_sql::{Analyzer, AnalyzerConfig, fuzz::fuzz_sql};
use proptest::prelude::*;

use crate::{
    database::{ANALYZER, CATALOG, Remembering, paths},
    masks::database::Database,
};

fn fresh_cache() -> Analyzer {
    Analyzer::new(AnalyzerConfig { threads: 1, ..AnalyzerConfig::default() }).unwrap()
}

/// Whether the second text is answered from the first one's analysis.
fn shared(first: &str, second: &str) -> bool {
    let analyzer = fresh_cache();
    analyzer.analyze(first).unwrap();
    let found = analyzer.analyze(second);
    let shares = analyzer.counts().normalised_hits == 1;
    if shares {
        assert_eq!(&**found.unwrap().text(), second);
    }
    shares
}

#[test]
fn texts_that_differ_in_literals_share() {
    for (first, second) in [
        ("SELECT * FROM orders WHERE id = 1", "SELECT * FROM orders WHERE id = 987654321"),
        (
            "SELECT * FROM orders WHERE note = 'a'",
            "SELECT * FROM orders WHERE note = 'it''s ; -- /* $$ longer'",
        ),
        ("SELECT * FROM orders WHERE total > 1.5", "SELECT * FROM orders WHERE total > 22.75"),
        ("INSERT INTO t (a, b) VALUES (1, 'x')", "INSERT INTO t (a, b) VALUES (2, '')"),
        ("UPDATE \"t\" SET a='1' WHERE id=1", "UPDATE \"t\" SET a='2' WHERE id=2"),
        ("SELECT date '2026-01-01' + 1", "SELECT date '2027-01-01' + 2"),
    ] {
        assert!(shared(first, second), "{second}");
    }
}

#[test]
fn texts_that_may_differ_in_meaning_do_not_share() {
    for (first, second) in [
        // Literals that decide.
        ("SELECT set_config('work_mem', '1', false)", "SELECT set_config('role', 'x', false)"),
        ("SELECT nextval('orders_id_seq')", "SELECT nextval('secret_id_seq')"),
        ("SELECT pg_notify('a', 'x')", "SELECT pg_notify('b', 'x')"),
        ("EXPLAIN (ANALYZE 0) DELETE FROM orders", "EXPLAIN (ANALYZE 1) DELETE FROM orders"),
        ("SET work_mem = 100", "SET work_mem = 200"),
        ("COPY orders TO '/tmp/a'", "COPY orders TO '/tmp/b'"),
        ("DO 'BEGIN NULL; END'", "DO 'BEGIN DROP TABLE orders; END'"),
        // Quotes that are not plain.
        ("SELECT E'a', 1", "SELECT E'b', 1"),
        ("SELECT $$a$$, 1", "SELECT $$b$$, 1"),
        ("SELECT U&'a', 1", "SELECT U&'b', 1"),
        ("SELECT B'1', 100", "SELECT B'0', 100"),
        ("SELECT 'a' -- 'x'\n, 1", "SELECT 'a' -- 'y'\n, 1"),
        ("SELECT /* 'a' */ 100", "SELECT /* 'b' */ 200"),
        ("SELECT 'a\\', 'b'", "SELECT 'c\\', 'd'"),
        // Case, space and names are kept.
        ("SELECT id FROM orders", "SELECT id FROM secret"),
        ("SELECT a1 FROM t", "SELECT a2 FROM t"),
        ("SELECT \"a 1\" FROM t", "SELECT \"a 2\" FROM t"),
        ("SELECT 'x' FROM t1", "SELECT 'x' FROM t2"),
        ("SELECT 1 AS é1", "SELECT 1 AS é2"),
        ("SELECT 12345678901", "SELECT 12345678902"),
        ("SELECT 1e5, 1", "SELECT 1e6, 1"),
        ("SELECT 1; SELECT 'a'", "SELECT 1; SELECT 'b'"),
        // Positions of output columns.
        ("SELECT a, b FROM t ORDER BY 1", "SELECT a, b FROM t ORDER BY 2"),
        ("SELECT a, b FROM t GROUP BY 1, 2", "SELECT a, b FROM t GROUP BY 2, 1"),
        ("SELECT DISTINCT ON (1) a, b FROM t", "SELECT DISTINCT ON (2) a, b FROM t"),
        (
            "SELECT a FROM (SELECT a, b FROM t ORDER BY 1) s",
            "SELECT a FROM (SELECT a, b FROM t ORDER BY 2) s",
        ),
    ] {
        assert!(!shared(first, second), "{second}");
    }
}

/// Pieces that meet where a naive normaliser goes wrong.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "'",
        "''",
        "'a'",
        "'b'",
        "\"",
        "\"a\"",
        "\"'\"",
        "'\"'",
        "E",
        "e'",
        "U&",
        "u&\"",
        "N'",
        "B'1'",
        "X'",
        "$",
        "$$",
        "$a$",
        "\\",
        "\\'",
        "--",
        "/*",
        "*/",
        "\n",
        "\r",
        "\t",
        " ",
        ";",
        ",",
        "(",
        ")",
        "1",
        "2",
        "12",
        "1.5",
        ".5",
        "1.",
        "1e5",
        "0x1",
        "1_0",
        "a",
        "_",
        "é",
        "SELECT ",
        "FROM ",
        "orders",
        "secret",
        "WHERE ",
        "id",
        "=",
        "-",
        "+",
        "||",
        "::",
        "text",
        "UESCAPE ",
        "set_config(",
        "nextval(",
        "'role'",
        "'orders_id_seq'",
        "DELETE FROM t",
        "UPDATE t SET a=",
        "\u{1}",
        "\u{2}",
        "\u{a0}",
        "date ",
        "interval ",
        "AS ",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// Statements with holes for literals, most of them valid whatever goes in.
fn templates() -> impl Strategy<Value = (String, String)> {
    let template = prop::sample::select(vec![
        "SELECT ?, ? FROM orders WHERE id = ?",
        "SELECT 'a'? FROM orders",
        "SELECT ?'b'",
        "SELECT ?\n? FROM secret",
        "SELECT E? , ?",
        "SELECT (?)::regclass, ?::text",
        "SELECT nextval(?), ?",
        "SELECT set_config(?, ?, ?)",
        "UPDATE t SET a = ? WHERE ?",
        "DELETE FROM t WHERE ?",
        "INSERT INTO t VALUES (?, ?) ON CONFLICT DO NOTHING",
        "SELECT a?, b? FROM t?",
        "SELECT -?-? FROM t LIMIT ?",
        "SELECT interval ?, date?",
        "EXPLAIN (ANALYZE ?) DELETE FROM t",
        "SELECT \"?\" FROM t WHERE a = ?",
        "SELECT U&? FROM t",
        "SELECT x'?' , float(?) '1'",
        "SELECT ? UESCAPE ?",
        "SELECT id, card_number FROM app.payments ORDER BY ?",
        "SELECT id, card_number FROM app.payments ORDER BY ?, ? DESC LIMIT ?",
        "SELECT id, card_number, ? FROM app.payments GROUP BY ?, ROLLUP (?)",
        "SELECT DISTINCT ON (?) id, card_number FROM app.payments WHERE id = ?",
        "SELECT email FROM app.customers WHERE left(email, ?) = ? ORDER BY (?)",
        "SELECT card_number FROM app.payments UNION ALL SELECT ? ORDER BY ?",
    ]);
    let literal = prop_oneof![
        Just("'role'".to_owned()),
        Just("'; DROP TABLE orders; --'".to_owned()),
        Just("''''".to_owned()),
        Just("''".to_owned()),
        Just("'orders_id_seq'".to_owned()),
        "'[a-z /*;$\"-]{0,6}'",
        "[0-9]{1,11}",
        "[0-9]{1,3}\\.[0-9]{0,3}",
        "[0-9][0-9a-fx_.e]{0,4}",
    ];
    let fill = |template: &str, literals: &[String]| {
        let mut next = literals.iter().cycle();
        template
            .chars()
            .map(|c| if c == '?' { next.next().unwrap().clone() } else { c.to_string() })
            .collect()
    };
    (template, prop::collection::vec(literal.clone(), 3), prop::collection::vec(literal, 3))
        .prop_map(move |(template, one, two)| (fill(template, &one), fill(template, &two)))
}

/// Every pair of texts, where the second is answered from the first: the fresh analysis of the second must be the same.
fn sharing_is_sound(first: &str, second: &str) -> Result<(), TestCaseError> {
    let analyzer = &*SHARED;
    let _ = analyzer.analyze(first);
    let cached = analyzer.analyze(second);
    if let (Ok(cached), Ok(fresh)) = (cached, ANALYZER.analyze_fresh(second)) {
        let resolved =
            |analysis: &portcullis_sql::Analysis| analysis.resolve(&*CATALOG, &paths(), &Remembering);
        prop_assert_eq!(resolved(&cached), resolved(&fresh), "{:?} after {:?}", second, first);
        for database in Database::both() {
            let [cached, fresh] = [&*cached, &fresh]
                .map(|analysis| analysis.masked(&database.masks, &database.catalog, &paths(), &Remembering));
            prop_assert_eq!(cached, fresh, "{:?} after {:?}", second, first);
        }
    }
    Ok(())
}

static SHARED: std::sync::LazyLock<Analyzer> = std::sync::LazyLock::new(fresh_cache);

#[test]
fn a_shared_analysis_is_the_fresh_one() {
    let config = ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() };
    let before = SHARED.counts().normalised_hits;
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner.run(&templates(), |(first, second)| sharing_is_sound(&first, &second)).unwrap();
    let shared = SHARED.counts().normalised_hits - before;
    assert!(shared > 300, "only {shared} texts were answered from another one's analysis");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn odd_texts_share_only_where_they_mean_the_same(one in pieces(), two in pieces()) {
        sharing_is_sound(&format!("SELECT {one}"), &format!("SELECT {two}"))?;
        fuzz_sql(one.as_bytes());
    }
}

#[test]
fn the_corpus_and_every_statement_file_replay() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut replayed = 0;
    for entry in fs::read_dir(root.join("corpus")).unwrap() {
        fuzz_sql(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0);
    for entry in fs::read_dir(root.join("statements")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for block in text.split("\n\n") {
            fuzz_sql(
                block
                    .lines()
                    .take_while(|line| !line.starts_with("=>"))
                    .collect::<Vec<_>>()
                    .join("\n")
                    .as_bytes(),
            );
        }
    }
}
