//! What can be reached, by whom, and who is known.

use std::{collections::HashMap, sync::Arc};

use axum::extract::{Path, State};
use portcullis_access::Window;
use portcullis_client::{
    ConnectionView, IdentityView, ReachRow, ReachView, Rows, WhoamiView, types::HealthView,
};
use portcullis_core::{ConnectionName, GroupRef, Principal, PrincipalKind, Timestamp};
use portcullis_policy::{Connection, Policy, Way, reach as ways_of, reach_connection};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Json, Queried, blocking, failed};
use crate::{
    Api, Problem,
    caller::{Caller, May},
    views,
};

/// Identities of one answer.
const MOST: usize = 1_000;

/// `GET /api/v1/whoami`.
pub(super) async fn whoami(caller: Caller) -> Result<Json<WhoamiView>, Problem> {
    let principal = caller.identity()?;
    Ok(Json(WhoamiView { key: principal.key().to_string(), principal: principal.as_ref().clone() }))
}

/// `GET /api/v1/windows`.
pub(super) async fn windows(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Vec<Window>>, Problem> {
    Ok(Json(api.access.open_windows(&caller.identity()?.key())))
}

/// Which connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConnectionsQuery {
    /// Every one there is, for who has a role.
    all: bool,
}

/// `GET /api/v1/connections`.
pub(super) async fn connections(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Queried(asked): Queried<ConnectionsQuery>,
) -> Result<Json<Vec<ConnectionView>>, Problem> {
    if !asked.all {
        let principal = caller.identity()?;
        let windows = api.access.open_windows(&principal.key());
        let reachable = api.access.reachable(principal);
        let views = reachable
            .iter()
            .map(|(connection, grants)| views::connection(connection, grants, &windows, Some(principal)));
        return Ok(Json(views.collect()));
    }
    if !caller.may(May::SeeLists) {
        return Err(Problem::forbidden("not-allowed", format!("to see all takes {}", May::SeeLists.wants())));
    }
    let policy = api.access.policy();
    let live = live(&api);
    Ok(Json(
        policy.connections().map(|connection| whole(&api, &policy, connection, &caller, &live)).collect(),
    ))
}

/// `GET /api/v1/connections/{name}`. One that is not there and one that is not theirs are one answer.
pub(super) async fn connection(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<ConnectionView>, Problem> {
    let no_such = || Problem::not_found("there is no such connection");
    let name: ConnectionName = name.parse().map_err(|_| no_such())?;
    let policy = api.access.policy();
    let connection = policy.connection(&name).ok_or_else(no_such)?;
    if caller.may(May::SeeLists) {
        return Ok(Json(whole(&api, &policy, connection, &caller, &live(&api))));
    }
    let principal = caller.identity()?;
    let grants = policy.grants_to(principal, &name);
    if grants.is_empty() {
        return Err(no_such());
    }
    let windows = api.access.open_windows(&principal.key());
    Ok(Json(views::connection(connection, &grants, &windows, Some(principal))))
}

fn live(api: &Api) -> HashMap<ConnectionName, u64> {
    let mut live = HashMap::new();
    for session in api.sessions.list() {
        if let Some(name) = &session.facts.connection {
            *live.entry(name.clone()).or_default() += 1;
        }
    }
    live
}

/// The whole of a connection: every grant to it, where it leads, who can reach it.
fn whole(
    api: &Api,
    policy: &Policy,
    connection: &Connection,
    caller: &Caller,
    live: &HashMap<ConnectionName, u64>,
) -> ConnectionView {
    let principal = caller.principal();
    let windows = principal.map(|principal| api.access.open_windows(&principal.key())).unwrap_or_default();
    let grants: Vec<_> =
        policy.grants().iter().filter(|grant| grant.connection == connection.name).map(Arc::clone).collect();
    let mut to: Vec<String> =
        reach_connection(policy, &connection.name).into_iter().flat_map(|way| way.to).collect();
    to.sort_unstable();
    to.dedup();
    let own = principal.map(|principal| policy.grants_to(principal, &connection.name)).unwrap_or_default();
    let mine = views::connection(connection, &own, &windows, principal.map(Arc::as_ref));
    let all = views::connection(connection, &grants, &windows, principal.map(Arc::as_ref));
    ConnectionView {
        open: mine.open,
        address: Some(connection.address.to_string()),
        health: Some(health(api, connection)),
        to,
        live_sessions: Some(live.get(&connection.name).copied().unwrap_or_default()),
        ..all
    }
}

/// How its upstream is, as far as sessions told: kinds of failures, never words of the upstream's.
fn health(api: &Api, connection: &Connection) -> HealthView {
    let Some(seen) = api.health.of(connection) else {
        let state = "unknown".to_owned();
        return HealthView { state, since: None, checked_at: None, detail: String::new() };
    };
    HealthView {
        state: if seen.is_up() { "up" } else { "down" }.to_owned(),
        since: Some(seen.since),
        checked_at: Some(seen.at),
        detail: seen.failing.map(|failing| failing.as_str().to_owned()).unwrap_or_default(),
    }
}

/// Who, or what, is asked about.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReachQuery {
    /// A known identity, by key.
    identity: Option<String>,
    /// One connection.
    connection: Option<String>,
    /// With `groups`: an identity of this provider; the first unless said.
    provider: Option<String>,
    /// What somebody in these groups reaches: friendly names or ids, by commas.
    groups: Option<String>,
}

