//! The client's message of SASL OAUTHBEARER: RFC 7628 section 3.1, with the restrictions PostgreSQL's own server makes.

/// The mechanism's registered name.
pub const MECHANISM: &[u8] = b"OAUTHBEARER";

/// What a well-formed message brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Response<'a> {
    /// A token.
    Token(&'a [u8]),
    /// No token: the client asks where to get one.
    Discovery,
    /// Something that is not a bearer token.
    Unusable,
}

// A token is not printed.
impl std::fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(…)",
            Self::Discovery => "Discovery",
            Self::Unusable => "Unusable",
        })
    }
}

/// `kvsep` of RFC 7628.
const SEPARATOR: u8 = 0x01;

/// Reads `n,,^Aauth=Bearer TOKEN^A^A`. An error says what is wrong with its structure.
pub fn parse(message: &[u8]) -> Result<Response<'_>, &'static str> {
    let rest = match message.split_first() {
        Some((b'n' | b'y', rest)) => rest,
        Some((b'p', _)) => return Err("channel binding is not part of the mechanism"),
        _ => return Err("the gs2 header is malformed"),
    };
    let rest = match rest {
        [b',', b',', rest @ ..] => rest,
        [b',', b'a', ..] => return Err("an authorization identity is not supported"),
        _ => return Err("the gs2 header is malformed"),
    };
    let mut rest = rest.strip_prefix(&[SEPARATOR]).ok_or("a key-value separator is missing")?;
    let mut auth = None;
    loop {
        if let Some(end) = rest.strip_prefix(&[SEPARATOR]) {
            if !end.is_empty() {
                return Err("there is data after the final separator");
            }
            break;
        }
        let end =
            rest.iter().position(|byte| *byte == SEPARATOR).ok_or("a key-value pair is unterminated")?;
        let (pair, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = after.get(1..).unwrap_or_default();
        let (key, value) = key_value(pair)?;
        if key == b"auth" && auth.replace(value).is_some() {
            return Err("there are two auth values");
        }
    }
    Ok(bearer(auth.ok_or("there is no auth value")?))
}

fn key_value(pair: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let equals = pair.iter().position(|byte| *byte == b'=').ok_or("a key-value pair has no value")?;
    let (key, value) = pair.split_at_checked(equals).unwrap_or((pair, &[]));
    let value = value.get(1..).unwrap_or_default();
    if key.is_empty() || !key.iter().all(u8::is_ascii_alphabetic) {
        return Err("a key is malformed");
    }
    // value = *(VCHAR / SP / HTAB / CR / LF)
    if !value.iter().all(|byte| matches!(byte, b'\t' | b'\r' | b'\n' | 0x20..=0x7e)) {
        return Err("a value is malformed");
    }
    Ok((key, value))
}

/// `Bearer` without regard to case, spaces, a `b64token` (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Response<'_> {
    if value.is_empty() {
        return Response::Discovery;
    }
    let Some((scheme, rest)) = value.split_at_checked(6) else { return Response::Unusable };
    if !scheme.eq_ignore_ascii_case(b"Bearer") || !rest.starts_with(b" ") {
        return Response::Unusable;
    }
    let token = rest.trim_ascii_start();
    let unpadded = token.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    if unpadded == 0 || !token.iter().take(unpadded).all(is_token) {
        return Response::Unusable;
    }
    Response::Token(token)
}
