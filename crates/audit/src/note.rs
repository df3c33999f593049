//! Keys and signed notes, as C2SP signed-note defines them: what a checkpoint is wrapped in. Pure: no files, no clock.
//!
//! ```text
//! text, ends with a line feed
//!                                        one empty line
//! — <key name> <base64 of key id, 4 bytes, and Ed25519 signature, 64 bytes>
//! ```
//!
//! The key id is the first four bytes of `SHA-256(name || "\n" || 0x01 || public key)`.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis_core::Secret;

use crate::tree::Hash;

/// The algorithm byte of Ed25519.
const ED25519_KIND: u8 = 1;
const SIGNATURE_START: &str = "\u{2014} ";
const PRIVATE_START: &str = "PRIVATE+KEY+";

/// What checks signatures: the public key with its name. Written as C2SP's *vkey*: `<name>+<key id, hex>+<base64>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

/// What signs: the key pair with its name.
pub struct SigningKey {
    verifier: VerifierKey,
    pair: Ed25519KeyPair,
    seed: Secret<[u8; 32]>,
}

/// The text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a verifier key.
    #[error("not a verifier key: expected `name+hash+base64`, as in `keys/audit.pub`")]
    Verifier,
    /// Not a private key.
    #[error("not a private key: expected `PRIVATE+KEY+name+hash+base64`")]
    Private,
    /// A name that notes cannot carry.
    #[error("a key's name is not empty and has neither spaces nor `+`")]
    Name,
}

/// Why a note is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    /// Not the form of a signed note.
    #[error("it is no signed note")]
    Form,
    /// Signed, but by other keys than the one it is checked with.
    #[error("it is not signed with this key")]
    OtherKey,
    /// Signed in the name of the key, and the signature is wrong.
    #[error("its signature is wrong")]
    Signature,
}

impl VerifierKey {
    fn new(name: &str, public: [u8; 32]) -> Result<Self, InvalidKey> {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(InvalidKey::Name);
        }
        let named = [name.as_bytes(), b"\n", &[ED25519_KIND], &public].concat();
        let [a, b, c, d, ..] = Hash::of(&named).0;
        Ok(Self { name: name.to_owned(), id: [a, b, c, d], public })
    }

    /// The key's name, which is the origin of the checkpoints it signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this key signed.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteFault> {
        let (text, signatures) = split(note).ok_or(NoteFault::Form)?;
        let mut fault = NoteFault::OtherKey;
        for line in signatures.lines() {
            let (name, encoded) = line
                .strip_prefix(SIGNATURE_START)
                .and_then(|line| line.split_once(' '))
                .ok_or(NoteFault::Form)?;
            let bytes = STANDARD.decode(encoded).map_err(|_| NoteFault::Form)?;
            let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteFault::Form)?;
            if name != self.name || *id != self.id {
                continue;
            }
            match UnparsedPublicKey::new(&ED25519, self.public).verify(text.as_bytes(), signature) {
                Ok(()) => return Ok(text),
                Err(_) => fault = NoteFault::Signature,
            }
        }
        Err(fault)
    }
}

/// Text with its line feed, and signature lines.
fn split(note: &str) -> Option<(&str, &str)> {
    let at = note.rfind("\n\n")?;
    let (text, rest) = note.split_at_checked(at + 1)?;
    let signatures = rest.strip_prefix('\n')?;
    (signatures.ends_with('\n') && !text.contains(|c: char| c.is_control() && c != '\n'))
        .then_some((text, signatures))
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519_KIND][..], &self.public].concat();
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id), STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let (name, id, public) = parts(text).ok_or(InvalidKey::Verifier)?;
        let this = Self::new(name, public)?;
        (u32::from_be_bytes(this.id) == id).then_some(this).ok_or(InvalidKey::Verifier)
    }
}

/// Name, key id and the 32 bytes after the algorithm. The base64 may hold a `+` itself.
fn parts(text: &str) -> Option<(&str, u32, [u8; 32])> {
    let (name, rest) = text.split_once('+')?;
    let (id, encoded) = rest.split_once('+')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (kind, key) = bytes.split_first()?;
    let wanted = id.len() == 8 && *kind == ED25519_KIND;
    let id = u32::from_str_radix(id, 16).ok().filter(|_| wanted)?;
    Some((name, id, key.try_into().ok()?))
}

