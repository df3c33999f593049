//! For each detector what it finds, and what it does not.

use super::*;

/// The shortest there is.
const MAESTRO_12: &str = "501800000017";

/// Checks a detector: `yes` are found whole wherever they may stand; in `no` nothing is found.
fn check(name: &str, yes: &[&str], no: &[&str]) {
    let scanner = one(name);
    for text in yes {
        for (head, tail) in [
            ("", ""),
            (" ", " "),
            ("\"", "\""),
            ("(", ")"),
            ("é ", " é"),
            ("\n", "\n"),
            ("x: ", ", y"),
            ("\t", "\r\n"),
            ("=", ";"),
            ("\0", "\0"),
        ] {
            let within = format!("{head}{text}{tail}");
            assert_eq!(shown(&scanner, &within), [*text], "{within:?}");
            assert!(scanner.may_hit(within.as_bytes()), "{within:?}");
            for glue in ["7", "A", "z", "\u{7f}"] {
                assert!(
                    scanner.may_hit(format!("{glue}{within}{glue}").as_bytes()),
                    "{within:?} after {glue:?}"
                );
            }
        }
    }
    for text in no {
        assert_eq!(shown(&scanner, text), [""; 0], "{text:?}");
    }
}

fn shown<'a>(scanner: &Scanner, text: &'a str) -> Vec<&'a str> {
    found(scanner, text.as_bytes()).into_iter().map(|part| std::str::from_utf8(part).unwrap()).collect()
}

#[test]
fn cards_are_found_by_range_length_and_luhn_digit() {
    check(
        "credit-card",
        &[
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4222222222222",
            "4000000000000000006",
            "5555555555554444",
            "5105105105105100",
            "2221000000000009",
            "2720990000000007",
            "378282246310005",
            "3714 496353 98431",
            "6011111111111117",
            "6445644564456445",
            "6500000000000002",
            "30569309025904",
            "3852 000002 3237",
            "36227206271667",
            "3530111333300000",
            "6200000000000005",
            "6205500000000000004",
            "6759649826438453",
            MAESTRO_12,
        ],
        &[
            "4111111111111112",
            "411111111111111",
            "41111111111111111",
            "14111111111111111",
            "2220999999999999",
            "7111111111111111",
            "0000000000000000",
            "0.4111111111111111",
            "4111111111111111.5",
            "4111  1111 1111 1111",
            "4111 -1111-1111-1111",
            "4111_1111_1111_1111",
            "4111.1111.1111.1111",
            "4 11 1 1 1 1 1 1 1 1 1 1 1 1 1",
            "41111111-1111-1114-8111-111111111111",
            "2024-01-15 10:30:00",
            "1700000000000",
        ],
    );
}

#[test]
fn a_card_may_touch_letters_and_stand_among_other_numbers() {
    let scanner = one("credit-card");
    for (text, card) in [
        ("card4111111111111111x", "4111111111111111"),
        ("é4111111111111111é", "4111111111111111"),
        ("4111 1111 1111 1111 12/29 123", "4111 1111 1111 1111"),
        ("17 4111111111111111 12", "4111111111111111"),
        ("pan 4111111111111111.", "4111111111111111"),
        ("1,4111111111111111,2", "4111111111111111"),
        ("-4111111111111111", "4111111111111111"),
    ] {
        assert_eq!(shown(&scanner, text), [card], "{text}");
    }
    assert_eq!(
        shown(&scanner, "4111111111111111,5555555555554444\n378282246310005"),
        ["4111111111111111", "5555555555554444", "378282246310005"]
    );
}

#[test]
fn addresses_are_found_whole() {
    check(
        "email",
        &[
            "a@b.co",
            "first.last@example.com",
            "first+tag@mail.example.co.uk",
            "o'brien@example.ie",
            "user_name-1%x@sub-domain.example.org",
            "_x@example.com",
            "1@2.org",
            "user@mail2.example.com",
            "user@xn--80ak6aa92e.com",
            "user@example.xn--p1ai",
            "USER@EXAMPLE.COM",
        ],
        &[
            "a@b",
            "@example.com",
            "a@",
            "a @b.com",
            "a@ b.com",
            "a@.com",
            "a@b..com",
            "a@b.c",
            "a@1.2",
            "@@@@",
            "a@b.1c",
            "a@-",
        ],
    );
}

