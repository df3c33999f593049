//! What comes back: matched to its statement, masked, recorded, counted.
//!
//! A result that needs no look is passed on as slices of what was read. Where a column is masked every row is written anew; where only
//! detectors look, a row in which nothing can be found is passed as it is.

use std::sync::Arc;

use bytes::BytesMut;
use portcullis_core::EndReason;
use portcullis_proxy::buffer::ReadBuffer;
use portcullis_record::{Column, Event};

use super::Inspector;
use crate::{
    codec::{
        Direction, ErrorFields, Frames, Header, Next,
        backend::{self, CopyResponse, tag},
        bind::Format,
        rows::RowDescription,
    },
    masking::{
        Masks, NotMasked,
        copy::CopyRows,
        layout::Layout,
        reports::{self, Touched},
        rows,
    },
    session::{
        expected::{AtGate, Expect, Expected, Plan},
        outputs::Outputs,
    },
};

/// Memory for values that is kept between rows.
const KEPT_SCRATCH: usize = 64 * 1024;

/// The results of one session.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) expected: Expected,
    run: Run,
    /// The transaction touched a relation with masked columns: what its errors quote may be values of them.
    touched: bool,
    scratch: Vec<u8>,
}

/// The result that arrives now.
#[derive(Debug, Default)]
struct Run {
    look: Look,
    copy: Option<CopyRows>,
    rows: u64,
    bytes: u64,
    kept: Kept,
}

/// How much of a result the recording has.
#[derive(Debug, Default, Clone, Copy)]
struct Kept {
    rows: u64,
    bytes: u64,
    cut: bool,
}

#[derive(Debug, Default)]
enum Look {
    /// Nothing of it has arrived.
    #[default]
    Unknown,
    /// Passed as it is.
    Pass,
    Layout(Arc<Layout>),
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Pass,
    Rewrite,
}

/// What becomes of a description.
pub(super) enum Described {
    /// The client asked for it.
    Passed,
    /// The gateway did.
    Swallowed,
}

impl Results {
    /// A statement that is sent touches what is protected.
    pub(super) fn touches(&mut self, plans: &[Arc<Plan>]) {
        self.touched |= plans.iter().any(|plan| plan.touched);
    }

    /// A `ReadyForQuery`.
    pub(super) fn ready(&mut self) {
        self.expected.ready();
        self.run = Run::default();
    }

    /// Nothing is in flight.
    pub(super) fn landed(&mut self, outside_transaction: bool) {
        self.expected.landed();
        self.touched &= !outside_transaction;
    }

    /// How the rows that arrive now are looked at.
    fn look(&mut self) -> Result<&Look, NotMasked> {
        if let Look::Unknown = self.run.look {
            self.run.look = match self.expected.plan() {
                Some(plan) if plan.masks.is_some() => match plan.layout() {
                    Some(layout) if layout.looks() => Look::Layout(Arc::clone(layout)),
                    Some(_) => Look::Pass,
                    None => return Err(NotMasked::unexpected("rows that were not described")),
                },
                None if self.expected.is_beyond_its_statements() => {
                    return Err(NotMasked::unexpected("rows of a statement that was not sent"));
                }
                _ => Look::Pass,
            };
        }
        Ok(&self.run.look)
    }

    fn masks(&self) -> Option<&Arc<Masks>> {
        self.expected.plan()?.masks.as_ref()
    }
}

impl Inspector {
    /// What becomes of a row or of a piece of COPY data; counted, and recorded where it passes as it is.
    pub(super) fn row(&mut self, tag: u8, body: &[u8]) -> Result<Row, EndReason> {
        let kind = self.row_kind(tag, body)?;
        if kind == Row::Pass {
            self.count(tag, body)?;
        }
        Ok(kind)
    }

    /// Counts a row as the client gets it, and hands it to the recorder up to the limit.
    fn count(&mut self, tag: u8, body: &[u8]) -> Result<(), EndReason> {
        let run = &mut self.results.run;
        run.rows += 1;
        run.bytes += body.len() as u64;
        if run.kept.cut {
            return Ok(());
        }
        let now = self.session.now();
        let Some(recorder) = self.session.recorder() else {
            run.kept.cut = true;
            return Ok(());
        };
        let number = self.results.expected.plan().map_or(0, |plan| plan.number);
        let limits = recorder.limits();
        let room = run.kept.rows < limits.rows && run.kept.bytes + body.len() as u64 <= limits.bytes;
        let event = match (room, tag) {
            (false, _) => Event::Cut { number },
            (true, tag::COPY_DATA) => Event::CopyData { number, data: body },
            (true, _) => Event::Row { number, values: body },
        };
        recorder.event(now, &event).map_err(super::not_recording)?;
        run.kept.cut = !room;
        run.kept.rows += 1;
        run.kept.bytes += body.len() as u64;
        Ok(())
    }

