//! Conditions of grants: CEL expressions, compiled and checked when documents are, evaluated with the facts of a session.
//!
//! Invariants: an expression that does not evaluate to a bool is a no (`condition-error-is-no`); what an expression can
//! cost is bounded before it is parsed (length, nesting) and before it is kept (comprehensions are never nested).

mod values;

use std::sync::Arc;

use cel::{
    ExecutionError, Program, Value,
    common::ast::{Expr, IdedExpr},
};

use crate::Facts;

/// The longest expression, in bytes.
pub const MAX_SOURCE: usize = 1024;
/// The parser's stack, in bytes.
const PARSER_STACK: usize = 32 << 20;
/// The deepest nesting of brackets, and the longest run of prefix operators: the parser recurses.
const MAX_NESTING: usize = 16;
/// The most operators and commas: the parser recurses on some chains.
const MAX_OPERATORS: usize = 64;
/// The most dots: the parser recurses on each of a chain.
const MAX_DOTS: usize = 64;
/// The deepest tree: the evaluator recurses, taking some 35 KiB of stack per call without optimisation.
const MAX_DEPTH: usize = 12;
/// The most `? :`: the parser recurses on each.
const MAX_CHOICES: usize = 4;
/// The most comprehensions (`all`, `exists`, `map`, …) in one expression; nested ones are refused whatever their number.
const MAX_COMPREHENSIONS: usize = 4;

/// The variables an expression may use.
pub const VARIABLES: [&str; 5] = ["client", "connection", "now", "principal", "source"];

/// A compiled condition.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    program: Arc<Program>,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Condition").field(&self.source).finish()
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Condition {}

/// Why a condition is no condition, or did not evaluate. Either way the answer is no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Longer, deeper or costlier than allowed.
    #[error("{0}")]
    TooCostly(String),
    /// Not CEL. `at` is the byte offset into the expression.
    #[error("{detail}")]
    Syntax {
        /// What the parser says.
        detail: String,
        /// Where, in bytes from the expression's start.
        at: usize,
    },
    /// A name nothing has.
    #[error("unknown {what} `{name}`")]
    Unknown {
        /// `variable` or `function`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// It evaluated to something that is not a bool.
    #[error("the condition is not a yes or no but {0}")]
    NotBool(String),
    /// It did not evaluate.
    #[error("{0}")]
    Evaluation(String),
}

impl Condition {
    /// Compiles an expression. Costs are bounded first: see the module.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        bound_text(source)?;
        let program = parse(source)?;
        bound_tree(program.expression())?;
        let names = program.references();
        let mut bound = Vec::new();
        bound_variables(program.expression(), &mut bound);
        for name in sorted(names.variables()) {
            if !VARIABLES.contains(&name) && !name.starts_with('@') && !bound.iter().any(|own| own == name) {
                return Err(ConditionError::Unknown { what: "variable", name: name.to_owned() });
            }
        }
        for name in sorted(names.functions()) {
            let plain = name.starts_with(|c: char| c.is_ascii_alphabetic());
            if plain && !values::FUNCTIONS.contains(&name) {
                return Err(ConditionError::Unknown { what: "function", name: name.to_owned() });
            }
        }
        Ok(Self { source: source.into(), program: Arc::new(program) })
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds. INVARIANT(condition-error-is-no): callers treat an error as false and tell the reason.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, ConditionError> {
        let context = values::context(facts);
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(ConditionError::NotBool(format!("a value of type {}", other.type_of()))),
            Err(error) => Err(ConditionError::Evaluation(plain(&error))),
        }
    }
}

/// The functions and macros an expression may call, for suggestions.
pub(crate) const fn functions() -> &'static [&'static str] {
    &values::FUNCTIONS
}

impl Condition {
    /// Evaluates it once with made-up facts, so that what can never work (types that do not fit, fields that do not
    /// exist, networks that are none) is told when the documents are checked.
    pub(crate) fn try_out(&self) -> Result<(), ConditionError> {
        values::with_sample_facts(|facts| self.holds(facts).map(|_| ())).unwrap_or(Ok(()))
    }
}

/// Parses on a thread of its own: the parser takes some 130 KiB of stack per level of nesting without optimisation, more
/// than a task's thread has for the nesting allowed.
fn parse(source: &str) -> Result<Program, ConditionError> {
    let work = || values::environment().compile(source).map_err(|errors| syntax_error(source, &errors));
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new()
            .name("condition".to_owned())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, work);
        let result = spawned.ok().and_then(|thread| thread.join().ok());
        result
            .unwrap_or_else(|| Err(ConditionError::TooCostly("the condition could not be parsed".to_owned())))
    })
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

