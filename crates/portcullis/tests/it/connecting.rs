//! Connecting: what is told to whom does not tell what exists.

use crate::lab::{Lab, SYNC, TRIAGE};

#[tokio::test]
async fn an_unknown_connection_and_one_without_a_grant_are_one_answer() {
    let lab = Lab::new().await;
    let token = lab.token(SYNC).await;
    let unknown = lab.refused("no-such-db", &token).await;
    assert_eq!(unknown.0, "28000", "{}", unknown.1);
    assert_eq!(unknown, lab.refused("shop-on-request", &token).await);
    let denied = lab.audit(&["--decision", "deny"], |rows| rows.len() == 2).await;
    let reasons: Vec<_> = denied.iter().map(|event| event["rule"]["name"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["no such connection", "no grant"], "the audit log knows which");
    lab.server_saw_nobody();
}

#[tokio::test]
async fn a_bad_token_is_one_answer_whether_the_connection_exists_or_not() {
    let lab = Lab::new().await;
    let good = lab.token(TRIAGE).await;
    let (head, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let known = lab.refused("shop-db", &forged).await;
    assert_eq!(known.0, "28P01", "{}", known.1);
    assert_eq!(known, lab.refused("no-such-db", &forged).await);
    let denied = lab.audit(&["--decision", "deny", "--rule", "identity"], |rows| rows.len() == 2).await;
    assert!(denied.iter().all(|event| event["facts"]["principal"].is_null()), "nobody was authenticated");
    lab.server_saw_nobody();
}

#[tokio::test]
async fn a_database_that_the_connection_does_not_list_is_refused() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let port: u16 = lab.listeners["postgres"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let psql = portcullis_testkit::Psql::to(port, "shop-db").password(&token).tls().database("postgres");
    let output = psql.run(&["-v", "VERBOSITY=verbose", "-c", "SELECT 1"]).await;
    assert!(output.err().contains("database `postgres` is not allowed"), "{}", output.stderr);
    lab.server_saw_nobody();
    lab.audit(&["--decision", "deny", "--rule", "database"], |rows| rows.len() == 1).await;
}
