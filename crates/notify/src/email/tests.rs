use proptest::prelude::*;

use super::*;
use crate::notice::fixture;

const FROM: &str = "portcullis@example.com";

fn to() -> Vec<String> {
    vec!["oncall@example.com".to_owned(), "leads@example.com".to_owned()]
}

/// Header lines (unfolded) and the decoded parts.
fn read(mail: &str) -> (Vec<String>, Vec<String>) {
    let (header, body) = mail.split_once("\r\n\r\n").unwrap();
    let header = header.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect();
    let parts = body.split("--=_").filter(|part| part.contains("base64")).map(|part| {
        let (_, content) = part.split_once("\r\n\r\n").unwrap();
        String::from_utf8(BASE64_STANDARD.decode(content.replace("\r\n", "")).unwrap()).unwrap()
    });
    (header, parts.collect())
}

#[test]
fn a_mail_has_the_headers_that_mails_need() {
    let mail = compose(&fixture::notice(), FROM, &to()).unwrap();
    let (header, parts) = read(&mail);
    insta::assert_snapshot!(header.join("\n"), @r#"
    Date: Mon, 21 Sep 2026 14:13:20 -0000
    From: Portcullis <portcullis@example.com>
    To: oncall@example.com, leads@example.com
    Subject: Operation held: deploy-agent, orders-db
    Message-ID: <ntc_01998f6f0b7a7000a000000000000009@example.com>
    References: <req_01998f6f0b7a7000a000000000000001@example.com>
    Auto-Submitted: auto-generated
    MIME-Version: 1.0
    Content-Type: multipart/alternative; boundary="=_ntc_01998f6f0b7a7000a000000000000009"
    "#);
    insta::assert_snapshot!(parts[0].replace('\r', ""), @r"
    Operation held

    Who: deploy-agent
    Identity: entra/tid/oid
    Connection: orders-db
    Rule: guardrail unqualified writes need a person
    Reason: close the stuck orders
    Statement, values left out: update orders set state = ?
    Needs: 1 of group:oncall
    Answer by: 2026-09-21 14:18 UTC
    Request: req_01998f6f0b7a7000a000000000000001

    https://gateway.example.com/requests/req_01998f6f0b7a7000a000000000000001
    ");
    assert_eq!(parts.len(), 2);
    assert_eq!(compose(&fixture::notice(), FROM, &to()).unwrap(), mail, "sent again it is the same mail");
}

#[test]
fn subjects_are_encoded_and_folded_where_they_must_be() {
    assert_eq!(header_text("Access request: agent, db"), "Access request: agent, db");
    assert_eq!(header_text("=?utf-8?Q?x?="), "=?utf-8?B?PT91dGYtOD9RP3g/PQ==?=");
    assert_eq!(header_text("a\r\nBcc: x@example.com"), "=?utf-8?B?YQ0KQmNjOiB4QGV4YW1wbGUuY29t?=");
    let long = header_text(&"é".repeat(100));
    for line in long.split("\r\n ") {
        assert!(line.len() <= 75 && line.starts_with("=?utf-8?B?") && line.ends_with("?="), "{line}");
        let word = line.trim_start_matches("=?utf-8?B?").trim_end_matches("?=");
        assert!(String::from_utf8(BASE64_STANDARD.decode(word).unwrap()).is_ok(), "no character is halved");
    }
}

#[test]
fn addresses_that_could_end_a_header_or_a_command_are_refused() {
    for good in ["a@b", "first.last+tag@mail.example.com", "o'neil@example.com"] {
        assert!(domain(good).is_ok(), "{good}");
    }
    let long = format!("{}@example.com", "a".repeat(300));
    for bad in [
        "",
        "a",
        "@b",
        "a@",
        "a@b@c",
        "a b@c",
        "a@b\r\nBcc: x@y",
        "a@b\n",
        "<a@b>",
        "A <a@b>",
        "a@b,c@d",
        "a@b;c",
        "\"a\"@b",
        "a(x)@b",
        "é@b",
        "a@b\0",
        &long,
    ] {
        let refused = compose(&fixture::notice(), FROM, &[bad.to_owned()]).unwrap_err();
        assert_eq!(refused.to_string(), "a mail address is not of the form `name@host`", "{bad:?}");
        assert!(compose(&fixture::notice(), bad, &to()).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn nothing_a_requester_writes_adds_a_header_a_line_or_markup(who in "(?s).{0,300}", why in "(?s).{0,1500}") {
        let mut notice = fixture::notice();
        notice.requester.clone_from(&who);
        notice.reason = format!("x{why}");
        notice.summary = format!("<script>{why}");
        let notice = notice.bounded();
        let (plain_header, plain_parts) = read(&compose(&fixture::notice(), FROM, &to()).unwrap());
        let mail = compose(&notice, FROM, &to()).unwrap();
        prop_assert!(mail.is_ascii());
        prop_assert!(mail.split("\r\n").all(|line| line.len() <= 78 && !line.contains(['\r', '\n'])));
        let (header, parts) = read(&mail);
        let names = |header: &[String]| -> Vec<String> { header.iter().map(|line| line.split(':').next().unwrap().to_owned()).collect() };
        prop_assert_eq!(names(&header), names(&plain_header));
        let rows = |text: &str| text.lines().count() + usize::from(notice.requester.is_empty());
        prop_assert_eq!(rows(&parts[0]), plain_parts[0].lines().count());
        let tags = |html: &str| html.matches('<').count() + if notice.requester.is_empty() { 6 } else { 0 };
        prop_assert_eq!(tags(&parts[1]), plain_parts[1].matches('<').count());
    }
}
