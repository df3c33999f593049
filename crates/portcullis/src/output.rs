//! What people and programs read: tables, JSON, colours.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table};
use portcullis_core::Timestamp;
use serde::Serialize;

use crate::failure::Failure;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: one JSON document.
    Json,
}

/// Whether colours belong on standard error: a terminal, and no <https://no-color.org>.
pub fn colours_on_stderr() -> bool {
    std::io::stderr().is_terminal() && may_colour()
}

/// Whether colours belong on standard output.
pub fn colours_on_stdout() -> bool {
    std::io::stdout().is_terminal() && may_colour()
}

fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints a line on standard output. A reader that went away (`| head`) is no error.
pub fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref());
}

/// Prints one JSON document.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::cannot(error.to_string()))?;
    line(text);
    Ok(())
}

/// Prints rows under headings, without lines, wrapped to the terminal where there is one; `nothing` where there are none.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>, nothing: &str) {
    table_lines(headings, rows, nothing).iter().for_each(line);
}

/// The lines of [`table`].
pub fn table_lines(headings: &[&str], rows: Vec<Vec<String>>, nothing: &str) -> Vec<String> {
    if rows.is_empty() {
        return vec![nothing.to_owned()];
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    // A program or a file gets whole lines: what is cut in two is found by no `grep`.
    let wraps = std::io::stdout().is_terminal();
    table.set_content_arrangement(if wraps {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        table.add_row(row.into_iter().map(|cell| printable(&cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|text| text.trim_end().to_owned()).collect()
}

/// Text of others for a terminal: no control characters, so that nothing in a statement moves the cursor.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' || c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Seconds as people say them: `15m`, `1h 5m`, `45s`.
pub fn duration(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let parts = [(hours, "h"), (minutes, "m"), (rest, "s")];
    let said: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said.join(" ") }
}

/// A verdict, green or red where colours belong.
pub fn verdict(text: &str, good: bool) -> String {
    match (colours_on_stdout(), good) {
        (true, true) => format!("\x1b[1;32m{text}\x1b[0m"),
        (true, false) => format!("\x1b[1;31m{text}\x1b[0m"),
        (false, _) => text.to_owned(),
    }
}

/// Reads `90s`, `5m`, `1h`, `2d`; whole seconds.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("expected a number and s, m, h or d, such as `90s` or `15m`".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number and a unit, such as `90s`".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "that is too long".to_owned())
}

/// A time to the second, in UTC: what people compare.
pub fn time(at: Timestamp) -> String {
    Timestamp::from_seconds(at.as_seconds()).to_string().replace(".000000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_printed_moves_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\nc\td"), "a\u{fffd}[2Jb c d");
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(90));
        assert_eq!(parse_duration("2d"), Ok(172_800));
        for bad in ["", "5", "m", "5 m", "1h30m", "-1s", "99999999999999999999s", "9999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_shown_to_the_second() {
        assert_eq!(time(Timestamp::from_micros(1_790_000_000_123_456)), "2026-09-21T14:13:20Z");
    }

    #[test]
    fn durations_read_as_they_are_written() {
        for (seconds, text) in [(0, "0s"), (45, "45s"), (900, "15m"), (3900, "1h 5m"), (86_400, "24h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
