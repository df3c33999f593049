//! E-mail addresses.
//!
//! A practical part of RFC 5321: a local part of letters, digits, `.!#$%&'*+-^_~` and anything beyond ASCII (RFC 6531),
//! starting with a letter, a digit or `_`; `@`; a domain of two labels or more whose last begins with two letters. Quoted
//! local parts, addresses as domains (`[192.0.2.1]`) and domains of one label are not found, nor is `%40` for `@`. `=`, `/`,
//! `?`, `|` and braces may be in a local part but more often stand before one; what stands before them is not hidden. Of a
//! local part longer than 64 bytes the last 64 are hidden: no server takes such an address.
//!
//! **References**: RFC 5321, sections 4.1.2 and 4.5.3.1; RFC 6531, section 3.3.

use std::ops::Range;

use super::{Edges, at, before};

/// RFC 5321, section 4.5.3.1.1.
const LOCAL_MOST: usize = 64;

/// The address whose `@` stands here.
pub(crate) fn find(text: &[u8], sign: usize, edges: Edges) -> Option<Range<usize>> {
    if !in_local(before(text, sign, 1)) || !in_label(at(text, sign + 1)) {
        return None;
    }
    let rest = text.get(sign + 1..).unwrap_or_default();
    if edges == Edges::Open {
        let first = rest.iter().take_while(|byte| in_label(**byte)).count();
        return (at(rest, first) == b'.' && in_label(at(rest, first + 1))).then_some(sign..sign + 1);
    }
    let end = sign + 1 + domain(rest)?;
    let head = text.get(..sign).unwrap_or_default();
    let length = head.iter().rev().take(LOCAL_MOST).take_while(|byte| in_local(**byte)).count();
    let local = head.get(sign - length..).unwrap_or_default();
    let skipped =
        local.iter().position(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0xc0)?;
    Some(sign - length + skipped..end)
}

/// Whether the whole text is one address; where its domain begins.
pub(crate) fn domain_of(text: &[u8]) -> Option<usize> {
    let sign = text.iter().position(|byte| *byte == b'@')?;
    (find(text, sign, Edges::Closed)? == (0..text.len())).then_some(sign + 1)
}

/// How long the domain is that starts here: up to the last label that begins with two letters.
fn domain(rest: &[u8]) -> Option<usize> {
    let run = rest.iter().take_while(|byte| in_label(**byte) || **byte == b'.').count();
    let mut end = None;
    let mut start = 0;
    for (place, label) in rest.get(..run)?.split(|byte| *byte == b'.').enumerate() {
        if label.is_empty() {
            break;
        }
        let letters = label.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte >= 0x80).count();
        if place > 0 && letters >= 2 {
            // `xn--p1ai` is one label; `com-` and `com2` are `com` and something else, unless more labels follow.
            let coded = label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"));
            end = Some(start + if coded { label.len() } else { letters });
        }
        start += label.len() + 1;
    }
    end
}

const fn in_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte >= 0x80
}

const fn in_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte >= 0x80
        || matches!(
            byte,
            b'.' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'^' | b'_' | b'~'
        )
}
