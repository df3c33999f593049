//! [`Transform`]: what is shown in place of a value.

/// What is shown in place of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transform {
    /// Nothing of it: `****`.
    Redact,
    /// The last four characters that are letters or digits; the others are hidden.
    Last4,
    /// A keyed hash: the same value gives the same text on the same connection.
    Hash,
    /// The first character and the domain: `a***@example.com`.
    Email,
    /// Null.
    Null,
    /// A form of the value: see [`Pattern`].
    Pattern(Pattern),
}

/// A form for values: `#` keeps the character that stands there, every other character is written as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(pub Box<str>);
