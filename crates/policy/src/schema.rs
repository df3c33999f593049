//! The JSON Schemas of both documents, for editors. The types below mirror what the reader accepts; a test holds their
//! properties equal to the reader's tables of keys.
//!
//! They are never deserialised into: the reader reports with places, and a schema cannot.

#![expect(dead_code, reason = "the fields exist for the schema only")]

mod gateway;
mod people;
mod policy;

use serde_json::Value;

/// The schema of `gateway.yaml`.
pub fn gateway_schema() -> Value {
    finish(schemars::schema_for!(gateway::Gateway), "Portcullis process file (gateway.yaml)")
}

/// The schema of policy documents.
pub fn policy_schema() -> Value {
    finish(schemars::schema_for!(policy::PolicyDocument), "Portcullis policy document")
}

fn finish(schema: schemars::Schema, title: &str) -> Value {
    let mut schema = schema.to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), Value::String(title.to_owned()));
    }
    schema
}

/// (definition, the reader's keys) for every map with fixed keys: what the drift test compares.
#[doc(hidden)]
pub fn key_tables() -> Vec<(&'static str, &'static [&'static str])> {
    use crate::documents::keys as k;
    [
        ("Gateway", &k::GATEWAY),
        ("Listen", &k::LISTEN),
        ("ListenerLong", &k::LISTENER),
        ("TlsFiles", &k::TLS_FILES),
        ("Journal", &k::JOURNAL),
        ("Limits", &k::LIMITS),
        ("ProxyProtocol", &k::PROXY_PROTOCOL),
        ("Log", &k::LOG),
        ("Console", &k::CONSOLE),
        ("PolicyDocument", &k::POLICY),
        ("EntraProvider", &k::PROVIDER_ENTRA),
        ("OidcProvider", &k::PROVIDER_OIDC),
        ("SignIn", &k::SIGN_IN),
        ("Claims", &k::CLAIMS),
        ("Liveness", &k::LIVENESS),
        ("LivenessCredential", &k::LIVENESS_CREDENTIAL),
        ("Connection", &k::CONNECTION),
        ("UpstreamTls", &k::UPSTREAM_TLS),
        ("Credential", &k::CREDENTIAL),
        ("Grant", &k::GRANT),
        ("Guardrail", &k::GUARDRAIL),
        ("Mask", &k::MASK),
        ("OwnDetector", &k::DETECTOR),
        ("Roles", &k::ROLES),
        ("SlackNotifier", &k::NOTIFY_SLACK),
        ("TeamsNotifier", &k::NOTIFY_TEAMS),
        ("WebhookNotifier", &k::NOTIFY_WEBHOOK),
        ("EmailNotifier", &k::NOTIFY_EMAIL),
        ("Smtp", &k::SMTP),
        ("Test", &k::TEST),
        ("Who", &k::WHO),
        ("Retention", &k::RETENTION),
    ]
    .map(|(definition, keys)| (definition, keys.keys))
    .to_vec()
}
