//! 256 KiB of what makes naive detectors quadratic. No time is asserted: a quadratic walk of it is
//! 3 * 10^10 steps, which outlasts the patience of any test runner.

use super::*;

const SIZE: usize = 256 << 10;

fn fill(unit: &[u8]) -> Vec<u8> {
    unit.iter().copied().cycle().take(SIZE).collect()
}

#[test]
fn time_is_linear_whatever_the_value_holds() {
    let scanner = all();
    let mut hits = Vec::new();
    for unit in [
        b"@".as_slice(),
        b"a@",
        b"a@b.",
        b"a.",
        b"1",
        b"4",
        b"4 ",
        b"411 ",
        b"4111-",
        b"4111111111111111 ",
        b"DE89",
        b"DE89 ",
        b"+1",
        b"+",
        b"+1 ",
        b"(415)",
        b"415-",
        b"eyJ",
        b"eyJ-",
        b"-eyJ-",
        b"eyJhbGciOiJIUzI1NiJ9.",
        b"eyJhbGciOiJIUzI1NiJ9.a.",
        b"-eyJhIjoi.",
        b"-",
        b"-----BEGIN ",
        b"-----BEGIN PRIVATE KEY-----",
        b"-----END ",
        b"sk-",
        b"sk-ant-",
        b"sk_live_",
        b"github_pat_",
        b"SG.",
        b"hvs.",
        b"sig=",
        b"0Q~",
        b"a0Q~",
        b"AKIA",
        b"ssn ",
        b"ssn123456789 ",
        b"\xff",
        b"\xc3\xa9@",
    ] {
        let text = fill(unit);
        scanner.scan(&text, &mut hits);
        let _ = scanner.may_hit(&text);
        if let Some(hit) = hits.last() {
            assert!(hit.range.end <= text.len(), "{unit:?}");
        }
    }
}

#[test]
fn one_long_run_behind_many_beginnings_is_walked_once() {
    let scanner = all();
    let mut hits = Vec::new();
    for (head, tail) in [
        (b"-eyJ".as_slice(), b".x".as_slice()),
        (b"-eyJhIjoi", b".eyJ"),
        (b"sk-ant-", b""),
        (b"sk-", b"\xff"),
        (b"-AKIA", b""),
    ] {
        let mut text = fill(head);
        text.extend_from_slice(&fill(b"a"));
        text.extend_from_slice(tail);
        scanner.scan(&text, &mut hits);
    }
}
