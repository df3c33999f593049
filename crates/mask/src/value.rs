//! Values, masked: what a consumer sees.
//!
//! | kind | masked as a whole | with a finding |
//! |---|---|---|
//! | text | what [`apply_text`] writes | the text, its findings exchanged |
//! | JSON | `"****"`, the hash as a string, or null | valid JSON: findings in strings and keys exchanged, a number null |
//! | UUID | a UUID of version 8 for `hash`, null otherwise | not looked at: it has no room for one |
//! | number | null | null |
//! | bytes | no bytes for `redact`, null otherwise | null |
//! | other | null | not looked at |

use std::borrow::Cow;

use crate::{HashKey, Hit, Scanner, Transform, find::email};

pub(crate) mod json;
#[cfg(test)]
mod tests;
mod uuid;

/// What is written where nothing of a value may be seen.
pub const HIDDEN: &[u8] = b"****";

/// A value with fewer letters and digits is hidden whole by `last4`: the last four of four characters are all of them, and
/// of a PIN or a short code even half is too much. Of eight, half is shown.
const LAST4_FEWEST: usize = 8;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Text of any form.
    Text,
    /// JSON text.
    Json,
    /// A UUID in its text form.
    Uuid,
    /// A number in its decimal text form.
    Number,
    /// Bytes, as they are or in the `\x` form of `bytea`.
    Bytes,
    /// Anything else.
    Other,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// There is nothing to hide; nothing was written: the value itself is shown.
    Unchanged,
    /// What is shown was appended.
    Written,
    /// Null is shown; nothing was written. Where a protocol has no null (the fields of an error), it shows [`HIDDEN`].
    Null,
}

/// Masks one value, appending to `out` what is shown.
///
/// `whole` is the transform of the column, where it has one. `scanner` is what is looked for in the values of the session.
/// With both, the column's transform is used; but where a stronger one finds something, that one is used on the whole value.
pub fn mask_value(
    kind: ValueKind,
    whole: Option<&Transform>,
    scanner: Option<&Scanner>,
    key: &HashKey,
    value: &[u8],
    out: &mut Vec<u8>,
) -> Outcome {
    let mut hits = Vec::new();
    let Some(mut transform) = whole else {
        return match scanner {
            Some(scanner) => mask_found(kind, scanner, key, value, &mut hits, out),
            None => Outcome::Unchanged,
        };
    };
    if let Some(scanner) = scanner.filter(|scanner| scanner.strongest() > transform.strength()) {
        scanner.scan(value, &mut hits);
        let found = hits.iter().filter_map(|hit| scanner.transforms().get(usize::from(hit.rule)));
        if let Some(stronger) = found.max_by_key(|found| found.strength())
            && stronger.strength() > transform.strength()
        {
            transform = stronger;
        }
    }
    mask_whole(kind, transform, key, value, out)
}

fn mask_whole(
    kind: ValueKind,
    transform: &Transform,
    key: &HashKey,
    value: &[u8],
    out: &mut Vec<u8>,
) -> Outcome {
    match (kind, transform) {
        (ValueKind::Text, _) => apply_text(transform, key, value, out),
        (_, Transform::Null) | (ValueKind::Number | ValueKind::Other, _) => Outcome::Null,
        (ValueKind::Json, Transform::Hash) => {
            out.push(b'"');
            out.extend_from_slice(&key.text(value));
            out.push(b'"');
            Outcome::Written
        }
        (ValueKind::Json, _) => {
            json::write_string(HIDDEN, out);
            Outcome::Written
        }
        (ValueKind::Uuid, Transform::Hash) => match uuid::canonical(value) {
            Some(text) => {
                out.extend_from_slice(&uuid::text(&key.uuid(&text)));
                Outcome::Written
            }
            None => Outcome::Null,
        },
        (ValueKind::Uuid, _) => Outcome::Null,
        (ValueKind::Bytes, Transform::Redact) => {
            if unhex(value).is_some() {
                out.extend_from_slice(b"\\x");
            }
            Outcome::Written
        }
        (ValueKind::Bytes, _) => Outcome::Null,
    }
}

fn mask_found(
    kind: ValueKind,
    scanner: &Scanner,
    key: &HashKey,
    value: &[u8],
    hits: &mut Vec<Hit>,
    out: &mut Vec<u8>,
) -> Outcome {
    match kind {
        ValueKind::Json => return json::mask(scanner, key, value, hits, out),
        ValueKind::Uuid | ValueKind::Other => return Outcome::Unchanged,
        ValueKind::Text | ValueKind::Number | ValueKind::Bytes => scanner.scan(value, hits),
    }
    if hits.is_empty()
        && kind == ValueKind::Bytes
        && let Some(bytes) = unhex(value)
    {
        scanner.scan(&bytes, hits);
    }
    match (kind, hits.is_empty()) {
        (_, true) => Outcome::Unchanged,
        (ValueKind::Text, false) => apply_hits(hits, scanner.transforms(), key, value, out),
        (_, false) => Outcome::Null,
    }
}

