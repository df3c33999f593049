//! The login that questions are asked on: one at a time, each answered whole before the next.
//!
//! What is kept of an answer is bounded, whatever the server sends; nothing of the server's words leaves here but SQLSTATEs.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use portcullis_access::Permit;
use portcullis_proxy::{Transport, gate::Gate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Parameters;
use crate::{
    codec::{
        Direction, ErrorFields, Header,
        backend::{self, TransactionStatus, tag},
        bind::{Bind, Format},
        frontend::{self, Execute, Named, Parse, Target},
        rows::DataRow,
    },
    connect,
    upstream::{self, Logins, UpstreamKey},
};

/// How the login begins: read-only, and nothing that could change how a text is read is left to defaults. Names of our own questions
/// are looked up in `pg_catalog` alone.
const PARAMETERS: [(&str, &str); 5] = [
    ("application_name", "portcullis blast radius"),
    ("default_transaction_read_only", "on"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("search_path", "pg_catalog"),
];

/// The longest message that is kept: the plan of a table with thousands of partitions stays below.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// The most bytes of one answer that are kept.
const MAX_KEPT: usize = 8 * 1024 * 1024;

/// How long cancelling may take.
const CANCEL: Duration = Duration::from_secs(3);

/// The portal that statements run in: named, so that `MOVE` finds it.
const PORTAL: &str = "portcullis_blast";

/// How long a transaction may take, in the server's words: each statement, each lock, and what lies between two statements. Our
/// own questions are planned as if they were long, and compiling them takes longer than they do.
const LIMITS: &str = "SET LOCAL statement_timeout = '3s'; SET LOCAL lock_timeout = '500ms'; \
     SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL jit = off";

/// Whether a transaction may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    /// To be rolled back.
    ReadWrite,
}

/// A question had no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server cannot be reached or left.
    Lost,
    /// The server said no: its SQLSTATE.
    Refused(String),
    /// The server said something that makes no sense here, or too much.
    Odd,
}

impl Trouble {
    /// In words that are safe to show: no text of the server is among them, which could hold values.
    pub(super) fn words(&self) -> String {
        let refused = |code: &str| match code {
            "57014" => "it took longer than 3 seconds, and was given up".to_owned(),
            "55P03" => "another session holds a lock that it has to wait for".to_owned(),
            "40P01" | "40001" => "it got in the way of another session".to_owned(),
            "42501" => "the connection's role may not do it".to_owned(),
            "25006" => "the upstream is read-only".to_owned(),
            "53100" | "53200" | "54000" | "54001" => {
                format!("it takes more than the upstream has (SQLSTATE {code})")
            }
            _ if code.starts_with("23") => format!("it would violate a constraint (SQLSTATE {code})"),
            _ if code.starts_with("22") => {
                format!("a value is not what the statement expects (SQLSTATE {code})")
            }
            _ if code.starts_with("42") => {
                format!("the statement means nothing on another login (SQLSTATE {code})")
            }
            _ => format!("the upstream answered with an error (SQLSTATE {code})"),
        };
        match self {
            Self::Lost => "the upstream could not be asked".to_owned(),
            Self::Refused(code) => refused(code),
            Self::Odd => "the upstream's answer was not understood".to_owned(),
        }
    }
}

/// What the server answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Bodies of DataRow messages.
    pub(super) rows: Vec<Bytes>,
    /// Rows were longer than is kept.
    pub(super) cut: bool,
    /// The body of the RowDescription.
    pub(super) description: Option<Bytes>,
    /// The types of the parameters, where they were asked for.
    pub(super) types: Vec<u32>,
    /// The last command tag.
    pub(super) tag: String,
    /// More rows are there.
    pub(super) suspended: bool,
    kept: usize,
}

impl Answer {
    /// The values of each row as text; null is empty.
    pub(super) fn texts(&self) -> Result<Vec<Vec<String>>, Trouble> {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let row = |body: &Bytes| {
            let row = DataRow::decode(body).map_err(|_| Trouble::Odd)?;
            Ok(row.values().iter().map(text).collect())
        };
        self.rows.iter().map(row).collect()
    }

    /// The number at the end of the command tag: how many rows were affected.
    pub(super) fn affected(&self) -> Option<u64> {
        self.tag.rsplit(' ').next()?.parse().ok()
    }
}

/// What of the gateway a login needs.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) gate: Arc<Gate>,
    pub(super) logins: Arc<Logins>,
    pub(super) permit: Arc<Permit>,
}

