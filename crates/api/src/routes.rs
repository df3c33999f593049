//! The routes: each with what it wants of who asks, what it takes and what it answers. The router and the API's description are made
//! from this one table.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    handler::Handler,
    http::{HeaderValue, Method, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post, put},
};
use portcullis_client::{
    AnswerBody, ConnectionView, DecideBody, DeliveryView, DocumentsView, IdentityView, KillAnswer,
    KillIdentity, KillSession, LiftAnswer, LiftIdentity, MeView, PolicyChecked, PolicyView, ProofView,
    ReachView, RecordingPage, RequestView, Rows, SessionDetail, SessionView, WhoamiView,
    schema::{Anything, Window},
    types::{CheckBody, ExplainBody, ReplaceBody},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Api, Problem,
    caller::{Guard, May, guard},
    documents::MAX_DOCUMENTS_BYTES,
    openapi::{Doc, doc},
    server::{ANSWER_WITHIN, MAX_BODY},
};

mod audit;
mod auth;
mod connections;
mod events;
mod health;
mod pages;
mod policy;
mod recordings;
mod requests;
mod sessions;
mod slack;

/// The longest a request may wait for something to happen.
pub(crate) const LONGEST_WAIT: u64 = 60;

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) may: May,
    pub(crate) doc: Doc,
    handler: MethodRouter<Arc<Api>>,
}

fn reads<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, may: May, handler: H, doc: Doc) -> Route {
    Route { method: Method::GET, path, may, doc, handler: get(handler) }
}

fn writes<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, may: May, handler: H, doc: Doc) -> Route {
    Route { method: Method::POST, path, may, doc, handler: post(handler) }
}

