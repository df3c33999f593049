//! Access requests across restarts, in lists, and past their retention.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use portcullis_access::{
    Access, Window, WindowStore as _,
    requests::{
        Answer, AnswerRefused, Ballot, Binding, Digest, HoldAsk, Listing, Mode, NotUsable, OperationAsked,
        Request, RequestFilter, RequestStore as _, State, UseRefused, Withdrawer,
    },
};
use portcullis_audit::{Journal, JournalConfig, Sync};
use portcullis_core::{
    GrantId, GroupRef, Principal, PrincipalKind, RequestId, RuleRef, SessionFacts, SessionId, StatementKind,
    WindowId,
};
use portcullis_policy::{HoldingRule, Policy, SourceFile, check};
use portcullis_store::Store;
use portcullis_testkit::ManualClock;

use crate::support::{at, open_store, session};

const ONCALL: &str = "22222222-2222-4222-8222-222222222222";
const AGENTS: &str = "11111111-1111-4111-8111-111111111111";

fn policy() -> Arc<Policy> {
    let text = format!(
        r#"
identity:
  - name: entra
    kind: entra
    tenant: 4c5a0d3e-0000-4000-8000-000000000001
    audience: api://portcullis
    users: allow
    groups: {{ agents: {AGENTS}, oncall: {ONCALL} }}
connections:
  orders: {{ protocol: postgres, address: "orders.internal:5432", database: orders }}
grants:
  - {{ name: deploys, connection: orders, to: "group:agents", when: approved, approvers: "group:oncall", lifetime: 30m, scope: "read:*" }}
guardrails:
  - {{ name: held, statements: [update], action: approve, approvers: "group:oncall" }}
  - {{ name: tickets, statements: [delete], action: approve, approvers: "group:oncall", on_timeout: ticket }}
"#
    );
    let (policy, report) = check(&[SourceFile { path: "policy.yaml".into(), text }]);
    policy.unwrap_or_else(|| panic!("{}", report.render(false)))
}

struct Lab {
    access: Access,
    store: Arc<Store>,
    clock: ManualClock,
    journal: Arc<Journal>,
    dir: tempfile::TempDir,
}

fn access(store: &Arc<Store>, journal: &Arc<Journal>, clock: &ManualClock) -> Access {
    Access::new(policy(), Arc::clone(store) as _, Arc::clone(journal), Arc::new(clock.clone())).unwrap()
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(at(0));
        let config = JournalConfig::new(dir.path().join("journal"), Sync::Fast);
        let journal = Journal::open(config, Arc::new(clock.clone())).unwrap().0;
        let store = open_store(dir.path());
        let access = access(&store, &journal, &clock);
        Self { access, store, clock, journal, dir }
    }

    fn restarted(self) -> Self {
        let Self { access: old, store, clock, journal, dir } = self;
        drop((old, store));
        let store = open_store(dir.path());
        Self { access: access(&store, &journal, &clock), store, clock, journal, dir }
    }

    fn hold(&self, who: &Arc<Principal>, rule: &str, mode: Mode, text: &str) -> (RequestId, Binding) {
        let ask = self.hold_ask(who, rule, mode, text);
        let binding = ask.binding().unwrap();
        (self.access.hold(ask).unwrap().request.id(), binding)
    }

    fn hold_ask(&self, who: &Arc<Principal>, rule: &str, mode: Mode, text: &str) -> HoldAsk {
        let policy = self.access.policy();
        let rail = policy.guardrails().iter().find(|rail| rail.name == rule).unwrap();
        let terms = Arc::clone(rail.hold.as_ref().unwrap());
        let rule = RuleRef { kind: "guardrail".into(), name: rule.to_owned(), location: None };
        let facts = session("agent", "orders");
        let facts = facts.facts();
        HoldAsk {
            facts: Arc::clone(facts),
            principal: Arc::clone(who),
            rules: vec![HoldingRule { rule, message: None, terms }],
            policy: Arc::clone(policy.version()),
            digest: Digest::of([text.as_bytes()]),
            mode,
            operation: operation(facts, text),
            reason: "INC-7'); DROP TABLE requests --".to_owned(),
        }
    }

    fn answer(&self, id: RequestId, answer: Answer) -> Result<Request, AnswerRefused> {
        let by = principal("kim", PrincipalKind::User, ONCALL);
        let ballot = Ballot { by, answer, note: "why not".into(), lifetime_seconds: None, through: "cli" };
        self.access.answer(id, ballot, &HashMap::new())
    }

    fn find(&self, id: RequestId) -> Request {
        self.store.request(id).unwrap().unwrap()
    }

    fn list(&self, filter: &RequestFilter) -> Vec<RequestId> {
        self.store.requests(filter).unwrap().rows.iter().map(Request::id).collect()
    }

    /// A pending request for a window, as an earlier run left it.
    fn window_request(&self, break_glass: bool) -> RequestId {
        let id = RequestId::generate(at(0));
        let text = serde_json::json!({
            "id": id, "requester": *principal("agent", PrincipalKind::Agent, AGENTS), "connection": "orders",
            "needs": [{ "rule": { "kind": "grant", "name": "deploys" }, "approvers": ["group:oncall"], "approvals": 1 }],
            "reason": "INC-7", "source": session("agent", "orders").facts().source, "filed_at": at(0), "answer_by": at(3600),
            "policy": self.access.policy().version().as_ref(),
            "kind": "window", "grant": "deploys", "lifetime_seconds": 1800, "scope": ["read:*"], "break_glass": break_glass,
            "settled": break_glass.then(|| serde_json::json!({
                "at": at(0), "state": "approved", "window": WindowId::generate(at(0)), "lifetime_seconds": 1800
            })),
        });
        let request: Request = serde_json::from_value(text).unwrap();
        self.store.put_request(&request, None).unwrap();
        id
    }
}

