//! Payment card numbers.
//!
//! 12 to 19 digits, in one run or in groups with one space or hyphen between, whose start is a range of Visa, Mastercard,
//! American Express, Discover, Diners Club, JCB, UnionPay or Maestro, of a length that the range has, with the right Luhn
//! digit. Every group but the last has three digits or more, as every printed form has (4-4-4-4, 4-6-5, 4-6-4, 4-4-4-4-3,
//! 6-13): lists of small numbers and dates are no cards. A card begins and ends where digits begin and end; letters may
//! touch it. Not found: the digits of a decimal fraction, and those of a UUID.
//!
//! One in ten numbers of the right start and length has a right Luhn digit by chance.
//!
//! **References**: ISO/IEC 7812-1 (numbering, annex B: Luhn); the ranges as the networks publish them and as collected at
//! <https://en.wikipedia.org/wiki/Payment_card_number>.

use std::ops::Range;

use super::{at, before, digits, is_digit};

/// The digits of the shortest (Maestro) and of the longest.
const FEWEST: usize = 12;
const MOST: usize = 19;

/// The end of the card that starts at this first digit of a run: of several the longest.
pub(crate) fn find(text: &[u8], start: usize) -> Option<usize> {
    if before(text, start, 1) == b'.' && before(text, start, 2).is_ascii_digit() {
        return None;
    }
    let mut number = [0; MOST];
    let mut count = 0;
    let mut end = start;
    let mut found = None;
    loop {
        let length = digits(text, end, MOST + 1);
        let group = text.get(end..end + length)?;
        let Some(places) = number.get_mut(count..count + length) else { break };
        places.iter_mut().zip(group).for_each(|(place, digit)| *place = digit & 15);
        count += length;
        end += length;
        let fraction = at(text, end) == b'.' && is_digit(text, end + 1);
        if count >= FEWEST && !fraction && number.get(..count).is_some_and(is_card) {
            found = Some(end);
        }
        if length < 3 || !is_separator(at(text, end)) || !is_digit(text, end + 1) {
            break;
        }
        end += 1;
    }
    found.filter(|end| !in_uuid(text, start, *end))
}

/// Whether a card may start anywhere in this run of digits, whatever stands before and after it.
pub(crate) fn may(text: &[u8], run: &Range<usize>) -> bool {
    // Long runs are rare, and one start in ten is right by chance.
    run.len() > 2 * MOST || (reach(text, run) && run.clone().any(|start| may_at(text, start)))
}

/// Whether there are enough digits in and after the run.
fn reach(text: &[u8], run: &Range<usize>) -> bool {
    let (mut count, mut end) = (run.len(), run.end);
    while count < FEWEST && is_separator(at(text, end)) && is_digit(text, end + 1) {
        let length = digits(text, end + 1, FEWEST);
        count += length;
        end += 1 + length;
    }
    count >= FEWEST
}

fn may_at(text: &[u8], start: usize) -> bool {
    let mut number = [0; MOST];
    let (mut place, mut group) = (start, 0);
    for count in 0..MOST {
        if group >= 3 && is_separator(at(text, place)) && is_digit(text, place + 1) {
            place += 1;
            group = 0;
        }
        if !is_digit(text, place) {
            return false;
        }
        if let Some(digit) = number.get_mut(count) {
            *digit = at(text, place) & 15;
        }
        if count + 1 >= FEWEST && number.get(..=count).is_some_and(is_card) {
            return true;
        }
        group += 1;
        place += 1;
    }
    false
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-')
}

/// Whether the digits (0 to 9) are a card number.
pub(crate) fn is_card(number: &[u8]) -> bool {
    known(number) && luhn(number)
}

/// Whether the start is an issuer's and the length one the issuer has.
fn known(number: &[u8]) -> bool {
    let start =
        |places: usize| number.iter().take(places).fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
    let length = number.len();
    match start(4) {
        // Visa
        4000..=4999 => matches!(length, 13 | 16 | 19),
        // Mastercard
        5100..=5599 | 2221..=2720 => length == 16,
        // American Express
        3400..=3499 | 3700..=3799 => length == 15,
        // Diners Club
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => (14..=19).contains(&length),
        // JCB; Discover; UnionPay
        3528..=3589 | 6011 | 6440..=6599 | 6200..=6299 | 8100..=8171 => (16..=19).contains(&length),
        // Maestro
        5018 | 5020 | 5038 | 5612 | 5893 | 6304 | 6390 | 6759 | 6761..=6763 => (12..=19).contains(&length),
        _ => false,
    }
}

fn luhn(number: &[u8]) -> bool {
    let sum: u32 = number
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether the range touches a UUID: 36 characters of hex digits and hyphens in their places, nothing of the kind around.
fn in_uuid(text: &[u8], start: usize, end: usize) -> bool {
    let part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    let head = text.get(..start).unwrap_or_default();
    let tail = text.get(end..).unwrap_or_default();
    let first = start - head.iter().rev().take(37).take_while(|byte| part(byte)).count();
    let last = end + tail.iter().take(37).take_while(|byte| part(byte)).count();
    text.get(first..last).is_some_and(|word| {
        word.len() == 36
            && word
                .iter()
                .enumerate()
                .all(|(place, byte)| (*byte == b'-') == matches!(place, 8 | 13 | 18 | 23))
    })
}
