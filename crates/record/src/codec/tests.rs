use std::borrow::Cow;

use portcullis_core::{ClientSoftware, SessionId, Source};
use proptest::prelude::*;

use super::*;

const AT: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);

fn rule() -> RuleRef {
    RuleRef {
        kind: Cow::Borrowed("grant"),
        name: "prod-logs#0".to_owned(),
        location: Some("policy.yaml:7".to_owned()),
    }
}

fn facts() -> SessionFacts {
    SessionFacts {
        session: SessionId::generate(AT),
        started_at: AT,
        protocol: "postgres".to_owned(),
        source: Source { address: "127.0.0.1:40000".parse().unwrap(), via: None },
        client: ClientSoftware("psql".to_owned()),
        principal: None,
        connection: Some("prod-logs".parse().unwrap()),
        database: None,
        grants: Vec::new(),
        window: None,
        ends_at: None,
    }
}

fn columns(each: &mut dyn FnMut(Column<'_>)) {
    each(Column { name: b"id", type_oid: 23, format: Format::Text, masked: false });
    each(Column { name: b"card", type_oid: u32::MAX, format: Format::Binary, masked: true });
}

fn bound(each: &mut dyn FnMut(Parameter<'_>)) {
    each(Parameter { type_oid: 23, format: Format::Binary, value: Some(&[0, 0, 0, 7]), length: 4 });
    each(Parameter { type_oid: 0, format: Format::Text, value: None, length: 0 });
    each(Parameter { type_oid: 25, format: Format::Text, value: Some(b""), length: 0 });
}

/// One of each kind.
fn all() -> Vec<u8> {
    let mut out = Vec::new();
    encode_began(&mut out, AT, &facts());
    let statement = Event::Statement {
        number: 300,
        text: "SELECT 'ä'",
        text_cut_from: Some(70_000),
        verdict: Verdict::Deny,
        rule: &rule(),
        reason: "no",
        parameters: Parameters::Bound(&bound),
    };
    for event in [
        statement,
        Event::Columns { number: 300, columns: &columns },
        Event::Row { number: 300, values: &[0, 1, 255, 255, 255, 255] },
        Event::CopyData { number: 300, data: b"1\t2\n" },
        Event::Cut { number: 300 },
        Event::Done { number: 300, tag: "SELECT 3", rows: 3, bytes: u64::MAX },
        Event::Failed { number: 300, code: "42501", message: "no" },
        Event::Notice { severity: "NOTICE", code: "00000", message: "hello" },
        Event::Note { text: "the scope changed" },
    ] {
        encode(&mut out, AT, &event);
    }
    encode_ended(&mut out, AT, &EndReason::WindowOver);
    out
}

fn read(mut bytes: &[u8]) -> Result<Vec<Item>, Malformed> {
    let mut items = Vec::new();
    while let Some((at, item, length)) = decode(bytes)? {
        assert_eq!(at, AT);
        let skimmed = skim(bytes)?.unwrap();
        assert_eq!((skimmed.0, skimmed.2), (at, length));
        items.push(item);
        bytes = &bytes[length..];
    }
    Ok(items)
}

#[test]
fn every_event_reads_back() {
    let items = read(&all()).unwrap();
    assert_eq!(items.len(), 11);
    let Item::Statement(statement) = &items[1] else { panic!("{:?}", items[1]) };
    assert_eq!((statement.number, statement.text.as_str()), (300, "SELECT 'ä'"));
    assert_eq!((statement.text_cut_from, statement.verdict), (Some(70_000), Verdict::Deny));
    assert_eq!(statement.rule, rule());
    let values: Vec<_> =
        statement.parameters.iter().map(|p| (p.type_oid, p.value.as_deref(), p.length)).collect();
    assert_eq!(values, [(23, Some(&[0, 0, 0, 7][..]), 4), (0, None, 0), (25, Some(&[][..]), 0)]);
    let Item::Columns { columns, .. } = &items[2] else { panic!("{:?}", items[2]) };
    assert_eq!(columns[1].name, "card");
    assert!(columns[1].masked && columns[1].format == Format::Binary && columns[1].type_oid == u32::MAX);
    assert_eq!(items[3], Item::Row { number: 300, values: vec![0, 1, 255, 255, 255, 255] });
    assert_eq!(items[6], Item::Done { number: 300, tag: "SELECT 3".to_owned(), rows: 3, bytes: u64::MAX });
    assert_eq!(items[10], Item::Ended { reason: EndReason::WindowOver });
}

#[test]
fn events_cut_at_any_byte_are_never_taken_for_whole_ones() {
    let bytes = all();
    let whole = read(&bytes).unwrap();
    let mut starts = vec![0];
    while let Some((_, _, length)) = decode(&bytes[*starts.last().unwrap()..]).unwrap() {
        starts.push(starts.last().unwrap() + length);
    }
    for cut in 0..bytes.len() {
        match read(&bytes[..cut]) {
            Ok(items) => assert!(starts.contains(&cut) && items[..] == whole[..items.len()], "{cut}"),
            Err(error) => assert_eq!(error, Malformed::Short, "{cut}"),
        }
    }
}

#[test]
fn what_is_cut_is_said() {
    let text = "ü".repeat(MAX_TEXT);
    let long = vec![7; MAX_PARAMETER + 1];
    let many = |each: &mut dyn FnMut(Parameter<'_>)| {
        for _ in 0..20 {
            let value = Some(&*long);
            each(Parameter { type_oid: 17, format: Format::Binary, value, length: 1 << 30 });
        }
    };
    let mut out = Vec::new();
    let event = Event::Statement {
        number: 1,
        text: &text,
        text_cut_from: None,
        verdict: Verdict::Allow,
        rule: &rule(),
        reason: "",
        parameters: Parameters::Bound(&many),
    };
    encode(&mut out, AT, &event);
    let items = read(&out).unwrap();
    let Item::Statement(statement) = &items[0] else { panic!() };
    assert_eq!(statement.text.len(), MAX_TEXT);
    assert_eq!(statement.text_cut_from, Some(2 * MAX_TEXT as u64));
    let kept: usize = statement.parameters.iter().map(|p| p.value.as_ref().unwrap().len()).sum();
    assert_eq!((statement.parameters.len(), kept), (20, MAX_PARAMETERS));
    assert!(statement.parameters.iter().all(|p| p.length == 1 << 30));

    let mut out = Vec::new();
    encode(&mut out, AT, &Event::Row { number: 4, values: &vec![0; MAX_DATA + 1] });
    assert_eq!(read(&out).unwrap(), [Item::Cut { number: 4 }]);
}

#[test]
fn once_the_buffer_has_grown_nothing_is_allocated() {
    let mut out = all();
    let (room, before) = (out.capacity(), out.as_ptr());
    for _ in 0..100 {
        out.clear();
        encode(&mut out, AT, &Event::Columns { number: 300, columns: &columns });
        encode(&mut out, AT, &Event::Row { number: 300, values: &[0, 1, 255, 255, 255, 255] });
        encode(&mut out, AT, &Event::Done { number: 300, tag: "SELECT 3", rows: 3, bytes: 5 });
    }
    assert_eq!((out.capacity(), out.as_ptr()), (room, before));
}

#[test]
fn an_event_of_another_version_or_with_more_in_it_is_an_error() {
    let mut unknown = Vec::new();
    encode(&mut unknown, AT, &Event::Note { text: "x" });
    unknown[4] = 200;
    assert_eq!(decode(&unknown).unwrap_err(), Malformed::Kind(200));
    let mut more = Vec::new();
    encode(&mut more, AT, &Event::Cut { number: 1 });
    more[0] += 1;
    more.push(0);
    assert_eq!(decode(&more).unwrap_err(), Malformed::LeftOver);
    assert_eq!(decode(&[255; 64]).unwrap_err(), Malformed::TooLong);
}

proptest! {
    #[test]
    fn words_and_bytes_of_any_kind_read_back(
        number in any::<u64>(), tag in ".{0,40}", message in ".{0,200}", data in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        let mut out = Vec::new();
        encode(&mut out, AT, &Event::Done { number, tag: &tag, rows: number / 3, bytes: number });
        encode(&mut out, AT, &Event::Failed { number, code: &tag, message: &message });
        encode(&mut out, AT, &Event::CopyData { number, data: &data });
        let items = read(&out).unwrap();
        let expected = [
            Item::Done { number, tag: tag.clone(), rows: number / 3, bytes: number },
            Item::Failed { number, code: tag, message },
            Item::CopyData { number, data },
        ];
        prop_assert_eq!(items, expected);
    }

    #[test]
    fn no_bytes_break_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..400), place in 0_usize..600, bit in 0_u8..8) {
        crate::fuzz::fuzz_recording(&bytes);
        let mut changed = all();
        let place = place % changed.len();
        changed[place] ^= 1 << bit;
        crate::fuzz::fuzz_recording(&changed);
        let header = crate::format::OpenHeader { session: facts().session, number: 1, first_event: 0, created: AT };
        let mut open = header.encode();
        open.extend_from_slice(&crate::format::frame_head(&changed));
        open.extend_from_slice(&changed);
        crate::fuzz::fuzz_recording(&open);
    }
}
