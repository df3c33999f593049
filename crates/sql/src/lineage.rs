//! Which columns of a statement's output carry masked values.
//!
//! **Promises.** For every statement the answer is right or the statement is refused: a form that is not understood, a name that can
//! mean two things, a relation the catalog does not know beside a masked one, code nobody sees into. What is computed from a masked
//! column never passes but through a view, where it is hidden as a whole. Every output column that is a masked column and nothing
//! else has the origin that the server must confirm.
//!
//! **Does not** change values (`mask`), read rows or compare descriptions (`protocols/postgres`). What is not followed: large objects,
//! triggers, column defaults and row security (code of a relation's owner), foreign tables that lead back into the same database.
//!
//! **How to read it**: `map` (what is masked), `ir` and `build` (a statement without a catalog), `follow` (columns through a query),
//! `judge` (statements). `relations`: what names mean; `views`: what views carry on.
//!
//! **References**: PostgreSQL 18 `parse_relation.c`, `parse_clause.c`, `parse_target.c` (`markTargetListOrigin`), `parse_cte.c`.

mod alike;
mod build;
mod copy;
mod follow;
mod ir;
mod judge;
mod map;
mod refusal;
mod relations;
mod scope;
mod views;
mod weight;

use std::sync::Arc;

pub(crate) use build::{Sensitivity, plan};
pub use copy::{CopyFormat, CopyOut};
pub(crate) use ir::Plan;
pub use judge::masked_function_call;
pub(crate) use judge::{When, masked};
pub use map::{ColumnRule, ColumnTest, FunctionTest, MaskMap, MaskedColumn};
pub use refusal::MaskRefusal;

/// What a statement gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaskedOutput {
    /// Nothing masked can come back.
    Clear,
    /// Rows with these columns, exactly as many.
    Rows(Arc<[OutputColumn]>),
    /// COPY data with these columns, exactly as many.
    Copy(Arc<[OutputColumn]>),
}

/// One column of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// The table and attribute that RowDescription must name; absent: none, or a column that is not masked.
    pub origin: Option<(u32, i16)>,
    /// The type, where it is known: COPY data does not say.
    pub type_oid: Option<u32>,
    /// What is masked in it.
    pub mask: Option<OutputMask>,
}

/// How an output column is masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputMask {
    /// Index of the rule.
    pub rule: u16,
    /// Everything is hidden, whatever the rule would show.
    pub whole: bool,
}