impl SigningKey {
    /// A new key with this name; the rest is random from the operating system.
    pub fn generate(name: &str) -> Result<Self, InvalidKey> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| InvalidKey::Private)?;
        Self::from_seed(name, seed)
    }

    fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, InvalidKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| InvalidKey::Private)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| InvalidKey::Private)?;
        Ok(Self { verifier: VerifierKey::new(name, public)?, pair, seed: Secret::new(seed) })
    }

    /// Reads `PRIVATE+KEY+<name>+<key id>+<base64>`.
    pub fn decode(text: &Secret<String>) -> Result<Self, InvalidKey> {
        let text = text.expose().strip_prefix(PRIVATE_START).ok_or(InvalidKey::Private)?;
        let (name, id, seed) = parts(text).ok_or(InvalidKey::Private)?;
        let this = Self::from_seed(name, seed)?;
        (u32::from_be_bytes(this.verifier.id) == id).then_some(this).ok_or(InvalidKey::Private)
    }

    /// The key as text, for a file that only its owner reads.
    pub fn encode(&self) -> Secret<String> {
        let key = Secret::new([&[ED25519_KIND][..], self.seed.expose()].concat());
        let VerifierKey { name, id, .. } = &self.verifier;
        Secret::new(format!(
            "{PRIVATE_START}{name}+{:08x}+{}",
            u32::from_be_bytes(*id),
            STANDARD.encode(key.expose())
        ))
    }

    /// The public half.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signed note over `text`, which ends with a line feed.
    pub fn sign(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let signed = [&self.verifier.id[..], signature.as_ref()].concat();
        format!("{text}\n{SIGNATURE_START}{} {}\n", self.verifier.name, STANDARD.encode(signed))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.verifier).finish()
    }
}

/// Whether a line, without its line feed, is a signature.
pub(crate) fn is_signature(line: &[u8]) -> bool {
    line.starts_with(SIGNATURE_START.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Go's `golang.org/x/mod/sumdb/note`, from which C2SP signed-note comes.
    const PRIVATE: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const SIGNATURE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn key() -> SigningKey {
        SigningKey::decode(&Secret::new(PRIVATE.to_owned())).unwrap()
    }

    #[test]
    fn the_known_answer_of_signed_notes() {
        let key = key();
        assert_eq!(key.verifier().to_string(), PUBLIC);
        assert_eq!(key.encode().expose(), PRIVATE);
        let note = key.sign(TEXT);
        assert_eq!(note, format!("{TEXT}\n{SIGNATURE}"));
        let verifier: VerifierKey = PUBLIC.parse().unwrap();
        assert_eq!(verifier.open(&note), Ok(TEXT));
    }

    #[test]
    fn a_note_that_is_not_as_it_was_signed_is_refused() {
        let (key, other) = (key(), SigningKey::generate("example.org/other").unwrap());
        let note = key.sign(TEXT);
        assert_eq!(other.verifier().open(&note), Err(NoteFault::OtherKey));
        let same_name = SigningKey::generate("PeterNeumann").unwrap();
        assert_eq!(same_name.verifier().open(&note), Err(NoteFault::OtherKey));
        assert_eq!(key.verifier().open(&note.replace("answer", "reason")), Err(NoteFault::Signature));
        assert_eq!(key.verifier().open(note.trim_end()), Err(NoteFault::Form));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(key.verifier().open(&changed).is_err(), "byte {at}: {changed}");
        }
        // A cosignature beside it changes nothing.
        let both = format!("{note}{}", other.sign(TEXT).rsplit("\n\n").next().unwrap());
        assert_eq!((key.verifier().open(&both), other.verifier().open(&both)), (Ok(TEXT), Ok(TEXT)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in
            ["", "a+b", "a+00000000+", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"]
        {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
        assert!(SigningKey::decode(&Secret::new(PUBLIC.to_owned())).is_err());
        for bad in ["", "a b", "a+b", "a\n"] {
            assert!(SigningKey::generate(bad).is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", key()).contains("AYEKFALV"));
    }
}
