//! What can go wrong with an upstream, and how little of it a client hears.

use std::io;

use portcullis_core::ErrorKind;
use portcullis_policy::SecretError;
use portcullis_proxy::{DialError, Failing, TlsError};

use super::scram;
use crate::{codec, error::sqlstate};

/// An upstream could not be reached or would not have us. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No stream to it could be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The stream failed or ended.
    #[error("the upstream went away during {step}: {source}")]
    Lost {
        /// What was going on.
        step: &'static str,
        /// How it ended.
        source: io::Error,
    },
    /// TLS is demanded and the server has none.
    #[error("the upstream has no TLS, which its mode demands")]
    NoTls,
    /// Bytes sent ahead of TLS: a man in the middle may have put them there (CVE-2021-23222).
    #[error("the upstream sent unencrypted data after its answer to the SSL request")]
    Stuffed,
    /// TLS cannot be set up here.
    #[error("TLS to the upstream cannot be set up: {0}")]
    TlsSetup(#[from] TlsError),
    /// The configured host is no name that a certificate could be for.
    #[error("the upstream's host name is not valid: {0}")]
    HostName(#[source] io::Error),
    /// The TLS handshake failed, the certificate among the reasons.
    #[error("the TLS handshake with the upstream failed: {0}")]
    Tls(#[source] io::Error),
    /// Bytes that are not the protocol.
    #[error("the upstream broke the protocol: {0}")]
    Malformed(#[from] codec::Error),
    /// A message that is not due now.
    #[error("the upstream sent message type `{}` during {step}", tag.escape_ascii())]
    Unexpected {
        /// The message.
        tag: u8,
        /// What was going on.
        step: &'static str,
    },
    /// More than a login can need.
    #[error("the upstream sent more than {limit} bytes before it was ready")]
    TooMuch {
        /// The bound.
        limit: usize,
    },
    /// A login method that is not spoken.
    #[error("the upstream asks for authentication method {0}, which is not supported")]
    Method(String),
    /// The password would have to be shown to whoever listens.
    #[error("the upstream asks for the password in clear text over an unprotected network")]
    Cleartext,
    /// A password is asked for and none is configured.
    #[error("the upstream asks for a password and the connection has none")]
    NoPassword,
    /// The connection names no upstream user.
    #[error("the connection has no credential")]
    NoCredential,
    /// The configured password cannot be had.
    #[error("the connection's credential: {0}")]
    Secret(#[from] SecretError),
    /// SCRAM failed.
    #[error("SCRAM with the upstream failed: {0}")]
    Scram(#[from] scram::Error),
    /// The server said no.
    #[error("the upstream refused the login: {code}: {message}")]
    Refused {
        /// Its SQLSTATE.
        code: String,
        /// Its message, for the log.
        message: String,
        /// What a client may hear of it.
        told: Told,
    },
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
}

impl Told {
    fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: message.to_owned() }
    }
}

impl Error {
    /// Whose doing it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TlsSetup(_) | Self::Secret(_) | Self::NoPassword | Self::NoCredential => {
                ErrorKind::Dependency
            }
            Self::Scram(scram::Error::Internal) => ErrorKind::Internal,
            _ => ErrorKind::Upstream,
        }
    }

    /// What it says of the upstream; none: it answers, and what was asked of it cannot be had.
    pub fn failing(&self) -> Option<Failing> {
        Some(match self {
            Self::Dial(error) => error.failing(),
            Self::Lost { source, .. } => match source.kind() {
                io::ErrorKind::TimedOut => Failing::Timeout,
                _ => Failing::Broken,
            },
            Self::NoTls | Self::Stuffed | Self::TlsSetup(_) | Self::HostName(_) | Self::Tls(_) => {
                Failing::Tls
            }
            Self::Malformed(_) | Self::Unexpected { .. } | Self::TooMuch { .. } => Failing::Broken,
            Self::NoPassword | Self::NoCredential | Self::Secret(_) | Self::Scram(scram::Error::Internal) => {
                Failing::Credential
            }
            Self::Method(_) | Self::Cleartext | Self::Scram(_) => Failing::Login,
            Self::Refused { code, .. } => return refusal(code.as_bytes()),
        })
    }

    /// What a client may hear: never an address, a user name, or the text of a certificate.
    pub fn told(&self) -> Told {
        match self {
            Self::Refused { told, .. } => told.clone(),
            Self::Method(_)
            | Self::Cleartext
            | Self::NoPassword
            | Self::NoCredential
            | Self::Secret(_)
            | Self::Scram(_) => {
                Told::new(sqlstate::UPSTREAM_REFUSED, "the gateway cannot log in to the upstream")
            }
            Self::Dial(error) => Told::new(sqlstate::UPSTREAM_UNREACHABLE, error.client_message()),
            _ => Told::new(sqlstate::UPSTREAM_UNREACHABLE, "the upstream cannot be reached"),
        }
    }

    /// From the server's ErrorResponse during the login as `user` into `database`.
    pub(super) fn refused(fields: &codec::ErrorFields<'_>, user: &str, database: &str) -> Self {
        let code = fields.code().to_owned();
        let message = fields.message();
        let told = told(&code, &message, user, database);
        Self::Refused { code, message, told }
    }
}

