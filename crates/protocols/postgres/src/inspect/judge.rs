//! Text -> decision: analysis, resolution under what this session may mean by a name, policy; cached by shape.
//!
//! A cached judgement counts only while nothing it depends on has changed: rules, catalog, search paths, temporary
//! relations. Each change starts a new epoch.

use std::{collections::HashMap, sync::Arc};

use portcullis_core::{
    EndReason, Obligation, Operation, Resource, ResourceRef, RuleRef, StatementKind, Verb,
    operation::Classified,
};
use portcullis_policy::SessionRules;
use portcullis_proxy::gate::{GateSession, Judged};
use portcullis_sql::{
    Analysis, AnalysisError, Analyzer, Catalog, CatalogSnapshot, CopyOut, MaskedOutput, Resolved, SearchPath,
    SearchPaths, SessionEffect, SessionState, SettingChange, SettingScope, SettingValue, Statement,
    resource_name,
};

use super::{Bound, Stop, refuse::Refused};
use crate::{
    catalog::DatabaseCatalog,
    codec::{Report, Severity, limits::significant},
    masking::Masks,
    session::{
        expected::Plan,
        flight::Flight,
        names::{Names, Prepared},
        outputs::Outputs,
    },
};

/// The most objects a statement may name: a record with more is of use to nobody, and judging it takes too long.
const MAX_NAMED: usize = 4096;

const READ_ONLY: &str = "this session is read-only and stays so: the scope of your grant has no `write`";

/// The most shapes whose judgement a session remembers.
const MAX_CACHED: usize = 512;

/// The most bytes that remembered judgements count for, and the most that one of them may to be kept after it was noted: a
/// text of a hundred thousand statements is judged a hundred thousand times.
const MAX_CACHED_BYTES: usize = 1024 * 1024;
const MAX_KEPT: usize = 128 * 1024;

/// What one decision counts for besides its text.
const OVERHEAD: usize = 1024;

/// Judges the statements of one session.
pub(crate) struct Judge {
    analyzer: Arc<Analyzer>,
    database: Arc<DatabaseCatalog>,
    catalog: Arc<CatalogSnapshot>,
    rules: Arc<SessionRules>,
    /// The masks that are in force; none where none binds the principal here.
    masks: Option<Arc<Masks>>,
    /// Rules or catalog changed, and what is masked has not been looked up since.
    masks_unknown: bool,
    paths: SearchPaths,
    cache: HashMap<u64, Cached>,
    cached_bytes: usize,
    epoch: u64,
    /// A statement that changes structure was sent, and its transaction is not known to be over.
    restructured: bool,
    /// A long text that was analysed off the reactor.
    ready: Option<(Arc<str>, Result<Prepared, AnalysisError>)>,
    /// What runs since nothing was in flight.
    alone: Alone,
    /// Some of that failed.
    errored: bool,
    /// The search path the server reported last: PostgreSQL 18 and later report every change.
    reported: Option<SearchPath>,
    user: Box<str>,
    /// The role may be another than the one that logged in: `$user` in a search path is not known then.
    role_moved: bool,
}

/// What was sent since nothing was in flight. Only a `SET search_path` that is all there is, that ran and did not fail, outside
/// of a transaction, certainly sticks.
#[derive(Debug)]
enum Alone {
    Nothing,
    /// A plain `SET search_path`; whether it was told to run (a `Bind` alone runs nothing), and by which portal.
    SearchPath {
        path: SearchPath,
        portal: Vec<u8>,
        runs: bool,
    },
    /// Anything else.
    Other,
}

struct Cached {
    epoch: u64,
    bytes: usize,
    judged: Vec<Judged>,
    /// What its results are, where masks are in force.
    looks: Vec<Look>,
    /// Code nobody sees into runs: afterwards the search path may be any.
    opaque: bool,
    /// What it sets, statements it executes included.
    settings: Vec<SettingChange>,
}