/// The bytes of `\x…`; `None`: it is not of this form.
fn unhex(value: &[u8]) -> Option<Vec<u8>> {
    let digits = value.strip_prefix(b"\\x")?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte & 15,
        letter => (letter & 7) + 9,
    };
    Some(pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect())
}

/// Masks a text as a whole, appending what is shown.
///
/// - `redact`: `****`.
/// - `last4`: each letter, digit and character beyond ASCII as `*`, but for the last four letters or digits; spaces and
///   punctuation as they are. Fewer than 8 letters and digits: `****`.
/// - `hash`: 20 hex digits, the keyed hash of the bytes as they are.
/// - `email`: `a***@example.com` where the whole text is an address, `****` where not.
/// - `pattern`: the pattern, each `#` in it exchanged for the character in its place; `****` where the text has another
///   number of characters. Without a pattern the text's form: `Xxx-999`.
/// - `null`: [`Outcome::Null`].
///
/// What is not UTF-8 is redacted by all but `hash` and `null`.
pub fn apply_text(transform: &Transform, key: &HashKey, value: &[u8], out: &mut Vec<u8>) -> Outcome {
    let text = std::str::from_utf8(value).ok();
    let shown = match transform {
        Transform::Null => return Outcome::Null,
        Transform::Hash => {
            out.extend_from_slice(&key.text(value));
            return Outcome::Written;
        }
        Transform::Redact => None,
        Transform::Last4 => text.and_then(last4),
        Transform::Email => text.and_then(address),
        Transform::Pattern(pattern) => text.and_then(|text| match pattern.text() {
            Some(pattern) => patterned(pattern, text),
            None => Some(text.chars().map(form).collect()),
        }),
    };
    out.extend_from_slice(shown.as_ref().map_or(HIDDEN, String::as_bytes));
    Outcome::Written
}

fn last4(text: &str) -> Option<String> {
    let counts = |character: &char| character.is_alphanumeric();
    let mut hidden = text.chars().filter(counts).count();
    if hidden < LAST4_FEWEST {
        return None;
    }
    hidden -= 4;
    let hide = |character: char| {
        if counts(&character) && hidden == 0 {
            character
        } else {
            hidden -= usize::from(counts(&character));
            if counts(&character) || !character.is_ascii() { '*' } else { character }
        }
    };
    Some(text.chars().map(hide).collect())
}

fn address(text: &str) -> Option<String> {
    let domain = email::domain_of(text.as_bytes())?;
    Some(format!("{}***@{}", text.chars().next()?, text.get(domain..)?))
}

fn patterned(pattern: &str, text: &str) -> Option<String> {
    let mut characters = text.chars();
    let mut place = |shown: char| characters.next().map(|own| if shown == '#' { own } else { shown });
    let shown: Option<String> = pattern.chars().map(&mut place).collect();
    shown.filter(|_| characters.next().is_none())
}

/// What a character is: beyond ASCII everything that is no digit passes for a letter.
fn form(character: char) -> char {
    match character {
        _ if character.is_numeric() => '9',
        _ if character.is_uppercase() => 'X',
        _ if character.is_alphabetic() || !character.is_ascii() => 'x',
        _ => character,
    }
}

/// Writes a text with each hit exchanged for what its rule's transform shows of it.
///
/// A hit whose transform is null makes the whole value null. A hit without a transform is redacted; hits that are not in
/// order or not in the text hide the whole text. Without hits the text is written as it is.
pub fn apply_hits(
    hits: &[Hit],
    transforms: &[Transform],
    key: &HashKey,
    text: &[u8],
    out: &mut Vec<u8>,
) -> Outcome {
    let written = out.len();
    let mut shown = 0;
    for hit in hits {
        let (Some(between), Some(found)) = (text.get(shown..hit.range.start), text.get(hit.range.clone()))
        else {
            out.truncate(written);
            out.extend_from_slice(HIDDEN);
            return Outcome::Written;
        };
        out.extend_from_slice(between);
        let transform =
            transforms.get(usize::from(hit.rule)).map_or(Cow::Owned(Transform::Redact), Cow::Borrowed);
        if apply_text(&transform, key, found, out) == Outcome::Null {
            out.truncate(written);
            return Outcome::Null;
        }
        shown = hit.range.end;
    }
    out.extend_from_slice(text.get(shown..).unwrap_or_default());
    Outcome::Written
}
