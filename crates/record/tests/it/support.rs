//! A clock, sessions, storage that fails on request, and a journal that remembers.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use portcullis_core::{ClientSoftware, Clock, RuleRef, SessionFacts, SessionId, Source, Timestamp, Verdict};
use portcullis_record::{
    Event, Item, NotRecording, Parameters, Recorded, Recorder, Recording, Recordings, RecordingsConfig,
    Sealed, Seek,
    recordings::Announce,
    storage::{Disk, Storage},
};

pub const BEGIN: i64 = 1_790_000_000_000_000;

/// A clock that a test moves.
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(BEGIN)))
    }

    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Recordings in a folder of the test's, with what they announced.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub clock: Arc<TestClock>,
    pub storage: Faulty,
    pub recordings: Option<Arc<Recordings>>,
    pub sealed: Arc<Mutex<Vec<Sealed>>>,
    /// Whether the journal refuses.
    pub refuses: Arc<AtomicBool>,
}

impl Lab {
    pub fn new() -> Self {
        Self::with(|config| config)
    }

    pub fn with(change: impl FnOnce(RecordingsConfig) -> RecordingsConfig) -> Self {
        let mut lab = Self {
            dir: tempfile::tempdir().unwrap(),
            clock: TestClock::new(),
            storage: Faulty::default(),
            recordings: None,
            sealed: Arc::default(),
            refuses: Arc::default(),
        };
        lab.open(change);
        lab
    }

    /// Opens them again, as a gateway that starts.
    pub fn open(&mut self, change: impl FnOnce(RecordingsConfig) -> RecordingsConfig) {
        self.recordings = None;
        let opened = Recordings::open_on(
            change(config(self.dir.path())),
            self.clock.clone(),
            self.announce(),
            Arc::new(self.storage.clone()),
        );
        self.recordings = Some(opened.unwrap());
    }

    pub fn announce(&self) -> Announce {
        let (sealed, refuses) = (self.sealed.clone(), self.refuses.clone());
        Arc::new(move |segment| {
            if refuses.load(Ordering::Relaxed) {
                return Err("the journal is full".to_owned());
            }
            sealed.lock().unwrap().push(segment.clone());
            Ok(())
        })
    }

    pub fn get(&self) -> &Recordings {
        self.recordings.as_deref().unwrap()
    }

    pub fn begin(&self) -> (Recorder, SessionId) {
        let facts = facts(self.clock.now());
        (self.get().begin(&facts).unwrap(), facts.session)
    }

    pub fn recording(&self, session: SessionId) -> Recording {
        Recording::open(self.dir.path(), session).unwrap()
    }

    /// Everything that was recorded.
    pub fn read(&self, session: SessionId) -> Vec<Recorded> {
        self.recording(session).events(Seek::START).collect::<Result<_, _>>().unwrap()
    }

    pub fn sealed(&self) -> Vec<Sealed> {
        self.sealed.lock().unwrap().clone()
    }
}

/// Quick ones: nothing waits for the interval but where a test says so.
pub fn config(dir: &Path) -> RecordingsConfig {
    RecordingsConfig {
        interval: Duration::from_millis(1),
        probe_interval: Duration::from_millis(1),
        ..RecordingsConfig::new(dir)
    }
}

pub fn facts(at: Timestamp) -> Arc<SessionFacts> {
    Arc::new(SessionFacts {
        session: SessionId::generate(at),
        started_at: at,
        protocol: "postgres".to_owned(),
        source: Source { address: "192.0.2.7:40000".parse().unwrap(), via: None },
        client: ClientSoftware("psql".to_owned()),
        principal: None,
        connection: Some("prod-logs".parse().unwrap()),
        database: Some("logs".to_owned()),
        grants: Vec::new(),
        window: None,
        ends_at: None,
    })
}

pub fn rule() -> RuleRef {
    RuleRef {
        kind: "grant".into(),
        name: "prod-logs#0".to_owned(),
        location: Some("policy.yaml:4".to_owned()),
    }
}

pub fn statement(
    recorder: &mut Recorder,
    at: Timestamp,
    number: u64,
    text: &str,
) -> Result<(), NotRecording> {
    let event = Event::Statement {
        number,
        text,
        text_cut_from: None,
        verdict: Verdict::Allow,
        rule: &rule(),
        reason: "in scope",
        parameters: Parameters::None,
    };
    recorder.event(at, &event)
}

/// A DataRow's body.
pub fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            Some(value) => {
                body.extend_from_slice(&i32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend_from_slice(value);
            }
            None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
    body
}

/// The texts of the statements.
pub fn texts(events: &[Recorded]) -> Vec<String> {
    let texts = events.iter().filter_map(|event| match &event.item {
        Item::Statement(statement) => Some(statement.text.clone()),
        _ => None,
    });
    texts.collect()
}

/// What one call to the storage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    NoSpace,
    /// Writes this much and fails.
    Torn(usize),
}

/// The disk, failing as planned, call by call; well again when the plan is used up. While it is held, writers wait.
#[derive(Clone, Default)]
pub struct Faulty {
    plan: Arc<Mutex<VecDeque<Fault>>>,
    held: Arc<Mutex<()>>,
}

impl Faulty {
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.plan.lock().unwrap() = faults.into_iter().collect();
    }

    /// Fails every call until told otherwise.
    pub fn break_down(&self) {
        self.plan(std::iter::repeat_n(Fault::NoSpace, 1 << 20));
    }

    pub fn mend(&self) {
        self.plan([]);
    }

    /// A disk that takes its time: until this is dropped.
    pub fn hold(&self) -> std::sync::MutexGuard<'_, ()> {
        self.held.lock().unwrap()
    }

    fn next(&self) -> io::Result<Fault> {
        drop(self.held.lock().unwrap());
        match self.plan.lock().unwrap().pop_front().unwrap_or(Fault::None) {
            Fault::NoSpace => Err(io::ErrorKind::StorageFull.into()),
            fault => Ok(fault),
        }
    }
}

impl Storage for Faulty {
    fn folder(&self, path: &Path) -> io::Result<()> {
        Disk.folder(path)
    }

    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match self.next()? {
            Fault::Torn(most) => {
                Disk.create(path, &bytes[..most])?;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Disk.create(path, bytes),
        }
    }

    fn write_at(&self, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.next()? {
            Fault::Torn(most) => {
                Disk.write_at(path, &bytes[..most], offset)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Disk.write_at(path, bytes, offset),
        }
    }

    fn seal(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.next()?;
        Disk.seal(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.next()?;
        Disk.remove(path)
    }

    fn probe(&self, folder: &Path) -> io::Result<()> {
        self.next()?;
        Disk.probe(folder)
    }
}
