//! Events as lines that a person reads: statements with their decisions, results as tables. Nothing in a recording steers the
//! terminal of who looks at it.

use std::{collections::HashMap, fmt::Write as _};

use portcullis_core::{SessionFacts, Timestamp, Verdict};
use portcullis_record::{
    View, What,
    view::{ColumnView, ParameterView, StatementView},
};

pub use portcullis_record::script::{size, visible};

/// The widest cell of a table, in characters.
const WIDEST: usize = 60;
/// Rows held back for the widths of their columns; then the table is printed and begun again.
const HELD: usize = 1_000;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Plain text.
    Off,
    /// As a terminal shows.
    On,
}

/// What was shown so far, as far as later events need it.
pub struct Screen {
    colours: Colours,
    began: Option<Timestamp>,
    open: HashMap<u64, Statement>,
}

struct Statement {
    at: Timestamp,
    columns: Vec<ColumnView>,
    rows: Vec<Vec<Option<String>>>,
    shown: u64,
    cut: bool,
}

impl Screen {
    /// Nothing shown yet.
    pub fn new(colours: Colours) -> Self {
        Self { colours, began: None, open: HashMap::new() }
    }

    /// Takes an event in; what to print for it, with line ends. Rows come with the end of their result.
    pub fn show(&mut self, view: &View) -> String {
        let began = *self.began.get_or_insert(view.at);
        let since = interval(u64::try_from(view.at.since(began).as_micros()).unwrap_or(u64::MAX));
        match &view.what {
            What::Began { facts } => self.bold(&heading(facts)) + "\n",
            What::Statement(statement) => {
                let open =
                    Statement { at: view.at, columns: Vec::new(), rows: Vec::new(), shown: 0, cut: false };
                if statement.decision != Verdict::Deny {
                    self.open.insert(statement.number, open);
                }
                self.statement(&since, statement)
            }
            What::Columns { number, columns } => {
                let mut text = String::new();
                if let Some(open) = self.open.get_mut(number) {
                    // Described twice, or fetched in pieces: what is there belongs to the columns before.
                    if open.columns != *columns {
                        text = open.table();
                    }
                    open.columns.clone_from(columns);
                }
                text
            }
            What::Row { number, values } => {
                let Some(open) = self.open.get_mut(number) else { return String::new() };
                open.rows.push(values.clone());
                if open.rows.len() >= HELD { open.table() } else { String::new() }
            }
            What::CopyData { number, data } => {
                let mut text = self.flush(*number);
                for line in data.lines() {
                    let _ = writeln!(text, "  | {}", visible(line));
                }
                text
            }
            What::Cut { number } => {
                let text = self.flush(*number);
                if let Some(open) = self.open.get_mut(number) {
                    open.cut = true;
                }
                text + "  … cut here: the recording keeps no more of this result\n"
            }
            What::Done { number, tag, rows, bytes } => self.done(view.at, *number, tag, *rows, *bytes),
            What::Failed { number, code, message } => {
                let text = self.flush(*number);
                self.open.remove(number);
                text + &self.red(&format!("  ERROR {}: {}", visible(code), visible(message))) + "\n"
            }
            What::Notice { severity, code, message } => {
                format!("  {} {}: {}\n", visible(severity), visible(code), visible(message))
            }
            What::Note { text } => format!("[+{since}] {}\n", visible(text)),
            What::Ended { reason } => {
                let mut text = self.flush_all();
                let _ = writeln!(
                    text,
                    "\n[+{since}] {}",
                    self.bold(&format!("session ended: {}", visible(&reason.to_string())))
                );
                text
            }
            What::Error { error } => self.red(&visible(error)) + "\n",
        }
    }

