//! What these tests stand on.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use portcullis_audit::{
    Journal, JournalConfig, Sync, read_dir,
    storage::{Disk, SegmentFile, Storage},
};
use portcullis_core::{
    AuditEvent, ClientSoftware, Clock as _, GroupRef, Principal, PrincipalKey, PrincipalKind, RequestEvent,
    RequestId, RequestStep, RuleRef, SessionFacts, SessionId, Source, StatementKind, Timestamp, WindowId,
};
use portcullis_policy::{HoldingRule, Policy, SourceFile, check};
use portcullis_testkit::ManualClock;
use tempfile::TempDir;

use super::super::{
    Answer, AnswerRefused, Ballot, Binding, Digest, Filed, HoldAsk, Listing, Mode, OperationAsked, Request,
    RequestFilter, RequestLimits, RequestStore, State,
};
use crate::{
    Access, Block, Granted, MemoryStore, RequestRefused, Settings, StoreError, Window, WindowRequest,
    WindowStore, request::Way,
};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const TENANT: &str = "4c5a0d3e-0000-4000-8000-000000000001";
pub(crate) const OWN_CLIENT: &str = "6b1f0f0e-0000-4000-8000-000000000002";
pub(crate) const AGENT_APP: &str = "aaaaaaaa-0000-4000-8000-000000000003";

