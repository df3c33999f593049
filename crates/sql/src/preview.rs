//! What of a statement can be worked out on another session before it runs: its plan, the rows it would change, what they look like.
//!
//! **Promises.** Every text that is made here is read again by the server's own grammar and is one statement: `EXPLAIN` of exactly the
//! statement that was given, or that statement with `RETURNING`, or a `SELECT` of the rows it names. Texts are made from trees, never
//! put together from pieces of others.
//!
//! **Does not** run anything, or know what functions and tables do: the caller asks the server (`protocols/postgres`).
//!
//! **How to read it**: [`explain`], [`rows`], [`samples`], [`arguments`].
//!
//! **References**: PostgreSQL 18 `gram.y` (`ExplainableStmt`), `parsenodes.h`.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use pg_query::{
    NodeEnum,
    protobuf::{self, CmdType, RangeVar, ReturningClause},
};

use crate::{
    Analysis,
    names::Name,
    parse,
    pool::STACK_BYTES,
    tree::{self, Node, Value},
};

/// Why something cannot be worked out: a phrase for people, with nothing of the statement's text in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPreviewed(pub &'static str);

/// What `EXPLAIN` is asked for: the plan with the planner's figures, as JSON. Nothing runs.
const EXPLAIN: &str = "EXPLAIN (FORMAT JSON, COSTS ON) ";

/// A statement whose rows can be counted by running it, as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsPreview {
    /// Every function that it calls by name: what they do only the server knows.
    pub calls: BTreeSet<Name>,
    /// The relation whose rows change.
    pub target: Name,
    /// Whether rows can be shown as they are and as they would be.
    pub sampled: bool,
}

/// Texts that give a few of the rows that a statement changes, analysed.
#[derive(Clone, Debug)]
pub struct Samples {
    /// A `SELECT` of the rows as they are; absent where the rows cannot be named without changing something.
    pub before: Option<Analysis>,
    /// The statement itself, giving back the rows as they would be.
    pub after: Analysis,
}

/// The statement with `EXPLAIN` before it. Blocks while it is parsed, on a thread of its own.
///
/// # Errors
/// It is not one statement that can be planned without being run.
pub fn explain(text: &str) -> Result<String, NotPreviewed> {
    on_big_stack(|| {
        let stmt = only(text)?;
        let plannable = |node: &NodeEnum| {
            matches!(
                node,
                NodeEnum::SelectStmt(_)
                    | NodeEnum::InsertStmt(_)
                    | NodeEnum::UpdateStmt(_)
                    | NodeEnum::DeleteStmt(_)
                    | NodeEnum::MergeStmt(_)
            )
        };
        match &stmt {
            node if plannable(node) => {}
            NodeEnum::DeclareCursorStmt(_) => {}
            NodeEnum::CreateTableAsStmt(made)
                if made.query.as_deref().and_then(|query| query.node.as_ref()).is_some_and(plannable) => {}
            NodeEnum::ExplainStmt(_) => return Err(NotPreviewed("the statement is itself an EXPLAIN")),
            _ => return Err(NotPreviewed("a statement of this kind has no plan")),
        }
        let wrapped = format!("{EXPLAIN}{text}");
        let NodeEnum::ExplainStmt(explained) = only(&wrapped)? else {
            return Err(NotPreviewed("the statement does not stand behind EXPLAIN as it stands alone"));
        };
        let inner = explained.query.and_then(|query| query.node);
        let same = explained.options.len() == 2 && inner.is_some_and(|inner| is_same(&inner, &stmt));
        if same {
            Ok(wrapped)
        } else {
            Err(NotPreviewed("the statement does not stand behind EXPLAIN as it stands alone"))
        }
    })
}

