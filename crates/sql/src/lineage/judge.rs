//! Statements -> what of their output is masked, or a refusal.

use std::{borrow::Cow, sync::Arc};

use portcullis_core::{Verb, operation::Classified};

use super::{
    MaskedOutput, OutputColumn, OutputMask, alike,
    follow::{Follow, Mode},
    ir::{CopyTo, Plan},
    map::{MaskMap, MaskedColumn},
    refusal::{MaskRefusal, Stop, of_column},
    relations::Relations,
    scope::{Column, Columns},
};
use crate::{
    Analysis, Catalog, SearchPaths, SessionEffect, SessionState, Statement,
    resolve::{self, Code, NOT_PREPARABLE, is_preparable},
    settings::encoding_is_safe,
};

/// How deep `EXECUTE` of a prepared `EXPLAIN EXECUTE` and the like is followed.
const MAX_NESTING: usize = 8;

const CLUSTERED: &str =
    "CLUSTER puts rows in an order that can be that of its values: leave it to somebody who may see them";

type Judged<T> = Result<T, Box<MaskRefusal>>;

/// When a statement's names were looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// They are when it runs, under the search path that is in force.
    Now,
    /// They were when its cursor or portal was made, under a search path that nobody knows any more.
    Earlier,
}

/// One output for each statement.
pub(crate) fn masked(
    analysis: &Analysis,
    masks: &MaskMap,
    catalog: &dyn Catalog,
    paths: &SearchPaths,
    session: &dyn SessionState,
    when: When,
) -> Judged<Vec<MaskedOutput>> {
    if masks.is_empty() {
        return Ok(vec![MaskedOutput::Clear; analysis.statements().len()]);
    }
    let mut paths = Cow::Borrowed(paths);
    let mut made: Vec<&SessionEffect> = Vec::new();
    let mut restructured = session.structure_may_differ();
    let mut outputs = Vec::with_capacity(analysis.statements().len());
    for (number, statement) in analysis.statements().iter().enumerate() {
        let (resolved, code) =
            resolve::resolve_one(analysis, statement, catalog, &paths, session, &made, restructured);
        let mut relations = Relations::new(masks, catalog, &paths, session);
        relations.made = &made;
        relations.restructured = restructured;
        relations.earlier = when == When::Earlier;
        let judge = Judge { masks, relations: &relations, session, number };
        judge.code(statement, &code, &resolved.operation.classified)?;
        let under = |paths: &SearchPaths| {
            let relations = relations.with_paths(paths);
            let judge = Judge { masks, relations: &relations, session, number };
            match relations.is_lost(&statement.uses) {
                true => Ok(None),
                false => judge.statement(statement, 0).map(Some),
            }
        };
        outputs.push(match judge.statement(statement, 0) {
            Ok(output) => output,
            // Of a cursor the paths that may be in force say nothing.
            Err(refusal) if when == When::Earlier || is_fetch(statement) => return Err(refusal),
            Err(refusal) => alike::agreed(&paths, under).ok_or(refusal)?,
        });
        // What this statement changes holds, perhaps, for those after it in the same text.
        for change in resolved.settings.iter().filter(|change| change.concerns("search_path")) {
            paths.to_mut().apply(change);
        }
        if resolved.opaque && analysis.statements().len() > 1 {
            paths.to_mut().add_unknown();
        }
        made.extend(statement.effect());
        restructured |= statement.kinds().iter().any(|kind| matches!(kind.as_str(), "drop" | "alter"));
    }
    Ok(outputs)
}

/// Whether a FunctionCall message, a call by oid, may be made beside masked columns.
///
/// # Errors
/// It runs code nobody sees into, or reads what it is told to.
pub fn masked_function_call(masks: &MaskMap, oid: u32, catalog: &dyn Catalog) -> Judged<()> {
    if masks.is_empty() {
        return Ok(());
    }
    let code = resolve::code_of_call(oid, catalog);
    let paths = SearchPaths::unknown("");
    let relations = Relations::new(masks, catalog, &paths, &crate::NoSessionState);
    let judge = Judge { masks, relations: &relations, session: &crate::NoSessionState, number: 0 };
    judge.called(&code)
}

struct Judge<'a> {
    masks: &'a MaskMap,
    relations: &'a Relations<'a>,
    session: &'a dyn SessionState,
    number: usize,
}

impl<'a> Judge<'a> {
    fn refuse<T>(&self, column: &MaskedColumn, sentence: &str) -> Judged<T> {
        Err(of_column(self.masks, self.number, column, sentence))
    }

