//! What comes before the first tag: StartupMessage (F), SSLRequest (F), GSSENCRequest (F), CancelRequest (F).

use bytes::{BufMut, BytesMut};

use super::{
    Error, limits,
    read::{Body, put_string, untagged},
};

/// `NEGOTIATE_SSL_CODE`: major 1234, minor 5679.
const SSL_REQUEST: u32 = 80_877_103;
/// `NEGOTIATE_GSS_CODE`: major 1234, minor 5680.
const GSSENC_REQUEST: u32 = 80_877_104;
/// `CANCEL_REQUEST_CODE`: major 1234, minor 5678.
const CANCEL_REQUEST: u32 = 80_877_102;

/// A minor version of protocol 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion(u16);

impl ProtocolVersion {
    /// Every server since 7.4.
    pub const V3_0: Self = Self(0);
    /// PostgreSQL 18: long cancel keys.
    pub const V3_2: Self = Self(2);
    /// The newest one spoken here.
    pub const NEWEST: Self = Self::V3_2;

    /// The version with this minor number.
    pub const fn new(minor: u16) -> Self {
        Self(minor)
    }

    /// The number after `3.`.
    pub const fn minor(self) -> u16 {
        self.0
    }

    /// As it stands in messages.
    pub const fn code(self) -> u32 {
        3 << 16 | self.0 as u32
    }

    /// What is spoken with a client that asks for this version.
    #[must_use]
    pub fn negotiated(self) -> Self {
        self.min(Self::NEWEST)
    }

    /// Whether cancel keys may be other than four bytes long.
    pub fn has_long_cancel_keys(self) -> bool {
        self >= Self::V3_2
    }
}

impl std::fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "3.{}", self.0)
    }
}

/// A packet without a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstPacket {
    /// Asks for TLS.
    SslRequest,
    /// Asks for GSSAPI encryption.
    GssEncRequest,
    /// Asks to cancel what another session runs.
    Cancel(CancelRequest),
    /// Opens a session.
    Startup(StartupMessage),
}

impl FirstPacket {
    /// The length of the whole packet that starts at `bytes`, its length field included; `None` when fewer than four bytes
    /// are there. Checked against [`limits::STARTUP`], so that a caller may allocate it.
    pub fn length(bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some(length) = bytes.first_chunk().copied().map(u32::from_be_bytes) else { return Ok(None) };
        match usize::try_from(length) {
            Ok(length @ 8..) if length <= limits::STARTUP + 4 => Ok(Some(length)),
            _ => Err(Error::StartupLength),
        }
    }

    /// Reads a whole packet, its length field included.
    pub fn decode(packet: &[u8]) -> Result<Self, Error> {
        if Self::length(packet)? != Some(packet.len()) {
            return Err(Error::StartupLength);
        }
        let mut body = Body::new("startup", packet);
        body.u32()?;
        match body.u32()? {
            SSL_REQUEST => body.finish().map(|()| Self::SslRequest),
            GSSENC_REQUEST => body.finish().map(|()| Self::GssEncRequest),
            CANCEL_REQUEST => CancelRequest::read(body).map(Self::Cancel),
            code => {
                let (major, minor) = ((code >> 16) as u16, code as u16);
                if major != 3 {
                    return Err(Error::UnsupportedProtocol { major, minor });
                }
                StartupMessage::read(ProtocolVersion(minor), body).map(Self::Startup)
            }
        }
    }
}

/// Writes an SSLRequest.
pub fn ssl_request(out: &mut BytesMut) {
    untagged(out, |out| out.put_u32(SSL_REQUEST));
}

/// Writes a GSSENCRequest.
pub fn gssenc_request(out: &mut BytesMut) {
    untagged(out, |out| out.put_u32(GSSENC_REQUEST));
}

/// Which session to cancel, and the proof of the right to.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// The process id of BackendKeyData.
    pub process: u32,
    /// The key of BackendKeyData, 4 to 256 bytes.
    pub key: Vec<u8>,
}

