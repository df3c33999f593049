//! A text without the content of its literals, as a cache key, where that is beyond doubt.
//!
//! Two texts with one key differ only inside string literals and in the digits of numbers. Their analyses are equal as long as
//! no literal's content is part of the analysis, which the analysis itself says ([`crate::analysis`]). What makes it beyond
//! doubt is the subset: a text with anything that could move the border of a literal has no key at all:
//! - comments, because they hide quotes; dollar signs (dollar quotes, parameters); backslashes, whatever the server's settings;
//! - a quote right after an identifier character (`E'`, `B'`, `X'`, `N'`) or after `&` (`U&'`), single or double;
//! - control characters but tab and line ends, among them the bytes that stand for literals in the key.
//!
//! Everything else is copied as it is, white space and case included, so the key still spells the statement out.
//! Numbers: one to nine digits (always the parser's `ICONST`), or digits, a point and digits (always `FCONST`), touching no
//! identifier character and no other point. Other numbers are copied.

use std::cell::RefCell;

const STRING: u8 = 1;
const INTEGER: u8 = 2;
const DECIMAL: u8 = 3;

/// The longest run of digits that is an `ICONST` whatever the digits.
const MAX_INTEGER_DIGITS: usize = 9;

/// Texts shorter than this are not worth a second look-up, longer ones are not worth the space.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=16 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `use_key` with the key of `text`, or with nothing where it has none. The key lives in a buffer of this thread.
pub(crate) fn with_key<R>(text: &str, use_key: impl FnOnce(Option<&str>) -> R) -> R {
    let mut buffer = BUFFER.with(RefCell::take);
    let key = if LENGTHS.contains(&text.len()) { build(text.as_bytes(), &mut buffer) } else { None };
    let result = use_key(key.and_then(|()| std::str::from_utf8(&buffer).ok()));
    BUFFER.with(|slot| slot.replace(buffer));
    result
}

/// `ident_cont` of scan.l, but for the dollar sign: that ends everything.
fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn build(text: &[u8], key: &mut Vec<u8>) -> Option<()> {
    key.clear();
    let mut before = b' ';
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let next = tail.first().copied().unwrap_or(b' ');
        let used = match byte {
            b'$' | b'\\' => return None,
            b'-' if next == b'-' => return None,
            b'/' if next == b'*' => return None,
            b'*' if next == b'/' => return None,
            0..=8 | 11 | 12 | 14..=31 | 127 => return None,
            b'\'' | b'"' if is_identifier(before) || before == b'&' => return None,
            b'\'' => {
                let length = string_length(rest)?;
                key.push(STRING);
                length
            }
            b'"' => {
                let length = 2 + tail.iter().position(|b| *b == b'"')?;
                let name = rest.get(..length)?;
                if name.iter().any(|b| *b == b'\\' || *b < b' ') {
                    return None;
                }
                key.extend_from_slice(name);
                length
            }
            b'0'..=b'9' if !is_identifier(before) && before != b'.' => number(rest, key),
            _ => {
                key.push(byte);
                1
            }
        };
        before = used.checked_sub(1).and_then(|last| rest.get(last)).copied()?;
        // Two literals with nothing between them are one to the server or an error.
        rest = rest.get(used..)?;
    }
    Some(())
}

/// The length of the literal at the start, quotes included; `''` inside is a quote. Nothing where it does not end or holds a
/// backslash or a control character.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match *text.get(at)? {
            b'\'' if text.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return Some(at + 1),
            b'\\' | 0 => return None,
            _ => at += 1,
        }
    }
}

/// Takes the number at the start into the key and says how long it is.
fn number(text: &[u8], key: &mut Vec<u8>) -> usize {
    let digits = |from: usize| text.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let fraction = if text.get(whole) == Some(&b'.') { digits(whole + 1) } else { 0 };
    let length = if fraction > 0 { whole + 1 + fraction } else { whole };
    let after = text.get(length).copied().unwrap_or(b' ');
    if is_identifier(after) || after == b'.' || (fraction == 0 && whole > MAX_INTEGER_DIGITS) {
        // Exponents, hexadecimal, `1..2`, junk: as they are, to the end of the run.
        let run = text.iter().take_while(|b| is_identifier(**b) || **b == b'.').count();
        key.extend_from_slice(text.get(..run).unwrap_or_default());
        return run;
    }
    key.push(if fraction > 0 { DECIMAL } else { INTEGER });
    length
}

#[cfg(test)]
mod tests;
