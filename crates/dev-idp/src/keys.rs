//! Signing keys: 2,048-bit RSA made at start, published as Entra publishes them, rotated on demand.
//!
//! INVARIANT(one-algorithm): tokens are verified with RS256 and a published key named by `kid`, whatever their header
//! says.

use std::{collections::VecDeque, time::Duration};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{self, KeyPair as _, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use portcullis_core::Timestamp;
use serde_json::{Map, Value, json};

use crate::{directory::TokenVersion, error::Error};

/// How long a key stays published after it was replaced: the longest token lifetime.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// Replaced keys kept at most.
const MAX_REPLACED: usize = 4;
/// The longest token looked at, in bytes.
pub(crate) const MAX_TOKEN: usize = 64 * 1024;

/// The current key, and replaced ones that are still published.
pub(crate) struct Keys {
    current: SigningKey,
    replaced: VecDeque<(SigningKey, Timestamp)>,
}

/// One key pair with its published form.
pub(crate) struct SigningKey {
    pair: KeyPair,
    kid: String,
    certificate: Vec<u8>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Keys {
    /// One new key.
    pub(crate) fn generate() -> Result<Self, Error> {
        Ok(Self { current: SigningKey::generate()?, replaced: VecDeque::new() })
    }

    /// Signs with `next` from now on; the key it replaces stays published for a day.
    pub(crate) fn rotate(&mut self, next: SigningKey, now: Timestamp) {
        let replaced = std::mem::replace(&mut self.current, next);
        self.replaced.push_front((replaced, now.plus(OVERLAP)));
        self.replaced.truncate(MAX_REPLACED);
    }

    /// Withdraws every replaced key at once, as after a compromise.
    pub(crate) fn withdraw_replaced(&mut self) {
        self.replaced.clear();
    }

    /// The key that signs.
    pub(crate) const fn current(&self) -> &SigningKey {
        &self.current
    }

    /// The published keys, newest first.
    fn published(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        let replaced = self.replaced.iter().filter(move |(_, until)| now < *until).map(|(key, _)| key);
        std::iter::once(&self.current).chain(replaced)
    }

    /// The JWKS document; `issuer` is the template that the non-standard member of each key carries.
    pub(crate) fn jwks(&self, issuer: &str, cloud: &str, now: Timestamp) -> Value {
        let keys: Vec<Value> = self.published(now).map(|key| key.jwk(issuer, cloud)).collect();
        json!({ "keys": keys })
    }

    /// The claims of a token signed by a published key and valid at `now`; `None` for any other.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Option<Map<String, Value>> {
        let claims = self.signed_by(token, self.published(now))?;
        let seconds = now.as_seconds();
        let valid = claims.get("nbf")?.as_i64()? <= seconds && seconds < claims.get("exp")?.as_i64()?;
        valid.then_some(claims)
    }

    /// The claims of a token that was signed here, however long ago.
    pub(crate) fn read(&self, token: &str) -> Option<Map<String, Value>> {
        let ever = std::iter::once(&self.current).chain(self.replaced.iter().map(|(key, _)| key));
        self.signed_by(token, ever)
    }

    fn signed_by<'a>(
        &self,
        token: &str,
        mut keys: impl Iterator<Item = &'a SigningKey>,
    ) -> Option<Map<String, Value>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Map<String, Value> = decode_object(header)?;
        let kid = header.get("kid")?.as_str()?;
        let key = keys.find(|key| key.kid == kid)?;
        if header.get("alg")?.as_str()? != "RS256" {
            return None;
        }
        let public =
            UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key.pair.public_key().as_ref());
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        public.verify(signed.as_bytes(), &signature).ok()?;
        decode_object(payload)
    }
}

