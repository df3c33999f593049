//! Who may answer, when enough have, and what becomes of answers that race with something else.

use std::{collections::HashMap, sync::Arc, time::Duration};

use portcullis_core::{PrincipalKind, RequestStep};

use super::lab::*;
use crate::requests::{Answer, AnswerRefused, Ballot, Mode, Outcome, State, WhyNot, Withdrawer};

const TWO: &[(&str, &str)] =
    &[("    approvals: 1\n    answer_within", "    approvals: 2\n    answer_within")];

fn may_not(why: WhyNot) -> AnswerRefused {
    AnswerRefused::MayNot(why)
}

#[test]
fn approve_and_deny_at_the_same_time_give_one_outcome_and_the_later_is_told() {
    for _ in 0..20 {
        let lab = Lab::new();
        let id = lab.file();
        let (sam, kim) = (oncall("sam"), oncall("kim"));
        let ballots = [yes(&sam), no(&kim)];
        let mut answers = lab.at_once(2, |number| lab.answer(id, ballots[number].clone()));
        let (denied, approved) = (answers.pop().unwrap(), answers.pop().unwrap());
        assert_ne!(approved.is_ok(), denied.is_ok());
        let lost = approved.as_ref().err().or(denied.as_ref().err()).unwrap();
        let over = if approved.is_ok() {
            AnswerRefused::Over(State::Approved, "by sam".into())
        } else {
            AnswerRefused::Over(State::Denied, "by kim".into())
        };
        assert_eq!(*lost, over);
        assert_eq!(lab.open_window().is_some(), approved.is_ok());
        let ended = if approved.is_ok() { RequestStep::Approved } else { RequestStep::Denied };
        assert_eq!(lab.step_names(id), [RequestStep::Filed, ended, RequestStep::AnswerRefused]);
    }
}

#[test]
fn a_double_click_is_refused_and_changes_nothing() {
    let lab = Lab::under(TWO);
    let (id, sam) = (lab.file(), oncall("sam"));
    let once = lab.answer(id, yes(&sam)).unwrap();
    assert_eq!(once.state(), State::Pending);
    assert_eq!(lab.answer(id, yes(&sam)), Err(may_not(WhyNot::Answered)));
    assert_eq!(lab.access.find_request(id).unwrap().unwrap(), once);
    let lab = Lab::new();
    let id = lab.file();
    let once = lab.answer(id, yes(&sam)).unwrap();
    let window = lab.open_window();
    assert_eq!(lab.answer(id, yes(&sam)), Err(AnswerRefused::Over(State::Approved, "by sam".into())));
    assert_eq!(lab.access.find_request(id).unwrap().unwrap(), once);
    assert_eq!((lab.open_window(), lab.opened().len()), (window, 1));
}

#[test]
fn an_answer_counts_before_answer_by_and_not_at_it() {
    let lab = Lab::new();
    let id = lab.file();
    lab.clock.set(start().plus(60 * MINUTE).minus(Duration::from_micros(1)));
    assert_eq!(lab.answer(id, yes(&oncall("sam"))).unwrap().state(), State::Approved);
    let lab = Lab::new();
    let id = lab.file();
    lab.clock.set(start().plus(60 * MINUTE));
    let refused = lab.answer(id, yes(&oncall("sam")));
    assert_eq!(refused, Err(AnswerRefused::Over(State::Expired, String::new())));
    assert_eq!((lab.state(id), lab.open_window()), (State::Expired, None));
    assert_eq!(lab.step_names(id), [RequestStep::Filed, RequestStep::Expired]);
}

#[test]
fn expiry_and_an_answer_take_turns() {
    for _ in 0..20 {
        let lab = Lab::new();
        let id = lab.file();
        lab.clock.set(start().plus(60 * MINUTE));
        let sam = oncall("sam");
        lab.at_once(4, |number| match number {
            0 => lab.access.tidy_requests(),
            _ => drop(lab.answer(id, yes(&sam)).unwrap_err()),
        });
        assert_eq!((lab.state(id), lab.open_window()), (State::Expired, None));
        let ends = lab.step_names(id).into_iter().filter(|step| *step == RequestStep::Expired).count();
        assert_eq!(ends, 1);
    }
}

