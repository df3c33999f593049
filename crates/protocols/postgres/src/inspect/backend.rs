//! Server to client: passed on as it is, but for the answers to stand-ins and what masks hide; watched for what the judge must know.

use bytes::BytesMut;
use portcullis_core::EndReason;
use portcullis_proxy::buffer::ReadBuffer;

use super::{
    Effect, Inspector,
    results::{Described, Row},
    violation,
};
use crate::{
    codec::{
        Direction, ErrorFields, Frames, Header, Next,
        backend::{self, TransactionStatus, tag},
    },
    session::{names::Prepared, outputs::Outputs},
};

/// An error up to this long is waited for whole: it may be the answer to a stand-in, which is short.
const WHOLE_ERROR: usize = 64 * 1024;

/// Why a run of messages ends.
enum Stop {
    /// At a message that has not all arrived, or at the end.
    Input(Option<Header>),
    /// At rows that are written anew.
    Rows,
    /// At a message of so many bytes, for which this is passed on.
    Exchange(usize, BytesMut),
}

impl Inspector {
    /// Looks at what the server sent, as far as it goes, and passes it on.
    ///
    /// # Errors
    /// The session must end.
    pub(crate) fn backend(&mut self, buffer: &mut ReadBuffer, out: &mut Outputs) -> Result<(), EndReason> {
        while !buffer.is_empty() && !out.down.is_full() {
            if self.down_left > 0 {
                let take = self.down_left.min(buffer.len());
                buffer.forward(take, &mut out.down);
                self.down_left -= take;
                if self.down_left == 0 {
                    self.speak(out);
                }
                continue;
            }
            if !self.pass_run(buffer, out)? {
                break;
            }
        }
        Ok(())
    }

    /// Tells the client what waits to be told, unless a message to it is half written.
    pub(crate) fn speak(&self, out: &mut Outputs) {
        if self.down_left == 0 {
            out.speak();
        }
    }

    /// Passes on the messages at the start of `buffer` in one piece, up to one that must be exchanged. Whether anything was
    /// passed on.
    fn pass_run(&mut self, buffer: &mut ReadBuffer, out: &mut Outputs) -> Result<bool, EndReason> {
        let broken =
            |error: crate::codec::Error| EndReason::UpstreamQuit { detail: format!("upstream: {error}") };
        let mut frames = Frames::new(Direction::Backend, buffer.bytes());
        let mut stop = Stop::Input(None);
        let whole = loop {
            let before = frames.offset();
            match frames.next().map_err(broken)? {
                Next::Short => break before,
                Next::Partial(header) => {
                    stop = Stop::Input(Some(header));
                    break before;
                }
                Next::Frame(frame) if self.is_row(frame.tag) => {
                    if self.row(frame.tag, frame.body)? == Row::Rewrite {
                        stop = Stop::Rows;
                        break before;
                    }
                }
                Next::Frame(frame) => {
                    if let Some(instead) = self.watch(frame.tag, frame.body)? {
                        stop = Stop::Exchange(frame.bytes.len(), instead);
                        break before;
                    }
                }
            }
        };
        if whole > 0 {
            buffer.forward(whole, &mut out.down);
        }
        match stop {
            Stop::Rows => {
                self.rewrite_rows(buffer, out)?;
                Ok(true)
            }
            Stop::Exchange(length, instead) => {
                buffer.consume(length);
                out.down.push_slice(&instead);
                Ok(true)
            }
            Stop::Input(Some(header)) if self.passes_in_pieces(header)? => {
                let available = buffer.len();
                self.down_left = header.message().saturating_sub(available);
                buffer.forward(available, &mut out.down);
                Ok(true)
            }
            Stop::Input(_) => Ok(whole > 0),
        }
    }

    fn is_row(&self, tag: u8) -> bool {
        matches!(tag, tag::DATA_ROW | tag::COPY_DATA) && !self.is_probing()
    }

