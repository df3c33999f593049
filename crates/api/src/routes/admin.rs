//! What an administrator sees and ends, with the admin token.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::HeaderMap,
};
use portcullis_store::{AuditQuery, AuditRow, Page, SessionQuery};
use serde::Deserialize;

use super::{Asked, Json, blocking};
use crate::{
    Api, KillAnswer, KillIdentity, KillSession, LiftAnswer, LiftIdentity, PolicyView, Problem, SessionView,
    kill::{self, Target},
    server::Peer,
    types::MAX_ROWS,
};

pub(super) fn query<T>(asked: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    match asked {
        Ok(Query(query)) => Ok(query),
        // Its text names the key and what was expected of it: an administrator's own words, never a token.
        Err(rejection) => Err(Problem::malformed(rejection.body_text())),
    }
}

/// Which sessions are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// Those of the past too, from the index.
    history: bool,
    connection: Option<String>,
    identity: Option<String>,
    /// With a statement in which all of these words occur; only with `history`.
    text: Option<String>,
    limit: Option<u32>,
    cursor: Option<u64>,
}

/// `GET /api/v1/sessions`: the live ones from the registry; with `history=true` all of them from the index.
pub(super) async fn sessions(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    asked: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Page<SessionView>>, Problem> {
    let _admin = api.admin.check(&headers)?;
    let which = query(asked)?;
    if which.history {
        let query = SessionQuery {
            text: which.text,
            connection: which.connection,
            identity: which.identity,
            limit: Some(which.limit.unwrap_or(100).min(MAX_ROWS)),
            cursor: which.cursor,
            ..SessionQuery::default()
        };
        let store = Arc::clone(&api.store);
        let page = blocking(move || store.sessions(&query)).await?.map_err(failed)?;
        let rows = page.rows.into_iter().map(SessionView::from).collect();
        return Ok(Json(Page { rows, next: page.next }));
    }
    if which.text.is_some() {
        return Err(Problem::malformed("`text` is searched for in the index: ask with `history=true`"));
    }
    let rows = api.sessions.list().into_iter().map(SessionView::from).filter(|view| {
        let facts = view.facts.as_deref();
        let connection = facts.and_then(|facts| facts.connection.as_ref()).map(|name| name.as_str());
        let principal = facts.and_then(|facts| facts.principal.as_deref());
        which.connection.as_deref().is_none_or(|wanted| connection == Some(wanted))
            && which.identity.as_deref().is_none_or(|wanted| {
                view.identity.as_deref() == Some(wanted)
                    || principal.is_some_and(|p| {
                        p.name.eq_ignore_ascii_case(wanted) || p.object_id.eq_ignore_ascii_case(wanted)
                    })
            })
    });
    Ok(Json(Page { rows: rows.collect(), next: None }))
}

/// `POST /api/v1/sessions/{id}/kill`.
pub(super) async fn kill_session(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Asked(asked): Asked<KillSession>,
) -> Result<Json<KillAnswer>, Problem> {
    let _admin = api.admin.check(&headers)?;
    let session =
        id.parse().map_err(|_| Problem::malformed("a session is named `ses_` and 32 hex digits"))?;
    let target = Target::Session(session);
    Ok(Json(blocking(move || kill::kill(&api, &target, &asked.reason, asked.for_seconds, &peer.0)).await??))
}

/// `POST /api/v1/kill`.
pub(super) async fn kill_identity(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Asked(asked): Asked<KillIdentity>,
) -> Result<Json<KillAnswer>, Problem> {
    let _admin = api.admin.check(&headers)?;
    let target = Target::Identity(kill::principal_key(&api, &asked.identity)?);
    Ok(Json(blocking(move || kill::kill(&api, &target, &asked.reason, asked.for_seconds, &peer.0)).await??))
}

/// `POST /api/v1/lift`.
pub(super) async fn lift(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Asked(asked): Asked<LiftIdentity>,
) -> Result<Json<LiftAnswer>, Problem> {
    let _admin = api.admin.check(&headers)?;
    let key = kill::principal_key(&api, &asked.identity)?;
    Ok(Json(blocking(move || kill::lift(&api, &key, &peer.0)).await??))
}

/// `GET /api/v1/audit/events`: see [`AuditQuery`] for the filters. Pages by `cursor`, which is the `next` of the page before.
pub(super) async fn audit(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    asked: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Page<AuditRow>>, Problem> {
    let _admin = api.admin.check(&headers)?;
    let mut query = query(asked)?;
    query.limit = Some(query.limit.unwrap_or(100).min(MAX_ROWS));
    let store = Arc::clone(&api.store);
    Ok(Json(blocking(move || store.audit(&query)).await?.map_err(failed)?))
}

/// `GET /api/v1/policy`.
pub(super) async fn policy(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<PolicyView>, Problem> {
    let _admin = api.admin.check(&headers)?;
    let policy = api.access.policy();
    let (loaded_at, warnings, rejected) = api.policy.get();
    Ok(Json(PolicyView {
        version: policy.version().to_string(),
        loaded_at,
        connections: policy.connections().count() as u64,
        grants: policy.grants().len() as u64,
        warnings,
        rejected,
    }))
}

pub(super) fn failed(error: portcullis_store::Error) -> Problem {
    tracing::error!(%error, "the index could not be searched");
    Problem::unavailable()
}
