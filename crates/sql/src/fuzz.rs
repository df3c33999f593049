//! Fuzz entry: always compiled, its corpus is replayed by the tests.

use std::sync::LazyLock;

use crate::{Analyzer, AnalyzerConfig, CatalogSnapshot, NoSessionState, SearchPath, SearchPaths};

static ANALYZER: LazyLock<Option<Analyzer>> = LazyLock::new(|| {
    let config = AnalyzerConfig { cache_entries: 4_096, threads: 1, ..AnalyzerConfig::default() };
    Analyzer::new(config).ok()
});

/// Analyses the bytes, where they are UTF-8, twice: through the caches and past them. Both must mean the same.
///
/// # Panics
/// When they do not, or when a statement's text is not part of the whole: a defect was found.
#[doc(hidden)]
#[expect(clippy::panic, reason = "a fuzz entry reports what it found by panicking")]
pub fn fuzz_sql(data: &[u8]) {
    let (Ok(text), Some(analyzer)) = (std::str::from_utf8(data), ANALYZER.as_ref()) else { return };
    let catalog = CatalogSnapshot::new();
    let paths = SearchPaths::known(SearchPath::new(["public"]), "user");
    let operations = |analysis: &crate::Analysis| analysis.resolve(&catalog, &paths, &NoSessionState);
    match (analyzer.analyze(text), analyzer.analyze_fresh(text)) {
        (Ok(cached), Ok(fresh)) => {
            if operations(&cached) != operations(&fresh) {
                panic!("a cached analysis differs from a fresh one");
            }
            for statement in cached.statements() {
                if !text.contains(cached.statement_text(statement)) {
                    panic!("a statement's text is not in the text");
                }
            }
        }
        // A text whose key is known may be one that the server refuses: then it is the server that says so.
        (Ok(_), Err(_)) | (Err(_), Err(_)) => {}
        (Err(error), Ok(_)) => panic!("cached analysis failed where a fresh one did not: {error}"),
    }
}
