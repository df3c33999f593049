//! The words of a search: what the index is asked, and what a text is held against where the index does not have it.

/// The shortest text a trigram index finds.
const TRIGRAM: usize = 3;

/// What is looked for. All of it must be found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words<'a> {
    long: Vec<&'a str>,
    short: Vec<&'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let (long, short) = words(text).into_iter().partition(|word| word.chars().count() >= TRIGRAM);
        Self { long, short }
    }

    /// The condition on a shape `p`, whose row id stands in `shape`, and its values; nothing where there is no word.
    pub(super) fn condition(&self, shape: &'static str) -> Option<(String, Vec<String>)> {
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        if !self.long.is_empty() {
            let phrases: Vec<_> = self.long.iter().map(|word| fts_phrase(word)).collect();
            conditions.push(format!("{shape} IN (SELECT rowid FROM search WHERE search MATCH ?)"));
            values.push(phrases.join(" AND "));
        }
        for word in &self.short {
            // Too short for the index: looked for in every text.
            conditions.push("(p.text LIKE ? ESCAPE '\\' OR p.reason LIKE ? ESCAPE '\\')".to_owned());
            values.extend([like_pattern(word), like_pattern(word)]);
        }
        (!conditions.is_empty()).then(|| (format!("({})", conditions.join(" AND ")), values))
    }

    /// What finds the same as the index and the patterns, in texts of ASCII.
    pub(super) fn finder(&self) -> Finder {
        Finder {
            long: self.long.iter().map(|word| word.to_lowercase()).collect(),
            short: self.short.iter().map(|word| word.to_ascii_lowercase()).collect(),
        }
    }
}

/// Words with their case folded: any case for the long ones, ASCII's for the short ones, as `LIKE` does.
#[derive(Debug)]
pub(super) struct Finder {
    long: Vec<String>,
    short: Vec<String>,
}

impl Finder {
    /// Whether every word is in `text`, which is ASCII, or in one of the `reasons`: one reason, folded as the words are.
    pub(super) fn finds(&self, text: &str, reason: &Folded) -> bool {
        let text = text.to_ascii_lowercase();
        let found =
            |word: &String, reason: &str| text.contains(word.as_str()) || reason.contains(word.as_str());
        self.long.iter().all(|word| found(word, &reason.unicode))
            && self.short.iter().all(|word| found(word, &reason.ascii))
    }
}

/// A text with its case folded in both ways.
#[derive(Debug)]
pub(super) struct Folded {
    unicode: String,
    ascii: String,
}

impl Folded {
    pub(super) fn of(text: &str) -> Self {
        Self { unicode: text.to_lowercase(), ascii: text.to_ascii_lowercase() }
    }
}

/// What is looked for: each word, or the whole where it stands in double quotes. A NUL ends a word: the index's own query
/// language would end there as well.
fn words(text: &str) -> Vec<&str> {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(whole) => whole.split('\0').filter(|word| !word.is_empty()).collect(),
        None => {
            text.split(|c: char| c.is_whitespace() || c == '\0').filter(|word| !word.is_empty()).collect()
        }
    }
}

/// A string of FTS5 (section 3.1 of its manual): between double quotes nothing is syntax but a double quote, which is doubled.
fn fts_phrase(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

fn like_pattern(word: &str) -> String {
    let mut pattern = "%".to_owned();
    for c in word.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_at_space_and_kept_whole_in_quotes() {
        assert_eq!(words(" drop  table "), ["drop", "table"]);
        assert_eq!(words("\"drop  table\""), ["drop  table"]);
        assert_eq!(words("\""), ["\""]);
        assert_eq!(words("a\0b"), ["a", "b"]);
        assert_eq!(words("\"\""), [""; 0]);
    }

    #[test]
    fn nothing_in_a_phrase_is_syntax() {
        assert_eq!(fts_phrase("a\" OR b*"), "\"a\"\" OR b*\"");
    }

    #[test]
    fn nothing_in_a_pattern_is_a_wildcard() {
        assert_eq!(like_pattern("%_\\"), "%\\%\\_\\\\%");
    }

    #[test]
    fn a_text_is_held_against_every_word_in_any_case() {
        let reason = Folded::of("In Scope; STRASSE Ä");
        let finds = |words: &str| Words::of(words).finder().finds("SELECT 42 FROM \"T\"", &reason);
        for found in
            ["", "select", "42", "elect 42", "ELECT scope", "\"42 from \"t\"\"", "t\"", "Ä", "e strasse"]
        {
            assert!(finds(found), "{found}");
        }
        for missing in ["selects", "43", "select nothing", "ä", "\"42  from\""] {
            assert!(!finds(missing), "{missing}");
        }
    }
}