impl CancelRequest {
    fn read(mut body: Body<'_>) -> Result<Self, Error> {
        let process = body.u32()?;
        let key = body.take_rest().to_vec();
        if !(limits::CANCEL_KEY_MIN..=limits::CANCEL_KEY_MAX).contains(&key.len()) {
            return Err(Error::Invalid { message: "CancelRequest", field: "key length" });
        }
        Ok(Self { process, key })
    }

    /// Writes the packet.
    pub fn encode(&self, out: &mut BytesMut) {
        untagged(out, |out| {
            out.put_u32(CANCEL_REQUEST);
            out.put_u32(self.process);
            out.put_slice(&self.key);
        });
    }
}

// The key lets anyone cancel.
impl std::fmt::Debug for CancelRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelRequest").field("process", &self.process).finish_non_exhaustive()
    }
}

/// A client's wish to open a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupMessage {
    /// The version asked for, which may be newer than any we know.
    pub version: ProtocolVersion,
    /// The user: here the connection's name. Never empty.
    pub user: String,
    /// The database, when one is named.
    pub database: Option<String>,
    /// Everything else in the order given: session settings such as `application_name`, and `options`.
    pub parameters: Vec<(String, String)>,
    /// Names of protocol extensions (`_pq_.…`) asked for. None is known here.
    pub extensions: Vec<String>,
}

impl StartupMessage {
    fn read(version: ProtocolVersion, mut body: Body<'_>) -> Result<Self, Error> {
        let mut message = Self {
            version,
            user: String::new(),
            database: None,
            parameters: Vec::new(),
            extensions: Vec::new(),
        };
        let mut seen: Vec<String> = Vec::new();
        loop {
            let name = text(&mut body, "parameter name")?;
            if name.is_empty() {
                break;
            }
            let value = text(&mut body, "parameter value")?;
            // Settings are known without regard to case.
            let folded = name.to_ascii_lowercase();
            if seen.contains(&folded) {
                return Err(Error::DuplicateParameter(name));
            }
            seen.push(folded);
            match name.as_str() {
                "user" => message.user = value,
                "database" => message.database = Some(value).filter(|name| !name.is_empty()),
                "replication" if is_false(&value) => {}
                "replication" => return Err(Error::Replication),
                _ if name.starts_with("_pq_.") => message.extensions.push(name),
                _ => message.parameters.push((name, value)),
            }
        }
        body.finish()?;
        if message.user.is_empty() {
            return Err(Error::NoUser);
        }
        Ok(message)
    }

    /// Whether the client must be told, with NegotiateProtocolVersion, that it does not get all it asks for.
    pub fn needs_negotiation(&self) -> bool {
        self.version > ProtocolVersion::NEWEST || !self.extensions.is_empty()
    }

    /// The value of a parameter other than user and database, its name without regard to case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Writes the packet, without extensions.
    pub fn encode(&self, out: &mut BytesMut) {
        untagged(out, |out| {
            out.put_u32(self.version.code());
            put_pair(out, "user", &self.user);
            if let Some(database) = &self.database {
                put_pair(out, "database", database);
            }
            for (name, value) in &self.parameters {
                put_pair(out, name, value);
            }
            out.put_u8(0);
        });
    }
}

fn put_pair(out: &mut BytesMut, name: &str, value: &str) {
    put_string(out, name.as_bytes());
    put_string(out, value.as_bytes());
}

fn text(body: &mut Body<'_>, field: &'static str) -> Result<String, Error> {
    let bytes = body.string()?;
    String::from_utf8(bytes.to_vec()).map_err(|_| body.invalid(field))
}

/// As the server's `parse_bool`: any unique prefix of `false` and `no`, `off`, `of`, `0`.
fn is_false(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    !value.is_empty()
        && (["false", "no"].iter().any(|word| word.starts_with(&value))
            || matches!(value.as_str(), "of" | "off" | "0"))
}
