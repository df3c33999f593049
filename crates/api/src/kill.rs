//! Kills: ending what a principal has open, so that it stays ended.
//!
//! INVARIANT(kill-order): the block stands before windows and sessions end, so that nothing gets back in between. A failing
//! store or journal does not stop a kill: what did not work is told.

use std::time::Duration;

use portcullis_access::{Access, Block};
use portcullis_audit::Batch;
use portcullis_core::{AuditEvent, EndReason, PrincipalKey, SessionFacts, SessionId, Timestamp, WindowId};
use portcullis_policy::ProviderKind;

use portcullis_client::{KillAnswer, LiftAnswer};

use crate::{Api, Problem};

/// How long a killed principal stays out unless said.
pub const DEFAULT_BLOCK: Duration = Duration::from_secs(60 * 60);

/// The longest block. Who must stay out longer is to be disabled, or taken out of the policy.
pub const MAX_BLOCK: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The longest reason, in characters: it is told on the wire.
const MAX_REASON: usize = 500;

/// What to end.
#[derive(Debug)]
pub(crate) enum Target {
    /// One session; its principal is kept out of its connection.
    Session(SessionId),
    /// Every session of a principal; it is kept out of everything.
    Identity(PrincipalKey),
}

/// Reads a key as it is printed: `provider/tenant/object` or `provider/object`. An object id may hold slashes, so the
/// provider's kind says which of the two it is.
pub(crate) fn principal_key(api: &Api, text: &str) -> Result<PrincipalKey, Problem> {
    let malformed = || {
        Problem::malformed(
            "an identity is written `provider/tenant/object` or `provider/object`, as sessions show it",
        )
    };
    let (name, rest) = text
        .split_once('/')
        .filter(|(name, rest)| !name.is_empty() && !rest.is_empty())
        .ok_or_else(malformed)?;
    let policy = api.access.policy();
    let kind =
        policy.providers().iter().find(|provider| provider.name == name).map(|provider| &provider.kind);
    let has_tenant = match kind {
        Some(ProviderKind::Entra(_)) => true,
        Some(ProviderKind::Oidc(_)) => false,
        None => return Err(Problem::not_found("no identity provider of that name is configured")),
    };
    let (tenant, object_id) = match (has_tenant, rest.split_once('/')) {
        // Entra's ids are GUIDs, whose case means nothing and is lower in tokens as they are read: a kill must not miss for it.
        (true, Some((tenant, object))) if !tenant.is_empty() && !object.is_empty() => {
            (Some(tenant.to_ascii_lowercase()), object.to_ascii_lowercase())
        }
        (true, _) => return Err(malformed()),
        (false, _) => (None, rest.to_owned()),
    };
    Ok(PrincipalKey { provider: name.to_owned(), tenant, object_id })
}

/// Blocks, ends windows, ends sessions, journals. Blocking.
pub(crate) fn kill(
    api: &Api,
    target: &Target,
    reason: &str,
    for_seconds: Option<u64>,
    by: String,
) -> Result<KillAnswer, Problem> {
    let now = api.clock.now();
    let reason: String = reason.trim().chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
    let lasting = for_seconds.map_or(DEFAULT_BLOCK, Duration::from_secs);
    if lasting > MAX_BLOCK {
        return Err(Problem::malformed(format!("a block lasts {} seconds at most", MAX_BLOCK.as_secs())));
    }
    let (principal, connection, windows) = match target {
        Target::Session(id) => {
            let live = api.sessions.list().into_iter().find(|live| live.facts.session == *id);
            let facts = live.ok_or_else(|| Problem::not_found("no live session has that id"))?.facts;
            let Some(principal) = facts.principal.as_ref().map(|principal| principal.key()) else {
                return Err(Problem::internal());
            };
            (principal, facts.connection.clone(), facts.window.into_iter().collect())
        }
        Target::Identity(key) => (key.clone(), None, window_ids(&api.access, key)),
    };
    let mut problems = Vec::new();
    let mut note = |what: &str, error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a kill did not do all of its work: {what}");
        problems.push(what.to_owned());
    };
    let blocked_until = (!lasting.is_zero()).then(|| now.plus(lasting));
    if let Some(until) = blocked_until {
        let block =
            Block { principal: principal.clone(), connection, until, by: by.clone(), reason: reason.clone() };
        if let Err(error) = api.access.block(block) {
            note("the block holds until the gateway restarts only: the store failed", &error);
        }
    }
    let mut ended = Vec::new();
    for window in windows {
        match api.access.end_window(window) {
            Ok(true) => ended.push(window),
            Ok(false) => {}
            Err(error) => {
                note("a window's end holds until the gateway restarts only: the store failed", &error)
            }
        }
    }
    if matches!(target, Target::Identity(_))
        && let Err(error) = api.people.end_all_of(&principal)
    {
        note("sessions of the person in the console were not ended: the store failed", &error);
    }
    let end = EndReason::Killed { by: by.clone(), reason: reason.clone() };
    let meant = |facts: &SessionFacts| match target {
        Target::Session(id) => facts.session == *id,
        Target::Identity(key) => facts.principal.as_ref().is_some_and(|principal| principal.key() == *key),
    };
    let sessions = api.sessions.end_where(meant, &end) as u64;
    // A session that was let in before the block and registered after the sweep: its decision is repeated now.
    api.supervisor.policy_changed();
    api.hub.kill(
        &principal,
        match target {
            Target::Session(id) => Some(*id),
            Target::Identity(_) => None,
        },
    );
    let target = match target {
        Target::Session(id) => id.to_string(),
        Target::Identity(key) => key.to_string(),
    };
    tracing::warn!(%target, sessions, %by, "killed");
    if let Err(error) = journal(api, now, by, target, reason, sessions) {
        note("the kill is not in the journal, which takes no events", &error);
    }
    Ok(KillAnswer { identity: principal.to_string(), sessions, windows: ended, blocked_until, problems })
}

/// Lets a principal back in. Blocking. Journalled first: nothing opens unrecorded.
pub(crate) fn lift(api: &Api, key: &PrincipalKey, by: String) -> Result<LiftAnswer, Problem> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "blocks could not be lifted");
        Problem::unavailable()
    };
    journal(api, api.clock.now(), by, key.to_string(), "blocks lifted".to_owned(), 0)
        .map_err(|error| failed(&error))?;
    let lifted = api.access.lift_blocks(key).map_err(|error| failed(&error))?;
    Ok(LiftAnswer { lifted: lifted as u64 })
}

fn window_ids(access: &Access, key: &PrincipalKey) -> Vec<WindowId> {
    access.open_windows(key).into_iter().map(|window| window.id).collect()
}

fn journal(
    api: &Api,
    at: Timestamp,
    by: String,
    target: String,
    reason: String,
    sessions: u64,
) -> Result<(), portcullis_audit::Error> {
    let mut batch = Batch::new();
    batch.push(&AuditEvent::Kill { at, by, target, reason, sessions })?;
    api.journal.append(None, &batch).map(|_| ())
}
