//! The kinds every error of the workspace answers with: what a protocol branches on and what metrics are labelled with.

use serde::{Deserialize, Serialize};

/// Whose doing an error is. Each protocol maps a kind to its wire form in exactly one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The peer sent something it should not have: malformed, out of order, unsupported.
    Client,
    /// The peer is not who it says, or may not do this.
    Denied,
    /// A limit was reached: size, rate, time, number.
    Limit,
    /// The upstream failed or refused.
    Upstream,
    /// Something the gateway itself depends on failed: identity provider, store, journal, secret source.
    Dependency,
    /// A defect of the gateway.
    Internal,
}

impl ErrorKind {
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Upstream => "upstream",
            Self::Dependency => "dependency",
            Self::Internal => "internal",
        }
    }
}
