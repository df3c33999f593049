//! Messages sent by servers: writers for what the gateway says to a client, decoders for what it reads of an upstream.
//! Errors and notices are in [`super::report`], rows in [`super::rows`].

use bytes::{BufMut, BytesMut};

use super::{
    Error,
    bind::{Format, Formats},
    frontend::oids,
    limits,
    read::{Body, message, put_string},
    startup::ProtocolVersion,
};

/// The type bytes of backend messages.
pub mod tag {
    /// All `Authentication…` messages.
    pub const AUTHENTICATION: u8 = b'R';
    /// `BackendKeyData`.
    pub const BACKEND_KEY_DATA: u8 = b'K';
    /// `BindComplete`.
    pub const BIND_COMPLETE: u8 = b'2';
    /// `CloseComplete`.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// `CommandComplete`.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// `CopyBothResponse`.
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    /// `CopyData`.
    pub const COPY_DATA: u8 = b'd';
    /// `CopyDone`.
    pub const COPY_DONE: u8 = b'c';
    /// `CopyInResponse`.
    pub const COPY_IN_RESPONSE: u8 = b'G';
    /// `CopyOutResponse`.
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    /// `DataRow`.
    pub const DATA_ROW: u8 = b'D';
    /// `EmptyQueryResponse`.
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    /// `ErrorResponse`.
    pub const ERROR_RESPONSE: u8 = b'E';
    /// `FunctionCallResponse`.
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    /// `NegotiateProtocolVersion`.
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    /// `NoData`.
    pub const NO_DATA: u8 = b'n';
    /// `NoticeResponse`.
    pub const NOTICE_RESPONSE: u8 = b'N';
    /// `NotificationResponse`.
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    /// `ParameterDescription`.
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// `ParameterStatus`.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// `ParseComplete`.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// `PortalSuspended`.
    pub const PORTAL_SUSPENDED: u8 = b's';
    /// `ReadyForQuery`.
    pub const READY_FOR_QUERY: u8 = b'Z';
    /// `RowDescription`.
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// Authentication… (B): what the server asks of the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// The login is done.
    Ok,
    /// Wants the password as it is.
    CleartextPassword,
    /// Wants the password hashed with this salt.
    Md5Password {
        /// Four bytes of the server's choice.
        salt: [u8; 4],
    },
    /// Offers SASL mechanisms.
    Sasl(Mechanisms<'a>),
    /// Goes on with SASL.
    SaslContinue(&'a [u8]),
    /// Ends SASL.
    SaslFinal(&'a [u8]),
    /// A method that is not spoken here (Kerberos, GSSAPI, SSPI, SCM); its number.
    Other(u32),
}

impl<'a> Authentication<'a> {
    const NAME: &'static str = "Authentication";

    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new(Self::NAME, body);
        let request = match body.u32()? {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => {
                let salt = body.u32()?.to_be_bytes();
                Self::Md5Password { salt }
            }
            10 => {
                let list = body.rest();
                while !body.string()?.is_empty() {}
                Self::Sasl(Mechanisms { list })
            }
            11 => Self::SaslContinue(body.take_rest()),
            12 => Self::SaslFinal(body.take_rest()),
            other => {
                body.take_rest();
                Self::Other(other)
            }
        };
        body.finish()?;
        Ok(request)
    }

    /// Writes the message. [`Authentication::Other`] is written as its bare number.
    pub fn encode(self, out: &mut BytesMut) {
        message(out, tag::AUTHENTICATION, |out| match self {
            Self::Ok => out.put_u32(0),
            Self::CleartextPassword => out.put_u32(3),
            Self::Md5Password { salt } => {
                out.put_u32(5);
                out.put_slice(&salt);
            }
            Self::Sasl(mechanisms) => {
                out.put_u32(10);
                for name in mechanisms.iter() {
                    put_string(out, name);
                }
                out.put_u8(0);
            }
            Self::SaslContinue(data) => {
                out.put_u32(11);
                out.put_slice(data);
            }
            Self::SaslFinal(data) => {
                out.put_u32(12);
                out.put_slice(data);
            }
            Self::Other(number) => out.put_u32(number),
        });
    }
}

/// Names of SASL mechanisms, each with its terminating zero, one more zero at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms<'a> {
    list: &'a [u8],
}

impl<'a> Mechanisms<'a> {
    /// OAUTHBEARER alone (RFC 7628).
    pub const OAUTHBEARER: Mechanisms<'static> = Mechanisms { list: b"OAUTHBEARER\0\0" };

    /// The names, in the server's order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.list.split(|byte| *byte == 0).take_while(|name| !name.is_empty())
    }
}

/// ParameterStatus (B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// The setting.
    pub name: &'a [u8],
    /// Its value now.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("ParameterStatus", body);
        let name = body.string()?;
        let value = body.string()?;
        body.finish()?;
        Ok(Self { name, value })
    }

    /// Writes the message.
    pub fn encode(self, out: &mut BytesMut) {
        message(out, tag::PARAMETER_STATUS, |out| {
            put_string(out, self.name);
            put_string(out, self.value);
        });
    }
}

/// BackendKeyData (B): what a CancelRequest must repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// The server process.
    pub process: u32,
    /// Four bytes in protocol 3.0; 4 to 256 in 3.2.
    pub key: &'a [u8],
}

