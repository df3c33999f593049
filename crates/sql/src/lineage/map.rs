//! [`MaskMap`]: which columns of one database carry masked values.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use super::views;
use crate::{CatalogSnapshot, Relation, RelationKind, catalog::FIRST_NORMAL_OID};

/// Types below this are in the server's sources, none of which is a domain (`FirstGenbkiObjectId`, transam.h). Those of
/// `information_schema` are domains.
const FIRST_ASSIGNED_OID: u32 = 10_000;

/// Says yes or no of a schema, a table and a column.
pub type ColumnTest = Arc<dyn Fn(&str, &str, &str) -> bool + Send + Sync>;

/// Says yes or no of a schema and a function.
pub type FunctionTest = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// A rule that masks columns, as far as the analysis must know it.
#[derive(Clone)]
pub struct ColumnRule {
    /// What refusals call it.
    pub name: Arc<str>,
    /// Of several rules on one column the strongest wins; of equally strong ones the first.
    pub strength: u8,
    /// Whether masked columns may stand in conditions, joins, ordering and grouping.
    pub filter_allowed: bool,
    /// Whether code nobody sees into is refused in a database that has such a column.
    pub opaque_refused: bool,
    /// Schema, table, column: whether the rule is about it.
    pub matches: ColumnTest,
    /// Schema, function: whether the function is known not to give masked values away.
    pub trusts: FunctionTest,
}

impl fmt::Debug for ColumnRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnRule").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A column that carries masked values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedColumn {
    /// Index of the rule.
    pub rule: u16,
    /// It is computed from masked values: nothing of it may be seen, whatever the rule would show.
    pub whole: bool,
    /// The schema.
    pub schema: Box<str>,
    /// The relation.
    pub table: Box<str>,
    /// The column.
    pub column: Box<str>,
    /// Every rule on the column allows comparisons.
    pub(super) comparable: bool,
    pub(super) strength: u8,
}

/// What of a rule outlives the build.
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) filter_allowed: bool,
    pub(super) opaque_refused: bool,
    pub(super) trusts: FunctionTest,
    /// A column it masks here: what refusals about code name.
    pub(super) example: Option<(u32, i16)>,
}

/// What is masked in one database.
#[derive(Default)]
pub struct MaskMap {
    columns: HashMap<u32, HashMap<i16, MaskedColumn>>,
    /// Schemas and oids of masked relations by name.
    names: HashMap<Box<str>, Vec<(Box<str>, u32)>>,
    schemas: HashSet<Box<str>>,
    pub(super) rules: Vec<Rule>,
    /// Relations whose write rules look at something masked.
    ruled: HashSet<u32>,
    /// The first masked column of a type that is not the server's own, or not known.
    of_users_type: Option<(u32, i16)>,
}

impl MaskMap {
    /// Finds every masked column: those the rules name, those that share their rows by inheritance or partitioning, and those of
    /// views over them. Parses the definitions of the views concerned: milliseconds for each; not for the reactor.
    pub fn build(catalog: &CatalogSnapshot, rules: &[ColumnRule]) -> Self {
        let mut map = Self {
            rules: rules
                .iter()
                .map(|rule| Rule {
                    name: Arc::clone(&rule.name),
                    filter_allowed: rule.filter_allowed,
                    opaque_refused: rule.opaque_refused,
                    trusts: Arc::clone(&rule.trusts),
                    example: None,
                })
                .collect(),
            ..Self::default()
        };
        for relation in catalog.all_relations().filter(|relation| can_be_masked(relation)) {
            map.by_name(relation, rules);
        }
        if map.columns.is_empty() {
            return map;
        }
        map.generate(catalog);
        map.inherit(catalog);
        map.generate(catalog);
        views::derive(&mut map, catalog);
        map.finish(catalog);
        map
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// What is masked in a column, by the oid of its relation and its number.
    pub fn column(&self, relation: u32, attribute: i16) -> Option<&MaskedColumn> {
        self.columns.get(&relation)?.get(&attribute)
    }

    /// Whether a masked relation has that name in some schema.
    pub fn may_name(&self, relation: &str) -> bool {
        self.names.contains_key(relation)
    }

    /// Schema and name of every relation with a masked column, in no order.
    pub fn relations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns
            .values()
            .filter_map(|columns| columns.values().next())
            .map(|column| (&*column.schema, &*column.table))
    }

    /// Schemas of masked relations of that name.
    pub(super) fn schemas_of(&self, relation: &str) -> impl Iterator<Item = &str> {
        self.names.get(relation).into_iter().flatten().map(|(schema, _)| &**schema)
    }

    pub(super) fn has_schema(&self, schema: &str) -> bool {
        self.schemas.contains(schema)
    }

    /// The first masked column of a relation.
    pub(super) fn of_relation(&self, relation: u32) -> Option<&MaskedColumn> {
        let columns = self.columns.get(&relation)?;
        columns.iter().min_by_key(|(number, _)| **number).map(|(_, column)| column)
    }

    pub(super) fn is_masked(&self, relation: u32) -> bool {
        self.columns.contains_key(&relation)
    }

    pub(super) fn has_masking_rules(&self, relation: u32) -> bool {
        self.ruled.contains(&relation)
    }

    /// Any masked column, for refusals that are about none in particular.
    pub(super) fn any(&self) -> Option<&MaskedColumn> {
        self.rules.iter().filter_map(|rule| rule.example).find_map(|(oid, number)| self.column(oid, number))
    }

    /// A masked column whose type is not the server's own: an alteration of a type can be about it.
    pub(super) fn of_users_type(&self) -> Option<&MaskedColumn> {
        self.of_users_type.and_then(|(relation, number)| self.column(relation, number))
    }

