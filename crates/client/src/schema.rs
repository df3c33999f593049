//! Shapes of the core's types, for the API's description: the core itself knows nothing of schemas.

use schemars::JsonSchema;

/// A point in time, RFC 3339.
#[derive(JsonSchema)]
#[schemars(inline, extend("format" = "date-time"))]
pub struct Time(#[expect(dead_code, reason = "a shape only")] String);

/// Any JSON.
#[derive(JsonSchema)]
#[schemars(inline)]
pub struct Anything(#[expect(dead_code, reason = "a shape only")] serde_json::Value);

/// A rule and where it stands.
#[derive(JsonSchema)]
#[schemars(rename = "RuleRef")]
#[expect(missing_docs, reason = "a shape only: see core::RuleRef")]
pub struct RuleRef {
    pub kind: String,
    pub name: String,
    pub location: Option<String>,
}

/// A group, by id and friendly name.
#[derive(JsonSchema)]
#[schemars(rename = "GroupRef")]
#[expect(missing_docs, reason = "a shape only: see core::GroupRef")]
pub struct GroupRef {
    pub id: String,
    pub name: Option<String>,
}

/// An authenticated subject and what its provider says of it.
#[derive(JsonSchema)]
#[schemars(rename = "Principal")]
#[expect(missing_docs, reason = "a shape only: see core::Principal")]
pub struct Principal {
    pub provider: String,
    pub tenant: Option<String>,
    pub object_id: String,
    pub application_id: Option<String>,
    pub parent_application: Option<String>,
    pub kind: String,
    pub name: String,
    pub token_id: String,
    pub groups: Vec<GroupRef>,
    pub roles: Vec<String>,
    pub actor: Option<String>,
    pub subject: Option<String>,
    pub issued_at: Time,
    pub expires_at: Time,
}

/// What identifies a principal.
#[derive(JsonSchema)]
#[schemars(rename = "PrincipalKey")]
#[expect(missing_docs, reason = "a shape only: see core::PrincipalKey")]
pub struct PrincipalKey {
    pub provider: String,
    pub tenant: Option<String>,
    pub object_id: String,
}

/// Where a transport came from.
#[derive(JsonSchema)]
#[schemars(rename = "Source")]
#[expect(missing_docs, reason = "a shape only: see core::Source")]
pub struct Source {
    pub address: String,
    pub via: Option<String>,
}

/// What is fixed for a session.
#[derive(JsonSchema)]
#[schemars(rename = "SessionFacts")]
#[expect(missing_docs, reason = "a shape only: see core::SessionFacts")]
pub struct SessionFacts {
    pub session: String,
    pub started_at: Time,
    pub protocol: String,
    pub source: Source,
    pub client: String,
    pub principal: Option<Principal>,
    pub connection: Option<String>,
    pub database: Option<String>,
    pub grants: Option<Vec<String>>,
    pub window: Option<String>,
    pub ends_at: Option<Time>,
}

/// One opening of a grant for one principal.
#[derive(JsonSchema)]
#[schemars(rename = "Window")]
#[expect(missing_docs, reason = "a shape only: see access::Window")]
pub struct Window {
    pub id: String,
    pub principal: PrincipalKey,
    pub name: String,
    pub grant: String,
    pub connection: String,
    pub reason: String,
    pub opened_at: Time,
    pub ends_at: Time,
}

/// Why a session ended.
#[derive(JsonSchema)]
#[schemars(rename = "EndReason")]
#[expect(missing_docs, reason = "a shape only: see core::EndReason")]
pub struct EndReason {
    pub why: String,
    pub detail: Option<String>,
    pub by: Option<String>,
    pub reason: Option<String>,
}
