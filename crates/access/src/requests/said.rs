//! What people write, as it is kept.

/// The text without what no terminal, log or page should be given: every control character (NUL, line ends and escapes
/// included) is a blank, and blanks at both ends are gone. Everything else stays as written, direction marks too: surfaces
/// show those escaped. Where nothing of it shows, nothing was said.
pub(crate) fn said(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let said = plain.trim();
    if said.chars().all(is_blank) { String::new() } else { said.to_owned() }
}

/// Characters that leave no mark of their own: blanks, fillers, joiners, marks of direction, selectors of variants, tags.
const fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The same, of at most `limit` characters.
pub(crate) fn said_within(text: &str, limit: usize) -> String {
    said(text).chars().take(limit).collect()
}
