//! One session and what it did, with the admin token.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use portcullis_core::SessionId;
use portcullis_record::{Error, Recording, Seek, View, Views, What};
use portcullis_store::SessionQuery;
use serde::Deserialize;

use super::{
    Json,
    admin::{failed, query},
    blocking,
};
use crate::{Api, Problem, RecordingView, SessionDetail, SessionView};

/// How much is read at a time, in bytes of JSON.
const PIECE: usize = 128 * 1024;
/// How often a live recording is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How many looks may find nothing before an empty line says that somebody is still here.
const QUIET_LOOKS: u32 = 50;

fn id(text: &str) -> Result<SessionId, Problem> {
    text.parse().map_err(|_| Problem::malformed("a session is named `ses_` and 32 hex digits"))
}

/// `GET /api/v1/sessions/{id}`.
pub(super) async fn session(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(text): Path<String>,
) -> Result<Json<SessionDetail>, Problem> {
    let _admin = api.admin.check(&headers)?;
    let id = id(&text)?;
    blocking(move || find(&api, id)).await?.map(Json)
}

fn find(api: &Api, id: SessionId) -> Result<SessionDetail, Problem> {
    let live = api.sessions.list().into_iter().find(|live| live.facts.session == id);
    let session = match live {
        Some(live) => SessionView::from(live),
        None => {
            let query = SessionQuery { session: Some(id), limit: Some(1), ..SessionQuery::default() };
            let page = api.store.sessions(&query).map_err(failed)?;
            let row = page.rows.into_iter().next();
            SessionView::from(row.ok_or_else(|| Problem::not_found("no session has this id"))?)
        }
    };
    let recording = match Recording::open(api.recordings.dir(), id) {
        Ok(recording) => Some(RecordingView::from(&recording)),
        Err(Error::NotFound(_)) => None,
        Err(error) => Some(RecordingView::broken(error.to_string())),
    };
    Ok(SessionDetail { session, recording })
}

/// What of a recording is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// The first event, by its number.
    from: u64,
    /// Whether to go on while the session does.
    follow: bool,
}

/// `GET /api/v1/sessions/{id}/recording`: one JSON object per line, see [`View`]. With `follow=true` a live recording is
/// followed to its end; an empty line now and then says that it goes on. Every transport ends after a while: ask again with
/// `from` one more than the last `seq`.
pub(super) async fn recording(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(text): Path<String>,
    asked: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    let _admin = api.admin.check(&headers)?;
    let id = id(&text)?;
    let Which { from, follow } = query(asked)?;
    let opened = {
        let api = Arc::clone(&api);
        blocking(move || Recording::open(api.recordings.dir(), id)).await?
    };
    let recording = match opened {
        Ok(recording) => recording,
        Err(Error::NotFound(_)) => return Err(Problem::not_found("there is no recording of this session")),
        // What is wrong is for who asked to see: the first and only line.
        Err(error) => return Ok(lines(Body::from(problem(&error).to_line()))),
    };
    let views = Views::new(recording, Seek::Event(from));
    let reading = Reading { api, id, follow, views: Some(views), pieces: VecDeque::new(), quiet: 0 };
    Ok(lines(Body::from_stream(stream::unfold(reading, Reading::next))))
}

fn lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))], body).into_response()
}

fn problem(error: &Error) -> View {
    let what = What::Error { error: error.to_string() };
    View { seq: u64::MAX, at: portcullis_core::Timestamp::MAX, what }
}

/// A recording on its way to a client.
struct Reading {
    api: Arc<Api>,
    id: SessionId,
    follow: bool,
    /// `None` once there is no more.
    views: Option<Views>,
    pieces: VecDeque<Bytes>,
    quiet: u32,
}

type Piece = Result<Bytes, std::convert::Infallible>;

impl Reading {
    async fn next(mut self) -> Option<(Piece, Self)> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Some((Ok(piece), self));
            }
            let views = self.views.take()?;
            // Asked before reading: what was written before the recording ended is then read.
            let is_live = self.api.recordings.is_live(self.id);
            let (views, text) = blocking(move || read(views)).await.ok()?;
            let nothing = text.is_empty();
            if !nothing {
                self.quiet = 0;
                self.pieces.push_back(text.into());
            }
            self.views = views;
            if nothing {
                if !self.follow || !is_live {
                    return None;
                }
                tokio::time::sleep(LOOK).await;
                self.quiet += 1;
                if self.quiet.is_multiple_of(QUIET_LOOKS) {
                    self.pieces.push_back(Bytes::from_static(b"\n"));
                }
            }
        }
    }
}

/// Reads some; the reader is given back while there may be more.
fn read(mut views: Views) -> (Option<Views>, String) {
    let mut text = String::new();
    while text.len() < PIECE {
        match views.next() {
            None if views.has_ended() => return (None, text),
            None => break,
            Some(Ok(view)) => text.push_str(&view.to_line()),
            Some(Err(error)) => {
                text.push_str(&problem(&error).to_line());
                return (None, text);
            }
        }
    }
    (Some(views), text)
}
