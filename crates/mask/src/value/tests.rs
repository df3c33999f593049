use super::*;
use crate::{Detector, Pattern};

fn key() -> HashKey {
    HashKey::derive(b"secret", "orders")
}

fn transform(name: &str) -> Transform {
    Transform::named(name, None).unwrap()
}

fn pattern(text: &str) -> Transform {
    Transform::Pattern(Pattern::new(Some(text)).unwrap())
}

fn scanner(rules: &[(&str, &str)]) -> Scanner {
    let rule = |(detector, transform): &(&str, &str)| {
        let detector =
            Detector::named(detector).unwrap_or_else(|| Detector::custom("own", detector).unwrap());
        (vec![detector], Transform::named(transform, None).unwrap())
    };
    Scanner::new(&rules.iter().map(rule).collect::<Vec<_>>())
}

/// What is shown; `None`: null.
fn whole(kind: ValueKind, transform: &Transform, value: &str) -> Option<String> {
    masked(kind, Some(transform), None, value.as_bytes())
}

fn masked(
    kind: ValueKind,
    whole: Option<&Transform>,
    scanner: Option<&Scanner>,
    value: &[u8],
) -> Option<String> {
    let mut out = b"<".to_vec();
    let outcome = mask_value(kind, whole, scanner, &key(), value, &mut out);
    assert_eq!(out.remove(0), b'<');
    match outcome {
        Outcome::Unchanged => {
            assert_eq!(out, b"");
            Some(String::from_utf8_lossy(value).into_owned())
        }
        Outcome::Written => Some(String::from_utf8(out).unwrap()),
        Outcome::Null => {
            assert_eq!(out, b"");
            None
        }
    }
}

fn text(transform: &Transform, value: &str) -> String {
    whole(ValueKind::Text, transform, value).unwrap()
}

#[test]
fn last4_keeps_four_letters_or_digits_and_the_separators() {
    let last4 = transform("last4");
    for (value, shown) in [
        ("4111 1111 1111 1234", "**** **** **** 1234"),
        ("4111-1111-1111-1234", "****-****-****-1234"),
        ("AB12CD34", "****CD34"),
        ("12345678-", "****5678-"),
        ("(415) 555-2671", "(***) ***-2671"),
        ("Österreich", "******eich"),
        ("abc\u{301}defgh", "****\u{2a}efgh"),
        ("1234567", "****"),
        ("12-34-56", "****"),
        ("", "****"),
        ("----------", "****"),
    ] {
        assert_eq!(text(&last4, value), shown, "{value}");
    }
}

#[test]
fn email_keeps_the_first_character_and_the_domain_of_an_address() {
    let email = transform("email");
    for (value, shown) in [
        ("somebody@example.com", "s***@example.com"),
        ("éa@b.co", "é***@b.co"),
        ("a@b.com, c@d.com", "****"),
        (" a@b.com", "****"),
        ("a@b.com ", "****"),
        ("a@b@c.com", "****"),
        ("nobody", "****"),
        ("", "****"),
    ] {
        assert_eq!(text(&email, value), shown, "{value}");
    }
}

#[test]
fn a_pattern_keeps_what_stands_under_its_signs() {
    assert_eq!(text(&pattern("XXX-XX-####"), "123-45-6789"), "XXX-XX-6789");
    assert_eq!(text(&pattern("XXX-XX-####"), "123-45-678"), "****");
    assert_eq!(text(&pattern("XXX-XX-####"), "123-45-67890"), "****");
    assert_eq!(text(&pattern("#*"), "éü"), "é*");
    assert_eq!(text(&pattern("hidden"), "secret"), "hidden");
    assert_eq!(text(&transform("pattern"), "Ab-12 é_Ü."), "Xx-99 x_X.");
    assert_eq!(text(&transform("pattern"), "名前 ٣ 😀"), "xx 9 x");
}

#[test]
fn hash_is_the_same_for_the_same_value() {
    let hash = transform("hash");
    assert_eq!(text(&hash, "a"), text(&hash, "a"));
    assert_ne!(text(&hash, "a"), text(&hash, "b"));
    assert_eq!(text(&hash, "a").len(), 20);
    assert_eq!(masked(ValueKind::Text, Some(&hash), None, b"\xff").unwrap().len(), 20);
}

#[test]
fn what_is_not_utf8_is_redacted() {
    for transform in
        [transform("last4"), transform("email"), transform("pattern"), pattern("X#X"), transform("redact")]
    {
        assert_eq!(masked(ValueKind::Text, Some(&transform), None, b"\xff12345678").unwrap(), "****");
    }
}

