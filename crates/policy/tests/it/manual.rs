//! The manual's reference names every key, and its examples are good documents.

use portcullis_policy::{SourceFile, check, check_process, schema};

fn reference() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/policy-reference.md");
    std::fs::read_to_string(path).unwrap()
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), text: text.to_owned() }
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
fn every_detector_and_transform_is_in_the_reference_and_in_the_schema() {
    let (text, schema) = (reference(), schema::policy_schema());
    let words = |definition: &str| -> Vec<String> {
        let words = schema["$defs"][definition]["enum"].as_array().unwrap();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(words("KnownDetector"), portcullis_mask::Detector::NAMES);
    assert_eq!(words("Transform"), portcullis_mask::Transform::NAMES);
    for word in words("KnownDetector").iter().chain(&words("Transform")) {
        assert!(text.contains(&format!("`{word}`")), "{word}");
    }
}

/// The first example is a process file, the second a whole policy, every other one a part that is checked beside the second's
/// identity, connections and grants.
#[test]
fn the_examples_are_good_documents() {
    let text = reference();
    let mut examples = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (process, report) = check_process(&file("gateway.yaml", examples.next().unwrap()));
    assert!(process.is_some() && report.warnings() == 0, "{}", report.render(false));
    let whole = examples.next().unwrap();
    let (policy, report) = check(&[file("policy.yaml", whole)]);
    assert!(policy.is_some() && report.warnings() == 0, "{}", report.render(false));
    let base = whole.split("\nguardrails:").next().unwrap();
    let mut parts = 0;
    for part in examples {
        let (policy, report) = check(&[file("base.yaml", base), file("part.yaml", part)]);
        assert!(policy.is_some() && report.warnings() == 0, "{}", report.render(false));
        parts += 1;
    }
    assert_eq!(parts, 5);
}
