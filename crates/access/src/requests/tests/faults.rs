//! A store or a journal that fails: nothing counts that is not journalled and stored, and everything can be tried again.

use std::sync::atomic::Ordering;

use portcullis_core::RequestStep;

use super::lab::*;
use crate::{
    RequestRefused,
    requests::{AnswerRefused, HoldRefused, Mode, State, UseRefused, Withdrawer},
};

/// Breaks the journal, or the store behind it.
fn break_one(lab: &Lab, journal: bool, broken: bool) {
    let flag = if journal { &lab.journal_fails } else { &lab.store.fails };
    flag.store(broken, Ordering::SeqCst);
}

#[test]
fn an_approval_that_cannot_be_journalled_or_stored_changes_nothing_and_can_be_given_again() {
    for journal in [true, false] {
        let lab = Lab::new();
        let id = lab.file();
        break_one(&lab, journal, true);
        let refused = lab.answer(id, yes(&oncall("sam")));
        assert!(matches!(refused, Err(AnswerRefused::Unavailable { .. })), "{refused:?}");
        assert_eq!((lab.state(id), lab.open_window()), (State::Pending, None));
        assert!(lab.access.wait_for(id).unwrap().borrow().is_none(), "nobody was told");
        break_one(&lab, journal, false);
        if journal {
            assert!(lab.opened().is_empty());
            continue;
        }
        lab.answer(id, yes(&oncall("sam"))).unwrap();
        let window = lab.open_window().unwrap();
        assert!(lab.opened().contains(&window.id), "no window without its event");
        assert_eq!(lab.store.inner_windows(), 1, "the one that failed is in no store");
        assert_eq!(lab.step_names(id), [RequestStep::Filed, RequestStep::Approved, RequestStep::Approved]);
    }
}

#[test]
fn nothing_is_filed_opened_used_or_ended_that_cannot_be_written() {
    for journal in [true, false] {
        let lab = Lab::new();
        let (held, binding) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
        let (approved, approved_binding) = lab.hold(&["wide writes"], Mode::Live, "delete from u");
        lab.answer(approved.request.id(), yes(&oncall("sam"))).unwrap();
        let sre = person("sre", &["sre"]);
        break_one(&lab, journal, true);
        assert!(matches!(lab.ask(&agent(), &asking()), Err(RequestRefused::Unavailable { .. })));
        assert!(matches!(lab.break_glass(&sre), Err(RequestRefused::Unavailable { .. })));
        assert!(lab.access.open_windows(&sre.key()).is_empty());
        let ask = lab.hold_ask(&agent(), &["wide writes"], Mode::Live, "delete from v");
        assert!(matches!(lab.access.hold(ask), Err(HoldRefused::Unavailable { .. })));
        let used = lab.access.use_once(approved.request.id(), &approved_binding);
        assert!(matches!(used, Err(UseRefused::Unavailable { .. })), "{used:?}");
        let withdrawn = lab.access.withdraw(held.request.id(), &Withdrawer::Gateway, "");
        assert!(matches!(withdrawn, Err(AnswerRefused::Unavailable { .. })));
        assert!(lab.access.is_held(binding.session));
        let limits = lab.access.registry.pending(&agent().key());
        assert_eq!(limits, (1, 1), "what was not filed takes no place");
        break_one(&lab, journal, false);
        if journal {
            continue;
        }
        assert!(
            lab.access.use_once(approved.request.id(), &approved_binding).is_ok(),
            "nothing ran: it is unused"
        );
        assert!(lab.access.use_once(approved.request.id(), &approved_binding).is_err());
        assert!(lab.access.withdraw(held.request.id(), &Withdrawer::Gateway, "").is_ok());
    }
}

#[test]
fn what_could_not_be_ended_is_ended_by_the_next_tidying_and_takes_no_answer_meanwhile() {
    let lab = Lab::new();
    let id = lab.file();
    lab.clock.advance(60 * MINUTE);
    break_one(&lab, false, true);
    lab.access.tidy_requests();
    assert!(matches!(lab.answer(id, yes(&oncall("sam"))), Err(AnswerRefused::Unavailable { .. })));
    break_one(&lab, false, false);
    assert_eq!(lab.state(id), State::Pending);
    assert!(matches!(lab.answer(id, yes(&oncall("sam"))), Err(AnswerRefused::Over(State::Expired, _))));
    assert_eq!(lab.state(id), State::Expired);
}

#[test]
fn a_dropped_vote_that_cannot_be_written_stops_the_answer() {
    let lab = Lab::under(&[("    approvals: 1\n    answer_within", "    approvals: 2\n    answer_within")]);
    let (id, sam) = (lab.file(), oncall("sam"));
    lab.answer(id, yes(&sam)).unwrap();
    break_one(&lab, false, true);
    let fresh = std::collections::HashMap::from([(sam.key(), None)]);
    let refused = lab.access.answer(id, yes(&oncall("kim")), &fresh);
    assert!(matches!(refused, Err(AnswerRefused::Unavailable { .. })));
    assert_eq!(lab.access.find_request(id).unwrap().unwrap().votes().len(), 1);
    assert_eq!(lab.open_window(), None);
}

#[test]
fn a_journalled_approval_that_was_not_stored_is_pending_after_a_restart_too() {
    let lab = Lab::new();
    let id = lab.file();
    break_one(&lab, false, true);
    assert!(lab.answer(id, yes(&oncall("sam"))).is_err());
    break_one(&lab, false, false);
    let lab = lab.restarted();
    assert_eq!((lab.state(id), lab.open_window()), (State::Pending, None));
    assert_eq!(lab.answer(id, yes(&oncall("sam"))).unwrap().state(), State::Approved);
    assert!(lab.opened().contains(&lab.open_window().unwrap().id));
}
