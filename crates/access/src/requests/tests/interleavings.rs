//! Whatever happens in whatever order at whatever time, the promises hold.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use portcullis_audit::{Journal, JournalConfig, Sync};
use portcullis_core::{Clock as _, RequestId, SystemClock};
use proptest::prelude::*;

use super::lab::*;
use crate::{
    Granted,
    requests::{Binding, Mode, Request, State, What, Withdrawer},
};

#[derive(Clone, Debug)]
enum Act {
    File { who: usize },
    Hold { who: usize, mode: Mode, text: u8 },
    Answer { request: usize, by: usize, yes: bool, good: bool },
    Withdraw { request: usize },
    Use { request: usize, binding: usize },
    BreakGlass { who: usize },
    Policy { version: usize },
    Block { who: usize },
    Restart,
    Tidy,
    Wait { seconds: u64 },
    Back { seconds: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let mode = prop_oneof![Just(Mode::Live), Just(Mode::Ticket), Just(Mode::Commit)];
    let (request, binding) = (0..8_usize, 0..8_usize);
    prop_oneof![
        2 => (0..3_usize).prop_map(|who| Act::File { who }),
        3 => (0..3_usize, mode, 0..2_u8).prop_map(|(who, mode, text)| Act::Hold { who, mode, text }),
        6 => (request.clone(), 0..6_usize, any::<bool>(), any::<bool>())
            .prop_map(|(request, by, yes, good)| Act::Answer { request, by, yes, good }),
        1 => request.clone().prop_map(|request| Act::Withdraw { request }),
        5 => (request, binding).prop_map(|(request, binding)| Act::Use { request, binding }),
        1 => (0..3_usize).prop_map(|who| Act::BreakGlass { who }),
        1 => (0..3_usize).prop_map(|version| Act::Policy { version }),
        1 => (0..3_usize).prop_map(|who| Act::Block { who }),
        1 => Just(Act::Restart),
        2 => Just(Act::Tidy),
        3 => (0..2_000_u64).prop_map(|seconds| Act::Wait { seconds }),
        1 => (0..2_000_u64).prop_map(|seconds| Act::Back { seconds }),
    ]
}

/// One for all cases: opening one takes a thread and some waits for the disk.
fn journal() -> Arc<Journal> {
    static JOURNAL: OnceLock<(tempfile::TempDir, Arc<Journal>)> = OnceLock::new();
    let made = || {
        let dir = tempfile::tempdir().unwrap();
        let config = JournalConfig::new(dir.path().join("journal"), Sync::Fast);
        (dir, Journal::open(config, Arc::new(SystemClock)).unwrap().0)
    };
    Arc::clone(&JOURNAL.get_or_init(made).1)
}

/// What was seen of one request.
#[derive(Default)]
struct Seen {
    ended: Option<State>,
    uses: u32,
}

fn check(lab: &Lab, ids: &[RequestId], seen: &mut HashMap<RequestId, Seen>) {
    let mut windows = Vec::new();
    for id in ids {
        let request = lab.access.find_request(*id).unwrap().unwrap();
        let seen = seen.entry(*id).or_default();
        if let Some(ended) = seen.ended {
            assert_eq!(request.state(), ended, "ended stays ended");
        }
        seen.ended = request.settled().map(|_| request.state());
        for vote in request.votes() {
            assert!(vote.by.groups.iter().any(|g| matches!(g.name.as_deref(), Some("oncall" | "leads"))));
            assert_ne!(vote.by.key(), request.asked().requester.key());
        }
        let mut voters: Vec<_> = request.votes().iter().map(|vote| vote.by.key()).collect();
        voters.sort();
        voters.dedup();
        assert_eq!(voters.len(), request.votes().len(), "distinct people");
        if let (State::Approved, What::Window(window)) = (request.state(), &request.asked().what) {
            assert!(window.break_glass || !request.votes().is_empty());
            windows.push(request.id());
        }
    }
    let stored = lab.store.inner_windows();
    assert_eq!(stored, windows.len(), "a window for each approval, and none without");
    let [entries, of, ..] = lab.access.registry.sizes();
    assert_eq!(entries, of);
}

/// Asking again may give a request that is known.
fn know(ids: &mut Vec<RequestId>, id: RequestId) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

fn run(acts: Vec<Act>) {
    let policies = [policy(&[]), policy(&[("approvals: 1", "approvals: 2")]), policy(&[("30m", "20m")])];
    let mut lab = Lab::on(Arc::clone(&policies[0]), journal());
    let askers = [agent(), person("sam", &["agents", "oncall", "sre"]), person("lee", &["agents", "sre"])];
    let people = [
        oncall("kim"),
        person("alex", &["leads", "oncall"]),
        person("sam", &["agents", "oncall", "sre"]),
        person("lee", &["agents", "sre"]),
        agent(),
        oncall("max"),
    ];
    let (mut ids, mut bindings, mut seen) = (Vec::new(), Vec::<Binding>::new(), HashMap::new());
    let mut of: HashMap<RequestId, usize> = HashMap::new();
    for act in acts {
        match act {
            Act::File { who } => {
                if let Ok(Granted::Waits(filed)) = lab.ask(&askers[who], &asking()) {
                    know(&mut ids, filed.request.id());
                }
            }
            Act::Hold { who, mode, text } => {
                let rule = if mode == Mode::Ticket { "tickets" } else { "wide writes" };
                let ask = lab.hold_ask(&askers[who], &[rule], mode, &format!("delete from t{text}"));
                bindings.push(ask.binding().unwrap());
                if let Ok(filed) = lab.access.hold(ask) {
                    of.insert(filed.request.id(), bindings.len() - 1);
                    know(&mut ids, filed.request.id());
                }
            }
            Act::Answer { request, by, yes: approves, good } => {
                let Some(id) = ids.get(request) else { continue };
                let voters = lab.access.voters(*id).into_iter().map(|p| (p.key(), good.then_some(p)));
                let ballot = if approves { yes(&people[by]) } else { no(&people[by]) };
                let _ = lab.access.answer(*id, ballot, &voters.collect());
            }
            Act::Withdraw { request } => {
                let Some(id) = ids.get(request) else { continue };
                let _ = lab.access.withdraw(*id, &Withdrawer::Gateway, "");
            }
            Act::Use { request, binding } => {
                let Some(id) = ids.get(request) else { continue };
                let before = lab.access.find_request(*id).unwrap().unwrap();
                // Mostly its own binding.
                let own = of.get(id).copied().filter(|_| binding % 4 != 0).unwrap_or(binding);
                let Some(binding) = bindings.get(own) else { continue };
                if lab.access.use_once(*id, binding).is_ok() {
                    assert_eq!(before.state(), State::Approved);
                    let held = before.asked().what.operation().unwrap();
                    assert_eq!(binding.hash(held.mode, before.asked().answer_by), held.hash);
                    let seen: &mut Seen = seen.entry(*id).or_default();
                    seen.uses += 1;
                    assert_eq!(seen.uses, 1, "at most one use");
                }
            }
            Act::BreakGlass { who } => {
                let _ = lab.break_glass(&askers[who]);
                let filter = crate::requests::RequestFilter { limit: Some(1000), ..Default::default() };
                let all = lab.access.requests(&filter).unwrap().rows;
                all.iter().map(Request::id).for_each(|id| know(&mut ids, id));
            }
            Act::Policy { version } => lab.access.replace_policy(Arc::clone(&policies[version])),
            Act::Block { who } => lab.block(&askers[who].key()),
            Act::Restart => lab = lab.restarted(),
            Act::Tidy => lab.access.tidy_requests(),
            Act::Wait { seconds } => {
                lab.clock.advance(Duration::from_secs(seconds));
            }
            Act::Back { seconds } => lab.clock.set(lab.clock.now().minus(Duration::from_secs(seconds))),
        }
        check(&lab, &ids, &mut seen);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_steps_breaks_what_an_approval_promises(acts in proptest::collection::vec(act(), 1..40)) {
        run(acts);
    }
}
