//! What the analysis must know of one database: relations, functions, operators, types.
//!
//! The session fills a [`CatalogSnapshot`] from the server's catalog; [`Catalog`] is what resolution asks.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use portcullis_core::Verb;

/// Object ids below this were made by `initdb` (`FirstNormalObjectId`, `src/include/access/transam.h`).
pub const FIRST_NORMAL_OID: u32 = 16_384;

/// What a name in `pg_class` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelationKind {
    /// An ordinary or partitioned table.
    Table,
    /// A view.
    View,
    /// A materialised view.
    MaterializedView,
    /// A sequence.
    Sequence,
    /// A foreign table.
    ForeignTable,
    /// An index.
    Index,
    /// A composite type or anything else.
    Other,
}

impl RelationKind {
    /// From `pg_class.relkind`.
    pub const fn from_relkind(relkind: u8) -> Self {
        match relkind {
            b'r' | b'p' => Self::Table,
            b'v' => Self::View,
            b'm' => Self::MaterializedView,
            b'S' => Self::Sequence,
            b'f' => Self::ForeignTable,
            b'i' | b'I' => Self::Index,
            _ => Self::Other,
        }
    }
}

/// A relation that a view's rules reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reached {
    /// What the rules do to it: read for a plain view, write for an `INSTEAD` rule.
    pub verb: Verb,
    /// Its schema.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// One column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name.
    pub name: Box<str>,
    /// `pg_attribute.attnum`: dropped columns leave gaps.
    pub number: i16,
    /// `pg_attribute.atttypid`; 0 where not known.
    pub type_oid: u32,
    /// Computed from others: `COPY` of the table leaves it out.
    pub generated: bool,
    /// The numbers of the columns it is computed from.
    pub generated_from: Vec<i16>,
}

impl Column {
    /// A column that is stored, of a type that is not known.
    pub fn new(number: i16, name: impl Into<Box<str>>) -> Self {
        Self { name: name.into(), number, type_oid: 0, generated: false, generated_from: Vec::new() }
    }
}

/// One relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// The schema.
    pub schema: Box<str>,
    /// The name.
    pub name: Box<str>,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns in order, system columns left out. Empty: not known, then no column name is ruled out.
    pub columns: Vec<Column>,
    /// The oids of the relations it inherits from or is a partition of.
    pub parents: Vec<u32>,
    /// For a view or a materialised view: its query as `pg_get_viewdef` spells it under the search path `pg_catalog`, so that
    /// names outside of `pg_catalog` have their schema. Empty where there is none or it is not known.
    pub definition: Box<str>,
    /// For a view or a table with rules: the oids of the relations its own rules name, those of schemas that the session
    /// may not use included.
    pub names: Vec<u32>,
    /// For a view or a table with rules: every relation its rules reach, transitively.
    pub reaches: Vec<Reached>,
    /// For a view or a table with rules: the oids of every function its rules call, transitively.
    pub calls: Vec<u32>,
}

impl Relation {
    /// A table with nothing behind it.
    pub fn table(oid: u32, schema: impl Into<Box<str>>, name: impl Into<Box<str>>) -> Self {
        Self {
            oid,
            schema: schema.into(),
            name: name.into(),
            kind: RelationKind::Table,
            columns: Vec::new(),
            parents: Vec::new(),
            definition: Box::default(),
            names: Vec::new(),
            reaches: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Whether it can have a column of that name: it has one, or its columns are not known.
    pub fn may_have(&self, column: &str) -> bool {
        self.columns.is_empty() || self.has(column)
    }

    /// Whether it certainly has the column.
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|known| &*known.name == column)
    }
}

/// `pg_proc.provolatile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Volatility {
    /// `i`
    Immutable,
    /// `s`
    Stable,
    /// `v`
    Volatile,
}

impl Volatility {
    /// From `pg_proc.provolatile`; what is not known is volatile.
    pub const fn from_provolatile(provolatile: u8) -> Self {
        match provolatile {
            b'i' => Self::Immutable,
            b's' => Self::Stable,
            _ => Self::Volatile,
        }
    }
}

/// `pg_proc.prokind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// `f`
    Function,
    /// `p`
    Procedure,
    /// `a`
    Aggregate,
    /// `w`
    Window,
}