/// Whether a statement's rows can be counted by running it in a transaction that is rolled back, as far as its text tells. Blocks
/// while it is parsed, on a thread of its own.
///
/// # Errors
/// It does something that a rollback does not take back, or that would be otherwise the next time.
pub fn rows(text: &str) -> Result<RowsPreview, NotPreviewed> {
    on_big_stack(|| {
        let stmt = only(text)?;
        let (relation, sampled) = match &stmt {
            NodeEnum::UpdateStmt(update) => (update.relation.as_ref(), true),
            NodeEnum::DeleteStmt(delete) => (delete.relation.as_ref(), true),
            NodeEnum::MergeStmt(merge) => (merge.relation.as_ref(), false),
            _ => return Err(NotPreviewed("only UPDATE, DELETE and MERGE are counted by running them")),
        };
        let relation = relation.ok_or(NotPreviewed("the statement names no table"))?;
        let target = match &*relation.schemaname {
            "" => Name::bare(&*relation.relname),
            schema => Name::qualified(schema, &*relation.relname),
        };
        let found = RefCell::new(Found::default());
        tree(&stmt)?.any(&|node| {
            found.borrow_mut().look(node);
            false
        });
        let Found { calls, why } = found.into_inner();
        match why {
            Some(why) => Err(NotPreviewed(why)),
            None => Ok(RowsPreview { calls, target, sampled }),
        }
    })
}

/// Texts that show `columns` of the rows that a statement changes, at most `most` of them before. Blocks while it is parsed, on a
/// thread of its own.
///
/// # Errors
/// The statement cannot be rewritten so that it certainly means what it meant.
pub fn samples(text: &str, columns: &[String], most: u8) -> Result<Samples, NotPreviewed> {
    on_big_stack(|| match only(text)? {
        NodeEnum::UpdateStmt(mut update) => {
            let of = |relation: &Option<RangeVar>| relation.clone().ok_or(NotPreviewed(NO_SAMPLE));
            let target = of(&update.relation)?;
            let mut select = select_of(&target, columns, most);
            select.from_clause.extend(update.from_clause.iter().cloned());
            select.where_clause.clone_from(&update.where_clause);
            select.with_clause.clone_from(&update.with_clause);
            let before = before(select)?;
            if update.returning_clause.is_none() {
                update.returning_clause = Some(returning(&target, columns));
            }
            Ok(Samples { before, after: text_of(NodeEnum::UpdateStmt(update))? })
        }
        NodeEnum::DeleteStmt(mut delete) => {
            let target = delete.relation.clone().ok_or(NotPreviewed(NO_SAMPLE))?;
            let mut select = select_of(&target, columns, most);
            select.from_clause.extend(delete.using_clause.iter().cloned());
            select.where_clause.clone_from(&delete.where_clause);
            select.with_clause.clone_from(&delete.with_clause);
            let before = before(select)?;
            if delete.returning_clause.is_none() {
                delete.returning_clause = Some(returning(&target, columns));
            }
            Ok(Samples { before, after: text_of(NodeEnum::DeleteStmt(delete))? })
        }
        _ => Err(NotPreviewed(NO_SAMPLE)),
    })
}

/// The statement that `EXECUTE` runs, from the text that prepared it: a `PREPARE`, or a Parse message with the statement itself. The
/// types that a `PREPARE` declares are left to the server to infer. Blocks while it is parsed, on a thread of its own.
///
/// # Errors
/// It is not one statement, or cannot be written so that it certainly means what it meant.
pub fn prepared(text: &str) -> Result<String, NotPreviewed> {
    on_big_stack(|| match only(text)? {
        NodeEnum::PrepareStmt(prepare) => {
            let query = prepare.query.and_then(|query| query.node);
            let query = query.ok_or(NotPreviewed("the statement prepares nothing"))?;
            text_of(query).map(|analysis| analysis.text().to_string())
        }
        _ => Ok(text.to_owned()),
    })
}

/// The values that an `EXECUTE` gives to the statement it runs, as texts to bind; null where absent. Blocks while it is parsed, on a
/// thread of its own.
///
/// # Errors
/// It is none, or one of its arguments is more than a constant: that would have to be run to be known.
pub fn arguments(text: &str) -> Result<Vec<Option<String>>, NotPreviewed> {
    on_big_stack(|| {
        let NodeEnum::ExecuteStmt(execute) = only(text)? else {
            return Err(NotPreviewed("the statement is no EXECUTE"));
        };
        execute.params.iter().map(constant).collect()
    })
}