#[test]
fn a_window_request_is_withdrawn_when_its_grant_is_not_what_was_asked_for() {
    let gone = "when: approved\n    approvers: [ \"group:oncall\", \"group:leads\" ]\n    approvals: 1\n    answer_within: 1h\n    break_glass: group:sre\n";
    for change in [
        ("  - name: deploys", "  - name: renamed"),
        ("connection: orders\n    to: group:agents", "connection: orders\n    to: group:platform"),
        ("lifetime: 30m", "lifetime: 29m"),
        (gone, "when: requested\n"),
        ("scope: [ \"read:*\", \"write:app.*\" ]", "scope: [ \"read:*\", \"write:*\" ]"),
        ("scope: [ \"read:*\", \"write:app.*\" ]", "scope: [ \"read:*\" ]"),
    ] {
        let lab = Lab::new();
        let (id, tidied) = (lab.file(), lab.ask(&person("other", &["agents"]), &asking()));
        lab.access.replace_policy(policy(&[change]));
        assert_eq!(lab.answer(id, yes(&oncall("sam"))), Err(AnswerRefused::PolicyChanged), "{change:?}");
        assert_eq!((lab.state(id), lab.open_window()), (State::Withdrawn, None));
        lab.access.tidy_requests();
        let crate::Granted::Waits(tidied) = tidied.unwrap() else { panic!() };
        assert!(
            matches!(&*tidied.outcome.borrow(), Some(Outcome::Withdrawn { note }) if note.contains("policy"))
        );
        assert_eq!(lab.step_names(id), [RequestStep::Filed, RequestStep::Withdrawn]);
    }
}

#[test]
fn a_window_request_outlives_changes_that_leave_what_was_asked_for() {
    for change in [("lifetime: 30m", "lifetime: 2h"), ("hold_limit: 5m", "hold_limit: 6m")] {
        let lab = Lab::new();
        let id = lab.file();
        lab.access.replace_policy(policy(&[change]));
        lab.access.tidy_requests();
        lab.answer(id, yes(&oncall("sam"))).unwrap();
        let window = lab.open_window().unwrap();
        assert_eq!(window.ends_at, start().plus(30 * MINUTE), "what was asked for, not what could be by now");
    }
}

#[test]
fn the_approvers_of_the_policy_in_force_count() {
    let lab = Lab::new();
    let id = lab.file();
    let change = [("[ \"group:oncall\", \"group:leads\" ]", "[ \"group:platform\" ]")];
    lab.access.replace_policy(policy(&change));
    assert_eq!(lab.answer(id, yes(&oncall("sam"))), Err(may_not(WhyNot::NotAnApprover)));
    let kim = person("kim", &["platform"]);
    assert_eq!(lab.answer(id, yes(&kim)).unwrap().state(), State::Approved);
}

#[test]
fn an_operation_is_withdrawn_by_any_other_policy() {
    let lab = Lab::new();
    let (held, binding) = lab.hold(&["wide writes"], Mode::Live, "update t set x = 1");
    lab.access.replace_policy(policy(&[("lifetime: 10m", "lifetime: 11m")]));
    assert_eq!(lab.answer(held.request.id(), yes(&oncall("sam"))), Err(AnswerRefused::PolicyChanged));
    assert!(matches!(&*held.outcome.borrow(), Some(Outcome::Withdrawn { .. })));
    assert!(lab.access.use_once(held.request.id(), &binding).is_err());
}

