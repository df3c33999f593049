//! What names of columns mean inside a query (`parse_relation.c`, `parse_expr.c`): items of `FROM`, level by level.

use super::map::MaskedColumn;

/// System columns: every table has them (`SysAtt` in heap.c).
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"];

/// What is masked in a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'a> {
    /// Where it comes from.
    pub(super) column: &'a MaskedColumn,
    pub(super) rule: u16,
    /// Computed, or of several rules: nothing of it may be seen.
    pub(super) whole: bool,
    /// The rule allows comparisons.
    pub(super) comparable: bool,
    /// What the server says of an output column that is this one and nothing else.
    pub(super) origin: Option<(u32, i16)>,
    /// Of two joined columns it is not known which: it must be named with its table.
    pub(super) merged: bool,
}

impl PartialEq for Tag<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.column, other.column)
            && (self.rule, self.whole, self.comparable, self.origin, self.merged)
                == (other.rule, other.whole, other.comparable, other.origin, other.merged)
    }
}

impl Tag<'_> {
    /// The same value without being the column itself.
    pub(super) const fn computed(self) -> Self {
        Self { whole: true, comparable: false, origin: None, ..self }
    }

    /// Either of the two.
    pub(super) fn or(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return Self { origin: None, ..self } };
        let stronger = if other.column.strength > self.column.strength { other } else { self };
        Self {
            whole: self.whole || other.whole || self.rule != other.rule,
            comparable: self.comparable && other.comparable,
            origin: None,
            merged: self.merged || other.merged,
            ..stronger
        }
    }
}

/// One column of an item or of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column<'a> {
    /// Absent where it is not known how the server calls it.
    pub(super) name: Option<&'a str>,
    pub(super) tag: Option<Tag<'a>>,
    /// 0 where not known.
    pub(super) type_oid: u32,
}

/// The columns of a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Columns<'a> {
    pub(super) columns: Vec<Column<'a>>,
    /// There are no others, and each has the place it has here.
    pub(super) complete: bool,
}

impl<'a> Columns<'a> {
    pub(super) fn none() -> Self {
        Self { columns: Vec::new(), complete: true }
    }

    pub(super) fn masked(&self) -> Option<Tag<'a>> {
        self.columns.iter().find_map(|column| column.tag)
    }
}

/// One entry of `FROM` (`ParseNamespaceItem`).
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) name: Option<&'a str>,
    /// The schema of a relation that has no alias: `s.t.c` can name it.
    pub(super) schema: Option<&'a str>,
    pub(super) columns: Columns<'a>,
    /// It has system columns.
    pub(super) is_relation: bool,
    /// `name.c` finds it.
    pub(super) by_name: bool,
    /// `c` and `*` find its columns.
    pub(super) by_column: bool,
}

impl<'a> Item<'a> {
    pub(super) fn new(name: Option<&'a str>, columns: Columns<'a>) -> Self {
        Self { name, schema: None, columns, is_relation: false, by_name: name.is_some(), by_column: true }
    }

    /// A column of that name: of those known, the system's, or one that is not known.
    fn column(&self, name: &str) -> Option<Found<'a>> {
        let mut named = self.columns.columns.iter().filter(|column| column.name == Some(name));
        if let Some(first) = named.next() {
            // Two of one name are an error of the server; should they not be, the masked one counts.
            let masked = first.tag.or_else(|| named.find_map(|column| column.tag));
            return Some(Found::Column(masked, first.type_oid));
        }
        (self.is_relation && SYSTEM_COLUMNS.contains(&name)).then_some(Found::Column(None, 0))
    }

    /// Whether it can have columns whose names are not known.
    fn is_open(&self) -> bool {
        !self.columns.complete || self.columns.columns.iter().any(|column| column.name.is_none())
    }
}

/// One level of names: the items of a query's `FROM`, the CTEs of a `WITH`; then the levels around it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s, 'a> {
    pub(super) around: Option<&'s Scope<'s, 'a>>,
    pub(super) items: &'s [Item<'a>],
    pub(super) ctes: &'s [(&'a str, Option<Columns<'a>>)],
}

