//! Client messages that are longer than what is waited for: passed on, looked at or dropped piece by piece.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use portcullis_proxy::{buffer::ReadBuffer, fingerprint::Fingerprint, gate::Judged};
use portcullis_record::{Format, Parameter, Parameters};

use super::{
    Blocked, Bound, Inspector, OwnPoint, SLACK, Skipping, Stop, Unit, extended::BindJudged, refuse::Refused,
    violation,
};
use crate::{
    codec::{BindScanner, Direction, Header, Piece, frontend::tag},
    error::sqlstate,
    session::{expected::Expect, outputs::Outputs},
};

/// The rest of a client message on its way.
pub(super) enum Streaming {
    No,
    Forward(usize),
    Discard(usize),
    Bind(Box<StreamedBind>),
}

impl Streaming {
    /// Whether part of the message has been passed on.
    pub(super) const fn has_begun(&self) -> bool {
        match self {
            Self::No | Self::Discard(_) => false,
            Self::Forward(_) => true,
            Self::Bind(bind) => bind.judged.is_some(),
        }
    }
}

pub(super) struct StreamedBind {
    scanner: BindScanner,
    print: Fingerprint,
    /// Their lengths; `None` is null.
    values: Vec<Option<u32>>,
    judged: Option<BindJudged>,
    /// Header and names, held until the statement's name is known and allowed.
    held: BytesMut,
    header: Header,
}

/// A Bind up to this many bytes is waited for whole.
const WHOLE: usize = 16 * 1024;
/// How much of a long Bind is fed at a time until its names are known.
const NAME_STEP: usize = 256;

impl Inspector {
    pub(super) fn begin_stream(
        &mut self,
        header: Header,
        buffer: &mut ReadBuffer,
        out: &mut Outputs,
    ) -> Result<(), Stop> {
        let need_more = Err(Stop::Blocked(Blocked::NeedInput));
        if self.skipping != Skipping::No && header.streams(Direction::Frontend) {
            buffer.consume(Header::LEN);
            self.streaming = Streaming::Discard(header.body);
            return Ok(());
        }
        match header.tag {
            tag::COPY_DATA => {
                buffer.forward(Header::LEN, &mut out.up);
                self.streaming = Streaming::Forward(header.body);
                Ok(())
            }
            // Values that a person may have to see are waited for, as far as they are kept.
            tag::BIND | tag::FUNCTION_CALL
                if self.judge.rules().may_hold() && header.message() <= self.longest() =>
            {
                need_more
            }
            tag::BIND if header.body > WHOLE => {
                let mut held = BytesMut::new();
                held.extend_from_slice(&buffer.take(Header::LEN));
                self.streaming = Streaming::Bind(Box::new(StreamedBind {
                    scanner: BindScanner::new(header.body),
                    print: self.fingerprints.start(),
                    values: Vec::new(),
                    judged: None,
                    held,
                    header,
                }));
                Ok(())
            }
            tag::QUERY | tag::PARSE if header.body > self.limits.statement + SLACK => {
                self.too_long_to_keep(header, buffer, out)
            }
            tag::FUNCTION_CALL if header.body > WHOLE => self.long_function_call(header, buffer, out),
            _ => need_more,
        }
    }

    /// The longest message that is kept.
    pub(super) const fn longest(&self) -> usize {
        super::longest_message(self.limits.statement)
    }