    /// Whether what has arrived of a message is passed on before the rest of it has.
    fn passes_in_pieces(&mut self, header: Header) -> Result<bool, EndReason> {
        if !header.streams(Direction::Backend) {
            return Ok(false);
        }
        match header.tag {
            tag::DATA_ROW | tag::COPY_DATA => self.long_row(header),
            tag::ERROR_RESPONSE if header.body <= WHOLE_ERROR => Ok(false),
            other if self.needs_whole(other)? => Ok(false),
            tag::ERROR_RESPONSE => {
                self.flight.error();
                self.commits.failed();
                self.names.forget_unnamed_portal(self.flight.last_bind_of_front());
                self.results.expected.failed();
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// Learns from one whole message; what to pass on instead, where it must be exchanged.
    fn watch(&mut self, tag: u8, body: &[u8]) -> Result<Option<BytesMut>, EndReason> {
        if self.is_probing()
            && let Some(nothing) = self.probed(tag, body)?
        {
            return Ok(Some(nothing));
        }
        if let tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::CLOSE_COMPLETE | tag::COMMAND_COMPLETE = tag
            && self.results.expected.completed_ours()
        {
            self.flight.answered();
            return Ok(Some(BytesMut::new()));
        }
        // Every message of the extended protocol but Sync and Flush is answered by exactly one of these, or by an error.
        if let tag::PARSE_COMPLETE
        | tag::BIND_COMPLETE
        | tag::CLOSE_COMPLETE
        | tag::ROW_DESCRIPTION
        | tag::NO_DATA
        | tag::COMMAND_COMPLETE
        | tag::EMPTY_QUERY_RESPONSE
        | tag::PORTAL_SUSPENDED = tag
        {
            self.flight.answered();
        }
        match tag {
            tag::READY_FOR_QUERY => self.ready(body)?,
            tag::ERROR_RESPONSE => {
                let fields = ErrorFields::decode(body).map_err(|error| violation(error.to_string()))?;
                self.flight.error();
                self.commits.failed();
                self.names.forget_unnamed_portal(self.flight.last_bind_of_front());
                self.told_fatal |= fields.is_fatal();
                let seen = self.failed(&fields)?;
                return Ok(self.refusals.exchange(&fields).or(seen));
            }
            tag::NOTICE_RESPONSE => return self.notice(body),
            tag::NOTIFICATION_RESPONSE => return Ok(self.notified(body)),
            tag::FUNCTION_CALL_RESPONSE => return self.called(body),
            tag::ROW_DESCRIPTION => {
                if let Described::Swallowed = self.row_description(body)? {
                    return Ok(Some(BytesMut::new()));
                }
            }
            tag::PARAMETER_DESCRIPTION => self.parameters_described(body),
            tag::NO_DATA => {
                if let Described::Swallowed = self.no_data() {
                    return Ok(Some(BytesMut::new()));
                }
            }
            tag::COPY_OUT_RESPONSE => self.copy_out(body)?,
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => {
                self.ran(tag, body)?
            }
            tag::BIND_COMPLETE => self.results.expected.completed(),
            tag::PARSE_COMPLETE => {
                self.results.expected.completed();
                self.took_effect(true);
            }
            tag::CLOSE_COMPLETE => {
                self.results.expected.completed();
                self.took_effect(false);
            }
            tag::COPY_IN_RESPONSE | tag::COPY_BOTH_RESPONSE => self.copy_in()?,
            tag::PARAMETER_STATUS => {
                let status =
                    backend::ParameterStatus::decode(body).map_err(|error| violation(error.to_string()))?;
                self.parameter(status.name, status.value)?;
                return Ok(self.reported(status));
            }
            tag::AUTHENTICATION | tag::BACKEND_KEY_DATA | tag::NEGOTIATE_PROTOCOL_VERSION => {
                let detail = format!("upstream sent message type {} in an open session", tag.escape_ascii());
                return Err(EndReason::UpstreamQuit { detail });
            }
            _ => {}
        }
        Ok(None)
    }

    /// A `ParseComplete` or `CloseComplete`: what it completes has happened, and so has what was run before it.
    fn took_effect(&mut self, parse: bool) {
        for effect in self.flight.complete(parse) {
            self.apply(effect, false);
        }
    }

    /// What a statement or message did to the session's names; where it failed, perhaps.
    fn apply(&mut self, effect: Effect<Prepared>, errored: bool) {
        match effect {
            Effect::SqlPrepare { name, prepared } if errored => self.names.add(&name, prepared),
            Effect::SqlPrepare { name, prepared } => {
                self.names.set(&name, prepared);
                self.names.set_types(&name, None);
            }
            Effect::Parse { name, prepared, types, .. } => {
                self.names.set(&name, prepared);
                self.names.set_types(&name, types);
            }
            Effect::SqlDeallocate { .. } if errored => {}
            Effect::SqlDeallocate { name: Some(name) } | Effect::CloseStatement { name } => {
                self.names.forget(&name);
            }
            Effect::SqlDeallocate { name: None } => self.names.forget_all(),
            Effect::SqlDeclare { name, prepared, hold } => self.names.add_cursor(&name, prepared, hold),
            Effect::SqlClose { .. } if errored => {}
            Effect::SqlClose { name } => self.names.close_cursor(name.as_deref()),
            Effect::ClosePortal { name, until } => self.names.closed_portal(&name, until),
        }
    }

    /// The types of a statement's parameters, where a person may be shown values by them.
    fn parameters_described(&mut self, body: &[u8]) {
        if let Some(name) = self.results.expected.describing()
            && let Ok(types) = backend::parameter_types(body)
        {
            self.names.set_described(name, types.collect());
        }
    }

    fn copy_in(&mut self) -> Result<(), EndReason> {
        let detail = || "upstream asks for COPY data that nothing sent to it takes".to_owned();
        self.flight.copy_in().then_some(()).ok_or_else(|| EndReason::UpstreamQuit { detail: detail() })
    }

    fn ready(&mut self, body: &[u8]) -> Result<(), EndReason> {
        let unknown =
            |_| EndReason::UpstreamQuit { detail: "upstream sent an unknown transaction status".to_owned() };
        let state = TransactionStatus::decode(body).map_err(unknown)?;
        let landed = self.flight.ready(state);
        self.results.ready();
        for effect in landed.effects {
            match effect {
                Effect::Parse { .. } | Effect::CloseStatement { .. } | Effect::ClosePortal { .. } => {}
                effect => self.apply(effect, landed.errored),
            }
        }
        self.judge.answered(landed.errored);
        if self.flight.is_empty() {
            self.refusals.landed();
            self.results.landed(state == TransactionStatus::Idle);
            self.encoding.changing = false;
            if state == TransactionStatus::Idle {
                self.names.end_transaction();
                self.commits.clear();
            }
            self.judge.landed(state == TransactionStatus::Idle);
        }
        Ok(())
    }

    /// What the server reports of its settings. Two of them decide how it reads text; one whether it still refuses writes.
    pub(super) fn parameter(&mut self, name: &[u8], value: &[u8]) -> Result<(), EndReason> {
        self.judge.setting_is(name, value);
        match (name, value) {
            (b"standard_conforming_strings", value) => self.encoding.standard_strings = value == b"on",
            (b"client_encoding", value) => self.encoding.utf8 = matches!(value, b"UTF8" | b"SQL_ASCII"),
            (b"default_transaction_read_only", value)
                if value != b"on" && self.judge.rules().is_read_only() =>
            {
                let detail = "the upstream session is no longer read-only".to_owned();
                return Err(EndReason::ProtocolViolation { detail });
            }
            (b"search_path", value) => self.judge.search_path_is(value),
            _ => {}
        }
        Ok(())
    }
}
