//! Asking for access, and answering who asks.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use portcullis_access::{
    Granted, RequestRefused, WindowRequest,
    requests::{Answer, AnswerRefused, Ballot, Request, RequestFilter, State as Is, WhyNot, Withdrawer},
};
use portcullis_audit::Batch;
use portcullis_client::{AnswerBody, DecideBody, RequestView, Rows};
use portcullis_core::{
    AuditEvent, ClientSoftware, Principal, PrincipalKey, RequestEvent, RequestId, RequestStep, RuleRef,
};
use portcullis_identity::Standing;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Json, LONGEST_WAIT, Queried, blocking};
use crate::{
    Api, Problem,
    caller::Caller,
    server::Peer,
    views::request::{Sight, sight, view},
};

/// Rows of a page.
const ROWS: u32 = 100;
const MOST: u32 = 500;
/// Pages looked through for somebody who sees few of them.
const PAGES: usize = 20;

/// What access is asked for.
#[derive(JsonSchema)]
#[schemars(rename = "WindowRequest")]
#[expect(dead_code, reason = "a shape only: see access::WindowRequest")]
pub(super) struct AskShape {
    /// To which connection.
    connection: String,
    /// Why; may be absent where the grant does not ask for a reason.
    reason: Option<String>,
    /// A lifetime shorter than the grant's, in seconds.
    lifetime_seconds: Option<u64>,
    /// Open at once, by a grant that names you for emergencies; a person reviews it afterwards.
    break_glass: Option<bool>,
}

/// `POST /api/v1/requests`: opens a window, or gives back the one that is open; or files a request that people answer.
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
    headers: HeaderMap,
    Asked(asked): Asked<WindowRequest>,
) -> Result<Response, Problem> {
    let who = Arc::clone(caller.identity()?);
    let principal = who.key();
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let client = ClientSoftware(agent.chars().filter(|c| !c.is_control()).take(200).collect());
    let outcome = {
        let (access, source) = (Arc::clone(&api.access), peer.0);
        blocking(move || access.request_as(&who, &asked, &source, &client)).await?
    };
    let label = match &outcome {
        Ok(Granted::Window(_)) => "opened",
        Ok(Granted::Waits(_)) => "filed",
        Err(_) => "refused",
    };
    metrics::counter!("portcullis_window_requests_total", "outcome" => label).increment(1);
    let granted = outcome.map_err(|refused| {
        if let RequestRefused::Unavailable { detail } = &refused {
            tracing::error!(%principal, %detail, "a window could not be opened");
        }
        Problem::of_request(&refused, &*api.clock)
    })?;
    match granted {
        Granted::Window(window) => {
            tracing::info!(%principal, window = %window.id, connection = %window.connection, ends_at = %window.ends_at, "window");
            Ok((StatusCode::CREATED, Json(window)).into_response())
        }
        Granted::Waits(filed) => {
            let id = filed.request.id();
            tracing::info!(%principal, request = %id, "a request waits for people");
            let mut response =
                (StatusCode::ACCEPTED, Json(view(&api, &filed.request, &caller, Sight::Whole)))
                    .into_response();
            if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/requests/{id}")) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
    }
}

/// Which requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    /// `pending`, `approved`, `denied`, `expired`, `withdrawn`.
    #[schemars(with = "Option<String>")]
    state: Option<Is>,
    /// For this connection.
    connection: Option<String>,
    /// Your own alone.
    mine: bool,
    /// Those opened at once that nobody looked at yet.
    needs_review: bool,
    /// At most so many; 100 unless said, never more than 500.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<u64>,
}

/// `GET /api/v1/requests`: newest first. Pending ones of a page by deadline.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Queried(asked): Queried<ListQuery>,
) -> Result<Json<Rows<RequestView>>, Problem> {
    let none = Rows { rows: Vec::new(), next: None };
    let connection = match asked.connection.as_deref().map(str::parse) {
        None => None,
        Some(Ok(name)) => Some(name),
        Some(Err(_)) => return Ok(Json(none)),
    };
    let requester = match (asked.mine, caller.key()) {
        (false, _) => None,
        (true, Some(key)) => Some(key),
        (true, None) => return Ok(Json(none)),
    };
    let limit = asked.limit.unwrap_or(ROWS).clamp(1, MOST);
    let mut filter = RequestFilter {
        state: asked.state,
        connection,
        requester,
        session: None,
        needs_review: asked.needs_review,
        limit: Some(limit),
        cursor: asked.cursor,
    };
    let rows = blocking(move || {
        let mut rows: Vec<RequestView> = Vec::new();
        for _ in 0..PAGES {
            let page = api.access.requests(&filter)?;
            filter.cursor = page.next;
            rows.extend(page.rows.iter().filter_map(|request| {
                let sight = sight(&api, request, &caller);
                (sight != Sight::Nothing).then(|| view(&api, request, &caller, sight))
            }));
            // A page is never cut: its cursor is that of whole pages of the store.
            if page.next.is_none() || !rows.is_empty() {
                break;
            }
        }
        if asked.state == Some(Is::Pending) {
            rows.sort_by_key(|request| request.answer_by);
        }
        Ok::<_, portcullis_access::StoreError>(Rows { rows, next: filter.cursor })
    })
    .await?;
    rows.map(Json).map_err(|error| unavailable(&error))
}