#[test]
fn an_approver_who_left_the_group_does_not_count_as_the_first_nor_as_the_last_of_two() {
    let lab = Lab::under(TWO);
    let (id, sam, kim) = (lab.file(), oncall("sam"), oncall("kim"));
    lab.answer(id, yes(&sam)).unwrap();
    assert_eq!(lab.access.voters(id), [Arc::clone(&sam)]);
    let left = person("sam", &[]);
    let fresh = HashMap::from([(sam.key(), Some(Arc::clone(&left)))]);
    let counted = lab.access.answer(id, yes(&kim), &fresh).unwrap();
    assert_eq!((counted.state(), counted.votes().len()), (State::Pending, 1));
    assert_eq!(lab.answer(id, yes(&left)), Err(may_not(WhyNot::NotAnApprover)), "as the last");
    let gone = HashMap::from([(kim.key(), None)]);
    let counted = lab.access.answer(id, yes(&sam), &gone).unwrap();
    assert_eq!((counted.state(), counted.votes().len()), (State::Pending, 1), "kim is disabled, sam is back");
    assert_eq!(lab.open_window(), None);
    let dropped: Vec<_> = lab.steps(id).into_iter().filter(|e| e.step == RequestStep::VoteDropped).collect();
    assert_eq!(dropped.iter().map(|event| event.by_name.as_str()).collect::<Vec<_>>(), ["sam", "kim"]);
}

#[test]
fn a_vote_counts_for_the_needs_its_giver_may_answer_today() {
    let lab = Lab::new();
    let (held, _) = lab.hold(&["wide writes", "payroll"], Mode::Live, "update app.payroll set x = 1");
    let id = held.request.id();
    let both = person("sam", &["oncall", "leads"]);
    // Alone they are enough: one person, two groups.
    let (other, _) = lab.hold(&["wide writes", "payroll"], Mode::Live, "update app.payroll set x = 2");
    assert_eq!(lab.answer(other.request.id(), yes(&both)).unwrap().state(), State::Approved);
    // Two persons are too.
    let kim = person("kim", &["leads"]);
    assert_eq!(lab.answer(id, yes(&kim)).unwrap().state(), State::Pending);
    assert_eq!(lab.access.given(&lab.access.find_request(id).unwrap().unwrap())[1].1, 1);
    // But a lead who has moved to oncall since no longer speaks for the leads.
    let fresh = HashMap::from([(kim.key(), Some(person("kim", &["oncall"])))]);
    let request = lab.access.answer(id, yes(&oncall("alex")), &fresh).unwrap();
    assert_eq!(request.state(), State::Pending);
    let given: Vec<u32> = lab.access.given(&request).into_iter().map(|(_, given)| given).collect();
    assert_eq!(given, [2, 0]);
    assert_eq!(lab.answer(id, yes(&person("lee", &["leads"]))).unwrap().state(), State::Approved);
}

#[test]
fn a_block_of_the_requester_withdraws_and_one_of_an_approver_silences() {
    let lab = Lab::under(TWO);
    let (id, sam, kim) = (lab.file(), oncall("sam"), oncall("kim"));
    lab.answer(id, yes(&sam)).unwrap();
    lab.block(&sam.key());
    assert_eq!(lab.answer(id, yes(&sam)), Err(may_not(WhyNot::Blocked)));
    let request = lab.access.find_request(id).unwrap().unwrap();
    assert!(request.votes().is_empty(), "nor does the earlier yes count");
    assert_eq!(lab.access.may_answer(&request, &sam), Err(may_not(WhyNot::Blocked)));
    lab.block(&agent().key());
    let refused = lab.answer(id, yes(&kim)).unwrap_err();
    assert_eq!(
        refused,
        AnswerRefused::Over(State::Withdrawn, "an administrator has blocked the requester".into())
    );
    assert_eq!((lab.state(id), lab.open_window()), (State::Withdrawn, None));
}

