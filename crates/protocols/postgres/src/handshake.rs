//! The client's side of a session, from its first byte to its credentials: a typestate, consumed at each step.
//!
//! [`Accepted`] -> [`Accepted::negotiate`] -> [`Negotiated`] -> [`Negotiated::credentials`] -> [`Credentials`] and
//! [`Waiting`] -> [`Waiting::accept`] or [`Waiting::refuse`].
//!
//! **Promises.** Nothing is decided here. A token is asked for only where nobody can read it. Plaintext bytes never become
//! part of what is said under TLS (CVE-2021-23214). Memory is bounded by a startup packet and a token. Every path ends with
//! a [`Reported`]: the peer was told, or cannot be.
//!
//! **Does not** limit time: every step may wait for the peer as long as it likes, so that the caller puts one deadline
//! over all of them. No step is cancel safe; a dropped future drops, and so closes, the transport.
//!
//! **How to read it**: this file, `handshake/start.rs` (TLS and the startup packet), `handshake/present.rs` (the token),
//! `handshake/oauthbearer.rs` (the SASL mechanism's own text).
//!
//! **References**: PostgreSQL documentation, 55.2.1 "Start-up", 55.2.10 "SSL Session Encryption"; RFC 7628.

use std::{io, sync::Arc};

use bytes::BytesMut;
use portcullis_core::Secret;
use portcullis_proxy::Transport;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    codec::{
        CancelRequest, ProtocolVersion, Report, StartupMessage,
        backend::{Authentication, BackendKeyData, ParameterStatus, TransactionStatus},
    },
    error::Error,
};

pub mod oauthbearer;
mod present;
mod start;

#[cfg(test)]
mod tests;

/// The application protocol of the handshake's TLS (ALPN), as registered with IANA.
pub const ALPN: &[u8] = b"postgresql";

/// Bytes of a cancel key we give to a client that can take a long one: what PostgreSQL 18 does.
const LONG_CANCEL_KEY: usize = 32;
/// Bytes of a cancel key of protocol 3.0.
const SHORT_CANCEL_KEY: usize = 4;

/// Whether a client may go on without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// It is refused.
    Refused,
    /// It may: the process file says so and this peer is on loopback.
    Allowed,
}

/// How the client is asked for its token.
#[derive(Clone, Debug)]
pub enum Method {
    /// `AuthenticationCleartextPassword`: every client can.
    Password,
    /// SASL OAUTHBEARER.
    OauthBearer {
        /// The JSON that a client without a token, or with a bad one, is answered with: RFC 7628 section 3.2.2.
        challenge: Arc<str>,
    },
}

/// A proof that the peer was told how things stand: `AuthenticationOk`, an error, or nothing where the protocol or a dead
/// transport leaves nothing to say.
#[must_use]
#[derive(Debug)]
pub struct Reported {
    delivered: bool,
}

impl Reported {
    const DELIVERED: Self = Self { delivered: true };
    const UNDELIVERABLE: Self = Self { delivered: false };

    /// Whether the bytes went out.
    pub const fn is_delivered(&self) -> bool {
        self.delivered
    }
}

/// A step failed, and the peer was told.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// That the peer knows.
    pub reported: Reported,
}

/// A transport from which nothing has been read.
#[derive(Debug)]
pub struct Accepted {
    transport: Transport,
}

/// What a client turned out to want.
#[derive(Debug)]
pub enum Negotiation {
    /// A session.
    Session(Negotiated),
    /// To cancel what another session runs. The protocol's only answer is the close, which says that it was passed on.
    Cancel(CancelRequest, Cancelling),
    /// Nothing: it closed before it asked for anything, as health checks do.
    Gone(Reported),
}

/// A client that waits for its cancel request to be passed on.
#[derive(Debug)]
pub struct Cancelling {
    transport: Transport,
}

/// A client that has said which session it wants, over a transport fit for a token.
#[derive(Debug)]
pub struct Negotiated {
    transport: Transport,
    startup: StartupMessage,
}

