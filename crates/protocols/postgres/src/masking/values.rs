//! What a value of a PostgreSQL type is to a mask, in both formats.
//!
//! Whatever the type, the masked value is one that a driver can read: text where the type is text, null where a text would be no
//! value of the type.
//!
//! **References**: `pg_type.dat` (object ids of built-in types), `array_send` and `numeric_send` in the server.

use bytes::BufMut;
use portcullis_mask::{HashKey, Outcome, Scanner, Transform, ValueKind, mask_value};

use crate::codec::bind::Format;

/// A type, as far as masks care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Text, the same bytes in both formats.
    Text,
    /// `json`: the same bytes in both formats.
    Json,
    /// `jsonb`: a version byte before the text in the binary format.
    Jsonb,
    /// `uuid`.
    Uuid,
    /// `int8`: long enough for a card number.
    Int8,
    /// `numeric`.
    Numeric,
    /// `bytea`.
    Bytes,
    /// An array of texts.
    Texts,
    /// An array of something else that may hold text or long numbers.
    Others,
    /// Too short or too regular to hold anything: booleans, dates, floats, addresses.
    Plain,
    /// A type of the database: an enumeration, a composite, an extension's.
    Unknown,
}

impl Shape {
    /// The shape of a built-in type.
    pub(crate) const fn of(type_oid: u32) -> Self {
        match type_oid {
            19 | 25 | 142 | 705 | 1042 | 1043 | 2275 => Self::Text,
            114 => Self::Json,
            3802 => Self::Jsonb,
            2950 => Self::Uuid,
            20 => Self::Int8,
            1700 => Self::Numeric,
            17 => Self::Bytes,
            // text[], varchar[], bpchar[], name[], xml[], cstring[]
            1009 | 1015 | 1014 | 1003 | 143 | 1263 => Self::Texts,
            // json[], jsonb[], int8[], numeric[], bytea[], uuid[], record, record[]
            199 | 3807 | 1016 | 1231 | 1001 | 2951 | 2249 | 2287 => Self::Others,
            // bool, "char", int2, int4, oid, floats, money, geometry, network addresses, bits, dates and times, void
            16 | 18 | 21 | 23 | 24 | 26 | 27 | 28 | 29 | 700 | 701 | 790 | 600..=604 | 628 | 718 | 650 | 829 | 869
            | 774 | 1560 | 1562 | 1082 | 1083 | 1114 | 1184 | 1186 | 1266 | 2205 | 2206 | 2278 | 3220 | 5069
            // and arrays of them
            | 1000 | 1005 | 1007 | 1028 | 1021 | 1022 | 791 | 651 | 1040 | 1041 | 1182 | 1183 | 1115 | 1185 | 1187
            | 1270 => Self::Plain,
            _ => Self::Unknown,
        }
    }

    /// Whether anything may be found in a value.
    pub(crate) const fn is_scanned(self) -> bool {
        !matches!(self, Self::Plain | Self::Uuid)
    }
}

/// The value masked as a whole. The column's mask is the last word: detectors look at the other values.
pub(crate) fn hide(
    shape: Shape,
    format: Format,
    transform: &Transform,
    key: &HashKey,
    value: &[u8],
    out: &mut Vec<u8>,
) -> Outcome {
    let whole =
        |kind, value: &[u8], out: &mut Vec<u8>| mask_value(kind, Some(transform), None, key, value, out);
    match (shape, format) {
        (Shape::Text, _) => whole(ValueKind::Text, value, out),
        (Shape::Json, _) | (Shape::Jsonb, Format::Text) => whole(ValueKind::Json, value, out),
        (Shape::Jsonb, Format::Binary) => {
            versioned(value, out, |value, out| whole(ValueKind::Json, value, out))
        }
        (Shape::Uuid, Format::Text) => whole(ValueKind::Uuid, value, out),
        (Shape::Uuid, Format::Binary) => {
            let mut text = Vec::with_capacity(36);
            match whole(ValueKind::Uuid, uuid_text(value).as_bytes(), &mut text) {
                Outcome::Written => match uuid_bytes(&text) {
                    Some(bytes) => {
                        out.extend_from_slice(&bytes);
                        Outcome::Written
                    }
                    None => Outcome::Null,
                },
                _ => Outcome::Null,
            }
        }
        _ => Outcome::Null,
    }
}

