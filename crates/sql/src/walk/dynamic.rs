//! Code in strings: what can be said of the body of a `DO` block without running it.
//!
//! The block itself needs `execute` on `server/do`. For guardrails, every word in it that begins a statement counts as that
//! statement, wherever it stands, comments and strings included: too many kinds are noted, never too few. Text that is put
//! together and run (`EXECUTE`) can be any statement, so then the block is not classified.

use super::Walker;

/// Words that begin statements, as [`portcullis_core::StatementKind`]s.
const WORDS: [&str; 33] = [
    "alter",
    "analyze",
    "call",
    "checkpoint",
    "cluster",
    "comment",
    "commit",
    "copy",
    "create",
    "delete",
    "discard",
    "do",
    "drop",
    "grant",
    "import",
    "insert",
    "load",
    "lock",
    "merge",
    "notify",
    "prepare",
    "refresh",
    "reindex",
    "reset",
    "revoke",
    "rollback",
    "select",
    "set",
    "listen",
    "truncate",
    "update",
    "vacuum",
    "reassign",
];

/// Words of code that changes what later statements are judged by.
const JUDGING: [&str; 6] = [
    "set_config",
    "search_path",
    "client_encoding",
    "standard_conforming_strings",
    "role",
    "session_authorization",
];

/// Words of code that gives the session's prepared statements another meaning.
const NAMING: [&str; 2] = ["deallocate", "prepare"];

impl Walker<'_> {
    pub(super) fn code(&mut self, code: &str) {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        for word in code.split(|c: char| !is_word(c)) {
            let word = word.to_ascii_lowercase();
            if word == "execute" {
                self.refuse("the block runs statements that are put together while it runs");
            }
            if JUDGING.contains(&word.as_str()) {
                self.refuse("the block changes a setting that later statements are judged by");
            }
            if NAMING.contains(&word.as_str()) {
                self.refuse("the block changes what later statements run by name");
            }
            if word == "perform" {
                self.kind("select");
            }
            if matches!(word.as_str(), "update" | "delete") {
                self.lacks_where = true;
            }
            if let Some(known) = WORDS.iter().find(|known| **known == word) {
                self.kind(known);
            }
        }
        // A setting changed in the block ends with nobody having seen it.
        self.leaves_read_only = true;
    }
}
