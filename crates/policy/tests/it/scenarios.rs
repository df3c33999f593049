//! Scenarios: documents whose `tests:` are run, each with its whole answer as golden text.
//!
//! Operations are written in a small notation, because this crate parses no SQL:
//! `KINDS: VERB RESOURCE [via VIEW], …; lacks CLAUSE`, where KINDS are separated by `+`, several operations by ` | `,
//! and `?REASON` is an operation nobody could classify.

use std::{borrow::Cow, fmt::Write as _};

use portcullis_core::{Operation, Resource, ResourceRef, StatementKind, operation::Classified};
use portcullis_policy::{Connection, Policy, SourceFile, check, reach, reach_connection, run_tests};

use crate::golden::{compare, files};

pub fn operations(_: &Connection, text: &str) -> Result<Vec<Operation>, String> {
    text.split(" | ").map(operation).collect()
}

pub fn operation(text: &str) -> Result<Operation, String> {
    let classified = |classified| Operation {
        kinds: vec![],
        resources: vec![],
        text: text.into(),
        lacks: vec![],
        classified,
    };
    if let Some(why) = text.strip_prefix('?') {
        return Ok(Operation {
            kinds: vec![StatementKind::word("unknown")],
            ..classified(Classified::Not(why.to_owned()))
        });
    }
    let (kinds, rest) = text.split_once(':').ok_or("no kinds")?;
    let (pairs, lacks) = rest.split_once("; lacks ").unwrap_or((rest, ""));
    let resources = pairs.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let mut words = pair.split_whitespace();
        let (verb, resource) = (words.next().ok_or("no verb")?, words.next().ok_or("no resource")?);
        let through = words.nth(1).map(|view| Resource::from(view.to_owned()));
        let verb = verb.parse().map_err(|_| "no such verb")?;
        Ok(ResourceRef { verb, resource: Resource::from(resource.to_owned()), columns: vec![], through })
    });
    Ok(Operation {
        kinds: kinds.split('+').map(|kind| StatementKind(Cow::Owned(kind.to_owned()))).collect(),
        resources: resources.collect::<Result<_, &str>>()?,
        lacks: lacks.split_whitespace().map(|clause| Cow::Owned(clause.to_owned())).collect(),
        ..classified(Classified::Completely)
    })
}

#[test]
fn every_scenario_decides_as_it_says() {
    for path in files("scenarios", ".yaml") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file = SourceFile { path: name.clone().into(), text: std::fs::read_to_string(&path).unwrap() };
        let (policy, report) = check(&[file]);
        let policy = policy.unwrap_or_else(|| panic!("{}", report.render(false)));
        let mut golden = String::new();
        let mut failed = Vec::new();
        for outcome in run_tests(&policy, &operations) {
            writeln!(golden, "{outcome}\n{}\n", outcome.explanation).unwrap();
            if !outcome.passed {
                failed.push(outcome.to_string());
            }
        }
        write_reach(&policy, &mut golden);
        // the shape programs read: fields are added, never renamed
        let outcomes = run_tests(&policy, &operations);
        writeln!(golden, "\n{}", serde_json::to_string_pretty(&outcomes.last()).unwrap()).unwrap();
        let who = policy.tests()[0].identity.principal(&policy);
        writeln!(golden, "{}", serde_json::to_string_pretty(&reach(&policy, &who).first()).unwrap()).unwrap();
        assert!(failed.is_empty(), "{name}:\n{}", failed.join("\n"));
        compare(&path.with_extension("txt"), &golden.replace(&**policy.version(), "VERSION"));
    }
}

fn write_reach(policy: &Policy, out: &mut String) {
    for test in policy.tests() {
        let principal = test.identity.principal(policy);
        let ways: Vec<String> = reach(policy, &principal).iter().map(ToString::to_string).collect();
        writeln!(out, "reach {:?}: {ways:?}", test.identity.groups).unwrap();
    }
    for connection in policy.connections() {
        for way in reach_connection(policy, &connection.name) {
            writeln!(out, "who {way}").unwrap();
        }
    }
}
