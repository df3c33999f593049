//! Statements: answered where the policy allows them, refused where it does not, recorded in both cases.

use crate::lab::{Lab, TRIAGE};

#[tokio::test]
async fn a_token_and_a_connection_s_name_are_all_a_client_needs() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    assert_eq!(lab.psql("shop-db", &token, "SELECT sum(total) FROM orders").await.ok(), "280");
    let found = lab.audit(&["--text", "sum(total)"], |rows| !rows.is_empty()).await;
    let [event] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!(event["decision"], "allow");
    assert_eq!(event["rule"]["name"], "triage-shop");
    assert_eq!(event["text"], "SELECT sum(total) FROM orders");
    assert_eq!(event["resources"][0]["resource"], "public.orders");
    let principal = &event["facts"]["principal"];
    assert_eq!(principal["object_id"], TRIAGE.object_id);
    assert_eq!(principal["application_id"], TRIAGE.client_id);
    assert!(principal["token_id"].as_str().is_some_and(|id| !id.is_empty()));
    assert_eq!(event["facts"]["connection"], "shop-db");
    assert!(lab.server.saw("triage-agent"), "the server's own log names the agent");
}

#[tokio::test]
async fn a_guarded_statement_is_refused_however_it_is_spelt() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    for sql in [
        "DROP TABLE orders",
        "SELECT 1; DrOp/**/TaBlE orders CASCADE",
        "DO $$ BEGIN EXECUTE 'DROP TABLE orders'; END $$",
    ] {
        let output = lab.psql("shop-db", &token, sql).await;
        assert!(output.err().contains("42501"), "{sql}: {}", output.stderr);
    }
    let log = lab.server.log().to_lowercase();
    assert!(!log.contains("drop table") && !log.contains("cascade"), "the server saw nothing");
    assert_eq!(lab.psql("shop-db", &token, "SELECT count(*) FROM orders").await.ok(), "7");
    let denied = lab.audit(&["--decision", "deny", "--text", "drop"], |rows| rows.len() >= 3).await;
    let by_guardrail = |text: &str| {
        denied
            .iter()
            .any(|e| e["text"].as_str().unwrap().contains(text) && e["rule"]["name"] == "no destructive ddl")
    };
    assert!(by_guardrail("DROP TABLE orders") && by_guardrail("DrOp/**/TaBlE"), "{denied:#?}");
}

#[tokio::test]
async fn a_refusal_names_the_rule_and_the_session_goes_on() {
    let lab = Lab::new().await;
    let session = lab.open("shop-db", &lab.token(TRIAGE).await).await;
    let error = session.client.simple_query("DROP TABLE orders").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42501");
    assert!(error.message().contains("schema changes go through migrations"), "{error:?}");
    assert_eq!(session.one("SELECT count(*) FROM orders").await, "7");
}

#[tokio::test]
async fn a_table_outside_the_scope_is_refused() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let sql = "SELECT (SELECT max(card_number) FROM payments) FROM orders LIMIT 1";
    let output = lab.psql("shop-db", &token, sql).await;
    assert!(output.err().contains("42501") && output.stderr.contains("public.payments"), "{}", output.stderr);
    assert!(!lab.server.saw("max(card_number)"), "the server saw nothing");
    let denied = lab.audit(&["--decision", "deny", "--text", "card_number"], |rows| !rows.is_empty()).await;
    assert_eq!(denied[0]["rule"]["name"], "scope");
}
