//! Who may answer: nobody for themselves, only people, only those the rule names, as the directory has them at that moment.

use std::time::Instant;

use crate::{
    lab::{Lab, PATIENCE, SYNC, TRIAGE},
    people::{RAISE, id},
};

#[tokio::test]
async fn nobody_answers_for_themselves_and_agents_answer_for_nobody() {
    let lab = Lab::asking().await;
    let (sam, kim, alex) = (lab.person("sam"), lab.person("kim"), lab.person("alex"));
    let (triage, sync) = (lab.token(TRIAGE).await, lab.token(SYNC).await);
    // A person with a client of their own: sam is on call, and among those who may answer.
    let mut psql = lab.start_psql("shop-db", &sam, &[RAISE]);
    let request = lab.waiting(&kim, |_| true).await;
    let own = lab.request(&sam, id(&request)).await;
    assert_eq!(own["can_answer"], false);
    assert!(own["why_not"].as_str().unwrap().contains("yourself"), "{own:#}");
    let refused = lab.approve(&sam, id(&request)).await;
    assert!(refused.code == 4 && refused.stderr.contains("you asked for it yourself"), "{refused:?}");
    for (who, token) in [("triage", &triage), ("sync", &sync), ("alex", &alex)] {
        let refused = lab.approve(token, id(&request)).await;
        assert_eq!(refused.code, 4, "{who}: {refused:?}");
        let refused = lab.deny(token, id(&request), "no").await;
        assert_eq!(refused.code, 4, "{who}: {refused:?}");
    }
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    assert!(lab.pending(&alex).await.is_empty(), "who may not answer is shown nothing");
    assert!(lab.pending(&sync).await.is_empty());
    lab.approve(&kim, id(&request)).await.ok();
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
    let steps = lab.steps(id(&request), "used").await;
    let refused = steps.iter().filter(|(step, ..)| step == "answer_refused");
    let who: Vec<_> = refused.map(|(_, by, _)| by.as_str()).collect();
    assert!(who.contains(&"sam"), "{steps:?}");
}

#[tokio::test]
async fn an_agent_does_not_approve_its_own_request() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&token, |_| true).await;
    assert_eq!(request["can_answer"], false, "it sees its own: {request:#}");
    let refused = lab.approve(&token, id(&request)).await;
    assert!(refused.code == 4 && refused.stderr.contains("only a person"), "{refused:?}");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    let steps = lab.steps(id(&request), "answer_refused").await;
    assert_eq!(steps[1].1, TRIAGE.name, "{steps:?}");
    lab.as_agent(&token, &["withdraw", id(&request)]).await.ok();
    let mut psql = psql;
    assert!(!psql.wait().await.success());
    assert!(psql.log().contains("withdrawn"), "{}", psql.log());
    assert_eq!(lab.request(&sam, id(&request)).await["state"], "withdrawn");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
}

#[tokio::test]
async fn whoever_left_the_group_between_looking_and_answering_is_refused() {
    let lab = Lab::asking().await;
    let (token, sam, kim) = (lab.token(TRIAGE).await, lab.person("sam"), lab.person("kim"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&sam, |request| request["can_answer"] == true).await;
    lab.idp.set_member("oncall", "sam", false).unwrap();
    // The directory is asked again within its interval; until then the answer would have counted, so only looking goes on.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = lab.as_agent(&sam, &["requests", "show", id(&request), "--output", "json"]).await;
        if seen.code != 0 || seen.json()["can_answer"] == false {
            break;
        }
        assert!(Instant::now() < deadline, "sam may still answer: {seen:?}");
    }
    let refused = lab.approve(&sam, id(&request)).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    let steps = lab.steps(id(&request), "answer_refused").await;
    assert_eq!((steps[1].0.as_str(), steps[1].1.as_str()), ("answer_refused", "sam"));
    lab.approve(&kim, id(&request)).await.ok();
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
}

#[tokio::test]
async fn a_disabled_person_answers_nothing() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let _psql = lab.start_psql("shop-db", &token, &[RAISE]);
    let request = lab.waiting(&token, |_| true).await;
    lab.idp.set_enabled("sam", false).unwrap();
    let refused = lab.approve(&sam, id(&request)).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"));
    assert_eq!(lab.request(&token, id(&request)).await["state"], "pending");
}
