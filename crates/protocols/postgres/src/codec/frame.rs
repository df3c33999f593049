//! Where messages begin and end: one tag byte, a length that counts itself but not the tag, a body.
//!
//! A relay gives [`Frames`] what it has read. Whole messages come out as [`Frame`]s to look at and forward as they are; a
//! message that has not all arrived comes out as its [`Header`], so that its body can be forwarded in pieces when
//! [`Header::streams`], and waited for otherwise.

use super::{Error, limits};

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sent by a client.
    Frontend,
    /// Sent by a server.
    Backend,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Frontend => "frontend",
            Self::Backend => "backend",
        })
    }
}

/// The five bytes before a body, checked against the message's maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message's type.
    pub tag: u8,
    /// Bytes after the header.
    pub body: usize,
}

/// The most that the length field of this message may say; `None` for a tag that the direction does not have.
pub const fn limit(direction: Direction, tag: u8) -> Option<u32> {
    match direction {
        Direction::Frontend => frontend_limit(tag),
        Direction::Backend => backend_limit(tag),
    }
}

// As `SocketBackend` in the server's postgres.c.
const fn frontend_limit(tag: u8) -> Option<u32> {
    use super::frontend::tag;
    match tag {
        tag::QUERY | tag::PARSE | tag::BIND | tag::FUNCTION_CALL | tag::COPY_DATA => Some(limits::LARGE),
        // Its real limit is the configured size of a token, which the handshake enforces.
        tag::PASSWORD => Some(limits::LARGE),
        tag::CLOSE | tag::DESCRIBE | tag::EXECUTE | tag::COPY_FAIL => Some(limits::SMALL_FRONTEND),
        // No body: a byte after the length is refused here, before a decoder sees it.
        tag::FLUSH | tag::SYNC | tag::COPY_DONE | tag::TERMINATE => Some(4),
        _ => None,
    }
}

const fn backend_limit(tag: u8) -> Option<u32> {
    use super::backend::tag;
    match tag {
        tag::ROW_DESCRIPTION
        | tag::DATA_ROW
        | tag::COPY_DATA
        | tag::FUNCTION_CALL_RESPONSE
        | tag::ERROR_RESPONSE
        | tag::NOTICE_RESPONSE
        | tag::NOTIFICATION_RESPONSE => Some(limits::LARGE),
        tag::PARAMETER_DESCRIPTION => Some(limits::PARAMETER_DESCRIPTION),
        tag::COPY_IN_RESPONSE | tag::COPY_OUT_RESPONSE | tag::COPY_BOTH_RESPONSE => {
            Some(limits::COPY_RESPONSE)
        }
        tag::AUTHENTICATION
        | tag::PARAMETER_STATUS
        | tag::COMMAND_COMPLETE
        | tag::NEGOTIATE_PROTOCOL_VERSION => Some(limits::SMALL_BACKEND),
        tag::BACKEND_KEY_DATA => Some(8 + limits::CANCEL_KEY_MAX as u32),
        tag::READY_FOR_QUERY => Some(5),
        tag::PARSE_COMPLETE
        | tag::BIND_COMPLETE
        | tag::CLOSE_COMPLETE
        | tag::NO_DATA
        | tag::PORTAL_SUSPENDED
        | tag::EMPTY_QUERY_RESPONSE
        | tag::COPY_DONE => Some(4),
        _ => None,
    }
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 5;

    /// Reads a header from the start of `bytes`; `None` when there are fewer than five.
    pub fn peek(direction: Direction, bytes: &[u8]) -> Result<Option<Self>, Error> {
        let Some(&[tag, a, b, c, d]) = bytes.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]);
        let limit = limit(direction, tag).ok_or(Error::UnknownTag { direction, tag })?;
        if length < 4 {
            return Err(Error::LengthTooSmall { tag, length });
        }
        if length > limit {
            return Err(Error::TooLong { tag, length, limit });
        }
        Ok(Some(Self { tag, body: length as usize - 4 }))
    }

    /// Bytes of the whole message, header included.
    pub const fn message(&self) -> usize {
        Self::LEN + self.body
    }

    /// Whether messages of this type may be large, so that a relay forwards the body in pieces instead of waiting for it.
    pub const fn streams(&self, direction: Direction) -> bool {
        matches!(limit(direction, self.tag), Some(limits::LARGE))
    }
}

/// One whole message, borrowed from the bytes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message's type.
    pub tag: u8,
    /// What follows the header.
    pub body: &'a [u8],
    /// Header and body, to be forwarded as they are.
    pub bytes: &'a [u8],
}

/// What stands at the current place of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole message; the place moves past it.
    Frame(Frame<'a>),
    /// A message that has not all been read; the place stays at its header.
    Partial(Header),
    /// Fewer bytes than a header has, perhaps none; the place stays.
    Short,
}

/// A walk over the messages in what has been read.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    direction: Direction,
    buffer: &'a [u8],
    offset: usize,
}

impl<'a> Frames<'a> {
    /// A walk from the start of `buffer`, which must be the start of a message.
    pub const fn new(direction: Direction, buffer: &'a [u8]) -> Self {
        Self { direction, buffer, offset: 0 }
    }

    /// How far the walk has come: everything before it is whole messages.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// What has not been walked over.
    pub fn rest(&self) -> &'a [u8] {
        self.buffer.get(self.offset..).unwrap_or_default()
    }

    /// What comes next. After an error the walk must not go on.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: it has two ways to be at its end")]
    pub fn next(&mut self) -> Result<Next<'a>, Error> {
        let rest = self.rest();
        let Some(header) = Header::peek(self.direction, rest)? else { return Ok(Next::Short) };
        let Some(bytes) = rest.get(..header.message()) else { return Ok(Next::Partial(header)) };
        self.offset += header.message();
        let body = bytes.get(Header::LEN..).unwrap_or_default();
        Ok(Next::Frame(Frame { tag: header.tag, body, bytes }))
    }
}
