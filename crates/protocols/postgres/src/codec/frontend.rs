//! Messages sent by clients after the startup packet: decoders for what the gateway judges, writers for what it says to
//! an upstream. Text stays bytes: which encoding it has is the session's business.

use bytes::{BufMut, BytesMut};

use super::{
    Error,
    bind::{Bind, Format, Formats, Values, put_formats},
    read::{Body, message, put_string, put_value},
};

/// The type bytes of frontend messages.
pub mod tag {
    /// Bind.
    pub const BIND: u8 = b'B';
    /// Close.
    pub const CLOSE: u8 = b'C';
    /// `CopyData`.
    pub const COPY_DATA: u8 = b'd';
    /// `CopyDone`.
    pub const COPY_DONE: u8 = b'c';
    /// `CopyFail`.
    pub const COPY_FAIL: u8 = b'f';
    /// Describe.
    pub const DESCRIBE: u8 = b'D';
    /// Execute.
    pub const EXECUTE: u8 = b'E';
    /// Flush.
    pub const FLUSH: u8 = b'H';
    /// `FunctionCall`.
    pub const FUNCTION_CALL: u8 = b'F';
    /// Parse.
    pub const PARSE: u8 = b'P';
    /// `PasswordMessage`, `SASLInitialResponse`, `SASLResponse`: told apart by what was asked.
    pub const PASSWORD: u8 = b'p';
    /// Query.
    pub const QUERY: u8 = b'Q';
    /// Sync.
    pub const SYNC: u8 = b'S';
    /// Terminate.
    pub const TERMINATE: u8 = b'X';
}

/// A message of an open session. The password messages of the login are not among them: see [`password`] and
/// [`SaslInitialResponse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Binds values to a prepared statement.
    Bind(Bind<'a>),
    /// Forgets a statement or portal.
    Close(Named<'a>),
    /// A piece of a COPY stream.
    CopyData(&'a [u8]),
    /// The end of a COPY stream.
    CopyDone,
    /// The end of a COPY stream that failed at the client; its reason.
    CopyFail(&'a [u8]),
    /// Asks what a statement or portal returns.
    Describe(Named<'a>),
    /// Runs a portal.
    Execute(Execute<'a>),
    /// Asks for what is ready.
    Flush,
    /// Calls a function by its oid.
    FunctionCall(FunctionCall<'a>),
    /// Prepares a statement.
    Parse(Parse<'a>),
    /// Runs the text.
    Query(&'a [u8]),
    /// Ends a batch of extended messages.
    Sync,
    /// Says goodbye.
    Terminate,
}

impl<'a> Message<'a> {
    /// Reads the body of a message of an open session. Password messages are unknown here: none is due.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Self, Error> {
        Ok(match tag {
            tag::BIND => Self::Bind(Bind::decode(body)?),
            tag::CLOSE => Self::Close(Named::decode("Close", body)?),
            tag::COPY_DATA => Self::CopyData(body),
            tag::COPY_DONE => Self::CopyDone.checked("CopyDone", body)?,
            tag::COPY_FAIL => Self::CopyFail(only_string("CopyFail", body)?),
            tag::DESCRIBE => Self::Describe(Named::decode("Describe", body)?),
            tag::EXECUTE => Self::Execute(Execute::decode(body)?),
            tag::FLUSH => Self::Flush.checked("Flush", body)?,
            tag::FUNCTION_CALL => Self::FunctionCall(FunctionCall::decode(body)?),
            tag::PARSE => Self::Parse(Parse::decode(body)?),
            tag::QUERY => Self::Query(only_string("Query", body)?),
            tag::SYNC => Self::Sync.checked("Sync", body)?,
            tag::TERMINATE => Self::Terminate.checked("Terminate", body)?,
            tag => return Err(Error::UnknownTag { direction: super::Direction::Frontend, tag }),
        })
    }

    fn checked(self, name: &'static str, body: &[u8]) -> Result<Self, Error> {
        Body::new(name, body).finish()?;
        Ok(self)
    }
}

fn only_string<'a>(name: &'static str, body: &'a [u8]) -> Result<&'a [u8], Error> {
    let mut body = Body::new(name, body);
    let text = body.string()?;
    body.finish()?;
    Ok(text)
}

/// Parse (F): the text of one statement under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty is the unnamed one.
    pub name: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("Parse", body);
        let name = body.string()?;
        let text = body.string()?;
        let count = body.count()?;
        let types = body.bytes(usize::from(count) * 4)?;
        body.finish()?;
        Ok(Self { name, text, types })
    }

    /// The parameter types that the client gives; zero is unspecified.
    pub fn types(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        oids(self.types)
    }

    /// Writes a message.
    pub fn encode(out: &mut BytesMut, name: &[u8], text: &[u8], types: &[u32]) {
        message(out, tag::PARSE, |out| {
            put_string(out, name);
            put_string(out, text);
            out.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
            for oid in types {
                out.put_u32(*oid);
            }
        });
    }
}

pub(super) fn oids(bytes: &[u8]) -> impl ExactSizeIterator<Item = u32> + use<'_> {
    bytes.chunks_exact(4).map(|oid| oid.first_chunk().copied().map_or(0, u32::from_be_bytes))
}

/// What a Describe or Close speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// Describe (F) and Close (F): a statement or portal by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// Which of the two.
    pub target: Target,
    /// Its name; empty is the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Named<'a> {
    fn decode(message: &'static str, body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new(message, body);
        let target = match body.u8()? {
            b'S' => Target::Statement,
            b'P' => Target::Portal,
            _ => return Err(body.invalid("subtype")),
        };
        let name = body.string()?;
        body.finish()?;
        Ok(Self { target, name })
    }

    fn put(self, out: &mut BytesMut, tag: u8) {
        message(out, tag, |out| {
            out.put_u8(if self.target == Target::Statement { b'S' } else { b'P' });
            put_string(out, self.name);
        });
    }
}

/// Writes a Describe message.
pub fn describe(out: &mut BytesMut, named: Named<'_>) {
    named.put(out, tag::DESCRIBE);
}

/// Writes a Close message.
pub fn close(out: &mut BytesMut, named: Named<'_>) {
    named.put(out, tag::CLOSE);
}

/// Execute (F).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal to run; empty is the unnamed one.
    pub portal: &'a [u8],
    /// The most rows wanted; zero or less is all.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("Execute", body);
        let portal = body.string()?;
        let max_rows = body.i32()?;
        body.finish()?;
        Ok(Self { portal, max_rows })
    }

    /// Writes a message.
    pub fn encode(self, out: &mut BytesMut) {
        message(out, tag::EXECUTE, |out| {
            put_string(out, self.portal);
            out.put_i32(self.max_rows);
        });
    }
}

/// FunctionCall (F): a function by its oid, with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// `pg_proc.oid`.
    pub oid: u32,
    /// How the arguments are written.
    pub formats: Formats<'a>,
    /// The arguments.
    pub arguments: Values<'a>,
    /// How the result is wanted.
    pub result_format: Format,
}

