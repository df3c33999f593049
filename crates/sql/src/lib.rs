//! PostgreSQL statements -> operations: what a text does, as verbs over resources, judged with the server's own grammar.
//!
//! **Promises.** Pure: no sockets, no clock, no files. Every relation, function, operator and type a statement names is in
//! the result under every search path that may be in force; what is not understood completely is
//! [`Classified::Not`](portcullis_core::operation::Classified). No text crashes or hangs the process: texts are bounded and
//! parsed on threads with big stacks. Two texts share a cached analysis only where their analyses are equal.
//!
//! **Does not** decide (`policy`), read the server's catalog or track the session (`protocols/postgres`); it says what it
//! needs of both ([`Catalog`], [`SessionState`]). Triggers, column defaults, row security, check constraints and index
//! expressions are code of a relation's owner: they run under the permission on the relation and are not listed.
//!
//! **How to read it**: [`analyzer`] (cache, threads), `parse` (text -> tree -> statements), `walk` (one statement), `resolve`
//! (names -> resources), `functions` (which built-in functions are free); `lineage` (which output columns are masked).
//!
//! **References**: PostgreSQL 18 `gram.y`, `parse_func.c`, `parse_relation.c`, `namespace.c`; libpg_query 18.

pub mod analysis;
pub mod analyzer;
mod cache;
pub mod catalog;
pub mod error;
mod functions;
pub mod fuzz;
pub mod harmless;
mod lineage;
pub mod names;
mod normalise;
mod outside;
mod parse;
mod pool;
pub mod preview;
pub mod resolve;
pub mod search_path;
pub mod session_state;
pub mod settings;
mod shape;
mod tree;
mod walk;
mod weight;

pub use analysis::{Analysis, Statement};
pub use analyzer::{Analyzer, AnalyzerConfig, AnalyzerCounts};
pub use catalog::{
    Catalog, CatalogSnapshot, Column, Function, FunctionKind, FunctionLanguage, Operator, Reached, Relation,
    RelationKind, Type, Volatility,
};
pub use error::AnalysisError;
pub use lineage::{
    ColumnRule, ColumnTest, CopyFormat, CopyOut, FunctionTest, MaskMap, MaskRefusal, MaskedColumn,
    MaskedOutput, OutputColumn, OutputMask, masked_function_call,
};
pub use names::{UNRESOLVED_SCHEMA, resource_name};
pub use resolve::{Resolved, resolve_function_call};
pub use search_path::{SearchPath, SearchPaths};
pub use session_state::{NoSessionState, SessionEffect, SessionState, Transaction};
pub use settings::{SettingChange, SettingScope, SettingValue};
pub use shape::without_literals;
