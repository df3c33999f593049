//! The directory: who exists, what they may ask tokens for, and which groups they are in. Read from YAML, or built in
//! code by tests.
//!
//! **Promises.** Unknown keys are errors; every contradiction is reported at once; a [`Directory`] that
//! [`Directory::check`] accepted has no dangling or ambiguous name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use portcullis_core::Secret;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// The largest directory file that is read, in bytes: thousands of identities.
pub const MAX_FILE: usize = 4 * 1024 * 1024;
/// The longest name, secret, role or URI in a directory, in bytes.
const MAX_TEXT: usize = 1024;
/// Microsoft Graph's own application id: no directory entry may take it.
pub const GRAPH_APP_ID: Uuid = Uuid::from_u128(0x0000_0003_0000_0000_c000_0000_0000_0000);

/// Everything the issuer knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The tenant id: first path segment of every issuer URL, and the `tid` claim.
    pub tenant: Uuid,
    /// How long access tokens live; Entra's average of 75 minutes unless said.
    #[serde(default)]
    pub token_lifetime: Lifetime,
    /// Resources that tokens are made for.
    #[serde(default)]
    pub apis: Vec<Api>,
    /// Clients that ask for tokens, each with its service principal.
    #[serde(default)]
    pub applications: Vec<Application>,
    /// People.
    #[serde(default)]
    pub users: Vec<User>,
    /// Groups of applications, people and other groups.
    #[serde(default)]
    pub groups: Vec<Group>,
}

/// A resource app registration: what decides the format of the tokens made for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Its application (client) id: the audience of v2.0 tokens.
    pub client_id: Uuid,
    /// For people to read.
    #[serde(default)]
    pub display_name: String,
    /// App ID URIs a client may name in `scope` or `resource`; the audience of v1.0 tokens.
    #[serde(default)]
    pub identifier_uris: Vec<String>,
    /// `requestedAccessTokenVersion` of the manifest.
    #[serde(default, alias = "requestedAccessTokenVersion")]
    pub requested_access_token_version: TokenVersion,
    /// `groupMembershipClaims` of the manifest: whether tokens carry `groups`.
    #[serde(default = "yes", alias = "groupMembershipClaims")]
    pub group_membership_claims: bool,
    /// Optional claims of access tokens; `[idtyp]` unless said.
    #[serde(default = "idtyp")]
    pub optional_claims: BTreeSet<OptionalClaim>,
    /// How long tokens for this resource live, where it differs from the directory's.
    #[serde(default)]
    pub token_lifetime: Option<Lifetime>,
}

/// The format of access tokens. As in Entra, absent means 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum TokenVersion {
    /// `iss` in the shape of `https://sts.windows.net/{tid}/`, client in `appid`.
    #[default]
    V1,
    /// `iss` ends in `/v2.0`, client in `azp`.
    V2,
}

/// A claim that a resource must ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionalClaim {
    /// `idtyp: app` on app-only tokens.
    Idtyp,
    /// `aud` is the client id in v1.0 tokens too.
    UseGuid,
    /// `xms_cc: [cp1]`: the client understands claims challenges.
    XmsCc,
}

/// A client, and its service principal in the tenant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The application (client) id.
    pub client_id: Uuid,
    /// The object id of its service principal: the `oid` claim.
    pub object_id: Uuid,
    /// Its name; group members may be given by it.
    pub display_name: String,
    /// The client secret. Without one only a client assertion (or a public client's sign-in) gets tokens.
    #[serde(default, deserialize_with = "secret")]
    pub secret: Option<Secret<String>>,
    /// Whether the service principal may get tokens.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What it is.
    #[serde(default)]
    pub kind: ApplicationKind,
    /// The blueprint's client id, for an agent: the `xms_par_app_azp` claim.
    #[serde(default)]
    pub parent_application: Option<Uuid>,
    /// App roles on the apis, for the `roles` claim.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Microsoft Graph application permissions, such as `Directory.Read.All`.
    #[serde(default)]
    pub graph_permissions: Vec<String>,
    /// The `sub` of client assertions it may present, minted by this same issuer (a federated credential).
    #[serde(default)]
    pub federated_subject: Option<String>,
    /// Where sign-in may send codes. A loopback URI matches with any port (RFC 8252, section 7.3).
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Whether people may sign in to it without its secret.
    #[serde(default)]
    pub public_client: bool,
    /// Leave `groups` out of its tokens and say `_claim_names` instead, as above 200 groups.
    #[serde(default)]
    pub groups_overage: bool,
}