/// How to look at one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OneQuery {
    /// Answer once it is no longer pending, or after so many seconds (60 at most).
    wait: Option<u64>,
}

/// `GET /api/v1/requests/{id}`.
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Queried(asked): Queried<OneQuery>,
) -> Result<Json<RequestView>, Problem> {
    let (mut request, mut seen) = found(&api, &caller, &id).await?;
    if let (Some(seconds), Request::Pending(_)) = (asked.wait, &request) {
        let wait = Duration::from_secs(seconds.min(LONGEST_WAIT));
        // Nothing to wait for: it was answered since it was read.
        if let Some(mut outcome) = api.access.wait_for(request.id()) {
            let _place = api.hub.waits.take(caller.key())?;
            tokio::select! {
                _ = outcome.wait_for(Option::is_some) => {}
                () = tokio::time::sleep(wait) => {}
                () = api.closing.stopped() => {}
            }
        }
        // Rights may have gone meanwhile.
        if !caller.is_still(&api).await {
            return Err(Problem::not_authenticated());
        }
        (request, seen) = found(&api, &caller, &id).await?;
    }
    Ok(Json(view(&api, &request, &caller, seen)))
}

/// The request, where the caller may know of it. One that is not there and one that is not theirs are one answer.
async fn found(api: &Arc<Api>, caller: &Caller, id: &str) -> Result<(Request, Sight), Problem> {
    let request = look_up(api, id).await?;
    let seen = sight(api, &request, caller);
    if seen == Sight::Nothing { Err(no_such()) } else { Ok((request, seen)) }
}

async fn look_up(api: &Arc<Api>, id: &str) -> Result<Request, Problem> {
    let id: RequestId = id.parse().map_err(|_| no_such())?;
    let access = Arc::clone(&api.access);
    let request = blocking(move || access.find_request(id)).await?;
    request.map_err(|error| unavailable(&error))?.ok_or_else(no_such)
}

fn no_such() -> Problem {
    Problem::not_found("there is no such request")
}

fn unavailable(error: &portcullis_access::StoreError) -> Problem {
    tracing::error!(%error, "requests could not be read");
    Problem::unavailable()
}

/// `POST /api/v1/requests/{id}/approve`.
pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(body): Asked<DecideBody>,
) -> Result<Json<RequestView>, Problem> {
    decide(&api, &caller, &id, Answer::Approve, body).await
}

/// `POST /api/v1/requests/{id}/deny`.
pub(super) async fn deny(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(body): Asked<AnswerBody>,
) -> Result<Json<RequestView>, Problem> {
    let body = DecideBody { note: body.note, lifetime_seconds: None };
    decide(&api, &caller, &id, Answer::Deny, body).await
}

async fn decide(
    api: &Arc<Api>,
    caller: &Caller,
    id: &str,
    answer: Answer,
    body: DecideBody,
) -> Result<Json<RequestView>, Problem> {
    let request = look_up(api, id).await?;
    let seen = sight(api, &request, caller);
    let Some(by) = caller.principal().map(Arc::clone) else {
        refused(api, &request, None, caller.through(), "the admin token is not a person").await?;
        return Err(Problem::forbidden(
            "may-not-answer",
            "only a person can answer a request, not the admin token",
        )
        .next("sign in to the console, or run `portcullis login`"));
    };
    let may_act = may_act(api, &by);
    let DecideBody { note, lifetime_seconds } = body;
    let ballot = Ballot { by, answer, note, lifetime_seconds, through: caller.through() };
    match answered(api, request.id(), ballot).await {
        Ok(request) => Ok(Json(view(api, &request, caller, Sight::Whole))),
        Err(AnswerRefused::MayNot(_)) if seen == Sight::Nothing => Err(no_such()),
        Err(refused) if seen == Sight::Nothing && !matches!(refused, AnswerRefused::Unavailable { .. }) => {
            Err(no_such())
        }
        // Refused there, which is journalled; told here.
        Err(AnswerRefused::MayNot(WhyNot::Blocked)) => {
            Err(may_act.err().unwrap_or_else(|| Problem::of_answer(&AnswerRefused::MayNot(WhyNot::Blocked))))
        }
        Err(refused) => Err(Problem::of_answer(&refused)),
    }
}

