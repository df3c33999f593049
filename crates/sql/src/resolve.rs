//! Names -> resources, under every search path that may be in force.

use portcullis_core::{Operation, operation::Classified};

use crate::{Analysis, Catalog, SearchPaths, SessionState};

/// One statement's operation and what else the session must know of it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The operation.
    pub operation: Operation,
    /// Code the gateway cannot see runs (`DO`, `CALL`, a function of users that is not immutable): afterwards settings,
    /// the search path among them, may be other than tracked.
    pub opaque: bool,
}

pub(crate) fn resolve(
    analysis: &Analysis,
    _catalog: &dyn Catalog,
    _paths: &SearchPaths,
    _session: &dyn SessionState,
) -> Vec<Resolved> {
    let operation = |statement| Operation {
        kinds: analysis.statements().iter().flat_map(|s| s.kinds.clone()).collect(),
        resources: Vec::new(),
        text: analysis.statement_text(statement).into(),
        lacks: Vec::new(),
        classified: Classified::Not("nothing is resolved yet".to_owned()),
    };
    analysis.statements().iter().map(|statement| Resolved { operation: operation(statement), opaque: true }).collect()
}