    /// What was held back when there are no more events.
    pub fn flush_all(&mut self) -> String {
        let mut numbers: Vec<u64> = self.open.keys().copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.flush(number)).collect()
    }

    fn flush(&mut self, number: u64) -> String {
        self.open.get_mut(&number).map(Statement::table).unwrap_or_default()
    }

    fn statement(&self, since: &str, statement: &StatementView) -> String {
        let StatementView { number, text, text_cut_from, decision, rule, reason, parameters } = statement;
        let rule = visible(&rule.to_string());
        let decided = match decision {
            Verdict::Allow => self.green(&format!("allowed by {rule}")),
            Verdict::Hold => self.red(&format!("HELD by {rule}: {}", visible(reason))),
            Verdict::Deny => self.red(&format!("DENIED by {rule}: {}", visible(reason))),
        };
        let mut out = format!("\n[+{since}] #{number} {decided}\n");
        for line in text.split(['\n', '\r']).filter(|line| !line.is_empty()) {
            let _ = writeln!(out, "  {}", self.bold(&visible(line)));
        }
        if let Some(length) = text_cut_from {
            let _ = writeln!(out, "  … cut here: the statement has {length} bytes");
        }
        for (place, parameter) in parameters.iter().enumerate() {
            let _ = writeln!(out, "  ${} = {}", place + 1, value(parameter));
        }
        out
    }

    fn done(&mut self, at: Timestamp, number: u64, tag: &str, rows: u64, bytes: u64) -> String {
        let Some(mut open) = self.open.remove(&number) else { return String::new() };
        let mut text = open.table();
        let took = interval(u64::try_from(at.since(open.at).as_micros()).unwrap_or(u64::MAX));
        let cut = if open.cut { format!(", {} of them shown", open.shown) } else { String::new() };
        let counted = match rows {
            0 => String::new(),
            1 => format!(", 1 row{cut}, {}", size(bytes)),
            rows => format!(", {rows} rows{cut}, {}", size(bytes)),
        };
        let _ = writeln!(text, "  -- {}{counted}, {took}", visible(tag));
        text
    }

    fn bold(&self, text: &str) -> String {
        self.painted("1", text)
    }

    fn green(&self, text: &str) -> String {
        self.painted("32", text)
    }

    fn red(&self, text: &str) -> String {
        self.painted("1;31", text)
    }

    fn painted(&self, how: &str, text: &str) -> String {
        match self.colours {
            Colours::On => format!("\x1b[{how}m{text}\x1b[0m"),
            Colours::Off => text.to_owned(),
        }
    }
}

impl Statement {
    /// The rows held, as a table.
    fn table(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return String::new();
        }
        self.shown += rows.len() as u64;
        let name = |column: &ColumnView| {
            let masked = if column.masked { " (masked)" } else { "" };
            format!("{}{masked}", visible(&column.name))
        };
        let mut lines: Vec<Vec<String>> = vec![self.columns.iter().map(name).collect()];
        lines.extend(rows.iter().map(|row| row.iter().map(|cell| shown(cell.as_deref())).collect()));
        let count = lines.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..count)
            .map(|place| {
                lines.iter().filter_map(|line| line.get(place)).map(|cell| width(cell)).max().unwrap_or(0)
            })
            .collect();
        if self.columns.is_empty() {
            lines.remove(0);
        } else {
            lines.insert(1, widths.iter().map(|width| "─".repeat(*width)).collect());
        }
        let mut text = String::new();
        for line in &lines {
            let mut row = String::from(" ");
            for (cell, width_of) in line.iter().zip(&widths) {
                let _ = write!(row, " {cell}{} ", " ".repeat(width_of.saturating_sub(width(cell))));
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }
}

fn heading(facts: &SessionFacts) -> String {
    let who = facts.principal.as_ref().map_or("nobody", |principal| principal.name.as_str());
    let connection = facts.connection.as_ref().map_or("-", |name| name.as_str());
    let database = facts.database.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let text = format!(
        "session {} of {who} on {connection}{database}, from {}, {}",
        facts.session, facts.source.address, facts.started_at
    );
    visible(&text)
}

fn value(parameter: &ParameterView) -> String {
    let kind = parameter.kind.as_ref().map(|kind| format!(" ({})", visible(kind))).unwrap_or_default();
    let cut = parameter.cut_from.map(|length| format!(" … of {length} bytes")).unwrap_or_default();
    match &parameter.value {
        None => format!("NULL{kind}"),
        Some(value) => format!("'{}'{cut}{kind}", visible(value)),
    }
}

/// One cell: NULL is not the text `NULL`.
fn shown(cell: Option<&str>) -> String {
    let Some(cell) = cell else { return "∅".to_owned() };
    let cell = visible(cell);
    match cell.char_indices().nth(WIDEST) {
        None => cell,
        Some((place, _)) => format!("{}…", cell.get(..place).unwrap_or_default()),
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// Microseconds as people say them.
pub fn interval(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros}µs"),
        1_000..1_000_000 => format!("{}.{:01}ms", micros / 1_000, micros % 1_000 / 100),
        1_000_000..60_000_000 => format!("{}.{:02}s", micros / 1_000_000, micros % 1_000_000 / 10_000),
        _ => crate::output::duration(micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests;
