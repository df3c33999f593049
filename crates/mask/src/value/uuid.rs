//! UUIDs in their text form. RFC 9562, section 4.

use crate::key::hex_digit;

/// The 32 digits in lower case, without what stands between or around them; `None`: it is no UUID.
pub(super) fn canonical(value: &[u8]) -> Option<[u8; 32]> {
    let mut digits = [0; 32];
    let mut given = value.iter().filter(|byte| !matches!(byte, b'-' | b'{' | b'}'));
    for digit in &mut digits {
        *digit = given.next().filter(|byte| byte.is_ascii_hexdigit())?.to_ascii_lowercase();
    }
    given.next().is_none().then_some(digits)
}

/// The 36 characters of a UUID.
pub(super) fn text(uuid: &[u8; 16]) -> Vec<u8> {
    let mut text = Vec::with_capacity(36);
    for (place, byte) in uuid.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        text.extend([hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
    text
}
