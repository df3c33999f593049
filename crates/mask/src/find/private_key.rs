//! Private keys in PEM form.
//!
//! From `-----BEGIN … PRIVATE KEY…-----` (PKCS #8, PKCS #1, SEC 1, OpenSSH, OpenPGP, encrypted or not) through the next end
//! of a private key, whatever is between; where the end is missing, to the end of the text.
//!
//! **References**: RFC 7468, sections 2, 10 and 11; RFC 9580, section 6.2.

use std::ops::Range;

/// `OPENSSH PRIVATE KEY` and `PGP PRIVATE KEY BLOCK` have a third of it.
const LABEL_MOST: usize = 64;

/// The key whose `B` of `BEGIN` stands here.
pub(crate) fn find(text: &[u8], letter: usize) -> Option<Range<usize>> {
    let start = letter.checked_sub(5)?;
    let body = start + labelled(text.get(start..)?, b"-----BEGIN ")?;
    let mut from = body;
    while let Some(rest) = text.get(from..) {
        let Some(dashes) = rest.windows(9).position(|part| part == b"-----END ") else { break };
        let at = from + dashes;
        if let Some(length) = text.get(at..).and_then(|rest| labelled(rest, b"-----END ")) {
            return Some(start..at + length);
        }
        from = at + 9;
    }
    Some(start..text.len())
}

/// Whether a key may begin here: dashes and `BEGIN`.
pub(crate) fn may(text: &[u8], letter: usize) -> bool {
    letter
        .checked_sub(5)
        .and_then(|start| text.get(start..))
        .is_some_and(|rest| rest.starts_with(b"-----BEGIN "))
}

/// The length of the line that starts with `head` and names a private key.
fn labelled(text: &[u8], head: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(head)?;
    let label = rest.get(..rest.len().min(LABEL_MOST))?;
    let length = label.windows(5).position(|part| part == b"-----")?;
    let named = label.get(..length)?.windows(11).any(|part| part == b"PRIVATE KEY");
    named.then_some(head.len() + length + 5)
}
