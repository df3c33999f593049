//! Changes of types: a check on a domain is asked about every value of every column that has the domain.

use std::sync::Arc;

use portcullis_sql::{
    CatalogSnapshot, Column, ColumnRule, MaskMap, NoSessionState, Relation, SearchPath, SearchPaths,
};

use crate::database::ANALYZER;

/// Whether a statement is refused where the masked column has this type.
fn is_refused(type_oid: u32, sql: &str) -> bool {
    let mut catalog = CatalogSnapshot::new();
    catalog.add_schema("pg_catalog");
    let columns = vec![
        Column { type_oid, ..Column::new(1, "number") },
        Column { type_oid: 20_000, ..Column::new(2, "x") },
    ];
    catalog.add_relation(Relation { columns, ..Relation::table(16_400, "public", "cards") });
    let rule = ColumnRule {
        name: "cards".into(),
        strength: 1,
        filter_allowed: true,
        opaque_refused: true,
        matches: Arc::new(|_, _, column| column == "number"),
        trusts: Arc::new(|_, _| false),
    };
    let masks = MaskMap::build(&catalog, &[rule]);
    let paths = SearchPaths::known(SearchPath::new(["public"]), "agent");
    ANALYZER.analyze(sql).unwrap().masked(&masks, &catalog, &paths, &NoSessionState).is_err()
}

#[test]
fn a_check_on_a_domain_that_a_masked_column_may_have_is_refused() {
    const OF_USERS: u32 = 20_001;
    const TEXT: u32 = 25;
    for sql in [
        "ALTER DOMAIN card ADD CHECK (VALUE LIKE '5%')",
        "ALTER DOMAIN public.card ADD CONSTRAINT c CHECK (VALUE <> 'x') NOT VALID",
        "ALTER DOMAIN card VALIDATE CONSTRAINT c",
        "ALTER DOMAIN card SET NOT NULL",
        "ALTER TYPE card SET (SEND = somebodys)",
    ] {
        assert!(is_refused(OF_USERS, sql), "{sql}");
        assert!(is_refused(0, sql), "{sql}");
        // A domain of information_schema.
        assert!(is_refused(13_500, sql), "{sql}");
        assert!(!is_refused(TEXT, sql), "{sql}");
    }
    for sql in [
        "ALTER DOMAIN card DROP CONSTRAINT c",
        "ALTER DOMAIN card SET DEFAULT 'x'",
        "ALTER DOMAIN card DROP NOT NULL",
        "ALTER TYPE tier ADD VALUE 'bronze'",
    ] {
        assert!(!is_refused(OF_USERS, sql), "{sql}");
    }
}