fn constant(argument: &protobuf::Node) -> Result<Option<String>, NotPreviewed> {
    use protobuf::a_const::Val;
    let computed = NotPreviewed("an argument of the EXECUTE would have to be computed");
    let Some(NodeEnum::AConst(constant)) = &argument.node else { return Err(computed) };
    match &constant.val {
        _ if constant.isnull => Ok(None),
        Some(Val::Ival(number)) => Ok(Some(number.ival.to_string())),
        Some(Val::Fval(number)) => Ok(Some(number.fval.clone())),
        Some(Val::Boolval(flag)) => Ok(Some(flag.boolval.to_string())),
        Some(Val::Sval(text)) => Ok(Some(text.sval.clone())),
        Some(Val::Bsval(_)) | None => Err(computed),
    }
}

const NO_SAMPLE: &str = "the rows of this statement are not shown";

/// What a walk through a statement found.
#[derive(Default)]
struct Found {
    calls: BTreeSet<Name>,
    why: Option<&'static str>,
}

impl Found {
    fn look(&mut self, node: &Node) {
        let inserts = |node: &Node| node.int("command_type") == i64::from(CmdType::CmdInsert as i32);
        let why = match node.kind {
            "InsertStmt" => Some("it inserts rows, which can take numbers from sequences"),
            "MergeWhenClause" if inserts(node) => {
                Some("it inserts rows, which can take numbers from sequences")
            }
            "SetToDefault" => {
                Some("it sets a column to its default, which can take a number from a sequence")
            }
            "CurrentOfExpr" => Some("it means the row of a cursor that only its own session has"),
            "IntoClause" => Some("it makes a table"),
            "RangeTableSample" => Some("it looks at a random sample, which is another each time"),
            "FuncCall" => {
                self.call(node);
                None
            }
            _ => None,
        };
        self.why = self.why.or(why);
    }

    fn call(&mut self, node: &Node) {
        let parts: Vec<&str> = node.list("funcname").iter().filter_map(Value::string).collect();
        let name = match parts.as_slice() {
            [name] => Some(Name::bare(*name)),
            [schema, name] => Some(Name::qualified(*schema, *name)),
            _ => None,
        };
        match name {
            Some(name) => {
                self.calls.insert(name);
            }
            None => self.why = Some("it calls a function whose name was not understood"),
        }
    }
}

/// `SELECT` of the target's columns from the target alone; what else the statement looks at comes behind it.
fn select_of(target: &RangeVar, columns: &[String], most: u8) -> protobuf::SelectStmt {
    protobuf::SelectStmt {
        target_list: shown(target, columns),
        from_clause: vec![node(NodeEnum::RangeVar(target.clone()))],
        limit_count: Some(Box::new(node(NodeEnum::AConst(protobuf::AConst {
            isnull: false,
            location: -1,
            val: Some(protobuf::a_const::Val::Ival(protobuf::Integer { ival: i32::from(most) })),
        })))),
        limit_option: protobuf::LimitOption::Count.into(),
        op: protobuf::SetOperation::SetopNone.into(),
        ..protobuf::SelectStmt::default()
    }
}

fn returning(target: &RangeVar, columns: &[String]) -> ReturningClause {
    ReturningClause { options: Vec::new(), exprs: shown(target, columns) }
}

/// `t.a, t.b`: the columns of the target under the name that the statement has for it.
fn shown(target: &RangeVar, columns: &[String]) -> Vec<protobuf::Node> {
    let known_as = target.alias.as_ref().map_or(&target.relname, |alias| &alias.aliasname);
    let word = |text: &str| node(NodeEnum::String(protobuf::String { sval: text.to_owned() }));
    let column = |column: &String| {
        let reference = protobuf::ColumnRef { fields: vec![word(known_as), word(column)], location: -1 };
        node(NodeEnum::ResTarget(Box::new(protobuf::ResTarget {
            val: Some(Box::new(node(NodeEnum::ColumnRef(reference)))),
            location: -1,
            ..protobuf::ResTarget::default()
        })))
    };
    columns.iter().map(column).collect()
}

