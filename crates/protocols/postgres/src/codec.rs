//! Bytes and messages of the PostgreSQL wire protocol, versions 3.0 and 3.2.
//!
//! **Promises.** No I/O, no clock, no copies: decoders borrow from the bytes they are given. Every length is checked
//! against [`limits`] before anything is kept; truncated bodies, trailing bytes and unknown tags are errors.
//!
//! **Does not** know the order of messages (`handshake`, `upstream`, `session` do) or the meaning of their text.
//!
//! **How to read it**: [`frame`] (where messages begin and end), [`startup`] (what comes before the first tag),
//! [`frontend`] and [`bind`] (from clients), [`backend`] and [`report`] (from servers, and what we say ourselves).
//!
//! **References**: PostgreSQL documentation, 55.7 "Message Formats"; `src/include/libpq/{protocol,pqcomm}.h`.

pub mod backend;
pub mod bind;
pub mod frame;
pub mod frontend;
pub mod limits;
mod read;
pub mod report;
pub mod rows;
pub mod startup;
#[cfg(test)]
mod tests;

pub use bind::{BindScanner, Piece};
pub use frame::{Direction, Frame, Frames, Header, Next};
pub use report::{ErrorFields, Report, Severity};
pub use startup::{CancelRequest, FirstPacket, ProtocolVersion, StartupMessage};

/// Bytes that are not what the protocol says. Never recoverable: the place of the next message is unknown or untrusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No message of this direction has that tag.
    #[error("unknown {direction} message type {}", Tag(*tag))]
    UnknownTag {
        /// Who would have sent it.
        direction: Direction,
        /// The byte that stands where a tag should.
        tag: u8,
    },
    /// A length field counts itself, so that less than 4 is impossible.
    #[error("message type {} gives its length as {length}", Tag(*tag))]
    LengthTooSmall {
        /// The message.
        tag: u8,
        /// What the length field says.
        length: u32,
    },
    /// Longer than this message may be.
    #[error("message type {} of {length} bytes is over the limit of {limit}", Tag(*tag))]
    TooLong {
        /// The message.
        tag: u8,
        /// What the length field says.
        length: u32,
        /// The most it may say.
        limit: u32,
    },
    /// The body ends inside a field.
    #[error("{message} message ends early")]
    Truncated {
        /// The message's name in the documentation.
        message: &'static str,
    },
    /// The body goes on after its last field.
    #[error("{message} message has {extra} bytes after its end")]
    Trailing {
        /// The message's name in the documentation.
        message: &'static str,
        /// How many.
        extra: usize,
    },
    /// A field has a value that the protocol does not know.
    #[error("{message} message has an invalid {field}")]
    Invalid {
        /// The message's name in the documentation.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A startup packet is shorter or longer than one can be.
    #[error("invalid length of startup packet")]
    StartupLength,
    /// A startup packet asks for a protocol that is not 3.x.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    UnsupportedProtocol {
        /// The major version asked for.
        major: u16,
        /// The minor version asked for.
        minor: u16,
    },
    /// A startup packet names a parameter twice; which of the two counts differs between servers.
    #[error("startup parameter `{0}` is given twice")]
    DuplicateParameter(String),
    /// A startup packet without a user name.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// A startup packet that asks for a replication connection.
    #[error("replication connections are not proxied")]
    Replication,
}

/// A tag as a reader wants to see it.
struct Tag(u8);

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.0.escape_ascii())
    }
}
