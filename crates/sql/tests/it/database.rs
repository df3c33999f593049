//! The database the statement files are judged against.

use std::sync::{Arc, LazyLock};

use portcullis_core::Verb;
use portcullis_sql::{
    Analysis, Analyzer, AnalyzerConfig, CatalogSnapshot, Column, Function, FunctionKind, FunctionLanguage,
    Operator, Reached, Relation, RelationKind, SearchPath, SearchPaths, SessionState, Type, Volatility,
};

pub static ANALYZER: LazyLock<Analyzer> = LazyLock::new(|| Analyzer::new(AnalyzerConfig::default()).unwrap());
pub static CATALOG: LazyLock<CatalogSnapshot> = LazyLock::new(catalog);

pub fn paths() -> SearchPaths {
    SearchPaths::known(SearchPath::parse("\"$user\", public", "agent").unwrap(), "agent")
}

/// Every function of PostgreSQL 15: `name|fewest|most|volatility|kind|language`, most is -1 where variadic.
const BUILT_IN: &str = include_str!("../../testdata/pg15-functions.txt");

/// Adds every function of PostgreSQL 15.
pub fn add_built_in_functions(catalog: &mut CatalogSnapshot) {
    for (number, line) in BUILT_IN.lines().enumerate() {
        let [name, fewest, most, volatility, kind, language] =
            line.split('|').collect::<Vec<_>>().try_into().unwrap();
        catalog.add_function(Function {
            oid: 1 + u32::try_from(number).unwrap(),
            schema: "pg_catalog".into(),
            name: name.into(),
            min_args: fewest.parse().unwrap(),
            max_args: most.parse().ok(),
            volatility: Volatility::from_provolatile(volatility.as_bytes()[0]),
            security_definer: false,
            kind: FunctionKind::from_prokind(kind.as_bytes()[0]),
            language: FunctionLanguage::from_name(language),
            calls: vec![],
        });
    }
}

fn catalog() -> CatalogSnapshot {
    let mut catalog = CatalogSnapshot::new();
    add_built_in_functions(&mut catalog);
    for schema in ["pg_catalog", "information_schema", "public", "app", "reports", "evil", "odd.schema"] {
        catalog.add_schema(schema);
    }
    relations(&mut catalog);
    functions(&mut catalog);
    catalog
}

fn relations(catalog: &mut CatalogSnapshot) {
    let mut oid = 20_000;
    let mut add = |schema: &str, name: &str, kind: RelationKind, columns: &[&str]| {
        oid += 1;
        let columns = (1..).zip(columns).map(|(number, column)| Column::new(number, *column)).collect();
        Relation { kind, columns, ..Relation::table(oid, schema, name) }
    };
    let table = RelationKind::Table;
    let all = [
        add("public", "orders", table, &["id", "customer_id", "total", "status", "note"]),
        add("public", "customers", table, &["id", "name", "email"]),
        add("public", "secret", table, &["a", "b"]),
        add("public", "t", table, &["id", "a", "b", "c"]),
        add("public", "Mixed", table, &["Id"]),
        add("public", "a.b", table, &["id"]),
        add("public", "données", table, &["id"]),
        add("odd.schema", "t", table, &["id"]),
        add("app", "orders", table, &["id", "total"]),
        add("app", "events", table, &["id", "kind", "body"]),
        add("evil", "orders", table, &["id"]),
        add("public", "orders_id_seq", RelationKind::Sequence, &[]),
        add("public", "orders_pkey", RelationKind::Index, &[]),
        add("pg_catalog", "pg_class", table, &["oid", "relname"]),
        add("pg_catalog", "pg_authid", table, &["oid", "rolpassword"]),
        add("pg_catalog", "pg_stats", RelationKind::View, &[]),
        add("pg_catalog", "pg_stat_activity", RelationKind::View, &[]),
    ];
    all.into_iter().for_each(|relation| catalog.add_relation(relation));
    let reached =
        |schema: &str, name: &str| Reached { verb: Verb::Read, schema: schema.into(), name: name.into() };
    let mut summary = Relation::table(21_000, "reports", "summary");
    summary.kind = RelationKind::View;
    summary.columns = vec![Column::new(1, "id"), Column::new(2, "total")];
    summary.reaches = vec![reached("public", "orders"), reached("app", "events")];
    summary.calls = vec![30_003, 30_005];
    catalog.add_relation(summary);
}

