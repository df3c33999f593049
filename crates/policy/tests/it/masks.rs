//! Masks from outside: whom they bind, what several say together, and tricks to get rid of one.

use std::sync::Arc;

use portcullis_core::{ConnectionName, GroupRef, Principal};
use portcullis_policy::{Filter, Opaque, Policy, Report, SessionMasks, SessionRules, SourceFile, Who, check};

use crate::scenarios::operation;

const HEAD: &str = "identity: [{name: entra, kind: entra, tenant: 4c5a0d3e-0000-4000-8000-000000000001, audience: a, groups: {triage: 11111111-1111-4111-8111-111111111111, cleared: 22222222-2222-4222-8222-222222222222}}]
connections: {c: {protocol: postgres, address: 'h:1', database: d}, e: {protocol: postgres, address: 'h:2', database: d}}
grants:
  - {name: c, connection: c, to: ['group:triage', 'group:cleared'], when: always, scope: '*:*'}
  - {name: e, connection: e, to: ['group:triage'], when: always, scope: 'read:*'}
";

fn report(masks: &str) -> (Option<Arc<Policy>>, Report) {
    check(&[SourceFile { path: "p.yaml".into(), text: format!("{HEAD}{masks}") }])
}

fn policy(masks: &str) -> Arc<Policy> {
    let (policy, report) = report(masks);
    policy.unwrap_or_else(|| panic!("{}", report.render(false)))
}

fn refused(masks: &str) -> String {
    let (policy, report) = report(masks);
    assert!(policy.is_none(), "{masks}");
    report.render(false)
}

fn who(policy: &Policy, groups: &[&str]) -> Principal {
    Who { groups: groups.iter().map(|name| (*name).to_owned()).collect(), ..Who::default() }.principal(policy)
}

fn rules(policy: &Arc<Policy>, connection: &str, who: &Principal) -> Arc<SessionRules> {
    let name: ConnectionName = connection.parse().unwrap();
    policy.session_rules(policy.connection(&name).unwrap(), &policy.grants_to(who, &name), who)
}

fn masks(policy: &Arc<Policy>, groups: &[&str]) -> Option<Arc<SessionMasks>> {
    rules(policy, "c", &who(policy, groups)).masks().cloned()
}

#[test]
fn a_name_that_sounds_like_a_group_frees_nobody() {
    let policy = policy("masks: [{name: m, columns: t.c, with: redact, except: 'group:cleared'}]\n");
    let mut spoof = who(&policy, &["triage"]);
    spoof.groups.push(GroupRef { id: "cleared".to_owned(), name: Some("cleared".to_owned()) });
    spoof.name = "group:cleared".to_owned();
    spoof.roles = vec!["cleared".to_owned()];
    assert!(rules(&policy, "c", &spoof).masks().is_some());
    // the id counts, whatever its capitals, and only from the provider that maps it
    let mut real = who(&policy, &["triage"]);
    real.groups.push(GroupRef { id: "22222222-2222-4222-8222-222222222222".to_owned(), name: None });
    assert!(rules(&policy, "c", &real).masks().is_none());
    real.provider = "ci".to_owned();
    assert!(rules(&policy, "c", &real).masks().is_some());
}

#[test]
fn no_grant_drops_a_mask() {
    let policy = policy("masks: [{name: m, columns: t.c, with: redact, except: 'group:cleared'}]\n");
    let principal = who(&policy, &["triage"]);
    let connection = policy.connection(&"c".parse().unwrap()).unwrap();
    // all grants of the policy, one, none: the mask stays
    for grants in [policy.grants(), &policy.grants()[..1], &[]] {
        let rules = policy.session_rules(connection, grants, &principal);
        assert_eq!(rules.masks().unwrap().columns().len(), 1);
        assert!(!rules.is_pass_through());
    }
    let key = "masks: [{name: m, columns: t.c, with: redact}]\ngrants: []\n";
    assert!(refused(key).contains("`grants` is written twice"));
    assert!(
        refused("masks: [{name: m, columns: t.c, with: redact, grants: [c]}]\n")
            .contains("unknown key `grants`")
    );
}

