//! Masks on the wire: what may be seen of rows, COPY data, errors and notices.
//!
//! **Promises.** A value of a masked column leaves here masked or not at all, in both formats; a result whose description does not
//! agree with the analysis of its statement is not passed on (`INVARIANT(lineage-and-metadata-agree)`). What the recorder gets is what
//! the client gets.
//!
//! **Does not** know which columns a statement returns (`sql` does) or what is shown in their place (`mask` does). No I/O.
//!
//! **How to read it**: [`Masks`] (what is in force), `layout` (columns), `rows`, `copy`, `reports`, `values` (types).

use std::{collections::HashSet, sync::Arc};

use portcullis_core::{EndReason, Operation, RuleRef, Verb};
use portcullis_mask::{HashKey, Scanner, Transform};
use portcullis_policy::SessionMasks;
use portcullis_sql::{
    Catalog as _, CatalogSnapshot, ColumnRule, MaskMap, OutputMask, Relation, catalog::FIRST_NORMAL_OID,
    resource_name,
};

pub(crate) mod copy;
pub(crate) mod layout;
pub(crate) mod reports;
pub(crate) mod rows;
pub(crate) mod values;

use values::Shape;

/// The masks of one session in one database.
pub(crate) struct Masks {
    pub(crate) rules: Arc<SessionMasks>,
    pub(crate) map: Arc<MaskMap>,
    pub(crate) catalog: Arc<CatalogSnapshot>,
    key: HashKey,
    found: HashKey,
    /// Relations with masked columns, as operations name them.
    protected: HashSet<String>,
    /// Every relation the catalog knows.
    known: HashSet<u32>,
}

impl std::fmt::Debug for Masks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masks").field("key", &self.rules.key()).finish_non_exhaustive()
    }
}

/// What values are looked at and hidden with.
#[derive(Clone, Copy)]
pub(crate) struct Tools<'a> {
    /// What is looked for in values that are not masked anyway.
    pub(crate) scanner: Option<&'a Scanner>,
    /// Keys the hashes of masked columns.
    pub(crate) key: &'a HashKey,
    /// Keys the hashes of what detectors find: a client's own text does not give the hash of a column's value.
    pub(crate) found: &'a HashKey,
}

/// A result cannot be masked, so nothing of it passes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotMasked {
    /// The server sent something else than the statement's analysis says.
    #[error("the server's answer is not what the statement's analysis expects: {0}")]
    Unexpected(String),
    /// It has to be looked at as a whole and is longer than is kept.
    #[error(
        "a row is longer than the gateway can mask; ask for fewer or shorter columns (`limits.masked_row`)"
    )]
    TooLong,
}

impl NotMasked {
    pub(crate) fn unexpected(what: impl Into<String>) -> Self {
        Self::Unexpected(what.into())
    }
}

impl From<NotMasked> for EndReason {
    fn from(error: NotMasked) -> Self {
        Self::NotMasked { detail: error.to_string() }
    }
}

impl Masks {
    pub(crate) fn new(
        rules: Arc<SessionMasks>,
        map: Arc<MaskMap>,
        catalog: Arc<CatalogSnapshot>,
        (key, found): (HashKey, HashKey),
    ) -> Self {
        let protected =
            map.relations().map(|(schema, name)| portcullis_sql::resource_name(schema, name)).collect();
        let known = match map.is_empty() {
            true => HashSet::new(),
            false => catalog.relations().map(|relation| relation.oid).collect(),
        };
        Self { rules, map, catalog, key, found, protected, known }
    }

