//! [`Transform`]: what is shown in place of a value.

use crate::Error;

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

impl Transform {
    /// Every name, in the order of the documentation.
    pub const NAMES: [&'static str; 6] = ["redact", "last4", "hash", "email", "null", "pattern"];

    /// The transform of this name. A pattern may be given with `pattern` only.
    ///
    /// # Errors
    /// An unknown name, a pattern that is not used, a pattern that [`Pattern::new`] refuses.
    pub fn named(name: &str, pattern: Option<&str>) -> Result<Self, Error> {
        let transform = match name {
            "redact" => Self::Redact,
            "last4" => Self::Last4,
            "hash" => Self::Hash,
            "email" => Self::Email,
            "null" => Self::Null,
            "pattern" => return Pattern::new(pattern).map(Self::Pattern),
            _ => return Err(Error::UnknownTransform(name.to_owned())),
        };
        if pattern.is_some() {
            return Err(Error::PatternNotUsed(transform.as_str()));
        }
        Ok(transform)
    }

    /// The name, as in the documents.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Redact => "redact",
            Self::Last4 => "last4",
            Self::Hash => "hash",
            Self::Email => "email",
            Self::Null => "null",
            Self::Pattern(_) => "pattern",
        }
    }

    /// How much is hidden, 1 to 6. Where several masks meet, the greatest wins: null, redact, hash, pattern, last4, email.
    pub const fn strength(&self) -> u8 {
        match self {
            Self::Null => 6,
            Self::Redact => 5,
            Self::Hash => 4,
            Self::Pattern(_) => 3,
            Self::Last4 => 2,
            Self::Email => 1,
        }
    }
}

/// A form for values.
///
/// With a text, `#` keeps the character that stands in its place and every other character is written as it is, so
/// `XXX-##` over `123-45` shows `XXX-45`; a value of another length is redacted. Without one the value's own form is shown:
/// letters as `x` or `X`, digits as `9`, punctuation as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Option<Box<str>>);

impl Pattern {
    /// A pattern, or the form of the value where no text is given.
    ///
    /// # Errors
    /// A text that is empty or has no character but `#`: it would show every value as it is.
    pub fn new(text: Option<&str>) -> Result<Self, Error> {
        match text {
            None => Ok(Self(None)),
            Some("") => Err(Error::EmptyPattern),
            Some(text) if text.chars().all(|character| character == '#') => {
                Err(Error::PatternKeepsAll(text.to_owned()))
            }
            Some(text) => Ok(Self(Some(text.into()))),
        }
    }

    /// The text; `None`: the form of the value.
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_name_of_its_transform() {
        for name in Transform::NAMES {
            assert_eq!(Transform::named(name, None).unwrap().as_str(), name);
        }
        assert_eq!(Transform::named("blur", None), Err(Error::UnknownTransform("blur".into())));
        assert_eq!(Transform::named("hash", Some("#x")), Err(Error::PatternNotUsed("hash")));
    }

    #[test]
    fn null_is_the_strongest_and_email_the_weakest() {
        let order = ["null", "redact", "hash", "pattern", "last4", "email"];
        let strengths: Vec<u8> =
            order.iter().map(|name| Transform::named(name, None).unwrap().strength()).collect();
        assert_eq!(strengths, [6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn a_pattern_that_shows_everything_is_refused() {
        assert_eq!(Pattern::new(Some("###")), Err(Error::PatternKeepsAll("###".into())));
        assert_eq!(Pattern::new(Some("")), Err(Error::EmptyPattern));
        assert_eq!(Pattern::new(Some("XX-##")).unwrap().text(), Some("XX-##"));
        assert_eq!(Pattern::new(None).unwrap().text(), None);
    }
}
