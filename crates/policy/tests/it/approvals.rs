//! Holding from outside: what comes before asking, who is asked, and what an allow after a yes requires.

use std::{sync::Arc, time::Duration};

use portcullis_core::{Obligation, Operation, Principal, Verdict};
use portcullis_policy::{
    AskWay, GuardrailAction, HoldAt, OnTimeout, Policy, Preview, SessionRules, SourceFile, When, Who,
    capability, check,
};

use crate::scenarios::operation;

const HEAD: &str = "identity: [{name: entra, kind: entra, tenant: 4c5a0d3e-0000-4000-8000-000000000001, audience: a, users: allow, groups: {deploy: 11111111-1111-4111-8111-111111111111, oncall: 22222222-2222-4222-8222-222222222222, leads: 33333333-3333-4333-8333-333333333333, sre: 44444444-4444-4444-8444-444444444444}}]
connections: {c: {protocol: postgres, address: 'h:1', database: d}, e: {protocol: postgres, address: 'h:2', database: d}}
roles: {admin: 'group:leads'}
";
const GRANTS: &str = "grants:
  - {name: c, connection: c, to: 'group:deploy', when: always, scope: ['read:*', 'write:app.*', 'admin:app.*']}
  - {name: e, connection: e, to: 'group:deploy', when: always, scope: '*:*'}
";

fn policy(text: &str) -> Arc<Policy> {
    let (policy, report) = check(&[SourceFile { path: "p.yaml".into(), text: format!("{HEAD}{text}") }]);
    policy.unwrap_or_else(|| panic!("{}", report.render(false)))
}

fn guarded(guardrails: &str) -> Arc<Policy> {
    policy(&format!("{GRANTS}guardrails:\n{guardrails}"))
}

fn who(policy: &Policy, groups: &[&str]) -> Principal {
    Who { groups: groups.iter().map(|name| (*name).to_owned()).collect(), ..Who::default() }.principal(policy)
}

fn rules(policy: &Arc<Policy>, connection: &str, groups: &[&str]) -> Arc<SessionRules> {
    let (name, who) = (connection.parse().unwrap(), who(policy, groups));
    policy.session_rules(policy.connection(&name).unwrap(), &policy.grants_to(&who, &name), &who)
}

const ASK: &str = "  - {name: ask, statements: [update, delete], without: where, action: approve, approvers: 'group:oncall', connections: [c]}\n";

#[test]
fn block_beats_approve_and_approve_beats_warn() {
    const { assert!(GuardrailAction::Block as u8 > GuardrailAction::Approve as u8) };
    let policy = guarded(&format!(
        "  - {{name: warn, statements: [update, delete], action: warn}}\n{ASK}  - {{name: no, statements: [drop], action: block}}\n"
    ));
    let rules = rules(&policy, "c", &["deploy"]);
    let decide = |text: &str| rules.decide(&operation(text).unwrap());
    let held = decide("update: write app.t; lacks where");
    assert_eq!((held.verdict, held.rule.to_string().as_str()), (Verdict::Hold, "guardrail `ask` (p.yaml:9)"));
    assert_eq!(held.reason, "guardrail `ask` needs a person's yes");
    // what the allow requires once somebody said yes
    assert!(matches!(&held.obligations[..], [Obligation::Record, Obligation::Warn { .. }]), "{held:?}");
    assert_eq!(decide("update+drop: write app.t; lacks where").verdict, Verdict::Deny);
    assert_eq!(decide("update: write app.t").verdict, Verdict::Allow);
}

#[test]
fn nobody_is_asked_about_what_may_not_be_done_anyway() {
    let policy = guarded(ASK);
    let out_of_scope = operation("delete: write other.t; lacks where").unwrap();
    let unread = operation("?it does not parse").unwrap();
    let rules = rules(&policy, "c", &["deploy"]);
    let denied = rules.decide(&out_of_scope);
    assert_eq!((denied.verdict, denied.rule.name.as_str()), (Verdict::Deny, "scope"));
    let denied = rules.decide(&unread);
    assert_eq!((denied.verdict, denied.rule.name.as_str()), (Verdict::Deny, "unclassified"));
}

#[test]
fn a_guardrail_that_asks_ends_pass_through_like_any_other() {
    assert!(rules(&guarded(ASK), "e", &["deploy"]).is_pass_through());
    let everywhere = ASK.replace(", connections: [c]", "");
    let rules = rules(&guarded(&everywhere), "e", &["deploy"]);
    assert!(!rules.is_pass_through());
    assert_eq!(rules.decide(&operation("?it does not parse").unwrap()).verdict, Verdict::Deny);
}