/// Every route below `/api/v1`.
pub(crate) fn table() -> Vec<Route> {
    use May::{
        Anyone, AnyoneSeen, Identity, Kill, Known, ReplacePolicy, SeeAudit, SeeDeliveries, SeeLists,
        SeeRecordings,
    };
    vec![
        reads(
            "/me",
            AnyoneSeen,
            auth::me,
            doc("people", "Who is asking, and how people sign in").answers::<MeView>(200),
        ),
        reads(
            "/auth/login",
            Anyone,
            auth::login,
            doc("people", "Begins a sign-in").query::<auth::LoginQuery>().redirects(),
        ),
        reads(
            "/auth/callback",
            Anyone,
            auth::callback,
            doc("people", "Where the identity provider sends the browser back to").redirects(),
        ),
        reads(
            "/auth/callback/{provider}",
            Anyone,
            auth::callback_of,
            doc("people", "The same, where several providers sign people in").redirects(),
        ),
        writes("/auth/logout", Known, auth::logout, doc("people", "Signs out").empty(204)),
        writes(
            "/auth/slack",
            Anyone,
            slack::interaction,
            doc("people", "Where Slack tells of buttons that were pressed").empty(200),
        ),
        reads(
            "/whoami",
            Identity,
            connections::whoami,
            doc("access", "Who the token says you are").answers::<WhoamiView>(200),
        ),
        reads(
            "/connections",
            Known,
            connections::connections,
            doc("access", "What you can reach; with `all`, every connection")
                .query::<connections::ConnectionsQuery>()
                .answers::<Vec<ConnectionView>>(200),
        ),
        reads(
            "/connections/{name}",
            Known,
            connections::connection,
            doc("access", "One connection").answers::<ConnectionView>(200),
        ),
        reads(
            "/windows",
            Identity,
            connections::windows,
            doc("access", "Your open windows").answers::<Vec<Window>>(200),
        ),
        reads(
            "/reach",
            SeeLists,
            connections::reach,
            doc("access", "Who reaches what, and by which grants")
                .query::<connections::ReachQuery>()
                .answers::<ReachView>(200),
        ),
        reads(
            "/identities",
            SeeLists,
            connections::identities,
            doc("access", "Who came to the gateway").query::<connections::IdentitiesQuery>().answers::<Rows<
                IdentityView,
            >>(
                200
            ),
        ),
        writes(
            "/requests",
            Identity,
            requests::ask,
            doc("requests", "Asks for access: a window, or a request that people answer")
                .body::<requests::AskShape>()
                .answers::<Window>(201)
                .answers::<RequestView>(202),
        ),
        reads(
            "/requests",
            Known,
            requests::list,
            doc("requests", "Requests you may see")
                .query::<requests::ListQuery>()
                .answers::<Rows<RequestView>>(200),
        ),
        reads(
            "/requests/{id}",
            Known,
            requests::one,
            doc("requests", "One request; with `wait`, once it is answered")
                .query::<requests::OneQuery>()
                .answers::<RequestView>(200),
        ),
        writes(
            "/requests/{id}/approve",
            Known,
            requests::approve,
            doc("requests", "Says yes").body::<DecideBody>().answers::<RequestView>(200),
        ),
        writes(
            "/requests/{id}/deny",
            Known,
            requests::deny,
            doc("requests", "Says no").body::<AnswerBody>().answers::<RequestView>(200),
        ),
        writes(
            "/requests/{id}/withdraw",
            Known,
            requests::withdraw,
            doc("requests", "Takes your request back").body::<AnswerBody>().answers::<RequestView>(200),
        ),
        writes(
            "/requests/{id}/review",
            Known,
            requests::review,
            doc("requests", "Notes that what was opened at once was looked at")
                .body::<AnswerBody>()
                .answers::<RequestView>(200),
        ),
        reads(
            "/sessions",
            Known,
            sessions::list,
            doc("sessions", "Sessions: yours, or with a role everybody's")
                .query::<sessions::ListQuery>()
                .answers::<Rows<SessionView>>(200),
        ),
        reads(
            "/sessions/{id}",
            Known,
            recordings::session,
            doc("sessions", "One session").answers::<SessionDetail>(200),
        ),
        reads(
            "/sessions/{id}/recording",
            SeeRecordings,
            recordings::recording,
            doc("sessions", "What a session did, one JSON object a line")
                .query::<recordings::WhichQuery>()
                .lines(),
        ),
        reads(
            "/sessions/{id}/recording/events",
            SeeRecordings,
            recordings::events,
            doc("sessions", "What a session did, in pages")
                .query::<recordings::PageQuery>()
                .answers::<RecordingPage>(200),
        ),
        writes(
            "/sessions/{id}/kill",
            Kill,
            sessions::kill_session,
            doc("sessions", "Ends a session").body::<KillSession>().answers::<KillAnswer>(200),
        ),
        writes(
            "/kill",
            Kill,
            sessions::kill_identity,
            doc("sessions", "Ends everything of an identity")
                .body::<KillIdentity>()
                .answers::<KillAnswer>(200),
        ),
        writes(
            "/lift",
            Kill,
            sessions::lift,
            doc("sessions", "Lets an identity back in").body::<LiftIdentity>().answers::<LiftAnswer>(200),
        ),
        reads(
            "/audit/events",
            SeeAudit,
            audit::events,
            doc("audit", "Searches the audit log")
                .query::<audit::QueryShape>()
                .answers::<Rows<Anything>>(200),
        ),
        reads(
            "/audit/proof",
            SeeAudit,
            audit::proof,
            doc("audit", "How the audit log is proven").answers::<ProofView>(200),
        ),
        reads(
            "/policy",
            SeeLists,
            policy::policy,
            doc("policy", "The policy in force").answers::<PolicyView>(200),
        ),
        reads(
            "/policy/documents",
            SeeLists,
            policy::documents,
            doc("policy", "Its documents").answers::<DocumentsView>(200),
        ),
        Route {
            method: Method::PUT,
            path: "/policy/documents",
            may: ReplacePolicy,
            doc: doc(
                "policy",
                "Replaces the documents, where the API manages them; `If-Match` says which were seen",
            )
            .body::<ReplaceBody>()
            .answers::<DocumentsView>(200),
            handler: put(policy::replace),
        },
        writes(
            "/policy/check",
            SeeLists,
            policy::check,
            doc("policy", "Checks documents that are not in force")
                .body::<CheckBody>()
                .answers::<PolicyChecked>(200),
        ),
        writes(
            "/policy/explain",
            SeeLists,
            policy::explain,
            doc("policy", "Says what the policy would decide, and why")
                .body::<ExplainBody>()
                .answers::<Anything>(200),
        ),
        reads(
            "/notifications/deliveries",
            SeeDeliveries,
            audit::deliveries,
            doc("notifications", "What became of notices").query::<audit::DeliveriesQuery>().answers::<Rows<
                DeliveryView,
            >>(
                200
            ),
        ),
        reads(
            "/events",
            Known,
            events::events,
            doc("events", "What changes, as it changes (server-sent events)").stream(),
        ),
        reads(
            "/openapi.json",
            Anyone,
            crate::openapi::serve,
            doc("service", "This description").answers::<Anything>(200),
        ),
    ]
}

