//! Answering requests: whose answer counts, and what becomes of those that do not.

use std::time::Duration;

use portcullis_core::AuditEvent;
use reqwest::StatusCode;
use serde_json::json;

use crate::world::World;

const APPROVE: &str = "/approve";

#[tokio::test]
async fn an_approval_opens_the_window_as_long_as_was_said() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.by("sam@contoso.example");
    let seen = sam.get(&format!("/requests/{id}")).await.json();
    assert_eq!(
        (&seen["state"], &seen["can_answer"], &seen["kind"]),
        (&"pending".into(), &true.into(), &"window".into())
    );
    assert_eq!(seen["needs"][0]["approvers"][0], "group:oncall");
    let answer = sam
        .post(&format!("/requests/{id}{APPROVE}"), &json!({ "note": "go on", "lifetime_seconds": 600 }))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let answer = answer.json();
    assert_eq!((&answer["state"], &answer["lifetime_seconds"]), (&"approved".into(), &600.into()));
    assert_eq!(answer["votes"][0]["through"], "api");
    assert!(answer["window"]["ends_at"].is_string());
    let agent = world.principal("triage-agent").await;
    assert_eq!(world.window_of(&agent), 1);
    assert_eq!(world.steps(&id), ["filed", "approved"]);
}

#[tokio::test]
async fn a_lifetime_is_shortened_and_never_lengthened() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.by("sam@contoso.example");
    let path = format!("/requests/{id}{APPROVE}");
    sam.post(&path, &json!({ "lifetime_seconds": 1_801 })).await.is_problem(422, "lifetime");
    let held = world.held().await;
    let on_held = sam.post(&format!("/requests/{held}{APPROVE}"), &json!({ "lifetime_seconds": 5 })).await;
    on_held.is_problem(422, "lifetime");
    assert_eq!(world.window_of(&*world.principal("triage-agent").await), 0);
    assert_eq!(world.steps(&id), ["filed", "answer_refused"]);
}

#[tokio::test]
async fn of_two_who_answer_at_once_one_completes_it() {
    let world = World::new().await;
    let id = world.asked().await;
    let (sam, kim) = (world.by("sam@contoso.example"), world.by("kim@contoso.example"));
    let path = format!("/requests/{id}{APPROVE}");
    let (denial, body) = (format!("/requests/{id}/deny"), json!({ "note": "no" }));
    let yes = json!({});
    let (one, other) = tokio::join!(sam.post(&path, &yes), kim.post(&denial, &body));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {other:?}");
    let loser = if one.status == 409 { &one } else { &other };
    loser.is_problem(409, "over");
    let by = if one.status == 409 { "kim" } else { "sam" };
    assert!(loser.json()["detail"].as_str().unwrap().contains(by), "says who answered: {loser:?}");
    let windows = world.window_of(&*world.principal("triage-agent").await);
    assert_eq!(windows, usize::from(one.status == 200));
}

#[tokio::test]
async fn a_double_click_counts_once() {
    let world = World::new().await;
    let id = world.asked_by("triage-agent", "two-db").await;
    let sam = world.by("sam@contoso.example");
    let path = format!("/requests/{id}{APPROVE}");
    assert_eq!(sam.post(&path, &json!({})).await.json()["state"], "pending", "two people are needed");
    let again = sam.post(&path, &json!({})).await;
    again.is_problem(403, "may-not-answer");
    assert!(again.text.contains("you have answered it already"), "{again:?}");
    let kim = world.by("kim@contoso.example");
    assert_eq!(kim.post(&path, &json!({})).await.json()["state"], "approved");
    kim.post(&path, &json!({})).await.is_problem(409, "over");
    assert_eq!(world.window_of(&*world.principal("triage-agent").await), 1);
    assert_eq!(world.steps(&id), ["filed", "vote", "answer_refused", "approved", "answer_refused"]);
}

#[tokio::test]
async fn an_answer_after_the_time_does_not_count() {
    let world = World::new().await;
    let id = world.asked().await;
    world.clock.advance(Duration::from_secs(3_601));
    let sam = world.by("sam@contoso.example");
    sam.post(&format!("/requests/{id}{APPROVE}"), &json!({})).await.is_problem(409, "over");
    assert_eq!(sam.get(&format!("/requests/{id}")).await.json()["state"], "expired");
    assert_eq!(world.window_of(&*world.principal("triage-agent").await), 0);
    let steps = world.steps(&id);
    assert_eq!(steps.first().map(String::as_str), Some("filed"));
    assert!(steps.contains(&"expired".to_owned()), "{steps:?}");
}