#[test]
fn addresses_beyond_ascii_are_found() {
    let scanner = one("email");
    for (text, address) in [
        ("用户@例子.广告", "用户@例子.广告"),
        ("x jörg@exämple.de.", "jörg@exämple.de"),
        ("<a@b.com>, c", "a@b.com"),
        ("'a@b.com'", "a@b.com'".trim_end_matches('\'')),
        ("mailto:a@b.com?subject=x", "a@b.com"),
        ("email=a@b.com&x=1", "a@b.com"),
        ("{a@b.com}", "a@b.com"),
        ("a@b.com.", "a@b.com"),
        ("a@b.com-", "a@b.com"),
        ("a@b.com2", "a@b.com"),
        ("...a@b.com", "a@b.com"),
    ] {
        assert_eq!(shown(&scanner, text), [address], "{text}");
    }
    assert_eq!(shown(&scanner, "a@b.com,c@d.org;e@f.net"), ["a@b.com", "c@d.org", "e@f.net"]);
    let long = format!("{}@b.com", "é".repeat(100));
    assert_eq!(shown(&scanner, &long), [&long[136..]]);
}

#[test]
fn social_security_numbers_are_found_by_form_and_range() {
    check(
        "us-ssn",
        &["123-45-6789", "123 45 6789", "001-01-0001", "899-99-9999", "665-12-3456"],
        &[
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "987-65-4321",
            "123-00-6789",
            "123-45-0000",
            "123-45 6789",
            "123.45.6789",
            "123456789",
            "1123-45-6789",
            "123-45-67890",
            "a123-45-6789",
            "123-45-6789a",
            "1-123-45-6789",
            "123-45-6789-1",
            "7 123 45 6789",
            "123 45 6789 1",
            "2024-01-1500",
            "550e8400-123-45-6789",
            "12-345-6789",
        ],
    );
}

#[test]
fn nine_digits_are_a_social_security_number_where_the_word_stands_before_them() {
    let scanner = one("us-ssn");
    for text in [
        "SSN 123456789",
        "{\"ssn\":\"123456789\"}",
        "Social Security Number: 123456789",
        "social_security=123456789",
    ] {
        assert_eq!(shown(&scanner, text), ["123456789"], "{text}");
        assert!(scanner.may_hit(text.as_bytes()));
    }
    for text in [
        "ssn 1234567890",
        "ssn 000456789",
        "ssn: unknown, and a long way on: 123456789",
        "ssn123456789a",
        "id 123456789",
    ] {
        assert_eq!(shown(&scanner, text), [""; 0], "{text}");
    }
    // Another separator before it belongs to something else.
    assert_eq!(shown(&scanner, "7 123-45-6789 8"), ["123-45-6789"]);
}

#[test]
fn ibans_are_found_by_country_length_and_check_digits() {
    // Examples of the registry.
    check(
        "iban",
        &[
            "AD1200012030200359100100",
            "AE070331234567890123456",
            "AT611904300234573201",
            "BE68539007547034",
            "BR1800360305000010009795493C1",
            "CH9300762011623852957",
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "de89 3704 0044 0532 0130 00",
            "ES9121000418450200051332",
            "FR1420041010050500013M02606",
            "GB29NWBK60161331926819",
            "gb29 nwbk 6016 1331 9268 19",
            "IT60X0542811101000000123456",
            "LC55HEMM000100010012001200023015",
            "MT84MALT011000012345MTLCAST001S",
            "NL91ABNA0417164300",
            "NO9386011117947",
            "NO93 8601 1117 947",
            "PL61109010140000071219812874",
            "SE4550000000058398257466",
            "TR330006100519786457841326",
        ],
        &[
            "DE88370400440532013000",
            "DE8937040044053201300",
            "DE893704004405320130001",
            "XDE89370400440532013000",
            "1DE89370400440532013000",
            "DE89370400440532013000x",
            "US89370400440532013000",
            "DE89-3704-0044-0532-0130-00",
            "DE89  3704 0044 0532 0130 00",
            "DE8 9370400440532013000",
            "NO00000000000000",
            "be12-45",
        ],
    );
    assert_eq!(shown(&one("iban"), "IBAN:NO9386011117947."), ["NO9386011117947"]);
}

