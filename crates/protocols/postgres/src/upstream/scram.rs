//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: RFC 5802 with the hash of RFC 7677.
//!
//! Ours instead of `postgres-protocol`'s because what PBKDF2 makes of a password can be kept: with PostgreSQL's 4,096
//! rounds it is most of what a login costs, and it changes only when the password does. [`SaltedPasswords`] keeps the two
//! keys of RFC 5802 that are needed, never the password, bounded, zeroed when they go.

use std::{num::NonZeroU32, sync::Arc};

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis_core::Secret;

mod cache;

pub use cache::SaltedPasswords;

#[cfg(test)]
mod tests;

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with it.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The most rounds taken from a server: each costs us one HMAC, and the server is not authenticated yet. As in
/// `postgres-protocol` 0.6.12 and pgjdbc (CVE-2026-42198); PostgreSQL's default is 4,096.
pub const MAX_ITERATIONS: u32 = 100_000;
/// Random bytes of our nonce, before base64.
const NONCE: usize = 18;
/// Bytes of SHA-256.
const HASH: usize = 32;

/// SCRAM failed. Nothing of the password or the keys is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A message that is not of RFC 5802's form.
    #[error("the server's {0} message is malformed")]
    Malformed(&'static str),
    /// The server's nonce does not go on from ours.
    #[error("the server's nonce is not ours continued")]
    Nonce,
    /// More rounds than are done for a stranger, or none.
    #[error("the server asks for {0} iterations; 1 to {MAX_ITERATIONS} are accepted")]
    Iterations(u32),
    /// The server's own error.
    #[error("the server reports `{0}`")]
    Server(String),
    /// The server does not know the password.
    #[error("the server could not prove that it knows the password")]
    Signature,
    /// No randomness, or no thread to hash on.
    #[error("the gateway could not compute it")]
    Internal,
}

/// What stands for the TLS channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// No TLS, or a certificate for which no hash is defined: flag `n`.
    Impossible,
    /// We could, the server did not offer: flag `y`.
    NotOffered,
    /// `tls-server-end-point` (RFC 5929): the hash of the server's certificate.
    ServerEndPoint(Vec<u8>),
}

impl Binding {
    const fn header(&self) -> &'static str {
        match self {
            Self::Impossible => "n,,",
            Self::NotOffered => "y,,",
            Self::ServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::Impossible | Self::NotOffered => &[],
            Self::ServerEndPoint(hash) => hash,
        }
    }
}

/// The two keys of RFC 5802 section 3 that follow from a password, a salt and a count.
pub struct Keys {
    client: Secret<[u8; HASH]>,
    server: Secret<[u8; HASH]>,
}

impl Keys {
    /// Hashes the password: `iterations` rounds of HMAC. Blocking; milliseconds.
    fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let prepared = Secret::new(prepare(password));
        let mut salted = [0; HASH];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            salt,
            prepared.expose().as_bytes(),
            &mut salted,
        );
        let salted = Secret::new(salted);
        Self {
            client: Secret::new(mac(salted.expose(), b"Client Key")),
            server: Secret::new(mac(salted.expose(), b"Server Key")),
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// SASLprep (RFC 4013) where it applies; a password it forbids is used as it is, as PostgreSQL does.
fn prepare(password: &str) -> String {
    stringprep::saslprep(password).map_or_else(|_| password.to_owned(), std::borrow::Cow::into_owned)
}

fn mac(key: &[u8], data: &[u8]) -> [u8; HASH] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    // HMAC-SHA-256 is 32 bytes long.
    tag.as_ref().first_chunk().copied().unwrap_or([0; HASH])
}

/// Waits for the server's first message.
#[derive(Debug)]
pub struct Scram {
    binding: Binding,
    nonce: String,
}