impl FunctionKind {
    /// From `pg_proc.prokind`; what is not known is a procedure, the strictest.
    pub const fn from_prokind(prokind: u8) -> Self {
        match prokind {
            b'f' => Self::Function,
            b'a' => Self::Aggregate,
            b'w' => Self::Window,
            _ => Self::Procedure,
        }
    }
}

/// The language a function is written in, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionLanguage {
    /// `internal` or `c`: only a superuser can make one.
    Native,
    /// `sql`
    Sql,
    /// Everything else.
    Other,
}

impl FunctionLanguage {
    /// From `pg_language.lanname`.
    pub fn from_name(name: &str) -> Self {
        match name {
            "internal" | "c" => Self::Native,
            "sql" => Self::Sql,
            _ => Self::Other,
        }
    }
}

/// One function, procedure, aggregate or window function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `pg_proc.oid`.
    pub oid: u32,
    /// The schema.
    pub schema: Box<str>,
    /// The name.
    pub name: Box<str>,
    /// The fewest arguments a call can have: `pronargs - pronargdefaults`, less one where variadic.
    pub min_args: u16,
    /// The most arguments; absent where variadic.
    pub max_args: Option<u16>,
    /// Its volatility. `pg_proc` says immutable for every aggregate: see `calls`.
    pub volatility: Volatility,
    /// Whether it runs with its owner's rights.
    pub security_definer: bool,
    /// What it is.
    pub kind: FunctionKind,
    /// Its language.
    pub language: FunctionLanguage,
    /// For an aggregate: the oids of the functions it runs (`pg_aggregate.agg*fn`).
    pub calls: Vec<u32>,
}

impl Function {
    /// Whether the server was born with it: made by `initdb` in `pg_catalog` or `information_schema`.
    pub fn is_built_in(&self) -> bool {
        let born = matches!(&*self.schema, "pg_catalog" | "information_schema");
        self.oid < FIRST_NORMAL_OID && born
    }

    /// Whether a call with so many arguments can mean it.
    pub fn takes(&self, args: usize) -> bool {
        args >= usize::from(self.min_args) && self.max_args.is_none_or(|most| args <= usize::from(most))
    }
}

/// One operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The schema.
    pub schema: Box<str>,
    /// The name: `=`, `@@`.
    pub name: Box<str>,
    /// The oids of the functions that run: `oprcode`.
    pub calls: Vec<u32>,
}

/// One type whose use can run code of users: a domain with checks, a type with cast functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// The schema.
    pub schema: Box<str>,
    /// The name.
    pub name: Box<str>,
    /// The oids of the functions that may run when a value becomes one: domain checks, input functions, functions of casts that
    /// are made without a word.
    pub calls: Vec<u32>,
    /// The oids of the functions of casts that are made only where one is written (`pg_cast.castcontext` is `e`).
    pub casts: Vec<u32>,
}

/// What resolution asks about one database.
pub trait Catalog {
    /// Whether the schema exists and the session may use it: the server skips the others on the search path.
    fn has_schema(&self, schema: &str) -> bool;
    /// The relation of that name.
    fn relation(&self, schema: &str, name: &str) -> Option<&Relation>;
    /// Every function of that name, all overloads.
    fn functions(&self, schema: &str, name: &str) -> &[Arc<Function>];
    /// The function with that oid.
    fn function_by_oid(&self, oid: u32) -> Option<&Arc<Function>>;
    /// Every operator of that name that is not built in.
    fn operators(&self, schema: &str, name: &str) -> &[Operator];
    /// The type of that name, where its use can run code of users.
    fn type_named(&self, schema: &str, name: &str) -> Option<&Type>;
}

type BySchema<T> = HashMap<Box<str>, HashMap<Box<str>, T>>;

/// A catalog held in memory.
#[derive(Clone, Debug, Default)]
pub struct CatalogSnapshot {
    schemas: HashSet<Box<str>>,
    relations: BySchema<Relation>,
    functions: BySchema<Vec<Arc<Function>>>,
    functions_by_oid: HashMap<u32, Arc<Function>>,
    operators: BySchema<Vec<Operator>>,
    types: BySchema<Type>,
    /// Relations of schemas that the session may not use: no name leads there, but views do.
    hidden: BySchema<Relation>,
    /// Types of users that hold any text, sent as it is in both formats: citext, domains over text. Not enums: they hold labels.
    text_types: HashSet<u32>,
}

