//! What people write, as it is kept.

/// The text without what no terminal, log or page should be given: every control character (NUL, line ends and escapes
/// included) is a blank, and blanks at both ends are gone. Everything else stays as written, direction marks too: surfaces
/// show those escaped.
pub(crate) fn said(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().to_owned()
}

/// The same, of at most `limit` characters.
pub(crate) fn said_within(text: &str, limit: usize) -> String {
    said(text).chars().take(limit).collect()
}
