//! The parser's tree -> [`Plan`].
//!
//! INVARIANT(lineage-complete): every relation, column and sub-query of the tree is in the plan. The builder counts what it takes
//! and what there is; where the numbers differ, the grammar has a corner that is not handled, and the statement is
//! [`Plan::Unknown`].

mod expression;
mod from;
mod query;
mod statement;

use super::ir::{Plan, Query};
use crate::tree::{Node, Value};

/// Deeper sub-queries and joins are not followed: the plan is walked on threads with ordinary stacks.
const MAX_DEPTH: usize = 64;

/// The plan of one statement, and whether constants are part of it: positions in `ORDER BY` and the like.
pub(crate) fn plan(node: &Node) -> (Plan, Sensitivity) {
    let mut builder = Builder::default();
    let plan = builder.statement(node).unwrap_or_else(|NotUnderstood(why)| Plan::Unknown(why));
    let sensitivity = if builder.positions { Sensitivity::Literals } else { Sensitivity::None };
    (plan, sensitivity)
}

/// Whether the content of literals is part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sensitivity {
    None,
    Literals,
}

/// Why a query was not understood.
#[derive(Clone, Copy, Debug)]
struct NotUnderstood(&'static str);

type Built<T> = Result<T, NotUnderstood>;

/// How many relations, columns and queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    relations: usize,
    columns: usize,
    queries: usize,
}

#[derive(Default)]
struct Builder {
    taken: Count,
    depth: usize,
    positions: bool,
}

impl Builder {
    /// A query that stands for itself, with everything in it accounted for.
    fn whole_query(&mut self, node: &Node) -> Built<Query> {
        let before = std::mem::take(&mut self.taken);
        let query = self.query(node)?;
        let mut there = Count::default();
        count(node, &mut there);
        if there != self.taken {
            return Err(NotUnderstood("it holds a form that masks do not follow"));
        }
        self.taken = before;
        Ok(query)
    }

    fn deeper<T>(&mut self, build: impl FnOnce(&mut Self) -> Built<T>) -> Built<T> {
        if self.depth >= MAX_DEPTH {
            return Err(NotUnderstood("its queries or joins are nested too deeply"));
        }
        self.depth += 1;
        let built = build(self);
        self.depth -= 1;
        built
    }
}

/// What is in a tree. Locked relations are named again, not read.
fn count(node: &Node, there: &mut Count) {
    match node.kind {
        "RangeVar" => there.relations += 1,
        "ColumnRef" => there.columns += 1,
        "LockingClause" => return,
        kind if kind.ends_with("Stmt") => there.queries += 1,
        _ => {}
    }
    for (_, value) in &node.fields {
        count_value(value, there);
    }
}

fn count_value(value: &Value, there: &mut Count) {
    match value {
        Value::Node(node) => count(node, there),
        Value::List(items) => items.iter().for_each(|item| count_value(item, there)),
        _ => {}
    }
}
