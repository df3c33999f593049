use std::{collections::HashMap, future::poll_fn};

use portcullis_access::{
    MemoryStore,
    requests::{Answer, Ballot, Digest, OperationAsked, State},
};
use portcullis_audit::{Journal, JournalConfig, Sync};
use portcullis_core::{
    ClientSoftware, Clock as _, Principal, PrincipalKind, SessionFacts, SessionId, Source, StatementKind,
    Timestamp,
};
use portcullis_policy::{HoldingRule, SourceFile};
use portcullis_testkit::{ManualClock, Scratch};

use super::*;

const POLICY: &str = "
identity:
  - { name: ci, kind: oidc, issuer: 'https://issuer.example.com', audience: [a] }
connections:
  shop: { protocol: postgres, address: 'db.example.com:5432', database: shop }
grants:
  - { connection: shop, to: 'id:agent', when: always, scope: 'write:*', recorded: yes }
guardrails:
  - { name: writes, statements: [update], action: approve, approvers: 'id:sam' }
";

struct Lab {
    access: Arc<Access>,
    interrupt: Arc<Interrupt>,
    _scratch: Scratch,
}

fn principal(id: &str, kind: PrincipalKind) -> Arc<Principal> {
    Arc::new(Principal {
        provider: "ci".into(),
        tenant: None,
        object_id: id.into(),
        application_id: None,
        parent_application: None,
        kind,
        name: id.into(),
        token_id: "t".into(),
        groups: Vec::new(),
        roles: Vec::new(),
        actor: None,
        subject: None,
        issued_at: Timestamp::from_micros(0),
        expires_at: Timestamp::MAX,
    })
}

impl Lab {
    fn new() -> Self {
        let (scratch, clock) = (Scratch::new(), ManualClock::default());
        let (policy, report) =
            portcullis_policy::check(&[SourceFile { path: "p.yaml".into(), text: POLICY.into() }]);
        let policy = policy.unwrap_or_else(|| panic!("{}", report.render(false)));
        let config = JournalConfig::new(scratch.join("journal"), Sync::Fast);
        let disk = Arc::new(portcullis_audit::storage::Disk);
        let (journal, _) = Journal::open_on(config, Arc::new(clock.clone()), disk).unwrap();
        let access = Access::new(policy, Arc::new(MemoryStore::default()), journal, Arc::new(clock)).unwrap();
        Self { access: Arc::new(access), interrupt: Arc::default(), _scratch: scratch }
    }

    fn held(&self) -> Held {
        self.interrupt.begins();
        let policy = self.access.policy();
        let rail = policy.guardrails().first().unwrap();
        let started_at = ManualClock::default().now();
        let session = SessionId::generate(started_at);
        let source = Source { address: "127.0.0.1:1".parse().unwrap(), via: None };
        let facts = SessionFacts {
            session,
            started_at,
            protocol: "test".into(),
            source,
            client: ClientSoftware::default(),
            principal: None,
            connection: Some("shop".parse().unwrap()),
            database: None,
            grants: Vec::new(),
            window: None,
            ends_at: None,
        };
        let operation = OperationAsked {
            mode: Mode::Live,
            session,
            hash: String::new(),
            text: "UPDATE t SET a = 1".into(),
            text_cut_from: None,
            shape: String::new(),
            statement: StatementKind::word("update"),
            resources: Vec::new(),
            qualified: None,
            highlights: Vec::new(),
            binds: Vec::new(),
            in_transaction: false,
            rows: None,
            statements: Vec::new(),
        };
        let ask = HoldAsk {
            facts: Arc::new(facts),
            principal: principal("agent", PrincipalKind::Application),
            rules: vec![HoldingRule {
                rule: rail.rule_ref(),
                message: None,
                terms: Arc::clone(rail.hold.as_ref().unwrap()),
            }],
            policy: Arc::clone(policy.version()),
            digest: Digest::of([b"it".as_slice()]),
            mode: Mode::Live,
            operation,
            reason: String::new(),
        };
        Held::file(&self.access, ask, &self.interrupt)
    }

