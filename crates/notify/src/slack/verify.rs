//! Whether a call comes from Slack, and for the first time.
//!
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>: `X-Slack-Signature` is `v0=` and the hexadecimal
//! HMAC-SHA256 of `v0:<X-Slack-Request-Timestamp>:<body>` under the app's signing secret; older than five minutes is refused.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use portcullis_core::{ErrorKind, Secret, Timestamp};
use reqwest::header::HeaderMap;

/// How far the call's time may be from ours, either way.
const WINDOW: Duration = Duration::from_secs(300);
/// Most calls remembered. Only calls with a good signature are, so only Slack can fill it.
const MAX_SEEN: usize = 10_000;
/// Bytes of an HMAC-SHA256.
const TAG: usize = 32;

/// Verifies Slack's calls, each once. One for the whole gateway: it remembers what it has seen.
#[derive(Debug, Default)]
pub struct Verifier {
    seen: Mutex<BTreeSet<(Timestamp, [u8; TAG])>>,
}

/// Why a call is not taken. The caller is told one thing for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFromSlack {
    /// A header is missing, there twice, or not of its form.
    #[error("the call has no signature of the form Slack's have")]
    Form,
    /// Signed for another time than now.
    #[error("the call is more than five minutes from now")]
    Time,
    /// Not signed with this secret, or not this body.
    #[error("the signature is not that of this body")]
    Signature,
    /// It was taken before.
    #[error("the call was made before")]
    Replayed,
    /// More good calls in ten minutes than are remembered.
    #[error("too many calls")]
    TooMany,
}

impl NotFromSlack {
    /// `Limit` where there are too many, else `Denied`.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::TooMany => ErrorKind::Limit,
            _ => ErrorKind::Denied,
        }
    }
}

impl Verifier {
    /// Whether this body, as it came, was signed by Slack with `secret` at about `now`, and is seen for the first time.
    /// Compares in constant time. With several secrets (several Slack channels), ask with each: [`NotFromSlack::Signature`]
    /// means that another may fit.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        secret: &Secret<String>,
        now: Timestamp,
    ) -> Result<(), NotFromSlack> {
        let at = one(headers, "x-slack-request-timestamp")?;
        let tag = one(headers, "x-slack-signature")?
            .strip_prefix("v0=")
            .and_then(from_hex)
            .ok_or(NotFromSlack::Form)?;
        if at.is_empty() || at.len() > 12 || !at.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotFromSlack::Form);
        }
        let signed_at = Timestamp::from_seconds(at.parse().map_err(|_| NotFromSlack::Form)?);
        if signed_at.since(now) > WINDOW || now.since(signed_at) > WINDOW {
            return Err(NotFromSlack::Time);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let signed = [b"v0:", at.as_bytes(), b":", body].concat();
        hmac::verify(&key, &signed, &tag).map_err(|_| NotFromSlack::Signature)?;
        self.first_time(signed_at, tag, now)
    }

    fn first_time(&self, signed_at: Timestamp, tag: [u8; TAG], now: Timestamp) -> Result<(), NotFromSlack> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What is older would be refused for its time.
        *seen = seen.split_off(&(now.minus(WINDOW), [0; TAG]));
        if seen.len() >= MAX_SEEN {
            return Err(NotFromSlack::TooMany);
        }
        if seen.insert((signed_at, tag)) { Ok(()) } else { Err(NotFromSlack::Replayed) }
    }
}

/// The header's value, where there is exactly one.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, NotFromSlack> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| NotFromSlack::Form),
        _ => Err(NotFromSlack::Form),
    }
}

fn from_hex(text: &str) -> Option<[u8; TAG]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != TAG || !rest.is_empty() {
        return None;
    }
    let mut tag = [0; TAG];
    for (byte, [high, low]) in tag.iter_mut().zip(pairs) {
        let digit =
            |character: u8| char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(*high)?.checked_mul(16)?.checked_add(digit(*low)?)?;
    }
    Some(tag)
}
