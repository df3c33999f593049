//! Clients that do not wait: an error that names the request, and one run once it is approved.

use crate::{
    lab::{Lab, TRIAGE},
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