/// What the results of one statement are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    output: MaskedOutput,
    copy: Option<CopyOut>,
    touched: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { output: MaskedOutput::Clear, copy: None, touched: false }
    }
}

impl Look {
    pub(super) fn plan(self, number: u64, masks: Option<&Arc<Masks>>) -> Plan {
        Plan::new(number, masks.map(Arc::clone), self.output, self.copy, self.touched)
    }
}

/// Why COPY data cannot be looked at.
fn unreadable_copy(copy: &CopyOut) -> Option<String> {
    let encoding = copy.encoding.as_ref().filter(|name| !name.eq_ignore_ascii_case("utf8"));
    match (&copy.odd, encoding) {
        (Some(odd), _) => Some(format!("the COPY has an option that is not understood (`{odd}`)")),
        (None, Some(encoding)) => {
            Some(format!("the COPY writes its data in another encoding (`{encoding}`)"))
        }
        (None, None) => None,
    }
}

/// Whether columns are masked for the session, wherever they are.
pub(crate) fn masks_columns(rules: &SessionRules) -> bool {
    rules.masks().is_some_and(|masks| !masks.columns().is_empty())
}

/// Allowed judgements, to be found in the cache under this shape.
#[derive(Debug)]
pub(crate) struct Verdicts(u64);

/// What noting a statement means for how the next one is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settings {
    Kept,
    /// `client_encoding` may change.
    Encoding,
}

/// What became of a text.
pub(super) enum Analysed {
    Done(Prepared),
    Failed(AnalysisError),
    /// New: to be parsed off the reactor, where waiting for a parser holds up nobody.
    New(Arc<str>),
}

impl Judge {
    pub(crate) fn new(
        analyzer: Arc<Analyzer>,
        database: Arc<DatabaseCatalog>,
        catalog: Arc<CatalogSnapshot>,
        rules: Arc<SessionRules>,
        masks: Option<Arc<Masks>>,
        paths: SearchPaths,
        user: &str,
    ) -> Self {
        let cache = HashMap::new();
        Self {
            analyzer,
            database,
            catalog,
            rules,
            masks,
            masks_unknown: false,
            paths,
            cache,
            epoch: 1,
            restructured: false,
            ready: None,
            cached_bytes: 0,
            alone: Alone::Nothing,
            errored: false,
            reported: None,
            user: user.into(),
            role_moved: false,
        }
    }

    pub(crate) fn rules(&self) -> &Arc<SessionRules> {
        &self.rules
    }

    pub(crate) fn database(&self) -> &Arc<DatabaseCatalog> {
        &self.database
    }

    pub(crate) fn analyzer(&self) -> &Arc<Analyzer> {
        &self.analyzer
    }

    /// The masks in force.
    pub(crate) fn masks(&self) -> Option<&Arc<Masks>> {
        self.masks.as_ref()
    }

    /// Whether nothing that is known of the database decides anything.
    pub(crate) fn needs_no_catalog(&self) -> bool {
        self.rules.is_pass_through() && !masks_columns(&self.rules)
    }

    /// Follows what changed outside the session. False where the catalog must be read first.
    pub(super) fn follow(&mut self, session: &GateSession) -> bool {
        let rules_moved = !session.rules_are(&self.rules);
        if rules_moved {
            self.rules = session.rules();
            self.epoch += 1;
            self.masks_unknown = true;
        }
        let catalog_moved = match self.database.current() {
            Some(catalog) if Arc::ptr_eq(&catalog, &self.catalog) => false,
            Some(catalog) => {
                self.catalog = catalog;
                self.epoch += 1;
                true
            }
            None if self.needs_no_catalog() => false,
            None => return false,
        };
        self.masks_unknown |= catalog_moved;
        if self.masks_unknown {
            let Some(masks) = self.database.masks(&self.rules, &self.catalog) else { return false };
            self.masks = masks;
            self.masks_unknown = false;
        }
        true
    }

