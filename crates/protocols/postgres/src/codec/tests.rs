//! Round trips, limits, truncation at every byte, captures of real servers, corpora.

use bytes::{BufMut, BytesMut};
use proptest::{collection::vec, option, prelude::*};

use super::{
    backend::{self, Authentication, BackendKeyData, ParameterStatus, TransactionStatus},
    bind::{Bind, Format},
    frame::limit,
    frontend::{self, Execute, FunctionCall, Message, Named, Parse, Target, tag},
    rows::{Column, DataRow, RowDescription},
    *,
};

fn captures(suffix: &str) -> Vec<(String, Vec<u8>)> {
    files("testdata/captures").into_iter().filter(|(name, _)| name.ends_with(suffix)).collect()
}

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn one(direction: Direction, bytes: &[u8]) -> Frame<'_> {
    let mut frames = Frames::new(direction, bytes);
    let Ok(Next::Frame(frame)) = frames.next() else { panic!("not one message: {bytes:?}") };
    assert_eq!(frames.offset(), bytes.len());
    assert_eq!(frames.next(), Ok(Next::Short));
    frame
}

/// Truncated at every byte, a body is an error; with a byte more, too.
fn is_exact<T: std::fmt::Debug>(body: &[u8], decode: impl Fn(&[u8]) -> Result<T, Error>) {
    decode(body).unwrap();
    for end in 0..body.len() {
        decode(&body[..end]).expect_err("a truncated body was accepted");
    }
    let longer = [body, &[0]].concat();
    decode(&longer).expect_err("a trailing byte was accepted");
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(1_u8..=255, 0..40)
}

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Text), Just(Format::Binary)]
}

fn values() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
    vec(option::of(vec(any::<u8>(), 0..50)), 0..6)
}

fn borrow(values: &[Option<Vec<u8>>]) -> Vec<Option<&[u8]>> {
    values.iter().map(|value| value.as_deref()).collect()
}

/// What a scanner sees of a body fed in chunks of `size`.
fn scan(body: &[u8], size: usize) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let mut scanner = BindScanner::new(body.len());
    let mut seen: Vec<Option<Vec<u8>>> = Vec::new();
    for chunk in body.chunks(size) {
        scanner.feed(chunk, |piece| match piece {
            Piece::Value { index, length } => {
                assert_eq!(usize::from(index), seen.len());
                seen.push(length.map(|_| Vec::new()));
            }
            Piece::Bytes(bytes) => seen.last_mut().unwrap().as_mut().unwrap().extend_from_slice(bytes),
        })?;
    }
    scanner.finish().map(|()| seen)
}

