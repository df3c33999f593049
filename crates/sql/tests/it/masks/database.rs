//! The database the mask files are judged in: `schema.sql`, as the servers' own catalogs tell of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock},
};

use portcullis_core::Verb;
use portcullis_sql::{
    CatalogSnapshot, Column, ColumnRule, Function, FunctionKind, FunctionLanguage, MaskMap, Operator,
    Reached, Relation, RelationKind, Volatility,
};

use crate::database::add_built_in_functions;

/// Names of the rules, by index.
pub const RULES: [&str; 3] = ["cards", "emails", "people"];

pub struct Database {
    pub catalog: CatalogSnapshot,
    pub masks: MaskMap,
}

static BOTH: LazyLock<[Database; 2]> = LazyLock::new(|| {
    [
        include_str!("../../../testdata/masks/catalog-15.psv"),
        include_str!("../../../testdata/masks/catalog-18.psv"),
    ]
    .map(|rows| {
        let catalog = catalog(rows);
        let masks = MaskMap::build(&catalog, &rules());
        Database { catalog, masks }
    })
});

impl Database {
    pub fn both() -> [&'static Self; 2] {
        BOTH.each_ref()
    }
}

/// One rule that refuses filters and code, two that allow filters.
pub fn rules() -> Vec<ColumnRule> {
    let rule =
        |at: usize, strength: u8, filter_allowed: bool, matches: fn(&str, &str, &str) -> bool| ColumnRule {
            name: RULES[at].into(),
            strength,
            filter_allowed,
            opaque_refused: at == 0,
            matches: Arc::new(matches),
            trusts: Arc::new(|schema, name| (schema, name) == ("app", "safe")),
        };
    vec![
        rule(0, 5, false, |schema, table, column| {
            matches!((schema, table, column), ("app", "payments", "card_number") | ("vault", "keys", "key"))
        }),
        rule(1, 2, true, |schema, table, column| {
            schema == "app"
                && (column == "email" || (table, column) == ("gen", "secret"))
                && !table.starts_with("v_")
        }),
        rule(2, 7, true, |schema, table, column| {
            matches!((schema, table, column), ("app", "people_eu", "ssn") | ("app", "events", "payload"))
        }),
    ]
}

/// Rows of `oid|kind|schema|name|parents|named by rules, ! where by a write rule|columns|definition`.
pub fn catalog(rows: &str) -> CatalogSnapshot {
    let mut catalog = CatalogSnapshot::new();
    add_built_in_functions(&mut catalog);
    for schema in ["pg_catalog", "information_schema", "public", "app", "evil"] {
        catalog.add_schema(schema);
    }
    let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.splitn(8, '|').collect()).collect();
    let oid = |row: &[&str]| row[0].parse::<u32>().unwrap();
    let named = |name: &str| {
        let row = rows.iter().find(|row| format!("{}.{}", row[2], row[3]) == name);
        row.map(|row| oid(row))
    };
    let names = |list: &str| -> Vec<(String, Verb)> {
        let one = |name: &str| match name.strip_suffix('!') {
            Some(name) => (name.to_owned(), Verb::Write),
            None => (name.to_owned(), Verb::Read),
        };
        list.split(',').filter(|name| !name.is_empty()).map(one).collect()
    };
    let direct: HashMap<String, Vec<(String, Verb)>> =
        rows.iter().map(|row| (format!("{}.{}", row[2], row[3]), names(row[5]))).collect();
    for row in &rows {
        let own = format!("{}.{}", row[2], row[3]);
        let (mut reached, mut seen, mut todo) = (Vec::new(), HashSet::from([own.clone()]), vec![own.clone()]);
        while let Some(name) = todo.pop() {
            for (next, verb) in direct.get(&name).into_iter().flatten().filter(|(next, _)| *next != own) {
                let (schema, table) = next.split_once('.').unwrap();
                reached.push(Reached { verb: *verb, schema: schema.into(), name: table.into() });
                if seen.insert(next.clone()) {
                    todo.push(next.clone());
                }
            }
        }
        let column = |text: &str| {
            let [number, type_oid, generated, name] =
                text.splitn(4, ':').collect::<Vec<_>>().try_into().unwrap();
            Column {
                number: number.parse().unwrap(),
                type_oid: type_oid.parse().unwrap(),
                generated: generated == "true",
                // The third of `gen` is twice the first, the last of all is made of the secret.
                generated_from: match (row[3], number) {
                    ("gen", "3") => vec![1],
                    ("gen", "4") => vec![2],
                    _ => vec![],
                },
                name: name.into(),
            }
        };
        let relation = Relation {
            oid: oid(row),
            schema: row[2].into(),
            name: row[3].into(),
            kind: RelationKind::from_relkind(row[1].as_bytes()[0]),
            columns: row[6].split(',').map(column).collect(),
            parents: row[4].split(',').filter_map(named).collect(),
            definition: row[7].into(),
            names: direct[&own].iter().filter_map(|(name, _)| named(name)).collect(),
            reaches: reached,
            calls: if row[3] == "v_fn" { vec![40_001] } else { vec![] },
        };
        if row[2] == "vault" {
            catalog.add_hidden_relation(relation);
        } else {
            catalog.add_relation(relation);
        }
    }
    for relation in [
        Relation::table(1_259, "pg_catalog", "pg_class"),
        Relation::table(2_619, "pg_catalog", "pg_statistic"),
        Relation { kind: RelationKind::View, ..Relation::table(12_000, "pg_catalog", "pg_stats") },
    ] {
        catalog.add_relation(relation);
    }
    functions(&mut catalog);
    catalog
}

fn functions(catalog: &mut CatalogSnapshot) {
    let of_users =
        |oid: u32, name: &str, args: u16, volatility: Volatility, language: FunctionLanguage| Function {
            oid,
            schema: "app".into(),
            name: name.into(),
            min_args: args,
            max_args: Some(args),
            volatility,
            security_definer: false,
            kind: FunctionKind::Function,
            language,
            calls: vec![],
        };
    let (stable, immutable) = (Volatility::Stable, Volatility::Immutable);
    for function in [
        of_users(40_001, "peek", 1, stable, FunctionLanguage::Sql),
        of_users(40_002, "safe", 1, stable, FunctionLanguage::Sql),
        of_users(40_003, "similarity", 2, immutable, FunctionLanguage::Native),
        of_users(40_004, "length", 1, stable, FunctionLanguage::Other),
        of_users(40_005, "same", 2, immutable, FunctionLanguage::Other),
        Function {
            kind: FunctionKind::Procedure,
            ..of_users(40_006, "job", 0, Volatility::Volatile, FunctionLanguage::Other)
        },
    ] {
        catalog.add_function(Function {
            schema: if function.oid == 40_004 { "evil".into() } else { function.schema.clone() },
            ..function
        });
    }
    catalog.add_operator(Operator { schema: "evil".into(), name: "=".into(), calls: vec![40_005] });
    catalog.add_operator(Operator { schema: "app".into(), name: "===".into(), calls: vec![40_005] });
}
