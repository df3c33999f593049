//! Held operations: an approval lets through what was approved, once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use portcullis_core::{RequestStep, SessionId};

use super::lab::*;
use crate::requests::{
    AnswerRefused, Binding, Digest, Filed, HoldRefused, Mode, NotUsable, Outcome, State, UseRefused,
    Withdrawer,
};

fn refused(why: NotUsable) -> UseRefused {
    UseRefused::NotUsable(why)
}

fn approved(lab: &Lab, mode: Mode) -> (Filed, Binding) {
    let rule = if mode == Mode::Ticket { "tickets" } else { "wide writes" };
    let (held, binding) = lab.hold(&[rule], mode, "update t set x = 1");
    lab.answer(held.request.id(), yes(&oncall("sam"))).unwrap();
    (held, binding)
}

#[test]
fn an_approval_is_used_exactly_once_whoever_comes_first() {
    let lab = Lab::new();
    let (held, binding) = approved(&lab, Mode::Live);
    let id = held.request.id();
    let uses = lab.at_once(16, |_| lab.access.use_once(id, &binding));
    let used: Vec<_> = uses.iter().filter_map(|used| used.as_ref().ok()).collect();
    assert_eq!(used.len(), 1);
    assert_eq!((used[0].by.as_str(), used[0].rule.name.as_str()), ("sam", "wide writes"));
    assert!(uses.iter().filter_map(|used| used.as_ref().err()).all(|why| *why == refused(NotUsable::Used)));
    let steps = lab.step_names(id);
    assert_eq!(steps.iter().filter(|step| **step == RequestStep::Used).count(), 1);
    assert_eq!(steps.iter().filter(|step| **step == RequestStep::UseRefused).count(), 15);
    // Nor after a restart.
    let lab = lab.restarted();
    assert_eq!(lab.access.use_once(id, &binding), Err(refused(NotUsable::Used)));
}

#[test]
fn what_differs_in_any_field_is_refused_and_journalled() {
    let lab = Lab::new();
    for mode in [Mode::Live, Mode::Ticket, Mode::Commit] {
        let (held, binding) = approved(&lab, mode);
        let id = held.request.id();
        let mut other = vec![
            Binding { digest: Digest::of([b"update t set x = 2".as_slice()]), ..binding.clone() },
            Binding { connection: "logs".parse().unwrap(), ..binding.clone() },
            Binding { database: None, ..binding.clone() },
            Binding { database: Some("other".into()), ..binding.clone() },
            Binding { policy: "another".into(), ..binding.clone() },
        ];
        for change in [
            |key: &mut portcullis_core::PrincipalKey| key.provider = "other".into(),
            |key: &mut portcullis_core::PrincipalKey| key.tenant = None,
            |key: &mut portcullis_core::PrincipalKey| key.object_id = "other".into(),
        ] {
            let mut binding = binding.clone();
            change(&mut binding.principal);
            other.push(binding);
        }
        let elsewhere = Binding { session: SessionId::generate(start()), ..binding.clone() };
        if mode != Mode::Ticket {
            other.push(elsewhere.clone());
        }
        for binding in &other {
            assert_eq!(lab.access.use_once(id, binding), Err(refused(NotUsable::Differs)), "{binding:?}");
            assert_eq!(lab.access.find_ticket(binding), None);
            let event = lab.steps(id).pop().unwrap();
            assert_eq!((event.step, event.note), (RequestStep::UseRefused, NotUsable::Differs.to_string()));
        }
        // None of these attempts used it up; a ticket is good in any session of its principal.
        let good = if mode == Mode::Ticket { &elsewhere } else { &binding };
        assert!(lab.access.use_once(id, good).is_ok());
    }
}

#[test]
fn the_hash_depends_on_mode_and_expiry_and_on_the_session_but_for_a_ticket() {
    let lab = Lab::new();
    let (_, binding) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
    let elsewhere = Binding { session: SessionId::generate(start()), ..binding.clone() };
    let modes = [Mode::Live, Mode::Ticket, Mode::Commit];
    let mut hashes: Vec<String> = modes.iter().map(|mode| binding.hash(*mode, start())).collect();
    hashes.push(binding.hash(Mode::Live, start().plus(Duration::from_micros(1))));
    hashes.push(elsewhere.hash(Mode::Live, start()));
    hashes.push(elsewhere.hash(Mode::Commit, start()));
    let distinct: std::collections::HashSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
    assert_eq!(elsewhere.hash(Mode::Ticket, start()), binding.hash(Mode::Ticket, start()));
}

