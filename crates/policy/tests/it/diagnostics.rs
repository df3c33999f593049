//! What `check` says, as golden text.

use std::path::{Path, PathBuf};

use portcullis_policy::{PolicySource, Report, SourceFile, check, check_process};

use crate::golden::{compare, files, testdata};

fn source(path: &Path) -> SourceFile {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    SourceFile { path: name.into(), text: std::fs::read_to_string(path).unwrap() }
}

fn text(report: &Report) -> String {
    format!("{}{} errors, {} warnings\n", report.render(false), report.errors(), report.warnings())
}

fn policy(text: &str) -> Report {
    check(&[SourceFile { path: "p.yaml".into(), text: text.to_owned() }]).1
}

#[test]
fn every_golden_document_says_what_it_said() {
    for path in files("diagnostics", ".yaml") {
        let file = source(&path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let report = if name.starts_with("gateway") { check_process(&file).1 } else { check(&[file]).1 };
        compare(&path.with_extension("txt"), &text(&report));
    }
}

/// The examples of the design parse as written; what is refused is refused by name, never as an unknown key.
#[test]
fn the_design_examples_are_refused_only_for_what_is_not_enforced_yet() {
    let (_, process) = check_process(&source(&testdata().join("diagnostics/gateway-design.yaml")));
    let (_, policy) = check(&[source(&testdata().join("diagnostics/policy-design.yaml"))]);
    for diagnostic in process.diagnostics().iter().chain(policy.diagnostics()) {
        let expected = [
            "not enforced yet",
            "orders-db",
            "deploy-agents",
            "pci-cleared",
            "is not an object id",
            "nobody has a role",
            "no person can answer",
        ];
        assert!(expected.iter().any(|part| diagnostic.message.contains(part)), "{}", diagnostic.message);
    }
    assert_eq!(process.errors(), 1);
}

#[test]
fn a_broken_document_among_good_ones_gives_no_policy_and_no_false_unknown_names() {
    let good = SourceFile {
        path: "a.yaml".into(),
        text: "grants:\n  - {connection: c, to: 'group:g', when: always, scope: 'read:*'}\n".to_owned(),
    };
    let bad = SourceFile { path: "b.yaml".into(), text: "connections: [\n".to_owned() };
    let (policy, report) = check(&[good, bad]);
    assert!(policy.is_none());
    assert_eq!(report.errors(), 1);
    assert_eq!(report.diagnostics()[0].file, Path::new("b.yaml"));
}

#[test]
fn documents_are_merged_and_names_are_unique_over_all() {
    let one = "identity: [{name: o, kind: oidc, issuer: 'https://i.example', audience: a}]\nconnections: {c: {protocol: postgres, address: 'h:1', database: d}}\n";
    let two = "connections: {c: {protocol: postgres, address: 'h:1', database: d}}\ngrants: [{connection: c, to: 'role:r', when: always, scope: 'read:*'}]\n";
    let file = |name: &str, text: &str| SourceFile { path: name.into(), text: text.to_owned() };
    let (policy, report) = check(&[file("one.yaml", one), file("two.yaml", two)]);
    assert!(policy.is_none());
    assert_eq!(report.errors(), 1);
    assert!(report.diagnostics()[0].message.contains("two connections are named `c`"));
    assert!(report.diagnostics()[0].help[0].contains("one.yaml:2"));
}

#[test]
fn a_literal_secret_is_not_repeated_anywhere() {
    let report = policy(
        "connections:\n  c: { protocol: postgres, address: h, database: d, credential: { username: u, password: hunter2 }, typo: 1 }\n",
    );
    let everything =
        format!("{}{}", report.render(false), serde_json::to_string(report.diagnostics()).unwrap());
    assert!(everything.contains("never written into a document"));
    assert!(everything.contains("unknown key `typo`"));
    assert!(!everything.contains("hunter2"), "{everything}");
}

#[test]
fn relative_paths_are_relative_to_their_document() {
    let text = "listen: {web: '127.0.0.1:0', postgres: {address: '[::1]:0', authentication: oauthbearer}}\ndata: var\npolicy: [policy.yaml, /abs/p.yaml]\ntls: {certificate: a.pem, key: /k.pem}\nproxy_protocol: {trusted: [10.0.0.0/8, 'fd00::/8']}\nlimits: {token: 32KiB, drain: 5s}\nlog: {format: json, level: 'info,portcullis_proxy=debug'}\njournal: {sync: strict}\n";
    let (process, report) =
        check_process(&SourceFile { path: "/etc/portcullis/gateway.yaml".into(), text: text.to_owned() });
    assert_eq!(report.render(false), "");
    let process = process.unwrap();
    assert_eq!(process.data, Path::new("/etc/portcullis/var"));
    let paths = ["/etc/portcullis/policy.yaml", "/abs/p.yaml"].map(PathBuf::from);
    assert_eq!(process.policy, PolicySource::Files(paths.into()));
    assert_eq!(process.tls.unwrap().key, Path::new("/k.pem"));
    assert_eq!(process.limits.token, 32 << 10);
    assert_eq!(process.proxy_protocol.len(), 2);
    assert_eq!(process.listen.postgres.unwrap().address.port(), 0);
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let report = policy("grant: []\n");
    assert!(report.render(true).contains('\u{1b}'));
    assert!(!report.render(false).contains('\u{1b}'));
}

#[test]
fn the_version_is_that_of_the_texts_and_not_of_their_places() {
    let version = |path: &str, text: &str| {
        let (policy, _) = check(&[SourceFile { path: path.into(), text: text.to_owned() }]);
        policy.unwrap().version().to_string()
    };
    assert_eq!(version("a.yaml", "grants: []\n"), version("b/c.yaml", "grants: []\n"));
    assert_ne!(version("a.yaml", "grants: []\n"), version("a.yaml", "grants: [] \n"));
    assert_eq!(version("a.yaml", "").len(), 16);
}

#[test]
fn a_grants_made_id_stays_when_other_lines_change() {
    let id = |before: &str, terms: &str| {
        let text = format!(
            "{before}identity: [{{name: o, kind: oidc, issuer: 'https://i.example', audience: a}}]\nconnections: {{c: {{protocol: postgres, address: 'h:1', database: d}}}}\ngrants: [{{connection: c, to: ['role:r', 'role:s'], when: requested, lifetime: 5m, scope: 'read:*'{terms}}}]\n"
        );
        let (policy, report) = check(&[SourceFile { path: "p.yaml".into(), text }]);
        policy.unwrap_or_else(|| panic!("{}", report.render(false))).grants()[0].id.clone()
    };
    assert_eq!(id("", ""), id("# a comment\n\n", ", max_per_day: 3, condition: 'true'"));
    assert!(id("", "").0.starts_with("c#"));
}

#[test]
fn byte_order_marks_line_ends_and_block_text_are_read_as_meant() {
    let text = "\u{feff}identity: [{name: o, kind: oidc, issuer: 'https://i.example', audience: a}]\r\n# größe €\r\nconnections: {c: {protocol: postgres, address: 'h:1', database: d}}\r\ngrants:\r\n  - connection: c\r\n    to: role:r\r\n    when: always\r\n    scope: read:*\r\n    condition: |\r\n      client == 'psql' &&\r\n      now.hour() > 3\r\ntests:\r\n  - {name: \"ü\", tpyo: 1}\r\n";
    let report = policy(text);
    assert_eq!(
        report.diagnostics()[0].message,
        "`identity` is missing in a test",
        "{}",
        report.render(false)
    );
    let unknown = &report.diagnostics()[report.diagnostics().len() - 1];
    assert_eq!((unknown.line, unknown.column, unknown.text.as_str()), (13, 17, "tpyo"));
    let (_, report) =
        check(&[SourceFile { path: "p".into(), text: text.split("tests:").next().unwrap().to_owned() }]);
    assert_eq!(report.render(false), "");
}