impl SigningKey {
    /// A new key. Takes tens of milliseconds of CPU: call it outside of locks.
    pub(crate) fn generate() -> Result<Self, Error> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Key("cannot be generated"))?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::Key("cannot be encoded"))?;
        let certified =
            rcgen::KeyPair::try_from(pkcs8.as_ref()).map_err(|_| Error::Key("cannot be certified"))?;
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&certified))
            .map_err(|_| Error::Key("cannot be certified"))?;
        let certificate = certificate.der().to_vec();
        // Entra's `kid` is the certificate's SHA-1 thumbprint, the same value as `x5t` (RFC 7517, section 4.8).
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        let (modulus, exponent) =
            public_components(pair.public_key().as_ref()).ok_or(Error::Key("has an unexpected encoding"))?;
        Ok(Self { kid: URL_SAFE_NO_PAD.encode(thumbprint), pair, certificate, modulus, exponent })
    }

    /// The key's name in headers and in the JWKS.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as the PEM file that a confused verifier might use as an HMAC secret.
    pub(crate) fn public_pem(&self) -> Result<String, Error> {
        let der: PublicKeyX509Der<'_> =
            self.pair.public_key().as_der().map_err(|_| Error::Key("cannot be encoded"))?;
        let text = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }

    /// The header Entra writes: v1.0 tokens carry `x5t` too.
    pub(crate) fn header(&self, version: TokenVersion) -> Map<String, Value> {
        let mut header = Map::new();
        header.insert("typ".to_owned(), json!("JWT"));
        header.insert("alg".to_owned(), json!("RS256"));
        header.insert("kid".to_owned(), json!(self.kid));
        if version == TokenVersion::V1 {
            header.insert("x5t".to_owned(), json!(self.kid));
        }
        header
    }

    /// The RS256 signature of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| Error::Key("cannot sign"))?;
        Ok(signature)
    }

    /// A signed token with the header Entra writes.
    pub(crate) fn token(&self, version: TokenVersion, claims: &Map<String, Value>) -> Result<String, Error> {
        let message = format!("{}.{}", encode_object(&self.header(version)), encode_object(claims));
        let signature = self.sign(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn jwk(&self, issuer: &str, cloud: &str) -> Value {
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
            "x5c": [STANDARD.encode(&self.certificate)],
            "cloud_instance_name": cloud,
            "issuer": issuer,
        })
    }
}

/// A JSON object as a part of a compact JWS.
pub(crate) fn encode_object(object: &Map<String, Value>) -> String {
    URL_SAFE_NO_PAD.encode(Value::Object(object.clone()).to_string())
}

fn decode_object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Modulus and exponent of a DER `RSAPublicKey` (RFC 8017, appendix A.1.1), without leading zeros.
fn public_components(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (sequence, rest) = der_value(der, 0x30)?;
    let (modulus, after) = der_value(sequence, 0x02)?;
    let (exponent, end) = der_value(after, 0x02)?;
    let unsigned =
        |integer: &[u8]| integer.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    (rest.is_empty() && end.is_empty()).then(|| (unsigned(modulus), unsigned(exponent)))
}

/// The content of one DER element with that tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    let [found, length] = *head;
    if found != tag {
        return None;
    }
    if length < 0x80 {
        return rest.split_at_checked(usize::from(length));
    }
    let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    if length.len() > 2 {
        return None;
    }
    let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_key_verifies_for_a_day() {
        let start = Timestamp::from_seconds(1_790_000_000);
        let mut keys = Keys::generate().unwrap();
        let claims = json!({ "nbf": 0, "exp": 9_000_000_000_i64 });
        let token = keys.current().token(TokenVersion::V2, claims.as_object().unwrap()).unwrap();
        assert!(keys.verify(&token, start).is_some());
        keys.rotate(SigningKey::generate().unwrap(), start);
        assert!(keys.verify(&token, start).is_some());
        assert_eq!(keys.jwks("i", "c", start)["keys"].as_array().unwrap().len(), 2);
        let later = start.plus(OVERLAP);
        assert!(keys.verify(&token, later).is_none());
        assert_eq!(keys.jwks("i", "c", later)["keys"].as_array().unwrap().len(), 1);
        keys.withdraw_replaced();
        assert!(keys.verify(&token, start).is_none());
    }

    #[test]
    fn anything_but_a_token_of_ours_is_refused() {
        let now = Timestamp::from_seconds(1_790_000_000);
        let keys = Keys::generate().unwrap();
        let claims = json!({ "nbf": 0, "exp": 9_000_000_000_i64 });
        let other =
            SigningKey::generate().unwrap().token(TokenVersion::V2, claims.as_object().unwrap()).unwrap();
        for token in ["", ".", "..", "a.b.c", "é.é.é", &other, &"x".repeat(MAX_TOKEN + 1)] {
            assert!(keys.verify(token, now).is_none());
        }
    }

    #[test]
    fn a_truncated_public_key_has_no_components() {
        let key = SigningKey::generate().unwrap();
        let der = key.pair.public_key().as_ref();
        assert_eq!(public_components(der).unwrap().0.len(), 256);
        for end in 0..der.len() {
            assert!(public_components(&der[..end]).is_none());
        }
    }
}