    /// A refusal that is about no column in particular.
    fn refuse_any<T>(&self, sentence: &str) -> Judged<T> {
        match self.masks.any() {
            Some(column) => self.refuse(column, sentence),
            // There is one wherever the map is not empty.
            None => Err(Box::new(MaskRefusal {
                statement: self.number,
                rule: 0,
                column: String::new(),
                reason: sentence.to_owned(),
            })),
        }
    }

    // ---- code nobody sees into -------------------------------------------------------------------------------------

    fn code(&self, statement: &Statement, code: &Code, classified: &Classified) -> Judged<()> {
        self.called(code)?;
        if let Plan::Opaque(what) = &*statement.plan {
            self.unseen(what, None)?;
        }
        if statement
            .uses
            .fixed
            .iter()
            .any(|(verb, resource)| *verb == Verb::Admin && resource == "server/code")
        {
            self.unseen("the body of a function or trigger", None)?;
        }
        if let Classified::Not(why) = classified {
            self.unseen(&format!("a statement that cannot be judged ({why})"), None)?;
        }
        Ok(())
    }

    fn called(&self, code: &Code) -> Judged<()> {
        if let Some(function) = &code.reads {
            let sentence = format!(
                "the function `{function}` runs queries or reads tables given as text, and nobody sees which: write the query itself"
            );
            return self.refuse_any(&sentence);
        }
        for (schema, name) in &code.functions {
            let shown = crate::resource_name(schema, name);
            self.unseen(&format!("the function `{shown}`"), Some((schema, name)))?;
        }
        match &code.unknown {
            Some(name) => {
                self.unseen(&format!("the function `{name}`, which the gateway does not know,"), None)
            }
            None => Ok(()),
        }
    }

    /// Refused by the first rule that refuses what it cannot see and does not trust it.
    fn unseen(&self, what: &str, function: Option<(&str, &str)>) -> Judged<()> {
        for rule in self.masks.rules.iter().filter(|rule| rule.opaque_refused) {
            let Some(column) = rule.example.and_then(|(oid, number)| self.masks.column(oid, number)) else {
                continue;
            };
            let trusted = function.is_some_and(|(schema, name)| (rule.trusts)(schema, name));
            if !trusted {
                let instead = match function {
                    Some(_) => "do without it, or have it added to the rule's `trusted_functions`",
                    None => "do without it, or ask for `opaque: allow` on the rule",
                };
                return self.refuse(column, &format!("{what} could give its values away unseen: {instead}"));
            }
        }
        Ok(())
    }

    // ---- statements ------------------------------------------------------------------------------------------------

    fn statement(&self, statement: &Statement, depth: usize) -> Judged<MaskedOutput> {
        if let Some(name) = self.relations.statistics(&statement.uses) {
            return self
                .refuse_any(&format!("`{name}` holds values of tables, masked ones too: leave it out"));
        }
        if let Plan::RenamesSchema(schema) = &*statement.plan
            && self.masks.has_schema(schema)
        {
            return self
                .refuse_any(&format!("renaming the schema `{schema}` changes what the mask protects"));
        }
        match &*statement.plan {
            Plan::Clusters { all: true } => {
                return self.refuse_any(&format!("without a name, {CLUSTERED}"));
            }
            Plan::ChecksType => {
                if let Some(column) = self.masks.of_users_type() {
                    return self.refuse(
                        column,
                        "its type is one of this database, and a change of a type can ask about every value of it: leave types to somebody who may see the values",
                    );
                }
            }
            _ => {}
        }
        if matches!(statement.effect(), Some(SessionEffect::Execute { .. } | SessionEffect::Fetch { .. })) {
            return self.remembered(statement, depth);
        }
        match self.relations.touched(&statement.uses) {
            Some(column) => self
                .plan(statement, &statement.plan, column)
                .or_else(|refusal| self.whatever_is_meant(statement, column).ok_or(refusal)),
            None => Ok(MaskedOutput::Clear),
        }
    }

    /// The output where it is masked alike whichever relation each name means.
    fn whatever_is_meant(&self, statement: &Statement, touched: &MaskedColumn) -> Option<MaskedOutput> {
        let several = self.relations.several(&statement.uses).filter(|several| !several.is_empty())?;
        let mut agreed: Option<MaskedOutput> = None;
        for choice in alike::choices(&several)? {
            let mut relations = *self.relations;
            relations.taken_for = &choice;
            let judge = Judge { relations: &relations, ..*self };
            let output = judge.plan(statement, &statement.plan, touched).ok()?;
            agreed = Some(match agreed {
                None => output,
                Some(before) => alike::merged(before, output)?,
            });
        }
        agreed
    }

