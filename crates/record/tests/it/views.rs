//! The shape of JSON lines, which programs rely on: `BLESS=1` writes it anew.

use portcullis_core::{EndReason, Timestamp, Verdict};
use portcullis_record::{
    Column, Event, Format, Parameter, Parameters, RecordingsConfig, Seek, View, Views, What,
};

use crate::support::{BEGIN, Lab, row, rule, statement};

fn columns(each: &mut dyn FnMut(Column<'_>)) {
    each(Column { name: b"id", type_oid: 23, format: Format::Binary, masked: false });
    each(Column { name: b"card", type_oid: 25, format: Format::Text, masked: true });
}

fn bound(each: &mut dyn FnMut(Parameter<'_>)) {
    each(Parameter { type_oid: 23, format: Format::Binary, value: Some(&[0, 0, 0, 7]), length: 4 });
    each(Parameter { type_oid: 0, format: Format::Text, value: None, length: 0 });
    each(Parameter { type_oid: 25, format: Format::Text, value: Some(b"abc"), length: 9_000 });
}

#[test]
fn lines_have_the_shape_programs_know() {
    let lab = Lab::new();
    let (mut recorder, session) = lab.begin();
    let mut micros = BEGIN;
    let mut say = |event: &Event<'_>| {
        micros += 1_500;
        recorder.event(Timestamp::from_micros(micros), event).unwrap();
    };
    let asked = |number, text, verdict, reason, parameters| Event::Statement {
        number,
        text,
        text_cut_from: None,
        verdict,
        rule: Box::leak(Box::new(rule())),
        reason,
        parameters,
    };
    say(&asked(
        1,
        "SELECT id, card FROM payments WHERE id = $1",
        Verdict::Allow,
        "in scope",
        Parameters::Bound(&bound),
    ));
    say(&Event::Columns { number: 1, columns: &columns });
    say(&Event::Row { number: 1, values: &row(&[Some(&[0, 0, 0, 7]), Some(b"************1111")]) });
    say(&Event::Row { number: 1, values: &row(&[Some(&[0, 0, 0, 8]), None]) });
    say(&Event::Cut { number: 1 });
    say(&Event::Done { number: 1, tag: "SELECT 5000", rows: 5000, bytes: 120_000 });
    say(&asked(
        2,
        "DROP TABLE payments",
        Verdict::Deny,
        "schema changes go through migrations",
        Parameters::None,
    ));
    say(&Event::Notice { severity: "NOTICE", code: "00000", message: "hello \u{9b}2J\u{202e}" });
    say(&asked(3, "COPY t FROM STDIN", Verdict::Allow, "in scope", Parameters::None));
    say(&Event::CopyData { number: 3, data: b"1\tx\n" });
    say(&Event::CopyData { number: 3, data: &[0xff, 0] });
    say(&Event::Failed { number: 3, code: "22P04", message: "extra data after last expected column" });
    say(&Event::Note { text: "the scope changed" });
    recorder.finish(&EndReason::Killed { by: "admin".to_owned(), reason: "enough".to_owned() });
    lab.get().settle();
    let views: Vec<View> = Views::new(lab.recording(session), Seek::START).collect::<Result<_, _>>().unwrap();
    let lines: String = views.iter().map(View::to_line).collect();
    for (line, view) in lines.lines().zip(&views) {
        assert_eq!(serde_json::from_str::<View>(line).unwrap(), *view, "{line}");
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "nothing steers a terminal: {line}"
        );
    }
    let lines = lines.replace(&session.to_string(), "ses_0123456789abcdef0123456789abcdef");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/session.jsonl");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden, &lines).unwrap();
    }
    assert_eq!(lines, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn rows_are_told_by_their_columns_wherever_reading_begins() {
    let lab = Lab::with(|config| RecordingsConfig { segment_bytes: 1, ..config });
    let (mut recorder, session) = lab.begin();
    let at = Timestamp::from_micros(BEGIN);
    statement(&mut recorder, at, 1, "SELECT id, card FROM payments").unwrap();
    recorder.event(at, &Event::Columns { number: 1, columns: &columns }).unwrap();
    lab.get().flush();
    for id in 0..6_u8 {
        recorder
            .event(at, &Event::Row { number: 1, values: &row(&[Some(&[0, 0, 0, id]), Some(b"x")]) })
            .unwrap();
        lab.get().flush();
    }
    drop(recorder);
    lab.get().settle();
    assert!(lab.recording(session).segments().len() > 6);
    for seq in 3..9 {
        let view = Views::new(lab.recording(session), Seek::Event(seq)).next().unwrap().unwrap();
        let expected = Some((seq - 3).to_string());
        assert!(matches!(view.what, What::Row { values, .. } if values[0] == expected), "{seq}");
    }
}
