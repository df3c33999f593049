//! Asking the server for its search path, between two statements of the client.
//!
//! After code nobody sees into (`DO`, `CALL`, a volatile function of users) the search path may be any, and names without a schema
//! cannot be resolved. PostgreSQL 18 reports every change; older servers are asked, where nothing is in flight and no transaction is
//! open: then the answer is the session's own value, which no rollback takes back. Statement and portal have names of their own, so that
//! the client's unnamed ones stay. The client sees nothing of it.

use bytes::BytesMut;
use portcullis_core::EndReason;

use super::{Inspector, Skipping, Streaming};
use crate::{
    codec::{
        backend::{TransactionStatus, tag},
        bind::Bind,
        frontend::{self, Execute, Named, Parse, Target},
        rows::DataRow,
    },
    session::outputs::Outputs,
};

const NAME: &[u8] = b"portcullis search_path";
/// The path, and who `$user` in it is. Nothing in it is looked up along the path that is asked about.
const QUESTION: &[u8] = b"SELECT pg_catalog.current_setting('search_path'), CURRENT_USER::pg_catalog.text";

/// Whether the server was asked.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// The answer so far, while one is owed.
    asked: Option<Option<(String, String)>>,
    /// The state of the judge for which there was no use in asking.
    futile: u64,
}

impl Inspector {
    /// Asks the server where that is needed and possible. Whether an answer is owed.
    pub(super) fn probe(&mut self, out: &mut Outputs) -> bool {
        if self.probe.asked.is_some() {
            return true;
        }
        let possible = self.flight.is_empty()
            && self.flight.state() == TransactionStatus::Idle
            && self.skipping == Skipping::No
            && matches!(self.streaming, Streaming::No);
        if !possible || !self.judge.misses_search_path() || self.probe.futile == self.judge.epoch() {
            return false;
        }
        out.up.push_with(|up| {
            Parse::encode(up, NAME, QUESTION, &[]);
            Bind::encode(up, NAME, NAME, &[], &[], &[]);
            Execute { portal: NAME, max_rows: 0 }.encode(up);
            frontend::close(up, Named { target: Target::Portal, name: NAME });
            frontend::close(up, Named { target: Target::Statement, name: NAME });
            frontend::empty(up, frontend::tag::SYNC);
        });
        self.probe.asked = Some(None);
        true
    }

    /// Takes a message that belongs to the answer: nothing of it reaches the client. What the server says unasked does.
    pub(super) fn probed(&mut self, tag: u8, body: &[u8]) -> Result<Option<BytesMut>, EndReason> {
        let Some(answer) = &mut self.probe.asked else { return Ok(None) };
        match tag {
            tag::PARAMETER_STATUS | tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => return Ok(None),
            tag::DATA_ROW => {
                let text = |value: Option<&[u8]>| Some(std::str::from_utf8(value?).ok()?.to_owned());
                let cells: Vec<_> =
                    DataRow::decode(body).into_iter().flat_map(|row| row.values().iter().map(text)).collect();
                if let [Some(path), Some(user)] = cells.as_slice() {
                    *answer = Some((path.clone(), user.clone()));
                }
            }
            tag::ERROR_RESPONSE => *answer = None,
            tag::READY_FOR_QUERY => {
                let shown = self.probe.asked.take().flatten();
                let known = shown.is_some_and(|(path, user)| self.judge.search_path_was_shown(&path, &user));
                if !known {
                    self.probe.futile = self.judge.epoch();
                }
            }
            _ => {}
        }
        Ok(Some(BytesMut::new()))
    }

    /// Whether the server owes an answer that is not for the client.
    pub(super) fn is_probing(&self) -> bool {
        self.probe.asked.is_some()
    }
}
