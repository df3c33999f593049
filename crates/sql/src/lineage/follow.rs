//! A query's columns, followed from its tables to its output, and everything it does with them on the way.

mod from;
mod uses;

use super::{
    ir::{Body, Key, Modify, Query, Select, SetOperation, Target, Value, Values},
    refusal::{Stop, Why},
    relations::Relations,
    scope::{Column, Columns, Found, Item, Lost, Scope, Tag},
};

/// Queries that are followed for one statement, a CTE's repetitions included.
const MAX_QUERIES: usize = 10_000;

/// Columns that are looked at for one statement, each time they are: some ten milliseconds.
const MAX_LOOKS: usize = 4_000_000;

/// The most columns of one query (`MaxTupleAttributeNumber`, htup_details.h).
const MAX_COLUMNS: usize = 1_664;

/// What is done where a masked column is not simply given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A statement of a client: it is refused.
    Judge,
    /// A view's definition: what is computed from it is masked as a whole; what is compared is the business of its owner.
    Derive,
}

pub(super) struct Follow<'a> {
    relations: &'a Relations<'a>,
    mode: Mode,
    queries: usize,
    looks: usize,
}

pub(super) type Followed<'a, T> = Result<T, Stop<'a>>;

impl<'a> Follow<'a> {
    pub(super) const fn new(relations: &'a Relations<'a>, mode: Mode) -> Self {
        Self { relations, mode, queries: 0, looks: 0 }
    }

    /// The columns of a query that stands for itself.
    pub(super) fn whole(&mut self, query: &'a Query) -> Followed<'a, Columns<'a>> {
        self.query(query, &Scope::EMPTY)
    }

    fn query(&mut self, query: &'a Query, around: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        self.queries += 1;
        if self.queries > MAX_QUERIES {
            return Err(Stop::NotUnderstood("it holds too many queries"));
        }
        if query.ctes.is_empty() {
            return self.body(&query.body, around);
        }
        let ctes = self.ctes(query, around)?;
        self.body(&query.body, &Scope { around: Some(around), items: &[], ctes: &ctes })
    }

