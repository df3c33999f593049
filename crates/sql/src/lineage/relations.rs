//! What names of relations, functions and operators can mean, where a masked relation may be among the meanings.

use super::{
    map::{MaskMap, MaskedColumn},
    refusal::Stop,
};
use crate::{
    Catalog, Column, Function, FunctionKind, FunctionLanguage, Relation, SearchPaths, SessionEffect,
    SessionState, Volatility,
    analysis::{Lookup, RelationUse, Uses},
    functions::is_builtin_operator,
    names::Name,
    search_path::SearchPath,
};

/// Relations of `pg_catalog` that hold values of tables.
const STATISTICS: [&str; 5] =
    ["pg_statistic", "pg_stats", "pg_statistic_ext_data", "pg_stats_ext", "pg_stats_ext_exprs"];

/// Names under everything that may be in force.
#[derive(Clone, Copy)]
pub(super) struct Relations<'a> {
    pub(super) masks: &'a MaskMap,
    catalog: &'a dyn Catalog,
    paths: &'a SearchPaths,
    session: &'a dyn SessionState,
    /// What earlier statements of the same text made.
    pub(super) made: &'a [&'a SessionEffect],
    /// What the catalog knows may be gone or moved.
    pub(super) restructured: bool,
    /// The names were looked up earlier, under a search path that nobody knows any more: a cursor.
    pub(super) earlier: bool,
    /// Of names without a schema that can mean several relations: the one each is taken for.
    pub(super) taken_for: &'a [(&'a str, u32)],
}

/// Everything a name can mean.
#[derive(Default)]
struct Meanings<'a> {
    known: Vec<&'a Relation>,
    /// A temporary relation of the session.
    temporary: bool,
    /// A system catalog that the snapshot left out.
    system: bool,
    /// Something the catalog does not know.
    unknown: bool,
}

impl<'a> Meanings<'a> {
    fn add(&mut self, relation: &'a Relation) {
        if !self.known.iter().any(|known| known.oid == relation.oid) {
            self.known.push(relation);
        }
    }
}

impl<'a> Relations<'a> {
    pub(super) const fn new(
        masks: &'a MaskMap,
        catalog: &'a dyn Catalog,
        paths: &'a SearchPaths,
        session: &'a dyn SessionState,
    ) -> Self {
        Self {
            masks,
            catalog,
            paths,
            session,
            made: &[],
            restructured: false,
            earlier: false,
            taken_for: &[],
        }
    }

    /// The same under other search paths.
    pub(super) const fn with_paths(self, paths: &'a SearchPaths) -> Self {
        Self { paths, ..self }
    }

    /// Whether something is named that is not there, and nothing that is masked.
    pub(super) fn is_lost(&self, uses: &'a Uses) -> bool {
        let looked_up = |used: &&RelationUse| used.lookup == Lookup::Existing;
        self.touched(uses).is_none()
            && uses.relations.iter().filter(looked_up).any(|used| self.meanings(&used.name).unknown)
    }

    /// The relation a name means: one, or nothing where it is certainly not masked and its columns are not known.
    pub(super) fn one(&self, name: &'a Name) -> Result<Option<&'a Relation>, Stop<'a>> {
        let meanings = self.meanings(name);
        let masked = meanings.known.iter().find(|relation| self.masks.is_masked(relation.oid));
        let several =
            !self.are_alike(&meanings.known) || meanings.temporary || meanings.unknown || meanings.system;
        match (masked, meanings.known.first()) {
            (Some(masked), _) if several => match self.masks.of_relation(masked.oid) {
                Some(column) => Err(Stop::Several(name, column)),
                None => Err(Stop::Unknown(name)),
            },
            (_, Some(only)) if !several => Ok(Some(only)),
            (_, None) if meanings.unknown => Err(Stop::Unknown(name)),
            _ => Ok(None),
        }
    }

