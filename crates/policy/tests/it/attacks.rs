//! Hostile documents: each is refused with a reason, in bounded time and memory.

use portcullis_policy::{Condition, Report, SourceFile, check, check_process, fuzz_documents};

use crate::golden::files;

fn report(text: impl Into<String>) -> Report {
    let (policy, report) = check(&[SourceFile { path: "attack.yaml".into(), text: text.into() }]);
    assert!(policy.is_none());
    assert!(report.errors() > 0);
    report
}

fn first(text: impl Into<String>) -> String {
    report(text).diagnostics()[0].message.clone()
}

#[test]
fn an_alias_bomb_is_refused_at_its_first_anchor() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(",");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(first(text).contains("anchors"));
}

#[test]
fn tags_aliases_and_merge_keys_are_refused() {
    assert!(first("grants: !!python/object []\n").contains("tags"));
    assert!(first("grants: *x\n").contains("this is not YAML") || first("grants: *x\n").contains("aliases"));
    assert!(report("<<: {grants: []}\n").render(false).contains("merge keys"));
}

#[test]
fn deep_nesting_is_refused_in_flow_and_in_block_form() {
    assert!(first("[".repeat(100_000)).contains("deep") || first("[".repeat(100_000)).contains("YAML"));
    assert!(first(format!("grants: {}1{}", "[".repeat(60), "]".repeat(60))).contains("nests deeper"));
    assert!(first("- ".repeat(100_000)).contains("nests deeper"));
    let flow = first("{a: ".repeat(1_000));
    assert!(flow.contains("recursion limit"), "{flow}");
}

#[test]
fn a_duplicate_key_cannot_smuggle_a_second_value() {
    let text = "grants:\n  - connection: a\n    scope: read:*\n    \"scope\": '*:*'\n";
    assert!(report(text).render(false).contains("`scope` is written twice"));
    // the same key spelled with an escape is the same key
    let text = "grants: []\n\"\\x67rants\": []\n";
    assert!(report(text).render(false).contains("`grants` is written twice"));
}

#[test]
fn a_second_document_in_the_file_is_not_skipped() {
    assert!(first("grants: []\n---\ngrants: []\n").contains("one document"));
}

#[test]
fn invisible_and_bidirectional_characters_are_refused() {
    for c in ['\u{202e}', '\u{200b}', '\u{2066}', '\u{feff}', '\u{7f}', '\u{85}', '\u{e0041}'] {
        let text = format!("grants: # {c} x\n  []\n");
        assert!(first(text).contains("invisible"), "{:04x}", u32::from(c));
    }
    assert!(first("identity:\n  - {name: a\0b}\n").contains("invisible"));
}

#[test]
fn a_report_obeys_no_terminal_escape_of_the_document() {
    let report = report("identity: \"\u{1b}[2J\u{9b}31m\"\n");
    assert!(!report.render(false).contains(['\u{1b}', '\u{9b}']), "{:?}", report.render(false));
    assert!(!report.diagnostics()[0].text.contains('\u{1b}'));
    // escaped in the document, it is text there and is not unescaped in messages
    let report = self::report(
        "connections: {\"\\e[2J\": {protocol: postgres}}\ngrants: [{connection: \"\\e[31m\", to: 'id:\\e', when: \"\\e[0m\", scope: \"\\e:*\"}]\n",
    );
    assert!(!report.render(false).contains('\u{1b}'), "{:?}", report.render(false));
    assert!(!serde_json::to_string(report.diagnostics()).unwrap().contains("\\u001b"));
}

#[test]
fn long_chains_in_conditions_do_not_exhaust_the_stack() {
    for text in [
        format!("principal{} == 1", ".a".repeat(480)),
        format!("now{} == 1", ".hour()".repeat(140)),
        format!("client == 'a'{}", " ? true : false".repeat(40)),
    ] {
        if let Ok(condition) = Condition::compile(&text) {
            drop(condition);
        }
        report(format!(
            "grants: [{{connection: c, to: 'id:x', when: always, scope: 'read:*', condition: \"{text}\"}}]\n"
        ));
    }
}