proptest! {
    #[test]
    fn bind_round_trips_whole_and_in_chunks(
        portal in name(), statement in name(), format in option::of(formats()), values in values(),
        results in vec(formats(), 0..4), size in 1_usize..40,
    ) {
        let formats: Vec<_> = format.into_iter().collect();
        let mut out = BytesMut::new();
        Bind::encode(&mut out, &portal, &statement, &formats, &borrow(&values), &results);
        let frame = one(Direction::Frontend, &out);
        let bind = Bind::decode(frame.body).unwrap();
        prop_assert_eq!(bind.portal, &portal);
        prop_assert_eq!(bind.statement, &statement);
        prop_assert_eq!(bind.values.iter().collect::<Vec<_>>(), borrow(&values));
        prop_assert_eq!(bind.result_formats.iter().collect::<Vec<_>>(), results);
        prop_assert_eq!(bind.formats.of(3), format.unwrap_or(Format::Text));
        prop_assert_eq!(scan(frame.body, size).unwrap(), values);
        let mut scanner = BindScanner::new(frame.body.len());
        scanner.feed(frame.body, |_| ()).unwrap();
        prop_assert_eq!(scanner.portal(), Some(portal.as_slice()));
        prop_assert_eq!(scanner.statement(), Some(statement.as_slice()));
        is_exact(frame.body, |body| Bind::decode(body).map(|_| ()));
        is_exact(frame.body, |body| scan(body, size));
    }

    #[test]
    fn a_scanner_agrees_with_the_decoder_on_any_bytes(body in vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..60), size in 1_usize..9) {
        let whole = Bind::decode(&body).map(|bind| bind.values.iter().map(|v| v.map(<[u8]>::to_vec)).collect::<Vec<_>>());
        prop_assert_eq!(scan(&body, size).ok(), whole.ok());
    }

    #[test]
    fn frontend_messages_round_trip(text in name(), other in name(), types in vec(any::<u32>(), 0..5), rows: i32, portal: bool) {
        let target = if portal { Target::Portal } else { Target::Statement };
        let named = Named { target, name: &text };
        let mut out = BytesMut::new();
        let mut check = |write: &dyn Fn(&mut BytesMut), expected: Message<'_>| {
            out.clear();
            write(&mut out);
            let frame = one(Direction::Frontend, &out);
            assert_eq!(Message::decode(frame.tag, frame.body), Ok(expected));
            if frame.tag != tag::COPY_DATA {
                is_exact(frame.body, |body| Message::decode(frame.tag, body).map(|_| ()));
            }
        };
        check(&|out| frontend::query(out, &text), Message::Query(&text));
        check(&|out| frontend::describe(out, named), Message::Describe(named));
        check(&|out| frontend::close(out, named), Message::Close(named));
        let execute = Execute { portal: &text, max_rows: rows };
        check(&|out| execute.encode(out), Message::Execute(execute));
        check(&|out| frontend::copy_data(out, &text), Message::CopyData(&text));
        check(&|out| frontend::copy_fail(out, &text), Message::CopyFail(&text));
        for (tag, message) in [
            (tag::SYNC, Message::Sync), (tag::FLUSH, Message::Flush), (tag::COPY_DONE, Message::CopyDone),
            (tag::TERMINATE, Message::Terminate),
        ] {
            check(&|out| frontend::empty(out, tag), message);
        }
        out.clear();
        Parse::encode(&mut out, &text, &other, &types);
        let frame = one(Direction::Frontend, &out);
        let parse = Parse::decode(frame.body).unwrap();
        prop_assert_eq!((parse.name, parse.text), (text.as_slice(), other.as_slice()));
        prop_assert_eq!(parse.types().collect::<Vec<_>>(), types);
        is_exact(frame.body, |body| Parse::decode(body).map(|_| ()));
    }

    #[test]
    fn a_function_call_round_trips(oid: u32, format in formats(), arguments in values(), result in formats()) {
        let mut out = BytesMut::new();
        FunctionCall::encode(&mut out, oid, &[format], &borrow(&arguments), result);
        let frame = one(Direction::Frontend, &out);
        let call = FunctionCall::decode(frame.body).unwrap();
        prop_assert_eq!((call.oid, call.result_format), (oid, result));
        prop_assert_eq!(call.arguments.iter().collect::<Vec<_>>(), borrow(&arguments));
        is_exact(frame.body, |body| FunctionCall::decode(body).map(|_| ()));
    }

    #[test]
    fn rows_round_trip(values in values(), name in name(), table: u32, attribute: i16, type_oid: u32, format in formats()) {
        let mut out = BytesMut::new();
        DataRow::encode(&mut out, borrow(&values).into_iter());
        let frame = one(Direction::Backend, &out);
        let row = DataRow::decode(frame.body).unwrap();
        prop_assert_eq!(row.values().iter().collect::<Vec<_>>(), borrow(&values));
        is_exact(frame.body, |body| DataRow::decode(body).map(|_| ()));
        let column = Column { table, attribute, type_oid, format, ..Column::text(&name) };
        out.clear();
        RowDescription::encode(&mut out, &[column, Column::text(b"x")]);
        let frame = one(Direction::Backend, &out);
        let columns = RowDescription::decode(frame.body).unwrap();
        prop_assert_eq!(columns.iter().collect::<Vec<_>>(), vec![column, Column::text(b"x")]);
        is_exact(frame.body, |body| RowDescription::decode(body).map(|_| ()));
    }

    #[test]
    fn backend_messages_round_trip(a in name(), b in name(), process: u32, key in vec(any::<u8>(), 4..=256), minor: u16) {
        let mut out = BytesMut::new();
        let status = ParameterStatus { name: &a, value: &b };
        status.encode(&mut out);
        let body = out.split().split_off(Header::LEN);
        prop_assert_eq!(ParameterStatus::decode(&body), Ok(status));
        is_exact(&body, |body| ParameterStatus::decode(body).map(|_| ()));
        let data = BackendKeyData { process, key: &key };
        data.encode(&mut out);
        let frame = one(Direction::Backend, &out);
        prop_assert_eq!(BackendKeyData::decode(frame.body), Ok(data));
        out.clear();
        let notification = backend::Notification { process, channel: &a, payload: &b };
        notification.encode(&mut out);
        let frame = one(Direction::Backend, &out);
        prop_assert_eq!(backend::Notification::decode(frame.body), Ok(notification));
        is_exact(frame.body, |body| backend::Notification::decode(body).map(|_| ()));
        out.clear();
        backend::command_complete(&mut out, &a);
        let frame = one(Direction::Backend, &out);
        prop_assert_eq!(backend::command_tag(frame.body), Ok(a.as_slice()));
        out.clear();
        let version = ProtocolVersion::new(minor);
        backend::NegotiateProtocolVersion::encode(&mut out, version, ["_pq_.a", "_pq_.b"].into_iter());
        let frame = one(Direction::Backend, &out);
        let told = backend::NegotiateProtocolVersion::decode(frame.body).unwrap();
        prop_assert_eq!((told.version, told.extensions), (version, vec![&b"_pq_.a"[..], b"_pq_.b"]));
        is_exact(frame.body, |body| backend::NegotiateProtocolVersion::decode(body).map(|_| ()));
        for request in [
            Authentication::Ok, Authentication::CleartextPassword, Authentication::Md5Password { salt: *b"salt" },
            Authentication::Sasl(backend::Mechanisms::OAUTHBEARER), Authentication::SaslContinue(&a),
            Authentication::SaslFinal(&b), Authentication::Other(7),
        ] {
            out.clear();
            request.encode(&mut out);
            let frame = one(Direction::Backend, &out);
            prop_assert_eq!(Authentication::decode(frame.body), Ok(request));
        }
    }

    #[test]
    fn a_startup_message_round_trips(user in "[a-z-]{1,20}", database in option::of("[a-z]{1,9}"), minor in 0_u16..5, application in "[^\0]{0,30}") {
        let message = StartupMessage {
            version: ProtocolVersion::new(minor),
            user,
            database,
            parameters: vec![("application_name".to_owned(), application), ("options".to_owned(), "-c x=y".to_owned())],
            extensions: Vec::new(),
        };
        let mut out = BytesMut::new();
        message.encode(&mut out);
        prop_assert_eq!(FirstPacket::decode(&out), Ok(FirstPacket::Startup(message)));
        for end in 0..out.len() {
            FirstPacket::decode(&out[..end]).unwrap_err();
            // Also with a length that fits what is left.
            let mut shorter = BytesMut::from(&out[..end]);
            if end >= 8 {
                shorter[..4].copy_from_slice(&u32::try_from(end).unwrap().to_be_bytes());
                FirstPacket::decode(&shorter).unwrap_err();
            }
        }
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        crate::fuzz::fuzz_frontend(&bytes);
        crate::fuzz::fuzz_backend(&bytes);
        crate::fuzz::fuzz_startup(&bytes);
    }
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(u32::try_from(body.len() + 8).unwrap());
    out.put_u32(code);
    out.put_slice(body);
    out
}

