//! What one text means before any catalog is asked: statements, and every name each of them uses.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use portcullis_core::{Operation, StatementKind, Verb};

use crate::{
    Catalog, SearchPaths, SessionState, SettingChange,
    lineage::{self, CopyOut, MaskMap, MaskRefusal, MaskedOutput, Plan},
    names::Name,
    resolve::{self, Resolved},
    session_state::{SessionEffect, Transaction},
    weight::Weight as _,
};

/// One analysed text. The text is the caller's own; what it means may be shared with texts that differ from it
/// in literals only.
#[derive(Clone, Debug)]
pub struct Analysis {
    pub(crate) text: Arc<str>,
    pub(crate) shape: Arc<Shape>,
}

impl Analysis {
    /// The exact text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The statements in order. Empty for an empty text.
    pub fn statements(&self) -> &[Statement] {
        &self.shape.statements
    }

    /// The exact text of one of [`Analysis::statements`].
    pub fn statement_text(&self, statement: &Statement) -> &str {
        match &statement.range {
            Some(range) => self.text.get(range.clone()).unwrap_or(&self.text),
            None => &self.text,
        }
    }

    /// Identifies the shape for as long as the process runs: equal ids resolve equally under the same catalog and search paths,
    /// whatever the literals, as long as the session has no temporary relations and [`Analysis::asks_session`] is false. What
    /// a cache of resolved operations is keyed with. The statements' texts are the caller's own and are not shared.
    pub fn shape_id(&self) -> u64 {
        self.shape.id
    }

    /// About how many bytes of memory it takes, those it shares with other texts included.
    pub fn memory(&self) -> usize {
        self.weight()
    }

    /// Whether resolution asks the session (`EXECUTE`, `FETCH`, …): then it must not be cached.
    pub fn asks_session(&self) -> bool {
        self.shape.statements.iter().any(|statement| {
            matches!(statement.effect, Some(SessionEffect::Execute { .. } | SessionEffect::Fetch { .. }))
        })
    }

    /// One operation per statement, in order: every (verb, resource) pair under every search path that may be in force.
    /// Nothing the catalog does not know is left out: see [`crate::names::UNRESOLVED_SCHEMA`].
    pub fn resolve(
        &self,
        catalog: &dyn Catalog,
        paths: &SearchPaths,
        session: &dyn SessionState,
    ) -> Vec<Operation> {
        self.resolve_fully(catalog, paths, session).into_iter().map(|resolved| resolved.operation).collect()
    }

    /// As [`Analysis::resolve`], with what else the session must know of each statement.
    pub fn resolve_fully(
        &self,
        catalog: &dyn Catalog,
        paths: &SearchPaths,
        session: &dyn SessionState,
    ) -> Vec<Resolved> {
        resolve::resolve(self, catalog, paths, session)
    }

    /// What of each statement's output is masked, in order; or why one of them cannot be run beside masked columns. May be cached
    /// exactly as what [`Analysis::resolve_fully`] gives. Under an empty map everything is clear.
    ///
    /// # Errors
    /// A statement could give a masked value away.
    pub fn masked(
        &self,
        masks: &MaskMap,
        catalog: &dyn Catalog,
        paths: &SearchPaths,
        session: &dyn SessionState,
    ) -> Result<Vec<MaskedOutput>, Box<MaskRefusal>> {
        lineage::masked(self, masks, catalog, paths, session, lineage::When::Now)
    }

    /// The same of a statement whose names were looked up earlier: what a cursor or portal gives that was made before.
    ///
    /// # Errors
    /// As [`Analysis::masked`].
    pub fn masked_as_made(
        &self,
        masks: &MaskMap,
        catalog: &dyn Catalog,
        paths: &SearchPaths,
        session: &dyn SessionState,
    ) -> Result<Vec<MaskedOutput>, Box<MaskRefusal>> {
        lineage::masked(self, masks, catalog, paths, session, lineage::When::Earlier)
    }
}

static NEXT_SHAPE: AtomicU64 = AtomicU64::new(1);

/// What a text means, without the text.
#[derive(Debug)]
pub(crate) struct Shape {
    id: u64,
    /// What its statements take in memory.
    pub(crate) bytes: usize,
    pub(crate) statements: Vec<Statement>,
    /// Some literal's content is part of the analysis: no other text may share it.
    pub(crate) literal_sensitive: bool,
}

