//! Connecting: what is told to whom does not tell what exists.

use crate::lab::{Lab, SYNC, TRIAGE};

#[tokio::test]
async fn an_unknown_connection_and_one_without_a_grant_are_one_answer() {
    let lab = Lab::new().await;
    let token = lab.token(SYNC).await;
    let unknown = lab.psql("no-such-db", &token, "SELECT 1").await;
    let no_grant = lab.psql("shop-on-request", &token, "SELECT 1").await;
    assert!(unknown.err().contains("FATAL:  28000"), "{}", unknown.stderr);
    assert_eq!(without_port(&unknown.stderr), without_port(&no_grant.stderr));
    let denied = lab.audit(&["--decision", "deny"], |rows| rows.len() == 2).await;
    let reasons: Vec<_> = denied.iter().map(|event| event["rule"]["name"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["no such connection", "no grant"], "the audit log knows which");
    assert!(!lab.server.saw("shop_app@shop"), "the server saw nothing");
}

#[tokio::test]
async fn a_bad_token_is_one_answer_whether_the_connection_exists_or_not() {
    let lab = Lab::new().await;
    let good = lab.token(TRIAGE).await;
    let (head, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let mut answers = Vec::new();
    for connection in ["shop-db", "no-such-db"] {
        let output = lab.psql(connection, &forged, "SELECT 1").await;
        assert!(output.err().contains("FATAL:  28P01"), "{}", output.stderr);
        answers.push(without_port(&output.stderr));
    }
    assert_eq!(answers[0], answers[1]);
    let denied = lab.audit(&["--decision", "deny", "--rule", "identity"], |rows| rows.len() == 2).await;
    assert!(denied.iter().all(|event| event["facts"]["principal"].is_null()), "nobody was authenticated");
    assert!(!lab.server.saw("shop_app@shop"), "the server saw nothing");
}

#[tokio::test]
async fn a_database_that_the_connection_does_not_list_is_refused() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let port: u16 = lab.listeners["postgres"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let psql = portcullis_testkit::Psql::to(port, "shop-db").password(&token).tls().database("postgres");
    let output = psql.run(&["-v", "VERBOSITY=verbose", "-c", "SELECT 1"]).await;
    assert!(output.err().contains("database `postgres` is not allowed"), "{}", output.stderr);
    assert!(!lab.server.saw("shop_app@postgres"), "the server saw nothing");
    lab.audit(&["--decision", "deny", "--rule", "database"], |rows| rows.len() == 1).await;
}

fn without_port(text: &str) -> String {
    text.split("failed: ").last().unwrap_or_default().to_owned()
}