fn principal(name: &str, kind: PrincipalKind, group: &str) -> Arc<Principal> {
    let known = session(name, "orders");
    let known = Principal::clone(known.facts().principal.as_ref().unwrap());
    Arc::new(Principal { kind, groups: vec![GroupRef { id: group.into(), name: None }], ..known })
}

fn agent() -> Arc<Principal> {
    principal("agent", PrincipalKind::Agent, AGENTS)
}

fn operation(facts: &SessionFacts, text: &str) -> OperationAsked {
    OperationAsked {
        mode: Mode::Live,
        session: facts.session,
        hash: String::new(),
        text: text.to_owned(),
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
    }
}

#[test]
fn what_was_asked_and_answered_is_there_after_reopening() {
    let lab = Lab::new();
    let (held, binding) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from t");
    let (denied, _) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from u");
    lab.answer(denied, Answer::Deny).unwrap();
    lab.answer(held, Answer::Approve).unwrap();
    let (before, lab) = (lab.find(held), lab.restarted());
    assert_eq!(lab.find(held), before);
    assert_eq!(lab.find(denied).state(), State::Denied);
    assert_eq!(lab.access.find_ticket(&binding), Some(held));
    assert!(lab.access.use_once(held, &binding).is_ok());
    let lab = lab.restarted();
    assert_eq!(lab.access.find_ticket(&binding), None);
    assert_eq!(lab.access.use_once(held, &binding), Err(UseRefused::NotUsable(NotUsable::Used)));
}

#[test]
fn what_was_approved_is_used_exactly_once_on_a_disk_too() {
    let lab = Lab::new();
    let (held, binding) = lab.hold(&agent(), "held", Mode::Live, "update t set x = 1");
    lab.answer(held, Answer::Approve).unwrap();
    let used = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| lab.access.use_once(held, &binding))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(Result::is_ok).count()
    });
    assert_eq!(used, 1);
}

#[test]
fn an_approval_and_its_window_are_stored_together() {
    let lab = Lab::new();
    let id = lab.window_request(false);
    let lab = lab.restarted();
    lab.clock.advance(Duration::from_secs(600));
    lab.answer(id, Answer::Approve).unwrap();
    let windows = lab.store.windows_since(at(0)).unwrap();
    assert_eq!((windows.len(), windows[0].opened_at, windows[0].ends_at), (1, at(600), at(2400)));
    let lab = lab.restarted();
    assert_eq!(lab.access.open_windows(&agent().key()), windows);
    assert!(matches!(lab.answer(id, Answer::Approve), Err(AnswerRefused::Over(State::Approved, _))));
    assert_eq!(lab.store.windows_since(at(0)).unwrap().len(), 1);
}

