//! `portcullis audit search`: what happened.

use portcullis_client::{ClientError, Rows};
use portcullis_core::{AuditEvent, RequestStep, SessionFacts, SessionId, Timestamp, Verdict};
use portcullis_store::{AuditQuery, Order};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    failure::Failure,
    local,
    output::{self, Format},
    remote::{self, AdminArgs},
};

/// Finds audit events; everything given must hold. The newest first.
///
/// Where no gateway runs on the data directory of `--config`, the index there is read instead, and standard error says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis audit search --connection prod-logs --decision deny --since 2026-03-01T00:00:00Z
  portcullis audit search --text 'drop table' --output json")]
pub struct Search {
    /// On this connection
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// By this identity: its key, name, object id or application id, or a group it was in
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<String>,
    /// Not before this time: RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// With all of these words in the statement or the reason; `"in quotes"` the whole as it stands
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// With this answer
    #[arg(long, value_enum, value_name = "ANSWER")]
    decision: Option<Answer>,
    /// Decided by this grant or guardrail, or by a rule of this kind
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// In this session
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// Of this kind: decision, session, session_ended, window_request, request, sign_in, policy_loaded, policy_rejected, kill, …
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on where the last page ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<u64>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Answer {
    Allow,
    Hold,
    Deny,
}

/// Runs it.
pub fn run(search: &Search, format: Format) -> Result<(), Failure> {
    let query = search.query();
    let page = match search.ask(&query)? {
        Some(page) => page,
        None => search.offline(&query)?,
    };
    if format == Format::Json {
        return output::json(&page);
    }
    let rows = page.rows.iter().map(row).collect();
    output::table(
        &["#", "time", "who", "connection", "decision", "what", "rule", "why"],
        rows,
        "nothing found",
    );
    if let Some(next) = page.next {
        output::line(format!("(there are more: --cursor {next})"));
    }
    Ok(())
}

impl Search {
    fn query(&self) -> AuditQuery {
        AuditQuery {
            connection: self.connection.clone(),
            identity: self.identity.clone(),
            from: self.since,
            until: self.until,
            text: self.text.clone(),
            decision: self.decision.map(|answer| match answer {
                Answer::Allow => Verdict::Allow,
                Answer::Hold => Verdict::Hold,
                Answer::Deny => Verdict::Deny,
            }),
            rule: self.rule.clone(),
            session: self.session,
            kind: self.kind.clone(),
            order: if self.oldest_first { Order::OldestFirst } else { Order::NewestFirst },
            limit: Some(self.limit),
            cursor: self.cursor,
        }
    }

    /// The gateway's answer; `None` where no gateway runs and the index may be read instead.
    fn ask(&self, query: &AuditQuery) -> Result<Option<Rows<Value>>, Failure> {
        let data = self.admin.data()?;
        if let (Some(data), false) = (&data, self.admin.names_address())
            && data.listeners().is_none()
        {
            return Ok(None);
        }
        let client = self.admin.client()?;
        match crate::block_on(client.audit(query))? {
            Ok(page) => Ok(Some(page)),
            Err(ClientError::Unreachable { .. }) if data.is_some() && !self.admin.names_address() => Ok(None),
            Err(error) => Err(remote::failed(error)),
        }
    }

