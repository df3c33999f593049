//! Whether the process lives, whether it can serve, and its numbers. Asked by machines, without a token.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use portcullis_audit::Health;
use serde::Serialize;

use super::{Json, blocking};
use crate::{Api, Problem};

/// The process lives and its reactor turns.
pub(super) async fn healthz() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], "ok\n").into_response()
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    journal: String,
    store: String,
    identity: String,
    recordings: String,
    policy: String,
    draining: bool,
    sessions: usize,
}

/// Whether sessions can be served: the journal takes events, the store answers, sessions can be recorded, tokens of at least
/// one identity provider can be verified, the gateway is not draining. A refused change
/// of the documents does not make it unready, for the old policy is in force; it is said.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let journal = match api.journal.health() {
        Health::Good => Ok("ok".to_owned()),
        Health::Failed { since, .. } => Err(format!("takes no events since {since}")),
    };
    let recordings = match api.recordings.health() {
        portcullis_record::Health::Good => Ok("ok".to_owned()),
        portcullis_record::Health::Failed { since, .. } => {
            Err(format!("sessions cannot be recorded since {since}"))
        }
    };
    let store = {
        let api = Arc::clone(&api);
        blocking(move || api.store.shipped()).await?
    };
    let end = api.journal.end().map(|end| end.sequence);
    let store = match (store, end) {
        (Ok(shipped), Ok(end)) => Ok(match end.saturating_sub(shipped.sequence) {
            0 => "ok".to_owned(),
            behind => format!("ok, {behind} events behind the journal"),
        }),
        (Err(_), _) => Err("does not answer; the log says why".to_owned()),
        (_, Err(_)) => Err("the journal does not answer".to_owned()),
    };
    let policy = api.access.policy();
    let policy_text = match api.policy.get().rejected {
        None => format!("{} in force", policy.version()),
        Some(rejected) => format!(
            "{} in force; a change seen at {} was refused, `portcullis check` says why",
            policy.version(),
            rejected.at
        ),
    };
    let unready = api.identity.unready().await;
    let without_keys = || unready.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    for (name, detail) in &unready {
        tracing::warn!(provider = name, detail, "tokens of this provider cannot be verified");
    }
    let identity = match (policy.providers().len(), unready.len()) {
        (0, _) => Err("no identity provider is configured".to_owned()),
        (_, 0) => Ok("ok".to_owned()),
        (all, some) if some < all => Ok(format!("ok, but for {}: its keys cannot be had", without_keys())),
        _ => Err(format!("the keys of {} cannot be had", without_keys())),
    };
    let draining = api.draining.is_stopped();
    let ready = journal.is_ok() && store.is_ok() && recordings.is_ok() && identity.is_ok() && !draining;
    let said = |outcome: Result<String, String>| outcome.unwrap_or_else(|bad| bad);
    let body = Ready {
        ready,
        journal: said(journal),
        store: said(store),
        identity: said(identity),
        recordings: said(recordings),
        policy: policy_text,
        draining,
        sessions: api.sessions.count(),
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(body)).into_response())
}

/// Prometheus text format 0.0.4.
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    api.sessions.publish_metrics();
    let waiting = api.access.waiting();
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    for (kind, count) in
        [("window", waiting.windows), ("operation", waiting.operations), ("commit", waiting.commits)]
    {
        metrics::gauge!("portcullis_requests_pending", "kind" => kind).set(number(count));
    }
    metrics::gauge!("portcullis_holds_live").set(number(waiting.live));
    let failed = matches!(api.journal.health(), Health::Failed { .. });
    metrics::gauge!("portcullis_journal_failed").set(if failed { 1.0 } else { 0.0 });
    let failed = api.recordings.health() != portcullis_record::Health::Good;
    metrics::gauge!("portcullis_recordings_failed").set(if failed { 1.0 } else { 0.0 });
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text)], api.metrics.render()).into_response()
}