    /// Counts changes of what judgements depend on.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether names without a schema cannot be resolved because the search path may be any.
    pub(super) fn misses_search_path(&self) -> bool {
        self.paths.is_unknown() && !self.needs_no_catalog()
    }

    /// The server showed its search path and whose it is while nothing was in flight and no transaction was open: it is what is in force.
    /// Whether it could be read.
    pub(super) fn search_path_was_shown(&mut self, value: &str, user: &str) -> bool {
        let Some(path) = SearchPath::parse(value, user) else { return false };
        self.role_moved = *user != *self.user;
        self.paths.settle(path);
        self.epoch += 1;
        true
    }

    /// The session's own meaning of names changed.
    pub(super) fn forget(&mut self) {
        self.epoch += 1;
    }

    /// A statement that changes structure is sent. The catalog is read past this session: it shows the change once the
    /// transaction is over.
    pub(super) fn restructures(&mut self) {
        if !std::mem::replace(&mut self.restructured, true) {
            self.epoch += 1;
        }
    }

    /// A new text was analysed.
    pub(crate) fn analysed(&mut self, text: Arc<str>, result: Result<Prepared, AnalysisError>) {
        self.ready = Some((text, result));
    }

    pub(super) fn analysis(&mut self, text: &str) -> Analysed {
        match self.ready.take() {
            Some((known, Ok(analysis))) if *known == *text => Analysed::Done(analysis),
            Some((known, Err(error))) if *known == *text => Analysed::Failed(error),
            _ => match self.analyzer.known(text) {
                Some(analysis) => Analysed::Done(analysis),
                None => Analysed::New(text.into()),
            },
        }
    }

    /// Judges every statement of a text. Nothing is noted yet: a prepared statement is judged long before it runs.
    pub(super) fn statements(
        &mut self,
        analysis: &Prepared,
        session: &GateSession,
        names: &Names,
        flight: &Flight<Prepared>,
    ) -> Result<Verdicts, Box<Refused>> {
        let shape = analysis.shape_id();
        if let Some(cached) = self.cache.get(&shape)
            && cached.epoch == self.epoch
        {
            return Ok(Verdicts(shape));
        }
        let view = View { names, flight, restructured: self.restructured };
        let resolved = analysis.resolve_fully(&*self.catalog, &self.paths, &view);
        let mut judged = Vec::with_capacity(resolved.len());
        for resolved in &resolved {
            let operation = &resolved.operation;
            let one = if operation.resources.len() > MAX_NAMED {
                let reason = format!("the statement names more than {MAX_NAMED} objects; split it");
                session.refused(
                    &self.rules,
                    &opaque_operation(&operation.text, reason.clone()),
                    "too-many-names",
                    reason,
                )
            } else if self.rules.is_read_only() && resolved.leaves_read_only {
                session.refused(&self.rules, operation, "read-only", READ_ONLY.to_owned())
            } else {
                session.judge(&self.rules, operation)
            };
            if !one.is_allow() {
                return Err(Box::new(Refused::denied(one)));
            }
            judged.push(one);
        }
        let looks = self.looks(analysis, &resolved, &view, session)?;
        let named: usize = resolved.iter().map(|resolved| resolved.operation.resources.len()).sum();
        let bytes = (judged.len() + named) * OVERHEAD + analysis.text().len();
        if self.cache.len() >= MAX_CACHED || self.cached_bytes + bytes > MAX_CACHED_BYTES {
            self.cache.clear();
            self.cached_bytes = 0;
        }
        // What the session itself decides (EXECUTE, FETCH) is judged anew each time: epoch 0 is never current.
        let epoch = if analysis.asks_session() { 0 } else { self.epoch };
        let opaque = resolved.iter().any(|resolved| resolved.opaque);
        let settings = resolved.into_iter().flat_map(|resolved| resolved.settings).collect();
        if let Some(before) =
            self.cache.insert(shape, Cached { epoch, bytes, judged, looks, opaque, settings })
        {
            self.cached_bytes = self.cached_bytes.saturating_sub(before.bytes);
        }
        self.cached_bytes += bytes;
        Ok(Verdicts(shape))
    }

