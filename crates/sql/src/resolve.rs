//! Names -> resources, under every search path that may be in force.

mod calls;
mod code;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) use code::{Code, code_of_call, resolve_one};
use portcullis_core::{Operation, Resource, ResourceRef, StatementKind, Verb, operation::Classified};

use crate::{
    Analysis, Catalog, Relation, RelationKind, SearchPath, SearchPaths, SessionEffect, SessionState,
    SettingChange, Statement,
    analysis::{Lookup, RelationUse},
    harmless,
    names::{Name, part, resource_name, unresolved_name},
    settings::{self, SettingVerdict},
};

/// How deep `EXECUTE` of a prepared `EXPLAIN EXECUTE` and the like is followed.
const MAX_NESTING: usize = 8;

/// More relations than this in one statement: columns named without a relation are `*` of each.
const MAX_RELATIONS_FOR_LOOSE_COLUMNS: usize = 64;

/// One statement's operation and what else the session must know of it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The operation.
    pub operation: Operation,
    /// Code the gateway cannot see runs (`DO`, `CALL`, a function of users that may change something): afterwards settings,
    /// the search path among them, may be other than tracked.
    pub opaque: bool,
    /// Changes of settings, those made by what an `EXECUTE` or `FETCH` runs included: what the session tracks.
    pub settings: Vec<SettingChange>,
    /// Whether a read-only session or transaction may write afterwards: see [`Statement::leaves_read_only`].
    pub leaves_read_only: bool,
}

pub(crate) fn resolve(
    analysis: &Analysis,
    catalog: &dyn Catalog,
    paths: &SearchPaths,
    session: &dyn SessionState,
) -> Vec<Resolved> {
    let mut paths = Cow::Borrowed(paths);
    let mut made = Vec::new();
    let mut all = Vec::with_capacity(analysis.statements().len());
    let mut restructured = session.structure_may_differ();
    for statement in analysis.statements() {
        let (resolved, _) = resolve_one(analysis, statement, catalog, &paths, session, &made, restructured);
        // What this statement changes holds, perhaps, for those after it in the same text.
        for change in resolved.settings.iter().filter(|change| change.concerns("search_path")) {
            paths.to_mut().apply(change);
        }
        if resolved.opaque && analysis.statements().len() > 1 {
            paths.to_mut().add_unknown();
        }
        if let Some(effect) = &statement.effect {
            made.push(effect);
        }
        restructured |= statement.kinds.iter().any(|kind| matches!(kind.as_str(), "drop" | "alter"));
        all.push(resolved);
    }
    all
}

/// The operation of a FunctionCall message: a call by oid, its arguments unseen. What arguments would decide is refused
/// (`set_config`) or needs the function itself (`nextval`). `text` is what the record shows.
pub fn resolve_function_call(oid: u32, catalog: &dyn Catalog, text: Arc<str>) -> Resolved {
    let paths = SearchPaths::unknown("");
    let mut resolver = Resolver::new(catalog, &paths, &crate::NoSessionState, &[]);
    resolver.kinds.push(StatementKind::word("call"));
    resolver.calls(&[oid], None);
    let Resolver { kinds, pairs, unclassified, opaque, .. } = resolver;
    let reference = |(verb, resource, _): (Verb, String, Option<String>)| ResourceRef {
        verb,
        resource: resource.into(),
        columns: Vec::new(),
        through: None,
    };
    let operation = Operation {
        kinds,
        resources: pairs.into_keys().map(reference).collect(),
        text,
        lacks: Vec::new(),
        classified: unclassified.map_or(Classified::Completely, Classified::Not),
    };
    Resolved { operation, opaque, settings: Vec::new(), leaves_read_only: false }
}

pub(crate) const NOT_PREPARABLE: &str = "it runs by name what `PREPARE` cannot make; run that by itself";

/// Whether `EXECUTE` may run it. A Parse message gives any statement a name, and the server then runs it by that name, a COMMIT as
/// well: what ends a transaction, changes names or structure must be seen for what it is, where it stands.
pub(crate) fn is_preparable(statement: &Statement) -> bool {
    const RUN_BY_NAME: [&str; 13] = [
        "delete", "execute", "explain", "fetch", "insert", "merge", "move", "reset", "select", "set", "show",
        "update", "values",
    ];
    statement.transaction.is_none()
        && matches!(
            statement.effect,
            None | Some(SessionEffect::Execute { .. } | SessionEffect::Fetch { .. })
        )
        && statement.kinds.iter().all(|kind| RUN_BY_NAME.contains(&kind.as_str()))
}

/// Pairs under construction: columns of the same pair are merged.
type Pairs = BTreeMap<(Verb, String, Option<String>), BTreeSet<Box<str>>>;

