//! Secrets by reference: environment variables and files, read at the moment of use so that rotation needs no restart.

use std::io::Read;

use portcullis_core::Secret;
use portcullis_policy::{ResolveSecret, SecretError, SecretRef};

/// The largest secret file, in bytes: the cap of a token.
const MAX_SECRET: u64 = 64 * 1024;

/// Resolves `env:` and `file:` references.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSecrets;

impl ResolveSecret for SystemSecrets {
    /// One trailing line end of a file is not part of the secret. An empty secret is an error.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError> {
        let missing = |detail: String| SecretError { reference: reference.to_string(), detail };
        let value = match reference {
            SecretRef::Env(name) => {
                std::env::var(name).map_err(|_| missing("the variable is not set".to_owned()))?
            }
            SecretRef::File(path) => {
                let file = std::fs::File::open(path).map_err(|error| missing(error.to_string()))?;
                let mut text = String::new();
                let mut limited = file.take(MAX_SECRET + 1);
                limited.read_to_string(&mut text).map_err(|error| missing(error.to_string()))?;
                if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_SECRET {
                    return Err(missing(format!("longer than {MAX_SECRET} bytes")));
                }
                let bare =
                    text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
                bare.to_owned()
            }
        };
        if value.is_empty() {
            return Err(missing("it is empty".to_owned()));
        }
        Ok(Secret::new(value))
    }
}
