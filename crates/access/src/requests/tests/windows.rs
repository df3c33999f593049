//! Windows that people open, and those opened at once.

use std::sync::Arc;

use portcullis_core::RequestStep;

use super::lab::*;
use crate::{
    Granted, RequestRefused, WindowRequest,
    requests::{AnswerRefused, Mode, RequestFilter, RequestLimits, State, WhyNot, Withdrawer},
};

const COOLDOWN: &[(&str, &str)] =
    &[("lifetime: 30m", "lifetime: 30m\n    cooldown: 10m\n    max_per_day: 2")];

fn reviewed(lab: &Lab) -> Vec<State> {
    let filter = RequestFilter { needs_review: true, ..RequestFilter::default() };
    lab.access.requests(&filter).unwrap().rows.iter().map(|request| request.state()).collect()
}

#[test]
fn asking_again_while_a_request_waits_gives_that_one() {
    let lab = Lab::new();
    let id = lab.file();
    lab.clock.advance(MINUTE);
    let again = lab.ask(&agent(), &WindowRequest { reason: "please".into(), ..asking() }).unwrap();
    let Granted::Waits(again) = again else { panic!() };
    assert!(!again.new && again.request.id() == id && again.request.asked().reason == "INC-1432");
    // One that is over, tidied or not, is not shared.
    lab.clock.advance(60 * MINUTE);
    assert_ne!(lab.file(), id);
}

#[test]
fn asking_again_while_the_window_is_open_gives_that_window() {
    let lab = Lab::new();
    lab.answer(lab.file(), yes(&oncall("sam"))).unwrap();
    let window = lab.open_window().unwrap();
    lab.clock.advance(29 * MINUTE);
    let Granted::Window(again) = lab.ask(&agent(), &asking()).unwrap() else { panic!() };
    assert_eq!(again, window);
    lab.clock.advance(MINUTE);
    assert!(matches!(lab.ask(&agent(), &asking()).unwrap(), Granted::Waits(_)));
}

#[test]
fn cooldown_and_daily_limit_are_held_against_the_asking_not_the_approval() {
    let lab = Lab::under(COOLDOWN);
    lab.answer(lab.file(), yes(&oncall("sam"))).unwrap();
    lab.clock.advance(39 * MINUTE);
    assert!(matches!(lab.ask(&agent(), &asking()), Err(RequestRefused::Cooldown { .. })));
    lab.clock.advance(MINUTE);
    lab.answer(lab.file(), yes(&oncall("sam"))).unwrap();
    lab.clock.advance(60 * MINUTE);
    assert!(matches!(lab.ask(&agent(), &asking()), Err(RequestRefused::DailyLimit { limit: 2, .. })));
}

#[test]
fn an_approval_opens_a_window_of_its_own_beside_one_opened_at_once() {
    let lab = Lab::new();
    let both = person("sre", &["agents", "sre"]);
    let Granted::Waits(filed) = lab.ask(&both, &asking()).unwrap() else { panic!() };
    let first = lab.break_glass(&both).unwrap();
    lab.clock.advance(10 * MINUTE);
    lab.answer(filed.request.id(), yes(&oncall("sam"))).unwrap();
    let mut windows = lab.access.open_windows(&both.key());
    windows.sort_by_key(|window| window.ends_at);
    assert_eq!(windows[0], first, "its end does not move");
    assert_eq!(windows[1].ends_at, start().plus(40 * MINUTE));
}

#[test]
fn a_window_of_an_approval_survives_a_restart() {
    let lab = Lab::new();
    let id = lab.file();
    lab.answer(id, yes(&oncall("sam"))).unwrap();
    let window = lab.open_window();
    let lab = lab.restarted();
    assert!(window.is_some() && lab.open_window() == window && lab.state(id) == State::Approved);
}