fn functions(catalog: &mut CatalogSnapshot) {
    use FunctionKind as Kind;
    use Volatility as V;
    let plain = |oid: u32, schema: &str, name: &str, args: u16, volatility: V| Function {
        oid,
        schema: schema.into(),
        name: name.into(),
        min_args: args,
        max_args: Some(args),
        volatility,
        security_definer: false,
        kind: Kind::Function,
        language: FunctionLanguage::Other,
        calls: vec![],
    };
    let native = |function: Function| Function { language: FunctionLanguage::Native, ..function };
    for function in [
        plain(30_001, "public", "cheap", 1, V::Immutable),
        plain(30_002, "public", "report", 1, V::Stable),
        plain(30_003, "public", "purge", 0, V::Volatile),
        Function { security_definer: true, ..plain(30_004, "public", "who", 0, V::Stable) },
        plain(30_005, "public", "leak", 1, V::Volatile),
        Function { kind: Kind::Procedure, ..plain(30_006, "public", "nightly", 1, V::Volatile) },
        native(plain(30_007, "public", "similarity", 2, V::Immutable)),
        native(plain(30_008, "public", "citext_larger", 2, V::Immutable)),
        Function {
            kind: Kind::Aggregate,
            calls: vec![30_008],
            ..plain(30_009, "public", "max", 1, V::Immutable)
        },
        Function {
            kind: Kind::Aggregate,
            calls: vec![30_005],
            ..plain(30_010, "public", "vwap", 2, V::Immutable)
        },
        plain(30_011, "evil", "lower", 1, V::Volatile),
        plain(30_012, "public", "twice", 1, V::Stable),
        plain(30_013, "public", "twice", 2, V::Volatile),
        plain(30_014, "public", "total", 1, V::Volatile),
        plain(30_018, "public", "json_value", 2, V::Volatile),
        native(plain(30_016, "public", "crosstab", 1, V::Stable)),
        native(plain(30_017, "public", "unaccent", 1, V::Stable)),
        native(plain(30_015, "public", "dblink", 2, V::Volatile)),
    ] {
        catalog.add_function(function);
    }
    let operator =
        |name: &str, calls: Vec<u32>| Operator { schema: "public".into(), name: name.into(), calls };
    catalog.add_operator(operator("===", vec![30_005]));
    catalog.add_operator(operator("%%", vec![30_007]));
    catalog.add_type(Type {
        schema: "public".into(),
        name: "checked".into(),
        calls: vec![30_005],
        casts: vec![],
    });
    // A cast from some type to one of the server's that is made only where it is written, and one without a word.
    let cast =
        |name: &str, calls, casts| Type { schema: "pg_catalog".into(), name: name.into(), calls, casts };
    catalog.add_type(cast("xml", vec![], vec![30_005]));
    catalog.add_type(cast("int4", vec![], vec![30_005]));
    catalog.add_type(cast("macaddr", vec![30_005], vec![]));
}

/// One session: `PREPARE remembered AS DELETE …` and the cursor `open_cursor` over `public.orders`.
pub struct Remembering;

impl SessionState for Remembering {
    fn prepared(&self, name: &str) -> Vec<Arc<Analysis>> {
        match name {
            "remembered" => vec![ANALYZER.analyze("DELETE FROM app.events WHERE id = $1").unwrap()],
            "either" => {
                vec![
                    ANALYZER.analyze("SELECT a FROM t").unwrap(),
                    ANALYZER.analyze("UPDATE t SET a = 1 WHERE id = 2").unwrap(),
                ]
            }
            _ => vec![],
        }
    }

    fn cursor(&self, name: &str) -> Vec<Arc<Analysis>> {
        if name == "open_cursor" { vec![ANALYZER.analyze("SELECT id FROM orders").unwrap()] } else { vec![] }
    }

    fn may_be_temporary(&self, name: &str) -> bool {
        name == "scratch"
    }
}
