//! Matching [`Pattern`]s without allocating in the usual cases: a literal, `*`, and a literal with one `*` or `**` at its end.

use portcullis_core::Pattern;

/// Whether the pattern matches the whole of `text`: as [`Pattern::matches`], faster where the pattern is simple.
pub(crate) fn matches(pattern: &Pattern, text: &str) -> bool {
    if pattern.is_everything() {
        return true;
    }
    let glob = pattern.as_str();
    match glob.find(['*', '?']) {
        None => glob == text,
        Some(at) => {
            let (prefix, rest) = glob.split_at(at);
            match (text.strip_prefix(prefix), rest) {
                (None, _) => false,
                (Some(tail), "*") => !tail.contains(['.', '/']),
                (Some(_), "**") => true,
                (Some(_), _) => pattern.matches(text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_shortcut_agrees_with_the_definition(glob in "[ab*?./]{1,8}", text in "[ab./]{0,8}") {
            let pattern: Pattern = glob.parse().unwrap();
            proptest::prop_assert_eq!(matches(&pattern, &text), pattern.matches(&text));
        }
    }
}
