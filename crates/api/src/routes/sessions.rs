//! Sessions: who is here and was, and their end.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use portcullis_client::{
    KillAnswer, KillIdentity, KillSession, LiftAnswer, LiftIdentity, Rows, SessionView, types::MAX_ROWS,
};
use portcullis_store::SessionQuery;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Json, Queried, blocking, failed};
use crate::{
    Api, Problem,
    caller::{Caller, May},
    kill::{self, Target},
    server::Peer,
    views,
};

/// Which sessions are asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Those of the past too, from the index.
    history: bool,
    /// To this connection.
    connection: Option<String>,
    /// Of this identity: key, name, object id.
    identity: Option<String>,
    /// With a statement in which all of these words occur; only with `history`, and for who may search statements.
    text: Option<String>,
    /// At most so many of the past.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<u64>,
}

/// `GET /api/v1/sessions`: the live ones from the registry; with `history=true` all of them from the index. Who does not see lists
/// gets their own.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Queried(mut asked): Queried<ListQuery>,
) -> Result<Json<Rows<SessionView>>, Problem> {
    if asked.text.is_some() && !caller.may(May::SeeRecordings) {
        return Err(Problem::forbidden(
            "not-allowed",
            format!("to search statements takes {}", May::SeeRecordings.wants()),
        ));
    }
    let own = if caller.may(May::SeeLists) { None } else { caller.key().map(|key| key.to_string()) };
    if let Some(own) = &own {
        // Theirs or nothing, whatever else is asked for.
        if asked.identity.as_ref().is_some_and(|identity| identity != own) {
            return Ok(Json(Rows { rows: Vec::new(), next: None }));
        }
        asked.identity = Some(own.clone());
    }
    let is_shown =
        |view: &SessionView| own.as_deref().is_none_or(|own| view.identity.as_deref() == Some(own));
    if asked.history {
        let query = SessionQuery {
            text: asked.text,
            connection: asked.connection,
            identity: asked.identity,
            limit: Some(asked.limit.unwrap_or(100).min(MAX_ROWS)),
            cursor: asked.cursor,
            ..SessionQuery::default()
        };
        let store = Arc::clone(&api.store);
        let page = blocking(move || store.sessions(&query)).await?.map_err(failed)?;
        let rows = page.rows.into_iter().map(views::session).filter(is_shown).collect();
        return Ok(Json(Rows { rows, next: page.next }));
    }
    if asked.text.is_some() {
        return Err(Problem::malformed("`text` is searched for in the index: ask with `history=true`"));
    }
    let rows = api.sessions.list().into_iter().map(views::live).filter(is_shown).filter(|view| {
        let facts = view.facts.as_deref();
        let connection = facts.and_then(|facts| facts.connection.as_ref()).map(|name| name.as_str());
        let principal = facts.and_then(|facts| facts.principal.as_deref());
        asked.connection.as_deref().is_none_or(|wanted| connection == Some(wanted))
            && asked.identity.as_deref().is_none_or(|wanted| {
                view.identity.as_deref() == Some(wanted)
                    || principal.is_some_and(|p| {
                        p.name.eq_ignore_ascii_case(wanted) || p.object_id.eq_ignore_ascii_case(wanted)
                    })
            })
    });
    Ok(Json(Rows { rows: rows.collect(), next: None }))
}

/// `POST /api/v1/sessions/{id}/kill`.
pub(super) async fn kill_session(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
    Path(id): Path<String>,
    Asked(asked): Asked<KillSession>,
) -> Result<Json<KillAnswer>, Problem> {
    let session = id.parse().map_err(|_| Problem::not_found("no live session has that id"))?;
    let (target, by) = (Target::Session(session), caller.named(&peer));
    Ok(Json(blocking(move || kill::kill(&api, &target, &asked.reason, asked.for_seconds, by)).await??))
}

/// `POST /api/v1/kill`.
pub(super) async fn kill_identity(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
    Asked(asked): Asked<KillIdentity>,
) -> Result<Json<KillAnswer>, Problem> {
    let target = Target::Identity(kill::principal_key(&api, &asked.identity)?);
    let by = caller.named(&peer);
    Ok(Json(blocking(move || kill::kill(&api, &target, &asked.reason, asked.for_seconds, by)).await??))
}

/// `POST /api/v1/lift`.
pub(super) async fn lift(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
    Asked(asked): Asked<LiftIdentity>,
) -> Result<Json<LiftAnswer>, Problem> {
    let key = kill::principal_key(&api, &asked.identity)?;
    let by = caller.named(&peer);
    Ok(Json(blocking(move || kill::lift(&api, &key, by)).await??))
}