    /// Notes allowed judgements, one per statement, and tells the client of warnings.
    pub(super) fn note(
        &mut self,
        analysis: &Prepared,
        verdicts: Verdicts,
        session: &mut GateSession,
        bound: Bound<'_>,
        out: &mut Outputs,
    ) -> Result<(Settings, Vec<Arc<Plan>>), Stop> {
        // It was put there by the judgement this comes from; without it there is nothing that may run.
        let Some(cached) = self.cache.get_mut(&verdicts.0) else {
            return Err(Stop::End(EndReason::Internal { detail: "a judgement is gone".to_owned() }));
        };
        let alone = analysis.statements().len() == 1;
        let planned = self.masks.is_some() || session.is_recorded();
        let mut plans = Vec::new();
        let mut looks = cached.looks.iter();
        for (judged, statement) in cached.judged.iter_mut().zip(analysis.statements()) {
            if alone {
                session.note_bound(judged, Some(analysis.text()), bound.print.clone(), bound.values)?;
            } else {
                let text: Arc<str> = analysis.statement_text(statement).into();
                session.note(judged, Some(&text), None)?;
            }
            if planned {
                let look = looks.next().cloned().unwrap_or_default();
                plans.push(Arc::new(look.plan(session.number(), self.masks.as_ref())));
            }
            for obligation in &judged.decision.obligations {
                if let Obligation::Warn { rule, message } = obligation {
                    let detail = format!("warned by {} `{}`", rule.kind, rule.name);
                    out.say(|down| {
                        Report::new(Severity::Warning, "01000", message.as_str())
                            .detail(detail.as_str())
                            .encode(down)
                    });
                }
            }
        }
        let (opaque, settings) = (cached.opaque, cached.settings.clone());
        if cached.bytes > MAX_KEPT {
            self.cached_bytes = self.cached_bytes.saturating_sub(cached.bytes);
            self.cache.remove(&verdicts.0);
        }
        self.role_moved |= opaque;
        if opaque && !self.paths.is_unknown() {
            self.paths.add_unknown();
            self.epoch += 1;
        }
        if settings.is_empty() {
            self.alone = Alone::Other;
            return Ok((if opaque { Settings::Encoding } else { Settings::Kept }, plans));
        }
        self.take_settings(&settings);
        if let Alone::Nothing = self.alone {
            self.alone = self.plain_search_path(analysis);
        } else {
            self.alone = Alone::Other;
        }
        let encoding = settings.iter().any(|change| change.concerns("client_encoding"));
        Ok((if encoding || opaque { Settings::Encoding } else { Settings::Kept }, plans))
    }

    /// What the results of a text's statements are, where masks are in force.
    fn looks(
        &self,
        analysis: &Prepared,
        resolved: &[Resolved],
        view: &View<'_>,
        session: &GateSession,
    ) -> Result<Vec<Look>, Box<Refused>> {
        let Some(masks) = &self.masks else { return Ok(Vec::new()) };
        let outputs = analysis.masked(&masks.map, &*self.catalog, &self.paths, view).map_err(|refusal| {
            let why = refusal.reason.clone();
            match (masks.rule(refusal.rule), resolved.get(refusal.statement)) {
                (Some(rule), Some(statement)) => {
                    Box::new(Refused::denied(session.denied(&self.rules, &statement.operation, rule, why)))
                }
                _ => Box::new(self.opaque(analysis.text().as_bytes(), why, session)),
            }
        })?;
        let statements = analysis.statements().iter().zip(resolved);
        for (statement, resolved) in statements.clone() {
            if let (Some(rule), Some(why)) = (masks.detects(), statement.copy_out().and_then(unreadable_copy))
            {
                let why =
                    format!("{why}, so that mask `{}` cannot look at it; leave the option out", rule.name);
                return Err(Box::new(Refused::denied(session.denied(
                    &self.rules,
                    &resolved.operation,
                    rule,
                    why,
                ))));
            }
        }
        Ok(outputs
            .into_iter()
            .zip(statements)
            .map(|(output, (statement, resolved))| Look {
                output,
                copy: statement.copy_out().cloned(),
                touched: masks.touches(&resolved.operation),
            })
            .collect())
    }

