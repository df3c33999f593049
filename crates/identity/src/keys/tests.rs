use serde_json::json;

use super::*;

/// RFC 7517 appendix A.1, and RFC 8037 appendix A.2.
const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
const P256_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const P256_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
const ED25519_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn rsa(kid: &str) -> Value {
    json!({ "kty": "RSA", "kid": kid, "use": "sig", "n": RSA_N, "e": "AQAB" })
}

fn parse(keys: &[Value]) -> Result<KeySet, InvalidKeySet> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

#[test]
fn two_keys_with_one_kid_refuse_the_set() {
    assert_eq!(parse(&[rsa("a"), rsa("a")]), Err(InvalidKeySet::DuplicateKid));
    // Even where only one of them could be used.
    assert_eq!(
        parse(&[rsa("a"), json!({ "kty": "oct", "kid": "a", "k": "AA" })]),
        Err(InvalidKeySet::DuplicateKid)
    );
    assert!(parse(&[rsa("a"), rsa("b")]).is_ok());
}

#[test]
fn more_than_a_thousand_keys_refuse_the_set() {
    let keys: Vec<Value> =
        (0..1001).map(|number| json!({ "kid": number.to_string(), "kty": "RSA" })).collect();
    assert_eq!(parse(&keys), Err(InvalidKeySet::TooMany));
    let mut keys = keys[..999].to_vec();
    keys.push(rsa("a"));
    assert_eq!(parse(&keys).unwrap().published(), 1000);
}

#[test]
fn what_is_not_a_key_set_is_refused() {
    for (text, expected) in [
        ("", InvalidKeySet::Json),
        ("[]", InvalidKeySet::Json),
        (r#"{"keys":[],"keys":[]}"#, InvalidKeySet::Json),
        ("{}", InvalidKeySet::NoKeys),
        (r#"{"keys":{}}"#, InvalidKeySet::NoKeys),
        (r#"{"keys":[]}"#, InvalidKeySet::NoUsableKey),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes()), Err(expected), "{text}");
    }
}

#[test]
fn keys_that_must_not_verify_are_left_out() {
    let with = |name: &str, value: Value| {
        let mut key = rsa("bad");
        key[name] = value;
        key
    };
    let short = URL_SAFE_NO_PAD.encode([0xff_u8; 128]);
    for bad in [
        with("use", json!("enc")),
        with("use", json!(7)),
        with("key_ops", json!(["encrypt"])),
        with("key_ops", json!("verify")),
        with("d", json!("AQAB")),
        with("alg", json!("HS256")),
        with("alg", json!("none")),
        with("alg", json!("ES256")),
        with("alg", json!(1)),
        with("n", json!(short)),
        with("n", json!("AA")),
        with("n", json!("%%%")),
        with("e", json!("AQ")),
        with("e", json!("BA")),
        with("e", json!("AAAA")),
        with("e", json!("AQAAAAAAAAAB")),
        with("kty", json!("oct")),
        with("kty", json!("EC")),
        json!({ "kty": "EC", "crv": "P-256", "kid": "bad", "x": P256_X }),
        json!({ "kty": "EC", "crv": "P-384", "kid": "bad", "x": P256_X, "y": P256_Y }),
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "bad", "x": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "kid": "bad", "x": ED25519_X }),
        json!("bad"),
    ] {
        let set = parse(&[rsa("good"), bad.clone()]).unwrap();
        assert_eq!(set.select(Some("bad")), Err(NoKey::Unknown), "{bad}");
        assert!(set.select(Some("good")).is_ok());
        assert_eq!(parse(std::slice::from_ref(&bad)), Err(InvalidKeySet::NoUsableKey), "{bad}");
    }
}

#[test]
fn a_key_is_chosen_by_kid_and_never_tried() {
    let two = parse(&[rsa("a"), rsa("b")]).unwrap();
    assert!(two.select(Some("a")).is_ok());
    assert_eq!(two.select(Some("A")), Err(NoKey::Unknown));
    assert_eq!(two.select(None), Err(NoKey::NotNamed));
    let one = parse(&[rsa("a")]).unwrap();
    assert!(one.select(None).is_ok());
    assert_eq!(one.select(Some("b")), Err(NoKey::Unknown));
    // A second key that cannot be used still makes it a set of two.
    let one_usable = parse(&[rsa("a"), json!({ "kty": "oct", "kid": "b" })]).unwrap();
    assert_eq!(one_usable.select(None), Err(NoKey::NotNamed));
}

#[test]
fn a_key_verifies_only_algorithms_of_its_type_and_its_own() {
    let set = parse(&[
        rsa("rsa"),
        json!({ "kty": "RSA", "kid": "ps", "alg": "PS256", "n": RSA_N, "e": "AQAB" }),
        json!({ "kty": "EC", "kid": "ec", "crv": "P-256", "x": P256_X, "y": P256_Y }),
        json!({ "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": ED25519_X }),
    ])
    .unwrap();
    let suits = |kid: &str| -> Vec<Algorithm> {
        let key = set.select(Some(kid)).unwrap();
        Algorithm::ALL
            .into_iter()
            .filter(|algorithm| {
                key.scheme(*algorithm).is_some() && key.algorithm.is_none_or(|own| own == *algorithm)
            })
            .collect()
    };
    assert_eq!(suits("rsa").len(), 6);
    assert_eq!(suits("ps"), [Algorithm::PS256]);
    assert_eq!(suits("ec"), [Algorithm::ES256]);
    assert_eq!(suits("ed"), [Algorithm::EdDSA]);
}

/// RFC 8037 appendix A.4: a signature not made by us.
#[test]
fn the_signature_of_rfc_8037_verifies_and_a_changed_one_does_not() {
    let set = parse(&[json!({ "kty": "OKP", "crv": "Ed25519", "x": ED25519_X })]).unwrap();
    let key = set.select(None).unwrap();
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert_eq!(key.verify(Algorithm::EdDSA, signed, &signature), Ok(()));
    assert_eq!(key.verify(Algorithm::ES256, signed, &signature), Err(NotVerified));
    signature[0] ^= 1;
    assert_eq!(key.verify(Algorithm::EdDSA, signed, &signature), Err(NotVerified));
    assert_eq!(key.verify(Algorithm::EdDSA, signed, &[]), Err(NotVerified));
}

#[test]
fn a_discovery_document_speaks_for_its_own_issuer_and_points_nowhere_odd() {
    use source::Metadata;
    let at = |document: &str, issuer: &str, uri: &str| {
        let body = json!({ "issuer": issuer, "jwks_uri": uri }).to_string();
        Metadata::parse(body.as_bytes(), "https://idp.example", &document.parse().unwrap()).is_ok()
    };
    let document = "https://idp.example/.well-known/openid-configuration";
    assert!(at(document, "https://idp.example", "https://keys.example/jwks"));
    for issuer in ["https://idp.example/", "https://IDP.example", "https://other.example", ""] {
        assert!(!at(document, issuer, "https://keys.example/jwks"), "{issuer}");
    }
    for uri in [
        "http://keys.example/jwks",
        "http://127.0.0.1/jwks",
        "https://127.0.0.1/x",
        "file:///etc/passwd",
        "jwks",
        "",
    ] {
        assert!(!at(document, "https://idp.example", uri), "{uri}");
    }
    let twice =
        br#"{"issuer":"https://idp.example","jwks_uri":"https://a.example","jwks_uri":"https://b.example"}"#;
    assert!(Metadata::parse(twice, "https://idp.example", &document.parse().unwrap()).is_err());
}
