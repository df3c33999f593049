//! Roles: who may do what in the API and the console, beside their own requests.

use portcullis_core::Principal;
use serde::{Deserialize, Serialize};

use crate::Subject;

/// A role. What each may do is the API's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees requests, sessions, connections, reach and policy; no recordings.
    Viewer,
    /// Sees the inbox. Whether a request may be answered is decided by that request's approvers alone.
    Approver,
    /// Sees recordings and searches the audit log.
    Auditor,
    /// May do everything: kill, lift, change the policy.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Approver, Self::Auditor, Self::Admin];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Viewer => 1,
            Self::Approver => 2,
            Self::Auditor => 4,
            Self::Admin => 8,
        }
    }
}

/// The roles somebody has. An admin has them all; approvers and auditors are viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RoleSet(u8);

impl RoleSet {
    /// No role.
    pub const NONE: Self = Self(0);

    /// This set with a role, and with those it implies.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        let implied = match role {
            Role::Viewer => 0,
            Role::Approver | Role::Auditor => Role::Viewer.bit(),
            Role::Admin => Role::Viewer.bit() | Role::Approver.bit() | Role::Auditor.bit(),
        };
        Self(self.0 | role.bit() | implied)
    }

    /// Whether the role is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether there is no role.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles, least first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

/// Who has which role: the documents' `roles`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roles(pub(crate) Vec<(Role, Vec<Subject>)>);

impl Roles {
    pub(crate) fn of(&self, principal: &Principal) -> RoleSet {
        self.0
            .iter()
            .filter(|(_, subjects)| subjects.iter().any(|subject| subject.matches(principal)))
            .fold(RoleSet::NONE, |set, (role, _)| set.with(*role))
    }
}