#[test]
fn whoever_asked_or_acts_for_or_with_it_never_answers() {
    let lab = Lab::new();
    let person_who_asks = person("sam", &["agents", "oncall"]);
    let upper = |p: &mut portcullis_core::Principal| p.object_id = p.object_id.to_ascii_uppercase();
    let id_of = |who: &str| Some(oncall(who).object_id.clone());
    let other_app = Some("bbbbbbbb-0000-4000-8000-000000000004".to_owned());
    let cases = [
        ("itself", Arc::clone(&person_who_asks), Arc::clone(&person_who_asks), WhyNot::Requester),
        (
            "itself, spelled otherwise",
            person_who_asks.clone(),
            with(&person_who_asks, upper),
            WhyNot::Requester,
        ),
        (
            "itself, by another provider of the tenant",
            person_who_asks.clone(),
            with(&person_who_asks, |p| p.provider = "entra-console".into()),
            WhyNot::Requester,
        ),
        (
            "on the approver's behalf",
            with(&agent(), |a| a.subject = id_of("kim")),
            oncall("kim"),
            WhyNot::Requester,
        ),
        ("the approver acts", with(&agent(), |a| a.actor = id_of("kim")), oncall("kim"), WhyNot::Requester),
        (
            "the approver's token is the agent's doing",
            agent(),
            with(&oncall("kim"), |p| p.actor = Some(agent().object_id.clone())),
            WhyNot::Requester,
        ),
        (
            "the same application",
            agent(),
            with(&oncall("kim"), |p| p.application_id = Some(AGENT_APP.to_ascii_uppercase())),
            WhyNot::SameApplication,
        ),
        (
            "its parent application",
            with(&agent(), |a| a.parent_application = other_app.clone()),
            with(&oncall("kim"), |p| p.application_id = other_app.clone()),
            WhyNot::SameApplication,
        ),
        (
            "a token that some other application got in the approver's name",
            agent(),
            with(&oncall("kim"), |p| p.application_id = other_app.clone()),
            WhyNot::AnotherApplication,
        ),
        (
            "a token of the approver's that names no application",
            agent(),
            with(&oncall("kim"), |p| p.application_id = None),
            WhyNot::AnotherApplication,
        ),
        (
            "a token by which something acts for the approver",
            agent(),
            with(&oncall("kim"), |p| (p.subject, p.actor) = (Some(p.object_id.clone()), other_app.clone())),
            WhyNot::AnotherApplication,
        ),
        (
            "an actor that is its application",
            agent(),
            with(&oncall("kim"), |p| p.actor = Some(AGENT_APP.into())),
            WhyNot::SameApplication,
        ),
        (
            "an application",
            agent(),
            with(&oncall("kim"), |p| p.kind = PrincipalKind::Application),
            WhyNot::NotAPerson,
        ),
        ("an agent", agent(), with(&oncall("kim"), |p| p.kind = PrincipalKind::Agent), WhyNot::NotAPerson),
        ("anybody", agent(), person("kim", &["agents"]), WhyNot::NotAnApprover),
    ];
    for (what, requester, who, why) in cases {
        let crate::Granted::Waits(filed) = lab.ask(&requester, &asking()).unwrap() else { panic!("{what}") };
        let id = filed.request.id();
        assert_eq!(lab.access.may_answer(&filed.request, &who), Err(may_not(why)), "{what}");
        for ballot in [yes(&who), no(&who)] {
            assert_eq!(lab.answer(id, ballot), Err(may_not(why)), "{what}");
        }
        assert_eq!(
            (lab.state(id), lab.access.open_windows(&requester.key()).len()),
            (State::Pending, 0),
            "{what}"
        );
        assert_eq!(lab.steps(id).last().unwrap().step, RequestStep::AnswerRefused, "{what}");
        lab.access.withdraw(id, &Withdrawer::Gateway, "next").unwrap();
    }
}

#[test]
fn people_who_share_only_the_gateways_own_sign_in_may_answer_each_other() {
    let lab = Lab::new();
    let asks = person("lee", &["agents"]);
    let crate::Granted::Waits(filed) = lab.ask(&asks, &asking()).unwrap() else { panic!() };
    let kim = oncall("kim");
    assert_eq!(asks.application_id, kim.application_id);
    assert_eq!(lab.answer(filed.request.id(), yes(&kim)).unwrap().state(), State::Approved);
}