struct Resolver<'a> {
    catalog: &'a dyn Catalog,
    paths: &'a SearchPaths,
    session: &'a dyn SessionState,
    /// What earlier statements of the same text made.
    made: &'a [&'a SessionEffect],
    pairs: Pairs,
    kinds: Vec<StatementKind>,
    lacks_where: bool,
    unclassified: Option<String>,
    opaque: bool,
    explain_only: bool,
    changes: Vec<SettingChange>,
    leaves_read_only: bool,
    /// What the catalog knows may be gone: see [`SessionState::structure_may_differ`].
    restructured: bool,
    code: Code,
}

impl<'a> Resolver<'a> {
    fn new(
        catalog: &'a dyn Catalog,
        paths: &'a SearchPaths,
        session: &'a dyn SessionState,
        made: &'a [&'a SessionEffect],
    ) -> Self {
        Self {
            catalog,
            paths,
            session,
            made,
            pairs: Pairs::new(),
            kinds: Vec::new(),
            lacks_where: false,
            unclassified: None,
            opaque: false,
            explain_only: false,
            changes: Vec::new(),
            leaves_read_only: false,
            restructured: false,
            code: Code::default(),
        }
    }

    fn finish(self, analysis: &Analysis, statement: &Statement) -> Resolved {
        let pair =
            |((verb, resource, through), columns): ((Verb, String, Option<String>), BTreeSet<Box<str>>)| {
                let columns = if columns.contains("*") {
                    vec!["*".to_owned()]
                } else {
                    columns.into_iter().map(String::from).collect()
                };
                ResourceRef { verb, resource: resource.into(), columns, through: through.map(Resource::from) }
            };
        let text = match &statement.range {
            None => Arc::clone(&analysis.text),
            Some(_) => analysis.statement_text(statement).into(),
        };
        let operation = Operation {
            kinds: self.kinds,
            resources: self.pairs.into_iter().map(pair).collect(),
            text,
            lacks: if self.lacks_where { vec![Cow::Borrowed("where")] } else { Vec::new() },
            classified: self.unclassified.map_or(Classified::Completely, Classified::Not),
        };
        let Self { opaque, changes: settings, leaves_read_only, .. } = self;
        Resolved { operation, opaque, settings, leaves_read_only }
    }

    fn pair(&mut self, verb: Verb, resource: String) -> &mut BTreeSet<Box<str>> {
        let verb = if self.explain_only && verb == Verb::Write { Verb::Read } else { verb };
        self.pairs.entry((verb, resource, None)).or_default()
    }

    fn through(&mut self, verb: Verb, resource: String, view: &str) {
        self.pairs.entry((verb, resource, Some(view.to_owned()))).or_default();
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.unclassified.get_or_insert_with(|| why.into());
    }

    fn statement(&mut self, statement: &Statement, depth: usize) {
        let explains = self.explain_only;
        self.explain_only |= statement.explain_only;
        for kind in &statement.kinds {
            if !self.kinds.contains(kind) {
                self.kinds.push(kind.clone());
            }
        }
        self.lacks_where |= statement.lacks_where;
        self.opaque |= statement.opaque;
        self.leaves_read_only |= statement.leaves_read_only;
        self.changes.extend_from_slice(&statement.settings);
        if let Some(why) = &statement.unclassified {
            self.refuse(why.clone());
        }
        for (verb, resource) in &statement.uses.fixed {
            self.pair(*verb, resource.clone());
        }
        self.settings(statement);
        self.names(statement);
        self.remembered(statement, depth);
        self.explain_only = explains;
    }

    fn settings(&mut self, statement: &Statement) {
        for change in &statement.settings {
            match settings::judge(change) {
                SettingVerdict::Harmless => {}
                SettingVerdict::Identity if &*change.name == "role" => {
                    self.pair(Verb::Admin, "session/role".to_owned());
                }
                SettingVerdict::Identity => {
                    self.pair(Verb::Admin, "session/authorization".to_owned());
                }
                SettingVerdict::Admin => {
                    self.pair(Verb::Admin, setting_resource(&change.name));
                }
                SettingVerdict::Never(why) => {
                    self.pair(Verb::Admin, setting_resource(&change.name));
                    self.refuse(format!("the setting `{}` must not be changed: {why}", change.name));
                }
            }
        }
    }

    fn names(&mut self, statement: &Statement) {
        let uses = &statement.uses;
        if self.paths.is_unknown() && needs_path(statement) {
            self.refuse(
                "the search path is not known here: `SET search_path`, or write names with their schema",
            );
        }
        let many = uses.relations.len() > MAX_RELATIONS_FOR_LOOSE_COLUMNS;
        for relation in &uses.relations {
            self.relation(relation, many);
        }
        for (name, lookup) in &uses.objects {
            self.object(name, *lookup);
        }
        for function in &uses.functions {
            self.function(function);
        }
        for operator in &uses.operators {
            self.operator(operator);
        }
        for name in &uses.types {
            let catalog = self.catalog;
            for schema in self.schemas_for(name) {
                if let Some(found) = catalog.type_named(&schema, &name.name) {
                    self.calls(&found.calls, None);
                }
            }
        }
        self.casts(&uses.casts);
    }

    /// Functions of users that run where something is cast to one of these types.
    fn casts(&mut self, types: &[Name]) {
        let catalog = self.catalog;
        for name in types {
            for schema in self.schemas_for(name) {
                if let Some(found) = catalog.type_named(&schema, &name.name) {
                    self.calls(&found.calls, None);
                    self.calls(&found.casts, None);
                }
            }
        }
    }

    /// What `EXECUTE` and `FETCH` run, from this text or from the session.
    fn remembered(&mut self, statement: &Statement, depth: usize) {
        let (found, what, name) = match &statement.effect {
            Some(SessionEffect::Execute { name }) => {
                let here = self.made.iter().filter_map(|effect| match effect {
                    SessionEffect::Prepare { name: made, inner } if made == name => Some(Arc::clone(inner)),
                    _ => None,
                });
                let mut found: Vec<_> = here.collect();
                found.extend(self.session.prepared(name));
                (found, "prepared statement", name)
            }
            Some(SessionEffect::Fetch { name }) => {
                let here = self.made.iter().filter_map(|effect| match effect {
                    SessionEffect::Declare { name: made, inner, .. } if made == name => {
                        Some(Arc::clone(inner))
                    }
                    _ => None,
                });
                let mut found: Vec<_> = here.collect();
                found.extend(self.session.cursor(name));
                (found, "cursor", name)
            }
            _ => return,
        };
        if found.is_empty() {
            return self.refuse(format!("no {what} called `{name}` is known"));
        }
        if depth >= MAX_NESTING {
            return self.refuse("prepared statements are nested too deeply");
        }
        let runs = matches!(statement.effect, Some(SessionEffect::Execute { .. }));
        for analysis in found {
            for inner in analysis.statements() {
                if runs && !is_preparable(inner) {
                    self.refuse(NOT_PREPARABLE);
                }
                self.statement(inner, depth + 1);
            }
        }
    }

    // ---- relations -------------------------------------------------------------------------------------------------

    fn relation(&mut self, used: &RelationUse, many: bool) {
        let catalog = self.catalog;
        let Name { schema, name } = &used.name;
        if used.lookup == Lookup::Temporary {
            self.add(used, "pg_temp", name, None, many);
            return;
        }
        if let Some(schema) = schema {
            self.add(used, schema, name, catalog.relation(schema, name), many);
            return;
        }
        if self.paths.is_unknown() {
            self.unresolved(used);
        }
        let paths = self.paths;
        for path in paths.candidates() {
            if used.lookup == Lookup::Created {
                match creation_schema(path, catalog) {
                    Some(schema) => self.add(used, schema, name, catalog.relation(schema, name), many),
                    None => self.unresolved(used),
                }
                continue;
            }
            let mut found = false;
            for schema in path.effective() {
                if schema == "pg_temp" {
                    // It may be there, and may be gone by the time: both are asked for.
                    if self.may_be_temporary(name) {
                        self.add(used, "pg_temp", name, None, many);
                    }
                    continue;
                }
                let relation = if catalog.has_schema(schema) { catalog.relation(schema, name) } else { None };
                if relation.is_some() || harmless_here(schema, name) {
                    self.add(used, schema, name, relation, many);
                    found = true;
                    // It may be gone by the time, and hide nothing.
                    if !self.restructured {
                        break;
                    }
                }
            }
            if !found {
                self.somewhere(path, used, many);
            }
        }
    }

    /// A name the catalog does not know: where it is at all by now, it is in one of the path's schemas, so each must allow it.
    fn somewhere(&mut self, path: &SearchPath, used: &RelationUse, many: bool) {
        let schemas = possible_schemas(path, self.catalog);
        if schemas.is_empty() {
            self.unresolved(used);
        }
        for schema in schemas {
            self.add(used, schema, &used.name.name, None, many);
        }
    }

    fn may_be_temporary(&self, name: &str) -> bool {
        let here = |effect: &&SessionEffect| matches!(effect, SessionEffect::CreateTemporary { name: made } if &**made == name);
        self.made.iter().any(here) || self.session.may_be_temporary(name)
    }

    fn unresolved(&mut self, used: &RelationUse) {
        let columns =
            used.columns.iter().chain(used.loose_columns.iter().flat_map(|loose| loose.iter())).cloned();
        let columns: Vec<_> = columns.collect();
        self.pair(used.verb, unresolved_name(&used.name.name)).extend(columns);
    }

    fn add(&mut self, used: &RelationUse, schema: &str, name: &str, known: Option<&Relation>, many: bool) {
        if used.verb == Verb::Read && harmless::is_harmless(schema, name) {
            return;
        }
        let resource = resource_name(schema, name);
        let mut columns: Vec<Box<str>> = used.columns.iter().cloned().collect();
        if many && !used.loose_columns.is_empty() {
            columns.push("*".into());
        } else {
            for column in used.loose_columns.iter().flat_map(|loose| loose.iter()) {
                let exists = |relation: &Relation| relation.may_have(column);
                if &**column == "*" || known.is_none_or(exists) {
                    columns.push(column.clone());
                }
            }
        }
        self.pair(used.verb, resource.clone()).extend(columns);
        if used.verb == Verb::Write && is_settings(schema, name) {
            self.refuse("a setting is changed by writing to pg_settings: use SET");
        }
        let Some(relation) = known.filter(|_| matches!(used.verb, Verb::Read | Verb::Write)) else { return };
        let writes = used.verb == Verb::Write && relation.kind == RelationKind::View;
        for reached in &relation.reaches {
            let inner = resource_name(&reached.schema, &reached.name);
            if writes && is_settings(&reached.schema, &reached.name) {
                self.refuse("a setting is changed by writing to a view of pg_settings: use SET");
            }
            if writes && reached.verb == Verb::Read {
                self.through(Verb::Write, inner.clone(), &resource);
            }
            self.through(reached.verb, inner, &resource);
        }
        self.calls(&relation.calls, Some(&resource));
    }

    /// An object named like a relation, of a sort the catalog may not hold: the schema it is found in, or every one it can be in.
    fn object(&mut self, name: &Name, lookup: Lookup) {
        let catalog = self.catalog;
        if let Some(schema) = &name.schema {
            self.pair(Verb::Admin, resource_name(schema, &name.name));
            return;
        }
        if self.paths.is_unknown() {
            self.pair(Verb::Admin, unresolved_name(&name.name));
        }
        let paths = self.paths;
        for path in paths.candidates() {
            let created = || creation_schema(path, catalog);
            let holds = |schema: &&str| {
                catalog.has_schema(schema)
                    && (catalog.relation(schema, &name.name).is_some()
                        || !catalog.functions(schema, &name.name).is_empty()
                        || !catalog.operators(schema, &name.name).is_empty()
                        || catalog.type_named(schema, &name.name).is_some())
            };
            let schemas: Vec<&str> = match lookup {
                Lookup::Existing => path.effective().filter(holds).collect(),
                Lookup::Created | Lookup::Temporary => created().into_iter().collect(),
            };
            let schemas = if schemas.is_empty() { possible_schemas(path, catalog) } else { schemas };
            if schemas.is_empty() {
                self.pair(Verb::Admin, unresolved_name(&name.name));
            }
            for schema in schemas {
                self.pair(Verb::Admin, resource_name(schema, &name.name));
            }
        }
    }
}

