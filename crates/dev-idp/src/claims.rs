//! What a token says: the claims Entra puts into access tokens, in both formats, for applications, agents and people.

use std::sync::Arc;

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_core::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    directory::{
        Api, Application, ApplicationKind, GRAPH_APP_ID, Lifetime, OptionalClaim, TokenVersion, User,
    },
    world::World,
};

/// Above this many groups a JWT says `_claim_names` instead.
const MAX_GROUPS: usize = 200;
/// The audience of tokens for Microsoft Graph.
pub(crate) const GRAPH: &str = "https://graph.microsoft.com";
/// The audience of tokens that serve as client assertions.
pub(crate) const TOKEN_EXCHANGE: &str = "api://AzureADTokenExchange";

/// What a token is for.
#[derive(Clone)]
pub(crate) struct Resource {
    /// The resource as the client named it.
    pub(crate) requested: String,
    kind: ResourceKind,
}

#[derive(Clone)]
enum ResourceKind {
    Api(Arc<Api>),
    Graph,
    TokenExchange,
}

impl Resource {
    /// The resource that a client names by identifier URI, `api://{client id}` or client id.
    pub(crate) fn find(world: &World, requested: &str) -> Option<Self> {
        let name = requested.trim_end_matches('/');
        let kind = if name == GRAPH || name.parse() == Ok(GRAPH_APP_ID) {
            ResourceKind::Graph
        } else if name.eq_ignore_ascii_case(TOKEN_EXCHANGE) {
            ResourceKind::TokenExchange
        } else {
            let id: Option<Uuid> = name.strip_prefix("api://").unwrap_or(name).parse().ok();
            let named = |api: &&Arc<Api>| {
                Some(api.client_id) == id
                    || api.identifier_uris.iter().any(|uri| uri.trim_end_matches('/') == name)
            };
            ResourceKind::Api(Arc::clone(world.apis.iter().find(named)?))
        };
        Some(Self { requested: requested.to_owned(), kind })
    }

    /// The format of tokens for it.
    pub(crate) fn version(&self) -> TokenVersion {
        match &self.kind {
            ResourceKind::Api(api) => api.requested_access_token_version,
            ResourceKind::Graph => TokenVersion::V1,
            ResourceKind::TokenExchange => TokenVersion::V2,
        }
    }

    /// Whether it is the audience of client assertions.
    pub(crate) const fn is_token_exchange(&self) -> bool {
        matches!(self.kind, ResourceKind::TokenExchange)
    }

    /// How long its tokens live, where it says so itself.
    pub(crate) fn lifetime(&self) -> Option<Lifetime> {
        match &self.kind {
            ResourceKind::Api(api) => api.token_lifetime,
            ResourceKind::Graph | ResourceKind::TokenExchange => None,
        }
    }

    fn audience(&self, version: TokenVersion) -> String {
        match &self.kind {
            ResourceKind::Api(api) if version == TokenVersion::V2 || self.wants(OptionalClaim::UseGuid) => {
                api.client_id.to_string()
            }
            ResourceKind::TokenExchange => TOKEN_EXCHANGE.to_owned(),
            ResourceKind::Api(_) | ResourceKind::Graph => self.requested.clone(),
        }
    }

    fn has_groups(&self) -> bool {
        matches!(&self.kind, ResourceKind::Api(api) if api.group_membership_claims)
    }

    fn wants(&self, claim: OptionalClaim) -> bool {
        matches!(&self.kind, ResourceKind::Api(api) if api.optional_claims.contains(&claim))
    }

    fn roles<'a>(&self, app: &'a Application) -> &'a [String] {
        match self.kind {
            ResourceKind::Api(_) => &app.roles,
            ResourceKind::Graph => &app.graph_permissions,
            ResourceKind::TokenExchange => &[],
        }
    }
}

/// How a client proved itself: the `azpacr` or `appidacr` claim.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientProof {
    Public,
    Secret,
    Assertion,
}

