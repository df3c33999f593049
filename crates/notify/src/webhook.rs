//! The generic webhook: JSON, signed as Standard Webhooks 1.0.0 says, so that its libraries verify it.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use portcullis_core::{Secret, Timestamp};
use serde_json::{Value as Json, json};

use crate::Notice;

/// How the serialised form of a secret begins; the rest is the key in base64.
const SERIALISED: &str = "whsec_";

/// The body of the request. Fields are added, never renamed.
pub(crate) fn body(notice: &Notice) -> Json {
    json!({
        "type": format!("request.{}", notice.kind.as_str()),
        "timestamp": notice.at,
        "data": {
            "request": notice.request,
            "connection": notice.connection,
            "requester": { "key": notice.requester_key, "name": notice.requester },
            "rule": notice.rule,
            "reason": notice.reason,
            "summary": notice.summary,
            "needs": notice.needs,
            "answer_by": notice.answer_by,
            "answered": notice.answered,
            "link": notice.link.as_str(),
        },
    })
}

/// The headers of one attempt at `now`. The id stays when it is tried again, time and signature do not.
pub(crate) fn headers(
    notice: &Notice,
    body: &[u8],
    secret: &Secret<String>,
    now: Timestamp,
) -> [(&'static str, String); 3] {
    let (id, at) = (notice.id.to_string(), now.as_seconds().to_string());
    let mut signed = hmac::Context::with_key(&key(secret));
    for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
        signed.update(part);
    }
    let signature = format!("v1,{}", BASE64_STANDARD.encode(signed.sign()));
    [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signature)]
}

/// `whsec_` and base64, as the standard serialises keys; anything else is the key itself.
fn key(secret: &Secret<String>) -> hmac::Key {
    let text = secret.expose();
    let decoded = text.strip_prefix(SERIALISED).and_then(|rest| BASE64_STANDARD.decode(rest).ok());
    let bytes = Secret::new(decoded.unwrap_or_else(|| text.as_bytes().to_vec()));
    hmac::Key::new(hmac::HMAC_SHA256, bytes.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's reference libraries.
    #[test]
    fn the_signature_is_the_standard_s() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let mut signed = hmac::Context::with_key(&key(&secret));
        signed.update(br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#);
        assert_eq!(BASE64_STANDARD.encode(signed.sign()), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_not_serialised_is_the_key_itself() {
        let tag = |text: &str| hmac::sign(&key(&Secret::new(text.to_owned())), b"x").as_ref().to_vec();
        let plain = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"whsec_*"), b"x");
        assert_eq!(tag("whsec_*"), plain.as_ref());
        assert_ne!(tag("whsec_YWJj"), tag("whsec_*"));
        assert_eq!(tag("whsec_YWJj"), tag("abc"));
    }
}
