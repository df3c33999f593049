//! What a session sees of an analysis: statements, their exact text, their effects, their settings.

use portcullis_core::operation::Classified;
use portcullis_sql::{
    AnalysisError, CatalogSnapshot, NoSessionState, SearchPath, SearchPaths, SessionEffect, SettingChange,
    SettingScope, SettingValue, Transaction,
    settings::{SettingVerdict, encoding_is_safe, judge},
};

use crate::database::{ANALYZER, CATALOG, Remembering, paths};

fn slices(text: &str) -> Vec<String> {
    let analysis = ANALYZER.analyze_fresh(text).unwrap();
    let slices =
        analysis.statements().iter().map(|statement| analysis.statement_text(statement).to_owned()).collect();
    let operations = analysis.resolve(&*CATALOG, &paths(), &Remembering);
    assert_eq!(slices, operations.iter().map(|operation| operation.text.to_string()).collect::<Vec<_>>());
    slices
}

#[test]
fn a_statement_has_its_exact_text() {
    assert_eq!(slices("SELECT 1"), ["SELECT 1"]);
    assert_eq!(slices("  SELECT 1 ; "), ["  SELECT 1 ; "]);
    assert_eq!(slices("SELECT 1; DELETE FROM t ;  "), ["SELECT 1", "DELETE FROM t"]);
    assert_eq!(
        slices("SELECT 'é;'; SELECT 'ü' ;;; SELECT 3 -- end"),
        ["SELECT 'é;'", "SELECT 'ü'", "SELECT 3 -- end"]
    );
    assert_eq!(slices("/* a */ SELECT 1; /* b; */ SELECT 2"), ["/* a */ SELECT 1", "/* b; */ SELECT 2"]);
    assert!(slices("").is_empty());
    assert!(slices(" ; -- x").is_empty());
}

#[test]
fn effects_are_told() {
    let analysis = ANALYZER.analyze("PREPARE p AS SELECT id FROM orders").unwrap();
    let Some(SessionEffect::Prepare { name, inner }) = analysis.statements()[0].effect() else { panic!() };
    assert_eq!(&**name, "p");
    let operations = inner.resolve(&*CATALOG, &paths(), &NoSessionState);
    assert_eq!(operations[0].resources[0].resource.as_str(), "public.orders");
    assert!(!analysis.asks_session());
    assert!(ANALYZER.analyze("EXECUTE p").unwrap().asks_session());

    let effect = |text: &str| ANALYZER.analyze(text).unwrap().statements()[0].effect().cloned();
    assert!(matches!(
        effect("DECLARE c CURSOR WITH HOLD FOR SELECT 1"),
        Some(SessionEffect::Declare { hold: true, .. })
    ));
    assert!(matches!(
        effect("DECLARE c CURSOR FOR SELECT 1"),
        Some(SessionEffect::Declare { hold: false, .. })
    ));
    assert!(matches!(effect("CREATE TEMP TABLE x ()"), Some(SessionEffect::CreateTemporary { .. })));
    assert!(matches!(effect("SELECT 1 AS a INTO TEMP x"), Some(SessionEffect::CreateTemporary { .. })));
    assert!(matches!(effect("DEALLOCATE ALL"), Some(SessionEffect::Deallocate { name: None })));
    assert!(matches!(effect("DISCARD ALL"), Some(SessionEffect::DiscardAll)));
    assert!(effect("EXPLAIN CREATE TABLE x AS SELECT 1").is_none());
}