impl ClientProof {
    const fn claim(self) -> &'static str {
        match self {
            Self::Public => "0",
            Self::Secret => "1",
            Self::Assertion => "2",
        }
    }
}

/// Whether and how a token tells groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GroupsForm {
    /// As the resource, the number of groups and the identity's overage flag have it.
    #[default]
    Natural,
    Overage,
    Absent,
}

/// Where and when a token is issued.
pub(crate) struct Issuance<'a> {
    pub(crate) authority: &'a str,
    pub(crate) tenant: Uuid,
    pub(crate) now: Timestamp,
    pub(crate) lifetime: Lifetime,
    pub(crate) version: TokenVersion,
    pub(crate) resource: &'a Resource,
    pub(crate) groups: GroupsForm,
}

/// The issuer of tokens in that format.
pub(crate) fn issuer(authority: &str, tenant: &str, version: TokenVersion) -> String {
    match version {
        TokenVersion::V1 => format!("{authority}/{tenant}/"),
        TokenVersion::V2 => format!("{authority}/{tenant}/v2.0"),
    }
}

impl Issuance<'_> {
    /// Claims of an app-only token.
    pub(crate) fn app(&self, world: &World, app: &Application, proof: ClientProof) -> Map<String, Value> {
        let mut claims = self.common(app.client_id, proof);
        set(&mut claims, "oid", json!(app.object_id));
        set(&mut claims, "sub", json!(app.object_id));
        if self.resource.wants(OptionalClaim::Idtyp) || matches!(self.resource.kind, ResourceKind::Graph) {
            set(&mut claims, "idtyp", json!("app"));
        }
        let roles = self.resource.roles(app);
        if !roles.is_empty() {
            set(&mut claims, "roles", json!(roles));
        }
        if matches!(self.resource.kind, ResourceKind::Graph) {
            set(&mut claims, "app_displayname", json!(app.display_name));
        }
        match app.kind {
            ApplicationKind::Application => {}
            ApplicationKind::Agent => {
                // 11 = AgentIdentity; the other odd numbers stand for facts that a reader must ignore.
                set(&mut claims, "xms_act_fct", json!("9 3 11"));
                set(&mut claims, "xms_sub_fct", json!("3 11 9"));
                set(&mut claims, "xms_tnt_fct", json!("3 5"));
                set(&mut claims, "xms_idrel", json!("7"));
                if let Some(parent) = app.parent_application {
                    set(&mut claims, "xms_par_app_azp", json!(parent));
                }
            }
            ApplicationKind::ManagedIdentity => set(&mut claims, "xms_idrel", json!("33")),
        }
        self.add_groups(&mut claims, world, app.object_id, "servicePrincipals", app.groups_overage);
        claims
    }

    /// Claims of a token for a client acting for a person.
    pub(crate) fn user(
        &self,
        world: &World,
        user: &User,
        client: Uuid,
        proof: ClientProof,
        scope: &str,
    ) -> Map<String, Value> {
        let mut claims = self.common(client, proof);
        set(&mut claims, "oid", json!(user.object_id));
        set(&mut claims, "sub", json!(pairwise(client, &self.resource.requested, user.object_id)));
        set(&mut claims, "scp", json!(scope));
        set(&mut claims, "name", json!(user.name));
        match self.version {
            TokenVersion::V1 => {
                set(&mut claims, "upn", json!(user.name));
                set(&mut claims, "unique_name", json!(user.name));
                set(&mut claims, "amr", json!(["pwd"]));
            }
            TokenVersion::V2 => set(&mut claims, "preferred_username", json!(user.name)),
        }
        self.add_groups(&mut claims, world, user.object_id, "users", user.groups_overage);
        claims
    }

    /// Claims of an ID token: always in the v2.0 format, for the client itself, without groups.
    pub(crate) fn id_token(&self, user: &User, client: Uuid, nonce: Option<&str>) -> Map<String, Value> {
        let iat = self.now.as_seconds();
        let issuer = issuer(self.authority, &self.tenant.to_string(), TokenVersion::V2);
        let mut claims = Map::new();
        set(&mut claims, "iss", json!(issuer));
        set(&mut claims, "aud", json!(client));
        set(&mut claims, "iat", json!(iat));
        set(&mut claims, "nbf", json!(iat));
        set(&mut claims, "exp", json!(self.now.plus(self.lifetime.duration()).as_seconds()));
        set(&mut claims, "tid", json!(self.tenant));
        set(&mut claims, "oid", json!(user.object_id));
        set(&mut claims, "sub", json!(pairwise(client, "", user.object_id)));
        set(&mut claims, "name", json!(user.name));
        set(&mut claims, "preferred_username", json!(user.name));
        set(&mut claims, "uti", json!(random()));
        set(&mut claims, "ver", json!(TokenVersion::V2.to_string()));
        if let Some(nonce) = nonce {
            set(&mut claims, "nonce", json!(nonce));
        }
        claims
    }

    fn common(&self, client: Uuid, proof: ClientProof) -> Map<String, Value> {
        let iat = self.now.as_seconds();
        let issuer = issuer(self.authority, &self.tenant.to_string(), self.version);
        let mut claims = Map::new();
        set(&mut claims, "aud", json!(self.resource.audience(self.version)));
        set(&mut claims, "iat", json!(iat));
        set(&mut claims, "nbf", json!(iat));
        set(&mut claims, "exp", json!(self.now.plus(self.lifetime.duration()).as_seconds()));
        set(&mut claims, "tid", json!(self.tenant));
        set(&mut claims, "uti", json!(random()));
        set(&mut claims, "aio", json!(random()));
        set(&mut claims, "ver", json!(self.version.to_string()));
        if self.resource.wants(OptionalClaim::XmsCc) {
            set(&mut claims, "xms_cc", json!(["cp1"]));
        }
        match self.version {
            TokenVersion::V1 => {
                set(&mut claims, "appid", json!(client));
                set(&mut claims, "appidacr", json!(proof.claim()));
                set(&mut claims, "idp", json!(issuer));
            }
            TokenVersion::V2 => {
                set(&mut claims, "azp", json!(client));
                set(&mut claims, "azpacr", json!(proof.claim()));
            }
        }
        set(&mut claims, "iss", json!(issuer));
        claims
    }

    /// Groups as object ids, or the sign that they must be asked for. An identity in no group has neither.
    fn add_groups(
        &self,
        claims: &mut Map<String, Value>,
        world: &World,
        oid: Uuid,
        segment: &str,
        overage: bool,
    ) {
        let groups = world.groups_of(oid);
        let natural = self.groups == GroupsForm::Natural;
        if self.groups == GroupsForm::Absent || (natural && !self.resource.has_groups()) {
            return;
        }
        if !natural || overage || groups.len() > MAX_GROUPS {
            // As in Entra, an address of the retired Azure AD Graph: a verifier must not follow it.
            let endpoint =
                format!("https://graph.windows.net/{}/{segment}/{oid}/getMemberObjects", self.tenant);
            set(claims, "_claim_names", json!({ "groups": "src1" }));
            set(claims, "_claim_sources", json!({ "src1": { "endpoint": endpoint } }));
        } else if !groups.is_empty() {
            set(claims, "groups", json!(groups));
        }
    }
}

/// Sixteen random bytes as text: token ids, trace ids, authorization codes.
pub(crate) fn random() -> String {
    let mut bytes = [0; 16];
    match rand::fill(&mut bytes) {
        Ok(()) => URL_SAFE_NO_PAD.encode(bytes),
        Err(_) => URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes()),
    }
}

/// A subject that differs for each client and resource, as Entra's `sub` for people does.
pub(crate) fn pairwise(client: Uuid, resource: &str, user: Uuid) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{client} {resource} {user}").as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}

pub(crate) fn set(claims: &mut Map<String, Value>, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}
