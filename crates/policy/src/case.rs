//! [`TestCase`]: one entry of a document's `tests:`, what `portcullis test` runs.

use std::{fmt, net::IpAddr};

use portcullis_core::{ConnectionName, GroupRef, Principal, PrincipalKind, Timestamp, Verdict};

/// One expectation about the policy.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    /// Who asks.
    pub identity: Who,
    /// For which connection.
    pub connection: ConnectionName,
    /// The statement, in the connection's own language; absent: only opening is asked about.
    pub statement: Option<String>,
    /// When; absent: 2026-01-05T12:00:00Z, a Monday at noon.
    pub now: Timestamp,
    /// From where; default 127.0.0.1.
    pub source: IpAddr,
    /// What the client calls itself.
    pub client: String,
    /// Whether windows of grants that need one are taken as open; default no.
    pub window: bool,
    /// Whether people said yes to whatever needs one: windows of approved grants, held operations. Default no.
    pub approved: bool,
    /// What should come out.
    pub expect: Expectation,
    /// The grant, guardrail or mask that should decide.
    pub rule: Option<String>,
    /// The names of the masks that should be in force, all of them; absent: any.
    pub masks: Option<Vec<String>>,
    /// `file:line`.
    pub location: String,
}

/// Someone to ask about: what a token and a directory would say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The provider's name; `None`: the only one, or the first.
    pub provider: Option<String>,
    /// The object id or subject.
    pub id: Option<String>,
    /// The application id.
    pub app: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// Groups, by friendly name or id.
    pub groups: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Whether it is a person.
    pub user: bool,
}

impl Who {
    /// The principal such a token would make under `policy`. Times are zero: nothing here is authenticated.
    pub fn principal(&self, policy: &crate::Policy) -> Principal {
        let provider = match &self.provider {
            Some(name) => policy.providers().iter().find(|provider| provider.name == *name),
            None => self.provider_of_groups(policy).or_else(|| policy.providers().first()),
        };
        let id = self.id.clone().unwrap_or_else(|| "00000000-0000-4000-8000-000000000000".to_owned());
        let groups = self.groups.iter().map(|name| group(provider.map(AsRef::as_ref), name)).collect();
        Principal {
            provider: provider
                .map_or_else(|| self.provider.clone().unwrap_or_default(), |provider| provider.name.clone()),
            tenant: provider.and_then(|provider| match &provider.kind {
                crate::ProviderKind::Entra(entra) => Some(entra.tenant.clone()),
                crate::ProviderKind::Oidc(_) => None,
            }),
            name: self.name.clone().or_else(|| self.app.clone()).unwrap_or_else(|| id.clone()),
            object_id: id,
            application_id: self.app.clone(),
            parent_application: None,
            kind: if self.user { PrincipalKind::User } else { PrincipalKind::Application },
            token_id: String::new(),
            groups,
            roles: self.roles.clone(),
            actor: None,
            subject: None,
            issued_at: Timestamp::default(),
            expires_at: Timestamp::MAX,
        }
    }

    fn provider_of_groups<'a>(
        &self,
        policy: &'a crate::Policy,
    ) -> Option<&'a std::sync::Arc<crate::ProviderConfig>> {
        policy
            .providers()
            .iter()
            .find(|provider| self.groups.iter().any(|name| provider.groups.contains_key(name)))
    }
}

fn group(provider: Option<&crate::ProviderConfig>, name: &str) -> GroupRef {
    match provider.and_then(|provider| provider.groups.get(name)) {
        Some(id) => GroupRef { id: id.clone(), name: Some(name.to_owned()) },
        None => {
            let friendly = provider.and_then(|provider| provider.groups.iter().find(|(_, id)| *id == name));
            GroupRef { id: name.to_owned(), name: friendly.map(|(name, _)| name.clone()) }
        }
    }
}

/// What a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// It passes.
    Allow,
    /// It is refused.
    Deny,
    /// It waits for a person.
    Hold,
    /// Opening needs a window first.
    NeedsRequest,
    /// Opening needs a window first, and that a person's yes.
    NeedsApproval,
}

impl Expectation {
    /// Every expectation.
    pub const ALL: [Self; 5] = [Self::Allow, Self::Deny, Self::Hold, Self::NeedsRequest, Self::NeedsApproval];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Hold => "hold",
            Self::NeedsRequest => "needs-request",
            Self::NeedsApproval => "needs-approval",
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Verdict> for Expectation {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Allow,
            Verdict::Hold => Self::Hold,
            Verdict::Deny => Self::Deny,
        }
    }
}
