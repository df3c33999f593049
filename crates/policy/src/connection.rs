//! Connections: the registered things one can reach, with address, TLS and credential.

use std::{fmt, path::PathBuf, str::FromStr};

use portcullis_core::ConnectionName;
use serde::{Deserialize, Serialize};

use crate::SecretRef;

/// A protocol the gateway speaks. What it can enforce is in [`crate::capability`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// PostgreSQL wire protocol 3.0 and 3.2.
    Postgres,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 1] = [Self::Postgres];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
        }
    }

    /// The port used when an address has none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host (DNS name, IPv4 or IPv6 without brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// DNS name or IP address; never empty, never with brackets.
    pub host: String,
    /// The port, 1 to 65535.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    /// `host:port` or `[v6]:port`. The port is required: see [`Address::parse`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, None)
    }
}

impl Address {
    /// The longest host, in bytes (RFC 1035 section 2.3.4).
    pub const MAX_HOST: usize = 253;

    /// `host:port`, `[v6]:port`, and, given a default port, `host`, `[v6]` or a bare IPv6 address.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, InvalidAddress> {
        let (host, port) = split_port(text)?;
        let port = match port {
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(InvalidAddress("the port is not 1 to 65535"))?,
            None => default_port.ok_or(InvalidAddress("the port is missing"))?,
        };
        let is_ip = host.parse::<std::net::IpAddr>().is_ok();
        let is_name = !host.is_empty()
            && host.len() <= Self::MAX_HOST
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
            && host.split('.').all(|label| !label.is_empty() && label.len() <= 63 && !label.starts_with('-'));
        if is_ip || is_name {
            Ok(Self { host: host.to_owned(), port })
        } else {
            Err(InvalidAddress("the host is no DNS name and no IP address"))
        }
    }
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), InvalidAddress> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(InvalidAddress("`[` is not closed"))?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(InvalidAddress("what stands in brackets is no IPv6 address"));
        }
        return match after {
            "" => Ok((host, None)),
            _ => after
                .strip_prefix(':')
                .map(|port| (host, Some(port)))
                .ok_or(InvalidAddress("expected `:port` after `]`")),
        };
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    Ok(match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    })
}

/// The text is no address; says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(pub(crate) &'static str);

/// libpq's `sslmode` words for the leg to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plaintext.
    Disable,
    /// TLS when the server has it, unverified.
    Prefer,
    /// TLS, unverified (verified against `ca` when one is given, as libpq does).
    Require,
    /// TLS; the chain is verified, the name is not.
    VerifyCa,
    /// TLS; chain and name are verified.
    #[default]
    VerifyFull,
}

impl TlsMode {
    /// Every mode, weakest first.
    pub const ALL: [Self; 5] = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// TLS on the leg to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    /// How much is verified.
    pub mode: TlsMode,
    /// PEM file with the authorities to trust; absent: the machine's own.
    pub ca: Option<PathBuf>,
}

/// What the gateway logs in upstream with. The principal never sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The upstream user.
    pub username: String,
    /// Where its password is.
    pub password: SecretRef,
}

/// How a PostgreSQL client presents its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PgAuthentication {
    /// `AuthenticationCleartextPassword` after TLS: every client can.
    #[default]
    Password,
    /// SASL OAUTHBEARER (RFC 7628): libpq 18 and the like.
    Oauthbearer,
}

impl PgAuthentication {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Password, Self::Oauthbearer];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Oauthbearer => "oauthbearer",
        }
    }
}

/// A registered thing one can reach. Equal ones are reached alike, wherever they stand and however they are described.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its name: what a client gives as user name.
    pub name: ConnectionName,
    /// For people.
    pub description: Option<String>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is.
    pub address: Address,
    /// TLS to it.
    pub tls: UpstreamTls,
    /// The database opened when the client names none, or the connection itself.
    pub database: Option<String>,
    /// The databases allowed besides `database`.
    pub databases: Vec<String>,
    /// What to log in with; absent: the upstream lets the gateway in by other means (peer certificate, trust).
    pub credential: Option<Credential>,
    /// How clients present their token, where this connection differs from its listener.
    pub authentication: Option<PgAuthentication>,
    /// `file:line`.
    pub location: String,
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            description: _,
            protocol,
            address,
            tls,
            database,
            databases,
            credential,
            authentication,
            location: _,
        } = self;
        *name == other.name
            && *protocol == other.protocol
            && *address == other.address
            && *tls == other.tls
            && *database == other.database
            && *databases == other.databases
            && *credential == other.credential
            && *authentication == other.authentication
    }
}

impl Eq for Connection {}

impl Connection {
    /// The database to open for what the client asked (`None`: nothing, or an empty name), or `None` where it may not
    /// open that one. A name equal to the connection's own means the default.
    pub fn database_for<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        match asked.filter(|name| !name.is_empty()) {
            None => self.default_database(),
            Some(name) if self.allows_database(name) => Some(name),
            Some(name) if name == self.name.as_str() => self.default_database(),
            Some(_) => None,
        }
    }

    /// `database`, else the only one of `databases`.
    pub fn default_database(&self) -> Option<&str> {
        match (&self.database, self.databases.as_slice()) {
            (Some(name), _) => Some(name),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    fn allows_database(&self, name: &str) -> bool {
        self.database.as_deref() == Some(name) || self.databases.iter().any(|allowed| allowed == name)
    }
}

#[cfg(test)]
mod tests;