#[test]
fn a_live_hold_is_withdrawn_after_a_restart_and_the_rest_still_waits() {
    let lab = Lab::new();
    let (live, _) = lab.hold(&agent(), "held", Mode::Live, "update t set x = 1");
    let (ticket, _) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from t");
    let window = lab.window_request(false);
    let lab = lab.restarted();
    lab.access.tidy_requests();
    let states = [live, ticket, window].map(|id| lab.find(id).state());
    assert_eq!(states, [State::Withdrawn, State::Pending, State::Pending]);
}

#[test]
fn what_has_ended_stays_ended_whatever_is_put_and_opens_nothing() {
    let lab = Lab::new();
    let (id, _) = lab.hold(&agent(), "held", Mode::Live, "update t set x = 1");
    let pending = lab.find(id);
    lab.answer(id, Answer::Deny).unwrap();
    let window = Window {
        id: WindowId::generate(at(0)),
        principal: agent().key(),
        name: "agent".into(),
        grant: GrantId("deploys".into()),
        connection: "orders".parse().unwrap(),
        reason: String::new(),
        opened_at: at(0),
        ends_at: at(60),
    };
    assert!(lab.store.put_request(&pending, Some(&window)).is_err());
    assert_eq!(lab.find(id).state(), State::Denied);
    assert_eq!(lab.store.windows_since(at(0)).unwrap(), []);
}

#[test]
fn a_window_that_cannot_be_kept_takes_its_approval_with_it() {
    let lab = Lab::new();
    let id = lab.window_request(false);
    let window = |id| Window {
        id,
        principal: agent().key(),
        name: "agent".into(),
        grant: GrantId("deploys".into()),
        connection: "orders".parse().unwrap(),
        reason: String::new(),
        opened_at: at(0),
        ends_at: at(60),
    };
    let known = window(WindowId::generate(at(0)));
    lab.store.insert_window(&known).unwrap();
    let mut text = serde_json::to_value(lab.find(id)).unwrap();
    text["settled"] = serde_json::json!({ "at": at(1), "state": "approved", "window": known.id });
    let approved: Request = serde_json::from_value(text).unwrap();
    assert!(lab.store.put_request(&approved, Some(&known)).is_err(), "its id is taken");
    assert_eq!(lab.find(id).state(), State::Pending);
}

#[test]
fn lists_are_newest_first_in_pages_and_by_every_filter() {
    let lab = Lab::new();
    let other = principal("other", PrincipalKind::Agent, AGENTS);
    let (first, _) = lab.hold(&agent(), "held", Mode::Live, "update t set x = 1");
    let (second, _) = lab.hold(&other, "held", Mode::Live, "update t set x = 2");
    let (third, binding) = lab.hold(&agent(), "held", Mode::Live, "update t set x = 3");
    lab.access.withdraw(first, &Withdrawer::Gateway, "").unwrap();
    let glass = lab.window_request(true);
    let all = RequestFilter::default();
    assert_eq!(lab.list(&all), [glass, third, second, first]);
    let of = |change: fn(&mut RequestFilter)| {
        let mut filter = RequestFilter::default();
        change(&mut filter);
        lab.list(&filter)
    };
    assert_eq!(of(|filter| filter.state = Some(State::Pending)), [third, second]);
    assert_eq!(of(|filter| filter.state = Some(State::Withdrawn)), [first]);
    assert_eq!(of(|filter| filter.needs_review = true), [glass]);
    assert_eq!(of(|filter| filter.connection = Some("elsewhere".parse().unwrap())), []);
    assert_eq!(of(|filter| filter.requester = Some(agent().key())), [glass, third, first]);
    let session = RequestFilter { session: Some(binding.session), ..RequestFilter::default() };
    assert_eq!(lab.list(&session), [third]);
    let mut page = RequestFilter { limit: Some(3), ..RequestFilter::default() };
    let Listing { rows, next } = lab.store.requests(&page).unwrap();
    assert_eq!((rows.len(), rows[2].id()), (3, second));
    page.cursor = next;
    let Listing { rows, next } = lab.store.requests(&page).unwrap();
    assert_eq!((rows.len(), rows[0].id(), next), (1, first, None));
    assert_eq!(lab.store.request(RequestId::generate(at(9))).unwrap(), None);
}

