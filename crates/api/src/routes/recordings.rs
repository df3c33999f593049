//! One session and what it did.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use portcullis_client::{RecordingPage, RecordingView, SessionDetail};
use portcullis_core::SessionId;
use portcullis_record::{
    Error, Recording, Seek, View, Views, What,
    script::{Exactness, Script, visible},
};
use portcullis_store::SessionQuery;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Json, Queried, blocking, failed};
use crate::{
    Api, Problem,
    caller::{Caller, May},
    places::Taken,
    views,
};

/// How much is read at a time, in bytes of JSON.
const PIECE: usize = 128 * 1024;
/// How often a live recording is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How many looks may find nothing before an empty line says that somebody is still here.
const QUIET_LOOKS: u32 = 50;
/// How many looks a page waits for something.
const LOOKS: u32 = 100;
/// About how much a page holds, in bytes of JSON.
const PAGE: usize = 1024 * 1024;

/// Events of a page.
const ROWS: usize = 200;
const MOST: usize = 1_000;

fn id(text: &str) -> Result<SessionId, Problem> {
    text.parse().map_err(|_| no_such())
}

fn no_such() -> Problem {
    Problem::not_found("no session has this id")
}

/// `GET /api/v1/sessions/{id}`: everybody's for who sees lists, else one's own. One that is not there and one that is not theirs are
/// one answer.
pub(super) async fn session(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Json<SessionDetail>, Problem> {
    let id = id(&text)?;
    let mut found = blocking(move || find(&api, id)).await??;
    let own = caller.key().is_some_and(|key| found.session.identity.as_deref() == Some(&key.to_string()));
    if !own && !caller.may(May::SeeLists) {
        return Err(no_such());
    }
    if !caller.may(May::SeeRecordings) {
        found.recording = None;
    }
    Ok(Json(found))
}

fn find(api: &Api, id: SessionId) -> Result<SessionDetail, Problem> {
    let live = api.sessions.list().into_iter().find(|live| live.facts.session == id);
    let session = match live {
        Some(live) => views::live(live),
        None => {
            let query = SessionQuery { session: Some(id), limit: Some(1), ..SessionQuery::default() };
            let page = api.store.sessions(&query).map_err(failed)?;
            let row = page.rows.into_iter().next();
            views::session(row.ok_or_else(no_such)?)
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
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WhichQuery {
    /// The first event, by its number.
    from: u64,
    /// Whether to go on while the session does.
    follow: bool,
    /// `jsonl` (default), or `sql`: a script of the statements that ran.
    format: Option<Kind>,
    /// Whether a browser should keep it as a file.
    download: bool,
}

/// As what a recording is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Jsonl,
    Sql,
}

/// `GET /api/v1/sessions/{id}/recording`: one JSON object per line, see [`View`]. With `follow=true` a live recording is
/// followed to its end; an empty line now and then says that it goes on. Every transport ends after a while: ask again with
/// `from` one more than the last `seq`.
pub(super) async fn recording(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(text): Path<String>,
    Queried(WhichQuery { from, follow, format, download }): Queried<WhichQuery>,
) -> Result<Response, Problem> {
    let id = id(&text)?;
    let place = follow.then(|| api.hub.followed.take(caller.key())).transpose()?;
    let recording = match open(&api, id).await? {
        Ok(recording) => recording,
        // What is wrong is for who asked to see: the first and only line.
        Err(error) => return Ok(lines(Body::from(problem(&error).to_line()))),
    };
    let views = Views::new(recording, Seek::Event(from));
    let (script, kind, media) = match format {
        Some(Kind::Sql) => (Some(Script::new(Exactness::Exact)), "sql", "application/sql"),
        None | Some(Kind::Jsonl) => (None, "jsonl", "application/x-ndjson"),
    };
    let pieces = VecDeque::new();
    let reading = Reading {
        api,
        caller,
        id,
        follow,
        views: Some(views),
        script,
        pieces,
        quiet: 0,
        given: false,
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(reading, Reading::next));
    let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(media))], body).into_response();
    if download && let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{id}.{kind}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

async fn open(api: &Arc<Api>, id: SessionId) -> Result<Result<Recording, Error>, Problem> {
    let opened = {
        let api = Arc::clone(api);
        blocking(move || Recording::open(api.recordings.dir(), id)).await?
    };
    match opened {
        Err(Error::NotFound(_)) => Err(Problem::not_found("there is no recording of this session")),
        opened => Ok(opened),
    }
}

/// Which page of a recording.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PageQuery {
    /// The first event, by its number.
    from: u64,
    /// At most so many; 200 unless said, never more than 1,000.
    limit: Option<u32>,
    /// Whether to wait (up to 20 seconds) for more of a live recording where there is nothing.
    follow: bool,
}