#[test]
fn every_guardrail_that_matches_holds_with_its_own_terms() {
    let policy = guarded(&format!(
        "{ASK}  - {{name: salaries, tables: [app.salaries], action: approve, approvers: ['group:leads', 'group:oncall'], approvals: 2, on_timeout: ticket, answer_within: 2h, ticket_lifetime: 5m, message: ask finance}}
  - {{name: rows, statements: [update], action: approve, approvers: 'group:leads', at: commit, rows_over: 100, hold_limit: 10m}}
  - {{name: counted, statements: [delete], action: approve, approvers: 'group:leads', preview: rows, hold_limit: 1h}}
"
    ));
    let rules = rules(&policy, "c", &["deploy"]);
    let operation = operation("update: write app.salaries; lacks where").unwrap();
    let decision = rules.decide(&operation);
    assert_eq!((decision.verdict, decision.rule.name.as_str()), (Verdict::Hold, "ask"));
    let holds = rules.holds(&operation);
    assert_eq!(holds.iter().map(|hold| hold.rule.name.as_str()).collect::<Vec<_>>(), ["ask", "salaries"]);
    let (first, second) = (&holds[0], &holds[1]);
    assert_eq!((first.terms.approval.approvals, first.terms.on_timeout), (1, OnTimeout::Deny));
    assert_eq!(first.terms.hold_limit, Duration::from_secs(300));
    assert_eq!((second.terms.approval.approvals, second.terms.on_timeout), (2, OnTimeout::Ticket));
    assert_eq!(second.terms.answer_within, Duration::from_secs(7_200));
    assert_eq!(second.terms.ticket_lifetime, Duration::from_secs(300));
    assert_eq!(second.message.as_deref(), Some("ask finance"));
    assert_eq!(second.terms.approval.to_string(), "2 of group:leads or group:oncall");
    let commits = rules.commit_holds(&operation);
    assert_eq!(commits.iter().map(|hold| hold.rule.name.as_str()).collect::<Vec<_>>(), ["rows"]);
    assert_eq!((commits[0].terms.at, commits[0].terms.rows_over), (HoldAt::Commit, 100));
    let delete = crate::scenarios::operation("delete: write app.t").unwrap();
    assert_eq!(rules.holds(&delete)[0].terms.preview, Preview::Rows);
}

#[test]
fn at_the_commit_is_an_allow_with_an_obligation() {
    let policy = guarded(
        "  - {name: rows, action: approve, approvers: 'group:leads', at: commit, rows_over: 7, tables: ['app.*'], except: 'group:sre'}\n",
    );
    let obligation = |groups: &[&str], text: &str| {
        let decision = rules(&policy, "c", groups).decide(&operation(text).unwrap());
        assert_eq!(decision.verdict, Verdict::Allow, "{decision:?}");
        decision.obligations.into_iter().find_map(|obligation| match obligation {
            Obligation::ApproveAtCommit { rule, rows_over } => Some((rule.name, rows_over)),
            _ => None,
        })
    };
    assert_eq!(obligation(&["deploy"], "update: write app.t"), Some(("rows".to_owned(), 7)));
    assert_eq!(obligation(&["deploy"], "drop: admin app.t"), Some(("rows".to_owned(), 7)));
    assert_eq!(obligation(&["deploy", "sre"], "update: write app.t"), None);
    // a commit makes nothing of a read last
    assert_eq!(obligation(&["deploy"], "select: read app.t"), None);
    assert_eq!(obligation(&["deploy"], "commit:"), None);
    let json = serde_json::to_value(
        rules(&policy, "c", &["deploy"]).decide(&operation("update: write app.t").unwrap()).obligations,
    );
    assert_eq!(json.unwrap()[1]["obligation"], "approve_at_commit");
}

#[test]
fn a_session_knows_whether_anything_can_wait_in_it() {
    let policy = guarded(&format!(
        "{ASK}  - {{name: rows, connections: [e], action: approve, approvers: 'group:leads', at: commit, tables: ['app.*'], except: 'group:sre'}}\n"
    ));
    let (c, e, freed) = (
        rules(&policy, "c", &["deploy"]),
        rules(&policy, "e", &["deploy"]),
        rules(&policy, "e", &["deploy", "sre"]),
    );
    assert!(c.may_hold() && !c.gates_commits());
    assert!(e.gates_commits() && !e.may_hold());
    assert!(!freed.gates_commits() && !freed.may_hold());
    assert_eq!(e.commit_rule("rows").unwrap().terms.rows_over, 0);
    assert!(
        e.commit_rule("ask").is_none()
            && c.commit_rule("ask").is_none()
            && freed.commit_rule("rows").is_none()
    );
}