#[tokio::test]
async fn who_is_taken_out_of_the_group_between_page_and_click_does_not_count() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.browser("sam@contoso.example").await;
    assert_eq!(sam.get(&format!("/requests/{id}")).await.json()["can_answer"], true);
    world.idp.set_member("oncall", "sam@contoso.example", false).unwrap();
    world.clock.advance(Duration::from_secs(3));
    let refused = sam.post(&format!("/requests/{id}{APPROVE}"), &json!({ "note": "yes" })).await;
    refused.is_problem(404, "not-found");
    assert_eq!(world.window_of(&*world.principal("triage-agent").await), 0);
    assert_eq!(world.steps(&id), ["filed", "answer_refused"]);
}

#[tokio::test]
async fn a_yes_of_who_has_left_since_is_dropped_before_the_next_counts() {
    let world = World::new().await;
    let id = world.asked_by("triage-agent", "two-db").await;
    let path = format!("/requests/{id}{APPROVE}");
    assert_eq!(world.by("sam@contoso.example").post(&path, &json!({})).await.status, StatusCode::OK);
    world.idp.set_member("oncall", "sam@contoso.example", false).unwrap();
    world.clock.advance(Duration::from_secs(3));
    let answer = world.by("kim@contoso.example").post(&path, &json!({})).await.json();
    assert_eq!((&answer["state"], &answer["needs"][0]["given"]), (&"pending".into(), &1.into()));
    assert_eq!(world.steps(&id), ["filed", "vote", "vote_dropped", "vote"]);
}

#[tokio::test]
async fn nobody_answers_for_themselves_nor_as_a_program() {
    let world = World::new().await;
    let own = world.asked_by("sam@contoso.example", "orders-db").await;
    let sam = world.by("sam@contoso.example");
    let seen = sam.get(&format!("/requests/{own}")).await.json();
    assert_eq!((&seen["can_answer"], &seen["why_not"]), (&false.into(), &"you asked for it yourself".into()));
    sam.post(&format!("/requests/{own}{APPROVE}"), &json!({})).await.is_problem(403, "may-not-answer");
    // An application in the approvers' group is no person.
    let id = world.asked().await;
    let bot = world.by("oncall-bot").post(&format!("/requests/{id}{APPROVE}"), &json!({})).await;
    bot.is_problem(403, "may-not-answer");
    assert!(bot.text.contains("only a person"), "{bot:?}");
    // Nor is what another application got in a person's name.
    let assistant = world.as_token(&world.token_through("cli", "sam@contoso.example"));
    let refused = assistant.post(&format!("/requests/{id}{APPROVE}"), &json!({})).await;
    refused.is_problem(403, "may-not-answer");
    assert!(refused.text.contains("another application"), "{refused:?}");
    // Nor is the admin token, which sees everything.
    let admin = world.admin();
    assert_eq!(admin.get(&format!("/requests/{id}")).await.json()["can_answer"], false);
    admin.post(&format!("/requests/{id}{APPROVE}"), &json!({})).await.is_problem(403, "may-not-answer");
    assert_eq!(world.window_of(&*world.principal("triage-agent").await), 0);
    assert_eq!(world.steps(&own), ["filed", "answer_refused"]);
    assert_eq!(world.steps(&id), ["filed", "answer_refused", "answer_refused", "answer_refused"]);
}

#[tokio::test]
async fn a_request_that_is_not_theirs_is_none() {
    let world = World::new().await;
    let id = world.asked().await;
    let stranger = world.by("nobody@contoso.example");
    let unknown = "req_0192f0a0b0c07000800000000000000a";
    let body = json!({ "note": "n" });
    for path in ["", "/approve", "/deny", "/withdraw", "/review"] {
        let (one, other) = match path {
            "" => (
                stranger.get(&format!("/requests/{id}")).await,
                stranger.get(&format!("/requests/{unknown}")).await,
            ),
            path => (
                stranger.post(&format!("/requests/{id}{path}"), &body).await,
                stranger.post(&format!("/requests/{unknown}{path}"), &body).await,
            ),
        };
        one.is_problem(404, "not-found");
        assert_eq!(one.text, other.text, "{path}");
    }
    let list = stranger.get("/requests").await.json();
    assert_eq!(list["rows"].as_array().unwrap().len(), 0);
    assert_eq!(
        world.by("triage-agent").get("/requests").await.json()["rows"].as_array().unwrap().len(),
        1,
        "their own"
    );
}

