//! Detectors written for reading, not for speed: every range is tried.

use regex::bytes::Regex;

fn digit(text: &[u8], at: Option<usize>) -> bool {
    at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_digit)
}

fn alphanumeric(text: &[u8], at: Option<usize>) -> bool {
    at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric)
}

/// From each first digit of a run the longest range that is a card; on from its end.
pub(super) fn cards(text: &[u8]) -> Vec<&[u8]> {
    let groups = Regex::new(r"^(?:[0-9]{3,}[ -])*[0-9]+$").unwrap();
    let uuid = Regex::new(r"(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$").unwrap();
    let words = Regex::new(r"(?i)[0-9a-f-]+").unwrap();
    let mut found = Vec::new();
    let mut from = 0;
    for start in 0..text.len() {
        if start < from || !digit(text, Some(start)) || digit(text, start.checked_sub(1)) {
            continue;
        }
        if start >= 2 && text[start - 1] == b'.' && digit(text, Some(start - 2)) {
            continue;
        }
        let end = (start + 12..=text.len().min(start + 40)).rev().find(|end| {
            let part = &text[start..*end];
            let fraction = text.get(*end) == Some(&b'.') && digit(text, Some(end + 1));
            let number: Vec<u8> =
                part.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
            !digit(text, Some(*end))
                && !fraction
                && groups.is_match(part)
                && (12..=19).contains(&number.len())
                && crate::find::cards::is_card(&number)
        });
        let Some(end) = end else { continue };
        if words
            .find_iter(text)
            .any(|word| uuid.is_match(word.as_bytes()) && word.start() <= start && end <= word.end())
        {
            continue;
        }
        found.push(&text[start..end]);
        from = end;
    }
    found
}

pub(super) fn ssns(text: &[u8]) -> Vec<&[u8]> {
    let numbers = Regex::new(r"^(?:([0-9]{3})-([0-9]{2})-([0-9]{4})|([0-9]{3}) ([0-9]{2}) ([0-9]{4})|([0-9]{3})([0-9]{2})([0-9]{4}))$")
        .unwrap();
    let word = Regex::new(r"(?i)ssn|social[ _]security").unwrap();
    let mut found = Vec::new();
    for start in 0..text.len() {
        for length in [9, 11] {
            let Some(part) = text.get(start..start + length) else { continue };
            let Some(parts) = numbers.captures(part) else { continue };
            let values: Vec<&[u8]> =
                (1..10).filter_map(|group| parts.get(group)).map(|group| group.as_bytes()).collect();
            let unassigned = matches!(values[0], b"000" | b"666" | [b'9', ..])
                || values[1] == b"00"
                || values[2] == b"0000";
            let (left, right) = (start.checked_sub(1), Some(start + length));
            let separator = part[3];
            let same = |at: Option<usize>| at.and_then(|at| text.get(at)) == Some(&separator);
            let longer = length == 11
                && ((same(left) && digit(text, start.checked_sub(2)))
                    || (same(right) && digit(text, Some(start + length + 1))));
            let told = length == 11 || word.is_match(&text[start.saturating_sub(32)..start]);
            if !unassigned && !longer && told && !alphanumeric(text, left) && !alphanumeric(text, right) {
                found.push(part);
            }
        }
    }
    found
}

/// Of the countries that the mixtures have.
pub(super) fn ibans(text: &[u8]) -> Vec<&[u8]> {
    let shapes = [("DE", 22), ("GB", 22), ("NO", 15)];
    let mut found = Vec::new();
    for start in 0..text.len() {
        if alphanumeric(text, start.checked_sub(1)) {
            continue;
        }
        for end in (start + 15..=text.len().min(start + 34)).rev() {
            let part = &text[start..end];
            let plain: String = part
                .iter()
                .filter(|byte| **byte != b' ')
                .map(|byte| byte.to_ascii_uppercase() as char)
                .collect();
            let known =
                shapes.iter().any(|(country, length)| plain.starts_with(country) && plain.len() == *length);
            if !known
                || !plain.bytes().all(|byte| byte.is_ascii_alphanumeric())
                || alphanumeric(text, Some(end))
            {
                continue;
            }
            if !plain.as_bytes()[2..4].iter().all(u8::is_ascii_digit)
                || part.ends_with(b" ")
                || !grouped(part)
            {
                continue;
            }
            let turned = format!("{}{}", &plain[4..], &plain[..4]);
            let remainder = turned.chars().fold(0, |sum, character| {
                let value = character.to_digit(36).unwrap();
                (if value > 9 { sum * 100 + value } else { sum * 10 + value }) % 97
            });
            if remainder == 1 && (2..=98).contains(&plain[2..4].parse::<u32>().unwrap()) {
                found.push(part);
                break;
            }
        }
    }
    found
}

/// Whether each space stands alone after a multiple of four characters.
fn grouped(part: &[u8]) -> bool {
    let mut characters = 0;
    part.iter().enumerate().all(|(at, byte)| {
        if *byte == b' ' {
            return characters % 4 == 0 && characters > 0 && part[at - 1] != b' ';
        }
        characters += 1;
        true
    })
}

/// Addresses of the plainest form.
pub(super) fn addresses(text: &[u8]) -> Vec<&[u8]> {
    let expression =
        Regex::new(r"(?-u)[A-Za-z0-9][A-Za-z0-9._+-]{0,30}@(?:[A-Za-z0-9]+\.)+[A-Za-z]{2,}").unwrap();
    expression.find_iter(text).map(|found| found.as_bytes()).collect()
}
