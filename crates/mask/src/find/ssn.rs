//! Social security numbers of the United States.
//!
//! `AAA-GG-SSSS`, with hyphens or with spaces, the same both times. Areas 000, 666 and 900 to 999, group 00 and serial 0000
//! were never given out and are not found (so ITINs, which start with 9, are not). Nine digits without separators are one
//! only where `ssn` or `social security` stands within the 32 bytes before them: every ninth digit run would be one
//! otherwise. A column that holds nothing but bare numbers is masked by its name.
//!
//! **References**: <https://www.ssa.gov/employer/randomization.html> and
//! <https://www.ssa.gov/history/ssn/geocard.html> (the parts and what is not assigned).

use std::ops::Range;

use super::{Edges, at, before, is_digit};

/// How far before nine digits the word may begin.
const WORD_WITHIN: usize = 32;

/// The digits of a number without separators.
pub(crate) const BARE: usize = 9;

/// The number that starts with this run of digits.
pub(crate) fn find(text: &[u8], run: &Range<usize>, edges: Edges) -> Option<Range<usize>> {
    let length = run.len();
    let (area, range, separator) = if length == 3 || (edges == Edges::Open && length > 3) {
        let start = run.end - 3;
        let separator = at(text, run.end);
        if !matches!(separator, b'-' | b' ') || at(text, run.end + 3) != separator {
            return None;
        }
        (start, start..start + 11, separator)
    } else if length == BARE {
        (run.start, run.clone(), 0)
    } else {
        return None;
    };
    let bare = separator == 0;
    let (group, serial) = if bare { (area + 3, area + 5) } else { (area + 4, area + 7) };
    let assigned = number(text, area, 3).is_some_and(|area| area != 0 && area != 666 && area < 900)
        && number(text, group, 2).is_some_and(|group| group != 0)
        && number(text, serial, 4).is_some_and(|serial| serial != 0);
    if !assigned {
        // Open edges: nine digits may still be hidden behind a digit that is no part of them.
        return None;
    }
    if edges == Edges::Closed {
        let (left, right) = (before(text, area, 1), at(text, range.end));
        if left.is_ascii_alphanumeric() || right.is_ascii_alphanumeric() {
            return None;
        }
        if !bare
            && ((left == separator && before(text, area, 2).is_ascii_digit())
                || (right == separator && is_digit(text, range.end + 1)))
        {
            return None;
        }
    }
    if bare && !word_before(text, range.start) {
        return None;
    }
    Some(range)
}

/// Whether a number may be in this run or start with it.
pub(crate) fn may(text: &[u8], run: &Range<usize>) -> bool {
    (run.len() >= BARE && word_before(text, run.start)) || find(text, run, Edges::Open).is_some()
}

fn number(text: &[u8], from: usize, length: usize) -> Option<u32> {
    text.get(from..from + length)?
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte & 15)))
}

fn word_before(text: &[u8], start: usize) -> bool {
    let near = text.get(start.saturating_sub(WORD_WITHIN)..start).unwrap_or_default();
    let says = |word: &[u8]| near.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    says(b"ssn") || says(b"social security") || says(b"social_security")
}
