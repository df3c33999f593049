//! Who is asking, who is known, what became of notices, how the audit log is proven; pages and problems.

use std::{fmt, str::FromStr};

use portcullis_core::{GroupRef, Timestamp};
use portcullis_record::View;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::DiagnosticView;
use crate::schema;

/// A problem's body (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemBody {
    /// `urn:portcullis:problem:<slug>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What sort of problem, the same for every one of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here.
    pub detail: String,
    /// What to do next, if there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What is wrong with documents, finding by finding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticView>,
}

/// A page of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor of the next page; absent where this one is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Whether somebody is signed in, and how to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeView {
    /// Whether this request came from somebody known.
    pub signed_in: bool,
    /// What identifies them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Their readable name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `application`, `agent`, `user`, or `administrator` for the admin token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What they may do: `viewer`, `approver`, `auditor`, `admin`.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What writes by cookie carry in `X-Portcullis-CSRF`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
    /// When the session ends whatever happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub ends_at: Option<Timestamp>,
    /// After how many seconds without a request the session ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
    /// With what people sign in.
    #[serde(default)]
    pub providers: Vec<ProviderView>,
    /// The gateway's version.
    #[serde(default)]
    pub version: String,
}

/// A provider that people sign in with. Nothing of it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderView {
    /// Its name in the documents.
    pub name: String,
    /// `entra` or `oidc`.
    pub kind: String,
    /// Whose discovery document to read.
    pub issuer: String,
    /// The application to sign in to.
    pub client_id: String,
    /// What to ask for.
    pub scopes: Vec<String>,
    /// Whether it has the device flow (RFC 8628).
    pub device: bool,
    /// Which token to present to the gateway: `access` or `id`.
    pub token: String,
}

/// An identity the gateway has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityView {
    /// What identifies it.
    pub key: String,
    /// Its readable name.
    pub name: String,
    /// `application`, `agent` or `user`.
    pub kind: String,
    /// The application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    /// Its groups when it was last seen.
    #[serde(default)]
    #[schemars(with = "Vec<schema::GroupRef>")]
    pub groups: Vec<GroupRef>,
    /// When it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub last_seen_at: Option<Timestamp>,
    /// Until when an administrator keeps it out of everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub blocked_until: Option<Timestamp>,
}

/// What identities reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachView {
    /// Identities with their ways.
    pub rows: Vec<ReachRow>,
    /// Every connection of the policy.
    pub connections: Vec<String>,
    /// The policy's version.
    pub policy: String,
}

/// One identity and its ways. Without an identity: the ways of everybody to the connection that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachRow {
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityView>,
    /// Each grant that gives access, as `portcullis reach` prints it as JSON.
    pub ways: Vec<serde_json::Value>,
}

/// How the audit log is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofView {
    /// The name of the key that signs: `portcullis/3f0c…`.
    pub key: String,
    /// Events in the journal.
    pub events: u64,
    /// The last signed checkpoint.
    pub checkpoint: CheckpointView,
    /// Events not yet covered by it.
    pub lag: u64,
    /// Why signing fails, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A signed checkpoint of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointView {
    /// How many events it covers.
    pub size: u64,
    /// The tree's root, base64.
    pub root: String,
    /// When it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub at: Option<Timestamp>,
    /// The signed note.
    pub note: String,
}

/// One notice on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryView {
    /// Its id: `<notice>/<channel>`.
    pub id: String,
    /// When this was recorded.
    #[schemars(with = "schema::Time")]
    pub at: Timestamp,
    /// The channel's name in the documents.
    pub notification: String,
    /// `slack`, `teams`, `webhook`, `email`; empty where the channel is gone.
    #[serde(default)]
    pub kind: String,
    /// What happened: `requested`, `held`, ….
    pub event: String,
    /// The request it is about.
    pub request: String,
    /// `queued`, `delivered`, `retrying` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Time>")]
    pub next_at: Option<Timestamp>,
}

/// A piece of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordingPage {
    /// Events, in order, as `GET /sessions/{id}/recording` has them line by line.
    #[schemars(with = "Vec<schema::Anything>")]
    pub rows: Vec<View>,
    /// The `seq` to ask from next; absent where the recording ends here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Whether the session goes on.
    pub live: bool,
}

/// Names one event of a stream: `<epoch>-<number>`. Numbers of one epoch follow each other; a restart begins another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId {
    /// Which run of the gateway.
    pub epoch: String,
    /// Which event.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, number) = text.split_once('-').ok_or(())?;
        let is_good =
            !epoch.is_empty() && epoch.len() <= 32 && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match (is_good, number.parse()) {
            (true, Ok(number)) => Ok(Self { epoch: epoch.to_owned(), number }),
            _ => Err(()),
        }
    }
}