#[tokio::test]
async fn a_viewer_sees_that_something_is_held_and_not_what() {
    let world = World::new().await;
    let id = world.held().await;
    for (who, sees) in
        [("vera@contoso.example", false), ("sam@contoso.example", true), ("aud@contoso.example", true)]
    {
        let caller = world.by(who);
        let one = caller.get(&format!("/requests/{id}")).await;
        let list = caller.get("/requests?state=pending").await;
        for text in [&one.text, &list.text] {
            assert!(text.contains(&id), "{who}");
            assert_eq!(text.contains("secret-literal"), sees, "{who}: {text}");
        }
    }
}

#[tokio::test]
async fn waiting_ends_with_the_answer() {
    let world = World::new().await;
    let id = world.asked().await;
    let agent = world.by("triage-agent");
    let path = format!("/requests/{id}?wait=60");
    let (sam, waits) = (world.by("sam@contoso.example"), agent.get(&path));
    let answer = async { sam.post(&format!("/requests/{id}/deny"), &json!({ "note": "not now" })).await };
    let (waited, _) = tokio::join!(waits, answer);
    let waited = waited.json();
    assert_eq!((&waited["state"], &waited["note"]), (&"denied".into(), &"not now".into()));
    // What is over is not waited for.
    assert_eq!(agent.get(&path).await.json()["state"], "denied");
}

#[tokio::test]
async fn a_no_wants_a_reason() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.by("sam@contoso.example");
    for note in ["", "  ", &"x".repeat(1_001)] {
        sam.post(&format!("/requests/{id}/deny"), &json!({ "note": note })).await.is_problem(422, "note");
    }
    assert_eq!(sam.get(&format!("/requests/{id}")).await.json()["state"], "pending");
}

#[tokio::test]
async fn what_was_opened_at_once_is_reviewed_by_an_approver() {
    let world = World::new().await;
    let lead = world.by("lead@contoso.example");
    let body = json!({ "connection": "orders-db", "reason": "the shop is down", "break_glass": true });
    assert_eq!(lead.post("/requests", &body).await.status, StatusCode::CREATED);
    let sam = world.by("sam@contoso.example");
    let rows = sam.get("/requests?needs_review=true").await.json();
    let id = rows["rows"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(rows["rows"][0]["break_glass"], true);
    let note = json!({ "note": "it was" });
    lead.post(&format!("/requests/{id}/review"), &note).await.is_problem(403, "may-not-answer");
    let reviewed = sam.post(&format!("/requests/{id}/review"), &note).await.json();
    assert_eq!((&reviewed["needs_review"], &reviewed["review"]["note"]), (&false.into(), &"it was".into()));
    sam.post(&format!("/requests/{id}/review"), &note).await.is_problem(409, "nothing-to-review");
    assert_eq!(sam.get("/requests?needs_review=true").await.json()["rows"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn who_is_blocked_answers_nothing_and_has_no_role() {
    let world = World::new().await;
    let id = world.asked().await;
    let sam = world.principal("sam@contoso.example").await;
    let kill = json!({ "identity": sam.key().to_string(), "reason": "a stolen phone" });
    assert_eq!(world.admin().post("/kill", &kill).await.status, StatusCode::OK);
    let caller = world.by("sam@contoso.example");
    caller.post(&format!("/requests/{id}{APPROVE}"), &json!({})).await.is_problem(403, "blocked");
    caller.get("/policy").await.is_problem(403, "not-allowed");
    assert_eq!(world.window_of(&*world.principal("triage-agent").await), 0);
    assert!(world.events().iter().any(|event| matches!(event, AuditEvent::Kill { .. })));
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let world = World::new().await;
    let mut filed = Vec::new();
    for _ in 0..3 {
        filed.push(world.held().await);
    }
    filed.reverse();
    let sam = world.by("sam@contoso.example");
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = sam.get(&format!("/requests?limit=1{cursor}")).await.json();
        found.extend(
            page["rows"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_u64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, filed, "newest first, each once");
}