    /// A statement longer than the limit: passed on in pieces where nothing is judged, else refused without keeping it.
    pub(super) fn too_long_to_keep(
        &mut self,
        header: Header,
        buffer: &mut ReadBuffer,
        out: &mut Outputs,
    ) -> Result<(), Stop> {
        let seen = buffer.len() - Header::LEN;
        if seen < self.session.recorded_text().min(header.body).min(self.limits.statement) {
            return Err(Stop::Blocked(Blocked::NeedInput));
        }
        let start: Vec<u8> =
            buffer.bytes().iter().skip(Header::LEN).take(self.session.recorded_text()).copied().collect();
        let unit = if header.tag == tag::QUERY { Unit::Query } else { Unit::Extended };
        if unit == Unit::Query && self.own_point(out)? == OwnPoint::Skipped {
            buffer.consume(Header::LEN);
            self.streaming = Streaming::Discard(header.body);
            return Ok(());
        }
        match self.judge.long_statement(&start, header.body, &self.session) {
            Ok(mut judged) if unit == Unit::Query => {
                self.session.note(&mut judged, None, None)?;
                self.flight.own_point(VecDeque::new());
                self.flight.may_copy();
                let plan = self.judge.unseen_plan(&self.session);
                self.results.expected.push(Expect::Unread { plan });
                buffer.forward(Header::LEN, &mut out.up);
                self.streaming = Streaming::Forward(header.body);
            }
            Ok(_) => return Err(Stop::End(violation("a prepared statement longer than the limit"))),
            Err(refused) => {
                buffer.consume(Header::LEN);
                self.streaming = Streaming::Discard(header.body);
                self.refuse(unit, *refused, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn stream(&mut self, buffer: &mut ReadBuffer, out: &mut Outputs) -> Result<(), Stop> {
        if buffer.is_empty() {
            return Err(Stop::Blocked(Blocked::NeedInput));
        }
        match std::mem::replace(&mut self.streaming, Streaming::No) {
            Streaming::No => Ok(()),
            Streaming::Forward(left) => {
                let take = left.min(buffer.len());
                buffer.forward(take, &mut out.up);
                if left > take {
                    self.streaming = Streaming::Forward(left - take);
                }
                Ok(())
            }
            Streaming::Discard(left) => {
                let take = left.min(buffer.len());
                buffer.consume(take);
                if left > take {
                    self.streaming = Streaming::Discard(left - take);
                }
                Ok(())
            }
            Streaming::Bind(bind) => self.stream_bind(bind, buffer, out),
        }
    }

    pub(super) fn stream_bind(
        &mut self,
        mut bind: Box<StreamedBind>,
        buffer: &mut ReadBuffer,
        out: &mut Outputs,
    ) -> Result<(), Stop> {
        if bind.judged.is_none()
            && let (Some(statement), Some(portal)) = (bind.scanner.statement(), bind.scanner.portal())
        {
            let (statement, portal) = (statement.to_vec(), portal.to_vec());
            match self.bind_judged(&statement, &portal) {
                Ok(Ok(BindJudged { hold: Some(why), .. })) => {
                    self.streaming = match bind.scanner.left() {
                        0 => Streaming::No,
                        left => Streaming::Discard(left),
                    };
                    let refused = match why.judged() {
                        Some(judged) => too_long_to_hold(judged, bind.header, self.longest()),
                        None => {
                            Refused::plain(sqlstate::LIMIT_EXCEEDED, "the message is too long to be held")
                        }
                    };
                    return self.refuse(Unit::Extended, refused, out);
                }
                Ok(Ok(judged)) => bind.judged = Some(judged),
                Ok(Err(refused)) => {
                    self.streaming = Streaming::Discard(bind.scanner.left());
                    if bind.scanner.left() == 0 {
                        self.streaming = Streaming::No;
                    }
                    return self.refuse(Unit::Extended, *refused, out);
                }
                Err(stop) => {
                    self.streaming = Streaming::Bind(bind);
                    return Err(stop);
                }
            }
        }
        // Until the names are known, little is fed at a time: what is fed is held.
        let most = if bind.judged.is_some() { usize::MAX } else { NAME_STEP };
        let chunk: Bytes = buffer.take(bind.scanner.left().min(most));
        let StreamedBind { scanner, print, values, .. } = &mut *bind;
        scanner.feed(&chunk, |piece| match piece {
            Piece::Value { length, .. } => {
                values.push(length);
                print.value(length);
            }
            Piece::Bytes(bytes) => print.bytes(bytes),
        })?;
        if bind.judged.is_none() {
            bind.held.extend_from_slice(&chunk);
            if bind.scanner.left() == 0 {
                return Err(Stop::End(violation("a Bind without names")));
            }
            self.streaming = Streaming::Bind(bind);
            return Ok(());
        }
        if !bind.held.is_empty() {
            out.up.push(std::mem::take(&mut bind.held).freeze());
        }
        if bind.scanner.left() > 0 {
            out.up.push(chunk);
            self.streaming = Streaming::Bind(bind);
            return Ok(());
        }
        // The last piece: noted before it is handed on, and the relay commits before it writes.
        let StreamedBind { scanner, print, values, judged, .. } = *bind;
        scanner.finish()?;
        if let Some(judged) = judged {
            let print = (!values.is_empty()).then(|| print.finish());
            // Of values that long only the lengths are recorded.
            let each = |each: &mut dyn FnMut(Parameter<'_>)| {
                for length in &values {
                    let value: Option<&[u8]> = length.map(|_| b"".as_slice());
                    let length = length.map_or(0, u64::from);
                    each(Parameter { type_oid: 0, format: Format::Binary, value, length });
                }
            };
            let values = if values.is_empty() { Parameters::None } else { Parameters::Bound(&each) };
            self.bound(judged, Bound { print, values }, out)?;
        }
        out.up.push(chunk);
        Ok(())
    }
}

/// What a person would have to see, and is longer than is kept.
pub(super) fn too_long_to_hold(judged: &Judged, header: Header, longest: usize) -> Refused {
    let rule = judged.decision.rule.clone();
    let message = format!(
        "guardrail `{}` holds this for a person, and its message has {} bytes; at most {longest} bytes are held",
        rule.name,
        header.message()
    );
    let denied = judged.denied_by(rule, message.clone());
    Refused::plain(sqlstate::LIMIT_EXCEEDED, message).decided(Some(denied))
}