const V3: u32 = 3 << 16;

#[test]
fn startup_longer_than_limit_is_refused_by_its_length_alone() {
    let longest = u32::try_from(limits::STARTUP + 4).unwrap();
    assert_eq!(FirstPacket::length(&longest.to_be_bytes()), Ok(Some(10_004)));
    assert_eq!(FirstPacket::length(&(longest + 1).to_be_bytes()), Err(Error::StartupLength));
    assert_eq!(FirstPacket::length(&7_u32.to_be_bytes()), Err(Error::StartupLength));
    assert_eq!(FirstPacket::length(&[0, 0, 0]), Ok(None));
}

#[test]
fn startup_packets_that_mean_two_things_are_refused() {
    let decode = |body: &[u8]| FirstPacket::decode(&packet(V3, body));
    assert_eq!(decode(b"user\0a\0user\0b\0\0"), Err(Error::DuplicateParameter("user".into())));
    assert_eq!(
        decode(b"user\0a\0DateStyle\0b\0datestyle\0c\0\0"),
        Err(Error::DuplicateParameter("datestyle".into()))
    );
    assert_eq!(decode(b"database\0d\0\0"), Err(Error::NoUser));
    assert_eq!(decode(b"user\0\0\0"), Err(Error::NoUser));
    assert_eq!(decode(b"user\0a\0\0x"), Err(Error::Trailing { message: "startup", extra: 1 }));
    assert!(matches!(decode(b"user\0\xff\0\0"), Err(Error::Invalid { .. })));
    for value in ["true", "database", "1", "on", "o", "x"] {
        let body = format!("user\0a\0replication\0{value}\0\0");
        assert_eq!(decode(body.as_bytes()), Err(Error::Replication), "{value}");
    }
    for value in ["false", "F", "no", "off", "0"] {
        let body = format!("user\0a\0replication\0{value}\0\0");
        assert!(matches!(decode(body.as_bytes()), Ok(FirstPacket::Startup(_))), "{value}");
    }
}

