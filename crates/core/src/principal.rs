//! Principals: authenticated subjects, and the facts an identity provider stated about them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// An authenticated subject and the facts its token stated. Made by `identity`; nothing here is a proof (see
/// `portcullis_identity::Authenticated`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The identity provider's name in the documents.
    pub provider: String,
    /// The tenant (Entra `tid`), where the provider has tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The stable id inside the provider and tenant: Entra `oid`, else the configured subject claim.
    pub object_id: String,
    /// The application id of the client that got the token (`azp`, `appid`, `client_id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    /// The parent application of an Entra Agent ID (`xms_par_app_azp`): audited, never authorised on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_application: Option<String>,
    /// What sort of subject this is.
    pub kind: PrincipalKind,
    /// A name for people to read. Never a key.
    pub name: String,
    /// The token's own id (`uti`, `jti`), else a keyed digest prefix of the token.
    pub token_id: String,
    /// Groups: as stated by the token or resolved through the directory.
    pub groups: Vec<GroupRef>,
    /// Roles stated by the token.
    pub roles: Vec<String>,
    /// When delegated: who acts (`act.sub`, or the agent's application id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// When delegated: on whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the token was issued.
    pub issued_at: Timestamp,
    /// When the token expires.
    pub expires_at: Timestamp,
}

impl Principal {
    /// What identifies this principal: never a name.
    pub fn key(&self) -> PrincipalKey {
        PrincipalKey {
            provider: self.provider.clone(),
            tenant: self.tenant.clone(),
            object_id: self.object_id.clone(),
        }
    }
}

/// Sorts of principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// An application or workload: service principal, managed identity, service account.
    Application,
    /// An AI agent identity (Entra Agent ID and the like).
    Agent,
    /// A person.
    User,
}

/// Identifies a principal: (provider, tenant, object id). Prints as `provider/tenant/object`, or `provider/object`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrincipalKey {
    /// The identity provider's name.
    pub provider: String,
    /// The tenant, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The object id or subject.
    pub object_id: String,
}

impl fmt::Display for PrincipalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "{}/{}/{}", self.provider, tenant, self.object_id),
            None => write!(f, "{}/{}", self.provider, self.object_id),
        }
    }
}

/// A group a principal is in: the provider's id, and the friendly name the documents give it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupRef {
    /// The provider's id for the group (Entra: object id).
    pub id: String,
    /// The friendly name of `identity.groups`, where the documents map one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
