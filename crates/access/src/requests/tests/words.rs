//! What people write, and what of it gets where.

use portcullis_core::RequestStep;

use super::lab::*;
use crate::{
    Granted, RequestRefused, WindowRequest,
    requests::{Ballot, BoundValue, Mode, said},
};

#[test]
fn control_characters_are_blanks_and_all_else_stays_as_written() {
    assert_eq!(said(" a\0b\u{1b}[31mc\r\nd\te\u{85}f "), "a b [31mc  d e f");
    let kept = "für “alle” \u{202e}rtl\u{2066} 日本 👩‍💻";
    assert_eq!(said(kept), kept, "direction marks are for surfaces to show");
    assert_eq!(
        said("\u{200b} \u{3164}\u{2800}\u{202e}\u{e0041}\u{feff}"),
        "",
        "what cannot be seen is no reason"
    );
}

#[test]
fn reasons_and_notes_are_counted_in_characters_and_kept_plain() {
    let lab = Lab::new();
    let request = |reason: String| WindowRequest { reason, ..asking() };
    let refused = lab.ask(&agent(), &request("ä".repeat(1001)));
    assert!(matches!(refused, Err(RequestRefused::Reason)));
    assert!(matches!(lab.ask(&agent(), &request("\n\0".into())), Err(RequestRefused::Reason)));
    let longest = format!("{}\u{7}x", "ä".repeat(998));
    let Granted::Waits(filed) = lab.ask(&agent(), &request(longest)).unwrap() else { panic!() };
    assert!(filed.request.asked().reason.ends_with("ä x"));
    let ballot = Ballot { note: "go\u{1b}[2J ahead\n".into(), ..yes(&oncall("sam")) };
    let request = lab.answer(filed.request.id(), ballot).unwrap();
    assert_eq!(request.votes()[0].note, "go [2J ahead");
    assert_eq!(request.settled().unwrap().note(), "go [2J ahead");
    assert_eq!(lab.steps(request.id()).pop().unwrap().note, "go [2J ahead");
    assert_eq!(lab.open_window().unwrap().reason, filed.request.asked().reason);
    let mut ask = lab.hold_ask(&agent(), &["wide writes"], Mode::Live, "delete from t");
    ask.reason = "y".repeat(5000);
    let held = lab.access.hold(ask).unwrap();
    assert_eq!(held.request.asked().reason.len(), 1000, "a client's own words are cut");
}

#[test]
fn every_step_has_one_event_with_who_how_and_why_and_no_values() {
    let lab = Lab::new();
    let mut ask = lab.hold_ask(&agent(), &["wide writes"], Mode::Live, "update t set secret = 'hunter2'");
    let value = BoundValue {
        position: 1,
        type_name: "text".into(),
        value: "s3cr3t-bind".into(),
        null: false,
        cut: false,
    };
    ask.operation.binds.push(value);
    ask.reason = "INC-7".into();
    let binding = ask.binding().unwrap();
    let held = lab.access.hold(ask).unwrap();
    let id = held.request.id();
    lab.answer(id, yes(&oncall("sam"))).unwrap();
    lab.access.use_once(id, &binding).unwrap();
    let steps = lab.steps(id);
    let told: Vec<_> = steps.iter().map(|event| event.step).collect();
    assert_eq!(told, [RequestStep::Filed, RequestStep::Approved, RequestStep::Used]);
    let approved = &steps[1];
    assert_eq!(approved.by, Some(oncall("sam").key()));
    assert_eq!((approved.by_name.as_str(), approved.through.as_str()), ("sam", "console"));
    assert_eq!((approved.note.as_str(), steps[0].reason.as_str()), ("looks right", "INC-7"));
    for event in &steps {
        assert_eq!(event.session, Some(binding.session));
        assert_eq!(event.hash, held.request.asked().what.operation().unwrap().hash);
        assert_eq!((event.kind.as_str(), event.rule.name.as_str()), ("operation", "wide writes"));
        let text = serde_json::to_string(event).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn what_is_stored_reads_back_as_it_was() {
    let lab = Lab::new();
    let (held, binding) = lab.hold(&["wide writes"], Mode::Commit, "commit");
    let id = held.request.id();
    let same = || {
        let request = lab.access.find_request(id).unwrap().unwrap();
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<crate::requests::Request>(&text).unwrap(), request, "{text}");
    };
    same();
    lab.answer(id, yes(&oncall("sam"))).unwrap();
    same();
    lab.access.use_once(id, &binding).unwrap();
    same();
}
