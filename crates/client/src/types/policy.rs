//! The policy and its documents on the wire.

use portcullis_core::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyView {
    /// Its version.
    pub version: String,
    /// When it came into force.
    #[schemars(with = "schema::Time")]
    pub loaded_at: Timestamp,
    /// How many connections it has.
    pub connections: u64,
    /// How many grants it has.
    pub grants: u64,
    /// Its warnings, as `portcullis check` prints them; empty where there are none.
    pub warnings: String,
    /// The last change that was refused, if it is still what the documents say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
}

/// A change that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// When it was seen.
    #[schemars(with = "schema::Time")]
    pub at: Timestamp,
    /// Why, as `portcullis check` prints it.
    pub errors: String,
    /// The same, finding by finding; empty where the documents could not even be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticView>,
}

/// One finding in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiagnosticView {
    /// `error` or `warning`.
    pub severity: String,
    /// The document.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub help: Vec<String>,
    /// The offending text, at most one line of it.
    #[serde(default)]
    pub text: String,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentFile {
    /// Its name.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// The documents of the policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentsView {
    /// `files`: they come from the gateway's disk and are changed there. `api`: they are replaced here.
    pub managed: String,
    /// The version of the policy they are.
    #[serde(default)]
    pub version: String,
    /// What a replacement must name.
    pub etag: String,
    /// The documents.
    pub files: Vec<DocumentFile>,
    /// What `check` finds in them.
    pub diagnostics: Vec<DiagnosticView>,
    /// The last change that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
}

/// Documents to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckBody {
    /// All of them.
    pub files: Vec<DocumentFile>,
}

/// Documents to put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceBody {
    /// All of them.
    pub files: Vec<DocumentFile>,
}

/// What `check` says of documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyChecked {
    /// Whether they could be put in force.
    pub ok: bool,
    /// The version they would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What was found.
    pub diagnostics: Vec<DiagnosticView>,
}

/// A question to the policy: may this identity do this there?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainBody {
    /// A known identity, by key. Else `provider` and `groups` describe one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Of which provider; the first unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// In which groups, by friendly name or id.
    #[serde(default)]
    pub groups: Vec<String>,
    /// To which connection.
    pub connection: String,
    /// What; absent: only whether the connection opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// `open`: windows are taken as open; `none` (default): they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Whether people are taken as having said yes.
    #[serde(default)]
    pub approved: bool,
    /// From where; loopback unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<std::net::IpAddr>,
    /// Against these documents instead of those in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<DocumentFile>>,
}