/// What became of asking for a token.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per session, moved twice")]
pub enum Asked {
    /// The client presented one and waits.
    Presented(Credentials, Waiting),
    /// The client closed at the request, to ask its user and come back, or asked where to get a token. Not a failed login.
    Left(Reported),
}

/// What the client presented: a claim, nothing of it is verified.
#[derive(Debug)]
pub struct Credentials {
    /// The user name: the connection's name.
    pub connection_name: String,
    /// The database, when one is named.
    pub database: Option<String>,
    /// The other startup parameters, in the order given.
    pub parameters: Vec<(String, String)>,
    /// The protocol spoken with this client.
    pub version: ProtocolVersion,
    /// The token. Never empty.
    pub token: Secret<String>,
}

/// A client that waits to be told whether it may come in.
#[derive(Debug)]
pub struct Waiting {
    transport: Transport,
    version: ProtocolVersion,
    /// The answer to a bad token, where the mechanism has one.
    challenge: Option<Arc<str>>,
    /// `AuthenticationOk` was said.
    parked: bool,
}

/// What an accepted client is told besides that it is accepted.
#[derive(Debug, Clone, Copy)]
pub struct Greeting<'a> {
    /// Every `ParameterStatus` of the upstream, as name and value.
    pub parameters: &'a [(Vec<u8>, Vec<u8>)],
    /// The process id for cancel requests.
    pub process: u32,
    /// The key for cancel requests, of [`Waiting::cancel_key_length`] bytes.
    pub key: &'a [u8],
    /// Messages already encoded that stand before `ReadyForQuery`, such as the upstream's notices.
    pub notices: &'a [u8],
}

impl Accepted {
    /// Begins with a transport from which nothing has been read.
    pub const fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// Takes the client to its startup packet: TLS by SSLRequest or at once, GSSAPI encryption refused.
    ///
    /// `tls` must speak [`ALPN`]. Not cancel safe; without a deadline of its own.
    ///
    /// # Errors
    /// The client broke the protocol, asked for something that is not offered, or did not take up TLS where it must.
    pub async fn negotiate(
        self,
        tls: &Arc<ServerConfig>,
        plaintext: Plaintext,
    ) -> Result<Negotiation, Failed> {
        start::negotiate(self.transport, tls, plaintext).await
    }

    /// Refuses before anything was read, as a full gateway does. A client that waits for TLS may not show the text.
    pub async fn refuse(self, error: &Error) -> Reported {
        tell(self.transport, &error.to_wire()).await
    }
}

impl Cancelling {
    /// Closes in order: libpq takes a TLS transport that just breaks off for a cancel request that failed.
    pub async fn done(mut self) -> Reported {
        let delivered = self.transport.shutdown().await.is_ok();
        Reported { delivered }
    }
}

impl Negotiated {
    /// What the client asked for.
    pub const fn startup(&self) -> &StartupMessage {
        &self.startup
    }

    /// Whether TLS protects the transport.
    pub fn is_encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }

    /// Asks for the token and reads it.
    ///
    /// A token over `limit` bytes is refused by its announced length, before it is read. Not cancel safe; without a
    /// deadline of its own.
    ///
    /// # Errors
    /// The client answered with something else, or with what cannot be a token.
    pub async fn credentials(self, method: &Method, limit: usize) -> Result<Asked, Failed> {
        present::credentials(self, method, limit).await
    }

    /// Refuses without asking for a token.
    pub async fn refuse(self, error: &Error) -> Reported {
        tell(self.transport, &error.to_wire()).await
    }
}

impl Waiting {
    /// How long the key of a [`Greeting`] must be for this client.
    pub fn cancel_key_length(&self) -> usize {
        if self.version.has_long_cancel_keys() { LONG_CANCEL_KEY } else { SHORT_CANCEL_KEY }
    }