    fn look(&mut self, columns: usize) -> Followed<'a, ()> {
        self.looks = self.looks.saturating_add(columns);
        if self.looks > MAX_LOOKS { Err(Stop::NotUnderstood("it has too many columns")) } else { Ok(()) }
    }

    /// What a reference that is no star means.
    fn find(&mut self, reference: &[Box<str>], scope: &Scope<'_, 'a>) -> Followed<'a, Found<'a>> {
        self.look(scope.size())?;
        scope.find(reference).map_err(|lost| lost_reference(lost, reference))
    }

    /// `*`, `t.*`.
    fn star(&mut self, of: &[Box<str>], scope: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        self.look(scope.size())?;
        scope.star(of).map_err(|lost| lost_reference(lost, of))
    }

    /// Each sees those before it; with `RECURSIVE` all of them, so they are followed until nothing changes.
    fn ctes(
        &mut self,
        query: &'a Query,
        around: &Scope<'_, 'a>,
    ) -> Followed<'a, Vec<(&'a str, Option<Columns<'a>>)>> {
        let mut known: Vec<(&'a str, Option<Columns<'a>>)> = Vec::with_capacity(query.ctes.len());
        if !query.recursive {
            for cte in &query.ctes {
                let scope = Scope { around: Some(around), items: &[], ctes: &known };
                let columns = self.query(&cte.query, &scope)?;
                let columns = self.renamed(columns, &cte.columns)?;
                known.push((&cte.name, Some(columns)));
            }
            return Ok(known);
        }
        known.extend(query.ctes.iter().map(|cte| (&*cte.name, None)));
        // A mask spreads by at least one column of one CTE in each round; a chain of CTEs settles one by one.
        for _ in 0..query.ctes.len().saturating_mul(2) + 4 {
            let mut settled = true;
            for (at, cte) in query.ctes.iter().enumerate() {
                let scope = Scope { around: Some(around), items: &[], ctes: &known };
                let columns = match self.query(&cte.query, &scope) {
                    // Of itself it knows what its first branch gives.
                    Err(Stop::NotYet) => self.first_branch(&cte.query, &scope),
                    followed => followed,
                };
                let columns = match columns {
                    Err(Stop::NotYet) => {
                        settled = false;
                        continue;
                    }
                    followed => self.renamed(followed?, &cte.columns)?,
                };
                if let Some(slot) = known.get_mut(at)
                    && slot.1.as_ref() != Some(&columns)
                {
                    slot.1 = Some(columns);
                    settled = false;
                }
            }
            if settled {
                return Ok(known);
            }
        }
        Err(Stop::NotUnderstood("a recursive query of it was not understood"))
    }

    fn first_branch(&mut self, query: &'a Query, scope: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        match &query.body {
            Body::Set(set) if query.ctes.is_empty() => match set.branches.first() {
                Some(first) => self.query(first, scope),
                None => Err(Stop::NotYet),
            },
            _ => Err(Stop::NotYet),
        }
    }

    fn body(&mut self, body: &'a Body, around: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        match body {
            Body::Select(select) => self.select(select, around),
            Body::Values(values) => self.values(values, around),
            Body::Set(set) => self.set(set, around),
            Body::Modify(modify) => self.modify(modify, around),
        }
    }

    fn select(&mut self, select: &'a Select, around: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        let mut items = Vec::new();
        for from in &select.from {
            self.from(from, &mut items, around)?;
        }
        let scope = Scope::within(around, &items);
        let columns = self.targets(&select.targets, &scope)?;
        self.uses(&select.uses, &scope)?;
        self.keys(&select.keys, &columns, Some(&scope))?;
        if select.distinct {
            self.all_compared(&columns)?;
        }
        if select.into {
            self.all_written(&columns)?;
            return Ok(Columns::none());
        }
        Ok(columns)
    }

    fn targets(&mut self, targets: &'a [Target], scope: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        let mut all = Columns::none();
        for target in targets {
            match &target.value {
                Value::Star(of) => {
                    let columns = self.star(of, scope)?;
                    for column in &columns.columns {
                        self.shown(column.tag)?;
                    }
                    all.complete &= columns.complete;
                    all.columns.extend(columns.columns);
                    if all.columns.len() > MAX_COLUMNS {
                        return Err(Stop::NotUnderstood("it has too many columns"));
                    }
                }
                value => {
                    let (tag, type_oid) = self.value(value, scope)?;
                    all.columns.push(Column { name: target.name.as_deref(), tag, type_oid });
                }
            }
        }
        Ok(all)
    }

    /// One value: a column is what it is, everything else is computed.
    fn value(&mut self, value: &'a Value, scope: &Scope<'_, 'a>) -> Followed<'a, (Option<Tag<'a>>, u32)> {
        match value {
            Value::Column(reference) => match self.find(reference, scope)? {
                Found::Column(tag, type_oid) => {
                    self.shown(tag)?;
                    Ok((tag, type_oid))
                }
                Found::Row(tag) => Ok((self.computed(tag, Why::Row)?, 0)),
            },
            Value::Computed(uses) => Ok((self.computed_from(uses, scope)?, 0)),
            Value::Star(of) => {
                let columns = self.star(of, scope)?;
                Ok((self.computed(columns.masked(), Why::Row)?, 0))
            }
        }
    }

    fn values(&mut self, values: &'a Values, around: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        let width = values.rows.first().map_or(0, Vec::len);
        let mut columns: Vec<Column<'a>> = vec![Column { name: None, tag: None, type_oid: 0 }; width];
        let mut complete = true;
        for row in &values.rows {
            // A star in VALUES moves what stands behind it.
            complete &= row.len() == width && !row.iter().any(|value| matches!(value, Value::Star(_)));
            for (at, value) in row.iter().enumerate() {
                let (tag, _) = self.value(value, around)?;
                if let (Some(tag), Some(column)) = (tag, columns.get_mut(at)) {
                    column.tag = Some(tag.or(column.tag));
                }
            }
        }
        for (column, name) in columns.iter_mut().zip(VALUES_NAMES) {
            column.name = Some(name);
        }
        let columns = Columns { columns, complete };
        self.uses(&values.uses, around)?;
        self.keys(&values.keys, &columns, Some(around))?;
        Ok(columns)
    }

    fn set(&mut self, set: &'a SetOperation, around: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        let mut merged: Option<Columns<'a>> = None;
        for branch in &set.branches {
            let columns = self.query(branch, around)?;
            if set.compares {
                self.all_compared(&columns)?;
            }
            merged = Some(match merged {
                None => columns,
                Some(before) => self.positional(before, columns)?,
            });
        }
        let mut columns = merged.unwrap_or_else(Columns::none);
        for column in &mut columns.columns {
            // Rows of several queries: the server names no table.
            column.tag = column.tag.map(|tag| tag.or(None));
            column.type_oid = 0;
        }
        self.uses(&set.uses, around)?;
        self.keys(&set.keys, &columns, None)?;
        Ok(columns)
    }

    fn positional(&mut self, left: Columns<'a>, right: Columns<'a>) -> Followed<'a, Columns<'a>> {
        let masked = left.masked().or(right.masked());
        let fits = left.complete && right.complete && left.columns.len() == right.columns.len();
        if let (Some(tag), false) = (masked, fits) {
            return Err(Stop::Refused(tag, Why::Places));
        }
        let complete = left.complete && right.complete;
        let mut columns = left.columns;
        for (column, other) in columns.iter_mut().zip(right.columns) {
            column.tag = match (column.tag, other.tag) {
                (Some(tag), other) => Some(tag.or(other)),
                (None, Some(other)) => Some(other.or(None)),
                (None, None) => None,
            };
        }
        Ok(Columns { columns, complete })
    }

    fn keys(
        &mut self,
        keys: &'a [Key],
        output: &Columns<'a>,
        scope: Option<&Scope<'_, 'a>>,
    ) -> Followed<'a, ()> {
        for key in keys {
            match key {
                Key::Position(place) => {
                    if !output.complete && output.masked().is_some() {
                        self.compared(output.masked(), &[])?;
                    }
                    let column = place.checked_sub(1).and_then(|at| output.columns.get(at));
                    self.compared(column.and_then(|column| column.tag), &[])?;
                }
                Key::Name(name) => {
                    let mut known = false;
                    self.look(output.columns.len())?;
                    for column in output.columns.iter().filter(|column| column.name == Some(&**name)) {
                        known = true;
                        self.compared(column.tag, &[])?;
                    }
                    let open = !output.complete || output.columns.iter().any(|column| column.name.is_none());
                    let Some(scope) = scope else { continue };
                    let reference = std::slice::from_ref(name);
                    self.look(scope.size())?;
                    match scope.find(reference) {
                        Ok(Found::Column(tag, _)) => self.compared(tag, &[])?,
                        Ok(Found::Row(tag)) => {
                            self.computed(tag, Why::Row)?;
                        }
                        Err(Lost::Nothing) if known || open => {}
                        Err(lost) => return Err(lost_reference(lost, reference)),
                    }
                }
                Key::Uses(uses) => match scope {
                    Some(scope) => self.uses(uses, scope)?,
                    // The server allows names and positions only.
                    None => self.uses(uses, &Scope::EMPTY)?,
                },
            }
        }
        Ok(())
    }

    fn modify(&mut self, modify: &'a Modify, around: &Scope<'_, 'a>) -> Followed<'a, Columns<'a>> {
        if let Some(source) = &modify.source {
            let columns = self.query(source, around)?;
            self.all_written(&columns)?;
        }
        let name = modify.alias.as_deref().unwrap_or(&modify.relation.name);
        let mut target = self.relation(&modify.relation, name)?;
        if modify.alias.is_some() {
            target.schema = None;
        }
        for column in &modify.compared {
            self.look(target.columns.columns.len())?;
            let found = target.columns.columns.iter().find(|known| known.name == Some(&**column));
            self.compared(found.and_then(|column| column.tag), &[])?;
        }
        let mut items = Vec::new();
        if !modify.source_first {
            items.push(target.clone());
        }
        for from in &modify.from {
            // Sub-queries in FROM do not see the target; where one tries, the server refuses.
            self.from(from, &mut items, around)?;
        }
        if modify.source_first {
            items.push(target.clone());
        }
        if modify.excluded {
            let mut excluded = Item::new(Some("excluded"), target.columns.clone());
            excluded.by_column = false;
            items.push(excluded);
        }
        self.uses(&modify.uses, &Scope::within(around, &items))?;
        let Some(returning) = &modify.returning else { return Ok(Columns::none()) };
        if modify.excluded {
            items.pop();
        }
        self.relations.returns(&modify.relation)?;
        for name in returning.names.iter().map(|name| &**name).chain(["old", "new"]) {
            // A table of that name hides it.
            if !items.iter().any(|item| item.name == Some(name)) {
                let mut row = Item::new(Some(name), target.columns.clone());
                row.by_column = false;
                items.push(row);
            }
        }
        self.targets(&returning.targets, &Scope::within(around, &items))
    }

    /// `name(a, b)`: the first columns go by other names.
    fn renamed(&self, mut columns: Columns<'a>, names: &'a [Box<str>]) -> Followed<'a, Columns<'a>> {
        if names.is_empty() {
            return Ok(columns);
        }
        if let (Some(tag), false) = (columns.masked(), columns.complete) {
            return Err(Stop::Refused(tag, Why::Places));
        }
        for (column, name) in columns.columns.iter_mut().zip(names) {
            column.name = Some(name);
        }
        // Of columns that are not known, the list tells the first names.
        for name in names.iter().skip(columns.columns.len()) {
            columns.columns.push(Column { name: Some(name), tag: None, type_oid: 0 });
        }
        Ok(columns)
    }
}

fn lost_reference<'a>(lost: Lost<'a>, reference: &[Box<str>]) -> Stop<'a> {
    match lost {
        Lost::Either(tag) => Stop::Refused(tag, Why::Ambiguous),
        Lost::Nothing => Stop::NotFound(reference.join(".")),
    }
}

/// What the server calls the columns of `VALUES`.
const VALUES_NAMES: [&str; 16] = [
    "column1", "column2", "column3", "column4", "column5", "column6", "column7", "column8", "column9",
    "column10", "column11", "column12", "column13", "column14", "column15", "column16",
];
