//! FunctionCall messages: whole ones, and those too long to be waited for.

use std::collections::VecDeque;

use portcullis_proxy::buffer::ReadBuffer;

use super::{
    Blocked, Inspector, OwnPoint, Stop, Unit,
    hold::{Given, Passage, Subject},
    stream::{Streaming, too_long_to_hold},
};
use crate::{
    codec::{Header, frontend},
    session::{expected::Expect, outputs::Outputs},
};

impl Inspector {
    pub(super) fn function_call(
        &mut self,
        bytes: &[u8],
        call: frontend::FunctionCall<'_>,
        out: &mut Outputs,
    ) -> Result<(), Stop> {
        if self.own_point(out)? == OwnPoint::Skipped {
            return Ok(());
        }
        let mut print = self.fingerprints.start();
        for value in call.arguments.iter() {
            print.value(value.map(|v| u32::try_from(v.len()).unwrap_or(u32::MAX)));
            print.bytes(value.unwrap_or_default());
        }
        let binds = (!call.arguments.is_empty()).then(|| print.finish());
        match self.judge.function(call.oid, &self.session) {
            Ok((mut judged, why)) => {
                if let Some(mut why) = why {
                    let subject = Subject {
                        unit: Unit::FunctionCall,
                        bytes,
                        prepared: None,
                        text: self.judge.function_text(call.oid),
                        types: &[],
                        described: &[],
                        values: Given::Arguments(call),
                        print: binds.clone(),
                    };
                    if self.held(&subject, &mut why, out)? == Passage::Shut {
                        return Ok(());
                    }
                    judged = why.approved(0).unwrap_or(judged);
                }
                self.judge.calls(call.oid);
                self.judge.runs(None);
                self.session.note(&mut judged, None, binds)?;
                self.flight.own_point(VecDeque::new());
                self.results.expected.push(Expect::Call);
                out.up.push_slice(bytes);
                Ok(())
            }
            Err(refused) => self.refuse(Unit::FunctionCall, *refused, out),
        }
    }

    /// A FunctionCall longer than is waited for (a large object being written): judged by its oid, then passed on in pieces.
    pub(super) fn long_function_call(
        &mut self,
        header: Header,
        buffer: &mut ReadBuffer,
        out: &mut Outputs,
    ) -> Result<(), Stop> {
        if self.own_point(out)? == OwnPoint::Skipped {
            buffer.consume(Header::LEN);
            self.streaming = Streaming::Discard(header.body);
            return Ok(());
        }
        let Some(oid) = buffer.bytes().get(Header::LEN..).and_then(|body| body.first_chunk()) else {
            return Err(Stop::Blocked(Blocked::NeedInput));
        };
        match self.judge.function(u32::from_be_bytes(*oid), &self.session) {
            Ok((judged, Some(_))) => {
                buffer.consume(Header::LEN);
                self.streaming = Streaming::Discard(header.body);
                let refused = too_long_to_hold(&judged, header, self.longest());
                self.refuse(Unit::FunctionCall, refused, out)
            }
            Ok((mut judged, None)) => {
                self.judge.calls(u32::from_be_bytes(*oid));
                self.judge.runs(None);
                self.session.note(&mut judged, None, None)?;
                self.flight.own_point(VecDeque::new());
                self.results.expected.push(Expect::Call);
                buffer.forward(Header::LEN, &mut out.up);
                self.streaming = Streaming::Forward(header.body);
                Ok(())
            }
            Err(refused) => {
                buffer.consume(Header::LEN);
                self.streaming = Streaming::Discard(header.body);
                self.refuse(Unit::FunctionCall, *refused, out)
            }
        }
    }
}
