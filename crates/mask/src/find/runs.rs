//! [`Runs`]: where runs of characters end, asked many times and walked once.

/// Characters that keys and tokens are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `A-Z0-9`
    Upper,
    /// `0-9a-f`
    Hex,
    /// `A-Za-z0-9`
    Alnum,
    /// `A-Za-z0-9_-`: base64url
    Word,
    /// `A-Za-z0-9_.-`
    Dotted,
    /// `A-Za-z0-9_.~-`
    Tilde,
    /// `A-Za-z0-9+/=%`: base64, plain or percent-encoded
    Base64,
}

impl Class {
    pub(crate) const fn has(self, byte: u8) -> bool {
        match self {
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Tilde => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'%'),
        }
    }
}

/// The run last walked of each use. Candidates come from left to right; without this, `eyJ-eyJ-eyJ-…` is walked from each
/// `eyJ` to the end, which for 16 MiB takes hours.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    last: [(usize, usize); Self::SLOTS],
}

impl Runs {
    /// One for each class, four more for the parts of a token.
    const SLOTS: usize = 11;
    /// The first slot for the parts of a token.
    pub(crate) const PARTS: usize = 7;

    /// Where the run of these characters that holds `from` ends; `from` itself where it is none of them.
    pub(crate) fn end(&mut self, class: Class, text: &[u8], from: usize) -> usize {
        self.end_in(class as usize, class, text, from)
    }

    /// The same, remembered in a slot of its own.
    pub(crate) fn end_in(&mut self, slot: usize, class: Class, text: &[u8], from: usize) -> usize {
        let walk = || {
            let rest = text.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|byte| class.has(**byte)).count()
        };
        let Some(last) = self.last.get_mut(slot) else { return walk() };
        if from < last.0 || from >= last.1 {
            *last = (from, walk());
        }
        last.1
    }
}
