//! One journal entry into rows: sessions, principals, shapes, events and runs.

use std::{borrow::Cow, collections::HashMap, hash::Hash, sync::Arc};

use portcullis_audit::Entry;
use portcullis_core::{
    AuditEvent, EndReason, Obligation, Principal, ResourceRef, RuleRef, SessionFacts, SessionId,
    StatementKind, Timestamp, Verb, Verdict, decision::DecisionEvent,
};
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::allowed::{Allowed, Forms};

mod allowed;

use allowed::{OpenRun, Scratch};

/// How many row ids of one sort are remembered.
const KNOWN: usize = 8192;

/// Row ids already looked up. Valid while no transaction is undone and nothing is deleted.
#[derive(Default)]
pub(crate) struct Known {
    sessions: HashMap<SessionId, SessionRef>,
    shapes: HashMap<Shape, i64>,
    /// Shapes of allowed decisions, by what [`Allowed::push_key`] makes of them.
    allowed: HashMap<Box<[u8]>, i64>,
    /// The same by form and template.
    quick: HashMap<Box<[u8]>, i64>,
    forms: Forms,
}

#[derive(Clone)]
struct SessionRef {
    id: i64,
    principal: Option<i64>,
    connection: Option<Arc<str>>,
}

/// What makes a row of `shapes`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Shape {
    text: Arc<str>,
    detail: String,
    reason: String,
    rule: Option<(String, String)>,
}

/// What a decision's shape keeps as JSON: all of the event that repeats, but the text.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DecisionDetail<'a> {
    pub(crate) verb: Verb,
    pub(crate) statement: StatementKind,
    pub(crate) resources: Arc<[ResourceRef]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text_cut_from: Option<u64>,
    pub(crate) decision: Verdict,
    pub(crate) rule: Cow<'a, RuleRef>,
    pub(crate) reason: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "<[Obligation]>::is_empty")]
    pub(crate) obligations: Cow<'a, [Obligation]>,
    pub(crate) policy: Arc<str>,
}

/// One row of `events`.
#[derive(Default)]
struct EventRow<'a> {
    kind: &'a str,
    at: Timestamp,
    session: Option<SessionRef>,
    number: Option<u64>,
    principal: Option<i64>,
    connection: Option<Arc<str>>,
    decision: Option<Verdict>,
    shape: Option<i64>,
    binds: Option<&'a str>,
}

#[derive(Default)]
struct Counts {
    allowed: i64,
    held: i64,
    denied: i64,
}

/// Writes entries inside one transaction.
pub(crate) struct Indexer<'a> {
    transaction: &'a Transaction<'a>,
    known: &'a mut Known,
    counts: HashMap<i64, Counts>,
    /// Rows of `runs` being made, by session and shape.
    runs: HashMap<(i64, i64), OpenRun>,
    scratch: Scratch,
}

impl<'a> Indexer<'a> {
    pub(crate) fn new(transaction: &'a Transaction<'a>, known: &'a mut Known) -> Self {
        Self { transaction, known, counts: HashMap::new(), runs: HashMap::new(), scratch: Scratch::default() }
    }