    pub(crate) fn tools(&self) -> Tools<'_> {
        Tools { scanner: self.rules.scanner().map(|scanner| &**scanner), key: &self.key, found: &self.found }
    }

    /// What the analysis must know of the rules.
    pub(crate) fn column_rules(rules: &SessionMasks) -> Vec<ColumnRule> {
        rules
            .columns()
            .iter()
            .map(|mask| {
                let (of_columns, of_functions) = (Arc::clone(mask), Arc::clone(mask));
                ColumnRule {
                    name: mask.name.as_str().into(),
                    strength: mask.strength(),
                    filter_allowed: mask.filter == portcullis_policy::Filter::Allow,
                    opaque_refused: mask.opaque == portcullis_policy::Opaque::Refuse,
                    matches: Arc::new(move |schema, table, column| {
                        of_columns.matches_column(schema, table, column)
                    }),
                    trusts: Arc::new(move |schema, function| of_functions.trusts(schema, function)),
                }
            })
            .collect()
    }

    /// A rule, as decisions name it.
    pub(crate) fn rule(&self, rule: u16) -> Option<RuleRef> {
        self.rules.columns().get(usize::from(rule)).map(|mask| mask.rule_ref())
    }

    /// The first rule that looks for something in every value.
    pub(crate) fn detects(&self) -> Option<RuleRef> {
        self.rules.all().iter().find(|mask| !mask.detectors.is_empty()).map(|mask| mask.rule_ref())
    }

    /// What is shown by a rule; everything is hidden where the column was computed from a masked one. Values are hashed only where
    /// all of them are a column's: else a client would have its own hashed, to compare.
    fn transform(&self, mask: &OutputMask, is_column: bool) -> Result<Transform, NotMasked> {
        let rule = self.rules.columns().get(usize::from(mask.rule));
        let transform = rule.map(|mask| mask.transform.clone());
        match transform.ok_or_else(|| NotMasked::unexpected("a rule that is not in force"))? {
            Transform::Null => Ok(Transform::Null),
            _ if mask.whole => Ok(Transform::Redact),
            Transform::Hash if !is_column => Ok(Transform::Redact),
            transform => Ok(transform),
        }
    }

    fn shape(&self, type_oid: u32) -> Shape {
        match Shape::of(type_oid) {
            Shape::Unknown if self.catalog.is_text_type(type_oid) => Shape::Text,
            shape => shape,
        }
    }

    /// Whether a result may come from that table: the catalog knows it, or it was born with the server. Where no column is masked
    /// any may.
    pub(crate) fn knows(&self, table: u32) -> bool {
        table < FIRST_NORMAL_OID || self.map.is_empty() || self.known.contains(&table)
    }

    /// Whether an operation reads a relation that the catalog does not know. Where no column is masked it may.
    pub(crate) fn reads_strangers(&self, operation: &Operation) -> bool {
        let stranger = |name: &str| match name.split_once('.') {
            _ if name.contains('"') => {
                let of = |relation: &Relation| resource_name(&relation.schema, &relation.name);
                !self.catalog.relations().any(|relation| of(relation) == name)
            }
            Some((schema, name)) => {
                self.catalog.relation(schema, name).is_none()
                    && self.catalog.functions(schema, name).is_empty()
            }
            // `server/…`, `channel/…`
            None => false,
        };
        let reads =
            operation.resources.iter().filter(|pair| pair.verb == Verb::Read && pair.through.is_none());
        !self.map.is_empty() && reads.map(|pair| pair.resource.as_str()).any(stranger)
    }

    /// Whether code nobody sees into is refused, which could make relations unseen.
    pub(crate) fn refuses_opaque(&self) -> bool {
        self.rules.columns().iter().all(|mask| mask.opaque == portcullis_policy::Opaque::Refuse)
    }

    /// Whether anything in this database needs a look: a column that is masked, or detectors.
    pub(crate) fn has_work(&self) -> bool {
        !self.map.is_empty() || self.rules.scanner().is_some()
    }

    /// Whether a relation has masked columns.
    pub(crate) fn protects(&self, schema: &[u8], table: &[u8]) -> bool {
        let names = std::str::from_utf8(schema).ok().zip(std::str::from_utf8(table).ok());
        names.is_none_or(|(schema, table)| {
            self.protected.contains(&portcullis_sql::resource_name(schema, table))
        })
    }

    /// Whether the operation names a relation with masked columns.
    pub(crate) fn touches(&self, operation: &Operation) -> bool {
        operation.resources.iter().any(|pair| self.protected.contains(pair.resource.as_str()))
    }
}
