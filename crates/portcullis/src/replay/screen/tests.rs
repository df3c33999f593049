use portcullis_core::{EndReason, RuleRef};

use super::*;

fn view(seq: u64, what: What) -> View {
    View {
        seq,
        at: Timestamp::from_micros(1_790_000_000_000_000 + 1_000 * i64::try_from(seq).unwrap()),
        what,
    }
}

fn asked(number: u64) -> What {
    What::Statement(Box::new(StatementView {
        number,
        text: "SELECT 1".to_owned(),
        text_cut_from: None,
        decision: Verdict::Allow,
        rule: RuleRef { kind: "grant".into(), name: "g".to_owned(), location: None },
        reason: String::new(),
        parameters: Vec::new(),
    }))
}

fn shown(events: Vec<What>) -> String {
    let mut screen = Screen::new(Colours::Off);
    let mut text: String =
        events.into_iter().enumerate().map(|(seq, what)| screen.show(&view(seq as u64, what))).collect();
    text.push_str(&screen.flush_all());
    text
}

#[test]
fn what_would_steer_a_terminal_is_shown_instead() {
    assert_eq!(
        visible("a\u{1b}[2J\u{7f}\u{9b}\n\r\tb\u{202e}\u{200b}ä"),
        "a\\x1b[2J\\x7f\\x9b\\n\\r\\tb\\u{202e}\\u{200b}ä"
    );
}

#[test]
fn results_side_by_side_are_told_apart_and_null_is_no_text() {
    let row = |number, value: Option<&str>| What::Row { number, values: vec![value.map(str::to_owned)] };
    let text = shown(vec![
        asked(1),
        asked(2),
        row(1, Some("NULL")),
        row(2, None),
        row(1, Some("one")),
        What::Done { number: 2, tag: "SELECT 1".to_owned(), rows: 1, bytes: 6 },
        What::Done { number: 1, tag: "SELECT 2".to_owned(), rows: 2, bytes: 20 },
    ]);
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));
    assert!(place("  ∅") < place("-- SELECT 1") && place("-- SELECT 1") < place("  NULL"));
    assert!(place("  NULL") < place("  one") && place("  one") < place("-- SELECT 2"));
}

#[test]
fn a_recording_that_breaks_off_shows_what_was_held_back() {
    let row = What::Row { number: 1, values: vec![Some("kept".to_owned())] };
    assert!(shown(vec![asked(1), row]).contains("kept"));
}

#[test]
fn a_long_value_is_cut_and_a_long_result_is_not_held_for_ever() {
    let long = What::Row { number: 1, values: vec![Some("x".repeat(1_000))] };
    let text = shown(vec![asked(1), long]);
    assert!(text.contains('…') && text.lines().all(|line| line.chars().count() < 80), "{text}");
    let mut screen = Screen::new(Colours::Off);
    screen.show(&view(0, asked(1)));
    let printed = (1..=HELD as u64).any(|seq| {
        !screen.show(&view(seq, What::Row { number: 1, values: vec![Some("x".to_owned())] })).is_empty()
    });
    assert!(printed);
}

#[test]
fn a_wrong_number_of_values_or_columns_breaks_nothing() {
    let columns = vec![ColumnView { name: "a".to_owned(), kind: "int4".to_owned(), masked: true }];
    let values = vec![Some("1".to_owned()), None, Some("3".to_owned())];
    let text = shown(vec![
        What::Row { number: 9, values: values.clone() },
        asked(1),
        What::Columns { number: 1, columns },
        What::Row { number: 1, values },
        What::Row { number: 1, values: Vec::new() },
        What::Ended { reason: EndReason::Drained },
    ]);
    assert!(text.contains("a (masked)") && text.contains('3') && text.contains("session ended"), "{text}");
}

#[test]
fn times_and_sizes_are_as_people_say_them() {
    for (micros, text) in [(0, "0µs"), (1_500, "1.5ms"), (2_345_678, "2.34s"), (65_000_000, "1m 5s")] {
        assert_eq!(interval(micros), text);
    }
    for (bytes, text) in [(0, "0 B"), (1_536, "1.5 KiB"), (3 << 20, "3.0 MiB")] {
        assert_eq!(size(bytes), text);
    }
}