impl Shape {
    pub(crate) fn new(statements: Vec<Statement>, literal_sensitive: bool) -> Self {
        let bytes = statements.weight();
        Self { id: NEXT_SHAPE.fetch_add(1, Ordering::Relaxed), bytes, statements, literal_sensitive }
    }
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Bytes of the text; absent where the statement is the whole text.
    pub(crate) range: Option<Range<usize>>,
    pub(crate) kinds: Vec<StatementKind>,
    pub(crate) uses: Uses,
    pub(crate) lacks_where: bool,
    pub(crate) unclassified: Option<Box<str>>,
    pub(crate) settings: Vec<SettingChange>,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) leaves_read_only: bool,
    pub(crate) effect: Option<SessionEffect>,
    /// `EXPLAIN` without `ANALYZE`: nothing runs, so what would be written is only looked at.
    pub(crate) explain_only: bool,
    pub(crate) opaque: bool,
    /// What it does with columns.
    pub(crate) plan: Arc<Plan>,
    pub(crate) copy_out: Option<CopyOut>,
}

impl Statement {
    /// The statement's own kind.
    pub fn kind(&self) -> StatementKind {
        self.kinds.first().cloned().unwrap_or(StatementKind::word("unknown"))
    }

    /// The statement's own kind, then the kinds of everything nested in it.
    pub fn kinds(&self) -> &[StatementKind] {
        &self.kinds
    }

    /// Transaction control, where the statement is that.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// Whether the statement itself may make a read-only session or transaction one that writes: `READ WRITE`, `SET` of
    /// `(default_)transaction_read_only`, `RESET transaction_read_only`, `set_config`. Read-only scopes refuse it. `RESET ALL`,
    /// `DISCARD ALL` and `RESET default_transaction_read_only` lead back to what the session began with: they may.
    pub fn leaves_read_only(&self) -> bool {
        self.leaves_read_only
    }

    /// Changes of settings it makes.
    pub fn settings(&self) -> &[SettingChange] {
        &self.settings
    }

    /// How it writes its data, where it is a `COPY … TO STDOUT`.
    pub fn copy_out(&self) -> Option<&CopyOut> {
        self.copy_out.as_ref()
    }

    /// What it does to the session's memory.
    pub fn effect(&self) -> Option<&SessionEffect> {
        self.effect.as_ref()
    }
}

/// Names a statement uses, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) relations: Vec<RelationUse>,
    pub(crate) functions: Vec<FunctionUse>,
    pub(crate) operators: Vec<Name>,
    pub(crate) types: Vec<Name>,
    /// Types, those of the server too, that something other than a constant may be cast to.
    pub(crate) casts: Vec<Name>,
    /// Objects of other sorts that stand in schemas (functions, types, …) and are made, changed or dropped: verb admin.
    pub(crate) objects: Vec<(Name, Lookup)>,
    /// Pairs that need no catalog: `admin` on `server/role/x`, `write` on `channel/x`.
    pub(crate) fixed: Vec<(Verb, String)>,
}

/// How a relation's name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lookup {
    /// Along the search path.
    Existing,
    /// Where a new object would be made, and along the search path too: it may replace what is there.
    Created,
    /// Made in `pg_temp`.
    Temporary,
}

/// A relation (or another object named like one) and what is done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelationUse {
    pub(crate) verb: Verb,
    pub(crate) name: Name,
    pub(crate) lookup: Lookup,
    /// Columns named for certain, `*` for all.
    pub(crate) columns: BTreeSet<Box<str>>,
    /// Columns named without saying of which of a query's relations, one set per query level the relation stands in.
    pub(crate) loose_columns: Vec<Arc<BTreeSet<Box<str>>>>,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionUse {
    pub(crate) name: Name,
    pub(crate) args: ArgumentCount,
    pub(crate) form: CallForm,
    /// Constant arguments, for the few functions whose effect they decide; empty elsewhere.
    pub(crate) constants: Vec<Option<Box<str>>>,
}

/// How many arguments a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ArgumentCount {
    Exactly(usize),
    /// `VARIADIC array`: any number.
    Any,
}

/// How a call is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CallForm {
    /// `f(x)`.
    Call,
    /// `CALL f(x)`.
    Procedure,
    /// `x.f`, which is `f(x)` where `x` has no column `f`. Holds the relation `x` stands for, where that is known.
    Attribute(Option<Name>),
    /// Syntax of a newer server that an older one reads as a call: `json_value(a, b)`. A call only where there is such a
    /// function.
    Spelling,
}
