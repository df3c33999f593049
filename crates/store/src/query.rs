//! Searching the audit index.

use std::{
    borrow::Cow,
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
    runs::SPAN,
    windows::parsed,
};

pub(crate) mod runs;
mod words;

use words::Words;

/// The most rows one page holds.
const MOST: u32 = 10_000;

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
        let mut rows = self.read(|connection| {
            // Both tables as they are at one moment: what was shipped between two reads would be missing, or there twice.
            let snapshot = connection.unchecked_transaction()?;
            let mut facts = FactsCache::default();
            let (filter, sql) = query.sql(limit);
            let mut rows = filter.rows(&snapshot, &sql, &mut facts, |row, facts| audit_row(row, facts))?;
            rows.extend(runs::find(&snapshot, query, limit as usize + 1, &mut facts)?);
            Ok(rows)
        })?;
        match query.order {
            Order::NewestFirst => rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.sequence)),
            Order::OldestFirst => rows.sort_unstable_by_key(|row| row.sequence),
        }
        let next = cut(&mut rows, limit as usize).map(|row: &AuditRow| row.sequence);
        Ok(Page { rows, next })
    }
}

impl AuditQuery {
    /// The statement for single events and its values; it asks for one row more than the page holds.
    fn sql(&self, limit: u32) -> (Filter, String) {
        let filter = self.filter();
        let sql = format!(
            "SELECT e.sequence, e.kind, e.at, e.number, e.binds, p.text, p.detail, s.id, s.session, s.facts
             FROM events e LEFT JOIN shapes p ON p.id = e.shape LEFT JOIN sessions s ON s.id = e.session
             {} ORDER BY e.sequence {} LIMIT {}",
            filter.sql(),
            self.direction(),
            u64::from(limit) + 1,
        );
        (filter, sql)
    }

    /// The statement for the runs that may hold what is looked for, and its values.
    fn runs_sql(&self) -> (Filter, String) {
        let filter = self.runs_filter();
        let sql = format!(
            "SELECT r.last FROM runs r LEFT JOIN shapes p ON p.id = r.shape {} ORDER BY r.last {}",
            filter.sql(),
            self.direction(),
        );
        (filter, sql)
    }

    const fn direction(&self) -> &'static str {
        match self.order {
            Order::NewestFirst => "DESC",
            Order::OldestFirst => "ASC",
        }
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
        if let Some((condition, values)) =
            self.text.as_deref().and_then(|text| Words::of(text).condition("e.shape"))
        {
            filter.add(condition, values);
        }
        filter
    }

    /// What a run that holds an event looked for must be like. Its events are looked at one by one.
    fn runs_filter(&self) -> Filter {
        let mut filter = Filter::default();
        match (self.cursor, self.order) {
            (Some(cursor), Order::NewestFirst) => {
                filter.add("r.first < ? AND r.last < ?", [int(cursor), int(cursor.saturating_add(SPAN))]);
            }
            (Some(cursor), Order::OldestFirst) => filter.add("r.last > ?", [int(cursor)]),
            (None, _) => {}
        }
        filter.add_option("r.connection = ?", self.connection.clone());
        filter.identity("r.principal", self.identity.as_deref());
        // From the index, which holds nothing but times: the rows themselves are long.
        filter.add_option(
            "r.last IN (SELECT last FROM runs WHERE until >= ?)",
            self.from.filter(|_| self.until.is_none()).map(Timestamp::as_micros),
        );
        filter
            .add_option("r.since < ?", self.until.filter(|_| self.from.is_none()).map(Timestamp::as_micros));
        if let (Some(from), Some(until)) = (self.from, self.until) {
            filter.add(
                "r.last IN (SELECT last FROM runs WHERE until >= ? AND since < ?)",
                [from.as_micros(), until.as_micros()],
            );
        }
        if let Some(rule) = &self.rule {
            filter.add(
                "r.shape IN (SELECT id FROM shapes WHERE rule_name = ? UNION ALL SELECT id FROM shapes WHERE rule_kind = ?)",
                [rule.clone(), rule.clone()],
            );
        }
        if let Some(session) = self.session {
            filter.add("r.session = (SELECT id FROM sessions WHERE session = ?)", [session.to_string()]);
        }
        if let Some((condition, values)) =
            self.text.as_deref().and_then(|text| Words::of(text).condition("r.shape"))
        {
            filter.add(format!("(r.literals = 1 OR {condition})"), values);
        }
        filter
    }
}

