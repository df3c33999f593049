//! Telephone numbers.
//!
//! Two forms. International: `+`, a country code that is assigned, 8 to 15 digits in all (11 after `+1`), in groups with one
//! space, hyphen or dot between, or parentheses. North American: `(415) 555-2671`, `415-555-2671`, `415.555.2671`,
//! `415 555 2671`, with or without `1` before; area and exchange must be ones that can be given out (no 0 or 1 first, no
//! `x11`, no `x9x` area). A number that goes on, in letters, digits or more groups of the same kind, is none: that is what
//! keeps dates, timestamps, addresses, UUIDs and decimal numbers out.
//!
//! Not found: digits without separators and without `+` (they are any number), national forms of other countries.
//!
//! **References**: ITU-T E.164 and its list of assigned country codes; E.123 (how numbers are written);
//! <https://www.nanpa.com> (the North American plan).

use std::ops::Range;

use super::{Edges, at, before, digits, is_digit};

/// E.164: the most digits. `(0)` may stand among them, so one more is read.
const MOST: usize = 15;
/// The fewest, with the country code: smaller countries have short numbers, but so has arithmetic.
const FEWEST: usize = 8;

/// The end of the international number whose `+` stands here.
pub(crate) fn international(text: &[u8], plus: usize, edges: Edges) -> Option<usize> {
    let left = before(text, plus, 1);
    if edges == Edges::Closed && (left.is_ascii_alphanumeric() || left == b'+') {
        return None;
    }
    let code = country_code(text, plus + 1)?;
    let (mut end, mut count) = (plus + 1, 0);
    let (mut dots, mut others, mut trunk) = (0, 0, 0);
    let mut found = None;
    loop {
        let length = digits(text, end, MOST + 2);
        // `+44 (0)20 7946 0958`: the zero is dialled inside the country only.
        if length == 1 && at(text, end) == b'0' && before(text, end, 1) == b'(' && at(text, end + 1) == b')' {
            trunk = 1;
        }
        count += length;
        end += length;
        if edges == Edges::Open && count >= FEWEST {
            return Some(end);
        }
        if count > MOST + trunk {
            break;
        }
        let number = count - trunk;
        let enough = if code == 1 { number == 11 } else { number >= FEWEST };
        let (next, fraction) = (at(text, end), at(text, end) == b'.' && is_digit(text, end + 1));
        let decimal = dots == 1 && others == 0;
        if enough && !next.is_ascii_alphanumeric() && !fraction && !decimal {
            found = Some(end);
        } else if enough && fraction {
            // Decided by the next group: a decimal number, or a number written with dots.
            found = None;
        }
        let gap = separators(text, end);
        if gap == 0 {
            break;
        }
        if at(text, end) == b'.' {
            dots += 1;
        } else {
            others += 1;
        }
        end += gap;
    }
    found
}

/// One space, hyphen or dot, or two bytes with a parenthesis among them, before a digit.
fn separators(text: &[u8], from: usize) -> usize {
    let (first, second) = (at(text, from), at(text, from + 1));
    let plain = |byte: u8| matches!(byte, b' ' | b'-' | b'.');
    let parenthesis = |byte: u8| matches!(byte, b'(' | b')');
    if (plain(first) || parenthesis(first)) && second.is_ascii_digit() {
        1
    } else if ((plain(first) && parenthesis(second)) || (parenthesis(first) && plain(second)))
        && is_digit(text, from + 2)
    {
        2
    } else {
        0
    }
}

/// The North American number whose area code is this run of digits.
pub(crate) fn north_american(text: &[u8], run: &Range<usize>, edges: Edges) -> Option<Range<usize>> {
    if run.len() < 3 || (edges == Edges::Closed && run.len() > 3) {
        return None;
    }
    let area = run.end - 3;
    let first = at(text, run.end);
    let parenthesis = first == b')' && run.len() == 3 && before(text, area, 1) == b'(';
    let exchange = if parenthesis {
        run.end + 1 + usize::from(matches!(at(text, run.end + 1), b' ' | b'-'))
    } else if matches!(first, b'-' | b'.' | b' ' | b'/') {
        run.end + 1
    } else {
        return None;
    };
    let second = at(text, exchange + 3);
    let separated = second == b'-'
        || (second == first && first != b'/')
        || (parenthesis && matches!(second, b'.' | b' '));
    let end = exchange + 8;
    if !separated || digits(text, exchange, 4) != 3 || digits(text, exchange + 4, 4) != 4 {
        return None;
    }
    if !assignable(text, area, true) || !assignable(text, exchange, false) {
        return None;
    }
    let mut start = area - usize::from(parenthesis);
    if edges == Edges::Open {
        return Some(start..end);
    }
    // `1-`, `+1 `, `1` before a parenthesis.
    let gap = usize::from(matches!(before(text, start, 1), b'-' | b'.' | b' '));
    if before(text, start, gap + 1) == b'1' && (gap == 1 || parenthesis) {
        let one = start - gap - 1;
        let left = before(text, one, 1);
        if left == b'+' {
            start = one - 1;
        } else if !left.is_ascii_alphanumeric() && !goes_on(left, before(text, one, 2), false) {
            start = one;
        }
    }
    let spaces = first == b' ' && second == b' ';
    let (left, right) = (before(text, start, 1), at(text, end));
    let alone = !left.is_ascii_alphanumeric()
        && !right.is_ascii_alphanumeric()
        && !goes_on(left, before(text, start, 2), spaces)
        && !goes_on(right, at(text, end + 1), spaces);
    alone.then_some(start..end)
}

/// Whether a separator and what stands beyond it make the number part of something longer.
const fn goes_on(separator: u8, beyond: u8, spaces: bool) -> bool {
    beyond.is_ascii_digit() && (matches!(separator, b'-' | b'.' | b'/') || (spaces && separator == b' '))
}

/// Whether three digits can be an area code or an exchange.
fn assignable(text: &[u8], from: usize, area: bool) -> bool {
    let (first, second, third) = (at(text, from), at(text, from + 1), at(text, from + 2));
    (b'2'..=b'9').contains(&first) && !(second == b'1' && third == b'1') && !(area && second == b'9')
}

/// The country code the digits start with, where it is assigned.
fn country_code(text: &[u8], from: usize) -> Option<u16> {
    let take = |places: usize| {
        text.get(from..from + places)?
            .iter()
            .try_fold(0_u16, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u16::from(byte & 15)))
    };
    let one = take(1)?;
    if matches!(one, 1 | 7) {
        return Some(one);
    }
    let two = take(2)?;
    if matches!(two, 20 | 27 | 30..=34 | 36 | 39 | 40 | 41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98)
    {
        return Some(two);
    }
    let three = take(3)?;
    matches!(three,
        211..=213 | 216 | 218 | 220..=258 | 260..=269 | 290 | 291 | 297..=299 | 350..=359 | 370..=378 | 380..=383
        | 385..=387 | 389 | 420 | 421 | 423 | 500..=509 | 590..=599 | 670 | 672..=683 | 685..=692 | 800 | 808 | 850
        | 852 | 853 | 855 | 856 | 870 | 878 | 880..=883 | 886 | 888 | 960..=968 | 970..=977 | 979 | 992..=996 | 998)
    .then_some(three)
}
