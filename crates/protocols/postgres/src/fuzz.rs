//! Entry points for fuzzing: every decoder that reads bytes of a peer. Always compiled; the corpora in `testdata/corpus`
//! are replayed as ordinary tests.
//!
//! Each checks more than that nothing panics: what decodes is encoded again and must come out as the same bytes, and what
//! is walked in pieces must agree with what is read whole.

use bytes::BytesMut;

use crate::{
    codec::{
        BindScanner, Direction, ErrorFields, FirstPacket, Frames, Next, Piece,
        backend::{self, tag as backend_tag},
        bind::Bind,
        frontend::{self, Message, tag as frontend_tag},
        rows::{DataRow, RowDescription},
    },
    handshake::oauthbearer,
};

/// A stream of messages as a client would send it.
pub fn fuzz_frontend(bytes: &[u8]) {
    let mut frames = Frames::new(Direction::Frontend, bytes);
    while let Ok(Next::Frame(frame)) = frames.next() {
        let decoded = Message::decode(frame.tag, frame.body);
        if let Ok(message) = &decoded {
            assert_eq!(encoded(message), frame.bytes, "{message:?}");
        }
        match frame.tag {
            frontend_tag::BIND => assert_eq!(scan(frame.body), decoded.is_ok()),
            frontend_tag::PASSWORD => {
                let _ = frontend::password(frame.body);
                if let Ok(initial) = frontend::SaslInitialResponse::decode(frame.body) {
                    let _ = oauthbearer::parse(initial.response.unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    let _ = oauthbearer::parse(bytes);
    // The scanner takes chunks of any size and must not care where they end.
    assert_eq!(scan(bytes), Bind::decode(bytes).is_ok());
}

/// A stream of messages as a server would send it.
pub fn fuzz_backend(bytes: &[u8]) {
    let mut frames = Frames::new(Direction::Backend, bytes);
    while let Ok(Next::Frame(frame)) = frames.next() {
        let body = frame.body;
        match frame.tag {
            backend_tag::AUTHENTICATION => drop(backend::Authentication::decode(body)),
            backend_tag::BACKEND_KEY_DATA => drop(backend::BackendKeyData::decode(body)),
            backend_tag::COMMAND_COMPLETE => drop(backend::command_tag(body)),
            backend_tag::COPY_BOTH_RESPONSE
            | backend_tag::COPY_IN_RESPONSE
            | backend_tag::COPY_OUT_RESPONSE => {
                drop(backend::CopyResponse::decode(body));
            }
            backend_tag::DATA_ROW => {
                if let Ok(row) = DataRow::decode(body) {
                    assert_eq!(row.values().iter().count(), row.values().len());
                }
            }
            backend_tag::ERROR_RESPONSE | backend_tag::NOTICE_RESPONSE => {
                if let Ok(fields) = ErrorFields::decode(body) {
                    let text: usize = fields.iter().map(|(_, text)| text.len() + 2).sum();
                    assert_eq!(text + 1, body.len());
                }
            }
            backend_tag::FUNCTION_CALL_RESPONSE => drop(backend::function_result(body)),
            backend_tag::NEGOTIATE_PROTOCOL_VERSION => drop(backend::NegotiateProtocolVersion::decode(body)),
            backend_tag::NOTIFICATION_RESPONSE => drop(backend::Notification::decode(body)),
            backend_tag::PARAMETER_DESCRIPTION => drop(backend::parameter_types(body).map(Iterator::count)),
            backend_tag::PARAMETER_STATUS => drop(backend::ParameterStatus::decode(body)),
            backend_tag::READY_FOR_QUERY => drop(backend::TransactionStatus::decode(body)),
            backend_tag::ROW_DESCRIPTION => {
                if let Ok(columns) = RowDescription::decode(body) {
                    assert_eq!(columns.iter().count(), columns.len());
                    let columns: Vec<_> = columns.iter().collect();
                    let mut out = BytesMut::new();
                    RowDescription::encode(&mut out, &columns);
                    assert_eq!(out, frame.bytes);
                }
            }
            _ => {}
        }
    }
}

/// What comes before the first message.
pub fn fuzz_startup(bytes: &[u8]) {
    if let Ok(FirstPacket::Startup(message)) = FirstPacket::decode(bytes) {
        let mut again = BytesMut::new();
        message.encode(&mut again);
        let Ok(FirstPacket::Startup(reread)) = FirstPacket::decode(&again) else {
            assert!(again.len() > bytes.len(), "a startup packet could not be read again");
            return;
        };
        assert_eq!((reread.user, reread.database), (message.user, message.database));
        assert_eq!(reread.parameters, message.parameters);
    }
}

/// The message taken apart and written again.
fn encoded(message: &Message<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    match message {
        Message::Bind(bind) => {
            let formats: Vec<_> = bind.formats.iter().collect();
            let values: Vec<_> = bind.values.iter().collect();
            let results: Vec<_> = bind.result_formats.iter().collect();
            Bind::encode(&mut out, bind.portal, bind.statement, &formats, &values, &results);
        }
        Message::Close(named) => frontend::close(&mut out, *named),
        Message::CopyData(data) => frontend::copy_data(&mut out, data),
        Message::CopyDone => frontend::empty(&mut out, frontend_tag::COPY_DONE),
        Message::CopyFail(reason) => frontend::copy_fail(&mut out, reason),
        Message::Describe(named) => frontend::describe(&mut out, *named),
        Message::Execute(execute) => execute.encode(&mut out),
        Message::Flush => frontend::empty(&mut out, frontend_tag::FLUSH),
        Message::FunctionCall(call) => {
            let formats: Vec<_> = call.formats.iter().collect();
            let arguments: Vec<_> = call.arguments.iter().collect();
            frontend::FunctionCall::encode(&mut out, call.oid, &formats, &arguments, call.result_format);
        }
        Message::Parse(parse) => {
            let types: Vec<_> = parse.types().collect();
            frontend::Parse::encode(&mut out, parse.name, parse.text, &types);
        }
        Message::Query(text) => frontend::query(&mut out, text),
        Message::Sync => frontend::empty(&mut out, frontend_tag::SYNC),
        Message::Terminate => frontend::empty(&mut out, frontend_tag::TERMINATE),
    }
    out
}

/// Whether the body is a Bind, found out in chunks of one, then three, then seven bytes; they must agree.
fn scan(body: &[u8]) -> bool {
    let mut answers = [1, 3, 7].map(|size| {
        let mut scanner = BindScanner::new(body.len());
        let mut seen = 0_usize;
        let fed = body.chunks(size).try_for_each(|chunk| {
            scanner.feed(chunk, |piece| {
                if let Piece::Bytes(bytes) = piece {
                    seen += bytes.len();
                }
            })
        });
        assert!(seen <= body.len());
        fed.is_ok() && scanner.finish().is_ok()
    });
    let [first, ..] = answers;
    assert!(answers.iter_mut().all(|answer| *answer == first), "chunking changed the answer");
    first
}
