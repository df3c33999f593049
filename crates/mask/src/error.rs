//! [`Error`]: what may be wrong with the words of a mask.

use portcullis_core::ErrorKind;

/// Why a detector or a transform cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No transform has this name.
    #[error("`{0}` is no way to mask; there are `redact`, `last4`, `hash`, `email`, `null` and `pattern`")]
    UnknownTransform(String),
    /// A pattern was given to a transform that has none.
    #[error("`pattern` goes with `with: pattern`, not with `with: {0}`")]
    PatternNotUsed(&'static str),
    /// A pattern of no characters.
    #[error("the pattern is empty")]
    EmptyPattern,
    /// A pattern that hides nothing.
    #[error("the pattern `{0}` keeps every character; write other characters for those that are hidden")]
    PatternKeepsAll(String),
    /// A detector of the documents without a name.
    #[error("a detector with a regular expression needs a name")]
    UnnamedExpression,
    /// An expression that does not compile, or not within its limits.
    #[error("the regular expression of `{name}` cannot be used: {reason}")]
    Expression {
        /// The detector.
        name: String,
        /// What the parser said.
        reason: String,
    },
    /// An expression that matches a text of no characters: it would be found everywhere.
    #[error("the regular expression of `{0}` matches the empty text")]
    MatchesEmpty(String),
    /// An expression that no text matches: it would be found nowhere.
    #[error("the regular expression of `{0}` matches nothing")]
    MatchesNothing(String),
}

impl Error {
    /// Whose doing it is: that of who wrote the documents.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Client
    }
}
