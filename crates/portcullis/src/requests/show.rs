//! `portcullis requests show`: everything an approver must see before answering.

use portcullis_client::{
    RequestView,
    types::{BlastView, OperationView, SampleView},
};
use portcullis_core::{Clock as _, SystemClock, Timestamp};

use super::left;
use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, GatewayArgs, TokenArgs},
};

/// Shows one request whole: who, why, the exact operation, what it would touch, the answers so far.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request's id: `req_` and 32 hex digits
    request: String,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let id = args.request.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    let client = args.gateway.agent(&args.token)?;
    let request = crate::block_on(client.access_request(id))?.map_err(remote::failed)?;
    match format {
        Format::Json => output::json(&request),
        Format::Table => {
            lines(&request, SystemClock.now()).iter().for_each(output::line);
            Ok(())
        }
    }
}

/// It, for people.
pub(super) fn lines(request: &RequestView, now: Timestamp) -> Vec<String> {
    let requester = &request.requester;
    let groups = requester.groups.iter().map(|group| group.name.clone().unwrap_or_else(|| group.id.clone()));
    let mut lines = Vec::new();
    let mut facts = vec![
        ("request", request.id.clone()),
        (
            "state",
            match request.state.as_str() {
                "pending" => format!("pending, {} left", left(request.answer_by, now)),
                state => state.to_owned(),
            },
        ),
        ("note", request.note.clone()),
        ("who", format!("{} ({})", requester.name, requester.kind)),
        ("identity", requester.key.clone()),
        ("groups", groups.collect::<Vec<_>>().join(", ")),
        ("from", format!("{} {}", request.source, request.client).trim().to_owned()),
        (
            "connection",
            match &request.database {
                Some(database) => format!("{}, database {database}", request.connection),
                None => request.connection.clone(),
            },
        ),
        ("reason", request.reason.clone()),
        ("filed", output::time(request.filed_at)),
    ];
    for need in &request.needs {
        let of = need.approvers.join(" or ");
        facts
            .push(("needs", format!("{} of {of} ({} so far), by {}", need.approvals, need.given, need.rule)));
    }
    if let Some(seconds) = request.lifetime_seconds {
        facts.push(("window", format!("{}: {}", output::duration(seconds), request.scope.join(" "))));
    }
    if let Some(window) = &request.window {
        facts.push(("open until", output::time(window.ends_at)));
    }
    for vote in &request.votes {
        let note = if vote.note.is_empty() { String::new() } else { format!(": {}", vote.note) };
        facts.push(("answer", format!("{} by {} through {}{note}", vote.answer, vote.name, vote.through)));
    }
    if let Some(review) = &request.review {
        facts.push(("reviewed", format!("by {}: {}", review.name, review.note)));
    }
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        lines.push(format!("{name:<12} {}", visible(value)));
    }
    if let Some(operation) = &request.operation {
        add_operation(&mut lines, operation);
    }
    if let Some(radius) = &request.blast_radius {
        add_radius(&mut lines, radius);
    }
    match (request.can_answer, &request.why_not) {
        (true, _) if request.needs_review => {
            lines.push(format!("review it with: portcullis review {} --note TEXT", request.id));
        }
        (true, _) => {
            lines.push(format!(
                "answer it with: portcullis approve {id} [--note TEXT], or portcullis deny {id} --note TEXT",
                id = request.id
            ));
        }
        (false, Some(why)) if request.state == "pending" => lines.push(visible(why)),
        _ => {}
    }
    lines
}

fn add_operation(lines: &mut Vec<String>, operation: &OperationView) {
    lines.push(String::new());
    if let Some(rows) = operation.rows {
        lines.push(format!("waits to commit {rows} rows of:"));
        for ran in &operation.statements {
            let rows = ran.rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string());
            let text = ran.text.split_whitespace().collect::<Vec<_>>().join(" ");
            lines.push(format!("  {:>4}  {rows:>8} rows  {}", ran.number, visible(&text)));
        }
    } else if let Some(text) = &operation.text {
        // Line by line: an approver sees exactly what runs, and nothing in it moves the cursor.
        lines.extend(text.lines().map(|line| format!("  | {}", visible(line))));
        if let Some(length) = operation.text_cut_from {
            lines.push(format!("  (cut: the whole text is {length} bytes)"));
        }
    }
    for bind in &operation.binds {
        let value = if bind.null { "NULL".to_owned() } else { visible(&bind.value) };
        let cut = if bind.cut { " (cut)" } else { "" };
        lines.push(format!("  ${} {} = {value}{cut}", bind.position, visible(&bind.type_name)));
    }
    if operation.in_transaction {
        lines.push("  a transaction is open: locks are held while this waits".to_owned());
    }
    if operation.qualified == Some(false) {
        lines.push("  no WHERE: every row is meant".to_owned());
    }
    lines.push(format!("  session {}, sha256 {}", operation.session, operation.hash));
}

fn add_radius(lines: &mut Vec<String>, radius: &BlastView) {
    lines.push(String::new());
    match radius.state.as_str() {
        "ready" => {}
        "working" => lines.push("blast radius: being worked out".to_owned()),
        _ => lines.push(visible(&format!("blast radius: not known: {}", radius.why))),
    }
    if let Some(rows) = radius.exact_rows {
        lines.push(format!("rows         {rows}, counted in a transaction that was rolled back"));
    } else if let Some(rows) = radius.estimated_rows {
        lines.push(format!("rows         about {rows}, as the planner estimates"));
    }
    if !radius.not_counted.is_empty() {
        lines.push(format!("not counted  {}", visible(&radius.not_counted)));
    }
    for table in &radius.tables {
        let columns =
            if table.columns.is_empty() { String::new() } else { format!(" ({})", table.columns.join(", ")) };
        lines.push(visible(&format!("touches      {} {}{columns}", table.verb, table.table)));
    }
    lines.extend(radius.plan.lines().map(|line| format!("  {}", visible(line))));
    for (name, sample) in [("before", &radius.before), ("after", &radius.after)] {
        if let Some(sample) = sample {
            lines.push(format!("{name}:"));
            add_sample(lines, sample);
        }
    }
}

fn add_sample(lines: &mut Vec<String>, sample: &SampleView) {
    let headings: Vec<&str> = sample.columns.iter().map(String::as_str).collect();
    let cell = |cell: &Option<String>| cell.as_ref().map_or_else(|| "NULL".to_owned(), |text| visible(text));
    let rows = sample.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    lines.extend(output::table_lines(&headings, rows, "no rows"));
}

/// Text with everything invisible made visible: control characters, and those that turn or hide what follows.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => "    ".to_owned(),
            c if c.is_control() || hides(c) => format!("<U+{:04X}>", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

/// Format characters that change how text around them reads (Unicode TR 36, "bidirectional text spoofing"), and those without width.
const fn hides(c: char) -> bool {
    matches!(
        c,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
    )
}