#[test]
fn newer_protocols_and_extensions_are_negotiated_and_older_ones_refused() {
    let startup = |code, body: &[u8]| match FirstPacket::decode(&packet(code, body)) {
        Ok(FirstPacket::Startup(message)) => message,
        other => panic!("{other:?}"),
    };
    let newer = startup(V3 | 9999, b"user\0a\0\0");
    assert!(newer.needs_negotiation());
    assert_eq!(newer.version.negotiated(), ProtocolVersion::V3_2);
    let extended = startup(V3, b"user\0a\0_pq_.thing\x001\0\0");
    assert!(extended.needs_negotiation());
    assert_eq!(
        (extended.extensions.as_slice(), extended.version.negotiated()),
        (&["_pq_.thing".to_owned()][..], ProtocolVersion::V3_0)
    );
    assert!(!startup(V3 | 2, b"user\0a\0\0").needs_negotiation());
    assert_eq!(
        FirstPacket::decode(&packet(2 << 16, b"user\0a\0\0")),
        Err(Error::UnsupportedProtocol { major: 2, minor: 0 })
    );
}

#[test]
fn cancel_keys_are_four_to_256_bytes() {
    let decode = |key: usize| FirstPacket::decode(&packet(80_877_102, &vec![7; 4 + key]));
    for good in [4, 32, 256] {
        let Ok(FirstPacket::Cancel(request)) = decode(good) else { panic!("{good}") };
        assert_eq!(request.key.len(), good);
        let mut out = BytesMut::new();
        request.encode(&mut out);
        assert_eq!(FirstPacket::decode(&out), Ok(FirstPacket::Cancel(request)));
    }
    for bad in [0, 3, 257] {
        assert!(decode(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_body() {
    for direction in [Direction::Frontend, Direction::Backend] {
        for tag in 0..=255 {
            let head = |length: u32| {
                let [a, b, c, d] = length.to_be_bytes();
                [tag, a, b, c, d]
            };
            let Some(limit) = limit(direction, tag) else {
                assert_eq!(Header::peek(direction, &head(4)), Err(Error::UnknownTag { direction, tag }));
                continue;
            };
            let header = Header::peek(direction, &head(limit)).unwrap().unwrap();
            assert_eq!(header.message(), limit as usize + 1);
            assert_eq!(
                Header::peek(direction, &head(limit + 1)),
                Err(Error::TooLong { tag, length: limit + 1, limit })
            );
            assert_eq!(Header::peek(direction, &head(3)), Err(Error::LengthTooSmall { tag, length: 3 }));
            assert_eq!(Header::peek(direction, &head(4)[..4]), Ok(None));
        }
    }
}

#[test]
fn a_message_that_has_not_all_arrived_shows_its_header() {
    let mut bytes = BytesMut::new();
    frontend::query(&mut bytes, b"SELECT 1");
    let whole = bytes.len();
    frontend::copy_data(&mut bytes, &[7; 100]);
    let mut frames = Frames::new(Direction::Frontend, &bytes[..whole + 10]);
    assert!(matches!(frames.next(), Ok(Next::Frame(frame)) if frame.tag == tag::QUERY));
    let Ok(Next::Partial(header)) = frames.next() else { panic!("a header was due") };
    assert_eq!((header.body, header.streams(Direction::Frontend), frames.offset()), (100, true, whole));
    assert!(!Header { tag: tag::EXECUTE, body: 0 }.streams(Direction::Frontend));
}

#[test]
fn a_bind_value_that_cannot_be_whole_is_refused_before_its_bytes_are_handed_out() {
    let body = b"\0\0\0\0\0\x01\x7f\xff\xff\xffabc";
    let mut scanner = BindScanner::new(body.len());
    let mut pieces = 0;
    assert!(scanner.feed(body, |_| pieces += 1).is_err());
    assert_eq!(pieces, 0);
}

#[test]
fn a_zero_inside_a_text_does_not_end_a_field() {
    let mut out = BytesMut::new();
    Report::new(Severity::Error, "42501", "no\0C00000\0").detail("a\0b").encode(&mut out);
    let frame = one(Direction::Backend, &out);
    let fields = ErrorFields::decode(frame.body).unwrap();
    assert_eq!((fields.code(), fields.message().as_str()), ("42501", "noC00000"));
    assert_eq!(fields.iter().count(), 5);
}

#[test]
fn reports_carry_every_field_and_the_right_tag() {
    let mut out = BytesMut::new();
    Report::new(Severity::Fatal, "28000", "m").detail("d").hint("h").encode(&mut out);
    let frame = one(Direction::Backend, &out);
    assert_eq!(frame.tag, backend::tag::ERROR_RESPONSE);
    let fields = ErrorFields::decode(frame.body).unwrap();
    let all: Vec<_> = fields.iter().collect();
    assert_eq!(
        all,
        [(b'S', &b"FATAL"[..]), (b'V', b"FATAL"), (b'C', b"28000"), (b'M', b"m"), (b'D', b"d"), (b'H', b"h")]
    );
    assert!(fields.is_fatal());
    is_exact(frame.body, |body| ErrorFields::decode(body).map(|_| ()));
    out.clear();
    Report::new(Severity::Notice, "00000", "m").encode(&mut out);
    assert_eq!(one(Direction::Backend, &out).tag, backend::tag::NOTICE_RESPONSE);
}

#[test]
fn names_are_told_apart_by_their_first_63_bytes() {
    let (a, b) = ([b"x".repeat(63), b"1".to_vec()].concat(), [b"x".repeat(63), b"2".to_vec()].concat());
    assert_eq!(limits::significant(&a), limits::significant(&b));
    assert_eq!(limits::significant(b"short"), b"short");
}

#[test]
fn what_real_clients_sent_decodes_to_the_last_byte() {
    let mut seen = std::collections::BTreeSet::new();
    for (name, bytes) in captures(".frontend.bin") {
        let length = FirstPacket::length(&bytes).unwrap().unwrap();
        let Ok(FirstPacket::Startup(startup)) = FirstPacket::decode(&bytes[..length]) else {
            panic!("{name}")
        };
        assert_eq!(startup.user, "postgres");
        let mut frames = Frames::new(Direction::Frontend, &bytes[length..]);
        loop {
            match frames.next().unwrap() {
                Next::Frame(frame) if frame.tag == tag::PASSWORD => {}
                Next::Frame(frame) => {
                    Message::decode(frame.tag, frame.body).unwrap_or_else(|error| panic!("{name}: {error}"));
                    seen.insert(char::from(frame.tag));
                }
                Next::Short => break,
                Next::Partial(header) => panic!("{name}: {header:?}"),
            }
        }
        assert!(frames.rest().is_empty(), "{name}");
    }
    assert_eq!(seen.into_iter().collect::<String>(), "BDEFPQSXcd");
}

#[test]
fn what_real_servers_sent_decodes_to_the_last_byte() {
    let mut seen = std::collections::BTreeSet::new();
    for (name, bytes) in captures(".backend.bin") {
        let mut frames = Frames::new(Direction::Backend, &bytes);
        loop {
            let frame = match frames.next().unwrap() {
                Next::Frame(frame) => frame,
                Next::Short => break,
                Next::Partial(header) => panic!("{name}: {header:?}"),
            };
            seen.insert(char::from(frame.tag));
            match frame.tag {
                backend::tag::AUTHENTICATION => drop(Authentication::decode(frame.body).unwrap()),
                backend::tag::PARAMETER_STATUS => drop(ParameterStatus::decode(frame.body).unwrap()),
                backend::tag::BACKEND_KEY_DATA => drop(BackendKeyData::decode(frame.body).unwrap()),
                backend::tag::READY_FOR_QUERY => drop(TransactionStatus::decode(frame.body).unwrap()),
                backend::tag::COMMAND_COMPLETE => drop(backend::command_tag(frame.body).unwrap()),
                backend::tag::ROW_DESCRIPTION => drop(RowDescription::decode(frame.body).unwrap()),
                backend::tag::DATA_ROW => drop(DataRow::decode(frame.body).unwrap()),
                backend::tag::NOTIFICATION_RESPONSE => {
                    backend::Notification::decode(frame.body).unwrap();
                }
                backend::tag::FUNCTION_CALL_RESPONSE => drop(backend::function_result(frame.body).unwrap()),
                backend::tag::ERROR_RESPONSE | backend::tag::NOTICE_RESPONSE => {
                    assert_eq!(ErrorFields::decode(frame.body).unwrap().code().len(), 5);
                }
                backend::tag::COPY_IN_RESPONSE | backend::tag::COPY_OUT_RESPONSE => {
                    backend::CopyResponse::decode(frame.body).unwrap();
                }
                _ => {}
            }
        }
        assert!(frames.rest().is_empty(), "{name}");
    }
    assert_eq!(seen.into_iter().collect::<String>(), "12ACDEGHIKNRSTVZcdn");
}

#[test]
fn corpora_are_replayed() {
    for (_, bytes) in files("testdata/corpus/frontend") {
        crate::fuzz::fuzz_frontend(&bytes);
        (0..bytes.len()).for_each(|end| crate::fuzz::fuzz_frontend(&bytes[..end]));
    }
    for (_, bytes) in files("testdata/corpus/backend") {
        crate::fuzz::fuzz_backend(&bytes);
        (0..bytes.len()).for_each(|end| crate::fuzz::fuzz_backend(&bytes[..end]));
    }
    for (_, bytes) in files("testdata/corpus/startup") {
        crate::fuzz::fuzz_startup(&bytes);
        (0..bytes.len()).for_each(|end| crate::fuzz::fuzz_startup(&bytes[..end]));
    }
}
