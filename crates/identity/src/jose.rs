//! Bytes to the parts of a signed token (JWS compact serialisation, RFC 7515 section 7.1). Nothing here is believed yet.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_policy::Algorithm;
use serde_json::{Map, Value};

use crate::{Error, json};

#[cfg(test)]
mod tests;

/// Longest `kid` looked up, in bytes. Issuers use 20 to 64; an AWS or SPIFFE key id is at most a URI.
const MAX_KID: usize = 256;
/// Longest decoded header. Real ones are under 200 bytes.
const MAX_HEADER: usize = 4096;

/// The parts of a token, unverified.
pub(crate) struct Unverified<'a> {
    pub(crate) header: Header,
    pub(crate) claims: Map<String, Value>,
    /// What the signature is over: the first two segments with their dot.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

/// What of the header counts. Everything else is ignored, or refused where ignoring it could be taken for obeying it.
pub(crate) struct Header {
    /// `None` is an algorithm we do not have: `none`, `HS256`, anything new.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) kid: Option<String>,
    /// Lower case, without an `application/` in front (RFC 7515 section 4.1.9).
    pub(crate) typ: Option<String>,
}

impl<'a> Unverified<'a> {
    /// Splits and decodes. Resists: sizes (the caller's cap is checked again), padding and non-canonical base64, JWE, duplicate keys, keys
    /// or key addresses brought along in the header, critical extensions.
    pub(crate) fn parse(token: &'a str) -> Result<Self, Error> {
        if token.len() > crate::Identity::MAX_TOKEN {
            return Err(Error::TooLarge);
        }
        let dots = token.bytes().filter(|byte| *byte == b'.').count();
        if dots == 4 {
            return Err(Error::Encrypted);
        }
        let (signed, signature) =
            token.rsplit_once('.').ok_or(Error::Malformed { what: "not three segments" })?;
        let (header, claims) =
            signed.split_once('.').ok_or(Error::Malformed { what: "not three segments" })?;
        if dots != 2 {
            return Err(Error::Malformed { what: "not three segments" });
        }
        if header.len() > MAX_HEADER.div_ceil(3).saturating_mul(4) {
            return Err(Error::Malformed { what: "the header is too long" });
        }
        let header = Header::parse(&segment(header)?)?;
        let claims = Self::claims(&segment(claims)?)?;
        let signature = segment(signature)?;
        Ok(Self { header, claims, signed: signed.as_bytes(), signature })
    }

    pub(crate) fn claims(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
        json::object(bytes)
            .map_err(|_| Error::Malformed { what: "the claims are not one JSON object with distinct keys" })
    }

    /// The issuer it names, to find the provider with; proves nothing.
    pub(crate) fn issuer(&self) -> Result<&str, Error> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            _ => Err(Error::Claims { what: "`iss` is not a string" }),
        }
    }
}

fn segment(text: &str) -> Result<Vec<u8>, Error> {
    if text.is_empty() {
        // An empty signature is what `alg: none` has.
        return Err(Error::Malformed { what: "a segment is empty" });
    }
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Error::Malformed { what: "a segment is not base64url without padding" })
}

impl Header {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let map = json::object(bytes)
            .map_err(|_| Error::Malformed { what: "the header is not one JSON object with distinct keys" })?;
        for (name, what) in [
            ("crit", "`crit` is not supported"),
            ("b64", "`b64` is not supported"),
            ("jku", "`jku` brings a key address along"),
            ("x5u", "`x5u` brings a key address along"),
            ("jwk", "`jwk` brings a key along"),
            ("x5c", "`x5c` brings a certificate along"),
        ] {
            if map.contains_key(name) {
                return Err(Error::Header { what });
            }
        }
        if map.contains_key("enc") || map.contains_key("zip") {
            return Err(Error::Encrypted);
        }
        let algorithm = match map.get("alg") {
            Some(Value::String(name)) => name.parse().ok(),
            _ => return Err(Error::Malformed { what: "`alg` is not a string" }),
        };
        let kid = match map.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.is_empty() || kid.len() > MAX_KID => {
                return Err(Error::Header { what: "`kid` is empty or too long" });
            }
            Some(Value::String(kid)) if kid.chars().any(char::is_control) => {
                return Err(Error::Header { what: "`kid` has control characters" });
            }
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Error::Malformed { what: "`kid` is not a string" }),
        };
        let typ = match map.get("typ") {
            None => None,
            Some(Value::String(typ)) => Some(normal_type(typ)),
            Some(_) => return Err(Error::Malformed { what: "`typ` is not a string" }),
        };
        Ok(Self { algorithm, kid, typ })
    }
}

/// A `typ` as it is compared: lower case, without the `application/` that may be left out.
pub(crate) fn normal_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ).to_owned()
}