#[test]
fn transactions_are_told() {
    let control = |text: &str| ANALYZER.analyze(text).unwrap().statements()[0].transaction().cloned();
    assert_eq!(control("START TRANSACTION READ ONLY"), Some(Transaction::Begin));
    assert_eq!(control("COMMIT AND CHAIN"), Some(Transaction::Commit { chain: true }));
    assert_eq!(control("ROLLBACK TO a"), Some(Transaction::RollbackTo { name: "a".into() }));
    assert_eq!(control("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), Some(Transaction::Characteristics));
    assert_eq!(control("SELECT 1"), None);
}

fn change(text: &str) -> SettingChange {
    ANALYZER.analyze(text).unwrap().statements()[0].settings()[0].clone()
}

#[test]
fn setting_values_are_spelt_as_the_server_spells_them() {
    let known = |text: &str| match change(text).value {
        SettingValue::Known(value) => value.to_string(),
        SettingValue::Unknown => "?".to_owned(),
    };
    assert_eq!(known("SET search_path = app, \"B b\", '$user'"), "\"app\", \"B b\", \"$user\"");
    assert_eq!(known("SET search_path TO 'a, b'"), "\"a, b\"");
    assert_eq!(known("SELECT set_config('search_path', 'a, b', false)"), "a, b");
    assert_eq!(known("SET datestyle = iso, mdy"), "iso, mdy");
    assert_eq!(known("SET work_mem = 64"), "64");
    assert_eq!(known("SET seq_page_cost = 1.5"), "1.5");
    assert_eq!(change("SET LOCAL work_mem = 64").scope, SettingScope::Local);
    assert!(change("SET work_mem TO DEFAULT").reset);
    assert!(change("RESET search_path").concerns("search_path"));
    assert!(change("DISCARD ALL").concerns("search_path"));
}

#[test]
fn the_search_path_is_read_as_the_server_reads_it() {
    let listed = |value: &str| {
        SearchPath::parse(value, "agent")
            .map(|path| path.listed().map(str::to_owned).collect::<Vec<_>>().join("|"))
    };
    assert_eq!(listed("\"$user\", public").as_deref(), Some("agent|public"));
    assert_eq!(listed("$user,PUBLIC , \"Odd\"\"x\"").as_deref(), Some("agent|public|Odd\"x"));
    assert_eq!(listed("").as_deref(), Some(""));
    for malformed in ["a,", ",a", "a b", "\"a", "a,,b", "a\"b\""] {
        assert_eq!(listed(malformed), None, "{malformed}");
    }
    let effective = |path: SearchPath| path.effective().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(effective(SearchPath::new(["public"])), ["pg_temp", "pg_catalog", "public"]);
    assert_eq!(
        effective(SearchPath::new(["public", "pg_catalog", "pg_temp"])),
        ["public", "pg_catalog", "pg_temp"]
    );
}

#[test]
fn candidates_are_bounded_and_too_many_are_unknown() {
    let mut paths = SearchPaths::known(SearchPath::new(["public"]), "agent");
    for number in 0..SearchPaths::MAX_CANDIDATES {
        assert!(!paths.is_unknown());
        paths.add(SearchPath::new([format!("s{number}")]));
    }
    assert!(paths.is_unknown());
    paths.settle(SearchPath::new(["app"]));
    assert_eq!(paths.candidates(), [SearchPath::new(["app"])]);
    assert!(!paths.is_unknown());
}

#[test]
fn nothing_known_means_nothing_allowed_by_accident() {
    let resolve = |text: &str, paths: &SearchPaths| {
        let catalog = CatalogSnapshot::new();
        ANALYZER.analyze(text).unwrap().resolve(&catalog, paths, &NoSessionState).remove(0)
    };
    let unknown = SearchPaths::unknown("agent");
    assert!(matches!(resolve("SELECT a FROM t", &unknown).classified, Classified::Not(_)));
    assert!(matches!(resolve("SELECT f()", &unknown).classified, Classified::Not(_)));
    assert!(matches!(resolve("SELECT 1 + 1", &unknown).classified, Classified::Not(_)));
    assert_eq!(resolve("SELECT 1", &unknown).classified, Classified::Completely);
    let known = paths();
    let pairs = |text: &str| format!("{:?}", resolve(text, &known).resources);
    assert!(pairs("SELECT pg_read_file('x')").contains("Admin"));
    assert!(pairs("SELECT f()").contains("`?.f`"));
    assert!(pairs("SELECT lower('x')").contains("Execute"));
    assert!(pairs("SELECT * FROM t").contains("`?.t`"));
}

#[test]
fn encodings_that_move_characters_are_not_safe() {
    for safe in ["UTF8", "utf-8", "Unicode", "SQL_ASCII"] {
        assert!(encoding_is_safe(safe), "{safe}");
    }
    for unsafe_one in ["SJIS", "GBK", "BIG5", "LATIN1", "auto", "", "default"] {
        assert!(!encoding_is_safe(unsafe_one), "{unsafe_one}");
    }
    assert!(matches!(judge(&change("SET NAMES 'GB18030'")), SettingVerdict::Never(_)));
}

#[test]
fn errors_say_whose_doing_they_are() {
    assert_eq!(ANALYZER.analyze("SELECT \0").unwrap_err(), AnalysisError::Nul);
    let error = ANALYZER.analyze("SELEC 1").unwrap_err();
    assert_eq!(error.kind().label(), "client");
    assert_eq!(error.to_string(), "syntax error at or near \"SELEC\"");
}
