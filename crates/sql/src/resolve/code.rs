//! The code that a statement runs and that nobody sees into.

use std::collections::BTreeSet;

use super::{Resolved, Resolver};
use crate::{Analysis, Catalog, SearchPaths, SessionEffect, SessionState, Statement};

/// One statement, after `made` of the same text, and the code it runs that nobody sees into.
pub(crate) fn resolve_one(
    analysis: &Analysis,
    statement: &Statement,
    catalog: &dyn Catalog,
    paths: &SearchPaths,
    session: &dyn SessionState,
    made: &[&SessionEffect],
    restructured: bool,
) -> (Resolved, Code) {
    let mut resolver = Resolver::new(catalog, paths, session, made);
    resolver.restructured = restructured;
    resolver.statement(statement, 0);
    let code = std::mem::take(&mut resolver.code);
    (resolver.finish(analysis, statement), code)
}

/// The code that a call by oid runs.
pub(crate) fn code_of_call(oid: u32, catalog: &dyn Catalog) -> Code {
    let paths = SearchPaths::unknown("");
    let mut resolver = Resolver::new(catalog, &paths, &crate::NoSessionState, &[]);
    resolver.calls(&[oid], None);
    resolver.code
}

/// What runs that can look at any table without saying so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code {
    /// Functions of users but those that certainly only compute, by schema and name, behind views and operators too.
    pub(crate) functions: BTreeSet<(Box<str>, Box<str>)>,
    /// A call of something the catalog does not know.
    pub(crate) unknown: Option<String>,
    /// A function of the server that reads what it is told to in text.
    pub(crate) reads: Option<Box<str>>,
}
