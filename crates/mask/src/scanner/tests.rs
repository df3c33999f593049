use super::*;

mod adversarial;
mod properties;
mod reference;
mod tables;

/// A scanner for one detector.
pub(super) fn one(name: &str) -> Scanner {
    Scanner::new(&[(vec![Detector::named(name).unwrap()], Transform::Redact)])
}

/// A scanner for all of them, one rule each.
pub(super) fn all() -> Scanner {
    let rule = |name: &&str| (vec![Detector::named(name).unwrap()], Transform::Redact);
    Scanner::new(&Detector::NAMES.iter().map(rule).collect::<Vec<_>>())
}

pub(super) fn found<'a>(scanner: &Scanner, text: &'a [u8]) -> Vec<&'a [u8]> {
    let mut hits = Vec::new();
    scanner.scan(text, &mut hits);
    hits.iter().map(|hit| &text[hit.range.clone()]).collect()
}

fn scanner(rules: &[(&str, &str)]) -> Scanner {
    let rule = |(detector, transform): &(&str, &str)| {
        let detector =
            Detector::named(detector).unwrap_or_else(|| Detector::custom("own", detector).unwrap());
        (vec![detector], Transform::named(transform, None).unwrap())
    };
    Scanner::new(&rules.iter().map(rule).collect::<Vec<_>>())
}

fn hits(scanner: &Scanner, text: &str) -> Vec<(Range<usize>, u16)> {
    let mut hits = vec![Hit { range: 0..1, rule: 99 }];
    scanner.scan(text.as_bytes(), &mut hits);
    hits.into_iter().map(|hit| (hit.range, hit.rule)).collect()
}

#[test]
fn of_several_rules_with_one_detector_the_strongest_is_used() {
    let rules = scanner(&[("email", "email"), ("email", "redact"), ("email", "redact"), ("email", "last4")]);
    assert_eq!(hits(&rules, "to a@b.com"), [(3..10, 1)]);
}

#[test]
fn overlapping_findings_are_one_with_the_strongest_transform() {
    let rules = scanner(&[("email", "email"), ("b[.]com/x+", "hash")]);
    assert_eq!(hits(&rules, "a@b.com/xx a@b.com"), [(0..10, 1), (11..18, 0)]);
    let inside = scanner(&[("b", "null"), ("email", "redact")]);
    assert_eq!(hits(&inside, "a@b.com"), [(0..7, 0)]);
}

#[test]
fn overlapping_findings_of_equal_strength_are_one_of_the_longer_rule() {
    let rules = scanner(&[("a@b", "redact"), ("email", "redact")]);
    assert_eq!(hits(&rules, "a@b.com"), [(0..7, 1)]);
    let chain = scanner(&[("abcd", "redact"), ("cdefgh", "redact"), ("ghi", "redact")]);
    assert_eq!(hits(&chain, "abcdefghi"), [(0..9, 1)]);
}

#[test]
fn findings_that_touch_stay_two() {
    let rules = scanner(&[("ab", "redact"), ("cd", "redact")]);
    assert_eq!(hits(&rules, "abcd"), [(0..2, 0), (2..4, 1)]);
}

#[test]
fn a_scanner_without_detectors_finds_nothing() {
    let nothing = Scanner::new(&[(Vec::new(), Transform::Null)]);
    assert_eq!(hits(&nothing, "a@b.com 4111111111111111"), []);
    assert!(!nothing.may_hit(b"a@b.com"));
    assert_eq!(nothing.strongest(), 0);
}

#[test]
fn a_row_without_candidates_is_told_apart_by_the_prefilter() {
    let scanner = all();
    // pgbench: aid, bid, abalance and filler as a DataRow has them; then what rows are often made of.
    for row in [
        b"\0\x04\0\0\0\x05\x31\x30\x30\x34\x32\0\0\0\x01\x31\0\0\0\x05\x2d\x31\x32\x33\x34\0\0\0\x03\x20\x20\x20"
            .as_slice(),
        b"1,42,-1234.5678,3.14159,2024-01-15 10:30:00.123456+00,t\n",
        b"550e8400-e29b-41d4-a716-44665544000f",
        b"192.168.100.200 10.0.0.1/24",
        b"The quick brown fox jumps over the lazy dog; it was 12 and I had 3.",
        b"snake_case_name kebab-case-name CamelCaseName CONSTANT_NAME",
        b"\\N\t\\N\t7",
    ] {
        assert!(!scanner.may_hit(row), "{}", String::from_utf8_lossy(row));
    }
}