/// What kind of service principal an application has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplicationKind {
    /// An ordinary app registration.
    #[default]
    Application,
    /// An Entra Agent ID agent identity, child of a blueprint.
    Agent,
    /// A managed identity of a machine or service.
    ManagedIdentity,
}

/// A person.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The object id: the `oid` claim.
    pub object_id: Uuid,
    /// The user principal name, or any name; group members may be given by it.
    pub name: String,
    /// Asked for at sign-in when given.
    #[serde(default, deserialize_with = "secret")]
    pub password: Option<Secret<String>>,
    /// Whether the person may sign in.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// As for applications.
    #[serde(default)]
    pub groups_overage: bool,
}

/// A security group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The object id: what the `groups` claim lists.
    pub object_id: Uuid,
    /// Its name; groups may be members of groups by it.
    pub display_name: String,
    /// Direct members: object ids, or names where the name is used once.
    #[serde(default)]
    pub members: Vec<String>,
}

/// A length of time written as `90s`, `75m` or `24h`: one second to 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(Duration);

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The file cannot be read.
    #[error("directory `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_FILE`].
    #[error("directory `{origin}` is larger than {MAX_FILE} bytes")]
    TooLarge {
        /// Where the text came from.
        origin: String,
    },
    /// The text is not YAML, or not in the shape of a directory. The message has line, column and the text around.
    #[error("directory `{origin}`: {message}")]
    Parse {
        /// Where the text came from.
        origin: String,
        /// The parser's message.
        message: String,
    },
    /// The parts do not fit together.
    #[error("directory: {}", .0.join("; "))]
    Invalid(
        /// Every problem, each a sentence naming the entry.
        Vec<String>,
    ),
}

