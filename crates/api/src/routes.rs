//! The router: who may ask what, and what every answer has.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Api, Problem,
    server::{ANSWER_WITHIN, MAX_BODY},
};

mod admin;
mod agent;
mod health;
mod recordings;

pub(crate) fn router(api: Arc<Api>) -> Router {
    let v1 = Router::new()
        .route("/requests", post(agent::request))
        .route("/whoami", get(agent::whoami))
        .route("/connections", get(agent::connections))
        .route("/windows", get(agent::windows))
        .route("/sessions", get(admin::sessions))
        .route("/sessions/{id}", get(recordings::session))
        .route("/sessions/{id}/recording", get(recordings::recording))
        .route("/sessions/{id}/kill", post(admin::kill_session))
        .route("/kill", post(admin::kill_identity))
        .route("/lift", post(admin::lift))
        .route("/audit/events", get(admin::audit))
        .route("/policy", get(admin::policy));
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", v1)
        .fallback(async || Problem::not_found("nothing answers at this address"))
        .method_not_allowed_fallback(async || Problem::method())
        .layer(middleware::from_fn(around))
        .with_state(api)
}

/// Bounds every request in time and dresses every answer: never stored, never sniffed, never framed, never a page.
async fn around(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let mut response = match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::too_slow().into_response(),
    };
    let known = matches!(method, Method::GET | Method::HEAD | Method::POST);
    let method = if known { method.as_str().to_ascii_lowercase() } else { "other".to_owned() };
    let status = response.status().as_u16().to_string();
    metrics::counter!("portcullis_web_requests_total", "method" => method, "status" => status).increment(1);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
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

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return Err(Problem::not_json());
        }
        let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
        let _ = state;
        let body: Bytes = body.map_err(|_| Problem::too_large(MAX_BODY))?;
        let read = serde_json::from_slice(&body);
        read.map(Self).map_err(|error| {
            // serde_json quotes unknown keys and values of the body: the place is enough.
            let place = format!("line {} column {}", error.line(), error.column());
            Problem::malformed(match error.classify() {
                serde_json::error::Category::Data => format!("the body is not what is expected at {place}"),
                _ => format!("the body is no valid JSON at {place}"),
            })
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
