//! Scenario documents: the same answer from the library, from the API and from the command line.

use std::path::PathBuf;

use portcullis_policy::{SourceFile, TestCase, Who, check, run_tests};
use serde_json::{Value, json};

use crate::{
    lab::{Lab, run},
    statements_of_the_program::Statements,
};

/// Documents with `tests:`.
fn documents() -> Vec<PathBuf> {
    let crate_root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let own = ["good.yaml", "approvals.yaml", "asked-everywhere.yaml"];
    let own = own.iter().map(|name| crate_root.join("tests/testdata/documents").join(name));
    own.chain([crate_root.join("../../examples/demo/policy.yaml")]).collect()
}

#[tokio::test]
async fn library_api_and_command_line_give_one_answer() {
    let lab = Lab::asking().await;
    let (http, url) = (lab.http(), format!("{}/api/v1/policy/explain", lab.url()));
    let statements = Statements::new("public").unwrap();
    let mut compared = 0;
    for path in documents() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let (policy, report) = check(&[SourceFile { path: name.clone().into(), text: text.clone() }]);
        let policy = policy.unwrap_or_else(|| panic!("{}", report.render(false)));
        let library = run_tests(&policy, &|connection, text| statements.read(connection, text));

        let folder = path.parent().unwrap();
        let printed = run(&["test", "--policy", &name, "--output", "json"], &[], folder).await;
        let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
        for (at, outcome) in library.iter().enumerate() {
            let case = &policy.tests()[at];
            let expected = serde_json::to_value(outcome).unwrap();
            assert_eq!(printed["tests"][at], expected, "{name}, {}: the command line", case.name);

            let answer = http
                .post(&url)
                .bearer_auth(lab.admin_token())
                .json(&question(case, &name, &text))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{name}, {}", case.name);
            let answer: Value = answer.json().await.unwrap();
            let explained = serde_json::to_value(&outcome.explanation).unwrap();
            assert_eq!(answer, explained, "{name}, {}: the API", case.name);
            compared += 1;
        }
    }
    assert!(compared > 20, "there are scenarios: {compared}");
}

fn question(case: &TestCase, name: &str, text: &str) -> Value {
    let Who { provider, groups, .. } = &case.identity;
    json!({
        "provider": provider, "groups": groups, "connection": case.connection, "sql": case.statement,
        "window": if case.window { "open" } else { "none" }, "approved": case.approved,
        "files": [{ "name": name, "text": text }],
    })
}
