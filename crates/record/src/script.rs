//! A recording as an SQL script. Only what the server took whole and finished stands in it as statements: nothing that was
//! refused or failed can run by running the script, and a text cannot get out of its comment.

use std::{collections::BTreeMap, fmt::Write as _};

use portcullis_core::{SessionFacts, Verdict};

use crate::view::{ParameterView, StatementView, View, What, is_invisible};

/// How texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Byte for byte.
    Exact,
    /// For a terminal, which nothing in them may steer.
    Visible,
}

/// A script in the making: statements wait for their outcome.
#[derive(Debug)]
pub struct Script {
    exactness: Exactness,
    open: BTreeMap<u64, (String, StatementView)>,
}

impl Script {
    /// An empty one.
    pub const fn new(exactness: Exactness) -> Self {
        Self { exactness, open: BTreeMap::new() }
    }

    /// Takes an event in; what to write for it.
    pub fn take(&mut self, view: &View) -> String {
        match &view.what {
            What::Began { facts } => heading(facts),
            What::Statement(statement) if statement.decision == Verdict::Allow => {
                let before = format!(
                    "\n-- {} #{}, allowed by {}\n{}",
                    view.at,
                    statement.number,
                    visible(&statement.rule.to_string()),
                    parameters(&statement.parameters)
                );
                self.open.insert(statement.number, (before, (**statement).clone()));
                String::new()
            }
            What::Statement(statement) => {
                let word = if statement.decision == Verdict::Deny { "DENIED" } else { "HELD" };
                let rule = visible(&statement.rule.to_string());
                let mut text = format!(
                    "\n-- {} #{}, {word} by {rule}: {}\n",
                    view.at,
                    statement.number,
                    visible(&statement.reason)
                );
                text.push_str(&commented(&statement.text));
                text
            }
            What::Done { number, tag, rows, bytes } => {
                let Some((mut text, statement)) = self.open.remove(number) else { return String::new() };
                text.push_str(&self.statement(&statement, tag));
                let _ = writeln!(text, "-- {}: {rows} rows, {}", visible(tag), size(*bytes));
                text
            }
            What::Failed { number, code, message } => {
                let Some((mut text, statement)) = self.open.remove(number) else { return String::new() };
                text.push_str(&commented(&statement.text));
                let _ = writeln!(text, "-- FAILED {}: {}", visible(code), visible(message));
                text
            }
            What::Note { text } => format!("\n-- {} {}\n", view.at, visible(text)),
            What::Ended { reason } => {
                let open = self.unfinished();
                format!("{open}\n-- {} the session ended: {}\n", view.at, visible(&reason.to_string()))
            }
            _ => String::new(),
        }
    }

    /// What never finished.
    pub fn finish(mut self) -> String {
        self.unfinished()
    }

    fn unfinished(&mut self) -> String {
        let mut text = String::new();
        for (before, statement) in std::mem::take(&mut self.open).into_values() {
            text.push_str(&before);
            text.push_str(&commented(&statement.text));
            text.push_str("-- its outcome is not in the recording\n");
        }
        text
    }

    fn statement(&self, statement: &StatementView, tag: &str) -> String {
        if let Some(length) = statement.text_cut_from {
            return format!("-- cut: the statement has {length} bytes\n{}", commented(&statement.text));
        }
        // What follows such a statement in a script is taken for its data.
        if tag.starts_with("COPY") && statement.text.to_ascii_lowercase().contains("stdin") {
            return format!("-- its data came from the client\n{}", commented(&statement.text));
        }
        let text = match self.exactness {
            Exactness::Exact => statement.text.clone(),
            Exactness::Visible => statement.text.split('\n').map(visible).collect::<Vec<_>>().join("\n"),
        };
        let text = text.trim_end();
        // After a comment to the end of the line a semicolon would be part of it.
        let end = if text.ends_with(';') { "" } else { "\n;" };
        format!("{text}{end}\n")
    }
}

fn heading(facts: &SessionFacts) -> String {
    let who = facts.principal.as_ref().map_or("nobody", |principal| principal.name.as_str());
    let connection = facts.connection.as_ref().map_or("-", |name| name.as_str());
    let database = facts.database.as_deref().unwrap_or("-");
    let what = format!("session {} of {who} on {connection}, database {database}", facts.session);
    let from = format!("from {} at {}", facts.source.address, facts.started_at);
    format!("-- {}\n-- {}\n", visible(&what), visible(&from))
}

fn parameters(parameters: &[ParameterView]) -> String {
    let mut text = String::new();
    for (place, parameter) in parameters.iter().enumerate() {
        let value = parameter
            .value
            .as_ref()
            .map_or_else(|| "NULL".to_owned(), |value| format!("'{}'", visible(value)));
        let kind = parameter.kind.as_deref().map(|kind| format!(" ({})", visible(kind))).unwrap_or_default();
        let cut = parameter.cut_from.map(|length| format!(" … of {length} bytes")).unwrap_or_default();
        let _ = writeln!(text, "-- ${} = {value}{cut}{kind}", place + 1);
    }
    text
}

/// A text as comments: whatever ends a line for anybody begins a comment again.
fn commented(text: &str) -> String {
    let lines = text.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']);
    lines.map(|line| format!("-- {}\n", visible(line))).collect()
}

/// Text of others for a terminal: what would steer it, reorder it or hide in it is shown as an escape.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if is_invisible(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Bytes as people say them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes / 1_024, bytes % 1_024 * 10 / 1_024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_get_out_of_its_comment() {
        for text in
            ["DROP\nTABLE x", "DROP\rTABLE x", "DROP\r\nTABLE x", "DROP\u{2028}TABLE x", "x\u{1b}[2J\n\\! sh"]
        {
            let commented = commented(text);
            assert!(
                commented.split(['\n', '\r']).all(|line| line.is_empty() || line.starts_with("-- ")),
                "{text:?}"
            );
            assert!(!commented.contains('\u{1b}'));
        }
    }
}