    /// What the rows of a portal are that may run any of these: they must all be masked alike. Nothing where no masks are in force
    /// and nothing is recorded.
    pub(super) fn look_of_any(
        &self,
        runnable: &[Prepared],
        session: &GateSession,
        names: &Names,
        flight: &Flight<Prepared>,
    ) -> Result<Option<Look>, Box<Refused>> {
        if self.masks.is_none() {
            return Ok(session.is_recorded().then(Look::default));
        }
        let view = View { names, flight, restructured: self.restructured };
        let mut found: Option<Look> = None;
        for prepared in runnable {
            let resolved = prepared.resolve_fully(&*self.catalog, &self.paths, &view);
            let look =
                self.looks(prepared, &resolved, &view, session)?.into_iter().next().unwrap_or_default();
            match &found {
                Some(known) if *known != look => {
                    let why = "the portal may run one of several statements whose results are masked differently; \
                               close it and bind it again";
                    return Err(Box::new(self.opaque(prepared.text().as_bytes(), why.to_owned(), session)));
                }
                _ => found = Some(look),
            }
        }
        Ok(Some(found.unwrap_or_default()))
    }

    /// What becomes of the results of a text that was not read: nothing of a masked column may be in them.
    pub(super) fn unseen_plan(&self, session: &GateSession) -> Option<Arc<Plan>> {
        let planned = self.masks.is_some() || session.is_recorded();
        planned.then(|| Arc::new(Look::default().plan(session.number(), self.masks.as_ref())))
    }

    /// A text that is passed on without being understood, where nothing is judged.
    pub(super) fn unseen(&self, what: &str) -> Option<Prepared> {
        self.rules
            .is_pass_through()
            .then(|| Arc::new(Analysis::opaque(what, "it was made inside the server")))
    }

    /// Judges a FunctionCall as the call it is.
    pub(super) fn function(&mut self, oid: u32, session: &GateSession) -> Result<Judged, Box<Refused>> {
        let name =
            self.catalog.function_by_oid(oid).map(|function| resource_name(&function.schema, &function.name));
        let text = format!("FunctionCall {} (oid {oid})", name.as_deref().unwrap_or("?"));
        let resolved = portcullis_sql::resolve_function_call(oid, &*self.catalog, text.into());
        let judged = if self.rules.is_read_only() && resolved.leaves_read_only {
            session.refused(&self.rules, &resolved.operation, "read-only", READ_ONLY.to_owned())
        } else if let Some((rule, why)) = self.masks_forbid(oid) {
            session.denied(&self.rules, &resolved.operation, rule, why)
        } else {
            session.judge(&self.rules, &resolved.operation)
        };
        self.role_moved |= judged.is_allow() && resolved.opaque;
        if judged.is_allow() && resolved.opaque && !self.paths.is_unknown() {
            self.paths.add_unknown();
            self.epoch += 1;
        }
        if judged.is_allow() { Ok(judged) } else { Err(Box::new(Refused::denied(judged))) }
    }

    /// Why a function may not be called by its number: it could give away what is masked.
    fn masks_forbid(&self, oid: u32) -> Option<(RuleRef, String)> {
        let masks = self.masks.as_ref()?;
        let refusal = portcullis_sql::masked_function_call(&masks.map, oid, &*self.catalog).err()?;
        Some((masks.rule(refusal.rule)?, refusal.reason))
    }

