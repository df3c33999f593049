//! Opening a transport to an upstream, under a permit.
//!
//! **Promises.** INVARIANT(no-bypass): the address comes from the [`Permit`], no name is looked up again. What a client
//! is told holds no inner address.
//!
//! **Does not** negotiate TLS or log in: the protocol does, with the same permit.
//!
//! **References**: RFC 8305 (Happy Eyeballs), of which this is the simple part.

use std::{future::Future, io, net::SocketAddr, pin::Pin, time::Duration};

use portcullis_access::Permit;
use portcullis_core::ErrorKind;
use portcullis_policy::Address;
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
};

use crate::{health::Failing, transport::Transport};

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// How long an attempt has before the next address is tried besides it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Opens transports to upstreams: straight, or through a network agent.
pub trait Dial: Send + Sync {
    /// Opens a transport to the permit's connection. Cancel safe: a dropped future leaves nothing open.
    fn dial<'a>(&'a self, permit: &'a Permit) -> Dialing<'a>;
}

/// A dial under way.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = Result<Transport, DialError>> + Send + 'a>>;

/// No transport could be opened. Its text is for operators: clients get [`DialError::client_message`].
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name does not resolve.
    #[error("cannot resolve `{host}`: {source}")]
    Resolve {
        /// The upstream's host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No address answered.
    #[error("cannot connect to `{address}`: {source}")]
    Connect {
        /// The upstream's address.
        address: String,
        /// What the last attempt met.
        source: io::Error,
    },
    /// It took too long.
    #[error("no answer from `{address}` within {limit:?}")]
    TooSlow {
        /// The upstream's address.
        address: String,
        /// How long it had.
        limit: Duration,
    },
}

impl DialError {
    /// Always [`ErrorKind::Upstream`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Upstream
    }

    /// What it says of the upstream.
    pub fn failing(&self) -> Failing {
        match self {
            Self::Resolve { .. } => Failing::Name,
            Self::TooSlow { .. } => Failing::Timeout,
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused => Failing::Refused,
                io::ErrorKind::TimedOut => Failing::Timeout,
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Failing::Broken,
                _ => Failing::Unreachable,
            },
        }
    }

    /// What the client is told: that it failed, nothing of what is inside.
    pub const fn client_message(&self) -> &'static str {
        match self {
            Self::Resolve { .. } | Self::Connect { .. } => "the upstream cannot be reached",
            Self::TooSlow { .. } => "the upstream did not answer in time",
        }
    }
}

/// Dials from the gateway itself.
#[derive(Clone, Copy, Debug)]
pub struct DirectDial {
    limit: Duration,
}

impl DirectDial {
    /// Gives each dial `limit`, resolution included.
    pub const fn new(limit: Duration) -> Self {
        Self { limit }
    }

    async fn to(&self, address: &Address) -> Result<Transport, DialError> {
        let limit = self.limit;
        tokio::time::timeout(limit, connect(address))
            .await
            .unwrap_or_else(|_| Err(DialError::TooSlow { address: address.to_string(), limit }))
    }
}

impl Dial for DirectDial {
    fn dial<'a>(&'a self, permit: &'a Permit) -> Dialing<'a> {
        Box::pin(self.to(&permit.connection().address))
    }
}

async fn connect(address: &Address) -> Result<Transport, DialError> {
    let found = lookup_host((address.host.as_str(), address.port))
        .await
        .map_err(|source| DialError::Resolve { host: address.host.clone(), source })?;
    let candidates = interleave(found.take(MAX_ADDRESSES).collect());
    first_to_answer(candidates)
        .await
        .and_then(Transport::tcp)
        .map_err(|source| DialError::Connect { address: address.to_string(), source })
}

/// The first transport that opens. An address is tried when the one before it failed or has had [`STAGGER`].
async fn first_to_answer(candidates: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut waiting = candidates.into_iter();
    // Dropping the set ends the attempts that lost.
    let mut attempts = JoinSet::new();
    loop {
        match waiting.next() {
            Some(candidate) => {
                attempts.spawn(TcpStream::connect(candidate));
            }
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let answer = if waiting.as_slice().is_empty() {
            attempts.join_next().await
        } else {
            // No answer in time: leave the attempt running and start the next.
            tokio::time::timeout(STAGGER, attempts.join_next()).await.unwrap_or(None)
        };
        match answer {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None => {}
        }
    }
}

/// Alternates address families, keeping the resolver's order in each and its first choice first (RFC 8305 section 4).
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut out = Vec::with_capacity(preferred.len() + other.len());
    let mut other = other.into_iter();
    for address in preferred {
        out.push(address);
        out.extend(other.next());
    }
    out.extend(other);
    out
}

#[cfg(test)]
mod tests;