/// What is found in the value, hidden.
pub(crate) fn hide_found(
    shape: Shape,
    format: Format,
    scanner: &Scanner,
    key: &HashKey,
    value: &[u8],
    out: &mut Vec<u8>,
) -> Outcome {
    let mut found =
        |kind, value: &[u8], out: &mut Vec<u8>| mask_value(kind, None, Some(scanner), key, value, out);
    match (shape, format) {
        (Shape::Plain | Shape::Uuid, _) => Outcome::Unchanged,
        (Shape::Text, _) => found(ValueKind::Text, value, out),
        (Shape::Json, _) | (Shape::Jsonb, Format::Text) => found(ValueKind::Json, value, out),
        (Shape::Jsonb, Format::Binary) => {
            versioned(value, out, |value, out| found(ValueKind::Json, value, out))
        }
        (Shape::Int8 | Shape::Numeric, Format::Text) => found(ValueKind::Number, value, out),
        (Shape::Int8, Format::Binary) => match value.try_into().map(i64::from_be_bytes) {
            Ok(number) => found(ValueKind::Number, number.to_string().as_bytes(), out),
            Err(_) => Outcome::Null,
        },
        (Shape::Numeric, Format::Binary) => match numeric_text(value) {
            Some(text) => found(ValueKind::Number, text.as_bytes(), out),
            None => Outcome::Null,
        },
        (Shape::Bytes, Format::Binary) => found(ValueKind::Bytes, value, out),
        (Shape::Bytes, Format::Text) => match unhex(value) {
            Some(bytes) => found(ValueKind::Bytes, &bytes, out),
            None => found(ValueKind::Bytes, value, out),
        },
        (Shape::Texts, Format::Binary) => texts(value, out, &mut found),
        // Inside the literal of an array: what replaces a finding needs no quotes, or the whole goes.
        (Shape::Texts, Format::Text) => {
            let outcome = found(ValueKind::Text, value, out);
            match outcome {
                Outcome::Written if !keeps_array(value, out) => {
                    out.clear();
                    Outcome::Null
                }
                outcome => outcome,
            }
        }
        (Shape::Others | Shape::Unknown, _) => found(ValueKind::Bytes, value, out),
    }
}

/// A version byte, then the text.
fn versioned(value: &[u8], out: &mut Vec<u8>, mask: impl FnOnce(&[u8], &mut Vec<u8>) -> Outcome) -> Outcome {
    let Some((version, text)) = value.split_first() else { return Outcome::Null };
    out.push(*version);
    let outcome = mask(text, out);
    if outcome != Outcome::Written {
        out.clear();
    }
    outcome
}

/// Whether an array literal still has the structure it had: as many of each sign that means something.
fn keeps_array(before: &[u8], after: &[u8]) -> bool {
    let signs = |text: &[u8]| {
        let mut counts = [0_usize; 5];
        for byte in text {
            let at = match byte {
                b'{' => 0,
                b'}' => 1,
                b',' => 2,
                b'"' => 3,
                b'\\' => 4,
                _ => continue,
            };
            if let Some(count) = counts.get_mut(at) {
                *count += 1;
            }
        }
        counts
    };
    signs(before) == signs(after)
}

