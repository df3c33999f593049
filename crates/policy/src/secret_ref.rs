//! References to secrets. The documents never hold one; whoever needs it resolves it at its one use.

use std::{fmt, path::PathBuf, str::FromStr};

use portcullis_core::{ErrorKind, Secret};

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// `env:NAME`: a variable of the gateway's environment.
    Env(String),
    /// `file:PATH`: the file's content, without one trailing newline.
    File(PathBuf),
}

/// Schemes that are designed but not built.
pub(crate) const LATER_SCHEMES: [&str; 3] = ["secret", "vault", "azure-key-vault"];

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl FromStr for SecretRef {
    type Err = InvalidSecretRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable_name(name) => Ok(Self::Env(name.to_owned())),
            Some(("env", _)) => Err(InvalidSecretRef::Variable),
            Some(("file", path)) if !path.is_empty() && !path.contains('\0') => {
                Ok(Self::File(PathBuf::from(path)))
            }
            Some(("file", _)) => Err(InvalidSecretRef::Path),
            Some((scheme, _)) if LATER_SCHEMES.contains(&scheme) => {
                Err(InvalidSecretRef::Later(scheme.to_owned()))
            }
            _ => Err(InvalidSecretRef::Literal),
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The text is no reference to a secret. The text is not repeated: it may be the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretRef {
    /// No known scheme: possibly a literal secret.
    #[error("a secret is never written into a document: expected `env:NAME` or `file:PATH`")]
    Literal,
    /// `env:` with a bad name.
    #[error("expected the name of an environment variable after `env:`")]
    Variable,
    /// `file:` without a path.
    #[error("expected a path after `file:`")]
    Path,
    /// A designed scheme that does not exist yet.
    #[error("secrets from `{0}:` are not read yet: only `env:NAME` and `file:PATH` are")]
    Later(String),
}

/// Finds secrets. Declared here because the references are; implemented where files and the environment may be read.
pub trait ResolveSecret: Send + Sync {
    /// The secret's value now. Read at each use, so that a rotated secret is picked up.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError>;
}

/// A secret could not be had. Names the reference, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the secret `{reference}`: {detail}")]
pub struct SecretError {
    /// The reference, as in the documents.
    pub reference: String,
    /// Why: not set, no such file, not UTF-8.
    pub detail: String,
}

impl SecretError {
    /// Always the gateway's own surroundings.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Dependency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_are_accepted_and_a_literal_is_never_repeated() {
        assert_eq!("env:LOGS_PASSWORD".parse(), Ok(SecretRef::Env("LOGS_PASSWORD".to_owned())));
        assert_eq!("file:/run/secrets/x".parse(), Ok(SecretRef::File("/run/secrets/x".into())));
        for (text, expected) in [
            ("hunter2", InvalidSecretRef::Literal),
            ("postgres:hunter2", InvalidSecretRef::Literal),
            ("env:", InvalidSecretRef::Variable),
            ("env:A B", InvalidSecretRef::Variable),
            ("env:1A", InvalidSecretRef::Variable),
            ("file:", InvalidSecretRef::Path),
            ("vault:kv/x", InvalidSecretRef::Later("vault".to_owned())),
            ("secret:x", InvalidSecretRef::Later("secret".to_owned())),
            ("azure-key-vault:x", InvalidSecretRef::Later("azure-key-vault".to_owned())),
        ] {
            let error = text.parse::<SecretRef>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
