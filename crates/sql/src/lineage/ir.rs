//! What a statement does with columns, without a catalog: a small tree made from the parser's, bounded in depth, so that it can
//! be walked and dropped on any thread.
//!
//! Whatever the builder knows no form for is a list of [`Use`]s: every column and every sub-query below it counts as computed with.

use crate::names::Name;

/// A column as written: `c`, `t.c`, `s.t.c`.
pub(crate) type Reference = Box<[Box<str>]>;

/// What becomes of a statement's rows.
#[derive(Debug)]
pub(crate) enum Plan {
    /// They come back.
    Query(Query),
    /// Nothing comes back, but what the inner statement looks at counts: `EXPLAIN`, `DECLARE`, `PREPARE`.
    Discarded(Box<Plan>),
    /// They go to a relation: `CREATE TABLE AS`, views.
    Stored(Box<Plan>),
    /// `COPY table [(columns)] TO`.
    CopyTable { relation: Name, columns: Vec<Box<str>>, to: CopyTo },
    /// `COPY (query) TO`.
    CopyQuery { query: Query, to: CopyTo },
    /// `EXECUTE`, `FETCH`: what the session remembers.
    Remembered,
    /// Naming a masked relation is harmless: `TRUNCATE`, `VACUUM`, `DROP TABLE`, `COPY FROM`, …
    Harmless,
    /// Rows are put in the order of an index: those of one relation, or of every one that was put in order before.
    Clusters { all: bool },
    /// A type changes, and every value of it is looked at.
    ChecksType,
    /// A schema gets another name.
    RenamesSchema(Box<str>),
    /// It can make another way to what is masked: code, foreign tables, extensions.
    Opaque(&'static str),
    /// Anything else: must not name a masked relation.
    Other,
    /// A query that was not understood, and why.
    Unknown(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyTo {
    Client,
    /// A file of the server.
    Server,
}

/// A query: anything that can stand in parentheses or in a CTE.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) ctes: Vec<Cte>,
    pub(crate) recursive: bool,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) struct Cte {
    pub(crate) name: Box<str>,
    pub(crate) columns: Vec<Box<str>>,
    pub(crate) query: Query,
}

#[derive(Debug)]
pub(crate) enum Body {
    Select(Box<Select>),
    Values(Values),
    Set(SetOperation),
    Modify(Box<Modify>),
}

#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) from: Vec<From>,
    pub(crate) targets: Vec<Target>,
    /// Conditions, limits, windows.
    pub(crate) uses: Vec<Use>,
    /// `GROUP BY`, `ORDER BY`, `DISTINCT ON`.
    pub(crate) keys: Vec<Key>,
    /// `DISTINCT`.
    pub(crate) distinct: bool,
    /// `SELECT INTO`.
    pub(crate) into: bool,
}

#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) uses: Vec<Use>,
    pub(crate) keys: Vec<Key>,
}

/// `UNION`, `INTERSECT`, `EXCEPT` and chains of one of them.
#[derive(Debug)]
pub(crate) struct SetOperation {
    pub(crate) branches: Vec<Query>,
    /// Anything but `UNION ALL` compares rows.
    pub(crate) compares: bool,
    pub(crate) uses: Vec<Use>,
    pub(crate) keys: Vec<Key>,
}

/// `INSERT`, `UPDATE`, `DELETE`, `MERGE`.
#[derive(Debug)]
pub(crate) struct Modify {
    pub(crate) relation: Name,
    pub(crate) alias: Option<Box<str>>,
    /// What an `INSERT` inserts.
    pub(crate) source: Option<Query>,
    pub(crate) from: Vec<From>,
    /// `MERGE`: `RETURNING *` begins with the source.
    pub(crate) source_first: bool,
    /// `ON CONFLICT`: `excluded` can be named.
    pub(crate) excluded: bool,
    /// Columns of the target that are compared by name: `ON CONFLICT (c)`.
    pub(crate) compared: Vec<Box<str>>,
    /// Conditions and assigned values.
    pub(crate) uses: Vec<Use>,
    pub(crate) returning: Option<Returning>,
}

#[derive(Debug)]
pub(crate) struct Returning {
    /// What the row before and after goes by, besides `old` and `new`.
    pub(crate) names: Vec<Box<str>>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Debug)]
pub(crate) struct Target {
    /// What the column is called: the alias, or what `FigureColname` (parse_target.c) makes of the expression; absent where
    /// that is not known.
    pub(crate) name: Option<Box<str>>,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Column(Reference),
    /// `*`, `t.*`.
    Star(Reference),
    /// Anything else.
    Computed(Vec<Use>),
}

/// What rows are ordered, grouped or made distinct by.
#[derive(Debug)]
pub(crate) enum Key {
    /// The output column at this place, counted from 1.
    Position(usize),
    /// An output column of that name, or an input column.
    Name(Box<str>),
    Uses(Vec<Use>),
}

#[derive(Debug)]
pub(crate) struct Alias {
    pub(crate) name: Box<str>,
    pub(crate) columns: Vec<Box<str>>,
}

#[derive(Debug)]
pub(crate) enum From {
    Relation {
        name: Name,
        alias: Option<Alias>,
    },
    Query {
        query: Box<Query>,
        lateral: bool,
        alias: Option<Alias>,
    },
    /// A function, `XMLTABLE` and the like: what it returns is computed from its arguments.
    Function {
        uses: Vec<Use>,
        name: Option<Box<str>>,
        columns: Vec<Box<str>>,
        /// How many columns it has, where that is known.
        count: Option<usize>,
        /// Such a function, which has one column where the name means the built-in one.
        single: Option<Name>,
    },
    Join(Box<Join>),
}

#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) left: From,
    pub(crate) right: From,
    pub(crate) natural: bool,
    pub(crate) using: Vec<Box<str>>,
    pub(crate) using_alias: Option<Box<str>>,
    pub(crate) on: Vec<Use>,
    pub(crate) alias: Option<Alias>,
}

/// A column or a sub-query somewhere, and what for.
#[derive(Debug)]
pub(crate) enum Use {
    Column {
        column: Reference,
        how: How,
    },
    /// `t.*` or `*` where it is no target: a whole row.
    Row {
        of: Reference,
        how: How,
    },
    /// The output of a sub-query; what it looks at itself counts as in any query.
    Query {
        query: Box<Query>,
        how: How,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum How {
    /// Some value is made of it.
    Computed,
    /// It is written to a column.
    Written,
    /// It is compared, in a form that says no more than yes or no, as long as the functions and operators are the server's own.
    Compared(Box<[Via]>),
    /// It is counted, as long as the function is the server's own.
    Counted(Name),
    /// Its rows are looked for, not at: `EXISTS`.
    Ignored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Operator(Name),
    Function(Name),
}