    fn offline(&self, query: &AuditQuery) -> Result<Rows<Value>, Failure> {
        let Some(data) = self.admin.data()? else { return Err(Failure::usage("no data directory is named")) };
        let cannot = |error: &dyn std::fmt::Display| Failure::cannot(error.to_string());
        let page = local::store(&data)?.audit(query).map_err(|error| cannot(&error))?;
        let rows = page
            .rows
            .iter()
            .map(serde_json::to_value)
            .collect::<Result<_, _>>()
            .map_err(|error| cannot(&error))?;
        Ok(Rows { rows, next: page.next })
    }
}

#[derive(Deserialize)]
struct Found {
    sequence: u64,
    #[serde(default)]
    facts: Option<SessionFacts>,
}

/// A row for people. What this version does not know is shown by its name.
fn row(value: &Value) -> Vec<String> {
    let kind = value.get("event").and_then(Value::as_str).unwrap_or("unknown").replace('_', " ");
    let Ok(Found { sequence, facts }) = Found::deserialize(value) else { return vec!["?".to_owned(), kind] };
    let facts = facts.as_ref();
    let connection =
        |facts: Option<&SessionFacts>| facts.and_then(|f| f.connection.as_ref()).map(ToString::to_string);
    let who = |facts: Option<&SessionFacts>| facts.and_then(|f| f.principal.as_ref()).map(|p| p.name.clone());
    let dash = || "-".to_owned();
    let Ok(event) = AuditEvent::deserialize(value) else {
        return vec![sequence.to_string(), dash(), dash(), dash(), dash(), kind, dash(), dash()];
    };
    let at = output::time(event.at());
    let mut rule = dash();
    let (who, connection, decision, what, why) = match &event {
        AuditEvent::Decision(event) => {
            rule = match &event.rule.location {
                Some(location) => format!("{} `{}` at {location}", event.rule.kind, event.rule.name),
                None => format!("{} `{}`", event.rule.kind, event.rule.name),
            };
            let what =
                if event.text.is_empty() { event.statement.to_string() } else { event.text.to_string() };
            (who(facts), connection(facts), event.decision.to_string(), what, event.reason.to_string())
        }
        AuditEvent::Session(facts) => {
            (who(Some(facts)), connection(Some(facts)), dash(), kind, client(facts))
        }
        AuditEvent::SessionEnded { reason, decisions, .. } => {
            let what = format!("{kind} after {decisions} decisions");
            (who(facts), connection(facts), dash(), what, reason.to_string())
        }
        AuditEvent::WindowRequest(event) => {
            let (decision, what) = match (&event.ends_at, event.refused.as_str()) {
                (Some(end), "") => ("allow", format!("window until {}", output::time(*end))),
                (_, refused) => ("deny", format!("window refused: {refused}")),
            };
            rule = event.grant.as_ref().map_or_else(dash, |grant| format!("grant `{grant}`"));
            let connection = Some(event.connection.to_string());
            (Some(event.name.clone()), connection, decision.to_owned(), what, event.reason.clone())
        }
        AuditEvent::Request(event) => {
            let decision = match event.step {
                RequestStep::Approved | RequestStep::BreakGlass | RequestStep::Used => "allow".to_owned(),
                RequestStep::Denied
                | RequestStep::Expired
                | RequestStep::AnswerRefused
                | RequestStep::UseRefused => "deny".to_owned(),
                RequestStep::Filed => "hold".to_owned(),
                _ => dash(),
            };
            rule = event.rule.to_string();
            let by = if event.by_name.is_empty() { String::new() } else { format!(" by {}", event.by_name) };
            let what = format!("{kind} {} {}{by}", event.request, event.step.as_str());
            let why = if event.note.is_empty() { event.reason.clone() } else { event.note.clone() };
            (Some(event.name.clone()), Some(event.connection.to_string()), decision, what, why)
        }
        AuditEvent::SignIn(event) => {
            let what = format!("{} through {}", event.step, event.provider);
            let name = Some(event.name.clone()).filter(|name| !name.is_empty());
            (name, None, dash(), what, event.note.clone())
        }
        AuditEvent::PolicyLoaded { policy, warnings, by, .. } => {
            (by.clone(), None, dash(), kind, format!("version {policy}, {warnings} warnings"))
        }
        AuditEvent::PolicyRejected { errors, .. } => {
            (None, None, dash(), kind, errors.lines().next().unwrap_or_default().to_owned())
        }
        AuditEvent::Kill { by, target, reason, sessions, .. } => {
            (Some(by.clone()), None, dash(), format!("{kind} {target}: {sessions} sessions"), reason.clone())
        }
        AuditEvent::GatewayStarted { version, recovered_bytes, .. } => {
            (None, None, dash(), kind, format!("version {version}, {recovered_bytes} bytes cut"))
        }
        AuditEvent::RecordingSealed(event) => {
            let what = format!("{kind}: segment {}, {} events", event.segment, event.events);
            (who(facts), connection(facts), dash(), what, format!("sha256 {}", event.sha256))
        }
        AuditEvent::Retention { before, journal, recordings, .. } => {
            let segments = journal.map_or(0, |journal| journal.last_segment + 1 - journal.first_segment);
            let why = format!(
                "{segments} segments and {} recordings before {}",
                recordings.len(),
                output::time(*before)
            );
            (None, None, dash(), kind, why)
        }
        AuditEvent::GatewayStopped { .. } => (None, None, dash(), kind, dash()),
    };
    let (who, connection) = (who.unwrap_or_else(dash), connection.unwrap_or_else(dash));
    vec![sequence.to_string(), at, who, connection, decision, what, rule, why]
}

fn client(facts: &SessionFacts) -> String {
    match facts.client.0.as_str() {
        "" => format!("from {}", facts.source.address),
        client => format!("from {}, {client}", facts.source.address),
    }
}