    fn plan(&self, statement: &Statement, plan: &Plan, touched: &MaskedColumn) -> Judged<MaskedOutput> {
        let stopped = |stop: Stop<'_>| stop.refusal(self.masks, self.number, touched);
        match plan {
            Plan::Query(query) => {
                let columns = Follow::new(self.relations, Mode::Judge).whole(query).map_err(stopped)?;
                self.rows(&columns)
            }
            Plan::Discarded(inner) => match self.plan(statement, inner, touched)? {
                // It is judged again, column by column, when it gives rows.
                MaskedOutput::Clear | MaskedOutput::Rows(_) | MaskedOutput::Copy(_) => Ok(MaskedOutput::Clear),
            },
            Plan::Stored(inner) => {
                if let Plan::Query(query) = &**inner {
                    let columns = Follow::new(self.relations, Mode::Judge).whole(query).map_err(stopped)?;
                    self.not_written(&columns)?;
                } else {
                    return self.refuse(touched, "the statement cannot be followed: create the table from a plain query");
                }
                match self.relations.replaced(&statement.uses) {
                    Some(relation) => self.changes(relation.oid),
                    None => Ok(MaskedOutput::Clear),
                }
            }
            Plan::CopyTable { relation, columns, to } => {
                let found = self.relations.one(relation).map_err(stopped)?;
                let Some(found) = found else { return Ok(MaskedOutput::Clear) };
                let all = self.copied(found, columns, touched)?;
                self.copy(statement, &all, *to, touched)
            }
            Plan::CopyQuery { query, to } => {
                let columns = Follow::new(self.relations, Mode::Judge).whole(query).map_err(stopped)?;
                self.copy(statement, &columns, *to, touched)
            }
            Plan::Harmless => Ok(MaskedOutput::Clear),
            Plan::Clusters { .. } => self.refuse(touched, CLUSTERED),
            // Refused above, or allowed by every rule.
            Plan::Opaque(_) | Plan::RenamesSchema(_) | Plan::ChecksType | Plan::Other | Plan::Remembered => self.refuse(
                touched,
                "the statement names its table and could change what the mask protects: leave structure to somebody who may see the values",
            ),
            Plan::Unknown(why) => {
                Err(Stop::NotUnderstood(why).refusal(self.masks, self.number, touched))
            }
        }
    }

    fn changes(&self, relation: u32) -> Judged<MaskedOutput> {
        match self.masks.of_relation(relation) {
            Some(column) => {
                self.refuse(column, "replacing its relation changes what the mask protects: use another name")
            }
            None => Ok(MaskedOutput::Clear),
        }
    }

    fn rows(&self, columns: &Columns<'_>) -> Judged<MaskedOutput> {
        if !columns.complete {
            return match columns.masked() {
                Some(tag) => Err(Stop::Refused(tag, super::refusal::Why::Places).refusal(
                    self.masks,
                    self.number,
                    tag.column,
                )),
                None => Ok(MaskedOutput::Clear),
            };
        }
        // Without RETURNING nothing comes back: no columns, whatever a rule of the relation selects.
        Ok(MaskedOutput::Rows(output(columns)))
    }

    fn not_written(&self, columns: &Columns<'_>) -> Judged<()> {
        match columns.masked() {
            Some(tag) => Err(Stop::Refused(tag, super::refusal::Why::Written).refusal(
                self.masks,
                self.number,
                tag.column,
            )),
            None => Ok(()),
        }
    }

    // ---- COPY ------------------------------------------------------------------------------------------------------

