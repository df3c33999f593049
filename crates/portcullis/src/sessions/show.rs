//! `portcullis sessions show`: one session and its statements.

use std::{collections::BTreeMap, ops::ControlFlow};

use portcullis_client::{RecordingView, SessionDetail};
use portcullis_core::{RuleRef, Timestamp, Verdict};
use portcullis_record::{View, What};
use serde::Serialize;

use super::source::{Follow, SourceArgs, from_recording};
use crate::{
    failure::Failure,
    output::{self, Format, duration},
    replay::screen::{interval, size, visible},
};

/// Shows one session: who, to what, under which grant, how it ended, and every statement with its decision and outcome.
///
/// Without a recording the statements are in the audit log only: `portcullis audit search --session SESSION`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    detail: SessionDetail,
    statements: Vec<Row>,
}

/// One statement.
#[derive(Debug, Serialize)]
struct Row {
    number: u64,
    at: Timestamp,
    /// From the beginning of the recording, in microseconds.
    offset_us: u64,
    /// Until the server was done, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_us: Option<u64>,
    decision: Verdict,
    rule: RuleRef,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// How it failed, as the server said.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Columns whose values a mask changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    masked: Vec<String>,
    text: String,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let source = args.source.open()?;
    let session = args.source.session;
    let detail = source.detail(session)?;
    let is_recorded = detail.as_ref().is_none_or(|detail| detail.recording.is_some());
    let mut shown = Statements::default();
    if is_recorded {
        source.each(session, Follow::No, |view| shown.take(view))?;
    }
    let detail = match (detail, source.recording(session)?) {
        (Some(detail), _) => detail,
        (None, Some(recording)) => from_recording(&recording, shown.facts(), &shown.notable),
        (None, None) => return Err(Failure::cannot("the session cannot be found")),
    };
    let statements: Vec<Row> = shown.rows.into_values().collect();
    if format == Format::Json {
        return output::json(&Shown { detail, statements });
    }
    heading(&detail);
    output::line("");
    if detail.recording.is_none() {
        output::line(format!(
            "not recorded; its decisions: portcullis audit search --oldest-first --session {session}"
        ));
        return Ok(());
    }
    output::table(
        &["#", "at", "took", "decision", "rows", "bytes", "masked", "statement"],
        statements.iter().map(row).collect(),
        "no statements",
    );
    Ok(())
}

/// What is gathered of the events: bounded by the number of statements, not of rows.
#[derive(Default)]
struct Statements {
    began: Option<Timestamp>,
    rows: BTreeMap<u64, Row>,
    /// Beginning, statements and end, without what they held.
    notable: Vec<View>,
}

impl Statements {
    fn take(&mut self, view: View) -> ControlFlow<()> {
        let View { at, ref what, .. } = view;
        let began = *self.began.get_or_insert(at);
        match what {
            What::Statement(statement) => {
                let row = Row {
                    number: statement.number,
                    at,
                    offset_us: micros(began, at),
                    took_us: None,
                    decision: statement.decision,
                    rule: statement.rule.clone(),
                    reason: statement.reason.clone(),
                    rows: None,
                    bytes: None,
                    error: None,
                    masked: Vec::new(),
                    text: statement.text.clone(),
                };
                self.rows.insert(statement.number, row);
                self.notable.push(view);
            }
            What::Columns { number, columns } => {
                if let Some(row) = self.rows.get_mut(number) {
                    row.masked = columns.iter().filter(|c| c.masked).map(|c| c.name.clone()).collect();
                }
            }
            What::Done { number, rows, bytes, .. } => {
                if let Some(row) = self.rows.get_mut(number) {
                    row.took_us = Some(micros(row.at, at));
                    (row.rows, row.bytes) = (Some(*rows), Some(*bytes));
                }
            }
            What::Failed { number, code, message } => {
                if let Some(row) = self.rows.get_mut(number) {
                    row.took_us = Some(micros(row.at, at));
                    row.error = Some(format!("{code}: {message}"));
                }
            }
            What::Began { .. } | What::Ended { .. } => self.notable.push(view),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn facts(&self) -> Option<std::sync::Arc<portcullis_core::SessionFacts>> {
        self.notable.iter().find_map(|view| match &view.what {
            What::Began { facts } => Some(facts.clone()),
            _ => None,
        })
    }
}

fn micros(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX)
}

/// Facts, line by line.
fn heading(detail: &SessionDetail) {
    let SessionDetail { session, recording } = detail;
    let say = |what: &str, text: String| output::line(format!("{what:<12}{}", visible(&text)));
    say("session", session.session.to_string());
    if let Some(facts) = session.facts.as_deref() {
        match &facts.principal {
            Some(principal) => say("who", format!("{} ({})", principal.name, principal.key())),
            None => say("who", "nobody: authentication failed".to_owned()),
        }
        let connection = facts.connection.as_ref().map_or("-", |name| name.as_str());
        let database = facts.database.as_deref();
        say(
            "connection",
            database.map_or_else(
                || connection.to_owned(),
                |database| format!("{connection}, database {database}"),
            ),
        );
        let client = facts.client.0.as_str();
        let from = facts.source.address.to_string();
        say("from", if client.is_empty() { from } else { format!("{from}, which calls itself {client}") });
        let grants: Vec<&str> = facts.grants.iter().map(|grant| grant.0.as_str()).collect();
        if !grants.is_empty() {
            say("grants", grants.join(", "));
        }
        if let Some(window) = facts.window {
            say("window", window.to_string());
        }
        if let Some(end) = facts.ends_at {
            say("ends at", format!("{} at the latest", output::time(end)));
        }
    }
    say("started", output::time(session.started_at));
    match (session.ended_at, &session.reason) {
        (Some(end), Some(reason)) => {
            let lasted = duration(end.since(session.started_at).as_secs());
            say("ended", format!("{} after {lasted}: {reason}", output::time(end)));
        }
        _ => say("state", session.state.as_str().to_owned()),
    }
    let denied = session.denied.map_or_else(String::new, |denied| format!(", {denied} refused"));
    say("statements", format!("{}{denied}", session.statements));
    match recording {
        Some(RecordingView { problem: Some(problem), .. }) => say("recording", format!("BROKEN: {problem}")),
        Some(RecordingView { state, segments, events, bytes, .. }) => {
            say(
                "recording",
                format!("{state}: {}, {events} events, {}", count(*segments, "sealed segment"), size(*bytes)),
            );
        }
        None => say("recording", "none".to_owned()),
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn row(row: &Row) -> Vec<String> {
    let dash = || "-".to_owned();
    let decision = match (row.decision, &row.error) {
        (Verdict::Allow, Some(error)) => {
            format!("allow, failed {}", error.split(':').next().unwrap_or_default())
        }
        (Verdict::Allow, None) => "allow".to_owned(),
        (verdict, _) => format!("{verdict}: {}", row.reason),
    };
    vec![
        row.number.to_string(),
        format!("+{}", interval(row.offset_us)),
        row.took_us.map_or_else(dash, interval),
        decision,
        row.rows.map_or_else(dash, |rows| rows.to_string()),
        row.bytes.map_or_else(dash, size),
        if row.masked.is_empty() { dash() } else { row.masked.join(", ") },
        row.text.clone(),
    ]
}