    pub(crate) fn entry(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        if self.quickly(entry) {
            return Ok(());
        }
        if let Some(allowed) = Allowed::read(&entry.json)
            && self.allowed(entry, &allowed)?
        {
            return Ok(());
        }
        let json = String::from_utf8_lossy(&entry.json);
        match entry.event() {
            Ok(AuditEvent::Session(facts)) => self.session(entry.sequence, &facts, &json),
            Ok(AuditEvent::Decision(event)) => self.decision(entry.sequence, event),
            Ok(AuditEvent::SessionEnded { at, session, reason, bytes_in, bytes_out, .. }) => {
                self.session_ended(at, session, &reason, [bytes_in, bytes_out])?;
                let row = EventRow {
                    kind: "session_ended",
                    at,
                    session: Some(self.find_session(session, at)?),
                    ..row()
                };
                self.told(entry.sequence, row, &json, "")
            }
            Ok(AuditEvent::WindowRequest(event)) => {
                let name = event.name.as_str();
                let terms = [event.principal.to_string(), event.principal.object_id.clone(), name.to_owned()];
                let principal = Some(self.principal(&terms)?);
                let connection = Some(event.connection.as_str().into());
                let reason = [event.reason.as_str(), &event.refused].join("\n");
                let row = EventRow { kind: "window_request", at: event.at, principal, connection, ..row() };
                self.told(entry.sequence, row, &json, &reason)
            }
            Ok(AuditEvent::Request(event)) => {
                let terms =
                    [event.principal.to_string(), event.principal.object_id.clone(), event.name.clone()];
                let principal = Some(self.principal(&terms)?);
                let connection = Some(event.connection.as_str().into());
                let session = match event.session {
                    Some(session) => Some(self.find_session(session, event.at)?),
                    None => None,
                };
                let words = [event.reason.as_str(), &event.note, &event.by_name, &event.rule.name].join("\n");
                let row = EventRow { kind: "request", at: event.at, principal, connection, session, ..row() };
                self.told(entry.sequence, row, &json, &words)
            }
            Ok(AuditEvent::SignIn(event)) => {
                let principal = match &event.principal {
                    Some(key) => {
                        let terms = [key.to_string(), key.object_id.clone(), event.name.clone()];
                        Some(self.principal(&terms)?)
                    }
                    None => None,
                };
                let row = EventRow { kind: "sign_in", at: event.at, principal, ..row() };
                self.told(entry.sequence, row, &json, &event.note)
            }
            Ok(AuditEvent::GatewayStarted { at, .. }) => {
                self.transaction.execute(
                    "UPDATE sessions SET ended_at = ?1, ending = 'lost' WHERE ended_at IS NULL",
                    [at.as_micros()],
                )?;
                self.told(entry.sequence, EventRow { kind: "gateway_started", at, ..row() }, &json, "")
            }
            Ok(AuditEvent::PolicyRejected { at, errors, .. }) => {
                self.told(entry.sequence, EventRow { kind: "policy_rejected", at, ..row() }, &json, &errors)
            }
            Ok(AuditEvent::Kill { at, reason, .. }) => {
                self.told(entry.sequence, EventRow { kind: "kill", at, ..row() }, &json, &reason)
            }
            Ok(AuditEvent::PolicyLoaded { at, .. }) => {
                self.told(entry.sequence, EventRow { kind: "policy_loaded", at, ..row() }, &json, "")
            }
            Ok(AuditEvent::RecordingSealed(event)) => {
                let session = Some(self.find_session(event.session, event.at)?);
                let row = EventRow { kind: "recording_sealed", at: event.at, session, ..row() };
                self.told(entry.sequence, row, &json, "")
            }
            Ok(AuditEvent::Retention { at, .. }) => {
                self.told(entry.sequence, EventRow { kind: "retention", at, ..row() }, &json, "")
            }
            Ok(AuditEvent::GatewayStopped { at }) => {
                self.told(entry.sequence, EventRow { kind: "gateway_stopped", at, ..row() }, &json, "")
            }
            Err(_) => self.unknown(entry, &json),
        }
    }

    /// Stores the runs, and adds the decisions counted to their sessions.
    pub(crate) fn finish(self) -> rusqlite::Result<()> {
        for ((_, shape), run) in &self.runs {
            run.insert(self.transaction, *shape)?;
        }
        let mut update = self.transaction.prepare_cached(
            "UPDATE sessions SET allowed = allowed + ?2, held = held + ?3, denied = denied + ?4 WHERE id = ?1",
        )?;
        for (id, Counts { allowed, held, denied }) in self.counts {
            update.execute(params![id, allowed, held, denied])?;
        }
        Ok(())
    }

    /// A session's facts: an event the first time, in later segments only a repetition.
    fn session(&mut self, sequence: u64, facts: &SessionFacts, json: &str) -> rusqlite::Result<()> {
        let stored: Option<bool> = self
            .transaction
            .prepare_cached("SELECT facts IS NOT NULL FROM sessions WHERE session = ?1")?
            .query_row([facts.session.to_string()], |row| row.get(0))
            .optional()?;
        if stored == Some(true) {
            return Ok(());
        }
        let principal = match &facts.principal {
            Some(principal) => Some(self.principal(&terms(principal))?),
            None => None,
        };
        let connection: Option<Arc<str>> = facts.connection.as_ref().map(|name| name.as_str().into());
        let id = self
            .transaction
            .prepare_cached(
                "INSERT INTO sessions (session, started_at, facts, principal, connection) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (session) DO UPDATE SET started_at = excluded.started_at, facts = excluded.facts,
                     principal = excluded.principal, connection = excluded.connection
                 RETURNING id",
            )?
            .query_row(
                params![facts.session.to_string(), facts.started_at.as_micros(), json, principal, connection.as_deref()],
                |row| row.get(0),
            )?;
        let session = SessionRef { id, principal, connection };
        remember(&mut self.known.sessions, facts.session, session.clone());
        self.event(
            sequence,
            &EventRow { kind: "session", at: facts.started_at, session: Some(session), ..row() },
        )
    }