#[test]
fn telephone_numbers_are_found_by_form_and_plan() {
    check(
        "phone",
        &[
            "+14155552671",
            "+1 415 555 2671",
            "+1 (415) 555-2671",
            "+1-415-555-2671",
            "+1.415.555.2671",
            "+442079460958",
            "+44 20 7946 0958",
            "+44 (0)20 7946 0958",
            "+49 30 123456-78",
            "+33 1 23 45 67 89",
            "+86 138 0013 8000",
            "+35891234567",
            "+971 50 123 4567",
            "(415) 555-2671",
            "(415)555-2671",
            "415-555-2671",
            "415.555.2671",
            "415 555 2671",
            "415/555-2671",
            "1-415-555-2671",
            "1 (415) 555-2671",
        ],
        &[
            "4155552671",
            "14155552671",
            "+1415555267",
            "+0123456789",
            "+999123456789",
            "+1234567",
            "+1234567890123456",
            "+12345678.90",
            "+49123456.78",
            "115-555-2671",
            "411-555-2671",
            "415-155-2671",
            "415-911-2671",
            "495-555-2671",
            "415-555-26711",
            "1415-555-2671",
            "a415-555-2671",
            "415-555-2671a",
            "415-555-2671-1",
            "20-415-555-2671",
            "415 555 2671 3",
            "3 415 555 2671",
            "415-555.2671",
            "2024-01-15",
            "2024-01-15 10:30:00.123456+10",
            "2024-01-15T10:30:00+1030",
            "192.168.100.200",
            "255.255.255.2550",
            "550e8400-e29b-41d4-a716-446655440000",
            "41555526-4155-5526-7141-555526714155",
            "-1234.5678",
            "415.5552671",
            "1e+14155552671",
            "a+14155552671",
            "12:34:56",
            "1,234,567,890",
        ],
    );
    assert_eq!(shown(&one("phone"), "call +49 151 12345678 2024-01-15"), ["+49 151 12345678"]);
}