    /// A row too long to wait for, which passes in pieces. Whether it may.
    pub(super) fn long_row(&mut self, header: Header) -> Result<bool, EndReason> {
        if self.is_probing() || self.needs_whole(header.tag)? {
            return Ok(false);
        }
        let recorded = self.session.recorder().map_or(0, |recorder| recorder.limits().bytes);
        let run = &mut self.results.run;
        if !run.kept.cut && run.kept.bytes + header.body as u64 <= recorded {
            return Ok(false);
        }
        run.rows += 1;
        run.bytes += header.body as u64;
        if !std::mem::replace(&mut run.kept.cut, true) {
            let number = self.results.expected.plan().map_or(0, |plan| plan.number);
            self.record(&Event::Cut { number })?;
        }
        Ok(true)
    }

    /// Whether a message must be looked at as a whole.
    pub(super) fn needs_whole(&mut self, tag: u8) -> Result<bool, EndReason> {
        match tag {
            tag::DATA_ROW | tag::COPY_DATA => Ok(matches!(self.results.look()?, Look::Layout(_))),
            tag::ROW_DESCRIPTION => Ok(true),
            tag::ERROR_RESPONSE
            | tag::NOTICE_RESPONSE
            | tag::NOTIFICATION_RESPONSE
            | tag::FUNCTION_CALL_RESPONSE => Ok(self.judge.masks().is_some()),
            _ => Ok(false),
        }
    }

    /// Rewrites the rows at the start of `buffer`, up to one that passes as it is.
    pub(super) fn rewrite_rows(
        &mut self,
        buffer: &mut ReadBuffer,
        out: &mut Outputs,
    ) -> Result<(), EndReason> {
        let Some(masks) = self.results.masks().map(Arc::clone) else { return Ok(()) };
        let mut scratch = std::mem::take(&mut self.results.scratch);
        let mut frames = Frames::new(Direction::Backend, buffer.bytes());
        let mut done = 0;
        while !out.down.is_full() {
            let broken =
                |error: crate::codec::Error| EndReason::UpstreamQuit { detail: format!("upstream: {error}") };
            let Next::Frame(frame) = frames.next().map_err(broken)? else { break };
            if !matches!(frame.tag, tag::DATA_ROW | tag::COPY_DATA)
                || (done > 0 && self.row_kind(frame.tag, frame.body)? == Row::Pass)
            {
                break;
            }
            let Look::Layout(layout) = self.results.look()? else { break };
            let layout = Arc::clone(layout);
            let mut copy = self.results.run.copy.take();
            let mut outcome = Ok(());
            out.down.push_with(|down| {
                let start = down.len();
                let written = match (frame.tag, &mut copy) {
                    (tag::COPY_DATA, Some(copy)) => {
                        copy.rewrite(&masks.tools(), &layout, frame.body, &mut scratch, down)
                    }
                    (tag::COPY_DATA, None) => Err(NotMasked::unexpected("COPY data that was not announced")),
                    _ => rows::rewrite(&masks.tools(), &layout, frame.body, &mut scratch, down),
                };
                outcome = match written {
                    Ok(()) => self.count(frame.tag, down.get(start + Header::LEN..).unwrap_or_default()),
                    Err(error) => {
                        // Nothing of a row that could not be masked is written.
                        down.truncate(start);
                        Err(error.into())
                    }
                };
            });
            self.results.run.copy = copy;
            outcome?;
            done = frames.offset();
        }
        if scratch.capacity() <= KEPT_SCRATCH {
            self.results.scratch = scratch;
        }
        buffer.consume(done);
        Ok(())
    }

    fn row_kind(&mut self, tag: u8, body: &[u8]) -> Result<Row, EndReason> {
        let plain = tag != tag::COPY_DATA || self.is_plain_copy(body);
        let layout = match self.results.look()? {
            Look::Pass | Look::Unknown => return Ok(Row::Pass),
            Look::Layout(layout) if layout.rewrites || layout.scans_all => return Ok(Row::Rewrite),
            Look::Layout(_) if !plain => return Ok(Row::Rewrite),
            Look::Layout(layout) => Arc::clone(layout),
        };
        let scanner = self.results.masks().and_then(|masks| masks.rules.scanner());
        let found = scanner.is_some_and(|scanner| match tag {
            tag::COPY_DATA => scanner.may_hit(body),
            _ => rows::may_hit(scanner, &layout, body),
        });
        Ok(if found { Row::Rewrite } else { Row::Pass })
    }

