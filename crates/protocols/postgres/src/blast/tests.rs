use portcullis_core::Verb;
use portcullis_sql::{Analyzer, AnalyzerConfig, SearchPath};

use super::*;

#[test]
fn only_a_certain_search_path_is_taken_along() {
    let known = |value: &str| SearchPaths::known(SearchPath::parse(value, "app").unwrap(), "app");
    assert_eq!(settled_path(&known("\"$user\", public")).unwrap(), "\"app\", \"public\"");
    assert_eq!(settled_path(&known("\"a\"\"b, c\"")).unwrap(), "\"a\"\"b, c\"");
    assert_eq!(settled_path(&known("")).unwrap(), "");
    let mut paths = known("public");
    paths.add(SearchPath::parse("other", "app").unwrap());
    assert_eq!(settled_path(&paths), None);
    let mut paths = known("public");
    paths.add_unknown();
    assert_eq!(settled_path(&paths), None);
    assert_eq!(settled_path(&SearchPaths::unknown("app")), None);
}

#[test]
fn what_an_earlier_statement_changes_is_not_left_out() {
    let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
    for (text, alone) in [
        ("DELETE FROM t", true),
        ("BEGIN; UPDATE a SET b = 1; DELETE FROM t", true),
        ("SET search_path = other; DELETE FROM t", false),
        ("SELECT set_config('search_path', 'other', false); DELETE FROM t", false),
        ("CREATE TEMP TABLE t AS SELECT 1; DELETE FROM t", false),
        ("SELECT 1 INTO TEMP t; DELETE FROM t", false),
        ("ALTER TABLE t RENAME TO u; DELETE FROM t", false),
        ("DO 'x'; DELETE FROM t", false),
        ("SET ROLE other; DELETE FROM t", false),
    ] {
        let analysis = analyzer.analyze(text).unwrap();
        assert_eq!(stands_alone(&analysis, analysis.statements().len() - 1), alone, "{text}");
    }
}

#[test]
fn tables_are_what_stands_in_schemas() {
    let pair = |verb, resource: &'static str| ResourceRef {
        verb,
        resource: resource.into(),
        columns: vec!["a".to_owned()],
        through: None,
    };
    let told = tables(&[
        pair(Verb::Write, "public.orders"),
        pair(Verb::Admin, "server/cascade"),
        pair(Verb::Admin, "session/role"),
        pair(Verb::Write, "channel/x"),
        pair(Verb::Read, "\"a/b\".c"),
    ]);
    let names: Vec<&str> = told.iter().map(|table| table.table.as_str()).collect();
    assert_eq!(names, ["public.orders", "\"a/b\".c"]);
    let many: Vec<ResourceRef> = (0..500).map(|_| pair(Verb::Read, "a.b")).collect();
    assert_eq!(tables(&many).len(), MAX_TABLES);
}
