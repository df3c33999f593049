//! What a session sees of an analysis: statements, their exact text, their effects, their settings.

use std::sync::Arc;

use portcullis_core::operation::Classified;
use portcullis_sql::{
    Analysis, AnalysisError, Catalog, CatalogSnapshot, NoSessionState, SearchPath, SearchPaths,
    SessionEffect, SessionState, SettingChange, SettingScope, SettingValue, Transaction,
    resolve_function_call,
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
    // Comments between statements belong to neither; alone, a statement is the whole text.
    assert_eq!(slices("/* a */ SELECT 1; /* b; */ SELECT /* c */ 2"), ["SELECT 1", "SELECT /* c */ 2"]);
    assert_eq!(slices("/* a */ SELECT 1"), ["/* a */ SELECT 1"]);
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
    let long = "é".repeat(40);
    assert_eq!(listed(&long), Some("é".repeat(31)), "the server keeps 63 bytes");
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
fn what_an_executed_statement_changes_is_told_of_the_execute() {
    struct Prepared;
    impl SessionState for Prepared {
        fn prepared(&self, _: &str) -> Vec<Arc<Analysis>> {
            vec![ANALYZER.analyze("SELECT set_config('search_path', 'evil', false)").unwrap()]
        }
        fn cursor(&self, _: &str) -> Vec<Arc<Analysis>> {
            vec![ANALYZER.analyze("SELECT set_config('transaction_read_only', 'off', false)").unwrap()]
        }
    }
    let resolve = |text: &str| ANALYZER.analyze(text).unwrap().resolve_fully(&*CATALOG, &paths(), &Prepared);
    let execute = resolve("EXECUTE p; SELECT id FROM orders");
    assert!(execute[0].settings.iter().any(|change| change.concerns("search_path")));
    let resources: Vec<_> =
        execute[1].operation.resources.iter().map(|pair| pair.resource.as_str()).collect();
    assert_eq!(resources, ["evil.orders", "public.orders"]);
    assert!(!execute[0].leaves_read_only);
    assert!(resolve("FETCH ALL FROM c")[0].leaves_read_only);
}

#[test]
fn a_function_call_by_oid_is_judged_as_the_call_it_is() {
    let call = |name: &str| {
        let oid = CATALOG.functions("pg_catalog", name).first().map_or(0, |function| function.oid);
        resolve_function_call(oid, &*CATALOG, "function call".into())
    };
    let pairs = |name: &str| {
        let operation = call(name).operation;
        assert_eq!(operation.kind().as_str(), "call");
        operation
            .resources
            .iter()
            .map(|pair| format!("{}:{}", pair.verb, pair.resource))
            .collect::<Vec<_>>()
            .join(";")
    };
    assert_eq!(pairs("lower"), "");
    assert_eq!(pairs("lo_open"), "read:pg_catalog.lo_open");
    assert_eq!(pairs("lowrite"), "write:pg_catalog.lowrite");
    assert_eq!(pairs("nextval"), "write:pg_catalog.nextval");
    assert_eq!(pairs("pg_read_file"), "admin:pg_catalog.pg_read_file");
    assert_eq!(pairs("no such function"), "execute:?.\"oid 0\"");
    assert!(matches!(call("set_config").operation.classified, Classified::Not(_)));
    let purge = resolve_function_call(30_003, &*CATALOG, "purge".into());
    assert!(purge.opaque);
    assert_eq!(purge.operation.resources[0].resource.as_str(), "public.purge");
}

#[test]
fn errors_say_whose_doing_they_are() {
    assert_eq!(ANALYZER.analyze("SELECT \0").unwrap_err(), AnalysisError::Nul);
    let error = ANALYZER.analyze("SELEC 1").unwrap_err();
    assert_eq!(error.kind().label(), "client");
    assert_eq!(error.to_string(), "syntax error at or near \"SELEC\"");
}