#[test]
fn parts_of_a_digest_cannot_be_moved_across_their_borders() {
    let of = |parts: &[&str]| Digest::of(parts.iter().map(|part| part.as_bytes()));
    assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    assert_ne!(of(&["a"]), of(&["a", ""]));
    assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
}

#[test]
fn an_approval_is_good_until_its_end_and_not_at_it() {
    for (mode, good_for) in [(Mode::Live, MINUTE), (Mode::Ticket, 15 * MINUTE)] {
        let lab = Lab::new();
        let (held, binding) = approved(&lab, mode);
        lab.clock.advance(good_for);
        assert_eq!(lab.access.find_ticket(&binding), None);
        assert_eq!(lab.access.use_once(held.request.id(), &binding), Err(refused(NotUsable::Over)));
        lab.access.tidy_requests();
        assert_eq!(
            lab.access.use_once(held.request.id(), &binding),
            Err(refused(NotUsable::Over)),
            "forgotten"
        );
        assert_eq!(lab.state(held.request.id()), State::Approved, "what has ended stays ended so");
        let lab = Lab::new();
        let (held, binding) = approved(&lab, mode);
        lab.clock.advance(good_for - Duration::from_micros(1));
        assert!(lab.access.use_once(held.request.id(), &binding).is_ok());
    }
}

#[test]
fn what_is_not_approved_lets_nothing_through() {
    let lab = Lab::new();
    let (pending, binding) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
    let id = pending.request.id();
    assert_eq!(lab.access.use_once(id, &binding), Err(refused(NotUsable::NotApproved)));
    lab.answer(id, no(&oncall("sam"))).unwrap();
    assert_eq!(lab.access.use_once(id, &binding), Err(refused(NotUsable::NotApproved)));
    let window = lab.file();
    lab.answer(window, yes(&oncall("sam"))).unwrap();
    assert_eq!(lab.access.use_once(window, &binding), Err(refused(NotUsable::NotApproved)), "nor a window");
    let unknown = portcullis_core::RequestId::generate(start());
    assert_eq!(lab.access.use_once(unknown, &binding), Err(refused(NotUsable::NotApproved)));
}

#[test]
fn an_approval_of_a_session_that_ended_is_nobody_elses() {
    let lab = Lab::new();
    let (held, binding) = approved(&lab, Mode::Live);
    assert_eq!(lab.access.withdraw_holds(binding.session, "the session ended"), 0, "it is approved already");
    let (again, elsewhere) = lab.hold(&["wide writes"], Mode::Live, "update t set x = 1");
    assert!(again.new && again.request.id() != held.request.id());
    assert_eq!(lab.access.use_once(held.request.id(), &elsewhere), Err(refused(NotUsable::Differs)));
    assert_eq!(lab.access.find_ticket(&binding), None, "a live approval is no ticket");
}

#[test]
fn a_policy_that_moved_on_makes_an_approval_useless() {
    let lab = Lab::new();
    let (held, binding) = approved(&lab, Mode::Ticket);
    let changed = policy(&[("lifetime: 10m", "lifetime: 11m")]);
    let now = Binding { policy: changed.version().to_string(), ..binding.clone() };
    lab.access.replace_policy(changed);
    for binding in [&binding, &now] {
        assert_eq!(lab.access.use_once(held.request.id(), binding), Err(refused(NotUsable::Differs)));
    }
    assert_eq!(lab.access.find_ticket(&now), None);
}

