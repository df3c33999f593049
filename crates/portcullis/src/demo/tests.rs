use std::path::PathBuf;

use portcullis_policy::{SourceFile, check, check_process};

use super::{
    stage::{GATEWAY, POLICY, Ports},
    upstream::DATABASES,
};

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: PathBuf::from(path), text: text.to_owned() }
}

#[test]
fn the_documents_have_no_errors_and_no_warnings() {
    let (process, report) = check_process(&file("examples/demo/gateway.yaml", GATEWAY));
    assert!(process.is_some() && report.diagnostics().is_empty(), "{}", report.render(false));
    let (policy, report) = check(&[file("examples/demo/policy.yaml", POLICY)]);
    assert!(policy.is_some() && report.diagnostics().is_empty(), "{}", report.render(false));
}

#[test]
fn every_address_of_the_documents_is_replaced() {
    let ports = Ports { web: 1001, postgres: 1002, upstream: 1003, issuer: 1004 };
    for (document, expected) in [(GATEWAY, &[1001, 1002][..]), (POLICY, &[1003, 1003, 1003, 1004, 1004])] {
        let text = ports.put_into(document);
        let mut found: Vec<u16> =
            text.split("127.0.0.1:").skip(1).map(|rest| rest.get(..4).unwrap().parse().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn card_numbers_are_test_numbers_that_pass_luhn() {
    let numbers: Vec<&str> = DATABASES
        .split('\'')
        .filter(|part| part.len() > 12 && part.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    assert_eq!(numbers.len(), 8);
    for number in numbers {
        let digits = number.bytes().rev().map(|b| u32::from(b - b'0'));
        let sum: u32 = digits
            .enumerate()
            .map(|(at, digit)| if at % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
            .sum();
        assert_eq!(sum % 10, 0, "{number}");
    }
}