    /// Columns of a table as COPY writes them: those named, or all that are stored.
    fn copied(
        &self,
        relation: &'a crate::Relation,
        named: &[Box<str>],
        touched: &MaskedColumn,
    ) -> Judged<Columns<'a>> {
        let mut all = Columns::none();
        let item = Follow::new(self.relations, Mode::Judge).table(relation);
        let column =
            |name: &str| item.columns.columns.iter().find(|column| column.name == Some(name)).cloned();
        if named.is_empty() {
            let stored = relation.columns.iter().filter(|column| !column.generated);
            all.columns.extend(stored.filter_map(|stored| column(&stored.name)));
            return Ok(all);
        }
        for name in named {
            match column(name) {
                Some(column) => all.columns.push(column),
                None => {
                    return Err(Stop::NotFound(name.to_string()).refusal(self.masks, self.number, touched));
                }
            }
        }
        Ok(all)
    }

    fn copy(
        &self,
        statement: &Statement,
        columns: &Columns<'_>,
        to: CopyTo,
        touched: &MaskedColumn,
    ) -> Judged<MaskedOutput> {
        let Some(tag) = columns.masked() else {
            return Ok(match to {
                CopyTo::Client if columns.complete => MaskedOutput::Copy(output(columns)),
                _ => MaskedOutput::Clear,
            });
        };
        if to == CopyTo::Server {
            self.not_written(columns)?;
        }
        if !columns.complete {
            self.rows(columns)?;
        }
        let Some(options) = statement.copy_out() else {
            return self.refuse(touched, "the statement cannot be followed: copy to STDOUT");
        };
        if let Some(option) = &options.odd {
            let sentence =
                format!("what COPY writes with the option `{option}` cannot be masked: leave the option out");
            return self.refuse(tag.column, &sentence);
        }
        match &options.encoding {
            Some(encoding) if !encoding_is_safe(encoding) => {
                let sentence =
                    format!("what COPY writes in the encoding `{encoding}` cannot be masked: use UTF8");
                self.refuse(tag.column, &sentence)
            }
            _ => Ok(MaskedOutput::Copy(output(columns))),
        }
    }

    // ---- EXECUTE, FETCH --------------------------------------------------------------------------------------------

    /// What the session remembers under the name: everything it can be must give the same.
    fn remembered(&self, statement: &Statement, depth: usize) -> Judged<MaskedOutput> {
        if depth >= MAX_NESTING {
            return self.refuse_any("prepared statements are nested too deeply to be followed");
        }
        let Remembered { here, session } = remembered(statement, self.relations.made, self.session);
        if here.is_empty() && session.is_empty() {
            return self.refuse_any("what the statement runs is not known: prepare or declare it again");
        }
        let mut all = Vec::new();
        for inner in here.iter().flat_map(|analysis| analysis.statements()) {
            all.push(self.statement(inner, depth + 1)?);
        }
        // The names of an earlier text's cursor were looked up when it was made.
        let mut relations = *self.relations;
        relations.earlier |= is_fetch(statement);
        let judge = Judge { relations: &relations, ..*self };
        for inner in session.iter().flat_map(|analysis| analysis.statements()) {
            if !is_fetch(statement) && !is_preparable(inner) {
                return self.refuse_any(NOT_PREPARABLE);
            }
            all.push(judge.statement(inner, depth + 1)?);
        }
        let mut all = all.into_iter();
        let agreed = all.next().unwrap_or(MaskedOutput::Clear);
        if all.any(|other| other != agreed) {
            return self.refuse_any("the name can mean several statements of this session: use another name");
        }
        match (&*statement.plan, &agreed) {
            (Plan::Remembered, _) => Ok(agreed),
            (Plan::Discarded(_), _) => Ok(MaskedOutput::Clear),
            (_, MaskedOutput::Clear) => Ok(MaskedOutput::Clear),
            (_, MaskedOutput::Rows(columns) | MaskedOutput::Copy(columns)) => {
                if columns.iter().any(|column| column.mask.is_some()) {
                    return self.refuse_any(
                        "masked values must not be written anywhere else: leave the columns out",
                    );
                }
                Ok(MaskedOutput::Clear)
            }
        }
    }
}

fn is_fetch(statement: &Statement) -> bool {
    matches!(statement.effect(), Some(SessionEffect::Fetch { .. }))
}

/// What `EXECUTE` and `FETCH` can run.
struct Remembered {
    /// Made by this text.
    here: Vec<Arc<Analysis>>,
    /// Made before.
    session: Vec<Arc<Analysis>>,
}

fn remembered(statement: &Statement, made: &[&SessionEffect], session: &dyn SessionState) -> Remembered {
    let here = |name: &str, cursor: bool| {
        let made = made.iter().filter_map(|effect| match effect {
            SessionEffect::Prepare { name: made, inner } if !cursor && **made == *name => {
                Some(Arc::clone(inner))
            }
            SessionEffect::Declare { name: made, inner, .. } if cursor && **made == *name => {
                Some(Arc::clone(inner))
            }
            _ => None,
        });
        made.collect()
    };
    match statement.effect() {
        Some(SessionEffect::Execute { name }) => {
            Remembered { here: here(name, false), session: session.prepared(name) }
        }
        Some(SessionEffect::Fetch { name }) => {
            Remembered { here: here(name, true), session: session.cursor(name) }
        }
        _ => Remembered { here: Vec::new(), session: Vec::new() },
    }
}

fn output(columns: &Columns<'_>) -> Arc<[OutputColumn]> {
    let one = |column: &Column<'_>| OutputColumn {
        origin: column.tag.and_then(|tag| tag.origin),
        type_oid: (column.type_oid != 0).then_some(column.type_oid),
        mask: column.tag.map(|tag| OutputMask { rule: tag.rule, whole: tag.whole }),
    };
    columns.columns.iter().map(one).collect()
}