    fn decision(&mut self, sequence: u64, event: DecisionEvent) -> rusqlite::Result<()> {
        let session = self.find_session(event.session, event.at)?;
        let counts = self.counts.entry(session.id).or_default();
        *match event.decision {
            Verdict::Allow => &mut counts.allowed,
            Verdict::Hold => &mut counts.held,
            Verdict::Deny => &mut counts.denied,
        } += 1;
        // The connect itself is number 0; what a session does later may need `connect`, too.
        if (event.decision, event.verb, event.number) == (Verdict::Deny, Verb::Connect, 0) {
            self.transaction.execute(
                "UPDATE sessions SET ended_at = ?2, ending = 'refused' WHERE id = ?1 AND ended_at IS NULL",
                params![session.id, event.at.as_micros()],
            )?;
        }
        let (at, number, decision, binds) = (event.at, event.number, event.decision, event.binds.clone());
        let text = Arc::clone(&event.text);
        let shape = self.shape(shape_of(event, text)?)?;
        self.event(
            sequence,
            &EventRow {
                kind: "decision",
                at,
                session: Some(session),
                number: Some(number),
                decision: Some(decision),
                shape: Some(shape),
                binds: binds.as_deref(),
                ..row()
            },
        )
    }

    fn session_ended(
        &mut self,
        at: Timestamp,
        session: SessionId,
        reason: &EndReason,
        bytes: [u64; 2],
    ) -> rusqlite::Result<()> {
        let id = self.find_session(session, at)?.id;
        let [bytes_in, bytes_out] = bytes.map(int);
        self.transaction
            .prepare_cached(
                "UPDATE sessions SET ended_at = ?2, ending = 'ended', end_reason = ?3, bytes_in = ?4, bytes_out = ?5
                 WHERE id = ?1",
            )?
            .execute(params![id, at.as_micros(), encode(reason)?, bytes_in, bytes_out])?;
        Ok(())
    }

    /// An event that this program cannot read: kept whole, found by what is usually there.
    fn unknown(&mut self, entry: &Entry, json: &str) -> rusqlite::Result<()> {
        #[derive(Default, Deserialize)]
        struct Usual {
            event: Option<String>,
            at: Option<Timestamp>,
            session: Option<SessionId>,
        }
        let usual: Usual = serde_json::from_str(json).unwrap_or_default();
        let at = usual.at.unwrap_or_default();
        let session = match usual.session {
            Some(session) => Some(self.find_session(session, at)?),
            None => None,
        };
        let kind = usual.event.as_deref().unwrap_or("unknown");
        self.told(entry.sequence, EventRow { kind, at, session, ..row() }, json, "")
    }

    /// Stores an event other than a decision: the JSON as it was written, and `reason` to search in.
    fn told(&mut self, sequence: u64, row: EventRow<'_>, json: &str, reason: &str) -> rusqlite::Result<()> {
        let shape = Shape { detail: json.to_owned(), reason: reason.to_owned(), ..Shape::default() };
        let shape = Some(self.insert_shape(&shape)?);
        self.event(sequence, &EventRow { shape, ..row })
    }

