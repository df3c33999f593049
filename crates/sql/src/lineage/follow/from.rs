//! Items of `FROM` (`transformFromClauseItem` in parse_clause.c).

use super::{Follow, Followed};
use crate::{
    Relation,
    lineage::{
        ir::{Alias, From, Join, Via},
        refusal::Stop,
        scope::{Column, Columns, Item, Scope, Tag},
    },
    names::Name,
};

/// Functions of the server whose one column has a name of its own, whatever they are called (`chooseScalarFunctionAlias` in
/// parse_relation.c): `value`.
const NAMED_COLUMN: [&str; 4] =
    ["json_array_elements", "json_array_elements_text", "jsonb_array_elements", "jsonb_array_elements_text"];

impl<'a> Follow<'a> {
    /// Adds what `from` offers to `items`; the last one added is `from` itself.
    pub(super) fn from(
        &mut self,
        from: &'a From,
        items: &mut Vec<Item<'a>>,
        around: &Scope<'_, 'a>,
    ) -> Followed<'a, ()> {
        match from {
            From::Relation { name, alias } => {
                let mut item = match self.cte(name, around)? {
                    Some(columns) => Item::new(Some(&name.name), columns),
                    None => self.relation(name, &name.name)?,
                };
                self.look(item.columns.columns.len())?;
                if let Some(alias) = alias {
                    self.aliased(&mut item, alias)?;
                }
                items.push(item);
            }
            From::Query { query, lateral, alias } => {
                let columns = match lateral {
                    true => self.query(query, &Scope::within(around, items))?,
                    false => self.query(query, around)?,
                };
                let mut item = Item::new(None, columns);
                if let Some(alias) = alias {
                    self.aliased(&mut item, alias)?;
                }
                items.push(item);
            }
            From::Function { uses, name, columns, count, single } => {
                // Functions see what stands before them without a word.
                let tag = self.computed_from(uses, &Scope::within(around, items))?;
                let function = single.as_ref().filter(|function| self.relations.is_servers_own(function));
                let single = function.is_some();
                let complete = single || count.is_some();
                let mut known: Vec<Column<'a>> =
                    columns.iter().map(|name| Column { name: Some(name), tag, type_oid: 0 }).collect();
                if single && known.is_empty() {
                    let named = function.filter(|function| NAMED_COLUMN.contains(&&*function.name));
                    let name = named.map_or(name.as_deref(), |_| Some("value"));
                    known.push(Column { name, tag, type_oid: 0 });
                }
                // A view whose function is given a masked column: every column of it, known or not, is hidden.
                if let (Some(_), false) = (tag, complete) {
                    return Err(Stop::NotUnderstood("a function in FROM is given a masked column"));
                }
                items.push(Item::new(name.as_deref(), Columns { columns: known, complete }));
            }
            From::Join(join) => self.join(join, items, around)?,
        }
        Ok(())
    }

    fn aliased(&self, item: &mut Item<'a>, alias: &'a Alias) -> Followed<'a, ()> {
        item.name = Some(&alias.name);
        item.by_name = true;
        item.schema = None;
        let columns = std::mem::replace(&mut item.columns, Columns::none());
        item.columns = self.renamed(columns, &alias.columns)?;
        Ok(())
    }

    fn cte(&self, name: &Name, around: &Scope<'_, 'a>) -> Followed<'a, Option<Columns<'a>>> {
        if name.schema.is_some() {
            return Ok(None);
        }
        match around.cte(&name.name) {
            Some(Some(columns)) => Ok(Some(columns.clone())),
            Some(None) => Err(Stop::NotYet),
            None => Ok(None),
        }
    }

    /// A relation of the database.
    pub(super) fn relation(&self, name: &'a Name, called: &'a str) -> Followed<'a, Item<'a>> {
        let Some(relation) = self.relations.one(name)? else {
            let mut item = Item::new(Some(called), Columns { columns: Vec::new(), complete: false });
            item.schema = name.schema.as_deref();
            item.is_relation = true;
            return Ok(item);
        };
        let mut item = self.table(relation);
        item.name = Some(called);
        if self.relations.has_several(name) {
            item.columns
                .columns
                .iter_mut()
                .filter_map(|column| column.tag.as_mut())
                .for_each(|tag| tag.origin = None);
        }
        Ok(item)
    }

    /// A relation with its columns as they are.
    pub(in crate::lineage) fn table(&self, relation: &'a Relation) -> Item<'a> {
        let masks = self.relations.masks;
        let column = |column: &'a crate::Column| {
            let masked = masks.column(relation.oid, column.number);
            let tag = masked.map(|masked| Tag {
                column: masked,
                rule: masked.rule,
                whole: masked.whole,
                comparable: masked.comparable && !masked.whole,
                origin: Some((relation.oid, column.number)),
                merged: false,
            });
            Column { name: Some(&*column.name), tag, type_oid: column.type_oid }
        };
        let columns = relation.columns.iter().map(column).collect();
        let columns = Columns { columns, complete: !relation.columns.is_empty() };
        let mut item = Item::new(Some(&relation.name), columns);
        item.schema = Some(&relation.schema);
        item.is_relation = true;
        item
    }

    fn join(
        &mut self,
        join: &'a Join,
        items: &mut Vec<Item<'a>>,
        around: &Scope<'_, 'a>,
    ) -> Followed<'a, ()> {
        let start = items.len();
        self.from(&join.left, items, around)?;
        let left = items.last().map_or_else(Columns::none, |item| item.columns.clone());
        self.from(&join.right, items, around)?;
        let right = items.last().map_or_else(Columns::none, |item| item.columns.clone());
        self.look((left.columns.len() + right.columns.len()) * 4)?;
        let inside = items.get(start..).unwrap_or_default();
        self.uses(&join.on, &Scope::within(around, inside))?;
        self.look(left.columns.len().saturating_mul(if join.natural {
            right.columns.len()
        } else {
            join.using.len()
        }))?;
        let using: Vec<&'a str> = match join.natural {
            true => self.natural(&left, &right)?,
            false => join.using.iter().map(|name| &**name).collect(),
        };
        let merged = self.merged(&using, &left, &right)?;
        let rest = |side: &Columns<'a>| {
            let kept = |column: &&Column<'a>| column.name.is_none_or(|name| !using.contains(&name));
            side.columns.iter().filter(kept).cloned().collect::<Vec<_>>()
        };
        let mut columns = merged.clone();
        columns.extend(rest(&left));
        columns.extend(rest(&right));
        let columns = Columns { columns, complete: left.complete && right.complete };
        match &join.alias {
            Some(_) => items.truncate(start),
            None => items.iter_mut().skip(start).for_each(|item| item.by_column = false),
        }
        if let Some(alias) = &join.using_alias {
            let mut item = Item::new(Some(alias), Columns { columns: merged, complete: true });
            item.by_column = false;
            items.push(item);
        }
        let mut item = Item::new(None, columns);
        if let Some(alias) = &join.alias {
            self.aliased(&mut item, alias)?;
        }
        items.push(item);
        Ok(())
    }

    /// The columns both sides have.
    fn natural(&self, left: &Columns<'a>, right: &Columns<'a>) -> Followed<'a, Vec<&'a str>> {
        let open =
            |side: &Columns<'a>| !side.complete || side.columns.iter().any(|column| column.name.is_none());
        if open(left) || open(right) {
            return Err(Stop::NotUnderstood("a NATURAL JOIN has a side whose columns are not known"));
        }
        let names = left.columns.iter().filter_map(|column| column.name);
        Ok(names.filter(|name| right.columns.iter().any(|column| column.name == Some(name))).collect())
    }

    /// What `USING` makes of two columns (`buildMergedJoinVar` in parse_clause.c).
    fn merged(
        &mut self,
        using: &[&'a str],
        left: &Columns<'a>,
        right: &Columns<'a>,
    ) -> Followed<'a, Vec<Column<'a>>> {
        let mut merged = Vec::with_capacity(using.len());
        for name in using {
            let find =
                |side: &Columns<'a>| side.columns.iter().find(|column| column.name == Some(name)).cloned();
            let via = [Via::Operator(Name::bare("="))];
            let tags = [left, right].map(|side| find(side).and_then(|column| column.tag));
            for tag in tags {
                self.compared(tag, &via)?;
            }
            // Which of the two the server says it is depends on types and their modifiers: it must be named with its table.
            let tag = match tags {
                [None, None] => None,
                [Some(tag), other] | [other, Some(tag)] => Some(Tag { merged: true, ..tag.or(other) }),
            };
            merged.push(Column { name: Some(name), tag, type_oid: 0 });
        }
        Ok(merged)
    }
}