impl<'a> BackendKeyData<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("BackendKeyData", body);
        let process = body.u32()?;
        let key = body.take_rest();
        if !(limits::CANCEL_KEY_MIN..=limits::CANCEL_KEY_MAX).contains(&key.len()) {
            return Err(body.invalid("key length"));
        }
        Ok(Self { process, key })
    }

    /// Writes the message.
    pub fn encode(self, out: &mut BytesMut) {
        message(out, tag::BACKEND_KEY_DATA, |out| {
            out.put_u32(self.process);
            out.put_slice(self.key);
        });
    }
}

// The key lets anyone cancel.
impl std::fmt::Debug for BackendKeyData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendKeyData").field("process", &self.process).finish_non_exhaustive()
    }
}

/// ReadyForQuery (B): where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction block.
    Idle,
    /// In one.
    InTransaction,
    /// In one that failed.
    Failed,
}

impl TransactionStatus {
    /// Reads a whole body.
    pub fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut body = Body::new("ReadyForQuery", body);
        let status = match body.u8()? {
            b'I' => Self::Idle,
            b'T' => Self::InTransaction,
            b'E' => Self::Failed,
            _ => return Err(body.invalid("transaction status")),
        };
        body.finish()?;
        Ok(status)
    }

    /// Writes the message.
    pub fn encode(self, out: &mut BytesMut) {
        message(out, tag::READY_FOR_QUERY, |out| {
            out.put_u8(match self {
                Self::Idle => b'I',
                Self::InTransaction => b'T',
                Self::Failed => b'E',
            });
        });
    }
}

/// NotificationResponse (B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The process that notified.
    pub process: u32,
    /// The channel.
    pub channel: &'a [u8],
    /// What it said.
    pub payload: &'a [u8],
}

impl<'a> Notification<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("NotificationResponse", body);
        let notification = Self { process: body.u32()?, channel: body.string()?, payload: body.string()? };
        body.finish()?;
        Ok(notification)
    }

    /// Writes the message.
    pub fn encode(self, out: &mut BytesMut) {
        message(out, tag::NOTIFICATION_RESPONSE, |out| {
            out.put_u32(self.process);
            put_string(out, self.channel);
            put_string(out, self.payload);
        });
    }
}

/// CopyInResponse (B), CopyOutResponse (B), CopyBothResponse (B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    /// The format of the whole.
    pub format: Format,
    /// The format of each column.
    pub columns: Formats<'a>,
}

impl<'a> CopyResponse<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("CopyResponse", body);
        let format = match body.u8()? {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return Err(body.invalid("format")),
        };
        let columns = body.formats()?;
        body.finish()?;
        Ok(Self { format, columns })
    }
}

/// The tag of a CommandComplete (B), such as `SELECT 3`.
pub fn command_tag(body: &[u8]) -> Result<&[u8], Error> {
    let mut body = Body::new("CommandComplete", body);
    let tag = body.string()?;
    body.finish()?;
    Ok(tag)
}

/// The parameter types of a ParameterDescription (B).
pub fn parameter_types(body: &[u8]) -> Result<impl ExactSizeIterator<Item = u32> + use<'_>, Error> {
    let mut body = Body::new("ParameterDescription", body);
    let count = body.count()?;
    let types = body.bytes(usize::from(count) * 4)?;
    body.finish()?;
    Ok(oids(types))
}

/// The result of a FunctionCallResponse (B); `None` is null.
pub fn function_result(body: &[u8]) -> Result<Option<&[u8]>, Error> {
    let mut body = Body::new("FunctionCallResponse", body);
    let value = body.value()?;
    body.finish()?;
    Ok(value)
}

/// NegotiateProtocolVersion (B): the version spoken instead of the one asked for, and the extensions not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// What is spoken.
    pub version: ProtocolVersion,
    /// What is not.
    pub extensions: Vec<&'a [u8]>,
}

impl<'a> NegotiateProtocolVersion<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("NegotiateProtocolVersion", body);
        // Documented as the minor number, sent by every server as the whole one.
        let code = body.u32()?;
        let version = match (code >> 16, code as u16) {
            (0 | 3, minor) => ProtocolVersion::new(minor),
            _ => return Err(body.invalid("version")),
        };
        let count = body.u32()?;
        let mut extensions = Vec::new();
        for _ in 0..count {
            extensions.push(body.string()?);
        }
        body.finish()?;
        Ok(Self { version, extensions })
    }

    /// Writes the message.
    pub fn encode<'e>(
        out: &mut BytesMut,
        version: ProtocolVersion,
        extensions: impl ExactSizeIterator<Item = &'e str>,
    ) {
        message(out, tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
            out.put_u32(version.code());
            out.put_u32(u32::try_from(extensions.len()).unwrap_or(u32::MAX));
            for extension in extensions {
                put_string(out, extension.as_bytes());
            }
        });
    }
}

/// Writes a CommandComplete message.
pub fn command_complete(out: &mut BytesMut, tag: &[u8]) {
    message(out, self::tag::COMMAND_COMPLETE, |out| put_string(out, tag));
}

/// Writes a message that has no body: ParseComplete, NoData, EmptyQueryResponse and their kin.
pub fn empty(out: &mut BytesMut, tag: u8) {
    message(out, tag, |_| ());
}
