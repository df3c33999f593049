//! Statements without a server: what they would be judged as, under assumptions that are said.
//!
//! A gateway asks the server's catalog what names mean. Here there is none: names without a schema are taken to be in the
//! search path's schemas, every relation is taken for a plain table, and functions are those that PostgreSQL itself brings
//! (`builtins.txt`, from `pg_proc` of versions 15 and 18). A function of your own, a view or an operator is judged better by
//! the gateway: what is not known here is said to be not known, and needs more, never less.

use std::sync::Arc;

use portcullis_core::{Operation, StatementKind, operation::Classified};
use portcullis_policy::Connection;
use portcullis_sql::{
    Analyzer, AnalyzerConfig, CatalogSnapshot, Function, FunctionKind, FunctionLanguage, NoSessionState,
    SearchPath, SearchPaths, Volatility,
};

use crate::failure::Failure;

/// name, oid, fewest and most arguments (`-`: any number), volatility, kind, language; by tabs.
const BUILTINS: &str = include_str!("statements/builtins.txt");

/// Reads statements as a session would that began with one search path.
pub struct Statements {
    analyzer: Analyzer,
    catalog: CatalogSnapshot,
    path: SearchPath,
}

impl Statements {
    /// With `search_path` as PostgreSQL writes it: `"$user", public`.
    pub fn new(search_path: &str) -> Result<Self, Failure> {
        let path = SearchPath::parse(search_path, "").ok_or_else(|| {
            Failure::usage(format!("`{search_path}` is no search path"))
                .next("write it as in PostgreSQL: `app, public`")
        })?;
        let mut catalog = CatalogSnapshot::new();
        catalog.add_schema("pg_catalog");
        catalog.add_schema("information_schema");
        for schema in path.listed() {
            catalog.add_schema(schema);
        }
        for function in BUILTINS.lines().filter_map(builtin) {
            catalog.add_function(function);
        }
        let analyzer = Analyzer::new(AnalyzerConfig { threads: 1, ..AnalyzerConfig::default() })
            .map_err(|error| Failure::cannot(format!("cannot start threads: {error}")))?;
        Ok(Self { analyzer, catalog, path })
    }

    /// The operations of a text; an error is a text that nobody can read.
    pub fn read(&self, connection: &Connection, text: &str) -> Result<Vec<Operation>, String> {
        let user = connection.credential.as_ref().map_or("", |credential| credential.username.as_str());
        let paths = SearchPaths::known(self.path.clone(), user);
        let analysis = self.analyzer.analyze(text).map_err(|error| error.to_string())?;
        Ok(Arc::as_ref(&analysis).resolve(&self.catalog, &paths, &NoSessionState))
    }
}

/// What a gateway makes of a statement it cannot read: an operation that nobody could classify.
pub fn unreadable(text: &str, error: String) -> Operation {
    Operation {
        kinds: vec![StatementKind::word("unknown")],
        resources: Vec::new(),
        text: text.into(),
        lacks: Vec::new(),
        classified: Classified::Not(error),
    }
}

fn builtin(line: &str) -> Option<Function> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let (name, oid, min, max) = (next()?, next()?, next()?, next()?);
    let (volatility, kind, language) = (next()?, next()?, next()?);
    let byte = |text: &str| text.bytes().next().unwrap_or_default();
    Some(Function {
        oid: oid.parse().ok()?,
        schema: "pg_catalog".into(),
        name: name.into(),
        min_args: min.parse().ok()?,
        max_args: max.parse().ok(),
        volatility: Volatility::from_provolatile(byte(volatility)),
        security_definer: false,
        kind: FunctionKind::from_prokind(byte(kind)),
        language: FunctionLanguage::from_name(language),
        calls: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let (policy, report) = portcullis_policy::check(&[portcullis_policy::SourceFile {
            path: "p.yaml".into(),
            text: "connections: { db: { protocol: postgres, address: 'db:5432', database: db } }".to_owned(),
        }]);
        let policy = policy.unwrap_or_else(|| panic!("{}", report.render(false)));
        let connection = policy.connection(&"db".parse().unwrap()).unwrap();
        let operations = Statements::new("app, public").unwrap().read(connection, text).unwrap();
        let pairs = operations.iter().flat_map(|operation| {
            let unclear = match &operation.classified {
                Classified::Completely => None,
                Classified::Not(why) => Some(format!("unclassified: {why}")),
            };
            operation.resources.iter().map(|pair| format!("{} {}", pair.verb, pair.resource)).chain(unclear)
        });
        pairs.collect()
    }

    #[test]
    fn every_builtin_line_is_understood() {
        assert!(BUILTINS.lines().count() > 2_000);
        assert_eq!(BUILTINS.lines().filter_map(builtin).count(), BUILTINS.lines().count());
    }

    #[test]
    fn a_bare_name_may_be_in_every_schema_of_the_path() {
        assert_eq!(
            read("SELECT lower(max(name)), count(*) FROM orders"),
            ["read app.orders", "read public.orders"]
        );
        assert_eq!(read("SELECT 1 FROM sales.orders"), ["read sales.orders"]);
    }

    #[test]
    fn what_is_not_known_needs_more_never_less() {
        assert!(
            read("SELECT purge_everything()")
                .iter()
                .any(|pair| pair.starts_with("execute") || pair.starts_with("unclassified"))
        );
        assert!(read("SELECT pg_terminate_backend(1)").iter().any(|pair| pair.starts_with("admin")));
    }
}