    fn event(&mut self, sequence: u64, row: &EventRow<'_>) -> rusqlite::Result<()> {
        let session = row.session.as_ref();
        self.transaction
            .prepare_cached(
                "INSERT INTO events (sequence, at, kind, session, number, principal, connection, decision, shape, binds)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                int(sequence),
                row.at.as_micros(),
                row.kind,
                session.map(|session| session.id),
                row.number.map(int),
                row.principal.or(session.and_then(|session| session.principal)),
                row.connection.as_deref().or(session.and_then(|session| session.connection.as_deref())),
                row.decision.map(verdict),
                row.shape,
                row.binds,
            ])?;
        Ok(())
    }

    /// The session's row; made without facts where the segment that held them is gone.
    fn find_session(&mut self, session: SessionId, at: Timestamp) -> rusqlite::Result<SessionRef> {
        if let Some(known) = self.known.sessions.get(&session) {
            return Ok(known.clone());
        }
        let text = session.to_string();
        let found = self
            .transaction
            .prepare_cached("SELECT id, principal, connection FROM sessions WHERE session = ?1")?
            .query_row([&text], |row| {
                let connection: Option<String> = row.get(2)?;
                Ok(SessionRef {
                    id: row.get(0)?,
                    principal: row.get(1)?,
                    connection: connection.map(Into::into),
                })
            })
            .optional()?;
        let found = match found {
            Some(found) => found,
            None => {
                self.transaction.execute(
                    "INSERT INTO sessions (session, started_at) VALUES (?1, ?2)",
                    params![text, at.as_micros()],
                )?;
                SessionRef { id: self.transaction.last_insert_rowid(), principal: None, connection: None }
            }
        };
        remember(&mut self.known.sessions, session, found.clone());
        Ok(found)
    }

    /// The principal that is searched by exactly these terms, the first of them its key.
    fn principal(&mut self, terms: &[String]) -> rusqlite::Result<i64> {
        let signature = encode(&terms)?;
        let found = self
            .transaction
            .prepare_cached("SELECT id FROM principals WHERE signature = ?1")?
            .query_row([&signature], |row| row.get(0))
            .optional()?;
        if let Some(id) = found {
            return Ok(id);
        }
        self.transaction.execute("INSERT INTO principals (signature) VALUES (?1)", [&signature])?;
        let id = self.transaction.last_insert_rowid();
        let mut insert = self
            .transaction
            .prepare_cached("INSERT OR IGNORE INTO identities (term, principal) VALUES (?1, ?2)")?;
        for term in terms {
            insert.execute(params![term, id])?;
        }
        Ok(id)
    }

    fn shape(&mut self, shape: Shape) -> rusqlite::Result<i64> {
        if let Some(id) = self.known.shapes.get(&shape) {
            return Ok(*id);
        }
        let id = self.insert_shape(&shape)?;
        remember(&mut self.known.shapes, shape, id);
        Ok(id)
    }

    fn insert_shape(&mut self, shape: &Shape) -> rusqlite::Result<i64> {
        let (kind, name) = shape.rule.as_ref().map(|(kind, name)| (kind, name)).unzip();
        self.transaction
            .prepare_cached(
                "INSERT INTO shapes (text, reason, rule_kind, rule_name, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![shape.text, shape.reason, kind, name, shape.detail])?;
        Ok(self.transaction.last_insert_rowid())
    }
}

/// The shape of a decision: its own text, or the template that stands for it.
fn shape_of(event: DecisionEvent, text: Arc<str>) -> rusqlite::Result<Shape> {
    let detail = DecisionDetail {
        verb: event.verb,
        statement: event.statement,
        resources: event.resources,
        text_cut_from: event.text_cut_from,
        decision: event.decision,
        rule: Cow::Borrowed(&event.rule),
        reason: Cow::Borrowed(&event.reason),
        obligations: Cow::Borrowed(&event.obligations),
        policy: event.policy,
    };
    Ok(Shape {
        text,
        detail: encode(&detail)?,
        reason: event.reason.to_string(),
        rule: Some((event.rule.kind.to_string(), event.rule.name.clone())),
    })
}

fn row<'a>() -> EventRow<'a> {
    EventRow::default()
}

/// Remembers, forgetting everything when there is too much: simpler than an order of use, and as good for bursts.
fn remember<K: Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= KNOWN {
        map.clear();
    }
    map.insert(key, value);
}

/// What a principal is searched by; its key first.
fn terms(principal: &Principal) -> Vec<String> {
    let mut groups: Vec<_> = principal
        .groups
        .iter()
        .flat_map(|group| [Some(&group.id), group.name.as_ref()])
        .flatten()
        .cloned()
        .collect();
    groups.sort_unstable();
    groups.dedup();
    let mut terms = vec![principal.key().to_string(), principal.object_id.clone(), principal.name.clone()];
    terms.extend([&principal.application_id, &principal.parent_application].into_iter().flatten().cloned());
    terms.extend([&principal.actor, &principal.subject].into_iter().flatten().cloned());
    terms.extend(groups);
    terms
}

pub(crate) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Hold => "hold",
        Verdict::Deny => "deny",
    }
}

/// SQLite's integers are signed; nothing we count reaches the difference.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn encode(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
