//! Searching the audit index.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use portcullis_core::{
    AuditEvent, DecisionRecord, SessionFacts, SessionId, Timestamp, Verdict, decision::DecisionEvent,
};
use rusqlite::{Connection, Row, ToSql, types::Type};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Store,
    index::{DecisionDetail, int, verdict},
    windows::parsed,
};

/// The most rows one page holds.
const MOST: u32 = 10_000;
/// The shortest text a trigram index finds.
const TRIGRAM: usize = 3;

/// Which events to find. Everything given must hold; the empty query finds all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// On this connection.
    pub connection: Option<String>,
    /// By a principal whose name, key, object id, application id, or a group of it, is exactly this (case aside).
    pub identity: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Every one of these words occurs, anywhere in a word, in the statement's text or the reason (case aside). In double
    /// quotes: the whole as it stands.
    pub text: Option<String>,
    /// With this answer.
    pub decision: Option<Verdict>,
    /// Decided by a rule of exactly this name or kind.
    pub rule: Option<String>,
    /// In this session.
    pub session: Option<SessionId>,
    /// Of this kind: `decision`, `session`, `window_request`, ….
    pub kind: Option<String>,
    /// From which end.
    pub order: Order,
    /// How many at most: 100 when absent, never more than 10,000.
    pub limit: Option<u32>,
    /// Where the page before ended: [`Page::next`].
    pub cursor: Option<u64>,
}

/// From which end to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The last one first.
    #[default]
    NewestFirst,
    /// The first one first.
    OldestFirst,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor of the next page; absent where this one is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One event found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Its number in the journal.
    pub sequence: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: StoredEvent,
    /// The facts of the session it belongs to; absent for events of none, for the facts themselves, and where they are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Arc<SessionFacts>>,
}

/// An event as far as this program knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StoredEvent {
    /// It does.
    Known(Box<AuditEvent>),
    /// A later version wrote it.
    Unknown(serde_json::Value),
}

impl AuditRow {
    /// The whole decision record, where it is a decision and its facts are there.
    pub fn decision(&self) -> Option<DecisionRecord> {
        match &self.event {
            StoredEvent::Known(event) => match &**event {
                AuditEvent::Decision(event) => {
                    Some(DecisionRecord { facts: self.facts.clone()?, event: event.clone() })
                }
                _ => None,
            },
            StoredEvent::Unknown(_) => None,
        }
    }
}

impl Store {
    /// The events that answer `query`, a page of them.
    pub fn audit(&self, query: &AuditQuery) -> Result<Page<AuditRow>, Error> {
        let limit = query.limit.unwrap_or(100).min(MOST);
        let (filter, sql) = query.sql(limit);
        let mut rows =
            self.read(|connection| filter.rows(connection, &sql, FactsCache::default(), audit_row))?;
        let next = cut(&mut rows, limit as usize).map(|row: &AuditRow| row.sequence);
        Ok(Page { rows, next })
    }
}

impl AuditQuery {
    /// The statement and its values; it asks for one row more than the page holds.
    fn sql(&self, limit: u32) -> (Filter, String) {
        let filter = self.filter();
        let order = match self.order {
            Order::NewestFirst => "DESC",
            Order::OldestFirst => "ASC",
        };
        let sql = format!(
            "SELECT e.sequence, e.kind, e.at, e.number, e.binds, p.text, p.detail, s.id, s.session, s.facts
             FROM events e LEFT JOIN shapes p ON p.id = e.shape LEFT JOIN sessions s ON s.id = e.session
             {} ORDER BY e.sequence {order} LIMIT {}",
            filter.sql(),
            u64::from(limit) + 1,
        );
        (filter, sql)
    }

    fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        if let Some(cursor) = self.cursor {
            let comparison = match self.order {
                Order::NewestFirst => "e.sequence < ?",
                Order::OldestFirst => "e.sequence > ?",
            };
            filter.add(comparison, [int(cursor)]);
        }
        filter.add_option("e.connection = ?", self.connection.clone());
        filter.identity("e.principal", self.identity.as_deref());
        filter.add_option("e.at >= ?", self.from.map(Timestamp::as_micros));
        filter.add_option("e.at < ?", self.until.map(Timestamp::as_micros));
        if self.decision.is_some_and(|decision| decision != Verdict::Allow) {
            // Word for word the condition of the index on what was not allowed: only so may SQLite use it.
            filter.add::<i64>("e.decision IN ('hold', 'deny')", []);
        }
        filter.add_option("e.decision = ?", self.decision.map(verdict));
        filter.add_option("e.kind = ?", self.kind.clone());
        if let Some(rule) = &self.rule {
            filter.add(
                "e.shape IN (SELECT id FROM shapes WHERE rule_name = ? UNION ALL SELECT id FROM shapes WHERE rule_kind = ?)",
                [rule.clone(), rule.clone()],
            );
        }
        if let Some(session) = self.session {
            filter.add("e.session = (SELECT id FROM sessions WHERE session = ?)", [session.to_string()]);
        }
        if let Some(text) = &self.text {
            filter.text(text);
        }
        filter
    }
}

/// Conditions and their values, in step. Conditions are words of ours; values of others are only ever bound.
#[derive(Default)]
pub(crate) struct Filter {
    conditions: Vec<&'static str>,
    values: Vec<Box<dyn ToSql>>,
}

impl Filter {
    pub(crate) fn add<T: ToSql + 'static>(
        &mut self,
        condition: &'static str,
        values: impl IntoIterator<Item = T>,
    ) {
        self.conditions.push(condition);
        self.values.extend(values.into_iter().map(|value| Box::new(value) as Box<dyn ToSql>));
    }

    pub(crate) fn add_option<T: ToSql + 'static>(&mut self, condition: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.add(condition, [value]);
        }
    }

    pub(crate) fn identity(&mut self, column: &'static str, identity: Option<&str>) {
        let condition = match column {
            "e.principal" => "e.principal IN (SELECT principal FROM identities WHERE term = ?)",
            _ => "s.principal IN (SELECT principal FROM identities WHERE term = ?)",
        };
        self.add_option(condition, identity.map(str::to_owned));
    }

    fn text(&mut self, text: &str) {
        let (long, short): (Vec<_>, Vec<_>) =
            words(text).into_iter().partition(|word| word.chars().count() >= TRIGRAM);
        if !long.is_empty() {
            let phrases: Vec<_> = long.into_iter().map(fts_phrase).collect();
            self.add("e.shape IN (SELECT rowid FROM search WHERE search MATCH ?)", [phrases.join(" AND ")]);
        }
        for word in short {
            // Too short for the index: looked for in every text.
            let pattern = like_pattern(word);
            self.add(
                "(p.text LIKE ? ESCAPE '\\' OR p.reason LIKE ? ESCAPE '\\')",
                [pattern.clone(), pattern],
            );
        }
    }

    /// Sessions with a statement in which every word occurs.
    pub(crate) fn statement(&mut self, text: &str) {
        let (long, short): (Vec<_>, Vec<_>) =
            words(text).into_iter().partition(|word| word.chars().count() >= TRIGRAM);
        if !long.is_empty() {
            let phrases: Vec<_> = long.into_iter().map(fts_phrase).collect();
            self.add(
                "s.id IN (SELECT e.session FROM events e WHERE e.shape IN (SELECT rowid FROM search WHERE search MATCH ?))",
                [phrases.join(" AND ")],
            );
        }
        for word in short {
            self.add(
                "s.id IN (SELECT e.session FROM events e JOIN shapes p ON p.id = e.shape WHERE p.text LIKE ? ESCAPE '\\')",
                [like_pattern(word)],
            );
        }
    }

    pub(crate) fn sql(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }

    pub(crate) fn rows<T, C>(
        &self,
        connection: &Connection,
        sql: &str,
        mut context: C,
        mut read: impl FnMut(&Row<'_>, &mut C) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = connection.prepare_cached(sql)?;
        let values = rusqlite::params_from_iter(&self.values);
        statement.query_map(values, |row| read(row, &mut context))?.collect()
    }
}

