//! Following events: what is told, to whom, and after what.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::world::{Caller, PATIENCE, Seen, World};

/// One stream.
struct Stream {
    answer: Response,
    text: String,
}

#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

impl Stream {
    async fn open(caller: &Caller<'_>, after: Option<&str>) -> Self {
        let mut request = caller.bare(Method::GET, "/events");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    /// The next event; `None` where the stream ended.
    async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("nothing came")
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue;
                }
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().to_owned()
                };
                let data = serde_json::from_str(&field("data: ")).unwrap();
                return Some(Event { id: field("id: "), kind: field("event: "), data });
            }
            match self.answer.chunk().await {
                Ok(Some(bytes)) => self.text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

#[tokio::test]
async fn a_change_is_told_by_id_and_state_alone() {
    let world = World::new().await;
    let sam = world.by("sam@contoso.example");
    let mut stream = Stream::open(&sam, None).await;
    assert_eq!(stream.next().await.unwrap().kind, "hello");
    let id = world.held().await;
    let event = stream.next().await.unwrap();
    assert_eq!((event.kind.as_str(), event.data), ("request", json!({ "id": id, "state": "pending" })));
    sam.post(&format!("/requests/{id}/deny"), &json!({ "note": "no" })).await;
    assert_eq!(stream.next().await.unwrap().data, json!({ "id": id, "state": "denied" }));
}

#[tokio::test]
async fn a_follower_hears_of_what_it_may_see() {
    let world = World::new().await;
    let mut stranger = Stream::open(&world.by("nobody@contoso.example"), None).await;
    let mut agent = Stream::open(&world.by("triage-agent"), None).await;
    let mut viewer = Stream::open(&world.by("vera@contoso.example"), None).await;
    for stream in [&mut stranger, &mut agent, &mut viewer] {
        assert_eq!(stream.next().await.unwrap().kind, "hello");
    }
    let theirs = world.asked_by("sam@contoso.example", "orders-db").await;
    let id = world.asked().await;
    assert_eq!(viewer.next().await.unwrap().data["id"], theirs);
    assert_eq!(viewer.next().await.unwrap().data["id"], id);
    assert_eq!(agent.next().await.unwrap().data["id"], id, "sam's is not the agent's");
    world.shutdown.stop();
    assert!(stranger.next().await.is_none(), "nothing was theirs, and a drain ends it");
}

#[tokio::test]
async fn a_dropped_stream_is_resumed_without_gaps() {
    let world = World::new().await;
    let sam = world.by("sam@contoso.example");
    let mut stream = Stream::open(&sam, None).await;
    let hello = stream.next().await.unwrap();
    let first = world.held().await;
    let seen = stream.next().await.unwrap();
    assert_eq!(seen.data["id"], first);
    drop(stream);
    let (second, third) = (world.held().await, world.held().await);
    let mut stream = Stream::open(&sam, Some(&seen.id)).await;
    assert_eq!(stream.next().await.unwrap().kind, "hello");
    assert_eq!(stream.next().await.unwrap().data["id"], second);
    assert_eq!(stream.next().await.unwrap().data["id"], third);
    // From the very beginning of the run, too.
    let mut stream = Stream::open(&sam, Some(&hello.id)).await;
    assert_eq!(stream.next().await.unwrap().kind, "hello");
    assert_eq!(stream.next().await.unwrap().data["id"], first);
}

#[tokio::test]
async fn what_cannot_be_resumed_is_reset() {
    let world = World::new().await;
    let sam = world.by("sam@contoso.example");
    for unknown in ["0-1", "nonsense", "", "zzz-99999999"] {
        let mut stream = Stream::open(&sam, Some(unknown)).await;
        assert_eq!(stream.next().await.unwrap().kind, "hello");
        assert_eq!(stream.next().await.unwrap().kind, "reset", "{unknown}");
    }
}

#[tokio::test]
async fn one_identity_has_so_many_streams_and_no_more() {
    let world = World::new().await;
    let sam = world.by("sam@contoso.example");
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(Stream::open(&sam, None).await);
    }
    let sixth = Seen::of(sam.bare(Method::GET, "/events").send().await.unwrap()).await;
    sixth.is_problem(429, "rate");
    assert_eq!(
        Stream::open(&world.by("kim@contoso.example"), None).await.next().await.unwrap().kind,
        "hello"
    );
}

#[tokio::test]
async fn a_stream_ends_with_the_rights_it_was_opened_with() {
    let world = World::new().await;
    let sam = world.browser("sam@contoso.example").await;
    let mut stream = Stream::open(&sam, None).await;
    assert_eq!(stream.next().await.unwrap().kind, "hello");
    world.idp.set_enabled("sam@contoso.example", false).unwrap();
    world.clock.advance(Duration::from_secs(3));
    world.held().await;
    assert!(stream.next().await.is_none());
}
