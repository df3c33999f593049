//! What holds for any text.

use proptest::prelude::*;

use super::{reference, *};
use crate::{HashKey, Outcome, ValueKind, mask_value};

/// Secrets, almost-secrets and what may stand between them.
const PIECES: [&str; 72] = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "5500-0000-0000-0004",
    "378282246310005",
    "3782 822463 10005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "4222222222222",
    "6759649826438453",
    "2221000000000009",
    "4111111111111112",
    "411111111111111",
    "a@b.com",
    "First.Last+tag@mail.example.co.uk",
    "é@ü.de",
    "a@b",
    "@x.com",
    "x@y.c",
    "123-45-6789",
    "123 45 6789",
    "000-12-3456",
    "666-12-3456",
    "900-12-3456",
    "123456789",
    "ssn ",
    "SSN:",
    "social security ",
    "DE89370400440532013000",
    "de89 3704 0044 0532 0130 00",
    "GB29 NWBK 6016 1331 9268 19",
    "DE88370400440532013000",
    "NO9386011117947",
    "+14155552671",
    "+44 20 7946 0958",
    "(415) 555-2671",
    "415-555-2671",
    "415.555.2671",
    "1-415-555-2671",
    "115-555-2671",
    "2024-01-15 10:30:00",
    "192.168.1.100",
    "3.14159265358979",
    "550e8400-e29b-41d4-a716-446655440000",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "sk_live_abcdefghij0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "eyJhbGciOiJIUzI1NiJ9",
    "eyJ",
    "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN CERTIFICATE-----",
    " ",
    "-",
    ".",
    ",",
    "(",
    ")",
    "+",
    "1",
    "4",
    "0",
    "a",
    "Z",
    "é",
    "\n",
    "\t",
    "\"",
    "_",
    "/",
    "=",
];

fn mixture() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => proptest::sample::select(PIECES.as_slice()).prop_map(str::to_owned),
        1 => "[0-9]{1,20}",
        1 => "[ -~]{0,8}",
        1 => "\\PC{0,4}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn key() -> HashKey {
    HashKey::derive(b"test", "test")
}

/// JSON with the text in every place one can have, sometimes escaped.
fn json_of(texts: &[String], escaped: bool) -> String {
    let string = |text: &String| {
        let plain = serde_json::to_string(text).unwrap();
        if !escaped {
            return plain;
        }
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{units}\"")
    };
    let members: Vec<String> = texts
        .iter()
        .map(|text| {
            format!("{}: [{}, 4111111111111111, 12.5e3, true, {{\"n\": null}}]", string(text), string(text))
        })
        .collect();
    format!("{{ {} }}", members.join(", "))
}

fn json_has_open_key(texts: &[String]) -> bool {
    texts.iter().any(|text| text.contains("PRIVATE KEY"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_pass_agrees_with_one_detector_at_a_time(text in mixture()) {
        let mut union = vec![false; text.len()];
        for name in Detector::NAMES {
            let mut hits = Vec::new();
            one(name).scan(text.as_bytes(), &mut hits);
            hits.iter().for_each(|hit| union[hit.range.clone()].fill(true));
        }
        let mut hits = Vec::new();
        all().scan(text.as_bytes(), &mut hits);
        let mut together = vec![false; text.len()];
        hits.iter().for_each(|hit| together[hit.range.clone()].fill(true));
        prop_assert_eq!(union, together);
    }

    #[test]
    fn cards_are_those_of_the_naive_search(text in mixture()) {
        prop_assert_eq!(found(&one("credit-card"), text.as_bytes()), reference::cards(text.as_bytes()));
    }

    #[test]
    fn social_security_numbers_are_those_of_an_expression(text in mixture()) {
        prop_assert_eq!(found(&one("us-ssn"), text.as_bytes()), reference::ssns(text.as_bytes()));
    }

    #[test]
    fn ibans_are_those_of_an_expression(text in mixture()) {
        prop_assert_eq!(found(&one("iban"), text.as_bytes()), reference::ibans(text.as_bytes()));
    }

    #[test]
    fn addresses_hold_every_address_of_an_expression(text in mixture()) {
        let found = found(&one("email"), text.as_bytes());
        for address in reference::addresses(text.as_bytes()) {
            let covered = |hit: &&[u8]| hit.windows(address.len()).any(|part| part == address);
            prop_assert!(found.iter().any(covered), "{:?}", String::from_utf8_lossy(address));
        }
    }

    #[test]
    fn the_prefilter_never_denies_a_value_wherever_it_stands(
        text in mixture(),
        head in proptest::collection::vec(any::<u8>(), 0..6),
        tail in proptest::collection::vec(any::<u8>(), 0..6),
        glue in "[0-9A-Za-z@+.-]{0,3}",
    ) {
        for name in Detector::NAMES {
            let scanner = one(name);
            if !found(&scanner, text.as_bytes()).is_empty() {
                let row = [&head, glue.as_bytes(), text.as_bytes(), glue.as_bytes(), &tail].concat();
                prop_assert!(scanner.may_hit(&row), "{} in {:?}", name, String::from_utf8_lossy(&row));
            }
        }
    }

    #[test]
    fn no_finding_is_left_in_what_is_shown(text in mixture()) {
        let scanner = all();
        let mut out = Vec::new();
        match mask_value(ValueKind::Text, None, Some(&scanner), &key(), text.as_bytes(), &mut out) {
            Outcome::Unchanged => prop_assert!(found(&scanner, text.as_bytes()).is_empty()),
            Outcome::Null => prop_assert!(false, "no rule is null"),
            Outcome::Written => {
                let mut hits = Vec::new();
                scanner.scan(text.as_bytes(), &mut hits);
                let mut expected = text.clone();
                hits.iter().rev().for_each(|hit| expected.replace_range(hit.range.clone(), "****"));
                prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }

    #[test]
    fn json_stays_json_and_shows_no_finding(texts in proptest::collection::vec(mixture(), 0..4), escaped: bool) {
        let scanner = all();
        let json = json_of(&texts, escaped);
        let mut out = Vec::new();
        let outcome = mask_value(ValueKind::Json, None, Some(&scanner), &key(), json.as_bytes(), &mut out);
        let shown = if outcome == Outcome::Written { out } else { json.into_bytes() };
        let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
        let object = shown.as_object().unwrap();
        for text in &texts {
            if !found(&scanner, text.as_bytes()).is_empty() {
                prop_assert!(!object.contains_key(text), "{}", text);
            }
        }
        for (key, value) in object {
            prop_assert!(found(&scanner, key.as_bytes()).is_empty() || key.contains("****"), "{}", key);
            prop_assert_eq!(&value[1], &serde_json::Value::Null);
            // A private key that does not end reaches to the end of the document.
            prop_assert!(value[2] == serde_json::json!(12.5e3) || json_has_open_key(&texts));
            if let Some(text) = value[0].as_str() {
                prop_assert!(!texts.contains(&text.to_owned()) || found(&scanner, text.as_bytes()).is_empty());
            }
        }
    }

    #[test]
    fn any_bytes_are_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzz::fuzz_scan(&data);
    }

    #[test]
    fn any_mixture_is_text(text in mixture()) {
        crate::fuzz::fuzz_scan(text.as_bytes());
    }
}