#[test]
fn keys_of_services_are_found_by_their_shapes() {
    let alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".repeat(2);
    let hex = "0123456789abcdef".repeat(4);
    let yes: Vec<String> = [
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        "ASIAIOSFODNN7EXAMPLE".to_owned(),
        format!("ghp_{}", &alnum[..36]),
        format!("gho_{}", &alnum[..36]),
        format!("ghs_{}", &alnum[..36]),
        format!("ghu_{}", &alnum[..36]),
        format!("ghr_{}", &alnum[..76]),
        format!("github_pat_{}_{}", &alnum[..22], &alnum[..59]),
        format!("glpat-{}", &alnum[..20]),
        // Put together, so that the file itself holds no key.
        format!("xoxb-{}-{}", "123456789012", &alnum[..24]),
        format!("xoxp-{}", &alnum[..40]),
        format!("xapp-1-{}", &alnum[..40]),
        format!("sk_live_{}", &alnum[..24]),
        format!("rk_live_{}", &alnum[..24]),
        format!("sk_test_{}", &alnum[..24]),
        format!("AIza{}", &alnum[..35]),
        format!("npm_{}", &alnum[..36]),
        format!("pypi-AgEIcHlwaS5vcmc{}", &alnum[..60]),
        format!("SG.{}.{}", &alnum[..22], &alnum[..43]),
        format!("SK{}", &hex[..32]),
        format!("key-{}", &hex[..32]),
        format!("sk-{}", &alnum[..48]),
        format!("sk-proj-{}-_x", &alnum[..48]),
        format!("sk-ant-api03-{}", &alnum[..93]),
        format!("hf_{}", &alnum[..34]),
        format!("dop_v1_{hex}"),
        format!("abc8Q~{}", &alnum[..34]),
        format!("hvs.{}", &alnum[..24]),
        format!("dckr_pat_{}", &alnum[..27]),
        format!("shpat_{}", &hex[..32]),
        format!("AGE-SECRET-KEY-1{}", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE"),
    ]
    .into();
    let yes: Vec<&str> = yes.iter().map(String::as_str).collect();
    check(
        "api-key",
        &yes,
        &[
            "AKIAIOSFODNN7EXAMPL",
            "AKIAIOSFODNN7EXAMPLE1",
            "xAKIAIOSFODNN7EXAMPLE",
            "akiaiosfodnn7example",
            "ghp_short",
            "risk-abcdefghijklmnopqrstuvwxyzABCDEFGHIJ",
            "sk-abcdef",
            "sk-some-quite-long-name-of-a-style-sheet",
            "sk_live_x",
            "SKIP0123456789abcdef0123456789abcdef",
            "SK0123456789abcdef0123456789abcde",
            "SK0123456789abcdef0123456789abcdef0",
            "monkey-0123456789abcdef0123456789abcdef",
            "AIzaShort",
            "pypi-publish-action-of-a-workflow-with-a-long-name-and-more-of-it",
            "snake_case_identifier_of_more_than_thirty_six_characters",
        ],
    );
}

#[test]
fn of_a_setting_the_secret_is_found_and_not_its_name() {
    let scanner = one("api-key");
    let secret = format!(
        "{}==",
        "abcdefghijklmnopqrstuvwxyz0123456789+/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv"
    );
    for (head, tail) in [
        ("DefaultEndpointsProtocol=https;AccountName=x;AccountKey=", ";EndpointSuffix=core.windows.net"),
        ("Endpoint=sb://x/;SharedAccessKeyName=y;SharedAccessKey=", ""),
        ("https://x.blob.core.windows.net/c?sv=2022&sig=", "&se=2030"),
    ] {
        assert_eq!(shown(&scanner, &format!("{head}{secret}{tail}")), [secret.as_str()]);
    }
    assert_eq!(shown(&scanner, "config=abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"), [""; 0]);
    let sentence = format!("It is SG.{}.{}.", "a".repeat(22), "b".repeat(43));
    assert_eq!(shown(&scanner, &sentence), [&sentence[6..sentence.len() - 1]]);
}

#[test]
fn tokens_are_found_whose_header_is_json() {
    // {"alg":"HS256","typ":"JWT"}, {"alg":"none"}, {"alg":"dir","enc":"A256GCM"}
    let head = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
    let signed = format!("{head}.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U");
    let long = format!("eyJ{}.eyJzdWIiOiIxIn0.c2ln", "A".repeat(3_000));
    check(
        "jwt",
        &[
            &signed,
            &long,
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
            "eyJhbGciOiJub25lIn0.ewogInN1YiI6ICIxIgp9.c2ln",
            "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aXY.Y2lwaGVy.dGFn",
        ],
        &[
            "eyJhbGciOiJub25lIn0",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0",
            "eyJhbGciOiJub25lIn0.abc.def",
            "eyJ.eyJ.x",
            "eyJhbGciOiJub25lIn.eyJzdWIiOiIxIn0.x",
            "xeyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln",
            "eyJeyJeyJ.eyJ.eyJ",
        ],
    );
    assert_eq!(shown(&one("jwt"), &format!("Bearer {signed}, and")), [signed.as_str()]);
}

#[test]
fn private_keys_are_found_to_their_end_or_the_end_of_the_text() {
    let key =
        |label: &str| format!("-----BEGIN {label}-----\nMIIEvQIBADANBg\nkqhkiG9w0B\n-----END {label}-----");
    let yes: Vec<String> = [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ]
    .map(key)
    .into();
    let yes: Vec<&str> = yes.iter().map(String::as_str).collect();
    check(
        "private-key",
        &yes,
        &[
            "-----BEGIN CERTIFICATE-----\nPRIVATE KEY\n-----END CERTIFICATE-----",
            "BEGIN PRIVATE KEY",
            "-----BEGIN PRIVATE KEY",
            "----BEGIN PRIVATE KEY-----",
        ],
    );
    let scanner = one("private-key");
    let cut = "x -----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg";
    assert_eq!(shown(&scanner, cut), [&cut[2..]]);
    let cut = "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KE";
    assert_eq!(shown(&scanner, cut), [cut]);
    let two = format!("{}\n-\n{}", key("PRIVATE KEY"), key("EC PRIVATE KEY"));
    assert_eq!(shown(&scanner, &two), [key("PRIVATE KEY"), key("EC PRIVATE KEY")]);
    let across = "-----BEGIN PRIVATE KEY-----\nMII\n-----END CERTIFICATE-----\n-----END PRIVATE KEY----- x";
    assert_eq!(shown(&scanner, across), [&across[..across.len() - 2]]);
}

#[test]
fn bytes_that_are_no_text_are_scanned_like_text() {
    assert_eq!(found(&one("credit-card"), b"\xff4111111111111111\xfe"), [b"4111111111111111"]);
    assert_eq!(found(&one("email"), b"\x00\xff\x00a@b.com\x00"), [b"a@b.com"]);
    // A continuation byte starts no character: a finding does not start with one.
    assert_eq!(found(&one("email"), b"\xa9\xa9a@b.com"), [b"a@b.com"]);
}
