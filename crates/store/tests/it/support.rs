//! A journal, a store, and events.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use portcullis_audit::{Batch, Journal, JournalConfig, JournalSession, Sync};
use portcullis_core::{
    AuditEvent, ClientSoftware, Clock, EndReason, GroupRef, Principal, PrincipalKind, ResourceRef, RuleRef,
    SessionFacts, SessionId, Source, StatementKind, Timestamp, Verb, Verdict, decision::DecisionEvent,
};
use portcullis_store::Store;
use tempfile::TempDir;

pub const START: i64 = 1_790_000_000;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(START + seconds)
}

#[derive(Default)]
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        at(0).plus(Duration::from_micros(self.0.fetch_add(1, Ordering::Relaxed).unsigned_abs()))
    }
}

/// A journal and a store in one folder.
pub struct Gateway {
    pub dir: TempDir,
    pub journal: Arc<Journal>,
    pub store: Arc<Store>,
}

impl Gateway {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (journal, store) = (open_journal(dir.path()), open_store(dir.path()));
        Self { dir, journal, store }
    }

    pub fn append(&self, session: Option<&JournalSession>, events: &[AuditEvent]) {
        let mut batch = Batch::new();
        for event in events {
            batch.push(event).unwrap();
        }
        self.journal.append(session, &batch).unwrap();
    }

    /// Waits until everything appended is on the disk and indexes it.
    pub fn ship(&self) {
        let end = self.journal.end().unwrap();
        settle(&self.journal);
        assert_eq!(self.store.catch_up(&self.journal).unwrap().sequence, end.sequence);
    }
}

/// Waits until a durable reader sees everything appended.
pub fn settle(journal: &Journal) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(journal.settled(journal.end().unwrap())).unwrap();
}

pub fn open_store(dir: &Path) -> Arc<Store> {
    Arc::new(Store::open(dir.join("portcullis.db"), at(0)).unwrap())
}

pub fn open_journal(dir: &Path) -> Arc<Journal> {
    let config = JournalConfig {
        group_interval: Duration::from_millis(1),
        segment_bytes: 100_000,
        ..JournalConfig::new(dir.join("journal"), Sync::Strict)
    };
    Journal::open(config, Arc::new(Ticking::default())).unwrap().0
}

/// A session of the principal `name`, whose object id is `oid-<name>`, in the group `triage`.
pub fn session(name: &str, connection: &str) -> JournalSession {
    let principal = Principal {
        provider: "entra".to_owned(),
        tenant: Some("t1".to_owned()),
        object_id: format!("oid-{name}"),
        application_id: Some(format!("app-{name}")),
        parent_application: None,
        kind: PrincipalKind::Application,
        name: name.to_owned(),
        token_id: "tok".to_owned(),
        groups: vec![GroupRef { id: "3fa8".to_owned(), name: Some("triage".to_owned()) }],
        roles: Vec::new(),
        actor: None,
        subject: None,
        issued_at: at(-60),
        expires_at: at(3600),
    };
    JournalSession::new(Arc::new(SessionFacts {
        session: SessionId::generate(at(0)),
        started_at: at(0),
        protocol: "postgres".to_owned(),
        source: Source { address: "10.0.0.7:40000".parse().unwrap(), via: None },
        client: ClientSoftware("psql".to_owned()),
        principal: Some(Arc::new(principal)),
        connection: Some(connection.parse().unwrap()),
        database: Some("logs".to_owned()),
        grants: Vec::new(),
        window: None,
        ends_at: None,
    }))
}

pub fn decision(session: &JournalSession, number: u64, verdict: Verdict, text: &str) -> DecisionEvent {
    let (kind, reason) = match verdict {
        Verdict::Allow => ("grant", "in scope of the grant"),
        Verdict::Hold => ("guardrail", "a person must approve this"),
        Verdict::Deny => ("guardrail", "schema changes go through migrations"),
    };
    DecisionEvent {
        at: at(number.cast_signed()),
        session: session.facts().session,
        number,
        verb: Verb::Read,
        resources: Arc::new([ResourceRef {
            verb: Verb::Read,
            resource: "public.logs".into(),
            columns: vec!["message".to_owned()],
            through: None,
        }]),
        statement: StatementKind::word("select"),
        text: text.into(),
        text_cut_from: None,
        binds: Some(format!("{number:032x}")),
        decision: verdict,
        rule: RuleRef {
            kind: kind.into(),
            name: format!("the {verdict} rule"),
            location: Some("policy.yaml:7".to_owned()),
        },
        reason: reason.into(),
        obligations: Vec::new(),
        policy: "v1".into(),
    }
}

pub fn ended(session: &JournalSession, seconds: i64) -> AuditEvent {
    AuditEvent::SessionEnded {
        at: at(seconds),
        session: session.facts().session,
        reason: EndReason::ClientQuit,
        decisions: 1,
        bytes_in: 10,
        bytes_out: 20,
    }
}