/// Whether anything of the statement is looked up along the search path.
fn needs_path(statement: &Statement) -> bool {
    let bare = |name: &Name| name.schema.is_none();
    let uses = &statement.uses;
    uses.relations.iter().any(|used| bare(&used.name) && used.lookup != Lookup::Temporary)
        || uses.functions.iter().any(|used| bare(&used.name))
        || uses.operators.iter().any(bare)
        || uses.types.iter().any(bare)
        || uses.objects.iter().any(|(name, _)| bare(name))
}

/// Where a name that the catalog does not know can have appeared since: every usable schema of the path but those of the
/// server itself.
fn possible_schemas<'p>(path: &'p SearchPath, catalog: &dyn Catalog) -> Vec<&'p str> {
    let own = |schema: &&str| !matches!(*schema, "pg_catalog" | "pg_temp" | "information_schema");
    path.listed().filter(own).filter(|schema| catalog.has_schema(schema)).collect()
}

/// Where a new object without a schema is made: the first listed schema that exists (`RangeVarGetCreationNamespace`).
fn creation_schema<'p>(path: &'p SearchPath, catalog: &dyn Catalog) -> Option<&'p str> {
    path.listed().find(|schema| catalog.has_schema(schema))
}

/// The view whose rule turns `UPDATE` into `set_config` (system_views.sql).
fn is_settings(schema: &str, name: &str) -> bool {
    schema == "pg_catalog" && name == "pg_settings"
}

/// A system catalog is there even where the snapshot left it out.
fn harmless_here(schema: &str, name: &str) -> bool {
    schema == "pg_catalog" && harmless::is_harmless(schema, name)
}

fn setting_resource(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$' | b'-');
    if name.bytes().all(plain) {
        format!("server/setting/{name}")
    } else {
        format!("server/setting/{}", part(name))
    }
}
