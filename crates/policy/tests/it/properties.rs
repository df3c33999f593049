//! Properties of the decision function, over made-up policies and operations.

use std::sync::Arc;

use portcullis_core::{Decision, Operation, Verdict};
use portcullis_policy::{Policy, SessionRules, SourceFile, Who, check};
use proptest::prelude::*;

use crate::scenarios::operation;

const HEAD: &str = "identity: [{name: o, kind: oidc, issuer: 'https://i.example', audience: a}]\nconnections: {c: {protocol: postgres, address: 'h:1', database: d}}\n";

fn document(grants: &[String], guardrails: &[String]) -> String {
    let mut text = format!("{HEAD}grants:\n");
    for (at, scope) in grants.iter().enumerate() {
        // conditions keep a grant from being shadowed, which is an error
        text.push_str(&format!("  - {{name: g{at}, connection: c, to: 'role:r', when: always, scope: '{scope}', condition: '{at} == {at}'}}\n"));
    }
    text.push_str("guardrails:\n");
    for (at, rule) in guardrails.iter().enumerate() {
        text.push_str(&format!("  - {{name: r{at}, {rule}}}\n"));
    }
    text
}

fn policy(grants: &[String], guardrails: &[String]) -> Arc<Policy> {
    let text = document(grants, guardrails);
    let (policy, report) = check(&[SourceFile { path: "p.yaml".into(), text }]);
    policy.unwrap_or_else(|| panic!("{}", report.render(false)))
}

fn decide(policy: &Arc<Policy>, operation: &Operation) -> Decision {
    rules_of(policy).decide(operation)
}

fn rules_of(policy: &Arc<Policy>) -> Arc<SessionRules> {
    let who = Who { roles: vec!["r".to_owned()], ..Who::default() }.principal(policy);
    let name = "c".parse().unwrap();
    let connection = policy.connection(&name).unwrap();
    policy.session_rules(connection, &policy.grants_to(&who, &name), &who)
}

fn scope() -> impl Strategy<Value = String> {
    ("(read|write|admin|execute|\\*)", "(\\*|a\\.\\*|b\\.\\*|a\\.t|\\*\\.t|a\\.\\?)")
        .prop_map(|(verb, pattern)| format!("{verb}:{pattern}"))
}

fn guardrail(action: &'static str) -> impl Strategy<Value = String> {
    let statements = proptest::option::of("(drop|delete|select)");
    let tables = proptest::option::of("('a\\.\\*'|'b\\.t'|'\\*\\.u')");
    (statements, proptest::bool::ANY, tables).prop_map(move |(statements, without, tables)| {
        let mut rule = format!("action: {action}");
        if let Some(statements) = statements {
            rule.push_str(&format!(", statements: [{statements}]"));
        }
        if without {
            rule.push_str(", without: where");
        }
        if let Some(tables) = tables {
            rule.push_str(&format!(", tables: [{tables}]"));
        }
        rule
    })
}