#[test]
fn without_a_finding_nothing_is_allocated() {
    let mut hits = Vec::new();
    all().scan(b"4111111111111112 a@b 415-155-2671 eyJ.eyJ.x -----BEGIN CERTIFICATE----- sk-x", &mut hits);
    assert_eq!(hits.capacity(), 0);
}

#[test]
fn a_backslash_is_looked_at_closer_but_for_the_null_of_copy() {
    let scanner = one("email");
    assert!(scanner.may_hit(br#"{"to":"a\u0040b.com"}"#));
    assert!(scanner.may_hit(br"\x6140622e636f6d"));
    assert!(!scanner.may_hit(br"\N	\N"));
}

#[test]
fn an_expression_that_ends_at_the_edges_of_a_value_is_not_missed_in_a_row() {
    let scanner = scanner(&[(r"^EMP-\d{6}$", "redact"), (r"\bPRJ\b", "redact")]);
    assert!(scanner.may_hit(b"\0\0\0AEMP-1234560"));
    assert!(scanner.may_hit(b"\0\0\0APRJx"));
    assert!(!scanner.may_hit(b"\0\0\0AEMP-12345"));
    assert_eq!(hits(&scanner, "xEMP-123456"), []);
}

#[test]
fn the_corpus_breaks_nothing() {
    let seeds: [&[u8]; 22] = [
        b"",
        b"@",
        b"\\",
        b"\\u",
        b"\"\\u0040\"",
        b"{\"a\":\"x\\u0040y.com\",\"n\":4111111111111111}",
        b"\"\\ud83d\\ude00a\\u0040b.com\\n\"",
        b"\"unterminated \\",
        b"4111 1111 1111 1111",
        b"4111-1111-1111-1111-",
        b"ssn 123456789",
        b"GB29 NWBK 6016 1331 9268 19",
        b"+1 (415) 555-2671",
        b"eyJhbGciOiJub25lIn0.eyJhIjoxfQ.",
        b"eyJ.eyJ.",
        b"-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----",
        b"AKIAIOSFODNN7EXAMPLE",
        b"abc8Q~ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefgh",
        b"\xff\xfe@\xff.\xff\xff",
        b"\\x6140622e636f6d",
        b"\xc3@b.com 1\xa94111111111111111",
    ];
    for seed in seeds {
        for cut in 0..=seed.len() {
            crate::fuzz::fuzz_scan(&seed[..cut]);
            crate::fuzz::fuzz_scan(&seed[cut..]);
        }
    }
}

/// Run by hand: `cargo test -p portcullis-mask throughput -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn throughput() {
    const SIZE: usize = 16 << 20;
    let fill = |unit: &[u8]| unit.iter().copied().cycle().take(SIZE).collect::<Vec<u8>>();
    let scanner = all();
    let base64: Vec<u8> = (0..SIZE as u64)
        .map(|at| {
            let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"[(mixed & 63) as usize]
        })
        .collect();
    for (name, text) in [
        ("spaces (pgbench filler)", fill(b" ")),
        ("prose", fill(b"The quick brown fox jumps over the lazy dog while everyone else is watching; ")),
        ("csv numbers", fill(b"10042,1,-1234,3.14159,2024-01-15 10:30:00.123456\n")),
        ("uuids", fill(b"550e8400-e29b-41d4-a716-44665544000f\n")),
        ("base64url", base64),
        ("e-mails", fill(b"somebody@example.com,12,x\n")),
    ] {
        let mut hits = Vec::new();
        let started = std::time::Instant::now();
        scanner.scan(&text, &mut hits);
        let scan = started.elapsed();
        let started = std::time::Instant::now();
        let may = scanner.may_hit(&text);
        let may_hit = started.elapsed();
        let rate = |time: std::time::Duration| SIZE as f64 / 1e6 / time.as_secs_f64();
        println!(
            "{name:24} scan {:8.0} MB/s, {:7} hits; may_hit {may:5} {:8.0} MB/s",
            rate(scan),
            hits.len(),
            rate(may_hit)
        );
    }
}
