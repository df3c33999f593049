//! The audit log, its proof, and what became of notices.

use std::sync::Arc;

use axum::extract::State;
use portcullis_client::{
    DeliveryView, ProofView, Rows,
    types::{CheckpointView, MAX_ROWS},
};
use portcullis_notify::{Delivery, DeliveryLog as _, DeliveryState};
use portcullis_policy::Channel;
use portcullis_store::{AuditQuery, AuditRow, Page};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Json, Queried, blocking, failed};
use crate::{Api, Problem, views::request::word};

/// The audit log's filters; everything given must hold.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct QueryShape(#[schemars(with = "Filters")] AuditQuery);

#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape only: see store::AuditQuery")]
struct Filters {
    /// On this connection.
    connection: Option<String>,
    /// By this principal: name, key, object id, application id, or a group of it.
    identity: Option<String>,
    /// Not before, RFC 3339.
    from: Option<String>,
    /// Before, RFC 3339.
    until: Option<String>,
    /// Every one of these words occurs in the statement or the reason.
    text: Option<String>,
    /// `allow`, `hold` or `deny`.
    decision: Option<String>,
    /// Decided by a rule of exactly this name or kind.
    rule: Option<String>,
    /// In this session.
    session: Option<String>,
    /// Of this kind: `decision`, `session`, `request`, `sign_in`, ….
    kind: Option<String>,
    /// `newest_first` or `oldest_first`.
    order: Option<String>,
    /// At most so many; 100 unless said.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<u64>,
}

/// `GET /api/v1/audit/events`: see [`AuditQuery`] for the filters. Pages by `cursor`, which is the `next` of the page before.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Queried(QueryShape(mut query)): Queried<QueryShape>,
) -> Result<Json<Page<AuditRow>>, Problem> {
    query.limit = Some(query.limit.unwrap_or(100).min(MAX_ROWS));
    let store = Arc::clone(&api.store);
    Ok(Json(blocking(move || store.audit(&query)).await?.map_err(failed)?))
}

/// `GET /api/v1/audit/proof`.
pub(super) async fn proof(State(api): State<Arc<Api>>) -> Result<Json<ProofView>, Problem> {
    let status = api.notary.status();
    let events = api.journal.end().map_err(|error| {
        tracing::error!(%error, "the journal does not answer");
        Problem::unavailable()
    })?;
    let (signed, events) = (status.checkpoint, events.sequence);
    let checkpoint = signed.checkpoint();
    Ok(Json(ProofView {
        key: checkpoint.origin.clone(),
        events,
        checkpoint: CheckpointView {
            size: signed.size(),
            root: checkpoint.root.to_string(),
            at: None,
            note: signed.note().to_owned(),
        },
        lag: events.saturating_sub(signed.size()),
        failure: status
            .failure
            .map(|_| "the journal's events are not signed; the gateway's log says why".to_owned()),
    }))
}

/// Which deliveries.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DeliveriesQuery {
    /// Those that did not arrive: failed, retrying, queued.
    undelivered: bool,
    /// `undelivered`: the same, said otherwise.
    state: Option<String>,
    /// At most so many; 100 unless said.
    limit: Option<u32>,
}

/// `GET /api/v1/notifications/deliveries`: the newest first.
pub(super) async fn deliveries(
    State(api): State<Arc<Api>>,
    Queried(asked): Queried<DeliveriesQuery>,
) -> Result<Json<Rows<DeliveryView>>, Problem> {
    let undelivered = match asked.state.as_deref() {
        None => asked.undelivered,
        Some("undelivered") => true,
        Some(_) => return Err(Problem::malformed("`state` is `undelivered` or absent")),
    };
    let limit = usize::try_from(asked.limit.unwrap_or(100).clamp(1, MAX_ROWS)).unwrap_or(100);
    let store = Arc::clone(&api.store);
    let found =
        blocking(move || if undelivered { store.undelivered(limit) } else { store.recent(limit) }).await?;
    let found = found.map_err(|error| {
        tracing::error!(%error, "deliveries could not be read");
        Problem::unavailable()
    })?;
    let policy = api.access.policy();
    let kind = |channel: &str| {
        let known = policy.notifications().iter().find(|notification| notification.name == channel);
        known.map_or("", |notification| match &notification.channel {
            Channel::Slack { .. } => "slack",
            Channel::Teams { .. } => "teams",
            Channel::Webhook { .. } => "webhook",
            Channel::Email { .. } => "email",
        })
    };
    let view = |delivery: Delivery| DeliveryView {
        kind: kind(&delivery.channel).to_owned(),
        id: delivery.id,
        at: delivery.at,
        notification: delivery.channel,
        event: word(&delivery.kind),
        request: delivery.request.to_string(),
        state: match delivery.state {
            DeliveryState::Queued => "queued",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Retrying => "retrying",
            DeliveryState::Failed => "failed",
        }
        .to_owned(),
        attempts: delivery.attempts,
        error: delivery.last_error,
        next_at: delivery.next_at,
    };
    Ok(Json(Rows { rows: found.into_iter().map(view).collect(), next: None }))
}
