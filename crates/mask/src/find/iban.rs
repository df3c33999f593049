//! International bank account numbers.
//!
//! Two letters of a country that has IBANs, two check digits, and letters or digits to the length of the country, in one
//! run or printed in groups of four with one space between; upper or lower case. The check digits must be right (ISO 7064,
//! mod 97-10). The national structure is not looked at: one in 97 texts of the right start and length passes by chance.
//!
//! **References**: ISO 13616-1; the lengths from the SWIFT IBAN registry, <https://www.swift.com/resource/iban-registry-pdf>.

use std::ops::Range;

use super::{Edges, at, before};

/// The longest there is (Russia), with room for 34, the most that ISO 13616 allows.
const MOST: usize = 34;

/// The number whose check digits start this run of digits.
pub(crate) fn find(text: &[u8], run: &Range<usize>, edges: Edges) -> Option<Range<usize>> {
    let start = run.start.checked_sub(2).filter(|_| run.len() >= 2)?;
    let country = [at(text, start).to_ascii_uppercase(), at(text, start + 1).to_ascii_uppercase()];
    let length = length(country)?;
    if edges == Edges::Closed && before(text, start, 1).is_ascii_alphanumeric() {
        return None;
    }
    let mut number = [0; MOST];
    let mut end = start;
    for (place, kept) in number.iter_mut().take(length).enumerate() {
        if place > 0 && place % 4 == 0 && at(text, end) == b' ' {
            end += 1;
        }
        *kept = at(text, end);
        if !kept.is_ascii_alphanumeric() {
            return None;
        }
        end += 1;
    }
    if edges == Edges::Closed && at(text, end).is_ascii_alphanumeric() {
        return None;
    }
    let number = number.get(..length)?;
    (check_digits_possible(number) && remainder(number) == 1).then_some(start..end)
}

/// 02 to 98: the others never come out of the calculation.
fn check_digits_possible(number: &[u8]) -> bool {
    !matches!(number, [_, _, b'0', b'0' | b'1', ..] | [_, _, b'9', b'9', ..])
}

/// The number with its first four characters last, letters as 10 to 35, modulo 97.
fn remainder(number: &[u8]) -> u32 {
    let (head, tail) = number.split_at_checked(4).unwrap_or((number, &[]));
    tail.iter().chain(head).fold(0, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte & 15)) % 97,
        letter => (sum * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
    })
}

/// How long the numbers of a country are.
const fn length(country: [u8; 2]) -> Option<usize> {
    Some(match &country {
        b"NO" => 15,
        b"BE" => 16,
        b"DK" | b"FI" | b"FK" | b"FO" | b"GL" | b"NL" | b"SD" => 18,
        b"MK" | b"SI" => 19,
        b"AT" | b"BA" | b"EE" | b"KZ" | b"LT" | b"LU" | b"MN" | b"XK" => 20,
        b"CH" | b"HR" | b"LI" | b"LV" => 21,
        b"BG" | b"BH" | b"CR" | b"DE" | b"GB" | b"GE" | b"IE" | b"ME" | b"RS" | b"VA" => 22,
        b"AE" | b"GI" | b"IL" | b"IQ" | b"OM" | b"SO" | b"TL" => 23,
        b"AD" | b"CZ" | b"ES" | b"MD" | b"PK" | b"RO" | b"SA" | b"SE" | b"SK" | b"TN" | b"VG" => 24,
        b"LY" | b"PT" | b"ST" => 25,
        b"IS" | b"TR" => 26,
        b"BI" | b"DJ" | b"FR" | b"GR" | b"IT" | b"MC" | b"MR" | b"SM" => 27,
        b"AL" | b"AZ" | b"BY" | b"CY" | b"DO" | b"GT" | b"HN" | b"HU" | b"LB" | b"NI" | b"PL" | b"SV" => 28,
        b"BR" | b"EG" | b"PS" | b"QA" | b"UA" => 29,
        b"JO" | b"KW" | b"MU" | b"YE" => 30,
        b"MT" | b"SC" => 31,
        b"LC" => 32,
        b"RU" => 33,
        _ => return None,
    })
}