impl Scram {
    /// Begins: the state, and the client's first message.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub fn begin(binding: Binding) -> Result<(Self, String), Error> {
        let mut random = [0; NONCE];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::Internal)?;
        Ok(Self::with_nonce(binding, STANDARD.encode(random)))
    }

    fn with_nonce(binding: Binding, nonce: String) -> (Self, String) {
        // No user name: PostgreSQL takes the one of the startup packet.
        let first = format!("{}n=,r={nonce}", binding.header());
        (Self { binding, nonce }, first)
    }

    /// Reads the server's first message: `r=NONCE,s=SALT,i=COUNT`.
    ///
    /// # Errors
    /// It is malformed, its nonce is not ours continued, or it asks for too many rounds.
    pub fn challenge(self, message: &[u8]) -> Result<Challenge, Error> {
        const FIRST: Error = Error::Malformed("first");
        let message = std::str::from_utf8(message).map_err(|_| FIRST)?;
        let mut fields = message.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(FIRST);
        // An extension (`m=`) would stand first and must not be ignored: it is malformed here.
        let nonce = field("r=")?;
        let salt = STANDARD.decode(field("s=")?).map_err(|_| FIRST)?;
        let count = field("i=")?;
        if fields.next().is_some() || salt.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FIRST);
        }
        let is_printable = |byte: u8| matches!(byte, 0x21..=0x2b | 0x2d..=0x7e);
        match nonce.strip_prefix(self.nonce.as_str()) {
            Some(theirs) if !theirs.is_empty() && theirs.bytes().all(is_printable) => {}
            _ => return Err(Error::Nonce),
        }
        let iterations = count.parse().map_err(|_| Error::Iterations(u32::MAX))?;
        let iterations = NonZeroU32::new(iterations)
            .filter(|count| count.get() <= MAX_ITERATIONS)
            .ok_or(Error::Iterations(iterations))?;
        let mut bound = Vec::from(self.binding.header());
        bound.extend_from_slice(self.binding.data());
        let reply = format!("c={},r={nonce}", STANDARD.encode(&bound));
        let signed = format!("n=,r={},{message},{reply}", self.nonce);
        Ok(Challenge { salt, iterations, reply, signed })
    }
}

/// The server's first message, checked.
#[derive(Debug)]
pub struct Challenge {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    reply: String,
    signed: String,
}

impl Challenge {
    /// The salt of the user's verifier.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// How many rounds.
    pub const fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// The client's last message, and what the server must answer it with.
    pub fn answer(self, keys: &Arc<Keys>) -> (String, Verify) {
        let stored = digest::digest(&digest::SHA256, keys.client.expose());
        let mut proof = mac(stored.as_ref(), self.signed.as_bytes());
        for (byte, key) in proof.iter_mut().zip(keys.client.expose()) {
            *byte ^= key;
        }
        let reply = format!("{},p={}", self.reply, STANDARD.encode(proof));
        (reply, Verify { expected: mac(keys.server.expose(), self.signed.as_bytes()) })
    }
}

/// Waits for the server's proof.
#[derive(Debug)]
#[must_use]
pub struct Verify {
    expected: [u8; HASH],
}

impl Verify {
    /// Reads the server's last message: `v=SIGNATURE`.
    ///
    /// # Errors
    /// The server does not know the password, or says that we do not.
    pub fn finish(self, message: &[u8]) -> Result<(), Error> {
        const FINAL: Error = Error::Malformed("final");
        let message = std::str::from_utf8(message).map_err(|_| FINAL)?;
        if let Some(error) = message.strip_prefix("e=") {
            return Err(Error::Server(error.chars().filter(|c| !c.is_control()).take(64).collect()));
        }
        let signature = message.strip_prefix("v=").ok_or(FINAL)?;
        // Extensions may follow and are ignored (RFC 5802 section 5.1).
        let signature = signature.split(',').next().unwrap_or(signature);
        let signature = STANDARD.decode(signature).map_err(|_| FINAL)?;
        constant_time::verify_slices_are_equal(&signature, &self.expected).map_err(|_| Error::Signature)
    }
}
