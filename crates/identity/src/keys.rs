//! Published keys (JWK sets, RFC 7517) and verifying with them.

use std::{collections::HashMap, fmt};

use aws_lc_rs::signature::{self, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_policy::Algorithm;
use serde_json::{Map, Value};

use crate::json;

pub(crate) mod source;
#[cfg(test)]
mod tests;

/// Most keys a set may have. Entra publishes about ten; a set of thousands is a fault or an attack on memory.
const MAX_KEYS: usize = 1000;
/// Smallest and largest RSA modulus, in bits. Under 2048 is refused by RFC 7518 section 3.3; over 8192 costs too much to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// One issuer's published keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeySet {
    by_kid: HashMap<String, Key>,
    /// The only key of a set of one, whether or not it has a `kid`.
    only: Option<Key>,
    published: usize,
}

/// One key that may verify signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    material: Material,
    /// `alg`, where the key says so: then it is for that algorithm only.
    algorithm: Option<Algorithm>,
    /// Entra: which issuer the key is for, `{tenantid}` standing for any tenant.
    pub(crate) issuer: Option<String>,
    /// Entra: which cloud the key is of.
    pub(crate) cloud: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256 { point: Vec<u8> },
    P384 { point: Vec<u8> },
    Ed25519 { point: Vec<u8> },
}

/// Why a key set was refused as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InvalidKeySet {
    Json,
    NoKeys,
    TooMany,
    DuplicateKid,
    NoUsableKey,
}

impl fmt::Display for InvalidKeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "the key set is not one JSON object with distinct keys",
            Self::NoKeys => "the key set has no array `keys`",
            Self::TooMany => "the key set has more than 1000 keys",
            Self::DuplicateKid => "the key set has two keys with the same `kid`",
            Self::NoUsableKey => "the key set has no key that could verify a token",
        })
    }
}

/// Why no key was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The token names none and there is more than one.
    NotNamed,
    /// The token names one that is not there.
    Unknown,
}

/// The signature does not verify under this key and algorithm, or the key is not for the algorithm.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotVerified;

impl KeySet {
    /// Reads a key set. Keys of other types and for other uses are left out; a private key published by mistake is not used.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, InvalidKeySet> {
        let document = json::object(bytes).map_err(|_| InvalidKeySet::Json)?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err(InvalidKeySet::NoKeys);
        };
        if entries.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooMany);
        }
        let mut seen = std::collections::HashSet::new();
        let mut by_kid = HashMap::new();
        let mut only = None;
        for entry in entries {
            let Value::Object(entry) = entry else { continue };
            let kid = entry.get("kid").and_then(Value::as_str);
            if let Some(kid) = kid
                && !seen.insert(kid)
            {
                // Which of the two is meant cannot be known, and one of them may be somebody else's.
                return Err(InvalidKeySet::DuplicateKid);
            }
            let Some(key) = Key::parse(entry) else { continue };
            if entries.len() == 1 {
                only = Some(key.clone());
            }
            if let Some(kid) = kid {
                by_kid.insert(kid.to_owned(), key);
            }
        }
        if by_kid.is_empty() && only.is_none() {
            return Err(InvalidKeySet::NoUsableKey);
        }
        Ok(Self { by_kid, only, published: entries.len() })
    }

    /// Exactly the key that `kid` names. A token without `kid` gets the only key of a set of one, nothing otherwise: keys are never tried
    /// one after the other.
    pub(crate) fn select(&self, kid: Option<&str>) -> Result<&Key, NoKey> {
        match kid {
            Some(kid) => self.by_kid.get(kid).ok_or(NoKey::Unknown),
            None => self.only.as_ref().ok_or(NoKey::NotNamed),
        }
    }

    /// How many keys were published, usable or not.
    pub(crate) const fn published(&self) -> usize {
        self.published
    }
}

