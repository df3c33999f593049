//! Calls: functions, operators, types, and what runs behind a view.

use std::collections::BTreeSet;

use portcullis_core::Verb;

use super::{Resolver, possible_schemas};
use crate::{
    Function, Relation,
    analysis::{ArgumentCount, CallForm, FunctionUse, Lookup, RelationUse},
    functions::{self, BuiltIn},
    names::{Name, part, resource_name, unresolved_name},
};

impl Resolver<'_> {
    /// Every schema a function, operator or type of that name can be found in. Overloads in different schemas compete by
    /// argument types, which are not known here, so it is not only the first.
    pub(super) fn schemas_for(&self, name: &Name) -> Vec<String> {
        if let Some(schema) = &name.schema {
            return vec![schema.to_string()];
        }
        let mut schemas: Vec<String> = Vec::new();
        for path in self.paths.candidates() {
            for schema in path.effective() {
                if self.catalog.has_schema(schema) && !schemas.iter().any(|known| known == schema) {
                    schemas.push(schema.to_owned());
                }
            }
        }
        schemas
    }

    /// Where a call without arguments is found under each path. There are no types to compete by, so the first schema that has
    /// such a function decides (`FuncnameGetCandidates` in namespace.c). A variadic one is not called without arguments.
    fn first_schemas(&self, name: &str) -> Vec<String> {
        let mut schemas: Vec<String> = Vec::new();
        for path in self.paths.candidates() {
            let takes_none = |schema: &&str| {
                self.catalog.has_schema(schema)
                    && self.catalog.functions(schema, name).iter().any(|f| f.takes(0) && f.max_args.is_some())
            };
            if let Some(schema) = path.effective().find(takes_none)
                && !schemas.iter().any(|known| known == schema)
            {
                schemas.push(schema.to_owned());
            }
        }
        schemas
    }

    pub(super) fn function(&mut self, used: &FunctionUse) {
        if let CallForm::Attribute(Some(owner)) = &used.form
            && self.is_column(owner, &used.name.name)
        {
            return;
        }
        let catalog = self.catalog;
        let name = &*used.name.name;
        let mut found = false;
        let schemas = match used.args {
            ArgumentCount::Exactly(0) if used.name.schema.is_none() => self.first_schemas(name),
            _ => self.schemas_for(&used.name),
        };
        for schema in schemas {
            for function in catalog.functions(&schema, name) {
                let fits = match used.args {
                    ArgumentCount::Exactly(count) => function.takes(count),
                    ArgumentCount::Any => true,
                };
                if fits {
                    found = true;
                    self.called(function, Some(used), None);
                }
            }
        }
        let perhaps = matches!(used.form, CallForm::Attribute(_) | CallForm::Spelling);
        if found {
            if used.form == CallForm::Procedure {
                self.opaque = true;
            }
            return;
        }
        if let Some(what) = functions::listed(name).filter(|_| used.name.may_be_builtin()) {
            return self.built_in(what, name, Some(used));
        }
        let is_cast = used.args == ArgumentCount::Exactly(1)
            && (used.name.may_be_builtin() && functions::is_builtin_type(name)
                || self.is_known_type(&used.name));
        if perhaps || is_cast {
            return;
        }
        self.unknown_call(&used.name);
    }

    /// A function or operator that the catalog does not know: `execute`, wherever it can have appeared since.
    fn unknown_call(&mut self, name: &Name) {
        self.opaque = true;
        self.code.unknown.get_or_insert_with(|| name.to_string());
        if let Some(schema) = &name.schema {
            self.pair(Verb::Execute, resource_name(schema, &name.name));
            return;
        }
        let (paths, catalog) = (self.paths, self.catalog);
        let schemas: BTreeSet<&str> =
            paths.candidates().iter().flat_map(|path| possible_schemas(path, catalog)).collect();
        if schemas.is_empty() || paths.is_unknown() {
            self.pair(Verb::Execute, unresolved_name(&name.name));
        }
        for schema in schemas {
            self.pair(Verb::Execute, resource_name(schema, &name.name));
        }
    }

    pub(super) fn operator(&mut self, operator: &Name) {
        let catalog = self.catalog;
        let mut found = functions::is_builtin_operator(&operator.name) && operator.may_be_builtin();
        for schema in self.schemas_for(operator) {
            for known in catalog.operators(&schema, &operator.name) {
                found = true;
                self.calls(&known.calls, None);
            }
        }
        if !found {
            self.unknown_call(operator);
        }
    }

    pub(super) fn is_known_type(&self, name: &Name) -> bool {
        self.schemas_for(name).iter().any(|schema| self.catalog.type_named(schema, &name.name).is_some())
    }

    /// Whether `owner` certainly has the column, under every path: then `owner.column` is no call.
    fn is_column(&self, owner: &Name, column: &str) -> bool {
        let has = |relation: Option<&Relation>| relation.is_some_and(|relation| relation.has(column));
        if let Some(schema) = &owner.schema {
            return has(self.catalog.relation(schema, &owner.name));
        }
        let paths = self.paths.candidates();
        !self.restructured
            && !self.paths.is_unknown()
            && !paths.is_empty()
            && !self.may_be_temporary(&owner.name)
            && paths.iter().all(|path| {
                let usable = |schema: &&str| self.catalog.has_schema(schema);
                has(path
                    .effective()
                    .filter(usable)
                    .find_map(|schema| self.catalog.relation(schema, &owner.name)))
            })
    }

    /// Functions that run behind an operator, a cast, a type or a view.
    pub(super) fn calls(&mut self, oids: &[u32], view: Option<&str>) {
        let catalog = self.catalog;
        for oid in oids {
            match catalog.function_by_oid(*oid) {
                Some(function) => self.called(function, None, view),
                None => {
                    self.code.unknown.get_or_insert_with(|| format!("oid {oid}"));
                    self.function_pair(Verb::Execute, unresolved_name(&format!("oid {oid}")), view);
                }
            }
        }
    }

    fn called(&mut self, function: &Function, used: Option<&FunctionUse>, view: Option<&str>) {
        if function.is_built_in() {
            self.reads_hidden(&function.name);
            let what = functions::built_in(function);
            return match (view, what) {
                (None, what) => self.built_in(what, &function.name, used),
                (Some(_), BuiltIn::Free) => {}
                (Some(_), BuiltIn::SetConfig) => self.opaque = true,
                (Some(view), BuiltIn::Needs(verb)) => {
                    self.through(verb, resource_name(&function.schema, &function.name), view);
                }
                (Some(view), BuiltIn::Sequence | BuiltIn::Notify) => {
                    self.through(Verb::Write, resource_name(&function.schema, &function.name), view);
                }
            };
        }
        if let Some(verb) = functions::of_users(function, self.catalog) {
            self.code.functions.insert((function.schema.clone(), function.name.clone()));
            // The right to call is asked of whoever uses the view, so that `execute` is in the scope or is refused; only what
            // the function reads is the view's own matter.
            let view = view.filter(|_| verb != Verb::Execute);
            self.function_pair(verb, resource_name(&function.schema, &function.name), view);
        }
    }

    fn function_pair(&mut self, verb: Verb, resource: String, view: Option<&str>) {
        self.opaque |= verb == Verb::Execute;
        match view {
            Some(view) => self.through(verb, resource, view),
            None => {
                self.pair(verb, resource);
            }
        }
    }

    fn reads_hidden(&mut self, name: &str) {
        if functions::reads_hidden(name) {
            self.code.reads.get_or_insert_with(|| name.into());
        }
    }

    fn built_in(&mut self, what: BuiltIn, name: &str, used: Option<&FunctionUse>) {
        self.reads_hidden(name);
        let first = used.and_then(|used| used.constants.first()).and_then(Option::as_deref);
        let itself = || resource_name("pg_catalog", name);
        match (what, first) {
            (BuiltIn::Free, _) => {}
            // Its arguments were judged with the statement's settings; behind an operator or a view they cannot be.
            (BuiltIn::SetConfig, _) if used.is_some_and(|used| !used.constants.is_empty()) => {}
            (BuiltIn::SetConfig, _) => self.refuse("set_config is called where its arguments cannot be seen"),
            (BuiltIn::Needs(verb), _) => {
                // Waiting changes no setting; the others run text.
                self.opaque |= verb == Verb::Execute && !name.starts_with("pg_sleep");
                self.pair(verb, itself());
            }
            (BuiltIn::Sequence, Some(sequence)) => match sequence_name(sequence) {
                Some(name) => {
                    let (columns, loose_columns) = (BTreeSet::new(), Vec::new());
                    let used = RelationUse {
                        verb: Verb::Write,
                        name,
                        lookup: Lookup::Existing,
                        columns,
                        loose_columns,
                    };
                    self.relation(&used, false);
                }
                None => {
                    self.pair(Verb::Write, itself());
                }
            },
            (BuiltIn::Notify, Some(channel)) => {
                self.pair(Verb::Write, format!("channel/{}", part(channel)));
            }
            (BuiltIn::Sequence | BuiltIn::Notify, None) => {
                self.pair(Verb::Write, itself());
            }
        }
    }
}

/// `nextval`'s text: `seq`, `schema.seq`, `"Odd".seq`, as `stringToQualifiedNameList` reads it.
fn sequence_name(text: &str) -> Option<Name> {
    let mut parts = crate::search_path::split_names(text, '.')?;
    let name = parts.pop()?;
    match parts.pop() {
        Some(schema) => Some(Name::qualified(schema, name)),
        // Digits are an oid.
        None if name.bytes().all(|b| b.is_ascii_digit()) => None,
        None => Some(Name::bare(name)),
    }
}