    pub(super) fn too_long(&self, text: &[u8], limit: usize, session: &GateSession) -> Refused {
        let why = format!(
            "the statement has {} bytes; the gateway reads statements up to {limit} bytes",
            text.len()
        );
        self.opaque(text, why, session)
    }

    pub(super) fn unreadable(&self, text: &[u8], session: &GateSession) -> Refused {
        let why = "the statement's text is not UTF-8, or the session reads text in a way the gateway does not follow";
        self.opaque(text, why.to_owned(), session)
    }

    /// A text the analysis gave up on: passes where nothing is judged, else fails as the server would fail it.
    pub(super) fn not_analysed(
        &self,
        text: &str,
        error: &AnalysisError,
        session: &GateSession,
    ) -> Result<Prepared, Box<Refused>> {
        if self.rules.is_pass_through() {
            return Ok(Arc::new(Analysis::opaque(text, &error.to_string())));
        }
        let operation = opaque_operation(text, error.to_string());
        let judged = session.refused(&self.rules, &operation, "unparseable", error.to_string());
        let sqlstate = if matches!(error, AnalysisError::Syntax { .. }) { "42601" } else { "54001" };
        Err(Box::new(Refused::failed(judged, sqlstate, error.to_string())))
    }

    /// A statement longer than anything that is analysed, of which only the start was seen.
    pub(super) fn long_statement(
        &self,
        start: &[u8],
        length: usize,
        session: &GateSession,
    ) -> Result<Judged, Box<Refused>> {
        let text = String::from_utf8_lossy(start);
        let operation =
            opaque_operation(&text, format!("the statement has {length} bytes, more than the gateway reads"));
        let judged = session.judge(&self.rules, &operation);
        if judged.is_allow() { Ok(judged) } else { Err(Box::new(Refused::denied(judged))) }
    }

    fn opaque(&self, text: &[u8], why: String, session: &GateSession) -> Refused {
        let operation = opaque_operation(&String::from_utf8_lossy(text), why.clone());
        Refused::denied(session.refused(&self.rules, &operation, "unclassified", why))
    }

    /// Takes changes of settings into account, whether or not they stick.
    fn take_settings(&mut self, settings: &[SettingChange]) {
        for change in settings {
            // `$user` in the path is another one then.
            if change.concerns("role") || change.concerns("session_authorization") {
                self.role_moved = true;
                self.paths.add_unknown();
                self.epoch += 1;
            }
            if self.paths.apply(change) {
                self.epoch += 1;
            }
        }
    }

    /// `SET search_path = …` and nothing else: no `set_config`, which may stand where it is never called.
    fn plain_search_path(&self, analysis: &Prepared) -> Alone {
        let [statement] = analysis.statements() else { return Alone::Other };
        let ([change], [kind]) = (statement.settings(), statement.kinds()) else { return Alone::Other };
        let (SettingValue::Known(value), SettingScope::Session, false) =
            (&change.value, change.scope, change.reset)
        else {
            return Alone::Other;
        };
        if kind.as_str() != "set" || !change.concerns("search_path") {
            return Alone::Other;
        }
        match SearchPath::parse(value, &self.user) {
            Some(path) => Alone::SearchPath { path, portal: Vec::new(), runs: false },
            None => Alone::Other,
        }
    }

    /// What was noted last is bound to a portal.
    pub(super) fn bound(&mut self, name: &[u8]) {
        if let Alone::SearchPath { portal, .. } = &mut self.alone {
            *portal = name.to_vec();
        }
    }

    /// Something is told to run: this portal, or what was noted last.
    pub(super) fn runs(&mut self, name: Option<&[u8]>) {
        match &mut self.alone {
            Alone::SearchPath { portal, runs, .. } if name.is_none_or(|name| name == portal) => *runs = true,
            _ => self.alone = Alone::Other,
        }
    }