impl Key {
    fn parse(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        // `jwt-svid` is SPIFFE's use for keys of JWT-SVIDs.
        if jwk.contains_key("use") && !matches!(text("use"), Some("sig" | "jwt-svid")) {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops")
            && !operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"))
        {
            return None;
        }
        if jwk.contains_key("d") {
            return None;
        }
        let bytes = |name: &str| text(name).and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let modulus: Vec<u8> = bytes("n")?.into_iter().skip_while(|byte| *byte == 0).collect();
                let exponent: Vec<u8> = bytes("e")?.into_iter().skip_while(|byte| *byte == 0).collect();
                let leading = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
                let odd = exponent.last().is_some_and(|byte| byte % 2 == 1) && exponent != [1];
                if !RSA_BITS.contains(&(modulus.len() * 8 - leading)) || !odd || exponent.len() > 5 {
                    return None;
                }
                Material::Rsa { modulus, exponent }
            }
            ("EC", Some("P-256")) => Material::P256 { point: uncompressed(&bytes("x")?, &bytes("y")?, 32)? },
            ("EC", Some("P-384")) => Material::P384 { point: uncompressed(&bytes("x")?, &bytes("y")?, 48)? },
            ("OKP", Some("Ed25519")) => {
                Material::Ed25519 { point: bytes("x").filter(|point| point.len() == 32)? }
            }
            _ => return None,
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => Some(name.as_str()?.parse().ok()?),
        };
        let key = Self {
            material,
            algorithm,
            issuer: text("issuer").map(str::to_owned),
            cloud: text("cloud_instance_name").map(str::to_owned),
        };
        // An `alg` that the key cannot have would never verify anything.
        key.algorithm.is_none_or(|algorithm| key.scheme(algorithm).is_some()).then_some(key)
    }

    /// Verifies `signature` over `signed` under `algorithm`, which must suit the key's type and its own `alg`.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), NotVerified> {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return Err(NotVerified);
        }
        match (self.scheme(algorithm).ok_or(NotVerified)?, &self.material) {
            (Scheme::Rsa(parameters), Material::Rsa { modulus, exponent }) => {
                signature::RsaPublicKeyComponents { n: modulus.as_slice(), e: exponent.as_slice() }
                    .verify(parameters, signed, signature)
            }
            (
                Scheme::Curve(scheme),
                Material::P256 { point } | Material::P384 { point } | Material::Ed25519 { point },
            ) => UnparsedPublicKey::new(scheme, point).verify(signed, signature),
            _ => return Err(NotVerified),
        }
        .map_err(|_| NotVerified)
    }

    /// The one way this key verifies `algorithm`; `None` where the key's type does not have it.
    fn scheme(&self, algorithm: Algorithm) -> Option<Scheme> {
        Some(match (&self.material, algorithm) {
            (Material::Rsa { .. }, Algorithm::RS256) => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (Material::Rsa { .. }, Algorithm::RS384) => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (Material::Rsa { .. }, Algorithm::RS512) => Scheme::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (Material::Rsa { .. }, Algorithm::PS256) => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            (Material::Rsa { .. }, Algorithm::PS384) => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            (Material::Rsa { .. }, Algorithm::PS512) => Scheme::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            (Material::P256 { .. }, Algorithm::ES256) => Scheme::Curve(&signature::ECDSA_P256_SHA256_FIXED),
            (Material::P384 { .. }, Algorithm::ES384) => Scheme::Curve(&signature::ECDSA_P384_SHA384_FIXED),
            (Material::Ed25519 { .. }, Algorithm::EdDSA) => Scheme::Curve(&signature::ED25519),
            _ => return None,
        })
    }
}

enum Scheme {
    Rsa(&'static signature::RsaParameters),
    Curve(&'static dyn signature::VerificationAlgorithm),
}

/// SEC 1 section 2.3.3: `04 || x || y`. RFC 7518 section 6.2.1.2 fixes the lengths.
fn uncompressed(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[0x04], x, y].concat())
}