#[test]
fn retention_forgets_what_is_over_and_reviewed_and_never_what_waits() {
    let lab = Lab::new();
    let (pending, _) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from t");
    let (over, _) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from u");
    let (unused, _) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from v");
    let (glass, window) = (lab.window_request(true), lab.window_request(false));
    lab.answer(over, Answer::Deny).unwrap();
    lab.answer(unused, Answer::Approve).unwrap();
    lab.clock.advance(Duration::from_secs(100));
    let (late, _) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from w");
    lab.answer(late, Answer::Deny).unwrap();
    assert_eq!(lab.store.forget_before(at(50)).unwrap().requests, 1);
    assert_eq!(lab.list(&RequestFilter::default()), [late, window, glass, unused, pending]);
    // The approval was good for 15 minutes.
    assert_eq!(lab.store.forget_before(at(3600)).unwrap().requests, 2);
    assert_eq!(lab.list(&RequestFilter::default()), [window, glass, pending]);
}

#[test]
fn a_damaged_request_stops_the_start_and_is_not_taken_for_none() {
    let lab = Lab::new();
    let (id, _) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from t");
    let path = lab.store.path().to_owned();
    damage(&path, id);
    assert!(lab.store.request(id).is_err() && lab.store.open_requests(at(0)).is_err());
    let again = Access::new(
        policy(),
        Arc::clone(&lab.store) as _,
        Arc::clone(&lab.journal),
        Arc::new(lab.clock.clone()),
    );
    assert!(again.is_err());
}

fn damage(path: &Path, id: RequestId) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let changed =
        connection.execute("UPDATE requests SET body = '{}' WHERE id = ?1", [id.to_string()]).unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn an_expiry_changed_in_the_store_makes_an_approval_useless() {
    let lab = Lab::new();
    let (id, binding) = lab.hold(&agent(), "tickets", Mode::Ticket, "delete from t");
    lab.answer(id, Answer::Approve).unwrap();
    let connection = rusqlite::Connection::open(lab.store.path()).unwrap();
    let update = "UPDATE requests SET body = json_set(body, '$.answer_by', ?2) WHERE id = ?1";
    connection.execute(update, [id.to_string(), at(999_999).to_string()]).unwrap();
    drop(connection);
    let lab = lab.restarted();
    assert_eq!(lab.access.find_ticket(&binding), None);
    assert_eq!(lab.access.use_once(id, &binding), Err(UseRefused::NotUsable(NotUsable::Differs)));
}

/// By hand: `cargo nextest run -p portcullis-store --run-ignored only --no-capture ten_thousand`.
#[test]
#[ignore = "measures; nothing to assert"]
fn ten_thousand_pending_requests_are_listed_quickly() {
    let lab = Lab::new();
    let started = std::time::Instant::now();
    for number in 0..9_999 {
        let who = principal(&format!("agent-{}", number / 20), PrincipalKind::Agent, AGENTS);
        lab.hold(&who, "held", Mode::Live, "update t set x = 1");
    }
    println!("filing 9,999: {:?}", started.elapsed());
    let time = |what: &str, filter: RequestFilter| {
        let started = std::time::Instant::now();
        let found = lab.list(&filter).len();
        println!("{what}: {found} rows in {:?}", started.elapsed());
    };
    let who = principal("agent-3", PrincipalKind::Agent, AGENTS).key();
    time("pending", RequestFilter { state: Some(State::Pending), ..RequestFilter::default() });
    time("of one", RequestFilter { requester: Some(who), ..RequestFilter::default() });
    time(
        "of a session",
        RequestFilter { session: Some(SessionId::generate(at(0))), ..RequestFilter::default() },
    );
    time("to review", RequestFilter { needs_review: true, ..RequestFilter::default() });
    let started = std::time::Instant::now();
    let lab = lab.restarted();
    println!("restart: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    lab.access.tidy_requests();
    println!("withdrawing what the restart left: {:?}", started.elapsed());
}