/// What a server's SQLSTATE says of it. Those about what this client asked for say that it answers.
const fn refusal(code: &[u8]) -> Option<Failing> {
    match code {
        [b'2', b'8', ..] | b"42501" => Some(Failing::Login),
        [b'5', b'3', ..] => Some(Failing::Full),
        [b'5', b'7', b'P', ..] => Some(Failing::Unavailable),
        _ => None,
    }
}

/// What a client can do something about keeps its SQLSTATE. The server's own words pass only where they are about what the
/// client itself sent, and do not name the user.
fn told(code: &str, message: &str, user: &str, database: &str) -> Told {
    let fixed = match code {
        "3D000" => Some(format!("database \"{database}\" does not exist")),
        "53300" => Some("the upstream has too many connections".to_owned()),
        "53200" | "53400" | "53000" => Some("the upstream has insufficient resources".to_owned()),
        "55000" => Some(format!("database \"{database}\" does not accept connections")),
        "57P03" => Some("the upstream does not accept connections now".to_owned()),
        "57P01" | "57P02" => Some("the upstream is shutting down".to_owned()),
        _ => None,
    };
    if let Some(message) = fixed {
        return Told::new(code, &message);
    }
    // Invalid value, unknown setting, setting that cannot be changed now, setting that may not be set.
    if matches!(code, "22023" | "42704" | "55P02" | "42602") && !message.contains(user) {
        return Told::new(code, message);
    }
    Told::new(sqlstate::UPSTREAM_REFUSED, "the upstream refused the gateway's login")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_never_hears_the_upstream_user() {
        for (code, message) in [
            ("28P01", "password authentication failed for user \"inner_role\""),
            ("53300", "too many connections for role \"inner_role\""),
            ("42501", "permission denied for database \"logs\", role inner_role"),
            ("22023", "invalid value for parameter \"role\": \"inner_role\""),
            ("42704", "role \"inner_role\" does not exist"),
            ("28000", "no pg_hba.conf entry for host \"10.0.0.1\", user \"inner_role\""),
        ] {
            let told = told(code, message, "inner_role", "logs");
            assert!(!told.message.contains("inner_role") && !told.message.contains("10.0.0.1"), "{told:?}");
        }
    }

    #[test]
    fn a_refusal_says_something_of_the_upstream_unless_it_is_about_what_was_asked() {
        let said =
            ["28P01", "28000", "42501", "53300", "53200", "57P03", "57P01", "3D000", "22023", "55000", ""]
                .map(|code| refusal(code.as_bytes()));
        assert_eq!(said[..3], [Some(Failing::Login); 3]);
        assert_eq!(said[3..5], [Some(Failing::Full); 2]);
        assert_eq!(said[5..7], [Some(Failing::Unavailable); 2]);
        assert_eq!(said[7..], [None; 4]);
    }

    #[test]
    fn what_a_client_can_mend_keeps_its_code() {
        assert_eq!(told("3D000", "…", "u", "nope").message, "database \"nope\" does not exist");
        assert_eq!(told("3D000", "…", "u", "nope").code, "3D000");
        assert_eq!(told("53300", "…", "u", "d").code, "53300");
        let own = told("22023", "invalid value for parameter \"DateStyle\": \"x\"", "inner_role", "d");
        assert_eq!((own.code.as_str(), own.message.contains("DateStyle")), ("22023", true));
    }
}
