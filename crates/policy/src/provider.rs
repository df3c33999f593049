//! Identity providers as the documents configure them. `identity` verifies tokens by them.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use url::Url;

use crate::SecretRef;

/// One identity provider. Equal ones verify alike, wherever they stand, so caches of an unchanged provider may be kept.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Its name in the documents; part of every principal's key.
    pub name: String,
    /// Which sort, with what only that sort has.
    pub kind: ProviderKind,
    /// The audiences a token may be for; never empty.
    pub audience: Vec<String>,
    /// Friendly name -> the provider's id of the group.
    pub groups: BTreeMap<String, String>,
    /// Signature algorithms accepted; never empty, never `none`, never symmetric.
    pub algorithms: Vec<Algorithm>,
    /// The header `typ` values accepted, lower case, without `application/`; an absent `typ` is accepted where `jwt` is listed.
    pub types: Vec<String>,
    /// Whether, and how, the directory is asked if the identity is still good.
    pub liveness: Option<GraphLiveness>,
    /// Whether tokens of people are accepted too (`users: allow`).
    pub allow_users: bool,
    /// How people sign in with it; absent: nobody does.
    pub sign_in: Option<SignIn>,
    /// `file:line`.
    pub location: String,
}

impl PartialEq for ProviderConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            kind,
            audience,
            groups,
            algorithms,
            types,
            liveness,
            allow_users,
            sign_in,
            location: _,
        } = self;
        *name == other.name
            && *kind == other.kind
            && *audience == other.audience
            && *groups == other.groups
            && *algorithms == other.algorithms
            && *types == other.types
            && *liveness == other.liveness
            && *allow_users == other.allow_users
            && *sign_in == other.sign_in
    }
}

impl Eq for ProviderConfig {}

/// Signing people in to the console and the CLI: the application they sign in to, registered with the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The application's (client) id.
    pub client_id: String,
    /// Its secret; absent: a public client, which PKCE alone protects.
    pub client_secret: Option<SecretRef>,
    /// What is asked for; never empty.
    pub scopes: Vec<String>,
    /// Which of the provider's tokens says who it is.
    pub token: SignInToken,
}

/// Which token of a sign-in says who it is. It is verified like any other: its audience is one of the provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SignInToken {
    /// The access token.
    #[default]
    Access,
    /// The id token, whose audience is the application itself.
    Id,
}

impl SignInToken {
    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Id => "id",
        }
    }
}

/// Sorts of identity providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// Microsoft Entra ID, one tenant.
    Entra(Entra),
    /// Any OpenID Connect issuer.
    Oidc(Oidc),
}

impl ProviderKind {
    /// The word used in documents.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Entra(_) => "entra",
            Self::Oidc(_) => "oidc",
        }
    }
}

/// What only an Entra provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entra {
    /// The tenant's id, a GUID in lower case.
    pub tenant: String,
    /// Which cloud it lives in.
    pub cloud: Cloud,
    /// Replaces the cloud's login host; loopback only (dev-idp).
    pub authority: Option<Url>,
    /// Replaces the cloud's Graph host; loopback only (dev-idp).
    pub graph: Option<Url>,
}

impl Entra {
    /// The base of the authority: `https://login.microsoftonline.com`, without a slash at the end.
    pub fn authority_base(&self) -> String {
        self.authority.as_ref().map_or_else(|| self.cloud.authority().to_owned(), trim)
    }

    /// The base of Graph: `https://graph.microsoft.com`, without a slash at the end.
    pub fn graph_base(&self) -> String {
        self.graph.as_ref().map_or_else(|| self.cloud.graph().to_owned(), trim)
    }
}

fn trim(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The Microsoft clouds. Hosts: learn.microsoft.com, "National clouds"; Germany closed in 2021.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Cloud {
    /// Worldwide.
    #[default]
    Global,
    /// US Government.
    UsGov,
    /// China, operated by 21Vianet.
    China,
}

impl Cloud {
    /// Every cloud.
    pub const ALL: [Self; 3] = [Self::Global, Self::UsGov, Self::China];

    /// The word used in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::UsGov => "usgov",
            Self::China => "china",
        }
    }

    /// The login host, as a base URL.
    pub const fn authority(self) -> &'static str {
        match self {
            Self::Global => "https://login.microsoftonline.com",
            Self::UsGov => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }

    /// The Graph host, as a base URL.
    pub const fn graph(self) -> &'static str {
        match self {
            Self::Global => "https://graph.microsoft.com",
            Self::UsGov => "https://graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }
}

/// What only an OIDC provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// The issuer exactly as the token's `iss` must say it (so a string, not a normalised URL).
    pub issuer: String,
    /// Where the keys are; absent: by discovery.
    pub jwks: Option<JwksSource>,
    /// Where in the token the facts are.
    pub claims: ClaimPointers,
}

/// Where an issuer's keys are when there is no discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// A file with a JWK set.
    File(PathBuf),
    /// `https`, or `http` on loopback.
    Url(Url),
}

/// JSON pointers (RFC 6901) into the token's claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPointers {
    /// The stable id; default `/sub`.
    pub subject: String,
    /// Groups: an array of strings or a space-separated string. Absent: no groups.
    pub groups: Option<String>,
    /// Roles, likewise.
    pub roles: Option<String>,
    /// A name for people.
    pub name: Option<String>,
}

impl Default for ClaimPointers {
    fn default() -> Self {
        Self { subject: "/sub".to_owned(), groups: None, roles: None, name: None }
    }
}

/// Signature algorithms a token may use (RFC 7518 section 3.1, RFC 8037): asymmetric ones only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(UnknownAlgorithm)
    }
}

/// The text names no accepted algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an accepted signature algorithm")]
pub struct UnknownAlgorithm;

/// Asking Microsoft Graph (or dev-idp) whether an identity is enabled and which groups it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphLiveness {
    /// How often live sessions are checked. Default 10 s.
    pub interval: Duration,
    /// How long Graph may be unreachable before sessions end. Default 60 s.
    pub grace: Duration,
    /// What the gateway itself presents to Graph.
    pub credential: GraphCredential,
    /// Graph's base URL: the cloud's, or the loopback override. Without a slash at the end.
    pub graph: String,
}

/// The gateway's own identity towards Graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphCredential {
    /// Client credentials with a secret.
    Secret {
        /// The application (client) id.
        client_id: String,
        /// Its secret.
        client_secret: SecretRef,
    },
    /// Client credentials with a federated token (workload identity).
    Federated {
        /// The application (client) id.
        client_id: String,
        /// The file with the token, read at each use.
        token_file: PathBuf,
    },
    /// No `credential:` in the document: `AZURE_CLIENT_ID` with `AZURE_CLIENT_SECRET` or `AZURE_FEDERATED_TOKEN_FILE`
    /// from the gateway's environment, the names Azure's own libraries use.
    Environment,
}
