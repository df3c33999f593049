use serde_json::json;

use super::*;

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn token(header: &str, claims: &str) -> String {
    format!("{}.{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()), encode(b"signature"))
}

fn parse(token: &str) -> Result<(), Error> {
    Unverified::parse(token).map(|_| ())
}

fn header(value: &Value) -> Result<Header, Error> {
    Header::parse(value.to_string().as_bytes())
}

#[test]
fn a_token_is_exactly_three_segments_of_canonical_base64url() {
    let good = token(r#"{"alg":"RS256"}"#, "{}");
    assert_eq!(parse(&good), Ok(()));
    let segments: Vec<&str> = good.split('.').collect();
    let (h, c, s) = (segments[0], segments[1], segments[2]);
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        h.to_owned(),
        format!("{h}.{c}"),
        format!("{h}.{c}."),
        format!(".{c}.{s}"),
        format!("{h}..{s}"),
        format!("{h}.{c}.{s}."),
        format!("{h}.{c}.{s}.x"),
        format!("{h}=.{c}.{s}"),
        format!("{h}.{c}.{s}="),
        format!("{h}.{c}.{s}\n"),
        format!(" {h}.{c}.{s}"),
        format!("Bearer {h}.{c}.{s}"),
        format!("{h}.{c}.a+b/"),
        format!("{h}.{c}.é"),
        // The last character carries bits that decoding drops: two spellings of one signature.
        format!("{h}.{c}.AB"),
    ] {
        assert!(matches!(parse(&bad), Err(Error::Malformed { .. })), "{bad}");
    }
}

#[test]
fn a_token_is_refused_by_size_before_any_work() {
    assert_eq!(parse(&"a".repeat(crate::Identity::MAX_TOKEN + 1)), Err(Error::TooLarge));
    let wide = format!(r#"{{"alg":"RS256","x":"{}"}}"#, "x".repeat(MAX_HEADER));
    assert!(matches!(parse(&token(&wide, "{}")), Err(Error::Malformed { .. })));
}

#[test]
fn five_segments_or_an_encryption_are_an_encrypted_token() {
    assert_eq!(parse("a.b.c.d.e"), Err(Error::Encrypted));
    assert_eq!(parse("...."), Err(Error::Encrypted));
    assert_eq!(header(&json!({ "alg": "RSA-OAEP", "enc": "A256GCM" })).err(), Some(Error::Encrypted));
    assert_eq!(header(&json!({ "alg": "RS256", "zip": "DEF" })).err(), Some(Error::Encrypted));
}

#[test]
fn a_key_twice_is_refused_in_header_and_claims() {
    assert!(matches!(parse(&token(r#"{"alg":"RS256","alg":"RS256"}"#, "{}")), Err(Error::Malformed { .. })));
    assert!(matches!(
        parse(&token(r#"{"alg":"RS256"}"#, r#"{"aud":"a","aud":"b"}"#)),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    for bad in ["", "[]", "1", "{", "{}{}", "\u{0}"] {
        assert!(matches!(parse(&token(r#"{"alg":"RS256"}"#, bad)), Err(Error::Malformed { .. })), "{bad:?}");
        assert!(matches!(parse(&token(bad, "{}")), Err(Error::Malformed { .. })), "{bad:?}");
    }
}

#[test]
fn none_and_symmetric_algorithms_do_not_exist_here() {
    for name in ["none", "None", "NONE", "HS256", "HS384", "HS512", "rs256", "RSA1_5", "dir", "ES256K", ""] {
        assert_eq!(header(&json!({ "alg": name })).unwrap().algorithm, None, "{name}");
    }
    assert!(header(&json!({})).is_err());
    assert!(header(&json!({ "alg": ["RS256"] })).is_err());
    assert_eq!(header(&json!({ "alg": "RS256" })).unwrap().algorithm, Some(Algorithm::RS256));
}

#[test]
fn a_header_that_brings_keys_or_demands_along_is_refused() {
    for name in ["crit", "b64", "jku", "x5u", "jwk", "x5c"] {
        let refused = header(&json!({ "alg": "RS256", name: "https://evil.example/keys" }));
        assert!(matches!(refused.err(), Some(Error::Header { .. })), "{name}");
    }
    assert!(header(&json!({ "alg": "RS256", "x5t": "abc", "nonce": "n" })).is_ok());
}

#[test]
fn a_kid_is_bounded_text_without_control_characters() {
    for bad in [
        json!(""),
        json!("k".repeat(257)),
        json!("k".repeat(10_240)),
        json!("a\nb"),
        json!("a\u{0}"),
        json!("\u{7f}"),
    ] {
        let refused = header(&json!({ "alg": "RS256", "kid": bad }));
        assert!(matches!(refused.err(), Some(Error::Header { .. })), "{bad}");
    }
    for bad in [json!(1), json!(null), json!(["k"])] {
        assert!(matches!(
            header(&json!({ "alg": "RS256", "kid": bad })).err(),
            Some(Error::Malformed { .. })
        ));
    }
    // Odd but harmless: a kid is only ever compared.
    for odd in ["../../etc/passwd", "' OR 1=1 --", "https://evil.example/jwks"] {
        assert_eq!(header(&json!({ "alg": "RS256", "kid": odd })).unwrap().kid.as_deref(), Some(odd));
    }
}

#[test]
fn types_are_compared_without_case_and_prefix() {
    for (typ, expected) in [
        ("JWT", "jwt"),
        ("at+JWT", "at+jwt"),
        ("application/at+jwt", "at+jwt"),
        ("secevent+jwt", "secevent+jwt"),
    ] {
        assert_eq!(header(&json!({ "alg": "RS256", "typ": typ })).unwrap().typ.as_deref(), Some(expected));
    }
}