/// Conditions and their values, in step. Conditions are words of ours; values of others are only ever bound.
#[derive(Default)]
pub(crate) struct Filter {
    conditions: Vec<Cow<'static, str>>,
    values: Vec<Box<dyn ToSql>>,
}

impl Filter {
    pub(crate) fn add<T: ToSql + 'static>(
        &mut self,
        condition: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = T>,
    ) {
        self.conditions.push(condition.into());
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
            "r.principal" => "r.principal IN (SELECT principal FROM identities WHERE term = ?)",
            _ => "s.principal IN (SELECT principal FROM identities WHERE term = ?)",
        };
        self.add_option(condition, identity.map(str::to_owned));
    }

    /// Sessions with a statement in which every word occurs, or in the reason of its decision.
    pub(crate) fn statement(&mut self, text: &str) {
        let words = Words::of(text);
        let (Some((single, values)), Some((shared, _))) =
            (words.condition("e.shape"), words.condition("r.shape"))
        else {
            return;
        };
        self.conditions.push(
            format!(
                "(EXISTS (SELECT 1 FROM events e JOIN shapes p ON p.id = e.shape WHERE e.session = s.id AND {single})
                  OR EXISTS (SELECT 1 FROM runs r JOIN shapes p ON p.id = r.shape WHERE r.session = s.id
                      AND CASE r.literals WHEN 1 THEN run_holds(r.first, r.events, p.text, p.reason, ?) ELSE {shared} END))"
            )
            .into(),
        );
        let values = values.iter().chain([&text.to_owned()]).chain(&values).cloned().collect::<Vec<_>>();
        self.values.extend(values.into_iter().map(|value| Box::new(value) as Box<dyn ToSql>));
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
    /// The session whose row id and facts stand in these columns.
    fn find(
        &mut self,
        row: &Row<'_>,
        id: usize,
        column: usize,
    ) -> rusqlite::Result<Option<Arc<SessionFacts>>> {
        let Some(id) = row.get::<_, Option<i64>>(id)? else { return Ok(None) };
        match self.0.entry(id) {
            hash_map::Entry::Occupied(known) => Ok(known.get().clone()),
            hash_map::Entry::Vacant(vacant) => Ok(vacant.insert(facts(row, column)?).clone()),
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
    let facts = cache.find(row, 7, 9)?;
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
    let own = Own {
        at: row.get(2)?,
        number: row.get::<_, Option<i64>>(3)?.unwrap_or_default().unsigned_abs(),
        text: row.get::<_, String>(5)?.into(),
        binds: row.get(4)?,
    };
    Ok(joined(parsed(row, 8)?, own, detail(row, 6)?))
}

/// What a decision has of its own.
struct Own {
    at: i64,
    number: u64,
    text: Arc<str>,
    binds: Option<String>,
}

fn detail(row: &Row<'_>, column: usize) -> rusqlite::Result<DecisionDetail<'static>> {
    let detail: String = row.get(column)?;
    serde_json::from_str(&detail)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn joined(session: SessionId, own: Own, detail: DecisionDetail<'_>) -> DecisionEvent {
    DecisionEvent {
        at: Timestamp::from_micros(own.at),
        session,
        number: own.number,
        verb: detail.verb,
        resources: detail.resources,
        statement: detail.statement,
        text: own.text,
        text_cut_from: detail.text_cut_from,
        binds: own.binds,
        decision: detail.decision,
        rule: detail.rule.into_owned(),
        reason: detail.reason.into_owned().into(),
        obligations: detail.obligations.into_owned(),
        policy: detail.policy,
    }
}

#[cfg(test)]
mod tests;
