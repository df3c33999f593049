//! Tables of one name in several schemas, and sessions of which it is not known which of them they mean.

use std::sync::Arc;

use portcullis_sql::{
    Analysis, CatalogSnapshot, Column, ColumnRule, MaskMap, MaskedOutput, OutputColumn, Relation, SearchPath,
    SearchPaths, SessionState,
};

use crate::database::{ANALYZER, add_built_in_functions};

/// `a` and `b` are alike but for one column, `c` has nothing that is masked; `d` has no such table.
fn tenants() -> (CatalogSnapshot, MaskMap) {
    let mut catalog = CatalogSnapshot::new();
    add_built_in_functions(&mut catalog);
    for schema in ["pg_catalog", "a", "b", "c", "d"] {
        catalog.add_schema(schema);
    }
    let columns = |names: &[&str]| (1..).zip(names).map(|(at, name)| Column::new(at, *name)).collect();
    let mut table = |oid: u32, schema: &str, names: &[&str]| {
        catalog.add_relation(Relation { columns: columns(names), ..Relation::table(oid, schema, "cards") });
    };
    table(20_000, "a", &["id", "number", "amount"]);
    table(20_001, "b", &["id", "number"]);
    table(20_002, "c", &["id", "number"]);
    let mut tenant = |oid: u32, schema: &str| {
        let columns = columns(&["id", "number", "amount"]);
        catalog.add_schema(schema);
        catalog.add_relation(Relation { columns, ..Relation::table(oid, schema, "rents") });
    };
    tenant(20_003, "a");
    tenant(20_004, "b");
    let rule = ColumnRule {
        name: "cards".into(),
        strength: 1,
        filter_allowed: true,
        opaque_refused: true,
        matches: Arc::new(|schema, _, column| schema != "c" && column == "number"),
        trusts: Arc::new(|_, _| false),
    };
    let masks = MaskMap::build(&catalog, &[rule]);
    (catalog, masks)
}

/// A session that has made cursors, nobody knows under which path: `c` over `cards`, `r` over `rents`.
struct Session;

impl SessionState for Session {
    fn prepared(&self, name: &str) -> Vec<Arc<Analysis>> {
        if name == "x" { vec![] } else { vec![ANALYZER.analyze("SELECT id, number FROM cards").unwrap()] }
    }

    fn cursor(&self, name: &str) -> Vec<Arc<Analysis>> {
        match name {
            "here" => vec![],
            "r" => vec![ANALYZER.analyze("SELECT * FROM rents").unwrap()],
            _ => vec![ANALYZER.analyze("SELECT id, number FROM cards").unwrap()],
        }
    }
}

/// `-` for a clear column, `oid.attribute` for a masked one, `?` where the server need not confirm it.
fn masked(paths: &[&str], sql: &str) -> String {
    let (catalog, masks) = tenants();
    let mut candidates = paths.iter().map(|path| SearchPath::parse(path, "agent").unwrap());
    let mut paths = SearchPaths::known(candidates.next().unwrap(), "agent");
    candidates.for_each(|path| paths.add(path));
    let one = |column: &OutputColumn| match (&column.mask, column.origin) {
        (None, _) => "-".to_owned(),
        (Some(_), Some((oid, attribute))) => format!("{oid}.{attribute}"),
        (Some(_), None) => "?".to_owned(),
    };
    match ANALYZER.analyze(sql).unwrap().masked(&masks, &catalog, &paths, &Session) {
        Err(refusal) if refusal.reason.contains("can mean its table or another") => "ambiguous".to_owned(),
        Err(_) => "refused".to_owned(),
        Ok(outputs) => match outputs.last().unwrap() {
            MaskedOutput::Clear => "clear".to_owned(),
            MaskedOutput::Rows(columns) => columns.iter().map(one).collect::<Vec<_>>().join(" "),
            MaskedOutput::Copy(columns) => {
                format!("copy {}", columns.iter().map(one).collect::<Vec<_>>().join(" "))
            }
        },
    }
}

#[test]
fn what_is_masked_alike_under_every_path_is_masked() {
    for (paths, sql, expected) in [
        (&["a", "b"] as &[&str], "SELECT id, number FROM cards", "- ?"),
        (&["a", "b"], "SELECT id FROM cards WHERE number = '1'", "-"),
        (&["a", "b", "d"], "SELECT number FROM cards", "?"),
        (&["d", "a"], "SELECT number FROM cards", "20000.2"),
        (&["d", "a"], "SELECT * FROM cards", "- 20000.2 -"),
        (&["a", "b"], "COPY cards (number) TO STDOUT", "copy ?"),
        (&["a", "b"], "EXECUTE p", "- ?"),
        (&["a", "b"], "PREPARE x AS SELECT number FROM cards; EXECUTE x", "?"),
        (&["a", "b"], "INSERT INTO cards VALUES (1, $1)", ""),
        (&["a", "c"], "SELECT id FROM cards", "-"),
        (&["a", "b"], "SELECT * FROM rents", "- ? -"),
        (&["a", "b"], "UPDATE rents SET amount = 1 WHERE id = 1 RETURNING number", "?"),
        (&["a", "b"], "SELECT upper(number) FROM rents", "refused"),
        // Which of the two it is nobody needs to know, not even when it was made.
        (&["d, a", "b"], "DECLARE here CURSOR FOR SELECT * FROM rents; FETCH here", "- ? -"),
        (&["a"], "FETCH r", "- ? -"),
        (&["d"], "FETCH r", "ambiguous"),
        (&["a"], "FETCH c", "- ?"),
        (&["b, a"], "SELECT id, number FROM cards", "- ?"),
        (&["b, a"], "SELECT * FROM cards", "ambiguous"),
        (&["a", "b"], "SELECT c.number, r.number FROM cards c, rents r", "? ?"),
        (&["c"], "FETCH c", "ambiguous"),
        // Other columns, other masks.
        (&["a", "b"], "SELECT * FROM cards", "ambiguous"),
        (&["a", "b"], "SELECT amount, number FROM cards", "ambiguous"),
        (&["a", "b"], "COPY cards TO STDOUT", "ambiguous"),
        (&["a", "c"], "SELECT number FROM cards", "ambiguous"),
        (&["a", "b", "c"], "SELECT number FROM cards", "ambiguous"),
        (&["d", "c", "a"], "SELECT number FROM cards", "ambiguous"),
        (&["a", "b"], "SELECT upper(number) FROM cards", "ambiguous"),
        (&["a", "b"], "SELECT number FROM cards JOIN nowhere USING (id)", "ambiguous"),
    ] {
        assert_eq!(masked(paths, sql), expected, "{paths:?} {sql}");
    }
}
