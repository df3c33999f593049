//! The indexes follow the requests.

use portcullis_core::Clock as _;

use super::lab::*;
use crate::requests::Mode;

#[test]
fn no_index_keeps_what_is_forgotten() {
    let lab = Lab::new();
    let (denied, _) = lab.hold(&["wide writes"], Mode::Live, "1");
    let (used, binding) = lab.hold(&["wide writes"], Mode::Commit, "2");
    let (unused, _) = lab.hold(&["tickets"], Mode::Ticket, "3");
    let window = lab.file();
    assert_eq!(lab.access.registry.sizes(), [4, 4, 2, 4, 4, 0]);
    let sam = oncall("sam");
    lab.answer(denied.request.id(), no(&sam)).unwrap();
    lab.answer(used.request.id(), yes(&sam)).unwrap();
    lab.answer(unused.request.id(), yes(&sam)).unwrap();
    assert_eq!(lab.access.registry.sizes(), [3, 3, 0, 1, 1, 2]);
    lab.access.use_once(used.request.id(), &binding).unwrap();
    lab.answer(window, yes(&sam)).unwrap();
    assert_eq!(lab.access.registry.sizes(), [1, 1, 0, 0, 0, 1]);
    lab.clock.advance(15 * MINUTE);
    lab.access.tidy_requests();
    assert_eq!(lab.access.registry.sizes(), [0; 6]);
    assert!(lab.clock.now() > start());
}

/// By hand: `cargo nextest run -p portcullis-access --run-ignored only --no-capture ten_thousand`.
#[test]
#[ignore = "measures; nothing to assert"]
fn ten_thousand_pending_requests_leave_filing_looking_and_tidying_quick() {
    let lab = Lab::new();
    let mut who = agent();
    let started = std::time::Instant::now();
    for number in 0..9_999 {
        if number % 20 == 0 {
            who = with(&agent(), |p| p.object_id = format!("{number:032x}"));
        }
        let ask = lab.hold_ask(&who, &["wide writes"], Mode::Live, "delete from t");
        lab.access.hold(ask).unwrap();
    }
    println!("filing 9,999: {:?}", started.elapsed());
    let (last, binding) = lab.hold(&["wide writes"], Mode::Live, "delete from u");
    let mut times = Vec::new();
    let mut time = |what: &'static str, count: u32, work: &dyn Fn()| {
        let started = std::time::Instant::now();
        (0..count).for_each(|_| work());
        times.push(format!("{what}: {:?} each", started.elapsed() / count));
    };
    time("find_ticket", 1000, &|| assert!(lab.access.find_ticket(&binding).is_none()));
    time("is_held", 1000, &|| assert!(lab.access.is_held(binding.session)));
    time("tidy_requests", 10, &|| lab.access.tidy_requests());
    time("find_request", 1000, &|| drop(lab.access.find_request(last.request.id()).unwrap()));
    println!("{}", times.join("\n"));
}
