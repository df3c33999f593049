//! What a principal asks for itself, with its own token.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use portcullis_access::{Granted, RequestRefused, Window, WindowRequest};
use portcullis_core::ClientSoftware;
use portcullis_identity::Authenticated;

use super::{Asked, Json, blocking};
use crate::{Api, ConnectionView, Problem, WhoamiView, bearer::bearer, server::Peer};

async fn authenticate(api: &Api, headers: &HeaderMap, peer: &Peer) -> Result<Authenticated, Problem> {
    let token = bearer(headers)?;
    api.identity.authenticate(&token).await.map_err(|error| {
        tracing::info!(source = %peer.0.address, %error, "authentication failed at the api");
        Problem::of_identity(&error)
    })
}

/// `POST /api/v1/requests`: opens a window, or gives back the one that is open.
pub(super) async fn request(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Asked(asked): Asked<WindowRequest>,
) -> Result<Response, Problem> {
    let who = authenticate(&api, &headers, &peer).await?;
    let principal = who.principal().key();
    let (access, source) = (Arc::clone(&api.access), peer.0);
    let client = ClientSoftware(String::new());
    let outcome = blocking(move || access.request(&who, &asked, &source, &client)).await?;
    let label = if outcome.is_ok() { "opened" } else { "refused" };
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
            tracing::info!(%principal, request = %filed.request.id(), "a request waits for people");
            Ok((StatusCode::ACCEPTED, Json(filed.request)).into_response())
        }
    }
}

/// `GET /api/v1/whoami`.
pub(super) async fn whoami(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<WhoamiView>, Problem> {
    let who = authenticate(&api, &headers, &peer).await?;
    let principal = who.principal();
    Ok(Json(WhoamiView { key: principal.key().to_string(), principal: principal.as_ref().clone() }))
}

/// `GET /api/v1/connections`.
pub(super) async fn connections(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<Vec<ConnectionView>>, Problem> {
    let who = authenticate(&api, &headers, &peer).await?;
    let windows = api.access.open_windows(&who.principal().key());
    let reachable = api.access.reachable(who.principal());
    let views =
        reachable.iter().map(|(connection, grants)| ConnectionView::new(connection, grants, &windows));
    Ok(Json(views.collect()))
}

/// `GET /api/v1/windows`.
pub(super) async fn windows(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<Vec<Window>>, Problem> {
    let who = authenticate(&api, &headers, &peer).await?;
    Ok(Json(api.access.open_windows(&who.principal().key())))
}