impl<'a> FunctionCall<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("FunctionCall", body);
        let oid = body.u32()?;
        let formats = body.formats()?;
        let arguments = Values::read(&mut body)?;
        // As `parse_fcall_arguments` in the server's fastpath.c.
        if formats.len() > 1 && formats.len() != arguments.len() {
            return Err(body.invalid("number of argument formats"));
        }
        let result_format = match body.i16()? {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return Err(body.invalid("format code")),
        };
        body.finish()?;
        Ok(Self { oid, formats, arguments, result_format })
    }

    /// Writes a message.
    pub fn encode(
        out: &mut BytesMut,
        oid: u32,
        formats: &[Format],
        arguments: &[Option<&[u8]>],
        result: Format,
    ) {
        message(out, tag::FUNCTION_CALL, |out| {
            out.put_u32(oid);
            put_formats(out, formats);
            out.put_u16(u16::try_from(arguments.len()).unwrap_or(u16::MAX));
            for argument in arguments {
                put_value(out, *argument);
            }
            put_formats_code(out, result);
        });
    }
}

fn put_formats_code(out: &mut BytesMut, format: Format) {
    out.put_i16(i16::from(format == Format::Binary));
}

/// PasswordMessage (F): the body of a `p` that answers a request for a password.
pub fn password(body: &[u8]) -> Result<&[u8], Error> {
    only_string("PasswordMessage", body)
}

/// SASLInitialResponse (F): the body of the `p` that answers `AuthenticationSASL`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism chosen.
    pub mechanism: &'a [u8],
    /// The first response, when the client sends one.
    pub response: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut body = Body::new("SASLInitialResponse", body);
        let mechanism = body.string()?;
        let response = body.value()?;
        body.finish()?;
        Ok(Self { mechanism, response })
    }

    /// Writes a message.
    pub fn encode(self, out: &mut BytesMut) {
        message(out, tag::PASSWORD, |out| {
            put_string(out, self.mechanism);
            put_value(out, self.response);
        });
    }
}

// The response may hold a token.
impl std::fmt::Debug for SaslInitialResponse<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslInitialResponse").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// Writes a Query message.
pub fn query(out: &mut BytesMut, text: &[u8]) {
    message(out, tag::QUERY, |out| put_string(out, text));
}

/// Writes a PasswordMessage.
pub fn password_message(out: &mut BytesMut, password: &[u8]) {
    message(out, tag::PASSWORD, |out| put_string(out, password));
}

/// Writes a SASLResponse message.
pub fn sasl_response(out: &mut BytesMut, data: &[u8]) {
    message(out, tag::PASSWORD, |out| out.put_slice(data));
}

/// Writes a CopyData message.
pub fn copy_data(out: &mut BytesMut, data: &[u8]) {
    message(out, tag::COPY_DATA, |out| out.put_slice(data));
}

/// Writes a CopyFail message.
pub fn copy_fail(out: &mut BytesMut, reason: &[u8]) {
    message(out, tag::COPY_FAIL, |out| put_string(out, reason));
}

/// Writes a message that has no body: Sync, Flush, Terminate, CopyDone.
pub fn empty(out: &mut BytesMut, tag: u8) {
    message(out, tag, |_| ());
}
