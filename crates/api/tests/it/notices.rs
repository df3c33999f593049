//! Telling people: what is told, that a dead channel delays nothing, and answers from chat.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, routing::post};
use portcullis_core::Clock as _;
use portcullis_policy::ConsoleSettings;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{PATIENCE, Seen, World};

/// Takes what is posted to it.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<Value>>>);

impl Taken {
    async fn serve(&self) -> String {
        async fn take(State(taken): State<Taken>, body: Bytes) -> StatusCode {
            taken.0.lock().unwrap().push(serde_json::from_slice(&body).unwrap_or_default());
            StatusCode::OK
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    async fn wait(&self, count: usize) -> Vec<Value> {
        let waits = async {
            loop {
                let taken = self.0.lock().unwrap().clone();
                if taken.len() >= count {
                    return taken;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("{:?}", self.0.lock().unwrap()))
    }
}

const WEBHOOK: &str = "
notifications:
  - { name: hook, kind: webhook, url: env:HOOK, secret: env:HOOK_SECRET, events: [requested, held, answered] }
";

async fn with_hook(url: &str) -> World {
    let secrets = [
        ("env:HOOK", url.to_owned()),
        ("env:HOOK_SECRET", "whsec_dGhlLXNlY3JldC1vZi10aGVzZS10ZXN0cw==".to_owned()),
    ];
    World::with(ConsoleSettings::default(), WEBHOOK, &secrets).await
}

#[tokio::test]
async fn a_request_and_its_answer_are_told_without_literals() {
    let taken = Taken::default();
    let world = with_hook(&taken.serve().await).await;
    let id = world.held().await;
    world
        .by("sam@contoso.example")
        .post(&format!("/requests/{id}/deny"), &json!({ "note": "not today" }))
        .await;
    let told = taken.wait(2).await;
    let text = format!("{told:?}");
    assert!(text.contains(&id) && text.contains("not today"), "{text}");
    assert!(text.contains("update orders set state = $1") && !text.contains("secret-literal"), "{text}");
    assert!(text.contains(&format!("https://gateway.example/requests/{id}")), "{text}");
}

#[tokio::test]
async fn a_dead_channel_delays_no_answer_and_is_seen() {
    // A port that nobody listens on.
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/hook", listener.local_addr().unwrap())
    };
    let world = with_hook(&dead).await;
    let id = world.asked().await;
    let answer = world.by("sam@contoso.example").post(&format!("/requests/{id}/approve"), &json!({})).await;
    assert_eq!(answer.json()["state"], "approved");
    let admin = world.admin();
    let look = async {
        loop {
            let rows = admin.get("/notifications/deliveries?undelivered=true").await.json();
            let found = rows["rows"]
                .as_array()
                .unwrap()
                .iter()
                .find(|row| row["attempts"].as_u64() > Some(0))
                .cloned();
            if let Some(row) = found {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let row = tokio::time::timeout(PATIENCE, look).await.unwrap();
    assert_eq!(
        (&row["notification"], &row["kind"], &row["request"]),
        (&"hook".into(), &"webhook".into(), &id.clone().into())
    );
    assert_eq!(row["state"], "retrying");
    assert!(row["error"].is_string());
}

const SLACK: &str = "
notifications:
  - { name: chat, kind: slack, url: env:SLACK, signing_secret: env:SIGNING, users: { U0SAM: 'id:55aa0000-0000-4000-8000-00000000000a', U0NOBODY: 'id:55aa0000-0000-4000-8000-00000000000f' } }
";

const SIGNING: &str = "8f742231b10e8888abcd99yyyzzz85a5";

struct Chat {
    world: World,
    replies: Taken,
    hook: String,
}

impl Chat {
    async fn new() -> Self {
        Self::with(SLACK).await
    }

    async fn with(notifications: &str) -> Self {
        let (messages, replies) = (Taken::default(), Taken::default());
        let secrets = [("env:SLACK", messages.serve().await), ("env:SIGNING", SIGNING.to_owned())];
        let hook = replies.serve().await;
        let world = World::with(ConsoleSettings::default(), notifications, &secrets).await;
        Self { world, replies, hook }
    }

    /// The body of a call.
    fn pressed(&self, user: &str, action: &str, request: &str) -> String {
        self.pressed_in("T1", None, user, action, request)
    }

    fn pressed_in(&self, team: &str, own: Option<&str>, user: &str, action: &str, request: &str) -> String {
        let payload = json!({
            "type": "block_actions", "user": { "id": user, "team_id": own }, "team": { "id": team }, "response_url": self.hook,
            "actions": [{ "action_id": action, "value": request }],
        });
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("payload", &payload.to_string());
        form.finish()
    }

    async fn call(&self, body: &str, secret: &str) -> Seen {
        let at = self.world.clock.now().as_seconds().to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("v0:{at}:{body}").as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let request = self.world.nobody().bare(Method::POST, "/auth/slack");
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", at)
            .header("x-slack-signature", format!("v0={hex}"))
            .body(body.to_owned());
        Seen::of(request.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn an_approver_answers_from_slack() {
    let chat = Chat::new().await;
    let id = chat.world.asked().await;
    let body = chat.pressed("U0SAM", "portcullis_approve", &id);
    assert_eq!(chat.call(&body, SIGNING).await.status, StatusCode::OK);
    let told = chat.replies.wait(1).await;
    assert_eq!(told[0]["replace_original"], true, "{told:?}");
    let seen = chat.world.by("sam@contoso.example").get(&format!("/requests/{id}")).await;
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    let seen = seen.json();
    assert_eq!(
        (&seen["state"], &seen["votes"][0]["through"], &seen["votes"][0]["by"]),
        (
            &"approved".into(),
            &"slack".into(),
            &"entra/4c5a0d3e-0000-4000-8000-000000000001/55aa0000-0000-4000-8000-00000000000a".into(),
        )
    );
    // The same call again is no second answer.
    chat.call(&body, SIGNING).await.is_problem(403, "not-from-slack");
    assert_eq!(chat.world.steps(&id), ["filed", "approved"]);
}

#[tokio::test]
async fn a_button_is_somebodys_only_in_their_workspace_and_channel() {
    // The first channel of the app tells of another connection, and takes the same member id for somebody else.
    let chat = Chat::with(
        "
notifications:
  - { name: logs, kind: slack, url: env:SLACK, signing_secret: env:SIGNING, team: T0001, connections: [logs-db], users: { U0SAM: 'id:55aa0000-0000-4000-8000-00000000000f' } }
  - { name: orders, kind: slack, url: env:SLACK, signing_secret: env:SIGNING, team: T0001, connections: [orders-db], users: { U0SAM: 'id:55aa0000-0000-4000-8000-00000000000a' } }
",
    )
    .await;
    let id = chat.world.asked().await;
    let teams = [("T0002", None), ("T0001", Some("T0002")), ("T0001", None)];
    for (n, (team, own)) in teams.into_iter().enumerate() {
        assert_eq!(chat.world.steps(&id), ["filed"], "nothing of it counts, nor is it anybody's");
        let body = chat.pressed_in(team, own, "U0SAM", "portcullis_approve", &id);
        assert_eq!(chat.call(&body, SIGNING).await.status, StatusCode::OK);
        let told = chat.replies.wait(n + 1).await;
        let text = told[n].to_string();
        assert_eq!(text.contains("do not say who you are"), n < 2, "{told:?}");
    }
    let seen = chat.world.by("sam@contoso.example").get(&format!("/requests/{id}")).await.json();
    let by = "entra/4c5a0d3e-0000-4000-8000-000000000001/55aa0000-0000-4000-8000-00000000000a";
    assert_eq!((&seen["state"], &seen["votes"][0]["by"]), (&"approved".into(), &by.into()));
}

#[tokio::test]
async fn a_call_that_slack_did_not_sign_is_refused() {
    let chat = Chat::new().await;
    let id = chat.world.asked().await;
    let body = chat.pressed("U0SAM", "portcullis_approve", &id);
    chat.call(&body, "another-secret").await.is_problem(403, "not-from-slack");
    let unsigned = chat.world.nobody().bare(Method::POST, "/auth/slack").body(body);
    Seen::of(unsigned.send().await.unwrap()).await.is_problem(403, "not-from-slack");
    assert_eq!(chat.world.steps(&id), ["filed"]);
}

#[tokio::test]
async fn who_may_not_answer_may_not_from_slack_either() {
    let chat = Chat::new().await;
    let id = chat.world.asked().await;
    chat.world.idp.set_member("oncall", "sam@contoso.example", false).unwrap();
    chat.world.clock.advance(Duration::from_secs(2));
    for (n, user) in ["U0SAM", "U0NOBODY", "U0STRANGER"].into_iter().enumerate() {
        assert_eq!(
            chat.call(&chat.pressed(user, "portcullis_approve", &id), SIGNING).await.status,
            StatusCode::OK
        );
        let told = chat.replies.wait(n + 1).await;
        assert_eq!(
            (&told[n]["replace_original"], &told[n]["response_type"]),
            (&false.into(), &"ephemeral".into())
        );
    }
    assert_eq!(
        chat.world.by("kim@contoso.example").get(&format!("/requests/{id}")).await.json()["state"],
        "pending"
    );
    assert_eq!(
        chat.world.steps(&id),
        ["filed", "answer_refused", "answer_refused"],
        "a stranger is nobody to journal"
    );
}

#[tokio::test]
async fn who_is_blocked_answers_nothing_from_slack_however_the_documents_write_their_id() {
    let upper = SLACK.replace("55aa0000-0000-4000-8000-00000000000a", "55AA0000-0000-4000-8000-00000000000A");
    let chat = Chat::with(&upper).await;
    let id = chat.world.asked().await;
    // Written in capitals: it is the same GUID.
    let key = "entra/4C5A0D3E-0000-4000-8000-000000000001/55AA0000-0000-4000-8000-00000000000A";
    let kill = json!({ "identity": key, "reason": "a stolen phone" });
    assert_eq!(chat.world.admin().post("/kill", &kill).await.status, StatusCode::OK);
    chat.world.by("sam@contoso.example").get("/policy").await.is_problem(403, "not-allowed");
    assert_eq!(
        chat.call(&chat.pressed("U0SAM", "portcullis_approve", &id), SIGNING).await.status,
        StatusCode::OK
    );
    let told = chat.replies.wait(1).await;
    assert_eq!(told[0]["replace_original"], false, "{told:?}");
    assert_eq!(
        chat.world.by("kim@contoso.example").get(&format!("/requests/{id}")).await.json()["state"],
        "pending"
    );
}
