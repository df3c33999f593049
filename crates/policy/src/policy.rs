//! The checked policy: what every decision is made from. Immutable; a changed document makes a new one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use portcullis_core::{ConnectionName, Principal};

use crate::{
    Connection, Grant, Guardrail, Mask, Notification, ProviderConfig, RoleSet, SessionMasks, SessionRules,
    TestCase, mask::Masks, role::Roles,
};

/// A checked policy. Made by [`crate::check`] only.
#[derive(Debug)]
pub struct Policy {
    version: Arc<str>,
    providers: Vec<Arc<ProviderConfig>>,
    connections: BTreeMap<ConnectionName, Arc<Connection>>,
    grants: Vec<Arc<Grant>>,
    by_connection: HashMap<ConnectionName, Vec<Arc<Grant>>>,
    guardrails: Vec<Arc<Guardrail>>,
    masks: Masks,
    roles: Roles,
    notifications: Vec<Arc<Notification>>,
    tests: Vec<TestCase>,
    retention: Retention,
}

/// How long evidence is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Recordings. Default 90 days.
    pub recordings: Duration,
    /// Audit payloads. Default 400 days.
    pub audit: Duration,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Retention {
    fn default() -> Self {
        Self { recordings: DAY.saturating_mul(90), audit: DAY.saturating_mul(400) }
    }
}

/// What a policy is made from.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) version: String,
    pub(crate) providers: Vec<Arc<ProviderConfig>>,
    pub(crate) connections: BTreeMap<ConnectionName, Arc<Connection>>,
    pub(crate) grants: Vec<Arc<Grant>>,
    pub(crate) guardrails: Vec<Arc<Guardrail>>,
    pub(crate) masks: Masks,
    pub(crate) roles: Roles,
    pub(crate) notifications: Vec<Arc<Notification>>,
    pub(crate) tests: Vec<TestCase>,
    pub(crate) retention: Retention,
}

impl Policy {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut by_connection: HashMap<ConnectionName, Vec<Arc<Grant>>> = HashMap::new();
        for grant in &parts.grants {
            by_connection.entry(grant.connection.clone()).or_default().push(Arc::clone(grant));
        }
        Self {
            version: parts.version.into(),
            providers: parts.providers,
            connections: parts.connections,
            grants: parts.grants,
            by_connection,
            guardrails: parts.guardrails,
            masks: parts.masks,
            roles: parts.roles,
            notifications: parts.notifications,
            tests: parts.tests,
            retention: parts.retention,
        }
    }

    /// First 16 hex digits of SHA-256 over the documents: the same documents, the same version.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The identity providers.
    pub fn providers(&self) -> &[Arc<ProviderConfig>] {
        &self.providers
    }

    /// A connection by name.
    pub fn connection(&self, name: &ConnectionName) -> Option<&Arc<Connection>> {
        self.connections.get(name)
    }

    /// Every connection, by name.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.values()
    }

    /// Every grant, as written.
    pub fn grants(&self) -> &[Arc<Grant>] {
        &self.grants
    }

    /// Every guardrail, as written.
    pub fn guardrails(&self) -> &[Arc<Guardrail>] {
        &self.guardrails
    }

    /// Every mask, as written.
    pub fn masks(&self) -> &[Arc<Mask>] {
        self.masks.all()
    }

    /// The masks that bind the principal on the connection, whatever it is granted; `None` where none does.
    pub fn session_masks(&self, connection: &Connection, principal: &Principal) -> Option<Arc<SessionMasks>> {
        self.masks.of_session(connection, principal)
    }

    /// The roles the principal has in the API and the console.
    pub fn roles(&self, principal: &Principal) -> RoleSet {
        self.roles.of(principal)
    }

    /// Every notifier, as written.
    pub fn notifications(&self) -> &[Arc<Notification>] {
        &self.notifications
    }

    /// The `tests:` of the documents.
    pub fn tests(&self) -> &[TestCase] {
        &self.tests
    }

    /// How long evidence is kept.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// The grants of a connection that name the principal (in `to` or `break_glass`), as written, conditions not yet looked at. None: default deny.
    pub fn grants_to(&self, principal: &Principal, connection: &ConnectionName) -> Vec<Arc<Grant>> {
        let grants = self.by_connection.get(connection).map(Vec::as_slice).unwrap_or_default();
        grants.iter().filter(|grant| grant.is_to(principal)).map(Arc::clone).collect()
    }

    /// What a session on `connection` under `grants` may do: the grants' scopes together, less what guardrails say.
    pub fn session_rules(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        grants: &[Arc<Grant>],
        principal: &Principal,
    ) -> Arc<SessionRules> {
        Arc::new(SessionRules::new(self, connection, grants, principal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_shared_between_tasks() {
        const fn shared<T: Send + Sync + 'static>() {}
        shared::<Policy>();
        shared::<SessionRules>();
    }
}