    /// A sync point was answered.
    pub(super) fn answered(&mut self, errored: bool) {
        self.errored |= errored;
    }

    /// Nothing is in flight any more.
    pub(super) fn landed(&mut self, outside_transaction: bool) {
        if outside_transaction && std::mem::replace(&mut self.restructured, false) {
            self.database.invalidate();
            self.epoch += 1;
        }
        let certain = !std::mem::replace(&mut self.errored, false) && outside_transaction;
        let tracked = match std::mem::replace(&mut self.alone, Alone::Nothing) {
            Alone::SearchPath { path, runs: true, .. } if certain => Some(path),
            _ => None,
        };
        let known = self.reported.clone().or(tracked);
        if let Some(path) = &known
            && self.role_moved
            && path.listed().any(|schema| *schema == *self.user)
        {
            self.paths.add_unknown();
            self.epoch += 1;
        } else if let Some(path) = known
            && (self.paths.is_unknown() || self.paths.candidates() != [path.clone()])
        {
            self.paths.settle(path);
            self.epoch += 1;
        }
    }

    /// The server reported its search path (PostgreSQL 18 and later).
    pub(super) fn search_path_is(&mut self, value: &[u8]) {
        let path = std::str::from_utf8(value).ok().and_then(|value| SearchPath::parse(value, &self.user));
        match path {
            Some(ref path) => self.paths.add(path.clone()),
            None => self.paths.add_unknown(),
        }
        self.reported = path;
        self.epoch += 1;
    }
}

/// Whether a statement may change what names mean: then the catalog is read again.
pub(super) fn changes_structure(statement: &Statement) -> bool {
    // What is temporary is seen by this session alone, which remembers it by itself.
    let temporary = matches!(statement.effect(), Some(SessionEffect::CreateTemporary { .. }));
    !temporary
        && statement.kinds().iter().any(|kind| {
            !matches!(
                kind.as_str(),
                "select"
                    | "insert"
                    | "update"
                    | "delete"
                    | "merge"
                    | "show"
                    | "set"
                    | "reset"
                    | "transaction"
                    | "begin"
                    | "commit"
                    | "rollback"
                    | "savepoint"
                    | "release"
                    | "explain"
                    | "execute"
                    | "prepare"
                    | "deallocate"
                    | "declare"
                    | "fetch"
                    | "move"
                    | "close"
                    | "discard"
                    | "listen"
                    | "unlisten"
                    | "notify"
                    | "lock"
                    | "copy"
                    | "values"
                    | "truncate"
                    | "vacuum"
                    | "analyze"
            )
        })
}

fn opaque_operation(text: &str, why: String) -> Operation {
    Operation {
        kinds: vec![StatementKind::word("unknown")],
        resources: vec![ResourceRef {
            verb: Verb::Admin,
            resource: Resource::from("?"),
            columns: Vec::new(),
            through: None,
        }],
        text: text.into(),
        lacks: Vec::new(),
        classified: Classified::Not(why),
    }
}

/// The session's memory as the analysis asks for it.
struct View<'a> {
    names: &'a Names,
    flight: &'a Flight<Prepared>,
    restructured: bool,
}

impl SessionState for View<'_> {
    fn prepared(&self, name: &str) -> Vec<Arc<Analysis>> {
        let name = significant(name.as_bytes());
        let Some(confirmed) = self.names.confirmed(name) else { return Vec::new() };
        let coming = self.flight.coming().filter(|coming| coming.name == name).map(|coming| coming.prepared);
        confirmed.iter().chain(coming).map(Arc::clone).collect()
    }

    fn cursor(&self, name: &str) -> Vec<Arc<Analysis>> {
        self.names.cursors(name)
    }

    fn may_be_temporary(&self, name: &str) -> bool {
        self.names.may_be_temporary(name)
    }

    fn structure_may_differ(&self) -> bool {
        self.restructured
    }
}
