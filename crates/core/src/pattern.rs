//! Globs over dotted or slashed resource names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A glob: `*` matches any run of characters but the separators `.` and `/`, `**` matches any run at all, `?` one character
/// that is no separator. A pattern that is exactly `*` matches everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// The longest pattern, in bytes: matching is O(pattern x text).
    pub const MAX_LEN: usize = 1024;

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        matches!(self.0.as_str(), "*" | "**")
    }

    /// Whether it matches the whole of `text`. Time O(pattern x text), no recursion.
    pub fn matches(&self, text: &str) -> bool {
        self.is_everything() || glob(self.0.as_bytes(), text.as_bytes())
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b'/')
}

/// Dynamic programming over one row: `reach[i]` says whether the pattern so far can end before `text[i]`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut reach = vec![false; text.len() + 1];
    if let Some(first) = reach.first_mut() {
        *first = true;
    }
    let mut rest = pattern;
    while let Some((&byte, tail)) = rest.split_first() {
        let (deep, tail) = match (byte, tail.split_first()) {
            (b'*', Some((b'*', after))) => (true, after),
            _ => (false, tail),
        };
        let mut next = vec![false; text.len() + 1];
        let mut open = false;
        for (at, reached) in reach.iter().enumerate() {
            let previous = at.checked_sub(1).and_then(|i| text.get(i));
            let here = if byte == b'*' {
                open = *reached || (open && previous.is_none_or(|b| deep || !is_separator(*b)));
                open
            } else {
                let before = at.checked_sub(1).and_then(|i| reach.get(i)).copied().unwrap_or(false);
                before && previous.is_some_and(|b| if byte == b'?' { !is_separator(*b) } else { *b == byte })
            };
            if let Some(slot) = next.get_mut(at) {
                *slot = here;
            }
        }
        reach = next;
        rest = tail;
    }
    reach.last().copied().unwrap_or(false)
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty()
            || text.len() > Self::MAX_LEN
            || text.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(InvalidPattern(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The text cannot be a pattern.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a pattern: 1 to 1024 characters without spaces, `*`, `**` and `?` match")]
pub struct InvalidPattern(String);

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_respect_separators() {
        let cases = [
            ("*", "public.orders", true),
            ("public.*", "public.orders", true),
            ("public.*", "public.orders.x", false),
            ("public.**", "public.orders.x", true),
            ("*.orders", "public.orders", true),
            ("*.orders", "orders", false),
            ("/v1/records/**", "/v1/records/a/b", true),
            ("/v1/*/b", "/v1/a/b", true),
            ("/v1/*/b", "/v1/a/c/b", false),
            ("a?c", "abc", true),
            ("a?c", "a.c", false),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(text), expected, "{pattern} on {text}");
        }
    }
}
