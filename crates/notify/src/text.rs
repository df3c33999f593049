//! Text that somebody else wrote, made safe to show: one line, no control characters, bounded. Each channel then escapes it.

/// One line of at most `longest` characters. Runs of white space, line ends included, become one space: nobody writes lines
/// that look like ours. Characters that are not seen but change what is seen (controls, directions, tags) are left out.
/// What is cut ends in `…`.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let mut line = String::with_capacity(text.len().min(longest.saturating_mul(4)));
    let (mut length, mut space) = (0_usize, false);
    for character in text.chars() {
        if character.is_whitespace() || character.is_control() {
            space = length > 0;
            continue;
        }
        if is_unseen(character) {
            continue;
        }
        let needed = if space { 2 } else { 1 };
        if length.saturating_add(needed) > longest {
            return cut(line, longest);
        }
        if space {
            line.push(' ');
        }
        line.push(character);
        length = length.saturating_add(needed);
        space = false;
    }
    line
}

/// The line with `…`, which takes the last place where there is none left.
fn cut(mut line: String, longest: usize) -> String {
    if longest == 0 {
        return String::new();
    }
    if line.chars().count() >= longest {
        line.pop();
    }
    line.push('…');
    line
}

/// Characters without a shape of their own that change the order, the join or the reading of what is around them: Unicode's
/// bidirectional controls, invisible operators, tags, and the byte order mark. The joiners that scripts and emoji need stay.
const fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_one_line_without_what_is_not_seen() {
        for (text, expected) in [
            ("plain", "plain"),
            ("  two\r\n\tlines \u{2028} and\u{b}more  ", "two lines and more"),
            ("nul\0 bell\u{7} esc\u{1b}[31m del\u{7f} c1\u{9b}", "nul bell esc [31m del c1"),
            ("abc\u{202e}fed\u{2066}\u{200b}\u{feff}\u{e0041}", "abcfed"),
            ("👩\u{200d}💻 می\u{200c}خواهم", "👩\u{200d}💻 می\u{200c}خواهم"),
            ("", ""),
            ("\n\n", ""),
        ] {
            assert_eq!(one_line(text, 100), expected, "{text:?}");
        }
    }

    #[test]
    fn text_is_cut_at_characters_and_says_so() {
        assert_eq!(one_line("abcdef", 6), "abcdef");
        assert_eq!(one_line("abcdefg", 6), "abcde…");
        assert_eq!(one_line("ab cd", 3), "ab…");
        assert_eq!(one_line("ééééé", 3), "éé…");
        assert_eq!(one_line("ab", 1), "…");
        assert_eq!(one_line("ab", 0), "");
        let long = "x".repeat(1_000_000);
        assert_eq!(one_line(&long, 10).chars().count(), 10);
    }
}