/// `GET /api/v1/sessions/{id}/recording/events`: a page of what the lines above are, at most about 1 MiB.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(text): Path<String>,
    Queried(PageQuery { from, limit, follow }): Queried<PageQuery>,
) -> Result<Json<RecordingPage>, Problem> {
    let id = id(&text)?;
    let _place = follow.then(|| api.hub.followed.take(caller.key())).transpose()?;
    let limit = limit.map_or(ROWS, |limit| usize::try_from(limit).unwrap_or(MOST)).clamp(1, MOST);
    let mut views = Views::new(open(&api, id).await?.map_err(|error| broken(&error))?, Seek::Event(from));
    for look in 0_u32.. {
        let live = api.recordings.is_live(id);
        let read;
        (views, read) = blocking(move || page(views, limit)).await?;
        let rows = read.map_err(|error| broken(&error))?;
        if look > 0 && !rows.is_empty() && !caller.is_still(&api).await {
            return Err(Problem::not_authenticated());
        }
        if !rows.is_empty() || !follow || !live || look >= LOOKS || api.closing.is_stopped() {
            let after = rows.last().map_or(from, |view| view.seq + 1);
            let over = !live && (views.has_ended() || rows.len() < limit && rows.is_empty());
            return Ok(Json(RecordingPage { next: (!over).then_some(after), rows, live }));
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Problem::internal())
}

fn broken(error: &Error) -> Problem {
    Problem::conflict("recording", error.to_string())
}

fn page(mut views: Views, limit: usize) -> (Views, Result<Vec<View>, Error>) {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while rows.len() < limit && bytes < PAGE {
        match views.next() {
            None => break,
            Some(Ok(view)) => {
                bytes += view.to_line().len();
                rows.push(view);
            }
            // What could be read is given; the next page says what is wrong.
            Some(Err(error)) if rows.is_empty() => return (views, Err(error)),
            Some(Err(_)) => break,
        }
    }
    (views, Ok(rows))
}

fn lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))], body).into_response()
}

fn problem(error: &Error) -> View {
    let what = What::Error { error: error.to_string() };
    View { seq: u64::MAX, at: portcullis_core::Timestamp::default(), what }
}

/// A recording on its way to a client.
struct Reading {
    api: Arc<Api>,
    caller: Caller,
    id: SessionId,
    follow: bool,
    /// `None` once there is no more.
    views: Option<Views>,
    /// Where a script is asked for.
    script: Option<Script>,
    pieces: VecDeque<Bytes>,
    quiet: u32,
    /// Whether something was given already.
    given: bool,
    /// Where it is followed.
    _place: Option<Taken>,
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
            let script = self.script.take();
            let (views, script, text) = blocking(move || read(views, script)).await.ok()?;
            self.script = script;
            let nothing = text.is_empty();
            // Rights are those of now: a recording is followed for longer than the moment it was asked for in.
            if !nothing && self.given && !self.caller.is_still(&self.api).await {
                return None;
            }
            if !nothing {
                (self.quiet, self.given) = (0, true);
                self.pieces.push_back(text.into());
            }
            self.views = views;
            if nothing {
                if !self.follow || !is_live {
                    return None;
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = self.api.closing.stopped() => return None,
                }
                self.quiet += 1;
                if self.quiet.is_multiple_of(QUIET_LOOKS) {
                    if !self.caller.is_still(&self.api).await {
                        return None;
                    }
                    self.pieces.push_back(Bytes::from_static(b"\n"));
                }
            }
        }
    }
}

/// Reads some; the reader is given back while there may be more.
fn read(mut views: Views, mut script: Option<Script>) -> (Option<Views>, Option<Script>, String) {
    let mut text = String::new();
    while text.len() < PIECE {
        let view = match views.next() {
            None if views.has_ended() => {
                text.push_str(&script.take().map(Script::finish).unwrap_or_default());
                return (None, None, text);
            }
            None => break,
            Some(view) => view,
        };
        match (view, &mut script) {
            (Ok(view), None) => text.push_str(&view.to_line()),
            (Ok(view), Some(script)) => text.push_str(&script.take(&view)),
            (Err(error), None) => {
                text.push_str(&problem(&error).to_line());
                return (None, None, text);
            }
            (Err(error), Some(_)) => {
                text.push_str(&format!(
                    "\n-- the recording cannot be read on: {}\n",
                    visible(&error.to_string())
                ));
                return (None, None, text);
            }
        }
    }
    (Some(views), script, text)
}
