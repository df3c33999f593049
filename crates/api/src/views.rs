//! What is told of connections, sessions and requests, and to whom.

use std::sync::Arc;

use portcullis_access::Window;
use portcullis_client::{ConnectionView, GrantView, SessionState, SessionView};
use portcullis_core::{Principal, SessionFacts};
use portcullis_policy::{AskWay, Connection, Grant, When};
use portcullis_proxy::LiveSession;
use portcullis_store::{Ending, SessionRow};

pub(crate) mod request;

/// A connection as the subject of `grants` with `windows` sees it.
pub(crate) fn connection(
    connection: &Connection,
    grants: &[Arc<Grant>],
    windows: &[Window],
    who: Option<&Principal>,
) -> ConnectionView {
    let windows: Vec<Window> = windows.iter().filter(|w| w.connection == connection.name).cloned().collect();
    let opens = |grant: &Arc<Grant>| {
        grant.when == When::Always || windows.iter().any(|window| window.grant == grant.id)
    };
    ConnectionView {
        connection: connection.name.clone(),
        protocol: connection.protocol.as_str().to_owned(),
        description: connection.description.clone(),
        database: connection.default_database().map(str::to_owned),
        open: grants.iter().any(opens),
        grants: grants.iter().map(|granted| grant(granted, who)).collect(),
        address: None,
        via: None,
        health: None,
        to: Vec::new(),
        live_sessions: None,
        windows,
    }
}

fn grant(grant: &Grant, who: Option<&Principal>) -> GrantView {
    GrantView {
        grant: grant.id.clone(),
        when: grant.when.as_str().to_owned(),
        lifetime_seconds: grant.lifetime.map(|lifetime| lifetime.as_secs()),
        scope: grant.scope.iter().map(ToString::to_string).collect(),
        recorded: grant.recorded,
        conditional: grant.condition.is_some(),
        approvers: grant
            .approval
            .iter()
            .flat_map(|approval| approval.approvers.iter().map(ToString::to_string))
            .collect(),
        approvals: grant.approval.as_ref().map(|approval| approval.approvals),
        reason_required: grant.when != When::Always && grant.reason_required,
        break_glass: who.is_some_and(|who| grant.may_break_glass(who)),
        on_connect: grant.when != When::Always && grant.ask == AskWay::OnConnect,
    }
}

fn identity(facts: &SessionFacts) -> Option<String> {
    facts.principal.as_ref().map(|principal| principal.key().to_string())
}

/// A live session.
pub(crate) fn live(live: LiveSession) -> SessionView {
    SessionView {
        session: live.facts.session,
        started_at: live.facts.started_at,
        state: if live.ending.is_some() { SessionState::Ending } else { SessionState::Live },
        reason: live.ending,
        ended_at: None,
        identity: identity(&live.facts),
        statements: live.traffic.statements,
        denied: None,
        bytes_in: live.traffic.bytes_in,
        bytes_out: live.traffic.bytes_out,
        facts: Some(live.facts),
    }
}

/// A session as the index has it.
pub fn session(row: SessionRow) -> SessionView {
    let (state, reason, ended_at) = match row.ending {
        Ending::Open => (SessionState::Live, None, None),
        Ending::Ended { at, reason } => (SessionState::Ended, Some(reason), Some(at)),
        Ending::Refused { at } => (SessionState::Refused, None, Some(at)),
        Ending::Lost { at } => (SessionState::Lost, None, Some(at)),
    };
    SessionView {
        session: row.session,
        started_at: row.started_at,
        state,
        reason,
        ended_at,
        identity: row.facts.as_deref().and_then(identity),
        facts: row.facts,
        statements: row.allowed.saturating_add(row.held).saturating_add(row.denied),
        denied: Some(row.denied),
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
    }
}