impl CatalogSnapshot {
    /// An empty database: every name in it is unresolved.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a schema.
    pub fn add_schema(&mut self, schema: impl Into<Box<str>>) {
        self.schemas.insert(schema.into());
    }

    /// Adds a relation, and its schema.
    pub fn add_relation(&mut self, relation: Relation) {
        self.schemas.insert(relation.schema.clone());
        self.relations.entry(relation.schema.clone()).or_default().insert(relation.name.clone(), relation);
    }

    /// Adds a function, and its schema.
    pub fn add_function(&mut self, function: Function) {
        self.schemas.insert(function.schema.clone());
        let function = Arc::new(function);
        self.functions_by_oid.insert(function.oid, Arc::clone(&function));
        let overloads = self.functions.entry(function.schema.clone()).or_default();
        overloads.entry(function.name.clone()).or_default().push(function);
    }

    /// Adds an operator that is not built in.
    pub fn add_operator(&mut self, operator: Operator) {
        let overloads = self.operators.entry(operator.schema.clone()).or_default();
        overloads.entry(operator.name.clone()).or_default().push(operator);
    }

    /// Adds a type; types of one name are merged.
    pub fn add_type(&mut self, of: Type) {
        let types = self.types.entry(of.schema.clone()).or_default();
        match types.get_mut(&of.name) {
            Some(known) => {
                known.calls.extend(of.calls);
                known.casts.extend(of.casts);
            }
            None => {
                types.insert(of.name.clone(), of);
            }
        }
    }

    /// Adds a relation of a schema that the session may not use: it is found by no name, but views reach it.
    pub fn add_hidden_relation(&mut self, relation: Relation) {
        self.hidden.entry(relation.schema.clone()).or_default().insert(relation.name.clone(), relation);
    }

    /// Notes that values of a type are sent as their text in both formats.
    pub fn add_text_type(&mut self, oid: u32) {
        self.text_types.insert(oid);
    }

    /// Whether values of a type of users are sent as their text in both formats.
    pub fn is_text_type(&self, oid: u32) -> bool {
        self.text_types.contains(&oid)
    }

    /// Every relation, those of schemas that the session may not use included, in no order.
    pub(crate) fn all_relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations().chain(self.hidden.values().flat_map(HashMap::values))
    }

    /// The relation of that name, whether or not the session may use its schema.
    pub(crate) fn any_relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relation(schema, name).or_else(|| self.hidden.get(schema)?.get(name))
    }

    /// Every relation, in no order.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.values().flat_map(HashMap::values)
    }
}

impl Catalog for CatalogSnapshot {
    fn has_schema(&self, schema: &str) -> bool {
        self.schemas.contains(schema)
    }

    fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(schema)?.get(name)
    }

    fn functions(&self, schema: &str, name: &str) -> &[Arc<Function>] {
        self.functions.get(schema).and_then(|names| names.get(name)).map_or(&[], Vec::as_slice)
    }

    fn function_by_oid(&self, oid: u32) -> Option<&Arc<Function>> {
        self.functions_by_oid.get(&oid)
    }

    fn operators(&self, schema: &str, name: &str) -> &[Operator] {
        self.operators.get(schema).and_then(|names| names.get(name)).map_or(&[], Vec::as_slice)
    }

    fn type_named(&self, schema: &str, name: &str) -> Option<&Type> {
        self.types.get(schema)?.get(name)
    }
}

/// A snapshot with the relations that no name leads to: what views are made of.
pub(crate) struct WholeCatalog<'a>(pub(crate) &'a CatalogSnapshot);

impl Catalog for WholeCatalog<'_> {
    fn has_schema(&self, schema: &str) -> bool {
        self.0.has_schema(schema)
    }

    fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.0.any_relation(schema, name)
    }

    fn functions(&self, schema: &str, name: &str) -> &[Arc<Function>] {
        self.0.functions(schema, name)
    }

    fn function_by_oid(&self, oid: u32) -> Option<&Arc<Function>> {
        self.0.function_by_oid(oid)
    }

    fn operators(&self, schema: &str, name: &str) -> &[Operator] {
        self.0.operators(schema, name)
    }

    fn type_named(&self, schema: &str, name: &str) -> Option<&Type> {
        self.0.type_named(schema, name)
    }
}
