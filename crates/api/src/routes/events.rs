//! Server-sent events: what changed, by id and state.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use portcullis_client::EventId;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    Api, Problem,
    caller::Caller,
    hub::{Next, Place},
};

/// How often something is said though nothing happened, so that whoever listens knows that the line is open.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events written at once.
const AT_ONCE: usize = 64;

/// `GET /api/v1/events`. Resumes after `Last-Event-ID`; where that is impossible it says `reset`.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let last: Option<Option<EventId>> = last.map(|text| text.parse().ok());
    let place = api.hub.enter(&caller)?;
    let mut pieces = VecDeque::new();
    let seen = match last {
        None => api.hub.last(),
        Some(id) => match id.and_then(|id| api.hub.after(&id)) {
            Some(seen) => seen,
            None => {
                let last = api.hub.last();
                pieces.push_back(text(&api.hub.id(last), "reset", &json!({})));
                last
            }
        },
    };
    let hello = json!({ "version": env!("CARGO_PKG_VERSION"), "server_time": api.clock.now() });
    pieces.push_front(text(&api.hub.id(seen), "hello", &hello));
    let changes = api.hub.watch();
    let following = Following { api, caller, seen, pieces, changes, _place: place };
    let body = Body::from_stream(stream::unfold(following, Following::next));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // For proxies that would hold it back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn text(id: &EventId, event: &str, data: &serde_json::Value) -> Bytes {
    format!("id: {id}\nevent: {event}\ndata: {data}\n\n").into()
}

/// One follower.
struct Following {
    api: Arc<Api>,
    caller: Caller,
    seen: u64,
    pieces: VecDeque<Bytes>,
    changes: watch::Receiver<u64>,
    _place: Place,
}

type Piece = Result<Bytes, Infallible>;

impl Following {
    async fn next(mut self) -> Option<(Piece, Self)> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Some((Ok(piece), self));
            }
            self.changes.borrow_and_update();
            match self.api.hub.next(self.seen, AT_ONCE) {
                Next::Gone(last) => {
                    self.seen = last;
                    self.pieces.push_back(text(&self.api.hub.id(last), "reset", &json!({})));
                }
                Next::Events(events) if !events.is_empty() => {
                    let mut piece = Vec::new();
                    for event in events {
                        self.seen = event.number;
                        if event.is_for(&self.caller) {
                            piece.extend(text(&self.api.hub.id(event.number), event.kind, &event.data));
                        }
                    }
                    if !piece.is_empty() {
                        // Rights are those of now: a stream outlives the moment it was asked for in.
                        if !self.caller.is_still(&self.api).await {
                            return None;
                        }
                        self.pieces.push_back(piece.into());
                    }
                }
                Next::Events(_) => tokio::select! {
                    changed = self.changes.changed() => { changed.ok()?; }
                    () = tokio::time::sleep(HEARTBEAT) => {
                        if !self.caller.is_still(&self.api).await {
                            return None;
                        }
                        self.pieces.push_back(Bytes::from_static(b": here\n\n"));
                    }
                    () = self.api.closing.stopped() => return None,
                },
            }
        }
    }
}
