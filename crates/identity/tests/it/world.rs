//! An Entra tenant and an OIDC issuer on the tiny server, and an `Identity` that trusts them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_core::{Secret, Timestamp};
use portcullis_identity::{Authenticated, Error, Identity};
use portcullis_policy::{
    Algorithm, ClaimPointers, Cloud, Entra, GraphCredential, GraphLiveness, Oidc, ProviderConfig,
    ProviderKind, ResolveSecret, SecretError, SecretRef,
};
use portcullis_testkit::ManualClock;
use serde_json::{Value, json};

use crate::{
    mint::{Key, with},
    server::{Asked, Reply, Server},
};

pub const TENANT: &str = "4c5a0d3e-0000-4000-8000-000000000001";
pub const OTHER_TENANT: &str = "4c5a0d3e-0000-4000-8000-0000000000ff";
pub const GATEWAY: &str = "6b1f0f0e-0000-4000-8000-000000000002";
pub const AGENT: &str = "77aa0000-0000-4000-8000-000000000003";
pub const CLIENT: &str = "9f2c0000-0000-4000-8000-000000000004";
pub const GROUP: &str = "3fa80000-0000-4000-8000-000000000005";
pub const OTHER_GROUP: &str = "3fa80000-0000-4000-8000-000000000006";
pub const NOW: i64 = 1_790_000_000;

/// Secrets a test has.
pub struct Secrets(pub BTreeMap<String, String>);

impl ResolveSecret for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError> {
        let name = reference.to_string();
        match self.0.get(&name) {
            Some(value) => Ok(Secret::new(value.clone())),
            None => Err(SecretError { reference: name, detail: "not set".to_owned() }),
        }
    }
}

pub fn secrets() -> Arc<Secrets> {
    Arc::new(Secrets(BTreeMap::from([
        ("env:GRAPH_SECRET".to_owned(), "graph-s3cret".to_owned()),
        ("file:/run/token".to_owned(), "federated.token.text\n".to_owned()),
    ])))
}

/// What the server answers now.
pub struct State {
    pub issuer: String,
    pub keys: Value,
    pub cloud: Value,
    pub broken: Option<Reply>,
    pub graph: Box<dyn Fn(&Asked) -> Reply + Send>,
}

pub struct World {
    pub server: Server,
    pub state: Arc<Mutex<State>>,
    pub clock: ManualClock,
    pub identity: Arc<Identity>,
    pub key: Key,
}

impl World {
    /// A tenant with one RSA key `k1`, believed by an `Identity` whose configuration `change` may change.
    pub async fn entra(change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let world = Self::start(Key::rsa(), |base| format!("{base}/{TENANT}/v2.0")).await;
        let mut config = entra_config(&world.server.base);
        change(&mut config);
        world.identity.configure(&[Arc::new(config)]).unwrap();
        world
    }

    /// An OIDC issuer with this key as `k1`.
    pub async fn oidc(key: Key, change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let world = Self::start(key, ToOwned::to_owned).await;
        let mut config = oidc_config(&world.server.base);
        change(&mut config);
        world.identity.configure(&[Arc::new(config)]).unwrap();
        world
    }

    async fn start(key: Key, issuer: impl FnOnce(&str) -> String) -> Self {
        let state = Arc::new(Mutex::new(State {
            issuer: String::new(),
            keys: json!({ "keys": [key.jwk("k1")] }),
            cloud: json!("microsoftonline.com"),
            broken: None,
            graph: Box::new(|_| Reply::status(500)),
        }));
        let server = Server::start({
            let state = Arc::clone(&state);
            move |asked| answer(&state.lock().unwrap(), asked)
        })
        .await;
        state.lock().unwrap().issuer = issuer(&server.base);
        let clock = ManualClock::at(Timestamp::from_seconds(NOW));
        let identity = Identity::new(Arc::new(clock.clone()), secrets());
        Self { server, state, clock, identity, key }
    }

    pub fn issuer(&self) -> String {
        self.state.lock().unwrap().issuer.clone()
    }

    pub fn set_keys(&self, keys: &[Value]) {
        self.state.lock().unwrap().keys = json!({ "keys": keys });
    }

    pub fn set_broken(&self, reply: Option<Reply>) {
        self.state.lock().unwrap().broken = reply;
    }

    pub fn set_graph(&self, graph: impl Fn(&Asked) -> Reply + Send + 'static) {
        self.state.lock().unwrap().graph = Box::new(graph);
    }

    /// A good v2.0 app-only token's claims, with changes.
    pub fn v2(&self, changes: Value) -> Value {
        let claims = json!({
            "aud": GATEWAY, "iss": self.issuer(), "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 4500, "azp": CLIENT, "azpacr": "2",
            "idtyp": "app", "oid": AGENT, "sub": AGENT, "roles": ["Gateway.Connect"], "groups": [GROUP], "tid": TENANT, "uti": "k3tokenid",
            "ver": "2.0", "aio": "opaque", "rh": "opaque", "xms_ftd": "opaque",
        });
        with(&claims, changes)
    }

