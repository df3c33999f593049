//! Documents that come over the network name no file and no variable but those that are open to them.

use std::path::{Path, PathBuf};

use portcullis_policy::{
    Confinement, PolicySource, Report, SecretRef, SourceFile, check, check_confined, check_process,
};

const PLACES: [&str; 6] = [
    "connections: { db: { protocol: postgres, address: 'db:5432', database: db, credential: { username: u, password: 'REF' } } }",
    "notifications: [{ name: n, kind: webhook, url: 'https://hooks.example/x', secret: 'REF' }]",
    "notifications: [{ name: n, kind: slack, url: 'REF' }]",
    "identity: [{ name: e, kind: entra, tenant: 4c5a0d3e-0000-4000-8000-000000000001, audience: [a], liveness: { source: graph, credential: { client_id: c, client_secret: 'REF' } } }]",
    "identity: [{ name: e, kind: entra, tenant: 4c5a0d3e-0000-4000-8000-000000000001, audience: [a], users: allow, sign_in: { client_id: c, client_secret: 'REF' } }]",
    "notifications: [{ name: n, kind: email, smtp: { host: h, username: u, password: 'REF' }, from: a@b.example, to: [c@b.example] }]",
];

/// Files that are named without `file:`.
const FILES: [&str; 3] = [
    "connections: { db: { protocol: postgres, address: 'db:5432', database: db, tls: { mode: verify-full, ca: 'REF' } } }",
    "identity: [{ name: o, kind: oidc, issuer: 'https://i.example', audience: [a], jwks: 'REF' }]",
    "identity: [{ name: e, kind: entra, tenant: 4c5a0d3e-0000-4000-8000-000000000001, audience: [a], liveness: { source: graph, credential: { client_id: c, federated_token_file: 'REF' } } }]",
];

fn file(text: &str) -> SourceFile {
    SourceFile { path: "policy.yaml".into(), text: text.to_owned() }
}

fn refusals(report: &Report) -> Vec<&str> {
    let messages = report.diagnostics().iter().map(|found| found.message.as_str());
    messages.filter(|message| message.contains("the API manages")).collect()
}

fn confined(secrets: Option<&str>) -> Confinement {
    Confinement { secrets: secrets.map(PathBuf::from) }
}

fn is_refused(text: &str, secrets: Option<&str>) {
    let (policy, report) = check_confined(&[file(text)], &confined(secrets));
    assert!(policy.is_none(), "{text}");
    assert_eq!(refusals(&report).len(), 1, "{text}\n{}", report.render(false));
}

fn is_open(text: &str, secrets: Option<&str>) {
    let (_, report) = check_confined(&[file(text)], &confined(secrets));
    assert_eq!(refusals(&report), Vec::<&str>::new(), "{text}\n{}", report.render(false));
}

#[test]
fn no_file_of_the_gateway_can_be_named_from_afar() {
    let out = [
        "/etc/passwd",
        "../admin.token",
        "a/../../admin.token",
        "/run/secrets/../../etc/passwd",
        "/run/secretsx/a",
        "/run/secrets",
        ".",
        "..",
        "./",
    ];
    for path in out {
        for place in PLACES {
            is_refused(&place.replace("REF", &format!("file:{path}")), Some("/run/secrets"));
        }
        for place in FILES {
            is_refused(&place.replace("REF", path), Some("/run/secrets"));
        }
    }
    for place in PLACES {
        is_refused(&place.replace("REF", "file:db"), None);
        is_open(&place.replace("REF", "file:db"), Some("/run/secrets"));
        is_open(&place.replace("REF", "file:/run/secrets/a/db"), Some("/run/secrets"));
        assert_eq!(refusals(&check(&[file(&place.replace("REF", "file:/etc/x"))]).1), Vec::<&str>::new());
    }
    for place in FILES {
        is_refused(&place.replace("REF", "ca.pem"), None);
        is_open(&place.replace("REF", "ca.pem"), Some("/run/secrets"));
    }
}

#[test]
fn no_variable_of_the_gateway_can_be_named_from_afar() {
    for place in PLACES {
        for name in
            ["AWS_SECRET_ACCESS_KEY", "PORTCULLIS_ADMIN_TOKEN", "PORTCULLIS_SECRET_", "portcullis_secret_a"]
        {
            is_refused(&place.replace("REF", &format!("env:{name}")), Some("/run/secrets"));
        }
        is_open(&place.replace("REF", "env:PORTCULLIS_SECRET_A"), None);
    }
}

#[test]
fn a_path_is_read_from_the_open_folder_on() {
    let text = PLACES[0].replace("REF", "file:orders/password");
    let (policy, report) = check_confined(&[file(&text)], &confined(Some("/run/secrets")));
    let policy = policy.unwrap_or_else(|| panic!("{}", report.render(false)));
    let connection = policy.connections().next().unwrap();
    let password = &connection.credential.as_ref().unwrap().password;
    assert_eq!(*password, SecretRef::File("/run/secrets/orders/password".into()));
}

#[test]
fn no_documents_at_all_are_a_policy_that_opens_nothing() {
    let (policy, report) = check_confined(&[], &Confinement::default());
    let policy = policy.unwrap_or_else(|| panic!("{}", report.render(false)));
    assert_eq!((policy.connections().count(), policy.grants().len(), policy.providers().len()), (0, 0, 0));
    assert_eq!((report.errors(), report.warnings()), (0, 0));
}

#[test]
fn the_process_file_says_who_writes_the_documents() {
    let read = |text: &str| {
        let text = format!("listen: {{ web: '127.0.0.1:0' }}\ndata: data\n{text}\n");
        let (process, report) = check_process(&SourceFile { path: "/etc/p/gateway.yaml".into(), text });
        (process.map(|process| process.policy), report)
    };
    assert_eq!(read("policy: managed").0, Some(PolicySource::Managed(Confinement::default())));
    let with_secrets = read("policy: managed\nsecrets: secrets").0;
    assert_eq!(with_secrets, Some(PolicySource::Managed(confined(Some("/etc/p/secrets")))));
    for (text, path) in [("policy: ./managed", "/etc/p/./managed"), ("policy: [managed]", "/etc/p/managed")] {
        assert_eq!(read(text).0, Some(PolicySource::Files(vec![Path::new(path).to_owned()])), "{text}");
    }
    let (process, report) = read("policy: [a.yaml]\nsecrets: /run/secrets");
    assert!(process.is_none());
    assert!(report.render(false).contains("`secrets` matters only with `policy: managed`"));
}