#[test]
fn names_that_look_alike_are_refused() {
    let text = "identity:\n  - {name: \u{435}ntra, kind: oidc, issuer: 'https://i', audience: a, groups: {'onc\u{430}ll': x, ' b': y, 'c d': z}}\n";
    let text = report(text).render(false);
    assert_eq!(text.matches("not ASCII").count(), 2, "{text}");
    assert_eq!(text.matches("cannot be a group's name").count(), 3, "{text}");
    assert!(
        report("connections: {'pr\u{43e}d': {protocol: postgres}}\n")
            .render(false)
            .contains("cannot be a connection's name")
    );
    assert!(
        report("connections: {'prod ': {protocol: postgres}}\n")
            .render(false)
            .contains("cannot be a connection's name")
    );
}

#[test]
fn a_ten_megabyte_document_is_refused_unread() {
    let text = "grants:\n".to_owned() + &"  - {connection: a}\n".repeat(500_000);
    let report = report(text);
    assert_eq!(report.errors(), 1);
    assert!(report.diagnostics()[0].message.contains("bytes long"));
    assert!(report.render(false).len() < 2_000);
}

#[test]
fn a_document_of_many_values_is_refused() {
    assert!(first(format!("grants: [{}]", "1,".repeat(200_000))).contains("more than"));
}

#[test]
fn thousands_of_errors_are_shown_in_part() {
    let report = report("grants:\n".to_owned() + &"  - {a: 1}\n".repeat(5_000));
    assert!(report.errors() > 5_000);
    assert!(report.render(false).len() < 200_000);
    assert!(report.render(false).contains("more"));
}

#[test]
fn one_enormous_line_is_shown_in_part() {
    let report = report(format!("grants: [{}\n", "x ".repeat(300_000)));
    assert!(report.render(false).len() < 3_000);
}

#[test]
fn costly_conditions_are_refused_before_they_are_parsed() {
    let nested = (0..12).fold("x".to_owned(), |inner, _| format!("[1,2,3,4,5,6,7,8,9].map(x, {inner})"));
    for (text, part) in [
        ("(".repeat(1_000), "nests"),
        (format!("{}true", "!".repeat(900)), "nests"),
        (format!("true{}", " && true".repeat(100)), "operators"),
        (format!("size('{}') > 0", "a".repeat(5_000)), "bytes"),
        (nested, "condition"),
        ("principal.groups.all(g, principal.groups.exists(h, g == h))".to_owned(), "inside another"),
        ("{'a': 1}.a == 1".to_owned(), "maps"),
        ("".to_owned(), "empty"),
    ] {
        let error = Condition::compile(&text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_process_file_that_is_no_map_is_refused() {
    for text in ["", "[]", "x", "# nothing\n", "---\n...\n", "\u{feff}"] {
        let (process, report) =
            check_process(&SourceFile { path: "gateway.yaml".into(), text: text.to_owned() });
        assert!(process.is_none(), "{text:?}");
        assert!(report.errors() > 0, "{text:?}");
    }
}

#[test]
fn the_fuzz_corpus_is_replayed() {
    for folder in ["corpus", "diagnostics", "scenarios"] {
        for path in files(folder, "") {
            let bytes = std::fs::read(path).unwrap();
            fuzz_documents(&bytes);
            // cut at every hundredth byte, and with a byte broken there
            for at in (0..bytes.len()).step_by(101) {
                fuzz_documents(&bytes[..at]);
                let mut broken = bytes.clone();
                broken[at] ^= 0x15;
                fuzz_documents(&broken);
            }
        }
    }
}

#[test]
fn thousands_of_grants_are_compared_by_connection_and_subject() {
    let mut text = String::from(
        "identity: [{name: ci, kind: oidc, issuer: 'https://idp.example', audience: a}]\nconnections:\n  c: {protocol: postgres, address: 'h:1', database: d}\ngrants:\n",
    );
    for n in 0..4_000 {
        text.push_str(&format!(
            " - {{name: g{n}, connection: c, to: 'id:s{n}', when: always, scope: 'read:a.t{n}'}}\n"
        ));
    }
    // The last one gives what one of the first has given; misspelt connections are suggested for, and that is bounded too.
    text.push_str(" - {name: again, connection: c, to: 'id:s7', when: always, scope: 'read:a.t7'}\n");
    for n in 0..400 {
        text.push_str(&format!(
            " - {{name: m{n}, connection: cc, to: 'id:s{n}', when: always, scope: 'read:a.t'}}\n"
        ));
    }
    let report = report(text).render(false);
    assert!(
        report.contains("this grant can never matter") && report.contains("`g7` at attack.yaml:"),
        "{report}"
    );
}
