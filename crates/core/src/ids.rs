//! Identifiers. UUID version 7 (RFC 9562 section 5.7) where order of creation helps a reader, names where people chose them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier made at `now`; the rest is random from the operating system.
            pub fn generate(now: crate::Timestamp) -> Self {
                let micros = u64::try_from(now.as_micros()).unwrap_or(0);
                let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0).saturating_mul(1_000);
                Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bare = text.strip_prefix($prefix).ok_or_else(|| InvalidId { text: text.to_owned(), prefix: $prefix })?;
                let uuid = Uuid::try_parse(bare).map_err(|_| InvalidId { text: text.to_owned(), prefix: $prefix })?;
                Ok(Self(uuid))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    };
}

/// The text is not an identifier of the expected kind.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not an identifier of the form `{prefix}<32 hex digits>`")]
pub struct InvalidId {
    text: String,
    prefix: &'static str,
}

uuid_id!(
    /// One session: `ses_<32 hex digits>`.
    SessionId,
    "ses_"
);
uuid_id!(
    /// One opening of a just-in-time grant: `win_<32 hex digits>`.
    WindowId,
    "win_"
);
uuid_id!(
    /// One access request: `req_<32 hex digits>`.
    RequestId,
    "req_"
);

/// The name of a registered connection: 1 to [`ConnectionName::MAX_LEN`] of `a-z 0-9 - _ .`, starting with a letter or digit.
///
/// The limit is that of a PostgreSQL identifier (63 bytes) because the name travels as the user name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionName(String);

impl ConnectionName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ConnectionName {
    type Err = InvalidConnectionName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let all_well = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
        if starts_well && all_well && text.len() <= Self::MAX_LEN {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidConnectionName)
        }
    }
}

/// The text cannot be a connection's name. The text is not repeated: it comes from peers that are not yet known.
#[derive(Debug, thiserror::Error)]
#[error("a connection name is 1 to 63 of a-z, 0-9, `-`, `_`, `.` and starts with a letter or a digit")]
pub struct InvalidConnectionName;

impl From<ConnectionName> for String {
    fn from(name: ConnectionName) -> Self {
        name.0
    }
}

impl TryFrom<String> for ConnectionName {
    type Error = InvalidConnectionName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl AsRef<str> for ConnectionName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Names one grant across restarts and edits elsewhere in the documents: the grant's own `name`, or
/// `<connection>#<8 hex digits>` over what makes it this grant (connection, `to`, `when`, `scope`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub String);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_reads_back_and_another_kind_does_not() {
        let id = SessionId::generate(crate::Timestamp::from_seconds(1_790_000_000));
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        assert!(id.to_string().parse::<WindowId>().is_err());
    }

    #[test]
    fn connection_names_are_plain() {
        for good in ["prod-logs", "a", "9.x_y"] {
            assert!(good.parse::<ConnectionName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a/b", "a\0", &"a".repeat(64)] {
            assert!(bad.parse::<ConnectionName>().is_err(), "{bad}");
        }
    }
}