    /// Whether a piece of COPY data can be told by its bytes to hold nothing.
    fn is_plain_copy(&self, body: &[u8]) -> bool {
        self.results.run.copy.as_ref().is_some_and(|copy| copy.is_plain(body))
    }

    /// A RowDescription: held against what the analysis expects.
    pub(super) fn row_description(&mut self, body: &[u8]) -> Result<Described, EndReason> {
        let answered = self.results.expected.described();
        let (plan, swallowed) = match &answered {
            Some((plan, ours)) => (plan.as_ref(), *ours),
            None => (self.results.expected.plan(), false),
        };
        let plan = plan.map(Arc::clone);
        let rows = answered.is_none();
        let mut shown = None;
        if let Some(plan) = &plan
            && let Some(masks) = &plan.masks
        {
            let described = RowDescription::decode(body)
                .map_err(|error| EndReason::UpstreamQuit { detail: format!("upstream: {error}") })?;
            let layout = Layout::of_rows(masks, plan, &described).inspect_err(|_| {
                // Perhaps the catalog has changed past the gateway: the next session reads it anew.
                self.judge.database().invalidate();
            })?;
            let layout = Arc::new(layout);
            shown = Some(Arc::clone(&layout));
            if rows {
                self.results.run = Run {
                    look: if layout.looks() { Look::Layout(layout) } else { Look::Pass },
                    ..Run::default()
                };
            } else {
                plan.described(layout);
            }
        } else if rows {
            self.results.run = Run { look: Look::Pass, ..Run::default() };
        }
        if let Some(plan) = &plan {
            self.record_columns(plan.number, body, shown.as_deref())?;
        }
        Ok(if swallowed { Described::Swallowed } else { Described::Passed })
    }

    /// There is no description.
    pub(super) fn no_data(&mut self) -> Described {
        match self.results.expected.described() {
            Some((_, true)) => Described::Swallowed,
            _ => Described::Passed,
        }
    }

    /// CopyOutResponse: COPY data follows.
    pub(super) fn copy_out(&mut self, body: &[u8]) -> Result<(), EndReason> {
        let Some(plan) = self.results.expected.plan().map(Arc::clone) else { return Ok(()) };
        self.results.run = Run { look: Look::Pass, ..Run::default() };
        let Some(masks) = &plan.masks else { return Ok(()) };
        let response = CopyResponse::decode(body)
            .map_err(|error| EndReason::UpstreamQuit { detail: format!("upstream: {error}") })?;
        let layout = Layout::of_copy(masks, &plan.output, response.format, response.columns.len())?;
        if layout.looks() {
            let options = plan.copy.clone().filter(|copy| copy.odd.is_none()).filter(|copy| {
                (copy.format == portcullis_sql::CopyFormat::Binary) == (response.format == Format::Binary)
            });
            let options = options
                .ok_or_else(|| NotMasked::unexpected("COPY data in a form that was not understood"))?;
            self.results.run.copy = Some(CopyRows::new(options));
            self.results.run.look = Look::Layout(Arc::new(layout));
        }
        Ok(())
    }

    /// A statement, or the part of it that was asked for, is done.
    pub(super) fn ran(&mut self, tag: u8, body: &[u8]) -> Result<(), EndReason> {
        let empty = tag == tag::EMPTY_QUERY_RESPONSE;
        let plan = match self.results.expected.front() {
            // An empty text has no statement.
            Some(Expect::Query { .. } | Expect::Unread { .. }) if empty => None,
            _ => self.results.expected.ran(),
        };
        let run = std::mem::take(&mut self.results.run);
        let Some(plan) = plan else { return Ok(()) };
        match plan.gate {
            AtGate::Nothing => {}
            AtGate::Counts => {
                let word = std::str::from_utf8(backend::command_tag(body).unwrap_or_default()).ok();
                self.commits.ended(plan.number, word.filter(|_| tag == tag::COMMAND_COMPLETE));
            }
            AtGate::Closes => self.commits.closed(),
        }
        if self.session.is_recorded() {
            let word = match tag {
                tag::PORTAL_SUSPENDED => "suspended".into(),
                tag::COMMAND_COMPLETE => {
                    String::from_utf8_lossy(backend::command_tag(body).unwrap_or_default())
                }
                _ => "".into(),
            };
            let (rows, bytes) = (run.rows, run.bytes);
            self.record(&Event::Done { number: plan.number, tag: &word, rows, bytes })?;
        }
        Ok(())
    }

