//! A plan as EXPLAIN gives it in JSON: how many rows it is about, and as text that a person can read.
//!
//! What is shown: what each step is, the names of relations, indexes and columns' aliases, and the planner's figures. Conditions are
//! shown only where nothing is masked for the session. They hold the statement's own literals and bound values, which stand in the
//! request anyway, but also what the planner put there: constants of views, of row security and of folded expressions. The figures are
//! estimates from statistics; a condition on a masked column, by which they could tell a value, is refused before a statement is held,
//! unless its mask allows such conditions.

use std::fmt::Write as _;

use serde_json::Value;

/// The most steps that are written out.
const MAX_STEPS: usize = 60;
/// The most characters of one condition.
const MAX_CONDITION: usize = 200;

/// Conditions, in the order they are shown.
const CONDITIONS: [&str; 8] = [
    "Index Cond",
    "Recheck Cond",
    "TID Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "One-Time Filter",
];

/// Whether conditions may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conditions {
    Shown,
    Hidden,
}

/// What a plan says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows that are changed, or given back where nothing is.
    pub(super) rows: u64,
    /// As text.
    pub(super) text: String,
}

/// Reads what EXPLAIN gave; nothing where it is not understood.
pub(super) fn read(json: &str, conditions: Conditions) -> Option<Plan> {
    let parsed: Value = serde_json::from_str(json).ok()?;
    // A statement that rules rewrite has several plans, or none.
    let plans: Vec<&Value> = parsed.as_array()?.iter().map(|one| one.get("Plan")).collect::<Option<_>>()?;
    let (mut changed, mut changes) = (0.0, false);
    for plan in &plans {
        sum_changed(plan, &mut changed, &mut changes);
    }
    let given: f64 = plans.iter().map(|plan| figure(plan, "Plan Rows")).sum();
    let mut writer = Writer { text: String::new(), steps: 0, conditions };
    for plan in &plans {
        writer.step(plan, 0);
    }
    if writer.steps > MAX_STEPS {
        let _ = writeln!(writer.text, "… and {} more steps", writer.steps - MAX_STEPS);
    }
    let text =
        if plans.is_empty() { "nothing is done".to_owned() } else { writer.text.trim_end().to_owned() };
    Some(Plan { rows: whole(if changes { changed } else { given }), text })
}

/// Rows that go into each step that changes a table, wherever it stands: in a CTE, too. The partitions of one table are one step.
fn sum_changed(plan: &Value, changed: &mut f64, changes: &mut bool) {
    let modifies = plan.get("Node Type").and_then(Value::as_str) == Some("ModifyTable");
    *changes |= modifies;
    for child in children(plan) {
        // What comes beside it (`InitPlan`, `SubPlan`) is looked up, not changed.
        let feeds = matches!(word(child, "Parent Relationship"), "Outer" | "Member");
        if modifies && feeds {
            *changed += figure(child, "Plan Rows");
        }
        sum_changed(child, changed, changes);
    }
}

fn children(plan: &Value) -> &[Value] {
    plan.get("Plans").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn word<'a>(plan: &'a Value, field: &str) -> &'a str {
    plan.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn figure(plan: &Value, field: &str) -> f64 {
    plan.get(field).and_then(Value::as_f64).filter(|figure| figure.is_finite()).unwrap_or(0.0)
}

/// A figure of the planner as a number of rows.
fn whole(figure: f64) -> u64 {
    const MOST: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between zero and 2^53")]
    let rows = figure.clamp(0.0, MOST).round() as u64;
    rows
}

struct Writer {
    text: String,
    steps: usize,
    conditions: Conditions,
}

impl Writer {
    fn step(&mut self, plan: &Value, depth: usize) {
        self.steps += 1;
        if self.steps <= MAX_STEPS {
            self.line(plan, depth);
        }
        for child in children(plan) {
            self.step(child, depth + 1);
        }
    }

    fn line(&mut self, plan: &Value, depth: usize) {
        let indent = "  ".repeat(depth.min(30));
        let arrow = if depth == 0 { "" } else { "-> " };
        let _ = write!(self.text, "{indent}{arrow}{}", title(plan));
        // A step that changes a table gives back no rows, unless it says which.
        match whole(figure(plan, "Plan Rows")) {
            0 if word(plan, "Node Type") == "ModifyTable" => self.text.push('\n'),
            rows => {
                let _ = writeln!(self.text, "  (about {rows} rows, cost {:.0})", figure(plan, "Total Cost"));
            }
        }
        if let Some(removed) = plan.get("Subplans Removed").and_then(Value::as_u64).filter(|&n| n > 0) {
            let _ = writeln!(self.text, "{indent}     {removed} partitions left out");
        }
        if self.conditions == Conditions::Hidden {
            return;
        }
        for name in CONDITIONS {
            let condition = word(plan, name);
            if !condition.is_empty() {
                let shown: String = condition.chars().take(MAX_CONDITION).collect();
                let cut = if shown.len() < condition.len() { "…" } else { "" };
                let _ = writeln!(self.text, "{indent}     {name}: {shown}{cut}");
            }
        }
    }
}

/// `Index Scan using orders_pkey on orders o`, as the server's own text has it.
fn title(plan: &Value) -> String {
    let kind = match (word(plan, "Node Type"), word(plan, "Operation")) {
        ("ModifyTable", "") => "Change",
        ("ModifyTable", operation) => operation,
        (kind, _) => kind,
    };
    let mut title = String::new();
    let subplan = word(plan, "Subplan Name");
    if !subplan.is_empty() {
        let _ = write!(title, "{subplan}: ");
    }
    title.push_str(kind);
    match word(plan, "Join Type") {
        "" | "Inner" => {}
        join => {
            let _ = write!(title, " ({join})");
        }
    }
    for (field, before) in
        [("Index Name", "using"), ("Relation Name", "on"), ("CTE Name", "on"), ("Function Name", "on")]
    {
        let name = word(plan, field);
        if !name.is_empty() {
            let _ = write!(title, " {before} {name}");
        }
    }
    let alias = word(plan, "Alias");
    let known = ["Relation Name", "CTE Name", "Function Name"].map(|field| word(plan, field));
    if !alias.is_empty() && !known.contains(&alias) {
        let _ = write!(title, " {alias}");
    }
    title
}

#[cfg(test)]
mod tests;
