//! The manual's reference names every key, and its examples are good documents.

use portcullis_policy::{SourceFile, check, check_process, schema};

fn reference() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/policy-reference.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_key_is_in_the_reference() {
    let text = reference();
    for (definition, keys) in schema::key_tables() {
        for key in keys {
            assert!(
                text.contains(&format!("`{key}`")),
                "`{key}` of {definition} is not in docs/manual/policy-reference.md"
            );
        }
    }
}

#[test]
fn the_examples_are_good_documents() {
    let text = reference();
    let mut examples = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let file = |text: &str| SourceFile { path: "example.yaml".into(), text: text.to_owned() };
    let (process, report) = check_process(&file(examples.next().unwrap()));
    assert!(process.is_some() && report.warnings() == 0, "{}", report.render(false));
    let (policy, report) = check(&[file(examples.next().unwrap())]);
    assert!(policy.is_some() && report.warnings() == 0, "{}", report.render(false));
}