#[test]
fn retries_of_a_ticket_share_one_request_and_then_its_approval() {
    let lab = Lab::new();
    let (first, _) = lab.hold(&["tickets"], Mode::Ticket, "update app.slow set x = 1");
    lab.clock.advance(MINUTE);
    let (again, binding) = lab.hold(&["tickets"], Mode::Ticket, "update app.slow set x = 1");
    assert!(first.new && !again.new);
    assert_eq!(first.request.id(), again.request.id());
    let (other, _) = lab.hold(&["tickets"], Mode::Ticket, "update app.slow set x = 2");
    assert!(other.new);
    lab.answer(first.request.id(), yes(&oncall("sam"))).unwrap();
    assert_eq!(lab.access.find_ticket(&binding), Some(first.request.id()));
    // One that asks just after the approval is told of it, and files nothing.
    let (late, _) = lab.hold(&["tickets"], Mode::Ticket, "update app.slow set x = 1");
    assert!(!late.new && matches!(&*late.outcome.borrow(), Some(Outcome::Approved { .. })));
    lab.access.use_once(first.request.id(), &binding).unwrap();
    assert_eq!(lab.access.find_ticket(&binding), None);
    let (next, _) = lab.hold(&["tickets"], Mode::Ticket, "update app.slow set x = 1");
    assert!(next.new, "a second time is a new request");
}

#[test]
fn a_ticket_survives_a_restart_and_a_live_hold_does_not() {
    let lab = Lab::new();
    let (ticket, binding) = approved(&lab, Mode::Ticket);
    let (waiting, _) = lab.hold(&["tickets"], Mode::Ticket, "another");
    let (live, live_binding) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
    let window = lab.file();
    let lab = lab.restarted();
    // Before the first tidying no answer brings the dead connection back.
    let note = "the gateway was restarted: the connection that waited is gone";
    let refused = lab.answer(live.request.id(), yes(&oncall("sam")));
    assert_eq!(refused, Err(AnswerRefused::Over(State::Withdrawn, note.into())));
    assert!(lab.access.use_once(live.request.id(), &live_binding).is_err());
    assert_eq!((lab.state(waiting.request.id()), lab.state(window)), (State::Pending, State::Pending));
    assert_eq!(lab.access.find_ticket(&binding), Some(ticket.request.id()));
    assert!(lab.access.use_once(ticket.request.id(), &binding).is_ok());
    assert_eq!(lab.answer(window, yes(&oncall("sam"))).unwrap().state(), State::Approved);
}