    /// What each name without a schema can mean that can mean several relations; nothing where one can be something else.
    pub(super) fn several(&self, uses: &'a Uses) -> Option<Vec<(&'a str, Vec<u32>)>> {
        let mut several: Vec<(&'a str, Vec<u32>)> = Vec::new();
        let bare = |used: &&RelationUse| used.lookup == Lookup::Existing && used.name.schema.is_none();
        for name in uses.relations.iter().filter(bare).map(|used| &used.name) {
            let meanings = self.meanings(name);
            if meanings.temporary || meanings.unknown || meanings.system {
                return None;
            }
            if meanings.known.len() > 1 && several.iter().all(|(known, _)| **known != *name.name) {
                several.push((&name.name, meanings.known.iter().map(|relation| relation.oid).collect()));
            }
        }
        Some(several)
    }

    /// Whether a name has several meanings that are masked alike: which of them it is only the server knows.
    pub(super) fn has_several(&self, name: &'a Name) -> bool {
        self.meanings(name).known.len() > 1
    }

    /// Whether relations have the same columns under the same masks: tables of several tenants.
    fn are_alike(&self, relations: &[&Relation]) -> bool {
        let Some((first, others)) = relations.split_first() else { return true };
        let same = |other: &&Relation| {
            let mask = |of: &Relation, number| {
                let column = self.masks.column(of.oid, number)?;
                Some((column.rule, column.whole, column.comparable))
            };
            let same = |(one, two): (&Column, &Column)| {
                (&one.name, one.type_oid, one.generated) == (&two.name, two.type_oid, two.generated)
                    && mask(first, one.number) == mask(other, two.number)
            };
            !first.columns.is_empty()
                && first.columns.len() == other.columns.len()
                && first.columns.iter().zip(&other.columns).all(same)
                && self.masks.has_masking_rules(first.oid) == self.masks.has_masking_rules(other.oid)
        };
        others.iter().all(same)
    }

    /// The rows that a write gives back are the target's own, unless a rule of it says otherwise.
    pub(super) fn returns(&self, target: &'a Name) -> Result<(), Stop<'a>> {
        match self.one(target)? {
            Some(relation) if self.masks.has_masking_rules(relation.oid) => {
                Err(Stop::NotUnderstood("RETURNING gives back what a rule of the relation selects"))
            }
            _ => Ok(()),
        }
    }

    /// A masked column of something the statement may name.
    pub(super) fn touched(&self, uses: &'a Uses) -> Option<&'a MaskedColumn> {
        let relations = uses.relations.iter().map(|used| (&used.name, used.lookup));
        let objects = uses.objects.iter().map(|(name, lookup)| (name, *lookup));
        let masked = |relation: &'a Relation| match self.masks.of_relation(relation.oid) {
            None if self.masks.has_masking_rules(relation.oid) => self.masks.any(),
            column => column,
        };
        relations.chain(objects).find_map(|(name, lookup)| match lookup {
            Lookup::Temporary => None,
            Lookup::Existing => self.meanings(name).known.into_iter().find_map(masked),
            Lookup::Created => self.created(name).into_iter().find_map(masked),
        })
    }

    /// A masked relation that the statement makes anew.
    pub(super) fn replaced(&self, uses: &'a Uses) -> Option<&'a Relation> {
        let made = uses.relations.iter().filter(|used| used.lookup == Lookup::Created);
        made.flat_map(|used| self.created(&used.name)).find(|relation| self.masks.is_masked(relation.oid))
    }

    /// A relation that holds values of other tables: statistics, storage, views over them.
    pub(super) fn statistics(&self, uses: &'a Uses) -> Option<&'a Name> {
        let holds = |schema: &str, name: &str| schema == "pg_catalog" && STATISTICS.contains(&name);
        let reaches = |relation: &&Relation| {
            relation.reaches.iter().any(|reached| {
                holds(&reached.schema, &reached.name) || reached.schema.starts_with("pg_toast")
            })
        };
        uses.relations.iter().map(|used| &used.name).find(|name| {
            let direct = match name.schema.as_deref() {
                Some(schema) => holds(schema, &name.name) || schema.starts_with("pg_toast"),
                // Storage is on the path only where somebody put it there.
                None => holds("pg_catalog", &name.name) || name.name.starts_with("pg_toast_"),
            };
            direct || self.meanings(name).known.iter().any(reaches)
        })
    }

    fn meanings(&self, name: &Name) -> Meanings<'a> {
        let mut meanings = Meanings::default();
        if let Some(schema) = &name.schema {
            match self.catalog.relation(schema, &name.name) {
                Some(relation) => meanings.add(relation),
                None if schema.starts_with("pg_temp") => meanings.temporary = true,
                None if is_system(schema) => meanings.system = true,
                None => meanings.unknown = true,
            }
            return meanings;
        }
        if self.paths.is_unknown() || self.earlier {
            // Whatever path: any masked relation of that name.
            for schema in self.masks.schemas_of(&name.name) {
                if let Some(relation) = self.catalog.relation(schema, &name.name) {
                    meanings.add(relation);
                }
            }
        }
        meanings.unknown |= self.paths.is_unknown();
        for path in self.paths.candidates() {
            self.under(path, &name.name, &mut meanings);
        }
        if let Some((_, only)) = self.taken_for.iter().find(|(taken, _)| **taken == *name.name) {
            meanings.known.retain(|relation| relation.oid == *only);
        }
        meanings
    }

    fn under(&self, path: &SearchPath, name: &str, meanings: &mut Meanings<'a>) {
        let (mut found, mut hides) = (false, None);
        for schema in path.effective() {
            if schema == "pg_temp" {
                meanings.temporary |= self.may_be_temporary(name);
                continue;
            }
            let known =
                self.catalog.has_schema(schema).then(|| self.catalog.relation(schema, name)).flatten();
            let system =
                known.is_none() && schema == "pg_catalog" && crate::harmless::is_harmless(schema, name);
            meanings.system |= system;
            // What hides the others may be gone already, or be dropped while the statement waits for it: the server looks again
            // then, and finds what stands behind.
            let behind = |relation| hides.is_some_and(|hides| self.has_other_masks(relation, hides));
            if let Some(relation) = known
                && (!found || self.restructured || behind(relation))
            {
                meanings.add(relation);
            }
            hides = hides.or(known);
            found |= known.is_some() || system;
        }
        meanings.unknown |= !found && !meanings.temporary;
    }

    /// Whether something is masked in a relation otherwise than in the one that hides it.
    fn has_other_masks(&self, relation: &Relation, hides: &Relation) -> bool {
        let masks = |relation: &Relation| -> Vec<_> {
            let mask =
                |number| self.masks.column(relation.oid, number).map(|column| (column.rule, column.whole));
            relation.columns.iter().map(|column| (column.name.clone(), mask(column.number))).collect()
        };
        self.masks.is_masked(relation.oid) && masks(hides) != masks(relation)
    }

    fn may_be_temporary(&self, name: &str) -> bool {
        let here = |effect: &&SessionEffect| matches!(effect, SessionEffect::CreateTemporary { name: made } if &**made == name);
        self.made.iter().any(here) || self.session.may_be_temporary(name)
    }

    /// What stands where a new object of that name would be made.
    fn created(&self, name: &Name) -> Vec<&'a Relation> {
        let masked = || self.masks.schemas_of(&name.name);
        match &name.schema {
            Some(schema) => self.catalog.relation(schema, &name.name).into_iter().collect(),
            None if self.paths.is_unknown() => {
                masked().filter_map(|schema| self.catalog.relation(schema, &name.name)).collect()
            }
            None => {
                let made_in =
                    |path: &'a SearchPath| path.listed().find(|schema| self.catalog.has_schema(schema));
                let schemas = self.paths.candidates().iter().filter_map(made_in);
                schemas.filter_map(|schema| self.catalog.relation(schema, &name.name)).collect()
            }
        }
    }

    // ---- functions and operators -----------------------------------------------------------------------------------

    /// Whether a call by that name certainly runs the server's own function, or one that only computes.
    pub(super) fn is_servers_own(&self, name: &Name) -> bool {
        let computes = |function: &Function| {
            function.is_built_in()
                || function.language == FunctionLanguage::Native
                    && function.volatility == Volatility::Immutable
                    && function.kind == FunctionKind::Function
                    && !function.security_definer
        };
        name.may_be_builtin()
            && self.schemas(name).is_some_and(|schemas| {
                let mut all = schemas.iter().flat_map(|schema| self.catalog.functions(schema, &name.name));
                all.all(|function| computes(function))
            })
    }

    /// Whether an operator of that name certainly is the server's own, or one that only computes.
    pub(super) fn is_servers_own_operator(&self, name: &Name) -> bool {
        let computes = |oid: &u32| {
            self.catalog.function_by_oid(*oid).is_some_and(|function| {
                function.is_built_in()
                    || function.language == FunctionLanguage::Native
                        && function.volatility == Volatility::Immutable
                        && !function.security_definer
            })
        };
        name.may_be_builtin()
            && is_builtin_operator(&name.name)
            && self.schemas(name).is_some_and(|schemas| {
                let mut all = schemas.iter().flat_map(|schema| self.catalog.operators(schema, &name.name));
                all.all(|operator| operator.calls.iter().all(computes))
            })
    }

    /// Where a name is looked for; nothing where that is not known.
    fn schemas<'n>(&'n self, name: &'n Name) -> Option<Vec<&'n str>> {
        match &name.schema {
            Some(schema) => Some(vec![schema]),
            None if self.paths.is_unknown() => None,
            None => {
                let usable = |schema: &&str| self.catalog.has_schema(schema);
                Some(self.paths.candidates().iter().flat_map(SearchPath::effective).filter(usable).collect())
            }
        }
    }
}

fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema")
}
