//! Why a token was not accepted: for the audit log in full, for the peer only what helps and gives nothing away.

use portcullis_core::ErrorKind;

/// Why a token was not accepted, or could not be judged. `Display` is for operators; it never repeats what the token contains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than [`crate::Identity::MAX_TOKEN`].
    #[error("the token is longer than {} bytes", crate::Identity::MAX_TOKEN)]
    TooLarge,
    /// Not a well-formed signed token.
    #[error("the token is malformed: {what}")]
    Malformed {
        /// What is wrong with its form.
        what: &'static str,
    },
    /// An encrypted token (JWE).
    #[error("the token is encrypted; only signed tokens are accepted")]
    Encrypted,
    /// The header asks for something that is not accepted.
    #[error("the token's header is not accepted: {what}")]
    Header {
        /// What.
        what: &'static str,
    },
    /// The algorithm is not one of those pinned for the issuer.
    #[error("the token's algorithm is not one of those accepted from its issuer")]
    Algorithm,
    /// Not an access token: an ID token, a security event, a logout token.
    #[error("the token is not an access token: {what}")]
    TokenType {
        /// What gave it away.
        what: &'static str,
    },
    /// No provider has this issuer.
    #[error("no identity provider is configured with the token's issuer")]
    Issuer,
    /// No published key has the token's `kid`.
    #[error("provider `{provider}` publishes no key with the token's `kid`")]
    UnknownKey {
        /// The provider.
        provider: String,
    },
    /// The key may not sign this token.
    #[error("the signing key may not sign this token: {what}")]
    Key {
        /// Why.
        what: &'static str,
    },
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// Past `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before `nbf`, or issued in the future.
    #[error("the token is not valid yet: {what}")]
    NotYetValid {
        /// Which date.
        what: &'static str,
    },
    /// For another audience.
    #[error("the token is for another audience")]
    Audience,
    /// Of another tenant.
    #[error("the token is of another tenant")]
    Tenant,
    /// A claim is missing or does not make sense.
    #[error("the token's claims are not accepted: {what}")]
    Claims {
        /// Which and why.
        what: &'static str,
    },
    /// A person's token where only applications are accepted.
    #[error("the token speaks for a person, and provider `{provider}` accepts applications only")]
    UserToken {
        /// The provider.
        provider: String,
    },
    /// Bound to a key whose possession cannot be proven here.
    #[error("the token is bound to a key (`cnf`) whose possession cannot be proven here")]
    SenderConstrained,
    /// The groups did not fit into the token and nothing else is configured to ask.
    #[error(
        "the principal is in too many groups for its token, and provider `{provider}` has no `liveness` to resolve them"
    )]
    GroupsOverage {
        /// The provider.
        provider: String,
    },
    /// The directory says the identity is disabled.
    #[error("the identity is disabled in the directory")]
    Disabled,
    /// The directory does not know the identity.
    #[error("the identity does not exist in the directory")]
    Deleted,
    /// The provider's keys could not be read, or are too old to rely on.
    #[error("the keys of provider `{provider}` are not available: {detail}")]
    KeysUnavailable {
        /// The provider.
        provider: String,
        /// What failed.
        detail: String,
    },
    /// The directory did not answer within the grace.
    #[error("the directory of provider `{provider}` could not confirm the identity: {detail}")]
    DirectoryUnavailable {
        /// The provider.
        provider: String,
        /// What failed.
        detail: String,
    },
}

impl Error {
    /// Whose doing it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge => ErrorKind::Limit,
            Self::Malformed { .. } | Self::Encrypted | Self::Header { .. } => ErrorKind::Client,
            Self::KeysUnavailable { .. } | Self::DirectoryUnavailable { .. } => ErrorKind::Dependency,
            _ => ErrorKind::Denied,
        }
    }

    /// What the peer is told: what to do next, never what the token contains, where keys come from or which check of the
    /// signature, key or claims failed. Lower case, no full stop.
    pub const fn client_message(&self) -> &'static str {
        match self {
            Self::TooLarge => {
                "the token is too long: request one for this gateway's audience with fewer groups"
            }
            Self::Malformed { .. } => {
                "this is not an access token: send the token your identity provider issued, as it is"
            }
            Self::Encrypted => "the token is encrypted: request an access token for this gateway's audience",
            Self::TokenType { .. } => {
                "this is not an access token: request an access token for this gateway's audience"
            }
            Self::Issuer => {
                "the token's issuer is not accepted here: use the identity provider this gateway is configured with"
            }
            Self::Expired => "the token has expired: request a new one and connect again",
            Self::NotYetValid { .. } => {
                "the token is not valid yet: check the clock of the machine that requested it"
            }
            Self::Audience => "the token is for another audience: request one for this gateway",
            Self::UserToken { .. } => "tokens of people are not accepted here: use an application's identity",
            Self::SenderConstrained => "the token is bound to a key: request a bearer token for this gateway",
            Self::GroupsOverage { .. } => {
                "the identity is in too many groups for its token: ask the gateway's administrator to turn on liveness"
            }
            Self::Disabled | Self::Deleted => {
                "the identity is disabled or does not exist any more: ask your identity administrator"
            }
            Self::KeysUnavailable { .. } | Self::DirectoryUnavailable { .. } => {
                "the identity cannot be confirmed at the moment: try again shortly"
            }
            Self::Header { .. }
            | Self::Algorithm
            | Self::UnknownKey { .. }
            | Self::Key { .. }
            | Self::Signature
            | Self::Tenant
            | Self::Claims { .. } => {
                "the token is not accepted: request a new one for this gateway and connect again"
            }
        }
    }

    /// The metric label: one word per variant.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::Encrypted => "encrypted",
            Self::Header { .. } => "header",
            Self::Algorithm => "algorithm",
            Self::TokenType { .. } => "token_type",
            Self::Issuer => "issuer",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Key { .. } => "key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Audience => "audience",
            Self::Tenant => "tenant",
            Self::Claims { .. } => "claims",
            Self::UserToken { .. } => "user_token",
            Self::SenderConstrained => "sender_constrained",
            Self::GroupsOverage { .. } => "groups_overage",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
            Self::KeysUnavailable { .. } => "keys_unavailable",
            Self::DirectoryUnavailable { .. } => "directory_unavailable",
        }
    }
}

/// Why providers could not be put in force; the ones before stay.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// Two providers would claim the same tokens.
    #[error("identity providers `{first}` and `{second}` have the same issuer")]
    SameIssuer {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A setting cannot be used.
    #[error("identity provider `{provider}`: {what}")]
    Setting {
        /// The provider.
        provider: String,
        /// What is wrong.
        what: String,
    },
    /// The client for fetching keys could not be made.
    #[error("cannot make an HTTP client: {detail}")]
    Http {
        /// Why.
        detail: String,
    },
}

impl ConfigureError {
    /// Whose doing it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::SameIssuer { .. } | Self::Setting { .. } => ErrorKind::Client,
            Self::Http { .. } => ErrorKind::Internal,
        }
    }
}