#[test]
fn to_and_except_together_bind_the_difference() {
    let policy = policy(
        "masks: [{name: m, detect: email, with: redact, to: 'group:triage', except: 'group:cleared'}]\n",
    );
    assert!(masks(&policy, &["triage"]).is_some());
    assert!(masks(&policy, &["cleared"]).is_none());
    assert!(masks(&policy, &["triage", "cleared"]).is_none());
    assert!(masks(&policy, &[]).is_none());
}

#[test]
fn pass_through_ends_with_columns_that_refuse_opaque_code_and_with_nothing_less() {
    let pass = |masks: &str, groups: &[&str]| {
        let policy = policy(masks);
        rules(&policy, "c", &who(&policy, groups)).is_pass_through()
    };
    assert!(pass("", &["triage"]));
    assert!(pass("masks: [{name: m, detect: email, with: redact}]\n", &["triage"]));
    assert!(pass("masks: [{name: m, columns: t.c, with: redact, opaque: allow}]\n", &["triage"]));
    assert!(pass("masks: [{name: m, columns: t.c, with: redact, connections: e}]\n", &["triage"]));
    assert!(pass("masks: [{name: m, columns: t.c, with: redact, except: 'group:cleared'}]\n", &["cleared"]));
    assert!(!pass("masks: [{name: m, columns: t.c, with: redact, except: 'group:cleared'}]\n", &["triage"]));
    assert!(!pass("masks: [{name: m, columns: t.c, detect: email, with: redact}]\n", &["triage"]));
}

#[test]
fn a_refusal_because_of_a_mask_names_mask_column_and_way_out() {
    let policy = policy("masks: [{name: m, columns: [t.c, s.t.d], with: redact}]\n");
    let decision =
        rules(&policy, "c", &who(&policy, &["triage"])).decide(&operation("?it does not parse").unwrap());
    assert!(!decision.is_allow());
    assert_eq!(decision.rule.to_string(), "mask `m` (p.yaml:6)");
    for part in ["it does not parse", "the mask `m`", "`t.c`, `s.t.d`", "rewrite"] {
        assert!(decision.reason.contains(part), "{}", decision.reason);
    }
}

