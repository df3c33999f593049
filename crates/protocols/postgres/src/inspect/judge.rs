//! Text -> decision: analysis, resolution under what this session may mean by a name, policy; cached by shape.
//!
//! A cached judgement counts only while nothing it depends on has changed: rules, catalog, search paths, temporary
//! relations. Each change starts a new epoch.
//!
//! `gates` is what commits wait for and what runs by name, `function` what FunctionCall messages are, `looks` what results are, `meaning` what texts mean besides their names, `path` the search path, `unread` what happens to texts that are not analysed.

use std::{collections::HashMap, sync::Arc};

use portcullis_core::{EndReason, Obligation, ResourceRef};
use portcullis_policy::{SessionRules, capability::is_counted};
use portcullis_proxy::gate::{GateSession, Judged};
use portcullis_sql::{
    Analysis, AnalysisError, Analyzer, CatalogSnapshot, SearchPath, SearchPaths, SessionEffect, SessionState,
    SettingChange, Statement,
};

use super::{Bound, Stop, hold::Why, refuse::Refused};
use crate::{
    catalog::DatabaseCatalog,
    codec::{Report, Severity, limits::significant},
    masking::Masks,
    session::{
        commits::Gated,
        expected::Plan,
        flight::Flight,
        names::{Late, Names, Prepared},
        outputs::Outputs,
    },
};

mod function;
mod gates;
mod looks;
mod meaning;
mod path;
mod unread;

use gates::{at_gate, gated_by, gates};
use looks::{Look, Made};
use meaning::Meaning;
use path::Alone;
use unread::opaque_operation;

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
    /// Boxed: a map keeps room for entries that it does not have.
    cache: HashMap<u64, Box<Cached>>,
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
    meaning: Meaning,
}

struct Cached {
    epoch: u64,
    bytes: usize,
    judged: Vec<Judged>,
    /// What its results are, where masks are in force.
    looks: Vec<Look>,
    /// What it was allowed to do, where its names are looked up when it runs.
    late: Option<Arc<[ResourceRef]>>,
    /// Code nobody sees into runs: afterwards the search path may be any.
    opaque: bool,
    /// What it sets, statements it executes included.
    settings: Vec<SettingChange>,
    /// Where a commit may have to wait for one of its statements: of each, whether the server's count tells of all it changes.
    gates: Option<Box<[bool]>>,
}

/// Whether columns are masked for the session, wherever they are.
pub(crate) fn masks_columns(rules: &SessionRules) -> bool {
    rules.masks().is_some_and(|masks| !masks.columns().is_empty())
}

/// Judgements none of which is a deny, to be found in the cache under this shape.
#[derive(Debug)]
pub(crate) struct Verdicts {
    shape: u64,
    /// A commit may have to wait for some of it.
    pub(super) gates: bool,
    /// Some of it waits for a person first.
    pub(super) hold: Option<Box<Why>>,
}

