//! Clients that do not wait: an error that names the request, and one run once it is approved.

use crate::{
    lab::{Lab, Session, TRIAGE},
    people::{RAISE, id, id_in},
};

#[tokio::test]
async fn a_ticket_lets_the_same_statement_run_once_when_it_comes_again() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let first = lab.psql("shop-tickets", &token, RAISE).await;
    assert!(first.err().contains("55P03"), "{}", first.stderr);
    let request = lab.waiting(&sam, |request| request["blast_radius"]["state"] == "ready").await;
    assert_eq!(id_in(&first.stderr), id(&request), "the error names the request");
    assert!(first.stderr.contains(&format!("/requests/{}", id(&request))), "{}", first.stderr);
    assert_eq!(
        (&request["operation"]["mode"], &request["operation"]["text"]),
        (&"ticket".into(), &RAISE.into())
    );
    assert_eq!(request["blast_radius"]["estimated_rows"], 7);
    let early = lab.psql("shop-tickets", &token, RAISE).await;
    assert_eq!(id_in(early.err()), id(&request), "trying again files nothing new");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));

    lab.approve(&sam, id(&request)).await.ok();
    let changed = lab.psql("shop-tickets", &token, "UPDATE orders SET total = total + 2").await;
    let other = id_in(changed.err());
    assert_ne!(other, id(&request), "another statement is another request");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));

    lab.psql("shop-tickets", &token, RAISE).await.ok();
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
    assert_eq!(lab.step_names(id(&request), "used").await, ["filed", "approved", "used"]);
    assert!(lab.request(&sam, id(&request)).await["operation"]["used_at"].is_string());
    let third = lab.psql("shop-tickets", &token, RAISE).await;
    assert_ne!(id_in(third.err()), id(&request), "it is used up");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
}

#[tokio::test]
async fn a_ticket_that_was_denied_lets_nothing_run() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let request = id_in(lab.psql("shop-tickets", &token, RAISE).await.err());
    lab.deny(&sam, &request, "not today").await.ok();
    let again = lab.psql("shop-tickets", &token, RAISE).await;
    assert_ne!(id_in(again.err()), request, "asking again is another request");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    assert_eq!(lab.step_names(&request, "denied").await, ["filed", "denied"]);
}

#[tokio::test]
async fn an_approved_ticket_outlives_the_gateway_and_is_still_good_once() {
    let mut lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let request = id_in(lab.psql("shop-tickets", &token, RAISE).await.err());
    lab.gateway.kill_hard();
    lab.restart().await;
    assert_eq!(lab.request(&sam, &request).await["state"], "pending", "nobody has to be connected for it");
    lab.approve(&sam, &request).await.ok();
    lab.gateway.kill_hard();
    lab.restart().await;
    lab.psql("shop-tickets", &token, RAISE).await.ok();
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
    lab.gateway.kill_hard();
    lab.restart().await;
    assert_ne!(id_in(lab.psql("shop-tickets", &token, RAISE).await.err()), request);
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
}

#[tokio::test]
async fn one_identity_cannot_fill_the_inbox() {
    let lab = Lab::asking_with("limits: { pending_per_identity: 3 }\n").await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    for number in 0..3 {
        let sql = format!("UPDATE orders SET total = {number}");
        assert!(lab.psql("shop-tickets", &token, &sql).await.err().contains("55P03"));
    }
    let full = lab.psql("shop-tickets", &token, RAISE).await;
    assert!(full.err().contains("53400") && full.stderr.contains("3 requests"), "{}", full.stderr);
    let live = lab.psql("shop-db", &token, RAISE).await;
    assert!(live.err().contains("53400"), "{}", live.stderr);
    let asked = lab.as_agent(&token, &["request", "shop-approved", "--reason", "x"]).await;
    assert!(asked.code == 4 && asked.stderr.contains("3 of your requests"), "{asked:?}");
    let pending = lab.pending(&sam).await;
    assert_eq!(pending.len(), 3);
    lab.as_agent(&token, &["withdraw", id(&pending[0])]).await.ok();
    assert!(lab.psql("shop-tickets", &token, RAISE).await.err().contains("55P03"), "there is room again");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
}

/// What the server or the gateway said: its SQLSTATE and the request that is named, if one is.
async fn said(session: &Session, sql: &str) -> Result<(), (String, Option<String>)> {
    let Err(error) = session.client.simple_query(sql).await else { return Ok(()) };
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    let named = error.message().contains("req_").then(|| id_in(error.message()));
    Err((error.code().code().to_owned(), named))
}

#[tokio::test]
async fn however_it_is_spelt_it_waits() {
    let lab = Lab::asking_with("limits: { pending_per_identity: 100 }\n").await;
    let session = lab.open("shop-tickets", &lab.token(TRIAGE).await).await;
    for sql in [
        "update/**/ORDERS as o sEt total = 0",
        "SELECT 1; UPDATE orders SET total = 0; SELECT 2",
        "WITH x AS (UPDATE orders SET total = 0 RETURNING id) SELECT count(*) FROM x",
        "COPY (UPDATE orders SET total = 0 RETURNING id) TO STDOUT",
        "EXPLAIN ANALYZE UPDATE orders SET total = 0",
        "PREPARE p AS UPDATE orders SET total = 0",
        "DELETE FROM ONLY public.orders",
        "UPDATE orders SET total = 0 FROM payments",
        "BEGIN; UPDATE orders SET total = 0; COMMIT",
    ] {
        match said(&session, sql).await {
            Err((code, Some(_))) if code == "55P03" => {}
            other => panic!("{sql}: {other:?}"),
        }
        let _ended = said(&session, "ROLLBACK").await;
    }
    // What may not be done anyway is asked of nobody.
    for sql in
        ["DO $$ BEGIN UPDATE orders SET total = 0; END $$", "UPDATE payments SET id = 9", "UPDATE orders SET"]
    {
        assert!(matches!(said(&session, sql).await, Err((_, None))), "{sql}");
    }
    assert_eq!(lab.total().await, "280");
}

#[tokio::test]
async fn an_approval_follows_no_name_to_another_meaning() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let session = lab.open("shop-tickets", &token).await;
    let asked = async |sql: &str| match said(&session, sql).await {
        Err((_, Some(request))) => request,
        other => panic!("{sql}: {other:?}"),
    };
    let with_a_yes = async |sql: &str| {
        let request = asked(sql).await;
        lab.approve(&sam, &request).await.ok();
        said(&session, sql).await.unwrap();
    };
    with_a_yes("PREPARE p AS UPDATE orders SET total = total + 1").await;
    let execute = asked("EXECUTE p").await;
    lab.approve(&sam, &execute).await.ok();
    // Approved; but before it runs, the name means something else.
    said(&session, "DEALLOCATE p").await.unwrap();
    with_a_yes("PREPARE p AS UPDATE orders SET total = total * 100").await;
    assert_ne!(asked("EXECUTE p").await, execute);
    assert_eq!(lab.total().await, "280", "neither ran");
    // What was approved is still what it was.
    said(&session, "DEALLOCATE p").await.unwrap();
    with_a_yes("PREPARE p AS UPDATE orders SET total = total + 1").await;
    said(&session, "EXECUTE p").await.unwrap();
    assert_eq!(lab.total().await, "287");
    assert_ne!(asked("EXECUTE p").await, execute, "once");
    assert_eq!(lab.total().await, "287");
}
