use super::*;

const SMALL: &str = "
tenant: 4c5a0d3e-0000-4000-8000-000000000001
token_lifetime: 10m
apis:
  - client_id: 6b1f0f0e-0000-4000-8000-000000000002
    identifier_uris: [api://portcullis]
    requestedAccessTokenVersion: 2
    groupMembershipClaims: true
applications:
  - client_id: 9f2c0000-0000-4000-8000-000000000001
    object_id: 77aa0000-0000-4000-8000-000000000001
    display_name: triage-agent
    kind: agent
    parent_application: 9f2c0000-0000-4000-8000-0000000000ff
    secret: triage
users:
  - { object_id: 55aa0000-0000-4000-8000-000000000001, name: sam }
groups:
  - object_id: 33aa0000-0000-4000-8000-000000000001
    display_name: oncall
    members: [sam, 77aa0000-0000-4000-8000-000000000001]
";

fn problems(text: &str) -> Vec<String> {
    match Directory::parse(text, "directory.yaml") {
        Err(DirectoryError::Invalid(problems)) => problems,
        other => panic!("expected contradictions, got {other:?}"),
    }
}

#[test]
fn a_small_directory_is_read() {
    let directory = Directory::parse(SMALL, "directory.yaml").unwrap();
    assert_eq!(directory.token_lifetime.duration(), Duration::from_secs(600));
    assert_eq!(directory.apis[0].requested_access_token_version, TokenVersion::V2);
    assert!(directory.applications[0].enabled);
    assert_eq!(directory.applications[0].kind, ApplicationKind::Agent);
    assert!(!format!("{directory:?}").contains("triage\""), "a secret shows in debug output");
}

#[test]
fn the_demo_directory_is_valid() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/demo/directory.yaml");
    let directory = Directory::load(Path::new(demo)).unwrap();
    assert_eq!(directory.tenant.to_string(), "4c5a0d3e-0000-4000-8000-000000000001");
}

#[test]
fn unknown_keys_name_the_place() {
    let text = SMALL.replace("display_name: triage-agent", "displayname: triage-agent");
    let error = Directory::parse(&text, "directory.yaml").unwrap_err().to_string();
    assert!(
        error.contains("directory.yaml") && error.contains("displayname") && error.contains("13"),
        "{error}"
    );
}

#[test]
fn all_contradictions_are_reported_at_once() {
    let text = SMALL
        .replace("    parent_application: 9f2c0000-0000-4000-8000-0000000000ff\n", "")
        .replace("members: [sam,", "members: [sem,")
        .replace("55aa0000-0000-4000-8000-000000000001", "77aa0000-0000-4000-8000-000000000001");
    let problems = problems(&text);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems.iter().any(|p| p.contains("needs `parent_application`")), "{problems:?}");
    assert!(problems.iter().any(|p| p.contains("`sem` is neither an object id nor a name")), "{problems:?}");
    assert!(problems.iter().any(|p| p.contains("is used by `triage-agent` and by `sam`")), "{problems:?}");
}

#[test]
fn a_name_used_twice_cannot_be_a_member() {
    let text = SMALL.replace("display_name: triage-agent", "display_name: sam");
    assert!(problems(&text)[0].contains("is the name of several"));
}

#[test]
fn only_lifetimes_from_a_second_to_a_day_are_accepted() {
    for good in ["1s", "75m", "24h"] {
        assert!(good.parse::<Lifetime>().is_ok(), "{good}");
    }
    for bad in ["", "0s", "25h", "75", "m", "-1m", "1ss", "18446744073709551615h", "é"] {
        assert!(bad.parse::<Lifetime>().is_err(), "{bad}");
    }
}

#[test]
fn only_token_versions_one_and_two_exist() {
    let text = SMALL.replace("requestedAccessTokenVersion: 2", "requestedAccessTokenVersion: 3");
    let error = Directory::parse(&text, "directory.yaml").unwrap_err().to_string();
    assert!(error.contains("expected 1 or 2"), "{error}");
}

#[test]
fn a_huge_text_is_refused_before_parsing() {
    let text = " ".repeat(MAX_FILE + 1);
    assert!(matches!(Directory::parse(&text, "x"), Err(DirectoryError::TooLarge { .. })));
}