/// `GET /api/v1/reach`: each known identity and its ways; or those of one; or everybody's to one connection.
pub(super) async fn reach(
    State(api): State<Arc<Api>>,
    Queried(asked): Queried<ReachQuery>,
) -> Result<Json<ReachView>, Problem> {
    let policy = api.access.policy();
    let connection: Option<ConnectionName> = match asked.connection.as_deref().map(str::parse) {
        None => None,
        Some(Ok(name)) if policy.connection(&name).is_some() => Some(name),
        Some(_) => return Err(Problem::not_found("there is no such connection")),
    };
    let is_meant = |way: &Way| connection.as_ref().is_none_or(|name| way.connection == *name);
    let row = |identity: Option<IdentityView>, ways: Vec<Way>| ReachRow {
        identity,
        ways: ways
            .iter()
            .filter(|way| is_meant(way))
            .filter_map(|way| serde_json::to_value(way).ok())
            .collect(),
    };
    let rows = match (&asked.identity, &asked.groups) {
        (None, Some(groups)) => {
            let somebody = somebody(&policy, asked.provider.as_deref(), groups.split(','))?;
            vec![row(None, ways_of(&policy, &somebody))]
        }
        (identity, _) => {
            let mut rows: Vec<ReachRow> = known(&api)
                .await?
                .into_iter()
                .filter(|(who, _)| identity.as_ref().is_none_or(|key| who.key().to_string() == *key))
                .take(MOST)
                .map(|(who, at)| row(Some(identity_view(&api, &who, at)), ways_of(&policy, &who)))
                .collect();
            if identity.is_some() && rows.is_empty() {
                return Err(Problem::not_found("no identity with this key came to the gateway"));
            }
            if let (None, Some(name)) = (identity, &connection) {
                rows.retain(|row| !row.ways.is_empty());
                // By group and rule too: who never came is reached by no list of identities.
                rows.insert(0, row(None, reach_connection(&policy, name)));
            }
            rows
        }
    };
    Ok(Json(ReachView {
        rows,
        connections: policy.connections().map(|connection| connection.name.to_string()).collect(),
        policy: policy.version().to_string(),
    }))
}

/// Somebody in these groups, of whom nothing else is known.
pub(super) fn somebody<'a>(
    policy: &Policy,
    provider: Option<&str>,
    groups: impl Iterator<Item = &'a str>,
) -> Result<Principal, Problem> {
    let provider = match provider {
        Some(name) => policy.providers().iter().find(|provider| provider.name == name),
        None => policy.providers().first(),
    };
    let provider = provider.ok_or_else(|| Problem::not_found("there is no such identity provider"))?;
    let tenant = match &provider.kind {
        portcullis_policy::ProviderKind::Entra(entra) => Some(entra.tenant.clone()),
        portcullis_policy::ProviderKind::Oidc(_) => None,
    };
    let group = |name: &str| {
        let named = provider.groups.iter().find(|(friendly, _)| friendly.as_str() == name);
        match named {
            Some((friendly, id)) => GroupRef { id: id.to_string(), name: Some(friendly.to_string()) },
            None => GroupRef { id: name.to_owned(), name: None },
        }
    };
    Ok(Principal {
        provider: provider.name.clone(),
        tenant,
        object_id: "00000000-0000-0000-0000-000000000000".to_owned(),
        application_id: None,
        parent_application: None,
        kind: PrincipalKind::Application,
        name: "somebody".to_owned(),
        token_id: String::new(),
        groups: groups.map(str::trim).filter(|name| !name.is_empty()).map(group).collect(),
        roles: Vec::new(),
        actor: None,
        subject: None,
        issued_at: Timestamp::from_seconds(0),
        expires_at: Timestamp::from_seconds(0),
    })
}

/// Who came to the gateway, the last one first.
pub(super) async fn known(api: &Arc<Api>) -> Result<Vec<(Arc<Principal>, Timestamp)>, Problem> {
    let store = Arc::clone(&api.store);
    blocking(move || store.identities()).await?.map_err(failed)
}

fn identity_view(api: &Api, who: &Principal, at: Timestamp) -> IdentityView {
    IdentityView {
        key: who.key().to_string(),
        name: who.name.clone(),
        kind: views::request::word(&who.kind),
        application_id: who.application_id.clone(),
        groups: who.groups.clone(),
        last_seen_at: Some(at),
        blocked_until: api.access.blocked(&who.key()).map(|block| block.until),
    }
}

/// Which identities.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct IdentitiesQuery {
    /// At most so many; 100 unless said.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<u64>,
}

/// `GET /api/v1/identities`: who came to the gateway, the last one first, with groups as they were then.
pub(super) async fn identities(
    State(api): State<Arc<Api>>,
    Queried(asked): Queried<IdentitiesQuery>,
) -> Result<Json<Rows<IdentityView>>, Problem> {
    let limit = usize::try_from(asked.limit.unwrap_or(100)).unwrap_or(MOST).clamp(1, MOST);
    let from = usize::try_from(asked.cursor.unwrap_or_default()).unwrap_or(usize::MAX);
    let known = known(&api).await?;
    let rows: Vec<IdentityView> =
        known.iter().skip(from).take(limit).map(|(who, at)| identity_view(&api, who, *at)).collect();
    let after = from.saturating_add(rows.len());
    let next = (after < known.len()).then_some(after as u64);
    Ok(Json(Rows { rows, next }))
}
