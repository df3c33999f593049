//! JSON Web Tokens.
//!
//! `eyJ…` (base64url of `{"…`), not glued to a letter or digit before, that decodes to a JSON object; a dot; then a payload
//! that is an object too, a dot and a signature, which may be empty (`alg: none`), or the four further parts of an encrypted
//! token. A header of more than 2,048 characters is taken for one without a look inside.
//!
//! **References**: RFC 7515, section 7.1; RFC 7516, section 7.1; RFC 7519.

use std::ops::Range;

use super::{
    at, before,
    runs::{Class, Runs},
};
use crate::value::json;

/// Headers are short unless they carry certificates.
const DECODED_MOST: usize = 2_048;

/// The token whose `J` of `eyJ` stands here.
pub(crate) fn find(text: &[u8], letter: usize, runs: &mut Runs) -> Option<Range<usize>> {
    let start = letter.checked_sub(2)?;
    if before(text, start, 1).is_ascii_alphanumeric() {
        return None;
    }
    let mut part = |number: usize, from: usize| runs.end_in(Runs::PARTS + number, Class::Word, text, from);
    let header = part(0, start);
    if at(text, header) != b'.' || !is_header(text.get(start..header)?) {
        return None;
    }
    let second = part(1, header + 1);
    if at(text, second) != b'.' {
        return None;
    }
    let third = part(2, second + 1);
    // `ey` and `ew`: base64 of `{"` and of `{` and white space.
    if at(text, header + 1) == b'e' && matches!(at(text, header + 2), b'y' | b'w') {
        return Some(start..third);
    }
    if at(text, third) != b'.' {
        return None;
    }
    let fourth = part(3, third + 1);
    if at(text, fourth) != b'.' {
        return None;
    }
    let tag = text.get(fourth + 1..).unwrap_or_default();
    let length = tag.iter().take_while(|byte| Class::Word.has(**byte)).count();
    (length > 0).then_some(start..fourth + 1 + length)
}

/// Whether the characters decode to a JSON object.
fn is_header(header: &[u8]) -> bool {
    if header.len() > DECODED_MOST {
        return true;
    }
    let mut decoded = [0; DECODED_MOST / 4 * 3 + 3];
    let mut length = 0;
    for group in header.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(sextet(*byte)));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        // Four characters are three bytes, three are two, two are one, and one alone is none.
        let count = group.len().saturating_sub(1);
        let Some(places) = decoded.get_mut(length..length + count) else { return false };
        places.iter_mut().zip(bytes.iter().skip(1)).for_each(|(place, byte)| *place = *byte);
        length += count;
    }
    decoded.get(..length).is_some_and(json::is_object)
}

const fn sextet(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        _ => 63,
    }
}
