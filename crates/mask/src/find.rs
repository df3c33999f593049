//! The detectors, one file each: functions that look at a candidate in a text and say where a finding ends.
//!
//! **Promises.** A candidate costs a bounded number of steps, or steps that no later candidate repeats. With
//! [`Edges::Open`] a finder says yes to everything it would find in any part of the bytes.

pub(crate) mod cards;
pub(crate) mod email;
pub(crate) mod iban;
pub(crate) mod jwt;
pub(crate) mod keys;
pub(crate) mod phone;
pub(crate) mod private_key;
pub(crate) mod runs;
pub(crate) mod ssn;

/// Whether what stands around a candidate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edges {
    /// The bytes are the value: a number glued to a letter is not the number.
    Closed,
    /// The bytes hold the value, and anything may touch it: the length before a field may look like a letter.
    Open,
}

/// The byte there, or 0, which is part of nothing that is looked for.
pub(crate) fn at(text: &[u8], index: usize) -> u8 {
    text.get(index).copied().unwrap_or(0)
}

/// The byte `back` places before, or 0.
pub(crate) fn before(text: &[u8], index: usize, back: usize) -> u8 {
    index.checked_sub(back).map_or(0, |index| at(text, index))
}

pub(crate) fn is_digit(text: &[u8], index: usize) -> bool {
    at(text, index).is_ascii_digit()
}

/// The digits from `from` on, at most `most`.
pub(crate) fn digits(text: &[u8], from: usize, most: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count()
}