/// A binary array whose elements are texts, each looked at.
fn texts(
    value: &[u8],
    out: &mut Vec<u8>,
    found: &mut impl FnMut(ValueKind, &[u8], &mut Vec<u8>) -> Outcome,
) -> Outcome {
    let mut rest = value;
    let mut word = || -> Option<i32> {
        let (head, tail) = rest.split_first_chunk()?;
        rest = tail;
        Some(i32::from_be_bytes(*head))
    };
    let (Some(dimensions), Some(_has_nulls), Some(_element)) = (word(), word(), word()) else {
        return Outcome::Null;
    };
    let Ok(dimensions) = usize::try_from(dimensions) else { return Outcome::Null };
    let header = 12 + dimensions.saturating_mul(8);
    let (Some(head), Some(mut elements)) = (value.get(..header), value.get(header..)) else {
        return Outcome::Null;
    };
    out.extend_from_slice(head);
    let mut changed = false;
    let mut scratch = Vec::new();
    while let Some((length, tail)) = elements.split_first_chunk() {
        let length = i32::from_be_bytes(*length);
        let Ok(bytes) = usize::try_from(length) else {
            out.put_i32(-1);
            elements = tail;
            continue;
        };
        let Some((element, tail)) = tail.split_at_checked(bytes) else { return Outcome::Null };
        scratch.clear();
        match found(ValueKind::Text, element, &mut scratch) {
            Outcome::Unchanged => {
                out.put_i32(length);
                out.extend_from_slice(element);
            }
            Outcome::Written => {
                changed = true;
                out.put_i32(i32::try_from(scratch.len()).unwrap_or(i32::MAX));
                out.extend_from_slice(&scratch);
            }
            // The array said in its header whether it has nulls: it has none it did not have.
            Outcome::Null => {
                changed = true;
                out.put_i32(0);
            }
        }
        elements = tail;
    }
    if !elements.is_empty() {
        out.clear();
        return Outcome::Null;
    }
    if changed {
        Outcome::Written
    } else {
        out.clear();
        Outcome::Unchanged
    }
}

fn uuid_text(value: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(36);
    for (at, byte) in value.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn uuid_bytes(text: &[u8]) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'-').collect();
    let mut bytes = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// `\x…` as bytes.
fn unhex(value: &[u8]) -> Option<Vec<u8>> {
    let digits = value.strip_prefix(b"\\x")?;
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

/// The digits of a binary numeric: groups of four, the first of weight 10000^weight.
fn numeric_text(value: &[u8]) -> Option<String> {
    use std::fmt::Write as _;
    let mut words = value.chunks_exact(2).map(|word| word.try_into().map(u16::from_be_bytes).unwrap_or(0));
    let (count, weight) = (words.next()?, words.next()?.cast_signed());
    let (sign, _scale) = (words.next()?, words.next()?);
    let groups: Vec<u16> = words.collect();
    if sign & 0xC000 == 0xC000 {
        return Some(String::new());
    }
    if groups.len() != usize::from(count) {
        return None;
    }
    let whole = usize::try_from(i32::from(weight) + 1).unwrap_or(0);
    let mut text = String::new();
    for at in 0..whole.max(groups.len()).min(64) {
        if at == whole {
            text.push('.');
        }
        let _ = write!(text, "{:04}", groups.get(at).copied().unwrap_or(0));
    }
    Some(text.trim_start_matches('0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_numerics_read_as_their_digits() {
        // 4111111111111111: four groups, weight 3.
        let value: Vec<u8> =
            [4, 3, 0, 0, 4111, 1111, 1111, 1111].iter().flat_map(|word: &u16| word.to_be_bytes()).collect();
        assert_eq!(numeric_text(&value).as_deref(), Some("4111111111111111"));
        // 50000: one group of weight 1.
        let value: Vec<u8> = [1, 1, 0, 0, 5].iter().flat_map(|word: &u16| word.to_be_bytes()).collect();
        assert_eq!(numeric_text(&value).as_deref(), Some("50000"));
        // 12.5
        let value: Vec<u8> =
            [2, 0, 0, 1, 12, 5000].iter().flat_map(|word: &u16| word.to_be_bytes()).collect();
        assert_eq!(numeric_text(&value).as_deref(), Some("12.5000"));
    }

    #[test]
    fn uuids_go_both_ways() {
        let bytes: Vec<u8> = (0..16).collect();
        let text = uuid_text(&bytes);
        assert_eq!(text, "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(uuid_bytes(text.as_bytes()).unwrap().as_slice(), bytes);
    }

    #[test]
    fn an_array_that_lost_its_structure_is_noticed() {
        assert!(keeps_array(b"{a@b.c,\"x y\"}", b"{****,\"x y\"}"));
        assert!(!keeps_array(b"{\"4111 1111\",x}", b"{****,x}"));
        assert!(!keeps_array(b"{a,b}", b"{a,b,c}"));
    }
}