    fn by_name(&mut self, relation: &Relation, rules: &[ColumnRule]) {
        for column in &relation.columns {
            let matching = |(_, rule): &(usize, &ColumnRule)| {
                (rule.matches)(&relation.schema, &relation.name, &column.name)
            };
            let found: Vec<_> = rules.iter().enumerate().filter(matching).collect();
            let strongest = found.iter().rev().max_by_key(|(_, rule)| rule.strength);
            let Some((at, strongest)) = strongest else { continue };
            let Ok(rule) = u16::try_from(*at) else { continue };
            self.insert(
                relation,
                column.number,
                MaskedColumn {
                    rule,
                    whole: false,
                    schema: relation.schema.clone(),
                    table: relation.name.clone(),
                    column: column.name.clone(),
                    comparable: found.iter().all(|(_, rule)| rule.filter_allowed),
                    strength: strongest.strength,
                },
            );
        }
    }

    /// Adds what is masked in a column; with what is known of it already, the stricter of both. Says whether it changed anything.
    pub(super) fn insert(&mut self, relation: &Relation, number: i16, column: MaskedColumn) -> bool {
        let columns = self.columns.entry(relation.oid).or_default();
        let merged = match columns.get(&number) {
            None => column,
            Some(known) => {
                let stronger = if column.strength > known.strength { &column } else { known };
                MaskedColumn {
                    whole: known.whole || column.whole,
                    comparable: known.comparable && column.comparable,
                    ..stronger.clone()
                }
            }
        };
        if columns.get(&number) == Some(&merged) {
            return false;
        }
        columns.insert(number, merged);
        true
    }

    /// What a table computes from a masked column is hidden as a whole. Generated columns are made of ordinary ones only.
    fn generate(&mut self, catalog: &CatalogSnapshot) {
        for relation in catalog.all_relations() {
            for column in relation.columns.iter().filter(|column| !column.generated_from.is_empty()) {
                let from = column.generated_from.iter().filter_map(|from| self.column(relation.oid, *from));
                let Some(strongest) = from.max_by_key(|masked| masked.strength).cloned() else { continue };
                let hidden =
                    MaskedColumn { whole: true, comparable: false, column: column.name.clone(), ..strongest };
                self.insert(relation, column.number, hidden);
            }
        }
    }

    /// Rows of a child are rows of its parents: a column masked in one is masked in all of them.
    fn inherit(&mut self, catalog: &CatalogSnapshot) {
        let by_oid: HashMap<u32, &Relation> =
            catalog.all_relations().map(|relation| (relation.oid, relation)).collect();
        let mut related: HashMap<u32, Vec<&Relation>> = HashMap::new();
        for relation in by_oid.values() {
            for parent in relation.parents.iter().filter_map(|parent| by_oid.get(parent)) {
                related.entry(relation.oid).or_default().push(parent);
                related.entry(parent.oid).or_default().push(relation);
            }
        }
        let mut todo: Vec<u32> = self.columns.keys().copied().collect();
        while let Some(oid) = todo.pop() {
            let masked: Vec<MaskedColumn> =
                self.columns.get(&oid).into_iter().flat_map(|columns| columns.values().cloned()).collect();
            for other in related.get(&oid).into_iter().flatten() {
                let mut changed = false;
                for column in &masked {
                    let Some(same) = other.columns.iter().find(|same| same.name == column.column) else {
                        continue;
                    };
                    let column = MaskedColumn {
                        schema: other.schema.clone(),
                        table: other.name.clone(),
                        ..column.clone()
                    };
                    changed |= self.insert(other, same.number, column);
                }
                if changed {
                    todo.push(other.oid);
                }
            }
        }
    }

    fn finish(&mut self, catalog: &CatalogSnapshot) {
        for relation in catalog.all_relations() {
            if self.is_masked(relation.oid) {
                let named = self.names.entry(relation.name.clone()).or_default();
                named.push((relation.schema.clone(), relation.oid));
                self.schemas.insert(relation.schema.clone());
            }
            let writes = relation.reaches.iter().any(|reached| reached.verb == portcullis_core::Verb::Write);
            let looks = || relation.names.iter().any(|oid| *oid != relation.oid && self.is_masked(*oid));
            let views = matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView);
            if (writes || !views) && looks() {
                self.ruled.insert(relation.oid);
            }
        }
        // The same each time, and a table rather than a view.
        let mut masked: Vec<(bool, u32, i16, u16)> = Vec::new();
        for relation in catalog.all_relations() {
            let is_table = matches!(relation.kind, RelationKind::Table | RelationKind::ForeignTable);
            let columns = self.columns.get(&relation.oid).into_iter().flatten();
            masked.extend(columns.map(|(number, column)| (!is_table, relation.oid, *number, column.rule)));
            let of_users = |column: &&crate::Column| {
                self.column(relation.oid, column.number).is_some()
                    && !(1..FIRST_ASSIGNED_OID).contains(&column.type_oid)
            };
            let first = relation.columns.iter().find(of_users).map(|column| (relation.oid, column.number));
            self.of_users_type = self.of_users_type.into_iter().chain(first).min();
        }
        masked.sort_unstable();
        for (_, oid, number, rule) in masked {
            if let Some(rule) = self.rules.get_mut(usize::from(rule)) {
                rule.example.get_or_insert((oid, number));
            }
        }
    }
}

impl fmt::Debug for MaskMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskMap").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// What rows can be read from, of users.
fn can_be_masked(relation: &Relation) -> bool {
    let holds_rows = matches!(
        relation.kind,
        RelationKind::Table
            | RelationKind::View
            | RelationKind::MaterializedView
            | RelationKind::ForeignTable
    );
    holds_rows && relation.oid >= FIRST_NORMAL_OID
}