    fn state(&self, id: RequestId) -> State {
        self.access.find_request(id).unwrap().unwrap().state()
    }

    async fn answer(&self, id: RequestId, answer: Answer) {
        let access = Arc::clone(&self.access);
        let by = principal("sam", PrincipalKind::User);
        let ballot = Ballot { by, answer, note: "so".into(), lifetime_seconds: None, through: "api" };
        let answered = tokio::task::spawn_blocking(move || access.answer(id, ballot, &HashMap::new()));
        answered.await.unwrap().unwrap();
    }
}

async fn next(held: &mut Held) -> HeldStep {
    poll_fn(|cx| held.poll(cx)).await
}

async fn filed(held: &mut Held) -> RequestId {
    match next(held).await {
        HeldStep::Filed(request) => request.id(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_reminded_every_half_minute_until_there_is_an_answer() {
    let lab = Lab::new();
    let mut held = lab.held();
    let id = filed(&mut held).await;
    let began = Instant::now();
    for times in 1..=3 {
        assert!(matches!(next(&mut held).await, HeldStep::Remind(again) if again == id));
        assert_eq!(began.elapsed(), REMIND * times);
    }
    lab.answer(id, Answer::Approve).await;
    let step = next(&mut held).await;
    assert!(matches!(step, HeldStep::Answered(_, Outcome::Approved { .. })), "{step:?}");
}

#[tokio::test]
async fn a_cancel_takes_the_request_back_also_while_it_is_filed() {
    let lab = Lab::new();
    let mut held = lab.held();
    let id = filed(&mut held).await;
    assert!(lab.interrupt.cancel());
    assert!(matches!(next(&mut held).await, HeldStep::Cancelled));
    assert_eq!(lab.state(id), State::Withdrawn);
    assert!(lab.interrupt.ends());
    let mut held = lab.held();
    assert!(lab.interrupt.cancel());
    assert!(matches!(next(&mut held).await, HeldStep::Cancelled));
    let waiting = lab.access.requests(&portcullis_access::requests::RequestFilter::default()).unwrap();
    assert!(
        waiting.rows.iter().all(|request| request.state() == State::Withdrawn) && waiting.rows.len() == 2
    );
}

#[tokio::test]
async fn what_is_approved_and_cancelled_at_once_does_not_run() {
    let lab = Lab::new();
    let mut held = lab.held();
    let id = filed(&mut held).await;
    lab.answer(id, Answer::Approve).await;
    assert!(lab.interrupt.cancel());
    assert!(matches!(next(&mut held).await, HeldStep::Cancelled));
    assert_eq!(lab.state(id), State::Approved);
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_no_request_behind() {
    let lab = Lab::new();
    let mut held = lab.held();
    let id = filed(&mut held).await;
    held.abandon("gone").await;
    assert_eq!(lab.state(id), State::Withdrawn);
    // Its filing under way.
    lab.held().abandon("gone").await;
    // Dropped, as by a task that is stopped.
    let mut held = lab.held();
    let id = filed(&mut held).await;
    drop(held);
    drop(lab.held());
    let filter = portcullis_access::requests::RequestFilter::default();
    while lab
        .access
        .requests(&filter)
        .unwrap()
        .rows
        .iter()
        .filter(|it| it.state() == State::Withdrawn)
        .count()
        < 4
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.state(id), State::Withdrawn);
}

#[test]
fn a_cancel_counts_only_while_something_waits_and_once() {
    let interrupt = Interrupt::default();
    assert!(!interrupt.cancel() && !interrupt.is_cancelled());
    interrupt.begins();
    assert!(interrupt.cancel() && interrupt.is_cancelled());
    // Sent twice, it is still for what waits.
    assert!(interrupt.cancel());
    // Looked at again, it stays taken back.
    interrupt.begins();
    assert!(interrupt.is_cancelled());
    assert!(interrupt.ends());
    assert!(!interrupt.ends() && !interrupt.cancel());
}