    /// Whether TLS protects the transport.
    pub fn is_encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }

    /// Keeps the client until people have answered: `AuthenticationOk`, after which clients take notices, and the first of them. It may
    /// still be refused.
    ///
    /// Not cancel safe.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn park(mut self, notice: &Report<'_>) -> Result<Self, Failed> {
        let mut out = BytesMut::new();
        if !std::mem::replace(&mut self.parked, true) {
            Authentication::Ok.encode(&mut out);
            self.challenge = None;
        }
        notice.encode(&mut out);
        match send(&mut self.transport, &out).await {
            Ok(()) => Ok(self),
            Err(error) => Err(lost(error)),
        }
    }

    /// Ready when a parked client has left: a client has nothing to say before it is let in. Cancel safe.
    pub async fn left(&mut self) {
        let _gone_or_out_of_turn = self.transport.read(&mut [0; 1]).await;
    }

    /// Lets the client in: `AuthenticationOk`, the greeting and `ReadyForQuery` in one write.
    ///
    /// Not cancel safe: part of the greeting may be out when it is dropped.
    ///
    /// # Errors
    /// The client is gone, or `greeting.key` is not of the length this client's protocol has.
    pub async fn accept(self, greeting: &Greeting<'_>) -> Result<(Transport, Reported), Failed> {
        if greeting.key.len() != self.cancel_key_length() {
            let error =
                Error::Ended(portcullis_core::EndReason::Internal { detail: "cancel key length".to_owned() });
            let reported = tell(self.transport, &error.to_wire()).await;
            return Err(Failed { error, reported });
        }
        let mut out = BytesMut::with_capacity(1024);
        if !self.parked {
            Authentication::Ok.encode(&mut out);
        }
        for (name, value) in greeting.parameters {
            ParameterStatus { name, value }.encode(&mut out);
        }
        BackendKeyData { process: greeting.process, key: greeting.key }.encode(&mut out);
        out.extend_from_slice(greeting.notices);
        TransactionStatus::Idle.encode(&mut out);
        let mut transport = self.transport;
        match send(&mut transport, &out).await {
            Ok(()) => Ok((transport, Reported::DELIVERED)),
            Err(error) => Err(lost(error)),
        }
    }

    /// Refuses the client. With OAUTHBEARER, a token that was not accepted is answered in the mechanism's own way first, so
    /// that the client knows to fetch another.
    ///
    /// Not cancel safe; without a deadline of its own.
    pub async fn refuse(mut self, error: &Error) -> Reported {
        if let Some(challenge) = self.challenge.take().filter(|_| error.is_about_the_token()) {
            return present::refuse_token(self.transport, &challenge, &error.to_wire()).await;
        }
        tell(self.transport, &error.to_wire()).await
    }
}

/// Writes and flushes.
async fn send(transport: &mut Transport, bytes: &[u8]) -> io::Result<()> {
    transport.write_all(bytes).await?;
    transport.flush().await
}

/// Tells the peer and closes.
async fn tell(mut transport: Transport, report: &Report<'_>) -> Reported {
    let mut out = BytesMut::new();
    report.encode(&mut out);
    let delivered = send(&mut transport, &out).await.is_ok();
    // The text is out; a peer that does not wait for the goodbye has it nonetheless.
    let _ = transport.shutdown().await;
    Reported { delivered }
}

/// Tells the peer of `error` and closes.
async fn fail<T>(transport: Transport, error: Error) -> Result<T, Failed> {
    let reported = tell(transport, &error.to_wire()).await;
    Err(Failed { error, reported })
}

/// The peer cannot be told: its transport is what failed.
const fn lost(error: io::Error) -> Failed {
    Failed { error: Error::Downstream(error), reported: Reported::UNDELIVERABLE }
}

/// Reads exactly `buffer`, or nothing where the peer has closed: `false`. Part of it is an error.
async fn read_or_end(transport: &mut Transport, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match transport.read(rest).await {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            // Closed without TLS's goodbye, or reset by a client that had nothing more to say.
            Err(error) if filled == 0 && is_close(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn is_close(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
