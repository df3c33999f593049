//! Fuzz entry: always compiled, its corpus is replayed by the tests.

use std::sync::{Arc, LazyLock};

use crate::{
    Analyzer, AnalyzerConfig, CatalogSnapshot, Column, ColumnRule, MaskMap, NoSessionState, Relation,
    SearchPath, SearchPaths,
};

static ANALYZER: LazyLock<Option<Analyzer>> = LazyLock::new(|| {
    let config = AnalyzerConfig { cache_entries: 4_096, threads: 1, ..AnalyzerConfig::default() };
    Analyzer::new(config).ok()
});

/// A table `t` whose column `a` is masked and may be compared.
static MASKED: LazyLock<(CatalogSnapshot, MaskMap)> = LazyLock::new(|| {
    let mut catalog = CatalogSnapshot::new();
    let columns = (1..).zip(["a", "b", "id"]).map(|(number, name)| Column::new(number, name)).collect();
    catalog.add_relation(Relation { columns, ..Relation::table(20_000, "public", "t") });
    let rule = ColumnRule {
        name: "rule".into(),
        strength: 1,
        filter_allowed: true,
        opaque_refused: false,
        matches: Arc::new(|_, _, column| column == "a"),
        trusts: Arc::new(|_, _| true),
    };
    let masks = MaskMap::build(&catalog, &[rule]);
    (catalog, masks)
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
            let (masked_catalog, masks) = &*MASKED;
            let masked =
                |analysis: &crate::Analysis| analysis.masked(masks, masked_catalog, &paths, &NoSessionState);
            if masked(&cached) != masked(&fresh) {
                panic!("what is masked differs between a cached analysis and a fresh one");
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