/// A login of its own under the session's permit. Dropping it closes the transport: the server rolls back. What it runs then is
/// cancelled first, so that its locks are not in anybody's way until it notices.
pub(super) struct Login {
    transport: Transport,
    buffer: BytesMut,
    out: BytesMut,
    status: TransactionStatus,
    /// The server owes an answer.
    busy: bool,
    cancel: Option<(Around, UpstreamKey)>,
}

impl Login {
    /// Dials and logs in.
    pub(super) async fn open(around: &Around) -> Result<Self, Trouble> {
        let Around { gate, logins, permit } = around;
        let parameters: Vec<(String, String)> =
            PARAMETERS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let opened = connect::open(gate, logins, permit, &parameters).await;
        let upstream = opened.map_err(|error| {
            tracing::info!(connection = %permit.connection().name, %error, "the blast radius is not worked out");
            Trouble::Lost
        })?;
        let mut login = Self::over(upstream.transport, upstream.status);
        login.cancel = upstream.cancel.map(|key| (around.clone(), key));
        Ok(login)
    }

    fn over(transport: Transport, status: TransactionStatus) -> Self {
        Self { transport, buffer: BytesMut::new(), out: BytesMut::new(), status, busy: false, cancel: None }
    }

    /// Begins a transaction with short limits. Nothing is asked outside of one.
    pub(super) async fn begin(&mut self, access: Access) -> Result<(), Trouble> {
        let mode = match access {
            Access::ReadOnly => "READ ONLY",
            Access::ReadWrite => "READ WRITE",
        };
        self.say(&format!("BEGIN {mode}; {LIMITS}")).await?;
        // INVARIANT(preview-never-commits): whatever is sent from here on runs in a block that only we end.
        if self.status == TransactionStatus::InTransaction { Ok(()) } else { Err(Trouble::Odd) }
    }

    /// Names of what follows are looked up along this path, to the end of the transaction.
    pub(super) async fn look_along(&mut self, path: &str) -> Result<(), Trouble> {
        self.ask("SELECT pg_catalog.set_config('search_path', $1, true)", &[path]).await.map(|_| ())
    }

    /// Takes back what was done. A failed transaction is ended by it too.
    pub(super) async fn roll_back(&mut self) -> Result<(), Trouble> {
        self.say("ROLLBACK").await?;
        if self.status == TransactionStatus::Idle { Ok(()) } else { Err(Trouble::Odd) }
    }

    /// Says goodbye.
    pub(super) async fn leave(mut self) {
        self.out.clear();
        frontend::empty(&mut self.out, frontend::tag::TERMINATE);
        // Nothing is open; a server that is slow to hear it does not matter.
        let _ = self.transport.write_all(&self.out).await;
        let _ = self.transport.shutdown().await;
    }

    /// A text of our own.
    pub(super) async fn say(&mut self, text: &str) -> Result<Answer, Trouble> {
        frontend::query(&mut self.out, text.as_bytes());
        self.exchange().await
    }

    /// A question of our own, with values as text.
    pub(super) async fn ask(&mut self, text: &str, values: &[&str]) -> Result<Answer, Trouble> {
        let values = values.iter().map(|value| Some(Bytes::copy_from_slice(value.as_bytes()))).collect();
        self.run(text, &Parameters { values, ..Parameters::default() }, 0).await
    }

    /// What the server takes the parameters of a statement for. Nothing runs.
    pub(super) async fn types_of(
        &mut self,
        text: &str,
        parameters: &Parameters,
    ) -> Result<Vec<u32>, Trouble> {
        Parse::encode(&mut self.out, b"", text.as_bytes(), &parameters.types);
        frontend::describe(&mut self.out, Named { target: Target::Statement, name: b"" });
        frontend::empty(&mut self.out, frontend::tag::SYNC);
        Ok(self.exchange().await?.types)
    }

    /// One statement by the extended protocol, which takes exactly one; at most so many rows, or all where none is given. Results
    /// come as text.
    pub(super) async fn run(
        &mut self,
        text: &str,
        parameters: &Parameters,
        most: i32,
    ) -> Result<Answer, Trouble> {
        // Only what stands in a block can be taken back.
        if self.status != TransactionStatus::InTransaction {
            return Err(Trouble::Odd);
        }
        let values: Vec<Option<&[u8]>> = parameters.values.iter().map(Option::as_deref).collect();
        Parse::encode(&mut self.out, b"", text.as_bytes(), &parameters.types);
        Bind::encode(&mut self.out, PORTAL.as_bytes(), b"", &parameters.formats, &values, &[Format::Text]);
        let portal = Named { target: Target::Portal, name: PORTAL.as_bytes() };
        frontend::describe(&mut self.out, portal);
        Execute { portal: PORTAL.as_bytes(), max_rows: most }.encode(&mut self.out);
        if most == 0 {
            frontend::close(&mut self.out, portal);
        }
        frontend::empty(&mut self.out, frontend::tag::SYNC);
        self.exchange().await
    }