/// The text of a `SELECT` that certainly changes nothing; nothing where a CTE of the statement does.
fn before(select: protobuf::SelectStmt) -> Result<Option<Analysis>, NotPreviewed> {
    let select = NodeEnum::SelectStmt(Box::new(select));
    let changes = tree(&select)?.any(&|node| {
        matches!(
            node.kind,
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "LockingClause" | "IntoClause"
        )
    });
    if changes { Ok(None) } else { text_of(select).map(Some) }
}

/// A tree as text that certainly reads as that tree, analysed.
fn text_of(stmt: NodeEnum) -> Result<Analysis, NotPreviewed> {
    let raw = protobuf::RawStmt { stmt: Some(Box::new(node(stmt))), stmt_location: 0, stmt_len: 0 };
    let result = protobuf::ParseResult { version: 0, stmts: vec![raw] };
    let text = pg_query::deparse(&result, pg_query::DeparseOptions::default())
        .map_err(|_| NotPreviewed(NO_SAMPLE))?;
    let read = only(&text)?;
    let [protobuf::RawStmt { stmt: Some(made), .. }] = result.stmts.as_slice() else {
        return Err(NotPreviewed(NO_SAMPLE));
    };
    match &made.node {
        Some(made) if is_same(made, &read) => {
            parse::analyze(text.into()).map_err(|_| NotPreviewed(NO_SAMPLE))
        }
        _ => Err(NotPreviewed(NO_SAMPLE)),
    }
}

const fn node(of: NodeEnum) -> protobuf::Node {
    protobuf::Node { node: Some(of) }
}

/// The only statement of a text.
fn only(text: &str) -> Result<NodeEnum, NotPreviewed> {
    let parsed = pg_query::parse(text, pg_query::ParserOptions::DEFAULT)
        .map_err(|_| NotPreviewed("the statement was not understood"))?;
    let mut stmts = parsed.protobuf.stmts.into_iter();
    match (stmts.next(), stmts.next()) {
        (Some(one), None) => one.stmt.and_then(|stmt| stmt.node).ok_or(NotPreviewed("there is no statement")),
        _ => Err(NotPreviewed("there is more than one statement, or none")),
    }
}

/// The tree of a statement, without the places its parts stand at.
fn tree(of: &NodeEnum) -> Result<Box<Node>, NotPreviewed> {
    match tree::tree_of(of) {
        Ok(Value::Node(node)) => Ok(node),
        _ => Err(NotPreviewed("the statement is nested too deeply")),
    }
}

/// Whether two statements are the same but for the places their parts stand at.
fn is_same(left: &NodeEnum, right: &NodeEnum) -> bool {
    match (tree(left), tree(right)) {
        (Ok(left), Ok(right)) => is_same_node(&left, &right),
        _ => false,
    }
}

fn is_same_node(left: &Node, right: &Node) -> bool {
    /// The fields but for those that say where something stands in the text.
    fn meant(node: &Node) -> impl Iterator<Item = &(&'static str, Value)> {
        let place = |name: &str| ["location", "list_start", "list_end"].iter().any(|end| name.ends_with(end));
        node.fields.iter().filter(move |(name, _)| !place(name))
    }
    let same = |((name, one), (other_name, other)): (&(&str, Value), &(&str, Value))| {
        name == other_name && is_same_value(one, other)
    };
    left.kind == right.kind
        && meant(left).count() == meant(right).count()
        && meant(left).zip(meant(right)).all(same)
}

fn is_same_value(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Absent, Value::Absent) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(left), Value::Int(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| is_same_value(left, right))
        }
        (Value::Node(left), Value::Node(right)) => is_same_node(left, right),
        _ => false,
    }
}

/// Trees are recursive, and so is everything done to them.
fn on_big_stack<T: Send>(work: impl FnOnce() -> Result<T, NotPreviewed> + Send) -> Result<T, NotPreviewed> {
    let failed = NotPreviewed("the statement could not be looked at");
    std::thread::scope(|scope| {
        let work = move || catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(failed));
        let thread = std::thread::Builder::new().name("sql-preview".to_owned()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or(Err(failed)),
            Err(_) => Err(failed),
        }
    })
}

#[cfg(test)]
mod tests;