/// What noting a text came to.
pub(super) struct Noted {
    pub(super) settings: Settings,
    /// What becomes of the results, one for each statement; none where nothing has to.
    pub(super) plans: Vec<Arc<Plan>>,
    /// Statements that count at commit, by place.
    pub(super) gated: Vec<(usize, Arc<Gated>)>,
}

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
            meaning: Meaning::default(),
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
            return Ok(Verdicts { shape, gates: cached.gates.is_some(), hold: None });
        }
        let view = View { names, flight, restructured: self.restructured };
        let resolved = analysis.resolve_fully(&*self.catalog, &self.paths, &view);
        let mut judged = Vec::with_capacity(resolved.len());
        let mut hold: Option<Box<Why>> = None;
        for (at, resolved) in resolved.iter().enumerate() {
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
                if !one.is_hold() {
                    return Err(Box::new(Refused::denied(one)));
                }
                let rules = self.rules.holds(operation);
                hold.get_or_insert_default().add(at, operation, one.clone(), rules);
            }
            judged.push(one);
        }
        if let Some(why) = &mut hold {
            why.resources = resolved.iter().flat_map(|r| r.operation.resources.iter().cloned()).collect();
        }
        let gates =
            judged.iter().any(gates).then(|| resolved.iter().map(|r| is_counted(&r.operation)).collect());
        let looks = self.looks(analysis, &resolved, &view, session, Made::Now)?;
        let named: usize = resolved.iter().map(|resolved| resolved.operation.resources.len()).sum();
        let bytes = (judged.len() + named) * OVERHEAD + analysis.text().len();
        if self.cache.len() >= MAX_CACHED || self.cached_bytes + bytes > MAX_CACHED_BYTES {
            self.cache.clear();
            self.cached_bytes = 0;
        }
        // What the session itself decides (EXECUTE, FETCH), and what waits for a person, is judged anew each time: epoch 0 is never
        // current.
        let epoch = if analysis.asks_session() || hold.is_some() { 0 } else { self.epoch };
        let opaque = resolved.iter().any(|resolved| resolved.opaque);
        let late = looks_names_up_late(analysis).then(|| {
            resolved.iter().flat_map(|resolved| resolved.operation.resources.iter().cloned()).collect()
        });
        let settings = resolved.into_iter().flat_map(|resolved| resolved.settings).collect();
        let verdicts = Verdicts { shape, gates: gates.is_some(), hold };
        let cached = Cached { epoch, bytes, judged, looks, late, opaque, settings, gates };
        if let Some(before) = self.cache.insert(shape, Box::new(cached)) {
            self.cached_bytes = self.cached_bytes.saturating_sub(before.bytes);
        }
        self.cached_bytes += bytes;
        Ok(verdicts)
    }

    /// What a judged text may do, where its names are looked up when it runs.
    pub(super) fn late(&self, verdicts: &Verdicts) -> Option<Late> {
        let resources = Arc::clone(self.cache.get(&verdicts.shape)?.late.as_ref()?);
        Some(Late { resources, epoch: self.epoch })
    }

    /// Whether the results of a judged statement are what a plan says.
    pub(super) fn looks_like(&self, verdicts: &Verdicts, plan: Option<&Plan>) -> bool {
        let Some(_) = &self.masks else { return true };
        let look = self.cache.get(&verdicts.shape).and_then(|cached| cached.looks.first());
        look.zip(plan).is_some_and(|(look, plan)| look.is_of(plan))
    }

    /// Notes allowed judgements, one per statement, and tells the client of warnings.
    pub(super) fn note(
        &mut self,
        analysis: &Prepared,
        verdicts: Verdicts,
        session: &mut GateSession,
        bound: Bound<'_>,
        out: &mut Outputs,
    ) -> Result<Noted, Stop> {
        // It was put there by the judgement this comes from; without it there is nothing that may run.
        let Some(cached) = self.cache.get_mut(&verdicts.shape) else {
            return Err(Stop::End(EndReason::Internal { detail: "a judgement is gone".to_owned() }));
        };
        let alone = analysis.statements().len() == 1;
        let planned = self.masks.is_some() || session.is_recorded() || self.rules.gates_commits();
        let (mut plans, mut gated) = (Vec::new(), Vec::new());
        let mut looks = cached.looks.iter();
        for (at, (judged, statement)) in cached.judged.iter_mut().zip(analysis.statements()).enumerate() {
            let mut approved = verdicts.hold.as_ref().and_then(|why| why.approved(at));
            let judged = approved.as_mut().unwrap_or(judged);
            // INVARIANT(held-until-answered): what waits for a person is noted as an allow once it was approved, or not at all.
            if !judged.is_allow() {
                return Err(Stop::End(EndReason::Internal {
                    detail: "a held statement was to pass".to_owned(),
                }));
            }
            if alone {
                session.note_bound(judged, Some(analysis.text()), bound.print.clone(), bound.values)?;
            } else {
                let text: Arc<str> = analysis.statement_text(statement).into();
                session.note(judged, Some(&text), None)?;
            }
            if planned {
                let look = looks.next().cloned().unwrap_or_default();
                let plan = look.plan(session.number(), self.masks.as_ref());
                plans.push(Arc::new(plan.at_gate(at_gate(judged, statement))));
            }
            if let Some(counted) = &cached.gates
                && gates(judged)
            {
                let counted = counted.get(at).copied().unwrap_or(false);
                gated.push((at, Arc::new(gated_by(judged, analysis, statement, counted))));
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
            self.cache.remove(&verdicts.shape);
        }
        self.role_moved |= opaque;
        self.means_from_now(analysis, &settings, opaque);
        if opaque && !self.paths.is_unknown() {
            self.paths.add_unknown();
            self.epoch += 1;
        }
        if settings.is_empty() {
            self.alone = Alone::Other;
            let settings = if opaque { Settings::Encoding } else { Settings::Kept };
            return Ok(Noted { settings, plans, gated });
        }
        self.take_settings(&settings);
        if let Alone::Nothing = self.alone {
            self.alone = self.plain_search_path(analysis);
        } else {
            self.alone = Alone::Other;
        }
        let encoding = settings.iter().any(|change| change.concerns("client_encoding"));
        let settings = if encoding || opaque { Settings::Encoding } else { Settings::Kept };
        Ok(Noted { settings, plans, gated })
    }
}

/// Whether the server looks the names of a text up when it runs, not when it is bound: that of statements which are not planned.
fn looks_names_up_late(analysis: &Analysis) -> bool {
    let kinds = analysis.statements().iter().flat_map(Statement::kinds);
    kinds.into_iter().any(|kind| {
        !matches!(
            kind.as_str(),
            "select"
                | "values"
                | "insert"
                | "update"
                | "delete"
                | "merge"
                | "set"
                | "reset"
                | "show"
                | "transaction"
                | "begin"
                | "commit"
                | "rollback"
                | "savepoint"
                | "release"
        )
    })
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
        let Some(mut all) = self.names.cursors(name) else { return Vec::new() };
        all.extend(self.flight.declaring(significant(name.as_bytes())).map(Arc::clone));
        all
    }

    fn may_be_temporary(&self, name: &str) -> bool {
        self.names.may_be_temporary(name)
    }

    fn structure_may_differ(&self) -> bool {
        self.restructured
    }
}