#[test]
fn of_several_masks_on_a_column_the_strictest_of_each_counts() {
    let policy = policy(
        "masks:
  - {name: a, columns: t.c, with: email, filter: allow, opaque: refuse}
  - {name: b, columns: 's.t.*', with: hash, filter: allow, opaque: allow}
  - {name: c, columns: '*.c', with: hash, filter: deny, opaque: allow}
  - {name: d, detect: email, with: null}
  - {name: e, columns: other.x, with: null}
",
    );
    let masks = masks(&policy, &["triage"]).unwrap();
    let on = |table: &str, column: &str| {
        masks.on_column("s", table, column).map(|rules| {
            let name = |mask: Option<&Arc<portcullis_policy::Mask>>| mask.map(|mask| mask.name.clone());
            (rules.mask.name.clone(), name(rules.filter), name(rules.opaque))
        })
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(on("t", "c"), Some(("b".to_owned(), some("c"), some("a"))));
    assert_eq!(on("t", "d"), Some(("b".to_owned(), None, None)));
    assert_eq!(on("u", "c"), Some(("c".to_owned(), some("c"), None)));
    assert_eq!(on("u", "d"), None);
    assert_eq!(masks.all().len(), 5);
    assert!(masks.scanner().is_some());
    assert_eq!(
        masks.columns().iter().map(|mask| mask.name.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c", "e"]
    );
}

#[test]
fn strengths_are_in_the_order_of_the_manual() {
    let words = ["null", "redact", "hash", "pattern, pattern: 'X#'", "last4", "email"];
    let list: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(at, word)| format!("{{name: m{at}, columns: t.c, with: {word}}}"))
        .collect();
    let policy = policy(&format!("masks: [{}]\n", list.join(", ")));
    let strengths: Vec<u8> = policy.masks().iter().map(|mask| mask.strength()).collect();
    assert!(strengths.windows(2).all(|two| two[0] > two[1]), "{strengths:?}");
    assert_eq!(policy.masks()[0].filter, Filter::Deny);
    assert_eq!(policy.masks()[0].opaque, Opaque::Refuse);
}

#[test]
fn sessions_bound_alike_share_their_masks() {
    let text = "masks:
  - {name: a, columns: t.c, with: email}
  - {name: b, detect: [email, {name: own, regex: 'x{3}'}], with: redact, except: 'group:cleared'}
";
    let first = policy(text);
    let of = |policy: &Arc<Policy>, groups: &[&str]| masks(policy, groups).unwrap();
    assert!(Arc::ptr_eq(&of(&first, &["triage"]), &of(&first, &["triage"])));
    assert!(of(&first, &["triage"]).scanner().is_some());
    assert!(of(&first, &["cleared"]).scanner().is_none());
    assert_ne!(of(&first, &["triage"]).key(), of(&first, &["cleared"]).key());
    // another policy that says the same at the same places has the same key
    let second = policy(&format!("{text}# a comment\n"));
    assert_eq!(of(&first, &["triage"]).key(), of(&second, &["triage"]).key());
    for (from, to) in [
        ("t.c", "t.d"),
        ("with: email", "with: hash"),
        ("with: email", "with: email, filter: allow"),
        ("with: email", "with: email, opaque: allow"),
        ("with: email", "with: email, trusted_functions: s.f"),
        ("x{3}", "x{4}"),
        ("[email, {", "[{"),
        ("name: a", "name: z"),
        ("masks:\n", "masks:\n\n"),
    ] {
        let other = policy(&text.replace(from, to));
        assert_ne!(of(&first, &["triage"]).key(), of(&other, &["triage"]).key(), "{from} -> {to}");
    }
}

#[test]
fn masks_are_unique_and_tests_name_known_ones() {
    let text = refused(
        "masks:\n  - {name: m, columns: t.c, with: redact}\n  - {name: m, detect: email, with: redact}\n",
    );
    assert!(
        text.contains("two masks are named `m`") && text.contains("the other stands at p.yaml:7"),
        "{text}"
    );
    let text = refused(
        "masks: [{name: cards, columns: t.c, with: redact}]\ntests: [{name: t, identity: {groups: triage}, connection: c, expect: allow, masks: [crads]}]\n",
    );
    assert!(text.contains("there is no mask `crads`") && text.contains("did you mean `cards`?"), "{text}");
    // a mask may be the rule that decides
    policy(
        "masks: [{name: cards, columns: t.c, with: redact}]\ntests: [{name: t, identity: {groups: triage}, connection: c, expect: deny, rule: cards}]\n",
    );
}

#[test]
fn a_mask_is_not_smuggled_out_of_the_document() {
    // each would leave a mask that masks nothing, or less than it says
    for (mask, says) in [
        ("{name: m, columns: [], with: redact}", "`columns` is empty"),
        ("{name: m, columns: t.c, with: redact, connections: []}", "`connections` is empty"),
        ("{name: m, columns: t.c, with: redact, to: []}", "`to` is empty"),
        ("{name: m, detect: [], with: redact}", "`detect` is empty"),
        ("{name: m, columns: '*', with: redact}", "it has 1 part"),
        ("{name: m, columns: '**', with: redact}", "it has 1 part"),
        ("{name: m, columns: 't.c ', with: redact}", "starts or ends with a space"),
        ("{name: m, columns: \"t.c\\u200b\", with: redact}", "the invisible character U+200B"),
        ("{name: m, columns: t.c, with: Redact}", "did you mean `redact`?"),
        ("{name: m, columns: t.c, with: }", "`with` is empty"),
        ("{name: m, columns: t.c, with: ~}", "`with` is empty"),
        ("{name: m, columns: t.c, with: [redact, null]}", "this is a list"),
        ("{name: m, columns: t.c, with: redact, connections: 'C'}", "covers no connection"),
        ("{name: \"a`b\", columns: t.c, with: redact}", "one line"),
    ] {
        let text = refused(&format!("masks: [{mask}]\n"));
        assert!(text.contains(says), "{mask}: {text}");
    }
    assert!(refused("masks: {cards: {columns: t.c, with: redact}}\n").contains("`masks` is a list"));
}
