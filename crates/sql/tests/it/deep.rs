//! Deep and long texts: an error or an answer, never a crash. Parsing threads have big stacks; nothing here may need more.

use portcullis_core::operation::Classified;
use portcullis_sql::{AnalysisError, Analyzer, AnalyzerConfig};

use crate::database::{ANALYZER, CATALOG, Remembering, paths};

fn outcome(text: &str) -> &'static str {
    match ANALYZER.analyze(text) {
        Ok(analysis) => {
            let operations = analysis.resolve(&*CATALOG, &paths(), &Remembering);
            assert!(operations.iter().all(|operation| operation.classified == Classified::Completely));
            "judged"
        }
        Err(AnalysisError::TooDeep) => "too deep",
        Err(AnalysisError::TooLong { .. }) => "too long",
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn texts_over_the_limit_are_refused_before_they_are_parsed() {
    let long = format!("SELECT 1{}", "+1".repeat(64 * 1024));
    assert_eq!(outcome(&long), "too long");
    assert_eq!(ANALYZER.analyze(&long).unwrap_err().kind().label(), "limit");
}

/// The parser's own guard gives its C code 2 MiB of stack, which is fewer levels in an unoptimised build.
const LEVELS: usize = if cfg!(debug_assertions) { 400 } else { 2_000 };

#[test]
fn what_people_write_is_not_too_deep() {
    let sub_selects = LEVELS / 4;
    for text in [
        format!("SELECT 1{}", "+1".repeat(LEVELS)),
        format!("SELECT ''{}", " || 'x'".repeat(LEVELS)),
        format!(
            "SELECT * FROM t{}",
            (0..LEVELS).map(|n| format!(" JOIN t t{n} USING (id)")).collect::<String>()
        ),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(LEVELS)),
        format!("SELECT {}1{}", "(SELECT ".repeat(sub_selects), ")".repeat(sub_selects)),
        format!("SELECT {}1{}", "abs(".repeat(sub_selects), ")".repeat(sub_selects)),
        format!("SELECT 1 WHERE {}true", "id = 1 OR ".repeat(2_000)),
        format!("INSERT INTO t (a) VALUES (1){}", ", (1)".repeat(10_000)),
        format!("SELECT {}", vec!["a"; 5_000].join(", ")),
    ] {
        assert_eq!(outcome(&text), "judged", "{}…", &text[..40]);
    }
}

#[test]
fn deep_nesting_is_an_error_or_judged_and_never_a_crash() {
    let unlimited =
        Analyzer::new(AnalyzerConfig { max_text_bytes: 1 << 20, ..AnalyzerConfig::default() }).unwrap();
    for text in [
        format!("SELECT 1{}", "+1".repeat(64 * 1024)),
        format!("SELECT {}1{}", "(".repeat(9_000), ")".repeat(9_000)),
        format!("SELECT {}true", "NOT ".repeat(30_000)),
        format!("SELECT {}1", "- ".repeat(30_000)),
        format!("SELECT 1{}", "::int".repeat(20_000)),
        format!("SELECT {}1{}", "(SELECT ".repeat(8_000), ")".repeat(8_000)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(20_000)),
        format!("SELECT * FROM t{}", " JOIN t USING (id)".repeat(20_000)),
        format!("SELECT {}1{}", "ARRAY[".repeat(9_000), "]".repeat(9_000)),
        format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(6_000), " END".repeat(6_000)),
        format!("{}SELECT 1", "EXPLAIN ".repeat(5_000)),
        format!("SELECT a{}", "[1]".repeat(20_000)),
        format!("SELECT (a){}", ".b".repeat(20_000)),
        format!("{}SELECT 1{}", "WITH x AS (".repeat(4_000), ") SELECT 1".repeat(4_000)),
        "(".repeat(60_000),
        "SELECT ".repeat(9_000),
        ";".repeat(60_000),
        "SELECT 1;".repeat(10_000),
    ] {
        match unlimited.analyze_fresh(&text) {
            Ok(analysis) => drop(analysis.resolve(&*CATALOG, &paths(), &Remembering)),
            Err(AnalysisError::Internal(why)) => panic!("{why}: {}…", &text[..40]),
            Err(_) => {}
        }
    }
    // The threads are still there.
    assert!(unlimited.analyze("SELECT 1").is_ok());
}

#[test]
fn many_names_cost_little() {
    let relations: Vec<_> = (0..3_000).map(|number| format!("t{number}")).collect();
    let columns: Vec<_> = (0..3_000).map(|number| format!("c{number}")).collect();
    let text = format!("SELECT {} FROM {}", columns.join(","), relations.join(","));
    let operations = ANALYZER.analyze(&text).unwrap().resolve(&*CATALOG, &paths(), &Remembering);
    assert_eq!(operations[0].resources.len(), 3_000);
    assert!(operations[0].resources.iter().all(|pair| pair.columns == ["*"]));
}
