//! The schemas are current and say what the reader accepts; the manual's capability table is current.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use portcullis_policy::{capability::capability_table_markdown, schema};
use serde_json::Value;

use crate::golden::compare;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pretty(schema: &Value) -> String {
    serde_json::to_string_pretty(schema).unwrap() + "\n"
}

#[test]
fn the_schemas_are_current() {
    std::fs::create_dir_all(root().join("schema")).unwrap();
    compare(&root().join("schema/gateway.schema.json"), &pretty(&schema::gateway_schema()));
    compare(&root().join("schema/policy.schema.json"), &pretty(&schema::policy_schema()));
}

/// The reader's tables of keys and the schema's properties are the same, map by map.
#[test]
fn the_reader_knows_exactly_the_keys_of_the_schema() {
    let (gateway, policy) = (schema::gateway_schema(), schema::policy_schema());
    for (definition, keys) in schema::key_tables() {
        let found = match definition {
            "Gateway" => &gateway,
            "PolicyDocument" => &policy,
            _ if !policy["$defs"][definition].is_null() => &policy["$defs"][definition],
            _ => &gateway["$defs"][definition],
        };
        let properties: BTreeSet<&str> =
            found["properties"].as_object().expect(definition).keys().map(String::as_str).collect();
        assert_eq!(properties, keys.iter().copied().collect(), "{definition}");
        assert_eq!(found["additionalProperties"], Value::Bool(false), "{definition}");
    }
}

#[test]
fn every_map_of_the_schemas_is_in_the_readers_tables() {
    let known: BTreeSet<&str> = schema::key_tables().iter().map(|(definition, _)| *definition).collect();
    for schema in [schema::gateway_schema(), schema::policy_schema()] {
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            assert!(definition["properties"].is_null() || known.contains(name.as_str()), "{name}");
        }
    }
}

#[test]
fn manual_table() {
    let path = root().join("docs/manual/capabilities.md");
    let text = format!(
        "# What each protocol enforces\n\nPrinted from the capability matrix in `crates/policy/src/capability.rs`. A document that asks for a control\nwith another word than `enforced` beside it is refused by `portcullis check` and at start: nothing is inert.\n\n{}",
        capability_table_markdown()
    );
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    compare(&path, &text);
}