#[test]
fn a_restart_on_a_reactor_with_a_strict_journal_withdraws_what_waited() {
    let lab = Lab::new();
    let (live, _) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
    let dir = tempfile::tempdir().unwrap();
    let config = portcullis_audit::JournalConfig::new(dir.path().join("j"), portcullis_audit::Sync::Strict);
    let (journal, _) = portcullis_audit::Journal::open(config, Arc::new(lab.clock.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let state = runtime.block_on(async {
        let limits = crate::requests::RequestLimits::default();
        let access = Arc::new(open(lab.access.policy(), &lab.store, &journal, &lab.clock, limits));
        let tidied = Arc::clone(&access);
        tokio::task::spawn_blocking(move || tidied.tidy_requests()).await.unwrap();
        access.find_request(live.request.id()).unwrap().unwrap().state()
    });
    assert_eq!(state, State::Withdrawn);
}

#[test]
fn a_session_takes_back_what_it_has_waiting_and_nothing_else() {
    let lab = Lab::new();
    let (live, binding) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
    let (ticket, _) = lab.hold(&["tickets"], Mode::Ticket, "delete from app.slow");
    let (other, other_binding) = lab.hold(&["wide writes"], Mode::Live, "delete from u");
    assert!(lab.access.is_held(binding.session) && lab.access.is_held(other_binding.session));
    assert_eq!(lab.access.withdraw_holds(binding.session, "the client cancelled"), 1);
    assert_eq!(lab.access.withdraw_holds(binding.session, "the client cancelled"), 0);
    assert!(!lab.access.is_held(binding.session));
    assert_eq!(*live.outcome.borrow(), Some(Outcome::Withdrawn { note: "the client cancelled".into() }));
    assert_eq!(lab.state(ticket.request.id()), State::Pending);
    assert_eq!(lab.state(other.request.id()), State::Pending);
}

#[test]
fn only_the_requester_takes_a_request_back_and_only_while_it_is_pending() {
    let lab = Lab::new();
    let id = lab.file();
    let stranger = Withdrawer::Requester(person("kim", &["agents"]).key());
    assert_eq!(lab.access.withdraw(id, &stranger, ""), Err(AnswerRefused::Unknown));
    let own = Withdrawer::Requester(agent().key());
    let request = lab.access.withdraw(id, &own, " done\0 ").unwrap();
    assert_eq!((request.state(), request.settled().unwrap().note()), (State::Withdrawn, "done"));
    assert_eq!(lab.steps(id).pop().unwrap().by_name, "deploy agent");
    assert!(matches!(lab.access.withdraw(id, &own, ""), Err(AnswerRefused::Over(State::Withdrawn, _))));
    assert!(matches!(lab.answer(id, yes(&oncall("sam"))), Err(AnswerRefused::Over(State::Withdrawn, _))));
    let late = lab.file();
    lab.clock.advance(60 * MINUTE);
    assert!(matches!(lab.access.withdraw(late, &own, ""), Err(AnswerRefused::Over(State::Expired, _))));
    assert_eq!(lab.state(late), State::Expired);
}

#[test]
fn an_operation_that_no_rule_holds_is_not_held() {
    let lab = Lab::new();
    let ask = lab.hold_ask(&agent(), &[], Mode::Live, "delete from t");
    assert!(matches!(lab.access.hold(ask), Err(HoldRefused::Unavailable { .. })), "nobody could answer it");
}

#[test]
fn a_hold_waits_as_long_as_its_shortest_rule() {
    let lab = Lab::new();
    let (held, _) = lab.hold(&["wide writes", "payroll"], Mode::Live, "delete from app.payroll");
    assert_eq!(held.request.asked().answer_by, start().plus(4 * MINUTE));
    lab.clock.advance(4 * MINUTE);
    lab.access.tidy_requests();
    assert_eq!(*held.outcome.borrow(), Some(Outcome::Expired));
}

#[test]
fn who_waits_still_reads_the_outcome_of_a_request_that_is_forgotten() {
    let lab = Lab::new();
    let (held, _) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
    let id = held.request.id();
    assert_eq!(lab.access.waiters(id), 1);
    let mut outcome = lab.access.wait_for(id).unwrap();
    assert_eq!(lab.access.waiters(id), 2);
    lab.answer(held.request.id(), no(&oncall("sam"))).unwrap();
    let told = Some(Outcome::Denied { by: "sam".into(), note: "not on a friday".into() });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(*runtime.block_on(outcome.wait_for(Option::is_some)).unwrap(), told);
    assert_eq!(*outcome.borrow(), told);
    // Who asks a moment too late has nothing to wait for, and reads it.
    assert_eq!(lab.access.waiters(id), 0);
    assert!(lab.access.wait_for(held.request.id()).is_none());
    assert_eq!(lab.state(held.request.id()), State::Denied);
}

#[test]
fn every_change_is_told_and_the_blast_radius_is_kept() {
    let lab = Lab::new();
    let mut changes = lab.access.request_changes();
    let (held, binding) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
    let id = held.request.id();
    let radius = crate::requests::BlastRadius { estimated_rows: Some(12), ..Default::default() };
    lab.access.set_blast(id, radius.clone()).unwrap();
    lab.access.answer(id, yes(&oncall("sam")), &HashMap::new()).unwrap();
    lab.access.use_once(id, &binding).unwrap();
    lab.access.set_blast(id, radius.clone()).unwrap();
    let told: Vec<_> =
        std::iter::from_fn(|| changes.try_recv().ok()).map(|request| request.state()).collect();
    assert_eq!(told, [State::Pending, State::Pending, State::Approved, State::Approved]);
    assert_eq!(lab.access.find_request(id).unwrap().unwrap().blast(), Some(&radius));
    assert_eq!(lab.access.request_link(id).unwrap(), format!("https://gateway.example.com/requests/{id}"));
}

#[test]
fn retries_at_once_share_one_request() {
    let lab = Lab::new();
    let held = lab.at_once(8, |_| lab.hold(&["tickets"], Mode::Ticket, "update app.slow set x = 1").0);
    assert_eq!(held.iter().filter(|filed| filed.new).count(), 1);
    assert!(held.iter().all(|filed| filed.request.id() == held[0].request.id()));
}
