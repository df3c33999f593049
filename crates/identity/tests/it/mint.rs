//! Keys and tokens, right and wrong.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub enum Key {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// The key as it is published; for RSA also the bytes an HS256 forger would use.
    pub fn public(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    pub fn jwk(&self, kid: &str) -> Value {
        let public = self.public();
        match self {
            // RSAPublicKey (RFC 8017 appendix A.1.1) of 2048 bits with exponent 65537 has fixed offsets.
            Self::Rsa(_) => {
                assert_eq!(public.len(), 270);
                json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": encode(&public[9..265]), "e": "AQAB" })
            }
            Self::P256(_) => json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid,
                "x": encode(&public[1..33]), "y": encode(&public[33..]) }),
            Self::P384(_) => json!({ "kty": "EC", "crv": "P-384", "use": "sig", "kid": kid,
                "x": encode(&public[1..49]), "y": encode(&public[49..]) }),
            Self::Ed25519(_) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": encode(&public) })
            }
        }
    }

    /// A token with exactly these texts as header and claims, signed as `alg` of the header says.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let rng = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let scheme: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if header.contains("PS256") { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(scheme, &rng, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&rng, signed.as_bytes()).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", encode(signature))
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }
}

/// A token signed with HS256 and `secret`.
pub fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", encode(tag.as_ref()))
}

/// `value` with `changes` put in; a null change takes the member out.
pub fn with(value: &Value, changes: Value) -> Value {
    let mut value = value.clone();
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (name, change) in changes {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(&name)),
            change => value[name] = change,
        }
    }
    value
}
