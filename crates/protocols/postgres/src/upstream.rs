//! The server's side of a session: TLS, the login with the connection's own credential, up to the first `ReadyForQuery`.
//!
//! **Promises.** No bypass: the only ways to an upstream are [`connect`] and [`cancel`], and both take a permit. The credential leaves only
//! for a server that TLS, or loopback, stands for, and never appears in an [`Error`]. A server that skips its part of SCRAM
//! is not believed. What a server may send before it is ready is bounded.
//!
//! **Does not** open sockets (`proxy` dials) or relay anything (`session` does).
//!
//! **How to read it**: this file, `upstream/secure.rs` (TLS), `upstream/login.rs` (the exchange), `upstream/scram.rs` (RFC
//! 5802, with the cache that makes the next login cheap), `upstream/error.rs` (what of it a client may hear).
//!
//! **References**: PostgreSQL documentation, 55.2.1, 55.2.10, 55.3 "SASL Authentication"; RFC 5802, 5929, 7677.

use std::sync::Arc;

use portcullis_access::Permit;
use portcullis_core::Secret;
use portcullis_policy::{Connection, ResolveSecret, UpstreamTls};
use portcullis_proxy::{Dial, Transport, UpstreamTlsConfigs};

use crate::codec::{self, CancelRequest, ProtocolVersion, backend::TransactionStatus};

mod error;
mod login;
pub mod scram;
mod secure;
#[cfg(test)]
mod tests;

pub use error::{Error, Told};
pub use scram::SaltedPasswords;

/// What every login of the process shares.
#[derive(Debug, Default)]
pub struct Logins {
    /// TLS configurations by what they verify.
    pub tls: Arc<UpstreamTlsConfigs>,
    /// Salted passwords, so that only the first login with a credential pays for PBKDF2.
    pub salted: Arc<SaltedPasswords>,
}

/// Where an upstream is, as far as TLS cares.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    /// The host as configured: a name or an address. It is what the certificate must be for.
    host: &'a str,
    /// What is demanded of TLS.
    tls: &'a UpstreamTls,
}

impl<'a> Target<'a> {
    fn of(connection: &'a Connection) -> Self {
        Self { host: &connection.address.host, tls: &connection.tls }
    }
}

/// Who to be, upstream.
#[derive(Debug)]
struct UpstreamLogin<'a> {
    /// The connection's own user.
    user: &'a str,
    /// Its password; none where the server lets the user in without.
    password: Option<Secret<String>>,
    /// The database to open.
    database: &'a str,
    /// The other startup parameters, such as `application_name`.
    parameters: &'a [(String, String)],
}

/// What a CancelRequest to this upstream must say.
#[derive(Clone, Debug)]
pub struct UpstreamKey(CancelRequest);

impl UpstreamKey {
    /// The server's process id of the session, as `pg_terminate_backend` takes it.
    pub(crate) const fn process(&self) -> u32 {
        self.0.process
    }
}

/// A server that is ready for the first query.
#[derive(Debug)]
pub struct Upstream {
    /// The stream. Nothing that follows `ReadyForQuery` has been taken from it.
    pub transport: Transport,
    /// Every `ParameterStatus`, in the order sent; the last of a name counts.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// What cancels this session's statements. A server need not send one.
    pub cancel: Option<UpstreamKey>,
    /// Whole NoticeResponse messages sent during the login, as they are.
    pub notices: Vec<u8>,
    /// Where the session stands: idle.
    pub status: TransactionStatus,
}

impl Upstream {
    /// The value of a parameter the server reported.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .rev()
            .find(|(known, _)| known == name.as_bytes())
            .map(|(_, value)| value.as_slice())
    }
}

/// Dials the permit's connection and brings it to the first `ReadyForQuery`: TLS as demanded, then the login with the
/// connection's credential.
///
/// `database` and `parameters` are what the session asks for; the user is never the client's. Not cancel safe: a dropped
/// future closes the stream. Beyond the dial without a deadline of its own.
///
/// # Errors
/// The upstream cannot be reached, TLS is not what is demanded, or the server did not let us in. No error holds the
/// password.
// INVARIANT(permit-carries-connection)
pub async fn connect(
    permit: &Permit,
    dial: &dyn Dial,
    secrets: &dyn ResolveSecret,
    logins: &Logins,
    database: &str,
    parameters: &[(String, String)],
) -> Result<Upstream, Error> {
    let connection = permit.connection();
    let (user, password) = match &connection.credential {
        Some(credential) => (credential.username.as_str(), Some(secrets.resolve(&credential.password)?)),
        None => return Err(Error::NoCredential),
    };
    let transport = dial.dial(permit).await?;
    open(transport, Target::of(connection), &UpstreamLogin { user, password, database, parameters }, logins)
        .await
}

/// Sends a cancel request for the session that `key` is of: dialed anew, under the same TLS, until the server has taken it.
///
/// Not cancel safe; beyond the dial without a deadline of its own.
///
/// # Errors
/// The server could not be reached as demanded. Whether anything was cancelled the protocol does not tell.
pub async fn cancel(
    permit: &Permit,
    dial: &dyn Dial,
    logins: &Logins,
    key: &UpstreamKey,
) -> Result<(), Error> {
    let transport = dial.dial(permit).await?;
    interrupt(transport, Target::of(permit.connection()), logins, key).await
}

async fn open(
    transport: Transport,
    target: Target<'_>,
    login: &UpstreamLogin<'_>,
    logins: &Logins,
) -> Result<Upstream, Error> {
    let transport = secure::secure(transport, target, &logins.tls).await?;
    login::run(transport, login, &logins.salted).await
}

async fn interrupt(
    transport: Transport,
    target: Target<'_>,
    logins: &Logins,
    key: &UpstreamKey,
) -> Result<(), Error> {
    let transport = secure::secure(transport, target, &logins.tls).await?;
    login::cancel(transport, &key.0).await
}

/// The version spoken upstream. 3.2 would bring longer cancel keys only, and servers before 9.3.21 refuse to negotiate.
const VERSION: ProtocolVersion = ProtocolVersion::V3_0;

/// The longest single message before `ReadyForQuery`; libpq takes 30,000 bytes at most here.
const MAX_LOGIN_MESSAGE: usize = codec::limits::SMALL_BACKEND as usize;
/// The most bytes of messages before `ReadyForQuery`.
const MAX_LOGIN_BYTES: usize = 1024 * 1024;