pub(crate) fn router(api: Arc<Api>) -> Router {
    let mut v1 = Router::new();
    for Route { path, may, handler, .. } in table() {
        let stands_before = middleware::from_fn_with_state(
            Guard { api: Arc::clone(&api), may, counts: path != "/events" },
            guard,
        );
        v1 = v1.route(path, handler.route_layer(stands_before));
    }
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", v1)
        .fallback(pages::page)
        .method_not_allowed_fallback(async || Problem::method())
        .layer(middleware::from_fn(around))
        .with_state(api)
}

/// Bounds every request in time and dresses every answer: never stored, never sniffed, never framed, never another site's.
async fn around(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    // Who waits for an answer may, for as long as it said.
    let within =
        ANSWER_WITHIN + std::time::Duration::from_secs(if method == Method::GET { LONGEST_WAIT } else { 0 });
    let mut response = match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::too_slow().into_response(),
    };
    let known = matches!(method, Method::GET | Method::HEAD | Method::POST | Method::PUT);
    let method = if known { method.as_str().to_ascii_lowercase() } else { "other".to_owned() };
    let status = response.status().as_u16().to_string();
    metrics::counter!("portcullis_web_requests_total", "method" => method, "status" => status).increment(1);
    let headers = response.headers_mut();
    // What pages say of themselves stands.
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("strict-transport-security", "max-age=31536000"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A JSON answer.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "an answer cannot be encoded");
                Problem::internal().into_response()
            }
        }
    }
}

/// A JSON body: `application/json` and nothing else, at most [`MAX_BODY`] bytes. Errors say where, never what.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_json(request, MAX_BODY).await.map(Self)
    }
}

/// The same, of documents: at most [`MAX_DOCUMENTS_BODY`] bytes.
pub(crate) struct AskedLong<T>(pub(crate) T);

/// The longest body with policy documents: the longest set, each line's end and quote written as two.
pub(crate) const MAX_DOCUMENTS_BODY: usize = 2 * MAX_DOCUMENTS_BYTES;

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for AskedLong<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_json(request, MAX_DOCUMENTS_BODY).await.map(Self)
    }
}

async fn read_json<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T, Problem> {
    let mut types = request.headers().get_all(header::CONTENT_TYPE).iter();
    let content_type = match (types.next(), types.next()) {
        (Some(one), None) => one.to_str().ok(),
        _ => None,
    };
    let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(Problem::not_json());
    }
    let body = axum::body::to_bytes(request.into_body(), limit).await;
    let body: Bytes = body.map_err(|_| Problem::too_large(limit))?;
    serde_json::from_slice(&body).map_err(|error| {
        // serde_json quotes unknown keys and values of the body: the place is enough.
        let place = format!("line {} column {}", error.line(), error.column());
        Problem::malformed(match error.classify() {
            serde_json::error::Category::Data => format!("the body is not what is expected at {place}"),
            _ => format!("the body is no valid JSON at {place}"),
        })
    })
}

/// A query: known keys, each once. Errors name the keys there are, never those that were sent.
pub(crate) struct Queried<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema> FromRequestParts<S> for Queried<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|_| {
            let keys = crate::openapi::keys::<T>().iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            Problem::malformed(format!(
                "the query has a key this address does not take, one twice, or a value that is not of its form; it takes {keys}"
            ))
        })
    }
}

/// Runs what blocks off the reactor.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a request's work panicked");
        Problem::internal()
    })
}

/// For what the store could not do.
pub(crate) fn failed(error: portcullis_store::Error) -> Problem {
    tracing::error!(%error, "the index could not be searched");
    Problem::unavailable()
}