    /// An error of the server: what is passed on instead, where it must not be seen as it is.
    pub(super) fn failed(&mut self, fields: &ErrorFields<'_>) -> Result<Option<BytesMut>, EndReason> {
        let plan = self.results.expected.failed();
        self.results.run = Run::default();
        let instead = self.seen(tag::ERROR_RESPONSE, fields)?;
        if let Some(plan) = plan
            && self.session.is_recorded()
        {
            let seen = instead.as_ref().and_then(|bytes| bytes.get(Header::LEN..));
            let seen = seen.and_then(|body| ErrorFields::decode(body).ok()).unwrap_or(*fields);
            let message = seen.message();
            self.record(&Event::Failed { number: plan.number, code: seen.code(), message: &message })?;
        }
        Ok(instead)
    }

    /// A notice of the server.
    pub(super) fn notice(&mut self, body: &[u8]) -> Result<Option<BytesMut>, EndReason> {
        if self.judge.masks().is_none() && !self.session.is_recorded() {
            return Ok(None);
        }
        let fields =
            ErrorFields::decode(body).map_err(|error| super::violation(format!("upstream: {error}")))?;
        let instead = self.seen(tag::NOTICE_RESPONSE, &fields)?;
        if self.session.is_recorded() {
            let seen = instead.as_ref().and_then(|bytes| bytes.get(Header::LEN..));
            let seen = seen.and_then(|body| ErrorFields::decode(body).ok()).unwrap_or(fields);
            let severity =
                String::from_utf8_lossy(seen.field(b'V').or_else(|| seen.field(b'S')).unwrap_or_default());
            let message = seen.message();
            self.record(&Event::Notice { severity: &severity, code: seen.code(), message: &message })?;
        }
        Ok(instead)
    }

    fn seen(&self, tag: u8, fields: &ErrorFields<'_>) -> Result<Option<BytesMut>, EndReason> {
        let Some(masks) = self.judge.masks() else { return Ok(None) };
        // A cascade, a trigger or a rule gets to relations that no statement names.
        let named = || fields.field(b's').zip(fields.field(b't'));
        let protected =
            self.results.touched || named().is_some_and(|(schema, table)| masks.protects(schema, table));
        let touched = if protected { Touched::Protected } else { Touched::No };
        Ok(reports::report(&masks.tools(), tag, fields, touched)?)
    }

    /// A setting the server reports: a client may have put anything into it.
    pub(super) fn reported(&self, status: backend::ParameterStatus<'_>) -> Option<BytesMut> {
        reports::parameter(&self.judge.masks()?.tools(), status)
    }

    /// A notification of another session.
    pub(super) fn notified(&self, body: &[u8]) -> Option<BytesMut> {
        reports::notification(&self.judge.masks()?.tools(), body)
    }

    /// The result of a FunctionCall.
    pub(super) fn called(&self, body: &[u8]) -> Result<Option<BytesMut>, EndReason> {
        let Some(masks) = self.judge.masks() else { return Ok(None) };
        let value = backend::function_result(body).map_err(|error| super::violation(error.to_string()))?;
        Ok(reports::function_result(&masks.tools(), value))
    }

    /// What the rows that follow look like.
    fn record_columns(&mut self, number: u64, body: &[u8], layout: Option<&Layout>) -> Result<(), EndReason> {
        if !self.session.is_recorded() {
            return Ok(());
        }
        let described = RowDescription::decode(body)
            .map_err(|error| EndReason::UpstreamQuit { detail: format!("upstream: {error}") })?;
        let masked = |at: usize| {
            layout.and_then(|layout| layout.columns.get(at)).is_some_and(|plan| plan.whole.is_some())
        };
        let columns = |each: &mut dyn FnMut(Column<'_>)| {
            for (at, column) in described.iter().enumerate() {
                each(Column {
                    name: column.name,
                    type_oid: column.type_oid,
                    format: recorded(column.format),
                    masked: masked(at),
                });
            }
        };
        self.record(&Event::Columns { number, columns: &columns })
    }

    fn record(&mut self, event: &Event<'_>) -> Result<(), EndReason> {
        let now = self.session.now();
        match self.session.recorder() {
            Some(recorder) => recorder.event(now, event).map_err(super::not_recording),
            None => Ok(()),
        }
    }
}

pub(super) const fn recorded(format: Format) -> portcullis_record::Format {
    match format {
        Format::Text => portcullis_record::Format::Text,
        Format::Binary => portcullis_record::Format::Binary,
    }
}