fn mask() -> impl Strategy<Value = String> {
    let what =
        "(columns: a\\.t|columns: '\\*\\.\\*', opaque: allow|detect: email|columns: t\\.c, detect: jwt)";
    let whom = "(, to: 'role:r'|, except: 'role:r'|, to: 'role:s'|)";
    (what, whom).prop_map(|(what, whom)| format!("{{name: m, with: redact, {what}{whom}}}"))
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let pair = "(read|write|admin|execute) [ab]\\.[tu]( via a\\.v)?";
    let whole = (
        proptest::collection::vec("(select|delete|drop)", 1..3),
        proptest::collection::vec(pair, 0..4),
        proptest::bool::ANY,
    )
        .prop_map(|(kinds, pairs, lacks)| {
            format!("{}: {}{}", kinds.join("+"), pairs.join(", "), if lacks { "; lacks where" } else { "" })
        });
    prop_oneof![9 => whole, 1 => Just("?nobody can read it".to_owned())]
        .prop_map(|text| operation(&text).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn adding_a_grant_never_turns_an_allow_into_a_deny(
        grants in proptest::collection::vec(scope(), 0..4), more in scope(),
        rules in proptest::collection::vec(guardrail("block"), 0..3), operation in any_operation(),
    ) {
        let before = decide(&policy(&grants, &rules), &operation);
        let mut wider = grants;
        wider.push(more);
        let after = decide(&policy(&wider, &rules), &operation);
        prop_assert!(!before.is_allow() || after.is_allow());
    }

    #[test]
    fn adding_a_guardrail_never_turns_a_deny_into_an_allow(
        grants in proptest::collection::vec(scope(), 0..4), rules in proptest::collection::vec(guardrail("block"), 0..3),
        more in prop_oneof![guardrail("block"), guardrail("warn"), guardrail("approve, approvers: 'role:s'")], operation in any_operation(),
    ) {
        let before = decide(&policy(&grants, &rules), &operation);
        let mut stricter = rules;
        stricter.push(more);
        let after = decide(&policy(&grants, &stricter), &operation);
        prop_assert!(before.is_allow() || !after.is_allow());
    }

    #[test]
    fn asking_people_changes_allows_into_holds_and_nothing_else(
        grants in proptest::collection::vec(scope(), 0..4), rules in proptest::collection::vec(guardrail("block"), 0..2),
        asks in proptest::collection::vec(guardrail("approve, approvers: 'role:s'"), 1..3), operation in any_operation(),
    ) {
        // a guardrail that matches nothing keeps both from being pass-through
        let mut plain = rules;
        plain.push("action: warn, tables: [z.z]".to_owned());
        let mut asking = plain.clone();
        asking.extend(asks);
        let (before, asking) = (decide(&policy(&grants, &plain), &operation), policy(&grants, &asking));
        let after = decide(&asking, &operation);
        match after.verdict {
            Verdict::Hold => prop_assert!(before.is_allow() && before.obligations == after.obligations),
            _ => prop_assert_eq!(&before, &after),
        }
        let held = !rules_of(&asking).holds(&operation).is_empty();
        prop_assert_eq!(after.verdict == Verdict::Hold, held && before.is_allow());
    }

    #[test]
    fn adding_a_mask_never_turns_a_deny_into_an_allow_and_no_grant_removes_one(
        grants in proptest::collection::vec(scope(), 0..4), more in scope(), mask in mask(), operation in any_operation(),
    ) {
        let before = decide(&policy(&grants, &[]), &operation);
        let masked = |grants: &[String]| {
            let (text, mask) = (document(grants, &[]), format!("masks: [{mask}]\n"));
            check(&[SourceFile { path: "p.yaml".into(), text: text + &mask }]).0.unwrap()
        };
        let after = decide(&masked(&grants), &operation);
        prop_assert!(before.is_allow() || !after.is_allow());
        let binds = |policy: &Arc<Policy>| {
            let name = "c".parse().unwrap();
            let who = Who { roles: vec!["r".to_owned()], ..Who::default() }.principal(policy);
            let connection = policy.connection(&name).unwrap();
            policy.session_rules(connection, &policy.grants_to(&who, &name), &who).masks().map(|masks| Arc::clone(masks.key()))
        };
        let mut wider = grants.clone();
        wider.push(more);
        prop_assert_eq!(binds(&masked(&grants)).is_some(), binds(&masked(&wider)).is_some());
    }

    #[test]
    fn the_same_question_has_the_same_answer(grants in proptest::collection::vec(scope(), 0..3), operation in any_operation()) {
        let policy = policy(&grants, &[]);
        prop_assert_eq!(decide(&policy, &operation), decide(&policy, &operation));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[a-z:\\-\\[\\]{}&*!'\"# \n]{0,200}") {
        portcullis_policy::fuzz_documents(text.as_bytes());
    }
}
