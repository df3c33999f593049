//! Why a person is not signed in.

use std::fmt;

use portcullis_core::ErrorKind;

use crate::{Error, Rejected};

/// Why somebody is not signed in. `Display` is for operators; it never repeats a code, a token, a secret or what a browser sent.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// No such provider, or it signs nobody in.
    #[error("no identity provider of that name signs people in")]
    Provider,
    /// The provider's sign-in settings are not those the flow began with.
    #[error("the sign-in settings of provider `{provider}` changed meanwhile")]
    Changed {
        /// The provider.
        provider: String,
    },
    /// What came back from the browser cannot be read.
    #[error("the callback cannot be read: {what}")]
    Callback {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The callback's `state` is not that of the flow.
    #[error("the callback's `state` is not that of the sign-in this browser began")]
    State,
    /// The callback names another issuer, or none where the provider says it names itself (RFC 9207).
    #[error("the callback does not come from provider `{provider}`")]
    Issuer {
        /// The provider the flow began with.
        provider: String,
    },
    /// The flow began too long ago, or is not of this time.
    #[error("the sign-in began too long ago")]
    TooLate,
    /// The provider sent the browser back with an error.
    #[error("provider `{provider}` did not sign in: {code}")]
    Declined {
        /// The provider.
        provider: String,
        /// Its error code.
        code: OauthCode,
    },
    /// The provider's token endpoint refused a code, a device code or a refresh token.
    #[error("provider `{provider}` gave no tokens: {code}")]
    Refused {
        /// The provider.
        provider: String,
        /// Its error code.
        code: OauthCode,
    },
    /// The provider cannot be reached, or what it says of itself or answers makes no sense.
    #[error("provider `{provider}`: {detail}")]
    Unavailable {
        /// The provider.
        provider: String,
        /// What failed.
        detail: String,
    },
    /// The id token is not accepted.
    #[error("the id token is not accepted: {error}")]
    IdToken {
        /// Why.
        error: Error,
    },
    /// The id token was not made for this flow.
    #[error("the id token's `nonce` is not that of the sign-in this browser began")]
    Nonce,
    /// Access token and id token, or the tokens before and after a renewal, are not of one person.
    #[error("the tokens are of different people")]
    Subject,
    /// The access token (or the id token that stands for it) lets nobody in.
    #[error("{}", .0.error)]
    Rejected(
        /// Why, and who it was where that is proven.
        Box<Rejected>,
    ),
    /// What signed in is not a person.
    #[error("what signed in is not a person")]
    NotAPerson,
    /// The gateway's own part failed: no random numbers, no client secret.
    #[error("{detail}")]
    Internal {
        /// What.
        detail: String,
    },
}

impl SignInError {
    /// Whose doing it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Provider | Self::Callback { .. } => ErrorKind::Client,
            // The client's own credential is wrong: nobody can sign in until an operator looks.
            Self::Refused { code, .. } if code.is_clients() => ErrorKind::Dependency,
            Self::Changed { .. }
            | Self::State
            | Self::Issuer { .. }
            | Self::TooLate
            | Self::Declined { .. }
            | Self::Refused { .. }
            | Self::IdToken { .. }
            | Self::Nonce
            | Self::Subject
            | Self::NotAPerson => ErrorKind::Denied,
            Self::Rejected(rejected) => rejected.error.kind(),
            Self::Unavailable { .. } => ErrorKind::Dependency,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// What the person is told. Lower case, no full stop.
    pub fn client_message(&self) -> &'static str {
        match self {
            Self::Provider => "nobody signs in with that identity provider here",
            Self::Changed { .. } | Self::TooLate => "the sign-in took too long: begin again",
            Self::Callback { .. } | Self::State | Self::Issuer { .. } | Self::Nonce => {
                "this is not the answer to a sign-in that this browser began: begin again"
            }
            Self::Declined { .. } => {
                "the identity provider did not sign you in: begin again or ask your administrator"
            }
            Self::Refused { code, .. } if code.is_clients() => {
                "the gateway cannot sign people in at the moment: ask its administrator"
            }
            Self::Refused { .. } => "the sign-in is over: sign in again",
            Self::Unavailable { .. } => {
                "the identity provider does not answer as it should: try again shortly"
            }
            Self::IdToken { .. } | Self::Subject => {
                "the identity provider's answer is not accepted: sign in again"
            }
            Self::NotAPerson => "only people sign in here: applications use their access token",
            Self::Rejected(rejected) => rejected.error.client_message(),
            Self::Internal { .. } => "the sign-in failed within the gateway: ask its administrator",
        }
    }

    /// The metric label: one word per variant.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Changed { .. } => "changed",
            Self::Callback { .. } => "callback",
            Self::State => "state",
            Self::Issuer { .. } => "issuer",
            Self::TooLate => "too_late",
            Self::Declined { .. } => "declined",
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
            Self::IdToken { .. } => "id_token",
            Self::Nonce => "nonce",
            Self::Subject => "subject",
            Self::Rejected(_) => "rejected",
            Self::NotAPerson => "not_a_person",
            Self::Internal { .. } => "internal",
        }
    }
}

impl From<Box<Rejected>> for SignInError {
    fn from(rejected: Box<Rejected>) -> Self {
        Self::Rejected(rejected)
    }
}

/// An error code of RFC 6749 or RFC 8628, with Entra's number where its description has one. The rest of a description is not kept:
/// nobody knows what a provider repeats in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthCode {
    code: String,
    number: Option<String>,
}

impl OauthCode {
    /// Longest code kept; the longest registered one has 32 characters.
    const MAX: usize = 64;

    pub(crate) fn new(code: &str, description: Option<&str>) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let known = !code.is_empty() && code.len() <= Self::MAX && code.chars().all(plain);
        let number = description
            .and_then(|text| text.split_once("AADSTS"))
            .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).take(12).collect::<String>());
        Self {
            code: if known { code.to_owned() } else { "an error without a usable code".to_owned() },
            number: number.filter(|number| !number.is_empty()),
        }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.code
    }

    /// Whether it is about the client, not about the person.
    fn is_clients(&self) -> bool {
        matches!(
            self.code.as_str(),
            "invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "invalid_scope"
        )
    }
}

impl fmt::Display for OauthCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        match &self.number {
            Some(number) => write!(f, " (AADSTS{number})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_providers_error_only_code_and_number_are_kept() {
        let code =
            OauthCode::new("invalid_grant", Some("AADSTS70008: the code 0.AbC is expired. Trace ID: x"));
        assert_eq!(code.to_string(), "invalid_grant (AADSTS70008)");
        for odd in ["", "a b", "<script>", "\u{1b}[2J", &"x".repeat(65)] {
            assert_eq!(OauthCode::new(odd, None).as_str(), "an error without a usable code", "{odd:?}");
        }
    }
}