#[test]
fn an_exception_frees_from_asking() {
    let policy = guarded(&ASK.replace("action: approve", "action: approve, except: 'group:sre'"));
    let operation = operation("update: write app.t; lacks where").unwrap();
    assert_eq!(rules(&policy, "c", &["deploy"]).decide(&operation).verdict, Verdict::Hold);
    let freed = rules(&policy, "c", &["deploy", "sre"]);
    assert_eq!(freed.decide(&operation).verdict, Verdict::Allow);
    assert!(freed.holds(&operation).is_empty());
}

#[test]
fn an_approved_grant_carries_its_terms() {
    let policy = policy(
        "grants:
  - {name: full, connection: c, to: 'group:deploy', when: approved, approvers: ['group:oncall', 'group:leads'], approvals: 2, lifetime: 30m, answer_within: 10m, reason: optional, break_glass: 'group:sre', scope: 'read:*'}
  - {name: plain, connection: c, to: 'group:deploy', when: approved, approvers: 'group:oncall', lifetime: 30m, scope: 'write:*'}
  - {name: connect, connection: c, to: 'group:deploy', when: requested, request: on_connect, lifetime: 30m, scope: 'admin:*'}
",
    );
    let [full, plain, connect] = policy.grants() else { panic!() };
    assert_eq!((full.when, full.ask, full.reason_required), (When::Approved, AskWay::Explicit, false));
    assert_eq!(full.answer_within, Duration::from_secs(600));
    let approval = full.approval.as_ref().unwrap();
    assert_eq!(approval.approvals, 2);
    let may = |groups: &[&str]| approval.may(&who(&policy, groups));
    assert!(may(&["oncall"]) && may(&["leads"]) && !may(&["deploy"]) && !may(&["sre"]) && !may(&[]));
    // those who may break glass may ask as well, and nobody else may break it
    assert!(full.is_to(&who(&policy, &["sre"])) && full.may_break_glass(&who(&policy, &["sre"])));
    assert!(!full.may_break_glass(&who(&policy, &["deploy"])));
    assert_eq!(policy.grants_to(&who(&policy, &["sre"]), &"c".parse().unwrap()).len(), 1);
    assert!(plain.reason_required && plain.break_glass.is_empty());
    assert_eq!(
        (plain.answer_within, plain.approval.as_ref().unwrap().approvals),
        (Duration::from_secs(3_600), 1)
    );
    assert_eq!((connect.ask, connect.reason_required, &connect.approval), (AskWay::OnConnect, false, &None));
}

#[test]
fn a_group_of_another_provider_approves_nothing() {
    let policy = guarded(ASK);
    let holds =
        rules(&policy, "c", &["deploy"]).holds(&operation("update: write app.t; lacks where").unwrap());
    let mut spoof = who(&policy, &["oncall"]);
    assert!(holds[0].terms.approval.may(&spoof));
    spoof.provider = "ci".to_owned();
    assert!(!holds[0].terms.approval.may(&spoof));
    spoof.name = "group:oncall".to_owned();
    spoof.roles = vec!["oncall".to_owned()];
    assert!(!holds[0].terms.approval.may(&spoof));
}

#[test]
fn what_the_server_counts_is_all_that_changes_or_it_is_not_counted() {
    let counted = |text: &str| capability::is_counted(&operation(text).unwrap());
    for text in ["update: write app.t", "insert+select: write app.t, read app.s", "copy: write app.t"] {
        assert!(counted(text), "{text}");
    }
    for text in [
        "select+delete: write app.t",
        "insert+delete: write app.t",
        "explain+update: write app.t",
        "copy+delete: write app.t",
        "do+update: write app.t",
        "execute+delete: write app.t",
        "update: write app.t, execute app.f",
        "copy: write app.t, admin server/copy-file",
        "drop: admin app.t",
        "call: execute app.f",
        "prepare+update: write app.t",
        "?it does not parse",
    ] {
        assert!(!counted(text), "{text}");
    }
    let with_text = |kind: &str, text: &str| {
        let operation = operation(&format!("{kind}: write app.t")).unwrap();
        capability::is_counted(&Operation { text: text.into(), ..operation })
    };
    assert!(!with_text("delete", "/**/wItH d AS(DELETE FROM t RETURNING 1)DELETE FROM t WHERE false"));
    assert!(!with_text("update", "update t set a=1;\nWITH\u{a0}x as (select 1) update t set a=2"));
    assert!(with_text("delete", "DELETE FROM without WHERE with_x = 1"));
    assert!(with_text("copy", "COPY t FROM STDIN WITH (FORMAT csv)"));
}
