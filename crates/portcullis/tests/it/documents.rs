//! The commands that work on documents alone, as transcripts that a person can read.

use std::{fmt::Write as _, path::PathBuf};

use crate::lab::run;

fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/documents")
}

/// What a terminal would show, with the exit code.
async fn transcript(commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for args in commands {
        let answer = run(args, &[], &testdata()).await;
        let shown =
            args.iter().map(|arg| if arg.contains(' ') { format!("'{arg}'") } else { (*arg).to_owned() });
        writeln!(text, "$ portcullis {}", shown.collect::<Vec<_>>().join(" ")).unwrap();
        text.push_str(&answer.stdout);
        for line in answer.stderr.lines() {
            writeln!(text, "! {line}").unwrap();
        }
        writeln!(text, "[exit {}]\n", answer.code).unwrap();
    }
    text
}

#[tokio::test]
async fn check() {
    insta::assert_snapshot!(
        transcript(&[
            &["check", "--config", "gateway.yaml"],
            &["check", "good.yaml"],
            &["check", "bad.yaml"],
            &["check", "bad.yaml", "--output", "json"],
            &["check", "missing.yaml"],
            &["check"],
        ])
        .await
    );
}

#[tokio::test]
async fn test() {
    insta::assert_snapshot!(
        transcript(&[
            &["test", "--config", "gateway.yaml"],
            &["test", "--policy", "good.yaml", "--policy", "failing.yaml"]
        ])
        .await
    );
}

#[tokio::test]
async fn explain() {
    let who = [
        "--config",
        "gateway.yaml",
        "--identity-group",
        "incident-triage-agents",
        "--at",
        "2026-01-05T12:00:00Z",
    ];
    let ask = |rest: &[&'static str]| [&["explain"][..], &who, rest].concat();
    let (allowed, dropped, scope, window, open, nobody, garbage) = (
        ask(&["shop-db", "SELECT lower(max(name)), count(*) FROM orders"]),
        ask(&["shop-db", "SELECT 1; DrOp/**/TaBlE orders"]),
        ask(&["shop-db", "SELECT card_number FROM payments"]),
        ask(&["prod-logs", "SELECT message FROM events"]),
        ask(&["--window", "prod-logs", "SELECT message FROM events"]),
        ask(&["ledger"]),
        ask(&["shop-db", "SELEC 1"]),
    );
    insta::assert_snapshot!(
        transcript(&[&allowed, &dropped, &scope, &window, &open, &nobody, &garbage, &["explain", "shop-db"]])
            .await
    );
}

#[tokio::test]
async fn reach() {
    insta::assert_snapshot!(
        transcript(&[
            &["reach", "--config", "gateway.yaml", "--identity-group", "incident-triage-agents"],
            &["reach", "--config", "gateway.yaml", "--connection", "shop-db"],
            &["reach", "--config", "gateway.yaml", "--connection", "shop"],
            &["reach", "--config", "gateway.yaml", "--identity-app", "00000000-0000-4000-8000-000000000000"],
            &["reach", "--config", "gateway.yaml"],
        ])
        .await
    );
}

#[tokio::test]
async fn asking_people() {
    let explain = |group: &'static str, rest: &[&'static str]| {
        [&["explain", "--policy", "approvals.yaml", "--identity-group", group, "orders-db"], rest].concat()
    };
    let (update, unqualified) =
        ("UPDATE orders SET state = 'open' WHERE id = 7", "UPDATE orders SET state = 'open'");
    let (opening, at_once, commit, held, answered) = (
        explain("deploy-agents", &[update]),
        explain("sre", &[]),
        explain("sync-agents", &[update]),
        explain("sync-agents", &[unqualified]),
        explain("deploy-agents", &["--approved", unqualified]),
    );
    insta::assert_snapshot!(
        transcript(&[
            &["check", "approvals.yaml", "--strict"],
            &["test", "--policy", "approvals.yaml"],
            &opening,
            &at_once,
            &commit,
            &held,
            &answered,
            &["reach", "--policy", "approvals.yaml", "--identity-group", "sre"],
            &["reach", "--policy", "approvals.yaml", "--connection", "orders-db"],
        ])
        .await
    );
}