/// The crate's text prints values with Rust's `Debug`; the usual ones are said plainly.
fn plain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}`"),
        ExecutionError::UndeclaredReference(name) => format!("unknown name `{name}`"),
        ExecutionError::FunctionError { function, message } => format!("{function}: {message}"),
        ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
        ExecutionError::NoSuchOverload(overload) => format!(
            "`{}` does not work on ({})",
            overload.function().trim_start_matches('@').trim_matches('_'),
            overload.argument_types().join(", ")
        ),
        other => other.to_string(),
    }
}

fn bound_text(source: &str) -> Result<(), ConditionError> {
    if source.trim().is_empty() {
        return Err(ConditionError::Syntax { detail: "the condition is empty".to_owned(), at: 0 });
    }
    if source.len() > MAX_SOURCE {
        return Err(ConditionError::TooCostly(format!(
            "a condition is at most {MAX_SOURCE} bytes, this is {}",
            source.len()
        )));
    }
    let (mut depth, mut prefixes, mut operators) = (0_usize, 0_usize, 0_usize);
    let dots = source.bytes().filter(|byte| *byte == b'.').count();
    let choices = source.bytes().filter(|byte| *byte == b'?').count();
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        prefixes = match byte {
            b'!' | b'-' => prefixes + 1,
            b' ' | b'\t' | b'\n' | b'\r' => prefixes,
            _ => 0,
        };
        if matches!(
            byte,
            b'!' | b'-' | b'+' | b'*' | b'/' | b'%' | b'&' | b'|' | b'?' | b',' | b'<' | b'>' | b'=' | b'['
        ) {
            operators += 1;
        }
        if dots > MAX_DOTS
            || choices > MAX_CHOICES
            || depth > MAX_NESTING
            || prefixes > MAX_NESTING
            || operators > MAX_OPERATORS
        {
            return Err(ConditionError::TooCostly(format!(
                "a condition nests at most {MAX_NESTING} deep and has at most {MAX_OPERATORS} operators, {MAX_DOTS} dots and {MAX_CHOICES} `?`"
            )));
        }
    }
    Ok(())
}

/// How deep the tree is, counted no further than needed.
fn depth(node: &IdedExpr, left: usize) -> usize {
    if left == 0 {
        return 1;
    }
    let of = |child: &IdedExpr| depth(child, left - 1);
    let deepest = match &node.expr {
        Expr::Call(call) => call.target.iter().map(AsRef::as_ref).chain(&call.args).map(of).max(),
        Expr::Comprehension(all) => {
            let parts = [&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result];
            parts.into_iter().map(of).max()
        }
        Expr::List(list) => list.elements.iter().map(of).max(),
        Expr::Select(select) => Some(of(&select.operand)),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) => None,
    };
    1 + deepest.unwrap_or(0)
}

/// Walks the tree, whose depth `bound_text` bounds, calling `visit` with the number of comprehensions around a node.
fn walk(node: &IdedExpr, inside: usize, visit: &mut dyn FnMut(&Expr, usize)) {
    visit(&node.expr, inside);
    match &node.expr {
        Expr::Call(call) => {
            for child in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                walk(child, inside, visit);
            }
        }
        Expr::Comprehension(all) => {
            walk(&all.iter_range, inside, visit);
            for child in [&all.accu_init, &all.loop_cond, &all.loop_step, &all.result] {
                walk(child, inside + 1, visit);
            }
        }
        Expr::List(list) => list.elements.iter().for_each(|child| walk(child, inside, visit)),
        Expr::Select(select) => walk(&select.operand, inside, visit),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) => {}
    }
}

fn bound_tree(expression: &IdedExpr) -> Result<(), ConditionError> {
    if depth(expression, MAX_DEPTH) > MAX_DEPTH {
        return Err(ConditionError::TooCostly(format!(
            "a condition is a tree of at most {MAX_DEPTH} levels: chain fewer calls and operators"
        )));
    }
    let (mut count, mut nested, mut built) = (0_usize, false, false);
    walk(expression, 0, &mut |expr, inside| match expr {
        Expr::Comprehension(_) => {
            count += 1;
            nested |= inside > 0;
        }
        Expr::Map(_) | Expr::Struct(_) => built = true,
        _ => {}
    });
    if nested || count > MAX_COMPREHENSIONS {
        return Err(ConditionError::TooCostly(format!(
            "a condition has at most {MAX_COMPREHENSIONS} of all, exists, exists_one, filter and map, and none inside another"
        )));
    }
    if built {
        return Err(ConditionError::TooCostly("a condition builds no maps and no objects".to_owned()));
    }
    Ok(())
}

fn bound_variables(expression: &IdedExpr, names: &mut Vec<String>) {
    walk(expression, 0, &mut |expr, _| {
        if let Expr::Comprehension(all) = expr {
            names.push(all.iter_var.clone());
            names.push(all.accu_var.clone());
            names.extend(all.iter_var2.clone());
        }
    });
}

fn syntax_error(source: &str, errors: &cel::ParseErrors) -> ConditionError {
    let Some(first) = errors.errors.first() else {
        return ConditionError::Syntax { detail: "not a CEL expression".to_owned(), at: 0 };
    };
    let (line, column) =
        (usize::try_from(first.pos.0).unwrap_or(1), usize::try_from(first.pos.1).unwrap_or(1));
    let before: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let at = source.len().min(before + column.saturating_sub(1));
    // the parser lists every token it would have taken; where it stopped says more
    let line = first.msg.lines().next().unwrap_or_default().trim_start_matches("Syntax error: ");
    let line = line.split(" expecting ").next().unwrap_or_default().trim();
    let detail = if line.contains("<EOF>") { "it ends too early" } else { line };
    let detail = if detail.is_empty() { "not a CEL expression".to_owned() } else { detail.to_owned() };
    ConditionError::Syntax { detail, at }
}

#[cfg(test)]
mod tests;
