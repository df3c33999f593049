//! Events, clocks and storage that fails on request.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use portcullis_audit::{
    Batch, Entry, Journal, JournalConfig, Sync,
    storage::{Disk, SegmentFile, Storage},
};
use portcullis_core::{
    AuditEvent, ClientSoftware, Clock, ResourceRef, RuleRef, SessionFacts, SessionId, Source, StatementKind,
    Timestamp, Verb, Verdict, decision::DecisionEvent,
};

pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_790_000_000_000_000)))
    }

    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

pub fn config(dir: &Path, sync: Sync) -> JournalConfig {
    JournalConfig {
        group_interval: Duration::from_millis(1),
        probe_interval: Duration::from_millis(1),
        ..JournalConfig::new(dir.join("journal"), sync)
    }
}

pub fn open(dir: &Path) -> Arc<Journal> {
    Journal::open(config(dir, Sync::Fast), TestClock::new()).unwrap().0
}

pub fn facts(seconds: i64) -> Arc<SessionFacts> {
    let started_at = Timestamp::from_seconds(seconds);
    Arc::new(SessionFacts {
        session: SessionId::generate(started_at),
        started_at,
        protocol: "postgres".to_owned(),
        source: Source { address: "127.0.0.1:40000".parse().unwrap(), via: None },
        client: ClientSoftware("psql".to_owned()),
        principal: None,
        connection: Some("prod-logs".parse().unwrap()),
        database: None,
        grants: Vec::new(),
        window: None,
        ends_at: None,
    })
}

/// A decision about a statement with this text.
pub fn decision(session: SessionId, number: u64, text: &str) -> AuditEvent {
    AuditEvent::Decision(DecisionEvent {
        at: Timestamp::from_seconds(1_790_000_000),
        session,
        number,
        verb: Verb::Read,
        resources: Arc::new([ResourceRef {
            verb: Verb::Read,
            resource: "public.logs".into(),
            columns: vec!["*".to_owned()],
            through: None,
        }]),
        statement: StatementKind::word("select"),
        text: text.into(),
        text_cut_from: None,
        binds: None,
        decision: Verdict::Allow,
        rule: RuleRef { kind: "grant".into(), name: "prod-logs#0".to_owned(), location: None },
        reason: "in scope".into(),
        obligations: Vec::new(),
        policy: "v1".into(),
    })
}

pub fn batch(events: &[AuditEvent]) -> Batch {
    let mut batch = Batch::new();
    for event in events {
        batch.push(event).unwrap();
    }
    batch
}

/// The texts of the decisions among the entries.
pub fn texts(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .filter_map(|entry| match entry.event().unwrap() {
            AuditEvent::Decision(event) => Some(event.text.to_string()),
            _ => None,
        })
        .collect()
}

/// What one call to the storage does.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    NoSpace,
    Io,
    Interrupted,
    /// Writes at most this much.
    Short(usize),
}

/// The disk, failing as planned, call by call; well again when the plan is used up.
#[derive(Clone, Default)]
pub struct Faulty {
    plan: Arc<Mutex<VecDeque<Fault>>>,
}

impl Faulty {
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.plan.lock().unwrap() = faults.into_iter().collect();
    }

    fn next(&self) -> io::Result<Option<usize>> {
        match self.plan.lock().unwrap().pop_front().unwrap_or(Fault::None) {
            Fault::None => Ok(None),
            Fault::NoSpace => Err(io::ErrorKind::StorageFull.into()),
            Fault::Io => Err(io::Error::from_raw_os_error(5)),
            Fault::Interrupted => Err(io::ErrorKind::Interrupted.into()),
            Fault::Short(most) => Ok(Some(most)),
        }
    }
}

struct FaultyFile {
    faulty: Faulty,
    file: Arc<dyn SegmentFile>,
}

impl SegmentFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let most = self.faulty.next()?.unwrap_or(bytes.len()).min(bytes.len());
        self.file.write_at(&bytes[..most], offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.faulty.next()?;
        self.file.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.faulty.next()?;
        self.file.sync()
    }
}

impl Storage for Faulty {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        self.next()?;
        Ok(Arc::new(FaultyFile { faulty: self.clone(), file: Disk.create(path)? }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        self.next()?;
        Ok(Arc::new(FaultyFile { faulty: self.clone(), file: Disk.open(path)? }))
    }

    fn probe(&self, folder: &Path) -> io::Result<()> {
        self.next()?;
        Disk.probe(folder)
    }
}
