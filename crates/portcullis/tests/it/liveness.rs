//! An identity that is switched off is out within seconds, and back when it is switched on.

use crate::lab::{Lab, TRIAGE};

#[tokio::test]
async fn a_disabled_identity_loses_its_session_and_the_next_connect() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let session = lab.open("shop-db", &token).await;
    assert_eq!(session.one("SELECT 1").await, "1");

    lab.idp.set_enabled(TRIAGE.name, false).unwrap();
    let (code, message) = session.ended().await;
    assert_eq!(code, "57P01");
    assert!(message.contains("disabled"), "{message}");
    lab.psql_until("shop-db", &token, |output| output.code != 0).await;
    let (code, message) = lab.refused("shop-db", &token).await;
    assert_eq!(code, "28P01", "{message}");

    lab.idp.set_enabled(TRIAGE.name, true).unwrap();
    lab.psql_until("shop-db", &token, |output| output.code == 0).await;

    let ended = lab.audit(&["--kind", "session_ended"], |rows| {
        rows.iter().any(|row| row["reason"]["why"] == "identity_revoked")
    });
    ended.await;
}

#[tokio::test]
async fn an_identity_taken_out_of_its_group_loses_its_session() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let session = lab.open("shop-db", &token).await;
    lab.idp.set_member("incident-triage-agents", TRIAGE.name, false).unwrap();
    let (code, message) = session.ended().await;
    assert_eq!(code, "57P01");
    assert!(message.contains("no grant covers"), "{message}");
    lab.psql_until("shop-db", &token, |output| output.code != 0).await;
    let (code, message) = lab.refused("shop-db", &token).await;
    assert_eq!(code, "28000", "{message}");
}