#[test]
fn breaking_glass_opens_at_once_and_waits_for_the_review_of_somebody_else() {
    let lab = Lab::new();
    let sre = person("sre", &["sre", "oncall"]);
    let window = lab.break_glass(&sre).unwrap();
    assert_eq!(lab.access.open_windows(&sre.key()), std::slice::from_ref(&window));
    assert_eq!(lab.opened(), [window.id]);
    lab.clock.advance(MINUTE);
    assert_eq!(lab.break_glass(&sre).unwrap(), window, "a second one is the same");
    assert_eq!(reviewed(&lab), [State::Approved]);
    let lab = lab.restarted();
    assert_eq!(reviewed(&lab), [State::Approved], "still, after a restart");
    let filter = RequestFilter { needs_review: true, ..RequestFilter::default() };
    let id = lab.access.requests(&filter).unwrap().rows[0].id();
    lab.clock.advance(120 * MINUTE);
    lab.access.tidy_requests();
    let review =
        |who: &Arc<portcullis_core::Principal>, note: &str| lab.access.review(id, who, note, "console");
    assert_eq!(review(&sre, "fine"), Err(AnswerRefused::MayNot(WhyNot::Requester)));
    assert_eq!(
        review(&person("kim", &["agents"]), "fine"),
        Err(AnswerRefused::MayNot(WhyNot::NotAnApprover))
    );
    // The role of an approver is for where the grant is gone.
    assert_eq!(
        review(&person("pat", &["platform"]), "fine"),
        Err(AnswerRefused::MayNot(WhyNot::NotAnApprover))
    );
    let sam = oncall("sam");
    assert_eq!(review(&sam, " \0"), Err(AnswerRefused::Note));
    assert_eq!(review(&sam, &"x".repeat(1001)), Err(AnswerRefused::Note));
    let request = lab.access.find_request(id).unwrap().unwrap();
    assert!(lab.access.may_answer(&request, &sam).is_ok() && lab.access.may_answer(&request, &sre).is_err());
    let request = review(&sam, "was needed").unwrap();
    assert_eq!(request.review().unwrap().name, "sam");
    assert_eq!(review(&sam, "again"), Err(AnswerRefused::NothingToReview));
    assert_eq!(reviewed(&lab), []);
    let steps = lab.step_names(id);
    let refused = RequestStep::AnswerRefused;
    assert_eq!(steps, [RequestStep::BreakGlass, refused, refused, refused, RequestStep::Reviewed]);
}

#[test]
fn many_who_break_glass_at_once_get_one_window() {
    let lab = Lab::new();
    let sre = person("sre", &["sre"]);
    let windows = lab.at_once(8, |_| lab.break_glass(&sre).unwrap().id);
    let ids: std::collections::HashSet<_> = windows.into_iter().collect();
    assert_eq!((ids.len(), reviewed(&lab).len()), (1, 1));
}

#[test]
fn breaking_glass_is_for_those_named_with_a_reason_unblocked_and_within_the_condition() {
    let lab = Lab::new();
    assert_eq!(lab.break_glass(&agent()), Err(RequestRefused::NoBreakGlass));
    assert_eq!(lab.break_glass(&person("kim", &[])), Err(RequestRefused::NothingToAsk));
    let sre = person("sre", &["sre"]);
    let assistant = Some("9f2c0000-0000-4000-8000-00000000aaaa".to_owned());
    for application_id in [assistant, None] {
        let by_assistant = Arc::new(portcullis_core::Principal { application_id, ..(*sre).clone() });
        assert_eq!(lab.break_glass(&by_assistant), Err(RequestRefused::NoBreakGlass), "not their own hand");
    }
    // Nor an agent that acts for them: it is in their groups.
    let delegated = portcullis_core::Principal {
        kind: portcullis_core::PrincipalKind::Agent,
        subject: Some(sre.object_id.clone()),
        ..(*sre).clone()
    };
    assert_eq!(
        lab.break_glass(&Arc::new(delegated)),
        Err(RequestRefused::NoBreakGlass),
        "not their own hand"
    );
    let silent = WindowRequest { reason: "\0\u{7} ".into(), break_glass: true, ..asking() };
    assert!(matches!(lab.ask(&sre, &silent), Err(RequestRefused::Reason)));
    lab.block(&sre.key());
    assert_eq!(lab.break_glass(&sre), Err(RequestRefused::Blocked));
    let lab = Lab::under(&[(
        "lifetime: 30m",
        "lifetime: 30m\n    condition: 'source.ip in cidr(\"192.0.2.0/24\")'",
    )]);
    assert_eq!(lab.break_glass(&sre), Err(RequestRefused::NotNow));
    assert!(matches!(lab.ask(&agent(), &asking()), Err(RequestRefused::NotNow)));
    assert!(lab.opened().is_empty() && lab.access.open_windows(&sre.key()).is_empty());
    let lab = Lab::under(&[(
        "approvals: 1\n    answer_within: 1h",
        "approvals: 1\n    reason: optional\n    answer_within: 1h",
    )]);
    let silent = WindowRequest { reason: String::new(), ..asking() };
    assert!(matches!(lab.ask(&agent(), &silent), Ok(Granted::Waits(_))), "where it is optional");
    let silent = WindowRequest { break_glass: true, ..silent };
    assert!(matches!(lab.ask(&sre, &silent), Err(RequestRefused::Reason)), "an emergency has a reason");
}

