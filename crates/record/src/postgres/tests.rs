use proptest::prelude::*;

use super::*;

fn binary(oid: u32, value: &[u8]) -> String {
    text(oid, Format::Binary, value)
}

/// From hex digits, as `psql` shows what a `*send` function gives.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn binary_values_read_as_the_server_writes_them() {
    let lines = include_str!("../../testdata/values.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let [oid, sent, written] = line.splitn(3, '|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(binary(oid.parse().unwrap(), &bytes(sent)), written, "{line}");
        count += 1;
    }
    assert!(count > 50);
}

#[test]
fn an_array_that_claims_more_than_it_has_is_hex_and_takes_no_time() {
    let claims = bytes(
        "00000006 00000000 00000017 7fffffff 00000001 7fffffff 00000001 7fffffff 00000001 7fffffff 00000001 7fffffff 00000001 7fffffff 00000001",
    );
    assert!(binary(1007, &claims).starts_with("\\x"));
    let empty = bytes("00000002 00000000 00000017 7fffffff 00000001 00000000 00000001");
    assert!(binary(1007, &empty).starts_with("\\x"));
}

#[test]
fn what_is_not_known_is_hex_and_never_guessed() {
    assert_eq!(binary(999_999, b"abc"), "\\x616263");
    assert_eq!(binary(23, b"abc"), "\\x616263", "an int4 has four bytes");
    assert_eq!(text(25, Format::Text, &[0xff, 0x41]), "\\xff41", "not in UTF-8");
    assert_eq!(type_name(23), "int4");
    assert_eq!(type_name(1009), "text[]");
    assert_eq!(type_name(16_500), "16500");
}

#[test]
fn a_row_that_does_not_fit_together_is_told_as_it_is() {
    let whole = bytes("0002 00000001 37 ffffffff");
    assert_eq!(row(&[], &whole), [Some("7".to_owned()), None]);
    for cut in 0..whole.len() {
        assert_eq!(row(&[], &whole[..cut]), [Some(hex(&whole[..cut]))], "{cut}");
    }
}

proptest! {
    #[test]
    fn no_value_breaks_the_decoder(oid in prop_oneof![proptest::sample::select(TYPES.iter().flat_map(|t| [t.0, t.1]).collect::<Vec<_>>()), any::<u32>()], value in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = binary(oid, &value);
        let _ = row(&[], &value);
    }
}
