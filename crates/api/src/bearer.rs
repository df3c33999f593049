//! Bearer tokens: the agent's, which `identity` verifies, and the administrator's, which is a file on the gateway's disk.

use axum::http::{HeaderMap, header};
use portcullis_core::Secret;

use crate::Problem;

/// The token that opens administrative routes. Whoever can read the gateway's data directory is an administrator.
pub struct AdminToken(Secret<String>);

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

impl AdminToken {
    /// The shortest token taken: 32 random bytes are 43 characters of base64.
    pub const MIN_LEN: usize = 32;

    /// From what the token file holds; `None` where that is too short to be one, so that an empty file opens nothing.
    pub fn new(token: Secret<String>) -> Option<Self> {
        (token.expose().len() >= Self::MIN_LEN).then_some(Self(token))
    }

    /// Whether this is it; in constant time.
    pub(crate) fn is(&self, presented: &Secret<String>) -> bool {
        self.0.matches(presented.expose().as_bytes())
    }
}

/// The bearer token of a request (RFC 6750 section 2.1). Exactly one `Authorization` header counts.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Secret<String>, Problem> {
    let missing =
        || Problem::unauthorized("a bearer token is needed", "send `Authorization: Bearer <token>`");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(missing()) };
    let text = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    Ok(Secret::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_scheme_s_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(&with(&[value])).unwrap().expose(), "abc");
        }
    }

    #[test]
    fn anything_else_is_no_token() {
        for values in [&[][..], &["abc"], &["Basic abc"], &["Bearer "], &["Bearer a", "Bearer b"]] {
            assert!(bearer(&with(values)).is_err(), "{values:?}");
        }
    }

    #[test]
    fn a_short_admin_token_opens_nothing() {
        assert!(AdminToken::new(Secret::new(String::new())).is_none());
        assert!(AdminToken::new(Secret::new("x".repeat(31))).is_none());
    }

    #[test]
    fn only_the_admin_token_is_it() {
        let admin = AdminToken::new(Secret::new("0123456789abcdef0123456789abcdef".to_owned())).unwrap();
        let is = |text: &str| admin.is(&Secret::new(text.to_owned()));
        assert!(is("0123456789abcdef0123456789abcdef"));
        assert!(!is("0123456789abcdef0123456789abcdeX") && !is("0123456789abcdef0123456789abcde") && !is(""));
    }
}