#[test]
fn two_distinct_people_are_two_and_one_person_by_two_providers_is_one() {
    let lab = Lab::under(TWO);
    let (id, sam) = (lab.file(), oncall("sam"));
    lab.answer(id, yes(&sam)).unwrap();
    let twin = with(&sam, |p| p.provider = "entra-2".into());
    assert!(lab.answer(id, yes(&twin)).is_err());
    assert_eq!(lab.answer(id, yes(&person("kim", &["leads"]))).unwrap().state(), State::Approved);
    assert!(lab.open_window().is_some());
    assert_eq!(lab.step_names(id)[1], RequestStep::Vote);
}

#[test]
fn one_no_ends_it_however_many_said_yes() {
    let lab = Lab::under(TWO);
    let (id, sam) = (lab.file(), oncall("sam"));
    lab.answer(id, yes(&sam)).unwrap();
    let silent = Ballot { note: "\0 \n".into(), ..no(&oncall("kim")) };
    assert_eq!(lab.answer(id, silent), Err(AnswerRefused::Note), "a no says why");
    assert_eq!(lab.answer(id, no(&oncall("kim"))).unwrap().state(), State::Denied);
}

#[test]
fn approvers_shorten_a_lifetime_and_the_shortest_counts() {
    let lab = Lab::under(TWO);
    let id = lab.file();
    let short = |who: &str, seconds| Ballot { lifetime_seconds: Some(seconds), ..yes(&oncall(who)) };
    for seconds in [0, 1801, u64::MAX] {
        let refused = lab.answer(id, short("sam", seconds));
        assert_eq!(refused, Err(AnswerRefused::Lifetime { limit_seconds: 1800 }));
    }
    lab.answer(id, short("sam", 600)).unwrap();
    lab.clock.advance(10 * MINUTE);
    lab.answer(id, short("kim", 900)).unwrap();
    let window = lab.open_window().unwrap();
    assert_eq!(window.opened_at, start().plus(10 * MINUTE), "its time begins with the approval");
    assert_eq!(window.ends_at, start().plus(20 * MINUTE));
    let steps = lab.steps(id);
    assert_eq!(steps.last().unwrap().lifetime_seconds, Some(900), "what this person gave");
    assert_eq!(steps.last().unwrap().window, Some(window.id));
    let (held, _) = lab.hold(&["wide writes"], Mode::Live, "delete from t");
    assert_eq!(lab.answer(held.request.id(), short("sam", 5)), Err(AnswerRefused::NoLifetime));
}

#[test]
fn an_approval_needs_no_note_and_a_refused_answer_is_journalled_with_the_reason() {
    let lab = Lab::new();
    let id = lab.file();
    let too_long = Ballot { note: "ä".repeat(1001), answer: Answer::Approve, ..yes(&oncall("sam")) };
    assert_eq!(lab.answer(id, too_long), Err(AnswerRefused::Note));
    let event = lab.steps(id).pop().unwrap();
    assert_eq!((event.step, event.by_name.as_str()), (RequestStep::AnswerRefused, "sam"));
    assert!(event.note.contains("characters"), "{}", event.note);
    let longest = Ballot { note: "ä".repeat(1000), ..yes(&oncall("sam")) };
    assert!(lab.answer(id, longest).is_ok());
    let lab = Lab::new();
    let silent = Ballot { note: String::new(), ..yes(&oncall("sam")) };
    assert!(lab.answer(lab.file(), silent).is_ok());
}

#[test]
fn fewer_needed_by_now_count_with_the_next_answer() {
    let lab = Lab::under(TWO);
    let id = lab.file();
    lab.answer(id, yes(&oncall("sam"))).unwrap();
    lab.access.replace_policy(policy(&[]));
    lab.access.tidy_requests();
    assert_eq!(lab.state(id), State::Pending);
    assert_eq!(lab.answer(id, no(&oncall("kim"))).unwrap().state(), State::Denied);
}