/// What a name means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// A column, what is masked in it, and its type.
    Column(Option<Tag<'a>>, u32),
    /// A whole row, or something computed from one.
    Row(Option<Tag<'a>>),
}

/// A name that cannot be followed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lost<'a> {
    /// Nothing has that name.
    Nothing,
    /// It may be a masked column or another one.
    Either(Tag<'a>),
}

impl<'s, 'a> Scope<'s, 'a> {
    pub(super) const EMPTY: Self = Self { around: None, items: &[], ctes: &[] };

    pub(super) const fn within(around: &'s Scope<'s, 'a>, items: &'s [Item<'a>]) -> Self {
        Self { around: Some(around), items, ctes: &[] }
    }

    fn levels(&self) -> impl Iterator<Item = &Scope<'s, 'a>> {
        std::iter::successors(Some(self), |scope| scope.around)
    }

    /// How many columns and items a name may be looked for among.
    pub(super) fn size(&self) -> usize {
        self.levels().flat_map(|level| level.items).map(|item| item.columns.columns.len() + 1).sum()
    }

    /// The CTE of that name: what it gives, or nothing where that is not known yet.
    pub(super) fn cte(&self, name: &str) -> Option<Option<&Columns<'a>>> {
        self.levels().find_map(|level| {
            let found = level.ctes.iter().rev().find(|(known, _)| *known == name)?;
            Some(found.1.as_ref())
        })
    }

    /// What a reference that is no star means.
    pub(super) fn find(&self, reference: &[Box<str>]) -> Result<Found<'a>, Lost<'a>> {
        match reference {
            [column] => self.bare(column),
            [item, column] => self.of_item(None, item, column),
            [.., schema, item, column] => self.of_item(Some(schema), item, column),
            [] => Err(Lost::Nothing),
        }
    }

    /// `colNameToVar`, then `refnameNamespaceItem` for whole rows.
    fn bare(&self, name: &str) -> Result<Found<'a>, Lost<'a>> {
        let mut open = false;
        let mut levels = self.levels();
        while let Some(level) = levels.next() {
            let visible = || level.items.iter().filter(|item| item.by_column);
            let mut found = visible().filter_map(|item| item.column(name));
            if let Some(first) = found.next() {
                let masked = std::iter::once(first).chain(found).find_map(Found::tag);
                let type_oid = if let Found::Column(_, type_oid) = first { type_oid } else { 0 };
                // An inner item with unknown columns may be meant instead.
                return match masked {
                    Some(tag) if open => Err(Lost::Either(tag)),
                    None => match levels.find_map(|level| level.masked(name)) {
                        // Were the column renamed while the statement waits for its table, the outer one would be meant.
                        Some(tag) => Err(Lost::Either(tag)),
                        None => Ok(Found::Column(None, type_oid)),
                    },
                    masked => Ok(Found::Column(masked, type_oid)),
                };
            }
            open |= visible().any(Item::is_open);
        }
        for level in self.levels() {
            let named = level.items.iter().filter(|item| item.by_name && item.name == Some(name));
            let rows: Vec<&Item<'a>> = named.collect();
            if !rows.is_empty() {
                return Ok(Found::Row(rows.iter().find_map(|item| item.columns.masked()).map(Tag::computed)));
            }
        }
        if open { Ok(Found::Column(None, 0)) } else { Err(Lost::Nothing) }
    }

    /// A masked column of this level that goes by a name alone.
    fn masked(&self, name: &str) -> Option<Tag<'a>> {
        let visible = self.items.iter().filter(|item| item.by_column);
        visible.filter_map(|item| item.column(name)).find_map(Found::tag)
    }

    fn of_item(&self, schema: Option<&str>, name: &str, column: &str) -> Result<Found<'a>, Lost<'a>> {
        let items = self.items_named(schema, name);
        if items.is_empty() {
            return Err(Lost::Nothing);
        }
        let found: Vec<Found<'a>> = items.iter().filter_map(|item| item.column(column)).collect();
        if let Some(first) = found.first() {
            let masked = found.iter().copied().find_map(Found::tag);
            let type_oid = if let Found::Column(_, type_oid) = first { *type_oid } else { 0 };
            return Ok(Found::Column(masked, type_oid));
        }
        // `t.f` is `f(t)` where there is no such column.
        Ok(Found::Row(items.iter().find_map(|item| item.columns.masked()).map(Tag::computed)))
    }

    /// The items of the innermost level that knows the name.
    fn items_named(&self, schema: Option<&str>, name: &str) -> Vec<&Item<'a>> {
        let fits = |item: &&Item<'a>| {
            item.by_name && item.name == Some(name) && (schema.is_none() || item.schema == schema)
        };
        self.levels()
            .map(|level| level.items.iter().filter(fits).collect::<Vec<_>>())
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    /// `*`, `t.*`: the columns, in order.
    pub(super) fn star(&self, of: &[Box<str>]) -> Result<Columns<'a>, Lost<'a>> {
        let items: Vec<&Item<'a>> = match of {
            [] => self.items.iter().filter(|item| item.by_column).collect(),
            [name] => self.items_named(None, name),
            [.., schema, name] => self.items_named(Some(schema), name),
        };
        if items.is_empty() && !of.is_empty() {
            return Err(Lost::Nothing);
        }
        let mut all = Columns::none();
        for item in items {
            all.complete &= item.columns.complete;
            all.columns.extend(item.columns.columns.iter().cloned());
        }
        Ok(all)
    }
}

impl<'a> Found<'a> {
    pub(super) const fn tag(self) -> Option<Tag<'a>> {
        match self {
            Self::Column(tag, _) | Self::Row(tag) => tag,
        }
    }
}