#[test]
fn who_is_only_named_for_emergencies_may_ask_like_others() {
    let lab = Lab::new();
    let sre = person("sre", &["sre"]);
    let Granted::Waits(filed) = lab.ask(&sre, &asking()).unwrap() else { panic!() };
    lab.access.tidy_requests();
    lab.answer(filed.request.id(), yes(&oncall("sam"))).unwrap();
    assert_eq!(lab.access.open_windows(&sre.key()).len(), 1);
}

#[test]
fn a_review_stays_possible_when_its_grant_is_gone_or_changed() {
    let gone = ("  - name: deploys", "  - name: renamed");
    for (change, who) in [
        (gone, person("pat", &["platform"])),
        (("lifetime: 30m", "lifetime: 5m"), oncall("sam")),
        (("break_glass: group:sre", "break_glass: group:leads"), oncall("sam")),
    ] {
        let lab = Lab::new();
        let sre = person("sre", &["sre", "oncall", "platform"]);
        lab.break_glass(&sre).unwrap();
        let filter = RequestFilter { needs_review: true, ..RequestFilter::default() };
        let id = lab.access.requests(&filter).unwrap().rows[0].id();
        lab.access.replace_policy(policy(&[change]));
        assert_eq!(lab.access.review(id, &sre, "fine", "cli"), Err(AnswerRefused::MayNot(WhyNot::Requester)));
        let stranger = lab.access.review(id, &person("kim", &["agents"]), "fine", "cli");
        assert_eq!(stranger, Err(AnswerRefused::MayNot(WhyNot::NotAnApprover)));
        assert!(lab.access.review(id, &who, "fine", "cli").is_ok(), "{change:?}");
    }
}

#[test]
fn many_who_ask_at_once_share_one_request_and_pass_no_limit() {
    let lab = Lab::with(&[], RequestLimits { pending: 3, per_identity: 20 });
    let asked = lab.at_once(8, |_| lab.file());
    assert!(asked.iter().all(|id| *id == asked[0]));
    let filed =
        lab.at_once(8, |number| lab.ask(&person(&format!("p{number}"), &["agents"]), &asking()).is_ok());
    assert_eq!(filed.into_iter().filter(|filed| *filed).count(), 2);
}

#[test]
fn a_lifetime_asked_for_is_within_the_grants() {
    let lab = Lab::new();
    for seconds in [0, 1801, u64::MAX] {
        let request = WindowRequest { lifetime_seconds: Some(seconds), ..asking() };
        assert!(matches!(lab.ask(&agent(), &request), Err(RequestRefused::Lifetime { limit_seconds: 1800 })));
    }
    let request = WindowRequest { lifetime_seconds: Some(60), ..asking() };
    let Granted::Waits(filed) = lab.ask(&agent(), &request).unwrap() else { panic!() };
    lab.answer(filed.request.id(), yes(&oncall("sam"))).unwrap();
    assert_eq!(lab.open_window().unwrap().ends_at, start().plus(MINUTE));
}

#[test]
fn so_many_requests_wait_and_those_that_ended_free_their_place() {
    let limits = RequestLimits { pending: 3, per_identity: 2 };
    let lab = Lab::with(&[], limits);
    let id = lab.file();
    lab.hold(&["wide writes"], Mode::Live, "delete from t");
    let ask = || lab.access.hold(lab.hold_ask(&agent(), &["wide writes"], Mode::Live, "delete from u"));
    assert_eq!(ask().unwrap_err(), crate::requests::HoldRefused::TooMany { limit: 2 });
    let other = person("other", &["agents"]);
    let filed = |who: &str| lab.ask(&person(who, &["agents"]), &asking());
    lab.ask(&other, &asking()).unwrap();
    assert!(matches!(filed("third"), Err(RequestRefused::Unavailable { .. })), "of everybody");
    lab.access.withdraw(id, &Withdrawer::Gateway, "").unwrap();
    filed("third").unwrap();
    lab.clock.advance(60 * MINUTE);
    lab.access.tidy_requests();
    assert!(ask().is_ok(), "expired ones do not count");
    assert_eq!(lab.access.registry.pending(&agent().key()), (1, 1));
}
