use super::*;

fn columns() -> Vec<String> {
    vec!["id".to_owned(), "odd \"name".to_owned()]
}

#[test]
fn what_can_be_planned_stands_behind_explain_unchanged() {
    for text in [
        "SELECT 1",
        "(SELECT 1)",
        "VALUES (1), (2)",
        "/* a */ -- b\nDELETE FROM t WHERE id = $1;",
        "WITH gone AS (DELETE FROM t RETURNING id) SELECT * FROM gone",
        "UPDATE public.\"T\" SET a = E'\\'x' WHERE b = U&'\\0041'",
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "DELETE FROM t WHERE id IN (1, 2) OR tags && ARRAY[1, 2] OR id = ANY ('{3}') OR (id, n) IN ((1, 2))",
        "SELECT count(*) FILTER (WHERE a), sum(b) OVER w FROM t GROUP BY ROLLUP (a, b) HAVING true WINDOW w AS (ORDER BY c)",
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE",
        "CREATE TABLE n AS SELECT * FROM t",
        "CREATE MATERIALIZED VIEW n AS SELECT * FROM t",
        "SELECT * INTO n FROM t",
        "DECLARE c CURSOR FOR SELECT * FROM t",
    ] {
        let made = explain(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(made, format!("{EXPLAIN}{text}"));
    }
}

#[test]
fn what_would_run_or_is_several_is_not_explained() {
    for text in [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN (ANALYZE) DELETE FROM t",
        "ANALYZE t",
        "ANALYZE",
        "SELECT 1; DELETE FROM t",
        "SELECT 1); DELETE FROM t; --",
        "DELETE FROM t; COMMIT",
        "",
        ";",
        "COPY t TO STDOUT",
        "CALL p()",
        "DO 'begin end'",
        "TRUNCATE t",
        "DROP TABLE t",
        "EXECUTE p(nextval('s'))",
        "CREATE TABLE n AS EXECUTE p(nextval('s'))",
        "PREPARE p AS DELETE FROM t",
        "COMMIT",
        "SET x = 1",
        "REFRESH MATERIALIZED VIEW n",
    ] {
        assert!(explain(text).is_err(), "{text}");
    }
}

#[test]
fn only_changes_that_a_rollback_takes_back_are_counted() {
    let update = rows("UPDATE s.t SET a = lower(b), c = pg_catalog.upper(b) WHERE id = abs($1)").unwrap();
    assert_eq!(update.target, Name::qualified("s", "t"));
    let calls: Vec<String> = update.calls.iter().map(ToString::to_string).collect();
    assert_eq!(calls, ["abs", "lower", "pg_catalog.upper"]);
    assert!(update.sampled);
    assert!(!rows("MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 1").unwrap().sampled);
    assert!(rows("DELETE FROM t").is_ok());
    for text in [
        "SELECT 1",
        "INSERT INTO t VALUES (1)",
        "WITH n AS (INSERT INTO s VALUES (1) RETURNING id) DELETE FROM t USING n WHERE t.id = n.id",
        "MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (1)",
        "UPDATE t SET id = DEFAULT",
        "UPDATE t SET (a, b) = (1, DEFAULT)",
        "DELETE FROM t WHERE CURRENT OF c",
        "DELETE FROM t USING s TABLESAMPLE system (10) WHERE t.id = s.id",
        "UPDATE t SET a = 1; COMMIT",
        "TRUNCATE t",
        "COMMIT",
        "EXPLAIN ANALYZE DELETE FROM t",
    ] {
        assert!(rows(text).is_err(), "{text}");
    }
    // Calls are found wherever they stand.
    let deep = rows(
        "WITH x AS MATERIALIZED (SELECT f1() AS a) UPDATE t SET a = (SELECT max(f2(b)) FROM f3(1) AS q(b) WHERE f4(b)) \
         FROM x WHERE CASE WHEN x.a = 1 THEN f5() ELSE false END RETURNING f6(t.a)",
    );
    let calls: Vec<String> = deep.unwrap().calls.iter().map(ToString::to_string).collect();
    assert_eq!(calls, ["f1", "f2", "f3", "f4", "f5", "f6", "max"]);
}

#[test]
fn rows_are_shown_by_the_statements_own_condition() {
    let text = |analysis: Option<Analysis>| analysis.unwrap().text().to_string();
    let of = |text: &str| samples(text, &columns(), 5).unwrap();
    let update = of("UPDATE s.t AS x SET a = $1 FROM other o WHERE x.id = o.id AND o.n > 3 OR true");
    assert_eq!(
        text(update.before),
        "SELECT x.id, x.\"odd \"\"name\" FROM s.t x, other o WHERE (x.id = o.id AND o.n > 3) OR true LIMIT 5"
    );
    assert_eq!(
        update.after.text().as_ref(),
        "UPDATE s.t x SET a = $1 FROM other o WHERE (x.id = o.id AND o.n > 3) OR true RETURNING x.id, x.\"odd \"\"name\""
    );
    let delete = of("WITH w AS (SELECT 1 AS id) DELETE FROM ONLY t USING w WHERE t.id = w.id");
    assert_eq!(
        text(delete.before),
        "WITH w AS (SELECT 1 AS id) SELECT t.id, t.\"odd \"\"name\" FROM ONLY t, w WHERE t.id = w.id LIMIT 5"
    );
    assert!(delete.after.text().ends_with("RETURNING t.id, t.\"odd \"\"name\""), "{}", delete.after.text());
    let listed = of("DELETE FROM t WHERE id IN (1, 2) OR tags && ARRAY['a', 'b'] OR n = ANY ($1)");
    assert!(
        listed.after.text().starts_with("DELETE FROM t WHERE id IN (1, 2) OR "),
        "{}",
        listed.after.text()
    );
    // What the statement returns by itself stays as it is.
    assert_eq!(of("DELETE FROM t RETURNING id + 1").after.text().as_ref(), "DELETE FROM t RETURNING id + 1");
    // A CTE that changes something cannot be run to look at rows.
    let changing = of("WITH w AS (DELETE FROM s RETURNING id) DELETE FROM t USING w WHERE t.id = w.id");
    assert!(changing.before.is_none());
    assert!(samples("MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE", &columns(), 5).is_err());
    assert!(samples("DELETE FROM t; COMMIT", &columns(), 5).is_err());
}

#[test]
fn only_constants_are_taken_for_the_arguments_of_an_execute() {
    let text = |text: &str| Some(text.to_owned());
    let given = arguments("EXECUTE p (1, -2, 3.50, 'it''s', true, NULL, 12345678901)").unwrap();
    let expected =
        [text("1"), text("-2"), text("3.50"), text("it's"), text("true"), None, text("12345678901")];
    assert_eq!(given, expected);
    assert_eq!(arguments("EXECUTE p").unwrap(), []);
    for odd in [
        "EXECUTE p (nextval('s'))",
        "EXECUTE p (1, 1 + 1)",
        "EXECUTE p ((SELECT 1))",
        "EXECUTE p ('1'::evil)",
        "EXECUTE p ($1)",
        "EXECUTE p (B'1')",
        "EXECUTE p (CURRENT_USER)",
        "EXECUTE p (1); COMMIT",
        "DELETE FROM t",
    ] {
        assert!(arguments(odd).is_err(), "{odd}");
    }
}

#[test]
fn what_was_prepared_stands_alone() {
    let update = "UPDATE t SET a = $1 WHERE id IN ($2, 3)";
    assert_eq!(prepared(&format!("PREPARE p (int, int) AS {update}")).unwrap(), update);
    assert_eq!(prepared(update).unwrap(), update);
    assert!(prepared(&format!("PREPARE p AS {update}; COMMIT")).is_err());
}

#[test]
fn a_text_that_is_nested_deeply_is_refused_and_harms_nobody() {
    let text = format!("DELETE FROM t WHERE {}true{}", "(NOT ".repeat(3000), ")".repeat(3000));
    let _ = (explain(&text), rows(&text), samples(&text, &columns(), 5));
    let text = format!("DELETE FROM t WHERE {}true", "id = 1 OR ".repeat(5000));
    assert!(explain(&text).is_ok());
    assert!(rows(&text).is_ok());
}
