//! Statement texts without their literals, so that texts that differ in nothing else are stored and indexed once.
//!
//! No knowledge of SQL is needed or used: quoted strings and numbers are taken out where they seem to stand, and joining puts
//! them back where they were, whatever they were.

use std::ops::Range;

/// Stands in a template where a literal was. A text that holds it is not split.
pub(crate) const HOLE: char = '\u{1}';

/// Splits `text`: the template is appended to `template`, the places of the literals to `literals`. Texts with anything but
/// ASCII are kept whole, so that what is found in them does not depend on how case is folded here.
pub(crate) fn split(text: &str, template: &mut String, literals: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    if !text.is_ascii() || text.contains(HOLE) {
        template.push_str(text);
        return;
    }
    let (mut fixed, mut at, mut before) = (0, 0, b' ');
    while let Some((byte, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) {
        let length = match byte {
            b'\'' => 1 + rest.iter().position(|byte| *byte == b'\'').map_or(rest.len(), |end| end + 1),
            b'0'..=b'9' if !is_word(before) => 1 + rest.iter().take_while(|byte| is_number(**byte)).count(),
            _ => {
                before = *byte;
                at += 1;
                continue;
            }
        };
        template.push_str(text.get(fixed..at).unwrap_or_default());
        template.push(HOLE);
        literals.push(at..at + length);
        at += length;
        (fixed, before) = (at, b' ');
    }
    template.push_str(text.get(fixed..).unwrap_or_default());
}

/// Puts literals back into a template. `None` where there are fewer or more than it has holes for.
pub(crate) fn join<'a>(template: &str, mut literals: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut text = String::with_capacity(template.len() + 32);
    let mut pieces = template.split(HOLE);
    text.push_str(pieces.next()?);
    for piece in pieces {
        text.push_str(literals.next()?);
        text.push_str(piece);
    }
    literals.next().is_none().then_some(text)
}

/// How many literals a template has room for.
pub(crate) fn holes(template: &str) -> usize {
    template.matches(HOLE).count()
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')
}

const fn is_number(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(text: &str) -> (String, Vec<&str>) {
        let (mut template, mut literals) = (String::new(), Vec::new());
        split(text, &mut template, &mut literals);
        (template, literals.into_iter().map(|range| &text[range]).collect())
    }

    #[test]
    fn literals_are_taken_out_and_names_and_parameters_are_not() {
        let (template, literals) = splits("SELECT a1, $2 FROM t_3 WHERE x = 12.5 AND y = 'o''b' OR z>-7");
        assert_eq!(template, "SELECT a1, $2 FROM t_3 WHERE x = \u{1} AND y = \u{1}\u{1} OR z>-\u{1}");
        assert_eq!(literals, ["12.5", "'o'", "'b'", "7"]);
    }

    #[test]
    fn every_text_comes_back_as_it_was() {
        for text in [
            "",
            "1",
            "'",
            "''",
            "'''",
            "1'2'3",
            "x'1f'",
            "1e5",
            "1.2.3.",
            "a'b",
            "99 bottles",
            "\u{1}1",
            "straße 5",
            "'\n'",
            "$1 1 $",
        ] {
            let (template, literals) = splits(text);
            assert_eq!(holes(&template), if literals.is_empty() { holes(text) } else { literals.len() });
            if !literals.is_empty() {
                assert_eq!(join(&template, literals.into_iter()).as_deref(), Some(text));
            } else {
                assert_eq!(template, text);
            }
        }
    }

    #[test]
    fn a_template_takes_exactly_its_literals() {
        assert_eq!(join("a\u{1}b", ["1"].into_iter()).as_deref(), Some("a1b"));
        assert_eq!(join("a\u{1}b", [].into_iter()), None);
        assert_eq!(join("a\u{1}b", ["1", "2"].into_iter()), None);
        assert_eq!(join("ab", ["1"].into_iter()), None);
    }
}
