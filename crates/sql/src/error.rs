//! What can go wrong when a text is analysed. Every error means the text does not pass.

use portcullis_core::ErrorKind;

/// Why a text could not be analysed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// Longer than [`crate::AnalyzerConfig::max_text_bytes`].
    #[error("the statement text is {length} bytes long, more than the limit of {limit}")]
    TooLong {
        /// The text's length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not SQL that PostgreSQL's grammar takes.
    #[error("{message}")]
    Syntax {
        /// The parser's own words: safe to show to the client, whose text it is about.
        message: String,
    },
    /// Nested deeper than the parser or the walk goes.
    #[error("the statement is nested too deeply to be judged")]
    TooDeep,
    /// A NUL byte: PostgreSQL texts cannot hold one.
    #[error("the statement text holds a NUL byte")]
    Nul,
    /// The analysis threads are gone or one of them failed on this text.
    #[error("the statement could not be judged: {0}")]
    Internal(&'static str),
}

impl AnalysisError {
    /// Whose doing it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong { .. } | Self::TooDeep => ErrorKind::Limit,
            Self::Syntax { .. } | Self::Nul => ErrorKind::Client,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}