#[test]
fn a_whole_mask_gives_a_value_of_the_type_or_null() {
    let shapes = ["redact", "last4", "hash", "email", "null", "pattern"].map(transform);
    for transform in &shapes {
        let hash = *transform == Transform::Hash;
        let null = *transform == Transform::Null;
        assert_eq!(whole(ValueKind::Number, transform, "12.50"), None);
        assert_eq!(whole(ValueKind::Other, transform, "x"), None);
        let json = whole(ValueKind::Json, transform, r#"{"a": 1}"#);
        assert_eq!(json.is_none(), null);
        if let Some(json) = json {
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert!(hash || json == "****");
        }
        let uuid = whole(ValueKind::Uuid, transform, "550e8400-e29b-41d4-a716-446655440000");
        assert_eq!(uuid.is_some(), hash);
        let bytes = whole(ValueKind::Bytes, transform, "\\x6162");
        assert_eq!(bytes.as_deref(), (*transform == Transform::Redact).then_some("\\x"));
    }
    assert_eq!(whole(ValueKind::Bytes, &transform("redact"), "ab").as_deref(), Some(""));
}

#[test]
fn a_hashed_uuid_is_a_uuid_of_version_8_however_it_was_written() {
    let hash = transform("hash");
    let uuid = whole(ValueKind::Uuid, &hash, "550e8400-e29b-41d4-a716-446655440000").unwrap();
    assert_eq!(uuid.len(), 36);
    assert_eq!(&uuid[14..15], "8");
    assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"));
    assert!(uuid.char_indices().all(|(at, c)| (c == '-') == matches!(at, 8 | 13 | 18 | 23)));
    for same in ["550E8400-E29B-41D4-A716-446655440000", "{550e8400e29b41d4a716446655440000}"] {
        assert_eq!(whole(ValueKind::Uuid, &hash, same).unwrap(), uuid);
    }
    for other in ["550e8400-e29b-41d4-a716-44665544000", "550e8400-e29b-41d4-a716-4466554400000", "", "zzz"] {
        assert_eq!(whole(ValueKind::Uuid, &hash, other), None, "{other}");
    }
}

#[test]
fn findings_in_a_text_are_exchanged_and_the_rest_stays() {
    let rules = scanner(&[("email", "email"), ("credit-card", "last4"), ("us-ssn", "redact")]);
    let found = |value: &str| masked(ValueKind::Text, None, Some(&rules), value.as_bytes());
    assert_eq!(
        found("bob@x.com paid with 4111 1111 1111 1111 (123-45-6789)\n").as_deref(),
        Some("b***@x.com paid with **** **** **** 1111 (****)\n")
    );
    assert_eq!(found("nothing").as_deref(), Some("nothing"));
    let null = scanner(&[("email", "null"), ("credit-card", "last4")]);
    assert_eq!(masked(ValueKind::Text, None, Some(&null), b"4111111111111111 a@b.com"), None);
}

#[test]
fn findings_in_numbers_and_bytes_are_null() {
    let rules = scanner(&[("credit-card", "last4"), ("email", "redact")]);
    let found = |kind, value: &[u8]| masked(kind, None, Some(&rules), value);
    assert_eq!(found(ValueKind::Number, b"4111111111111111"), None);
    assert_eq!(found(ValueKind::Number, b"4111111111111112").as_deref(), Some("4111111111111112"));
    assert_eq!(found(ValueKind::Bytes, b"\x01\xffa@b.com"), None);
    assert_eq!(found(ValueKind::Bytes, b"\\x6140622e636f6d"), None);
    assert_eq!(found(ValueKind::Bytes, b"\\x6140622e63").as_deref(), Some("\\x6140622e63"));
    assert_eq!(found(ValueKind::Other, b"a@b.com").as_deref(), Some("a@b.com"));
}

#[test]
fn findings_in_json_are_exchanged_in_place() {
    let rules = scanner(&[
        ("email", "email"),
        ("credit-card", "redact"),
        ("us-ssn", "null"),
        (r"^\d{3}$", "redact"),
        (r#"x"y"#, "redact"),
    ]);
    let found = |value: &str| masked(ValueKind::Json, None, Some(&rules), value.as_bytes()).unwrap();
    for (value, shown) in [
        (r#"{"to": "a@b.com", "n": 1}"#, r#"{"to": "a***@b.com", "n": 1}"#),
        (r#"{"a@b.com": [1, 2]}"#, r#"{"a***@b.com": [1, 2]}"#),
        (r#"{"pan": 4111111111111111, "x": -1.5e3}"#, r#"{"pan": null, "x": -1.5e3}"#),
        (r#"["\u0061\u0040b.com"]"#, r#"["a***@b.com"]"#),
        (r#"["\u0034111\u00201111 1111 1111"]"#, r#"["****"]"#),
        (r#"["line\nbob@x.com\ttab"]"#, "[\"line\\u000ab***@x.com\\u0009tab\"]"),
        (r#"["é\"a@b.com\""]"#, r#"["é\"a***@b.com\""]"#),
        (r#"{"ssn":"123456789"}"#, r#"{"ssn":null}"#),
        (r#"{"ssn":123456789}"#, r#"{"ssn":null}"#),
        (r#"{"123-45-6789" : 1}"#, r#"{"****" : 1}"#),
        (r#"{"n":"123","m":123,"k":1234}"#, r#"{"n":"****","m":null,"k":1234}"#),
        (r#"["x\"y"]"#, r#"["****"]"#),
        (r#"["\ud83d\ude00 a\u0040b.com"]"#, r#"["😀 a***@b.com"]"#),
        (r#"["\ud800 a\u0040b.com"]"#, "[\"\u{fffd} a***@b.com\"]"),
        (r#"["\n\t\\ nothing", true, null, {}]"#, r#"["\n\t\\ nothing", true, null, {}]"#),
        (r#""a@b.com""#, r#""a***@b.com""#),
        ("4111111111111111", "null"),
        ("", ""),
    ] {
        assert_eq!(found(value), shown, "{value}");
        if !value.is_empty() {
            serde_json::from_str::<serde_json::Value>(shown).unwrap();
        }
    }
}

#[test]
fn what_is_no_json_is_hidden_where_anything_is_found_or_escaped_in_it() {
    let rules = scanner(&[("email", "redact")]);
    let found = |value: &str| masked(ValueKind::Json, None, Some(&rules), value.as_bytes()).unwrap();
    for value in ["a@b.com", r#"["a@b.com"#, r#"["\q"]"#, r#"["\u00"]"#, r#"["\"#, r#"["a@b.com"] nonsense"#]
    {
        assert_eq!(found(value), r#""****""#, "{value}");
    }
    assert_eq!(found("nonsense"), "nonsense");
}

#[test]
fn a_finding_across_strings_hides_what_it_touches() {
    let rules = scanner(&[(r#""password":\s*"[^"]*""#, "redact"), ("private-key", "redact")]);
    let found = |value: &str| masked(ValueKind::Json, None, Some(&rules), value.as_bytes()).unwrap();
    assert_eq!(found(r#"{"user":"x","password": "hunter2"}"#), r#"{"user":"x","****": "****"}"#);
    let lines = r#"["-----BEGIN PRIVATE KEY-----","MIIE","-----END PRIVATE KEY-----","x"]"#;
    assert_eq!(found(lines), r#"["****","****","****","x"]"#);
}

#[test]
fn a_stronger_finding_decides_over_a_weaker_column_mask() {
    let rules = scanner(&[("email", "redact"), ("us-ssn", "null"), ("phone", "email")]);
    let both = |transform: &Transform, value: &str| {
        masked(ValueKind::Text, Some(transform), Some(&rules), value.as_bytes())
    };
    assert_eq!(both(&transform("email"), "bob@x.com").as_deref(), Some("****"));
    assert_eq!(both(&transform("redact"), "bob@x.com").as_deref(), Some("****"));
    assert_eq!(both(&transform("redact"), "123-45-6789"), None);
    assert_eq!(both(&transform("last4"), "415-555-2671").as_deref(), Some("***-***-2671"));
}

#[test]
fn hits_that_cannot_be_hide_the_whole_text() {
    let transforms = [Transform::Last4];
    let write = |hits: &[Hit], text: &[u8]| {
        let mut out = b"<".to_vec();
        assert_eq!(apply_hits(hits, &transforms, &key(), text, &mut out), Outcome::Written);
        String::from_utf8(out).unwrap()
    };
    let hit = |range, rule| Hit { range, rule };
    assert_eq!(write(&[], b"abc"), "<abc");
    assert_eq!(write(&[hit(0..4, 0)], b"abc"), "<****");
    assert_eq!(write(&[hit(1..2, 0), hit(0..1, 0)], b"abc"), "<****");
    assert_eq!(write(&[hit(1..2, 7)], b"abc"), "<a****c");
}

#[test]
fn masking_what_is_masked_changes_nothing_that_is_hidden() {
    let rules =
        scanner(&[("email", "redact"), ("credit-card", "last4"), ("iban", "pattern"), ("phone", "redact")]);
    let text = "a@b.com 4111 1111 1111 1111 DE89370400440532013000 +14155552671";
    let once = masked(ValueKind::Text, None, Some(&rules), text.as_bytes()).unwrap();
    assert_eq!(once, "**** **** **** **** 1111 XX99999999999999999999 ****");
    assert_eq!(masked(ValueKind::Text, None, Some(&rules), once.as_bytes()).unwrap(), once);
}

#[test]
fn an_object_is_told_from_what_looks_like_one() {
    for yes in [r#"{"a":1}"#, "{}", r#"{"a":{"b":[1,true]}}"#, r#"{"a":"}"} "#] {
        assert!(json::is_object(yes.as_bytes()), "{yes}");
    }
    for no in ["", "[]", "{", r#"{"a""#, "{}}", "{} {}", r#"{"a":x}"#, "\"{}\""] {
        assert!(!json::is_object(no.as_bytes()), "{no}");
    }
}
