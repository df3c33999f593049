//! Cookies: two, both `__Host-`, so that no other host and no plain transport can set or see them (RFC 6265bis section 4.1.3).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use portcullis_core::Secret;

use crate::Problem;

/// A person's session.
pub(crate) const SESSION: &str = "__Host-portcullis";
/// A sign-in under way.
pub(crate) const SIGN_IN: &str = "__Host-portcullis-signin";

/// The cookie's value. One that is there twice was put beside ours by somebody else: then it is none of them.
pub(crate) fn find(headers: &HeaderMap, name: &str) -> Result<Option<Secret<String>>, Problem> {
    let mut found = None;
    for value in headers.get_all(header::COOKIE) {
        let Ok(text) = value.to_str() else { continue };
        for pair in text.split(';') {
            let Some((key, value)) = pair.trim().split_once('=') else { continue };
            if key == name && found.replace(Secret::new(value.to_owned())).is_some() {
                return Err(Problem::malformed("a cookie of the console's is there twice"));
            }
        }
    }
    Ok(found.filter(|value| !value.expose().is_empty()))
}

/// Sets a cookie that scripts cannot read.
///
/// `Lax`, not `Strict`: the browser comes back from the provider by a navigation that began there, and people come by links in chat
/// and mail; neither would bring a `Strict` cookie. What changes anything is never a `GET`, and wants the CSRF header besides.
pub(crate) fn set(name: &str, value: &str, lasts: Duration) -> HeaderValue {
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}", lasts.as_secs());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Takes a cookie away.
pub(crate) fn clear(name: &str) -> HeaderValue {
    set(name, "", Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::COOKIE, HeaderValue::from_static(value));
        }
        find(&headers, SESSION).ok().flatten().map(|value| value.expose().clone())
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_and_once() {
        assert_eq!(found(&["a=b; __Host-portcullis=x; c=d"]).as_deref(), Some("x"));
        assert_eq!(found(&["a=b", "__Host-portcullis=x"]).as_deref(), Some("x"), "HTTP/2 may split them");
        for none in
            [&["__Host-portcullis-signin=x"][..], &["x__Host-portcullis=x"], &["__Host-portcullis="], &[]]
        {
            assert_eq!(found(none), None, "{none:?}");
        }
        assert_eq!(found(&["__Host-portcullis=x; __Host-portcullis=y"]), None, "a second one is an attack");
    }
}
