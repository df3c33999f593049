//! Matching [`Pattern`]s without allocating: decisions do it many times per statement.

use portcullis_core::Pattern;

/// The longest text matched here, in bytes: one bit per position, and one for the end. Longer ones go the general way.
const MAX_TEXT: usize = 127;

/// Stands for a separator inside quotes: a private-use character, which no name needs.
const QUOTED_SEPARATOR: char = '\u{e000}';

/// Whether the pattern matches the resource's name: the answer of [`Pattern::matches`], but that a separator inside double
/// quotes separates nothing. `hr.*` means every table of `hr`, the one called `"pay.2026"` too; a guardrail that a quoted
/// dot slips past guards nothing.
pub(crate) fn matches(pattern: &Pattern, name: &str) -> bool {
    let glob = pattern.as_str();
    pattern.is_everything()
        || whole(glob, name)
        || (name.contains('"') && whole(&unseparated(glob), &unseparated(name)))
}

/// The text with the separators inside quotes replaced.
fn unseparated(text: &str) -> String {
    let mut quoted = false;
    let replace = |c: char| {
        quoted ^= c == '"';
        if quoted && matches!(c, '.' | '/') { QUOTED_SEPARATOR } else { c }
    };
    text.chars().map(replace).collect()
}

fn whole(glob: &str, text: &str) -> bool {
    let Some(at) = glob.find(['*', '?']) else { return glob == text };
    let (prefix, rest) = glob.split_at(at);
    match (text.strip_prefix(prefix), rest) {
        (None, _) => false,
        (Some(tail), "*") => !tail.contains(['.', '/']),
        (Some(_), "**") => true,
        (Some(tail), _) if tail.len() <= MAX_TEXT => positions(rest.as_bytes(), tail.as_bytes()),
        (Some(_), _) => glob.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(text)),
    }
}

/// Bit `i` of `reach` says whether the pattern so far can end before `text[i]`.
fn positions(pattern: &[u8], text: &[u8]) -> bool {
    let mut reach: u128 = 1;
    let mut rest = pattern;
    while let Some((&byte, tail)) = rest.split_first() {
        let (deep, tail) = match (byte, tail.split_first()) {
            (b'*', Some((b'*', after))) => (true, after),
            _ => (false, tail),
        };
        let mut next: u128 = if byte == b'*' { reach & 1 } else { 0 };
        for (at, &own) in text.iter().enumerate() {
            let separator = matches!(own, b'.' | b'/');
            let (before, after) = (1_u128 << at, 2_u128 << at);
            let steps = match byte {
                // the run goes on over this byte, or has ended (or starts) after it
                b'*' => (next & before != 0 && (deep || !separator)) || reach & after != 0,
                b'?' => reach & before != 0 && !separator,
                _ => reach & before != 0 && own == byte,
            };
            if steps {
                next |= after;
            }
        }
        reach = next;
        rest = tail;
    }
    reach & (1_u128 << text.len()) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_inside_quotes_separates_nothing() {
        let matches = |glob: &str, name: &str| matches(&glob.parse().unwrap(), name);
        assert!(matches("hr.*", "hr.\"pay.2026\""));
        assert!(matches("hr.\"pay.2026\"", "hr.\"pay.2026\""));
        assert!(matches("*.\"a/b\"", "\"x.y\".\"a/b\""));
        assert!(!matches("hr.*", "\"hr.a\".b"));
        assert!(!matches("hr.*", "hr.a.b"));
        // a doubled quote is a quote inside the name
        assert!(matches("hr.*", "hr.\"a\"\".b\""));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, cases: 2000, ..Default::default() })]

        #[test]
        fn it_agrees_with_the_definition(glob in "[ab*?./]{1,8}", text in "[ab./]{0,9}") {
            let pattern: Pattern = glob.parse().unwrap();
            proptest::prop_assert_eq!(matches(&pattern, &text), pattern.matches(&text));
        }

        #[test]
        fn it_agrees_at_the_longest_text(glob in "[ab*.]{1,6}", length in 120_usize..135) {
            let pattern: Pattern = glob.parse().unwrap();
            let text = "ab.".chars().cycle().take(length).collect::<String>();
            proptest::prop_assert_eq!(matches(&pattern, &text), pattern.matches(&text));
        }
    }
}