/// What is looked for: each word, or the whole where it stands in double quotes. A NUL ends a word: the index's own query
/// language would end there as well.
fn words(text: &str) -> Vec<&str> {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(whole) => whole.split('\0').filter(|word| !word.is_empty()).collect(),
        None => {
            text.split(|c: char| c.is_whitespace() || c == '\0').filter(|word| !word.is_empty()).collect()
        }
    }
}

/// A string of FTS5 (section 3.1 of its manual): between double quotes nothing is syntax but a double quote, which is doubled.
fn fts_phrase(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

fn like_pattern(word: &str) -> String {
    let mut pattern = "%".to_owned();
    for c in word.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Cuts to `limit` rows; the last that stays, if any had to go.
pub(crate) fn cut<T>(rows: &mut Vec<T>, limit: usize) -> Option<&T> {
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last()
}

/// Facts parsed once per answer, by the session's row.
#[derive(Default)]
struct FactsCache(HashMap<i64, Option<Arc<SessionFacts>>>);

impl FactsCache {
    fn find(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<Arc<SessionFacts>>> {
        let Some(id) = row.get::<_, Option<i64>>(7)? else { return Ok(None) };
        match self.0.entry(id) {
            hash_map::Entry::Occupied(known) => Ok(known.get().clone()),
            hash_map::Entry::Vacant(vacant) => Ok(vacant.insert(facts(row, 9)?).clone()),
        }
    }
}

pub(crate) fn facts(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Arc<SessionFacts>>> {
    let json: Option<String> = row.get(column)?;
    // Facts that cannot be read are facts of a later version: the rows stay, without them.
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}

fn audit_row(row: &Row<'_>, cache: &mut FactsCache) -> rusqlite::Result<AuditRow> {
    let sequence = row.get::<_, i64>(0)?.unsigned_abs();
    let kind: String = row.get(1)?;
    let facts = cache.find(row)?;
    let (event, facts) = match (kind.as_str(), facts) {
        ("decision", facts) => (StoredEvent::Known(Box::new(AuditEvent::Decision(decision(row)?))), facts),
        ("session", Some(facts)) => (StoredEvent::Known(Box::new(AuditEvent::Session(facts))), None),
        ("session", None) => (StoredEvent::Unknown(serde_json::json!({ "event": "session" })), None),
        (_, facts) => {
            let json: Option<String> = row.get(6)?;
            let json = json.unwrap_or_default();
            let event = match serde_json::from_str(&json) {
                Ok(event) => StoredEvent::Known(Box::new(event)),
                Err(_) => StoredEvent::Unknown(unknown(&kind, &json)),
            };
            (event, facts)
        }
    };
    Ok(AuditRow { sequence, event, facts })
}

/// The JSON of an event of a later version, as an object whatever it was.
fn unknown(kind: &str, json: &str) -> serde_json::Value {
    match serde_json::from_str(json) {
        Ok(object @ serde_json::Value::Object(_)) => object,
        Ok(other) => serde_json::json!({ "event": kind, "value": other }),
        Err(_) => serde_json::json!({ "event": kind, "value": json }),
    }
}

fn decision(row: &Row<'_>) -> rusqlite::Result<DecisionEvent> {
    let detail: String = row.get(6)?;
    let detail: DecisionDetail<'_> = serde_json::from_str(&detail)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(6, Type::Text, Box::new(error)))?;
    Ok(DecisionEvent {
        at: Timestamp::from_micros(row.get(2)?),
        session: parsed(row, 8)?,
        number: row.get::<_, Option<i64>>(3)?.unwrap_or_default().unsigned_abs(),
        verb: detail.verb,
        resources: detail.resources,
        statement: detail.statement,
        text: row.get::<_, String>(5)?.into(),
        text_cut_from: detail.text_cut_from,
        binds: row.get(4)?,
        decision: detail.decision,
        rule: detail.rule.into_owned(),
        reason: detail.reason.into_owned().into(),
        obligations: detail.obligations.into_owned(),
        policy: detail.policy,
    })
}

#[cfg(test)]
mod tests;
