//! Transactions that changed more rows than may pass: what ran waits at its COMMIT.

use crate::{
    lab::{Lab, TRIAGE},
    people::id,
};

const BIG: &str = "UPDATE orders SET total = total + 1 WHERE id > 2";

#[tokio::test]
async fn a_commit_of_many_rows_waits_and_is_made_with_a_yes() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql(
        "shop-commits",
        &token,
        &["BEGIN", BIG, "COMMIT", "SELECT 'sum', sum(total) FROM orders"],
    );
    let request = lab.waiting(&sam, |_| true).await;
    assert_eq!((&request["kind"], &request["operation"]["mode"]), (&"commit".into(), &"commit".into()));
    assert_eq!(request["operation"]["rows"], 5, "{request:#}");
    let ran = request["operation"]["statements"].as_array().unwrap();
    assert!(ran.iter().any(|ran| ran["text"] == BIG && ran["rows"] == 5), "{ran:#?}");
    let shown = lab.as_agent(&sam, &["requests", "show", id(&request)]).await;
    assert!(shown.ok().contains("waits to commit 5 rows") && shown.ok().contains(BIG), "{}", shown.stdout);
    psql.wait_for_line("NOTICE").await;
    assert_eq!((lab.ran(BIG), lab.total().await.as_str()), (1, "280"), "it ran, and nobody else sees it");
    assert_eq!(lab.ran("COMMIT"), 0);
    lab.approve(&sam, id(&request)).await.ok();
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert!(psql.log().contains("sum|285"), "{}", psql.log());
    assert_eq!(lab.total().await, "285");
    assert_eq!(lab.step_names(id(&request), "used").await, ["filed", "approved", "used"]);
}

#[tokio::test]
async fn a_no_rolls_back_and_frees_the_locks() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql(
        "shop-commits",
        &token,
        &["BEGIN", BIG, "COMMIT", "SELECT 'sum', sum(total) FROM orders"],
    );
    let request = lab.waiting(&sam, |_| true).await;
    let locked = "SET lock_timeout = '50ms'; SELECT 1 FROM orders WHERE id = 3 FOR UPDATE";
    let other = lab.server.client().database("shop").run(&["-c", locked]).await;
    assert!(other.err().contains("lock timeout"), "the rows are locked while it waits: {}", other.stderr);
    lab.deny(&sam, id(&request), "too many at once").await.ok();
    psql.wait().await;
    let log = psql.log();
    assert!(log.contains("ERROR") && log.contains("too many at once"), "{log}");
    assert!(log.contains("sum|280"), "the session goes on, without its changes: {log}");
    assert_eq!((lab.total().await.as_str(), lab.ran("COMMIT")), ("280", 0));
    lab.server.client().database("shop").run(&["-c", locked]).await.ok();
    assert_eq!(lab.step_names(id(&request), "denied").await, ["filed", "denied"]);
    let is_commit = |row: &&serde_json::Value| row["text"] == "COMMIT";
    let decisions = ["--kind", "decision", "--connection", "shop-commits"];
    let decided = lab.audit(&decisions, |rows| rows.iter().filter(is_commit).count() == 2).await;
    let verdicts: Vec<_> = decided.iter().filter(is_commit).map(|row| &row["decision"]).collect();
    assert_eq!(verdicts, ["hold", "deny"]);
}

#[tokio::test]
async fn few_rows_pass_without_asking() {
    let lab = Lab::asking().await;
    let token = lab.token(TRIAGE).await;
    let small = "UPDATE orders SET total = total + 1 WHERE id <= 3";
    let mut psql = lab.start_psql("shop-commits", &token, &["BEGIN", small, "COMMIT"]);
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert_eq!((lab.ran(small), lab.total().await.as_str()), (1, "283"));
    assert!(lab.pending(&lab.person("sam")).await.is_empty());
}

#[tokio::test]
async fn many_rows_outside_of_a_transaction_do_not_slip_past_the_gate() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let answer = lab.psql("shop-commits", &token, BIG).await;
    let what_to_do = answer.err().contains("25P01") && answer.stderr.contains("BEGIN");
    assert!(what_to_do, "{}", answer.stderr);
    assert_eq!(lab.ran(BIG), 0);
    assert_eq!(lab.total().await, "280");
    assert!(lab.pending(&sam).await.is_empty());
}

#[tokio::test]
async fn a_client_that_goes_while_its_commit_waits_changes_nothing() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-commits", &token, &["BEGIN", BIG, "COMMIT"]);
    let request = lab.waiting(&sam, |_| true).await;
    psql.kill_hard();
    lab.request_in(&sam, id(&request), "withdrawn").await;
    assert_eq!((lab.total().await.as_str(), lab.ran("COMMIT")), ("280", 0));
    let unlocked = "SET lock_timeout = '30s'; SELECT 1 FROM orders WHERE id = 3 FOR UPDATE";
    lab.server.client().database("shop").run(&["-c", unlocked]).await.ok();
}