/// Grants and guardrails, with what a test changes in them.
pub(crate) fn documents(change: &[(&str, &str)]) -> String {
    let mut text = format!(
        r#"
identity:
  - name: entra
    kind: entra
    tenant: {TENANT}
    audience: api://portcullis
    users: allow
    sign_in: {{ client_id: {OWN_CLIENT} }}
    groups:
      agents: 11111111-1111-4111-8111-111111111111
      oncall: 22222222-2222-4222-8222-222222222222
      leads: 33333333-3333-4333-8333-333333333333
      sre: 44444444-4444-4444-8444-444444444444
      platform: 55555555-5555-4555-8555-555555555555
connections:
  orders: {{ protocol: postgres, address: "orders.internal:5432", database: orders }}
  logs: {{ protocol: postgres, address: "logs.internal:5432", database: logs }}
roles:
  approver: group:platform
grants:
  - name: deploys
    connection: orders
    to: group:agents
    when: approved
    approvers: [ "group:oncall", "group:leads" ]
    approvals: 1
    answer_within: 1h
    break_glass: group:sre
    lifetime: 30m
    scope: [ "read:*", "write:app.*" ]
  - {{ name: explicit, connection: logs, to: "group:agents", when: requested, lifetime: 10m, scope: "read:*" }}
  - {{ name: connecting, connection: logs, to: "group:agents", when: approved, approvers: "group:oncall", request: on_connect, lifetime: 5m, scope: "read:app.*" }}
guardrails:
  - name: wide writes
    statements: [update, delete]
    without: where
    action: approve
    approvers: group:oncall
    approvals: 1
    hold_limit: 5m
  - {{ name: payroll, tables: [app.payroll], action: approve, approvers: "group:leads", hold_limit: 4m }}
  - {{ name: tickets, tables: [app.slow], action: approve, approvers: "group:oncall", on_timeout: ticket, answer_within: 1h, ticket_lifetime: 15m }}
"#
    );
    for (from, to) in change {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

pub(crate) fn policy(change: &[(&str, &str)]) -> Arc<Policy> {
    let (policy, report) = check(&[SourceFile { path: "policy.yaml".into(), text: documents(change) }]);
    policy.unwrap_or_else(|| panic!("{}", report.render(false)))
}

fn group(name: &str) -> GroupRef {
    let digit = match name {
        "agents" => '1',
        "oncall" => '2',
        "leads" => '3',
        "sre" => '4',
        "platform" => '5',
        _ => '9',
    };
    let part = |length: usize| digit.to_string().repeat(length);
    let id = format!("{}-{}-4{}-8{}-{}", part(8), part(4), part(3), part(3), part(12));
    GroupRef { id, name: Some(name.to_owned()) }
}

pub(crate) fn person(name: &str, groups: &[&str]) -> Arc<Principal> {
    let number = name.bytes().fold(0_u64, |sum, byte| sum * 31 + u64::from(byte)) & 0xffff_ffff_ffff;
    Arc::new(Principal {
        provider: "entra".into(),
        tenant: Some(TENANT.into()),
        object_id: format!("99999999-9999-4999-8999-{number:012x}"),
        application_id: Some(OWN_CLIENT.into()),
        parent_application: None,
        kind: PrincipalKind::User,
        name: name.into(),
        token_id: "token".into(),
        groups: groups.iter().map(|name| group(name)).collect(),
        roles: Vec::new(),
        actor: None,
        subject: None,
        issued_at: start(),
        expires_at: start().plus(Duration::from_secs(86_400)),
    })
}

pub(crate) fn with(principal: &Arc<Principal>, change: impl FnOnce(&mut Principal)) -> Arc<Principal> {
    let mut changed = Principal::clone(principal);
    change(&mut changed);
    Arc::new(changed)
}

pub(crate) fn agent() -> Arc<Principal> {
    with(&person("deploy agent", &["agents"]), |agent| {
        agent.kind = PrincipalKind::Agent;
        agent.application_id = Some(AGENT_APP.into());
    })
}

pub(crate) fn oncall(name: &str) -> Arc<Principal> {
    person(name, &["oncall"])
}

pub(crate) fn start() -> Timestamp {
    Timestamp::from_seconds(1_790_000_000)
}

pub(crate) fn source() -> Source {
    Source { address: "10.0.0.7:40000".parse().unwrap(), via: None }
}

pub(crate) fn yes(by: &Arc<Principal>) -> Ballot {
    let (by, note) = (Arc::clone(by), "looks right".to_owned());
    Ballot { by, answer: Answer::Approve, note, lifetime_seconds: None, through: "console" }
}

pub(crate) fn no(by: &Arc<Principal>) -> Ballot {
    Ballot { answer: Answer::Deny, note: "not on a friday".to_owned(), ..yes(by) }
}

pub(crate) struct Lab {
    pub(crate) access: Access,
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<Faulty>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) journal_fails: Arc<AtomicBool>,
    dir: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::under(&[])
    }

    pub(crate) fn under(change: &[(&str, &str)]) -> Self {
        Self::with(change, RequestLimits::default())
    }

    pub(crate) fn with(change: &[(&str, &str)], limits: RequestLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(start());
        let journal_fails = Arc::new(AtomicBool::new(false));
        let config = JournalConfig::new(dir.path().join("journal"), Sync::Fast);
        let storage = Arc::new(FaultyDisk(Arc::clone(&journal_fails)));
        let (journal, _) = Journal::open_on(config, Arc::new(clock.clone()), storage).unwrap();
        let store = Arc::new(Faulty::default());
        let access = open(policy(change), &store, &journal, &clock, limits);
        Self { access, clock, store, journal, journal_fails, dir }
    }

    /// On a journal that others use too: its events are not read.
    pub(crate) fn on(policy: Arc<Policy>, journal: Arc<Journal>) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(start()));
        let (journal_fails, store) = (Arc::default(), Arc::new(Faulty::default()));
        let access = open(policy, &store, &journal, &clock, RequestLimits::default());
        Self { access, clock, store, journal, journal_fails, dir }
    }

    /// Runs `work` on so many threads at once, on a store that dawdles.
    pub(crate) fn at_once<T: Send>(
        &self,
        threads: usize,
        work: impl Fn(usize) -> T + std::marker::Sync,
    ) -> Vec<T> {
        self.store.slow.store(true, Ordering::SeqCst);
        let barrier = std::sync::Barrier::new(threads);
        let (work, barrier) = (&work, &barrier);
        let done = std::thread::scope(|scope| {
            let run = |number| {
                scope.spawn(move || {
                    barrier.wait();
                    work(number)
                })
            };
            let threads: Vec<_> = (0..threads).map(run).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        self.store.slow.store(false, Ordering::SeqCst);
        done
    }

    /// The same gateway after a restart.
    pub(crate) fn restarted(self) -> Self {
        let policy = self.access.policy();
        let access = open(policy, &self.store, &self.journal, &self.clock, RequestLimits::default());
        Self { access, ..self }
    }

    pub(crate) fn ask(
        &self,
        who: &Arc<Principal>,
        request: &WindowRequest,
    ) -> Result<Granted, RequestRefused> {
        self.access.request_by(who, request, Way::Explicit, &source(), &ClientSoftware("psql".into()))
    }

    /// Files a request of the agent for the `approved` grant.
    pub(crate) fn file(&self) -> RequestId {
        match self.ask(&agent(), &asking()).unwrap() {
            Granted::Waits(filed) => filed.request.id(),
            Granted::Window(window) => panic!("a window: {window:?}"),
        }
    }

    pub(crate) fn break_glass(&self, who: &Arc<Principal>) -> Result<Window, RequestRefused> {
        let request = WindowRequest { break_glass: true, ..asking() };
        self.ask(who, &request).map(|granted| match granted {
            Granted::Window(window) => window,
            Granted::Waits(filed) => panic!("waits: {filed:?}"),
        })
    }

    /// Answers, with every earlier voter as they were.
    pub(crate) fn answer(&self, id: RequestId, ballot: Ballot) -> Result<Request, AnswerRefused> {
        self.access.answer(id, ballot, &std::collections::HashMap::new())
    }

    pub(crate) fn state(&self, id: RequestId) -> State {
        self.access.find_request(id).unwrap().unwrap().state()
    }

    pub(crate) fn hold_ask(&self, who: &Arc<Principal>, rules: &[&str], mode: Mode, text: &str) -> HoldAsk {
        let policy = self.access.policy();
        let rules = rules.iter().map(|name| {
            let rail = policy.guardrails().iter().find(|rail| rail.name == *name).unwrap();
            let rule = RuleRef { kind: "guardrail".into(), name: rail.name.clone(), location: None };
            HoldingRule { rule, message: None, terms: Arc::clone(rail.hold.as_ref().unwrap()) }
        });
        let session = SessionId::generate(self.clock.now());
        HoldAsk {
            facts: Arc::new(SessionFacts {
                session,
                started_at: self.clock.now(),
                protocol: "postgres".into(),
                source: source(),
                client: ClientSoftware("psql".into()),
                principal: Some(Arc::clone(who)),
                connection: Some("orders".parse().unwrap()),
                database: Some("orders".into()),
                grants: Vec::new(),
                window: None,
                ends_at: None,
            }),
            principal: Arc::clone(who),
            rules: rules.collect(),
            policy: Arc::clone(policy.version()),
            digest: Digest::of([text.as_bytes()]),
            mode,
            operation: operation(session, text),
            reason: String::new(),
        }
    }

    /// Holds, and gives what an approval of it binds to.
    pub(crate) fn hold(&self, rules: &[&str], mode: Mode, text: &str) -> (Filed, Binding) {
        let ask = self.hold_ask(&agent(), rules, mode, text);
        let binding = ask.binding().unwrap();
        (self.access.hold(ask).unwrap(), binding)
    }

    pub(crate) fn block(&self, who: &PrincipalKey) {
        let block = Block {
            principal: who.clone(),
            connection: None,
            until: self.clock.now().plus(60 * MINUTE),
            by: "admin".into(),
            reason: String::new(),
        };
        self.access.block(block).unwrap();
    }

    pub(crate) fn open_window(&self) -> Option<Window> {
        self.access.open_windows(&agent().key()).into_iter().next()
    }

    pub(crate) fn events(&self) -> Vec<AuditEvent> {
        let mut reader = read_dir(self.dir.path().join("journal"));
        std::iter::from_fn(|| reader.read().unwrap()).map(|entry| entry.event().unwrap()).collect()
    }

    /// The steps of one request, in order.
    pub(crate) fn steps(&self, id: RequestId) -> Vec<RequestEvent> {
        let of = |event| match event {
            AuditEvent::Request(event) if event.request == id => Some(*event),
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }

    pub(crate) fn step_names(&self, id: RequestId) -> Vec<RequestStep> {
        self.steps(id).into_iter().map(|event| event.step).collect()
    }

    /// The windows whose opening is journalled.
    pub(crate) fn opened(&self) -> Vec<WindowId> {
        let of = |event| match event {
            AuditEvent::WindowRequest(event) => event.window,
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }
}

pub(crate) fn open(
    policy: Arc<Policy>,
    store: &Arc<Faulty>,
    journal: &Arc<Journal>,
    clock: &ManualClock,
    limits: RequestLimits,
) -> Access {
    let settings = Settings { limits, address: Some("https://gateway.example.com".into()) };
    let store = Arc::clone(store) as _;
    Access::with(policy, store, Arc::clone(journal), Arc::new(clock.clone()), settings).unwrap()
}

pub(crate) fn asking() -> WindowRequest {
    WindowRequest {
        connection: "orders".into(),
        reason: "INC-1432".into(),
        lifetime_seconds: None,
        break_glass: false,
    }
}

pub(crate) fn operation(session: SessionId, text: &str) -> OperationAsked {
    OperationAsked {
        mode: Mode::Live,
        session,
        hash: String::new(),
        text: text.into(),
        text_cut_from: None,
        shape: String::new(),
        statement: StatementKind::word("update"),
        resources: Vec::new(),
        qualified: Some(false),
        highlights: Vec::new(),
        binds: Vec::new(),
        in_transaction: false,
        rows: None,
        statements: Vec::new(),
    }
}

/// A store whose writes fail when it is told to.
#[derive(Default)]
pub(crate) struct Faulty {
    pub(crate) inner: MemoryStore,
    pub(crate) fails: AtomicBool,
    /// Writes let other threads go first, so that what must take turns is seen not to.
    pub(crate) slow: AtomicBool,
}

impl Faulty {
    /// How many windows were ever kept.
    pub(crate) fn inner_windows(&self) -> usize {
        self.inner.windows_since(Timestamp::from_seconds(0)).unwrap().len()
    }

    fn written(&self) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) { Err(StoreError("disk full".into())) } else { Ok(()) }
    }
}

impl WindowStore for Faulty {
    fn windows_since(&self, since: Timestamp) -> Result<Vec<Window>, StoreError> {
        self.inner.windows_since(since)
    }
    fn insert_window(&self, window: &Window) -> Result<(), StoreError> {
        self.written()?;
        self.inner.insert_window(window)
    }
    fn end_window(&self, id: WindowId, at: Timestamp) -> Result<(), StoreError> {
        self.written()?;
        self.inner.end_window(id, at)
    }
    fn blocks_since(&self, now: Timestamp) -> Result<Vec<Block>, StoreError> {
        self.inner.blocks_since(now)
    }
    fn put_block(&self, block: &Block) -> Result<(), StoreError> {
        self.written()?;
        self.inner.put_block(block)
    }
    fn lift_blocks(&self, principal: &PrincipalKey) -> Result<u64, StoreError> {
        self.inner.lift_blocks(principal)
    }
}

impl RequestStore for Faulty {
    fn open_requests(&self, now: Timestamp) -> Result<Vec<Request>, StoreError> {
        self.inner.open_requests(now)
    }
    fn put_request(&self, request: &Request, window: Option<&Window>) -> Result<(), StoreError> {
        self.written()?;
        if self.slow.load(Ordering::SeqCst) {
            (0..200).for_each(|_| std::thread::yield_now());
        }
        self.inner.put_request(request, window)
    }
    fn request(&self, id: RequestId) -> Result<Option<Request>, StoreError> {
        self.inner.request(id)
    }
    fn requests(&self, filter: &RequestFilter) -> Result<Listing, StoreError> {
        self.inner.requests(filter)
    }
}

/// Segments whose writes fail when they are told to.
struct FaultyDisk(Arc<AtomicBool>);

struct FaultyFile(Arc<dyn SegmentFile>, Arc<AtomicBool>);

fn unless(fails: &AtomicBool) -> io::Result<()> {
    if fails.load(Ordering::SeqCst) { Err(io::Error::other("disk full")) } else { Ok(()) }
}

impl Storage for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        unless(&self.0)?;
        Ok(Arc::new(FaultyFile(Disk.create(path)?, Arc::clone(&self.0))))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(FaultyFile(Disk.open(path)?, Arc::clone(&self.0))))
    }
    fn probe(&self, folder: &Path) -> io::Result<()> {
        unless(&self.0)?;
        Disk.probe(folder)
    }
}

impl SegmentFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        unless(&self.1)?;
        self.0.write_at(bytes, offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        unless(&self.1)?;
        self.0.sync()
    }
}
