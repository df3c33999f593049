//! Text -> tree -> statements. Runs on the pool's threads only.

use std::sync::Arc;

use crate::{
    Analysis, AnalysisError,
    analysis::{Shape, Statement},
    lineage::{self, CopyOut, Plan},
    tree::{self, Value},
    walk::Walker,
};

/// Statement kinds whose analysis can be shared between texts that differ in literals.
const SHAREABLE: [&str; 5] = ["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"];

pub(crate) fn analyze(text: Arc<str>) -> Result<Analysis, AnalysisError> {
    let parsed = pg_query::parse(&text, pg_query::ParserOptions::DEFAULT).map_err(refusal)?;
    let raw = &parsed.protobuf.stmts;
    let mut statements = Vec::with_capacity(raw.len());
    let mut literal_sensitive = raw.len() != 1;
    for one in raw {
        let Some(stmt) = &one.stmt else { continue };
        let tree = tree::tree_of(stmt.as_ref()).map_err(|_| AnalysisError::TooDeep)?;
        let Value::Node(node) = tree else {
            return Err(AnalysisError::Internal("the parser gave a statement without a node"));
        };
        let mut walker = Walker::new(&text);
        walker.statement(&node);
        literal_sensitive |= walker.is_literal_sensitive() || !SHAREABLE.contains(&node.kind);
        let range =
            if raw.len() == 1 { None } else { Some(range_of(&text, one.stmt_location, one.stmt_len)) };
        let (plan, sensitivity) = lineage::plan(&node);
        literal_sensitive |= sensitivity == lineage::Sensitivity::Literals;
        let copy_out = CopyOut::of(&node);
        statements.push(Statement { range, plan: Arc::new(plan), copy_out, ..walker.finish() });
    }
    Ok(Analysis { text, shape: Arc::new(Shape::new(statements, literal_sensitive)) })
}

/// The plan of a text that is one statement; nothing where it is not. Recursive: only on a thread with a big stack.
pub(crate) fn plan_of(text: &str) -> Option<Plan> {
    let parsed = pg_query::parse(text, pg_query::ParserOptions::DEFAULT).ok()?;
    let [only] = parsed.protobuf.stmts.as_slice() else { return None };
    let Ok(Value::Node(node)) = tree::tree_of(only.stmt.as_ref()?.as_ref()) else { return None };
    Some(lineage::plan(&node).0)
}

/// The bytes of one statement of several, without white space around it; the grammar leaves out comments before it. A length
/// of zero means to the end (`RawStmt`, `parsenodes.h`).
fn range_of(text: &str, location: i32, length: i32) -> std::ops::Range<usize> {
    let start = usize::try_from(location).unwrap_or(0).min(text.len());
    let length = usize::try_from(length).unwrap_or(0);
    let end = if length == 0 { text.len() } else { start.saturating_add(length).min(text.len()) };
    let slice = text.get(start..end).unwrap_or("");
    let lead = slice.len() - slice.trim_start().len();
    let trail = slice.len() - slice.trim_end().len();
    start + lead..end - trail.min(end.saturating_sub(start + lead))
}

fn refusal(error: pg_query::Error) -> AnalysisError {
    match error {
        pg_query::Error::Conversion(_) => AnalysisError::Nul,
        pg_query::Error::Decode(_) => AnalysisError::TooDeep,
        pg_query::Error::Parse(message) => {
            let deep = ["stack depth limit exceeded", "nested too deeply", "memory exhausted"];
            if deep.iter().any(|sign| message.contains(sign)) {
                AnalysisError::TooDeep
            } else {
                AnalysisError::Syntax { message }
            }
        }
        _ => AnalysisError::Internal("the parser failed"),
    }
}