/// Who is kept out of everything answers nothing either.
fn may_act(api: &Api, who: &Principal) -> Result<(), Problem> {
    match api.access.blocked(&who.key()) {
        Some(_) => Err(Problem::forbidden("blocked", "an administrator has blocked this identity")),
        None => Ok(()),
    }
}

/// Has an answer counted, with earlier voters as they are now.
pub(crate) async fn answered(
    api: &Arc<Api>,
    id: RequestId,
    ballot: Ballot,
) -> Result<Request, AnswerRefused> {
    let unavailable = |detail: String| AnswerRefused::Unavailable { detail };
    let mut fresh: HashMap<PrincipalKey, Option<Arc<Principal>>> = HashMap::new();
    for voter in api.access.voters(id) {
        let key = voter.key();
        let now = match (api.access.blocked(&key), api.identity.recheck(&voter).await) {
            (Some(_), _) | (None, Standing::Revoked { .. }) => None,
            (None, Standing::Good(now)) => Some(now),
            (None, Standing::Unknown { detail }) => return Err(unavailable(detail)),
        };
        fresh.insert(key, now);
    }
    let access = Arc::clone(&api.access);
    let by = ballot.by.key();
    let through = ballot.through;
    let outcome = blocking(move || access.answer(id, ballot, &fresh)).await;
    let outcome = outcome.map_err(|_| unavailable("the answer's work panicked".to_owned()))?;
    match &outcome {
        Ok(request) => {
            tracing::info!(request = %id, %by, through, state = request.state().as_str(), "answered")
        }
        Err(refused) => tracing::info!(request = %id, %by, through, %refused, "an answer does not count"),
    }
    outcome
}

/// The audit log has it where somebody tries to answer whose answer is not even held against the rules.
async fn refused(
    api: &Arc<Api>,
    request: &Request,
    by: Option<Arc<Principal>>,
    through: &'static str,
    why: &'static str,
) -> Result<(), Problem> {
    let asked = Arc::clone(request.asked());
    let api = Arc::clone(api);
    blocking(move || {
        let operation = asked.what.operation();
        let rule = asked.needs.first().map(|need| need.rule.clone());
        let event = RequestEvent {
            at: api.clock.now(),
            request: asked.id,
            step: RequestStep::AnswerRefused,
            kind: asked.what.kind().to_owned(),
            principal: asked.requester.key(),
            name: asked.requester.name.clone(),
            connection: asked.connection.clone(),
            rule: rule.unwrap_or_else(|| RuleRef {
                kind: "grant".into(),
                name: String::new(),
                location: None,
            }),
            session: operation.map(|operation| operation.session),
            hash: operation.map(|operation| operation.hash.clone()).unwrap_or_default(),
            reason: String::new(),
            by: by.as_ref().map(|by| by.key()),
            by_name: by.map_or_else(|| "an administrator".to_owned(), |by| by.name.clone()),
            through: through.to_owned(),
            note: why.to_owned(),
            lifetime_seconds: None,
            window: None,
            policy: Arc::clone(api.access.policy().version()),
        };
        let mut batch = Batch::new();
        let written = batch
            .push(&AuditEvent::Request(Box::new(event)))
            .and_then(|()| api.journal.append(None, &batch).map(|_| ()));
        written.map_err(|error| {
            tracing::error!(%error, "a refused answer could not be journalled");
            Problem::unavailable()
        })
    })
    .await?
}

/// `POST /api/v1/requests/{id}/withdraw`.
pub(super) async fn withdraw(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(body): Asked<AnswerBody>,
) -> Result<Json<RequestView>, Problem> {
    let (request, _) = found(&api, &caller, &id).await?;
    let theirs = caller.key().filter(|key| request.asked().requester.key() == *key);
    let Some(key) = theirs else {
        return Err(Problem::forbidden("not-yours", "only who asked can take a request back"));
    };
    let (access, id) = (Arc::clone(&api.access), request.id());
    let outcome = blocking(move || access.withdraw(id, &Withdrawer::Requester(key), &body.note)).await?;
    let request = outcome.map_err(|refused| Problem::of_answer(&refused))?;
    Ok(Json(view(&api, &request, &caller, Sight::Whole)))
}

/// `POST /api/v1/requests/{id}/review`.
pub(super) async fn review(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(body): Asked<AnswerBody>,
) -> Result<Json<RequestView>, Problem> {
    let (request, _) = found(&api, &caller, &id).await?;
    let by = Arc::clone(caller.identity()?);
    may_act(&api, &by)?;
    let (access, id, through) = (Arc::clone(&api.access), request.id(), caller.through());
    let outcome = blocking(move || access.review(id, &by, &body.note, through)).await?;
    let request = outcome.map_err(|refused| Problem::of_answer(&refused))?;
    Ok(Json(view(&api, &request, &caller, Sight::Whole)))
}