impl Directory {
    /// Reads and checks a directory file.
    pub fn load(path: &Path) -> Result<Self, DirectoryError> {
        let read = |source| DirectoryError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > MAX_FILE as u64 {
            return Err(DirectoryError::TooLarge { origin: path.display().to_string() });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses and checks a directory; `origin` names the text in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, DirectoryError> {
        if text.len() > MAX_FILE {
            return Err(DirectoryError::TooLarge { origin: origin.to_owned() });
        }
        let directory: Self = serde_saphyr::from_str(text).map_err(|error| DirectoryError::Parse {
            origin: origin.to_owned(),
            message: error.to_string(),
        })?;
        directory.check()?;
        Ok(directory)
    }

    /// Whether the parts fit together: ids used once, members that exist, agents with a blueprint.
    pub fn check(&self) -> Result<(), DirectoryError> {
        let mut problems = Vec::new();
        self.check_ids(&mut problems);
        self.check_apis(&mut problems);
        self.check_applications(&mut problems);
        self.check_texts(&mut problems);
        let names = self.names();
        for group in &self.groups {
            for member in &group.members {
                if let Err(problem) = names.resolve(member) {
                    problems.push(format!("group `{}`: member {problem}", group.display_name));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(DirectoryError::Invalid(problems)) }
    }

    /// The names and ids that members may be given by.
    pub(crate) fn names(&self) -> Names {
        let mut names = Names::default();
        let applications = self.applications.iter().map(|app| (app.display_name.as_str(), app.object_id));
        let users = self.users.iter().map(|user| (user.name.as_str(), user.object_id));
        let groups = self.groups.iter().map(|group| (group.display_name.as_str(), group.object_id));
        for (name, id) in applications.chain(users).chain(groups) {
            names.add(name, id);
        }
        names
    }

    fn check_ids(&self, problems: &mut Vec<String>) {
        let mut objects = BTreeMap::new();
        let applications = self.applications.iter().map(|app| (app.object_id, &app.display_name));
        let users = self.users.iter().map(|user| (user.object_id, &user.name));
        let groups = self.groups.iter().map(|group| (group.object_id, &group.display_name));
        for (id, name) in applications.chain(users).chain(groups) {
            if let Some(other) = objects.insert(id, name) {
                problems.push(format!("object id `{id}` is used by `{other}` and by `{name}`"));
            }
        }
        let mut clients = BTreeMap::new();
        let apis = self.apis.iter().map(|api| (api.client_id, &api.display_name));
        let applications = self.applications.iter().map(|app| (app.client_id, &app.display_name));
        for (id, name) in apis.chain(applications) {
            if id == GRAPH_APP_ID {
                problems.push(format!("client id `{id}` of `{name}` is Microsoft Graph's own"));
            }
            if let Some(other) = clients.insert(id, name) {
                problems.push(format!("client id `{id}` is used by `{other}` and by `{name}`"));
            }
        }
    }

    fn check_apis(&self, problems: &mut Vec<String>) {
        let mut uris = BTreeSet::new();
        for uri in self.apis.iter().flat_map(|api| &api.identifier_uris) {
            if !uri.contains("://") {
                problems.push(format!(
                    "identifier uri `{uri}` has no scheme: expected such as `api://portcullis`"
                ));
            }
            if !uris.insert(uri.trim_end_matches('/')) {
                problems.push(format!("identifier uri `{uri}` is given twice"));
            }
        }
    }

    fn check_applications(&self, problems: &mut Vec<String>) {
        for app in &self.applications {
            let name = &app.display_name;
            match (app.kind, app.parent_application) {
                (ApplicationKind::Agent, None) => {
                    problems.push(format!(
                        "agent `{name}` needs `parent_application`: its blueprint's client id"
                    ));
                }
                (ApplicationKind::Application | ApplicationKind::ManagedIdentity, Some(_)) => {
                    problems.push(format!("`{name}` has `parent_application` but is not `kind: agent`"));
                }
                _ => {}
            }
            if app.secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
                problems.push(format!("the secret of `{name}` is empty"));
            }
            for uri in &app.redirect_uris {
                if !uri.starts_with("http://") && !uri.starts_with("https://") {
                    problems
                        .push(format!("redirect uri `{uri}` of `{name}` is neither http:// nor https://"));
                }
            }
        }
    }

    fn check_texts(&self, problems: &mut Vec<String>) {
        let apis = self.apis.iter().flat_map(|api| api.identifier_uris.iter().chain([&api.display_name]));
        let applications = self.applications.iter().flat_map(|app| {
            let lists = app.roles.iter().chain(&app.graph_permissions).chain(&app.redirect_uris);
            lists.chain(&app.federated_subject).chain([&app.display_name])
        });
        let users = self.users.iter().map(|user| &user.name);
        let groups = self.groups.iter().flat_map(|group| group.members.iter().chain([&group.display_name]));
        for text in apis.chain(applications).chain(users).chain(groups) {
            if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
                let start: String = text.chars().take(40).collect();
                problems.push(format!(
                    "`{}…` is over {MAX_TEXT} bytes or has control characters",
                    start.escape_debug()
                ));
            }
        }
    }
}

/// Object ids, and the names that stand for one.
#[derive(Default)]
pub(crate) struct Names {
    ids: BTreeSet<Uuid>,
    by_name: BTreeMap<String, Vec<Uuid>>,
}

impl Names {
    /// Lets `name`, and the id itself, stand for `id`.
    pub(crate) fn add(&mut self, name: &str, id: Uuid) {
        self.ids.insert(id);
        self.by_name.entry(name.to_owned()).or_default().push(id);
    }

    /// The object that an id or a name stands for; the error is the end of a sentence.
    pub(crate) fn resolve(&self, text: &str) -> Result<Uuid, String> {
        if let Ok(id) = text.parse::<Uuid>() {
            return if self.ids.contains(&id) {
                Ok(id)
            } else {
                Err(format!("`{text}` is no object id here"))
            };
        }
        match self.by_name.get(text).map(Vec::as_slice) {
            Some([id]) => Ok(*id),
            Some(_) => Err(format!("`{text}` is the name of several: give the object id")),
            None => Err(format!("`{text}` is neither an object id nor a name here")),
        }
    }
}

impl Lifetime {
    /// A lifetime of one second to 24 hours; `None` outside of that.
    pub fn new(duration: Duration) -> Option<Self> {
        let seconds = duration.as_secs();
        (duration.subsec_nanos() == 0 && (1..=86_400).contains(&seconds)).then_some(Self(duration))
    }

    /// The duration.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Default for Lifetime {
    fn default() -> Self {
        Self(Duration::from_secs(75 * 60))
    }
}

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a token lifetime: expected `1s` to `24h`, such as `75m`");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let number: u64 = text.strip_suffix(unit).ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        let seconds = number.checked_mul(factor).ok_or_else(wrong)?;
        Self::new(Duration::from_secs(seconds)).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<u8> for TokenVersion {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err(format!("`{number}` is not an access token version: expected 1 or 2")),
        }
    }
}

impl fmt::Display for TokenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        })
    }
}

fn yes() -> bool {
    true
}

fn idtyp() -> BTreeSet<OptionalClaim> {
    BTreeSet::from([OptionalClaim::Idtyp])
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}
