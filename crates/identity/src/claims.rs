//! Reading claims (RFC 7519 section 4): one type each, no guessing, and the checks every issuer's tokens share.

use std::time::Duration;

use portcullis_core::Timestamp;
use serde_json::{Map, Value};

use crate::Error;

#[cfg(test)]
mod tests;

/// How far the issuer's clock and ours may be apart.
pub(crate) const SKEW: Duration = Duration::from_secs(60);
/// Latest date we take for a date: the last that can be written and read back, late in the year 9999.
const LAST_SECOND: i64 = Timestamp::MAX.as_seconds();
/// Longest text claim kept, in bytes. The longest real one is an AWS role ARN or a CI job's subject (under 1 KB).
const MAX_TEXT: usize = 1024;

/// The claims of a token. Reading does not mean believing: the caller knows whether the signature was checked.
pub(crate) struct Claims<'a>(&'a Map<String, Value>);

/// When a token was issued and when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) issued_at: Option<Timestamp>,
    pub(crate) expires_at: Timestamp,
}

impl<'a> Claims<'a> {
    pub(crate) const fn new(map: &'a Map<String, Value>) -> Self {
        Self(map)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// How many claims have this name when case is ignored.
    pub(crate) fn spellings(&self, name: &str) -> usize {
        self.0.keys().filter(|key| key.eq_ignore_ascii_case(name)).count()
    }

    /// The value at a JSON pointer (RFC 6901).
    pub(crate) fn pointer(&self, pointer: &str) -> Option<&'a Value> {
        let rest = pointer.strip_prefix('/')?;
        let (first, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        self.0.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
    }

    /// A text claim that must be there: not empty, bounded, without control characters.
    pub(crate) fn text(&self, name: &str, what: &'static str) -> Result<&'a str, Error> {
        text(self.value(name)).ok_or(Error::Claims { what })
    }

    /// A text claim that may be absent but, where present, must be text.
    pub(crate) fn optional_text(&self, name: &str, what: &'static str) -> Result<Option<&'a str>, Error> {
        match self.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(value)) if value.is_empty() => Ok(None),
            value => text(value).map(Some).ok_or(Error::Claims { what }),
        }
    }

    /// `aud` (RFC 7519 section 4.1.3): a string or an array of strings, one of which is in `accepted`, byte for byte.
    pub(crate) fn check_audience(&self, accepted: &[String]) -> Result<(), Error> {
        let malformed = Error::Claims { what: "`aud` is neither a string nor an array of strings" };
        let named = |audience: &str| accepted.iter().any(|accepted| accepted == audience);
        let found = match self.value("aud") {
            Some(Value::String(audience)) => named(audience),
            Some(Value::Array(audiences)) => {
                let mut found = false;
                for audience in audiences {
                    found |= named(audience.as_str().ok_or_else(|| malformed.clone())?);
                }
                found
            }
            _ => return Err(malformed),
        };
        if found { Ok(()) } else { Err(Error::Audience) }
    }

    /// `exp`, `nbf` and `iat` at `now`, with at most [`SKEW`]. Dates are whole seconds: a float or a string is refused, since parsers
    /// that coerce them disagree.
    pub(crate) fn check_times(&self, now: Timestamp) -> Result<Lifetime, Error> {
        let expires_at = self
            .date("exp", "`exp` is not a whole number of seconds")?
            .ok_or(Error::Claims { what: "`exp` is missing" })?;
        let not_before = self.date("nbf", "`nbf` is not a whole number of seconds")?;
        let issued_at = self.date("iat", "`iat` is not a whole number of seconds")?;
        if now >= expires_at.plus(SKEW) {
            return Err(Error::Expired);
        }
        let latest = now.plus(SKEW);
        if not_before.is_some_and(|not_before| not_before > latest) {
            return Err(Error::NotYetValid { what: "`nbf` is in the future" });
        }
        if issued_at.is_some_and(|issued_at| issued_at > latest) {
            return Err(Error::NotYetValid { what: "`iat` is in the future" });
        }
        if issued_at.is_some_and(|issued_at| issued_at >= expires_at) {
            return Err(Error::Claims { what: "`exp` is not after `iat`" });
        }
        Ok(Lifetime { issued_at: issued_at.or(not_before), expires_at })
    }

    fn date(&self, name: &str, what: &'static str) -> Result<Option<Timestamp>, Error> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(seconds @ 0..=LAST_SECOND) => Ok(Some(Timestamp::from_seconds(seconds))),
                _ => Err(Error::Claims { what }),
            },
            Some(_) => Err(Error::Claims { what }),
        }
    }

    /// Refuses what is recognisably not an access token whoever issued it, and what must not be used without a further proof.
    pub(crate) fn check_is_bearer_access_token(&self) -> Result<(), Error> {
        // OpenID Connect Core 1.0 sections 2 and 3.3.2.11: in ID tokens only.
        if ["nonce", "at_hash", "c_hash", "s_hash"].iter().any(|name| self.has(name)) && !self.has("events") {
            return Err(Error::TokenType { what: "it has claims of an ID token" });
        }
        self.check_is_bearer()
    }

    /// Refuses what is not presented to say who one is, and what must not be used without a further proof.
    pub(crate) fn check_is_bearer(&self) -> Result<(), Error> {
        if self.has("events") {
            // RFC 8417 section 2.2 (security events) and OpenID Connect Back-Channel Logout 1.0 section 2.4.
            return Err(Error::TokenType {
                what: "it has `events`, so it is a security event or a logout token",
            });
        }
        if self.has("cnf") {
            return Err(Error::SenderConstrained);
        }
        Ok(())
    }
}

/// Text fit to be kept: not empty, at most [`MAX_TEXT`] bytes, no control characters (it will be shown in terminals and logs).
pub(crate) fn text(value: Option<&Value>) -> Option<&str> {
    let text = value?.as_str()?;
    (!text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)).then_some(text)
}

/// A claim that lists: an array of strings, or one string of parts separated by spaces (as OAuth's `scope`, RFC 6749 section 3.3).
pub(crate) fn list(value: &Value, what: &'static str) -> Result<Vec<String>, Error> {
    let one = |text: &str| -> Result<String, Error> {
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(Error::Claims { what });
        }
        Ok(text.to_owned())
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => text.split(' ').filter(|part| !part.is_empty()).map(one).collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| match item.as_str() {
                Some(text) if !text.is_empty() => one(text),
                _ => Err(Error::Claims { what }),
            })
            .collect(),
        _ => Err(Error::Claims { what }),
    }
}

/// Whether the text is a GUID in the form directories print: 8-4-4-4-12 hex digits.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
