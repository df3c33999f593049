//! The longest each message may be, with where the number comes from. All count as the length field does: itself
//! included, the tag not.

/// Longest message that may be large: the server's `PQ_LARGE_MESSAGE_LIMIT` (`MaxAllocSize - 1`).
pub const LARGE: u32 = 0x3fff_fffe;
/// Longest frontend message that carries names and numbers only: the server's `PQ_SMALL_MESSAGE_LIMIT`.
pub const SMALL_FRONTEND: u32 = 10_000;
/// Longest backend message of a kind that is not known to be long: what libpq accepts (`VALID_LONG_MESSAGE_TYPE`).
pub const SMALL_BACKEND: u32 = 30_000;
/// Longest `ParameterDescription`: 65,535 type oids.
pub const PARAMETER_DESCRIPTION: u32 = 6 + 4 * 65_535;
/// Longest `CopyInResponse` and its kin: 65,535 column formats.
pub const COPY_RESPONSE: u32 = 7 + 2 * 65_535;
/// Longest body of a startup packet, its length field not counted: the server's `MAX_STARTUP_PACKET_LENGTH`.
pub const STARTUP: usize = 10_000;
/// Shortest cancel key: the one of protocol 3.0.
pub const CANCEL_KEY_MIN: usize = 4;
/// Longest cancel key: `MAX_CANCEL_KEY_LENGTH` of protocol 3.2.
pub const CANCEL_KEY_MAX: usize = 256;
/// Longest token unless configured: `PG_MAX_AUTH_TOKEN_LENGTH` of the server, plus one.
pub const TOKEN: usize = 64 * 1024;
/// Longest name of a portal or prepared statement in a `Bind`: such a name never fits a `Describe` or `Close` otherwise.
pub const NAME: usize = SMALL_FRONTEND as usize;
/// How many bytes of the name of a portal or prepared statement the server tells apart (`NAMEDATALEN - 1`): it keeps them
/// in tables whose keys are compared over these bytes only.
pub const SIGNIFICANT_NAME: usize = 63;

/// The part of the name of a portal or prepared statement by which the server knows it. Two names that are equal in it are
/// one name; a map keyed on more can be made to disagree with the server about which statement a `Bind` runs.
pub fn significant(name: &[u8]) -> &[u8] {
    name.get(..SIGNIFICANT_NAME).unwrap_or(name)
}