    /// A good v1.0 app-only token's claims, with changes.
    pub fn v1(&self, changes: Value) -> Value {
        let issuer = format!("{}/{TENANT}/", self.server.base);
        let v1 = self.v2(json!({ "iss": issuer, "ver": "1.0", "azp": null, "azpacr": null, "appid": CLIENT, "appidacr": "1",
            "aud": "api://portcullis", "idtyp": null }));
        with(&v1, changes)
    }

    /// A good access token's claims of the OIDC issuer, with changes.
    pub fn claims(&self, changes: Value) -> Value {
        let claims = json!({
            "iss": self.issuer(), "aud": "portcullis", "sub": "repo:o/r:ref:refs/heads/main", "iat": NOW, "exp": NOW + 300, "jti": "j1",
        });
        with(&claims, changes)
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.key.sign(&self.header(), claims)
    }

    pub fn header(&self) -> Value {
        let algorithm = match &self.key {
            Key::Rsa(_) => "RS256",
            Key::P256(_) => "ES256",
            Key::P384(_) => "ES384",
            Key::Ed25519(_) => "EdDSA",
        };
        json!({ "typ": "JWT", "alg": algorithm, "kid": "k1" })
    }

    pub async fn authenticate(&self, token: impl Into<String>) -> Result<Authenticated, Error> {
        self.identity.authenticate(&Secret::new(token.into())).await
    }

    pub async fn accepts(&self, claims: &Value) -> Arc<portcullis_core::Principal> {
        Arc::clone(self.authenticate(self.sign(claims)).await.unwrap().principal())
    }

    pub async fn refuses(&self, claims: &Value) -> Error {
        self.authenticate(self.sign(claims)).await.unwrap_err()
    }
}

fn answer(state: &State, asked: &Asked) -> Reply {
    if asked.path.starts_with("/v1.0/") || asked.path.ends_with("/oauth2/v2.0/token") {
        return (state.graph)(asked);
    }
    if let Some(reply) = &state.broken {
        return reply.clone();
    }
    let base = state.issuer.split_inclusive('/').take(3).collect::<String>();
    let base = base.trim_end_matches('/');
    if asked.path.ends_with("/.well-known/openid-configuration") {
        let keys = format!("{base}/discovery/keys");
        Reply::json(&json!({ "issuer": state.issuer, "jwks_uri": keys, "cloud_instance_name": state.cloud }))
    } else if asked.path == "/discovery/keys" {
        Reply::json(&state.keys)
    } else {
        Reply::status(404)
    }
}

pub fn entra_config(base: &str) -> ProviderConfig {
    ProviderConfig {
        name: "entra".to_owned(),
        kind: ProviderKind::Entra(Entra {
            tenant: TENANT.to_owned(),
            cloud: Cloud::Global,
            authority: Some(base.parse().unwrap()),
            graph: Some(base.parse().unwrap()),
        }),
        audience: vec!["api://portcullis".to_owned(), GATEWAY.to_owned()],
        groups: BTreeMap::from([("triage".to_owned(), GROUP.to_owned())]),
        algorithms: vec![Algorithm::RS256],
        types: vec!["jwt".to_owned(), "at+jwt".to_owned()],
        liveness: None,
        allow_users: false,
        sign_in: None,
        location: "policy.yaml:3".to_owned(),
    }
}

pub fn oidc_config(issuer: &str) -> ProviderConfig {
    let pointer = |text: &str| Some(text.to_owned());
    ProviderConfig {
        name: "ci".to_owned(),
        kind: ProviderKind::Oidc(Oidc {
            issuer: issuer.to_owned(),
            jwks: None,
            claims: ClaimPointers {
                subject: "/sub".to_owned(),
                groups: pointer("/groups"),
                roles: pointer("/realm_access/roles"),
                name: pointer("/repository"),
            },
        }),
        audience: vec!["portcullis".to_owned()],
        groups: BTreeMap::from([("deployers".to_owned(), "/org/deployers".to_owned())]),
        algorithms: vec![
            Algorithm::RS256,
            Algorithm::PS256,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ],
        types: vec!["jwt".to_owned(), "at+jwt".to_owned()],
        liveness: None,
        allow_users: false,
        sign_in: None,
        location: "policy.yaml:20".to_owned(),
    }
}

pub fn graph_liveness(base: &str) -> GraphLiveness {
    GraphLiveness {
        interval: Duration::from_secs(10),
        grace: Duration::from_secs(60),
        credential: GraphCredential::Secret {
            client_id: GATEWAY.to_owned(),
            client_secret: SecretRef::Env("GRAPH_SECRET".to_owned()),
        },
        graph: base.to_owned(),
    }
}