    /// How many rows are left in the portal of the last [`Login::run`], none of which is sent.
    pub(super) async fn pass_over(&mut self) -> Result<u64, Trouble> {
        let answer = self.say(&format!("MOVE FORWARD ALL IN {PORTAL}")).await?;
        answer.affected().ok_or(Trouble::Odd)
    }

    /// Sends what is written and reads up to `ReadyForQuery`.
    async fn exchange(&mut self) -> Result<Answer, Trouble> {
        self.busy = true;
        let sent = async {
            self.transport.write_all(&self.out).await?;
            self.transport.flush().await
        };
        sent.await.map_err(|_| Trouble::Lost)?;
        self.out.clear();
        let (mut answer, mut refused) = (Answer::default(), None);
        loop {
            let Some(header) = self.header().await? else { return Err(Trouble::Odd) };
            if header.body > MAX_MESSAGE {
                self.skip(header.message()).await?;
                answer.cut = true;
                continue;
            }
            self.fill(header.message()).await?;
            let message = self.buffer.split_to(header.message()).freeze();
            let body = message.slice(Header::LEN..);
            match header.tag {
                tag::READY_FOR_QUERY => {
                    self.status = TransactionStatus::decode(&body).map_err(|_| Trouble::Odd)?;
                    self.busy = false;
                    return match refused {
                        Some(code) => Err(Trouble::Refused(code)),
                        None => Ok(answer),
                    };
                }
                tag::ERROR_RESPONSE => {
                    let fields = ErrorFields::decode(&body).map_err(|_| Trouble::Odd)?;
                    let code = fields.code();
                    let plain = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
                    refused = Some(if plain { code.to_owned() } else { "XX000".to_owned() });
                    // It leaves after this; nothing more comes.
                    if fields.is_fatal() {
                        return Err(Trouble::Lost);
                    }
                }
                _ => answer.take(header.tag, body)?,
            }
        }
    }

    async fn header(&mut self) -> Result<Option<Header>, Trouble> {
        self.fill(Header::LEN).await?;
        Header::peek(Direction::Backend, &self.buffer).map_err(|_| Trouble::Odd)
    }

    /// Reads until so many bytes are there.
    async fn fill(&mut self, bytes: usize) -> Result<(), Trouble> {
        while self.buffer.len() < bytes {
            match self.transport.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Trouble::Lost),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Reads so many bytes and keeps none of them.
    async fn skip(&mut self, mut bytes: usize) -> Result<(), Trouble> {
        loop {
            let now = bytes.min(self.buffer.len());
            drop(self.buffer.split_to(now));
            bytes -= now;
            if bytes == 0 {
                return Ok(());
            }
            self.fill(1).await?;
        }
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let cancel = self.cancel.take().filter(|_| self.busy);
        if let (Some((around, key)), Ok(runtime)) = (cancel, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let Around { gate, logins, permit } = around;
                let cancelling = upstream::cancel(&permit, &*gate.dial, &logins, &key);
                // Where it does not arrive, the statement's own time limit ends it.
                let _ = tokio::time::timeout(CANCEL, cancelling).await;
            });
        }
    }
}

impl Answer {
    fn take(&mut self, tag: u8, body: Bytes) -> Result<(), Trouble> {
        match tag {
            tag::DATA_ROW => {
                self.kept += body.len();
                if self.kept > MAX_KEPT {
                    self.cut = true;
                } else {
                    self.rows.push(body);
                }
            }
            tag::ROW_DESCRIPTION => self.description = Some(body),
            tag::PARAMETER_DESCRIPTION => {
                self.types = backend::parameter_types(&body).map_err(|_| Trouble::Odd)?.collect();
            }
            tag::COMMAND_COMPLETE => {
                let tag = backend::command_tag(&body).map_err(|_| Trouble::Odd)?;
                self.tag = String::from_utf8_lossy(tag).into_owned();
            }
            tag::PORTAL_SUSPENDED => self.suspended = true,
            // None of these statements copies.
            tag::COPY_IN_RESPONSE | tag::COPY_OUT_RESPONSE | tag::COPY_BOTH_RESPONSE => {
                return Err(Trouble::Odd);
            }
            _ => {}
        }
        Ok(())
    }
}

/// An array of texts as one text value.
pub(super) fn array<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::from("{");
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push('"');
        for c in item.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests;
