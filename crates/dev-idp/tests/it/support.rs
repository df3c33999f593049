//! One running issuer per test, with a clock that the test moves.

use std::{
    sync::{
        Arc, Once,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use portcullis_core::{Clock, Timestamp};
use portcullis_dev_idp::{DevIdp, Directory, Running};
use reqwest::{Client, RequestBuilder, StatusCode, redirect::Policy};
use serde_json::{Map, Value};

pub const TENANT: &str = "4c5a0d3e-0000-4000-8000-000000000001";
pub const API: &str = "6b1f0f0e-0000-4000-8000-000000000002";
pub const BLUEPRINT: &str = "9f2c0000-0000-4000-8000-0000000000a0";
pub const AGENT: &str = "9f2c0000-0000-4000-8000-000000000001";
pub const AGENT_OID: &str = "77aa0000-0000-4000-8000-000000000001";
pub const MACHINE: &str = "9f2c0000-0000-4000-8000-000000000002";
pub const MACHINE_OID: &str = "77aa0000-0000-4000-8000-000000000002";
pub const READER: &str = "9f2c0000-0000-4000-8000-0000000000f0";
pub const ADMIN: &str = "9f2c0000-0000-4000-8000-0000000000f1";
pub const CLI: &str = "9f2c0000-0000-4000-8000-0000000000f2";
pub const SAM_OID: &str = "55aa0000-0000-4000-8000-000000000001";
pub const INNER: &str = "33aa0000-0000-4000-8000-000000000001";
pub const OUTER: &str = "33aa0000-0000-4000-8000-000000000002";
pub const LONELY: &str = "33aa0000-0000-4000-8000-000000000003";

const DIRECTORY: &str = "
tenant: 4c5a0d3e-0000-4000-8000-000000000001
apis:
  - client_id: 6b1f0f0e-0000-4000-8000-000000000002
    identifier_uris: [api://portcullis]
    requestedAccessTokenVersion: 2
  - client_id: 6b1f0f0e-0000-4000-8000-000000000003
    identifier_uris: [api://old, https://old.example]
    requestedAccessTokenVersion: 1
    groupMembershipClaims: false
    token_lifetime: 10m
applications:
  - display_name: triage-agent
    client_id: 9f2c0000-0000-4000-8000-000000000001
    object_id: 77aa0000-0000-4000-8000-000000000001
    kind: agent
    parent_application: 9f2c0000-0000-4000-8000-0000000000a0
    secret: 'triage: s/cret+%'
    roles: [Gateway.Connect]
  - display_name: machine
    client_id: 9f2c0000-0000-4000-8000-000000000002
    object_id: 77aa0000-0000-4000-8000-000000000002
    kind: managed-identity
    federated_subject: system:machine
    groups_overage: true
  - display_name: blueprint
    client_id: 9f2c0000-0000-4000-8000-0000000000a0
    object_id: 77aa0000-0000-4000-8000-0000000000a0
    secret: blueprint
  - display_name: reader
    client_id: 9f2c0000-0000-4000-8000-0000000000f0
    object_id: 77aa0000-0000-4000-8000-0000000000f0
    secret: reader
    graph_permissions: [Directory.Read.All]
  - display_name: admin
    client_id: 9f2c0000-0000-4000-8000-0000000000f1
    object_id: 77aa0000-0000-4000-8000-0000000000f1
    secret: admin
    graph_permissions: [Directory.ReadWrite.All]
  - display_name: cli
    client_id: 9f2c0000-0000-4000-8000-0000000000f2
    object_id: 77aa0000-0000-4000-8000-0000000000f2
    public_client: true
    redirect_uris: [http://localhost/callback]
users:
  - { name: sam, object_id: 55aa0000-0000-4000-8000-000000000001 }
  - { name: '<pat>', object_id: 55aa0000-0000-4000-8000-000000000002, password: correct horse }
groups:
  - { display_name: inner, object_id: 33aa0000-0000-4000-8000-000000000001, members: [triage-agent, sam] }
  - { display_name: outer, object_id: 33aa0000-0000-4000-8000-000000000002, members: [inner] }
  - { display_name: lonely, object_id: 33aa0000-0000-4000-8000-000000000003 }
";

pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub struct Lab {
    pub idp: Running,
    pub clock: Arc<ManualClock>,
    pub http: Client,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}: {}", self.status, self.text))
    }

    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    #[track_caller]
    pub fn graph_error(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.json()["error"]["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        assert!(self.json()["error"]["message"].is_string());
    }

    #[track_caller]
    pub fn oauth_error(&self, status: u16, error: &str, code: u64) {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["error"].as_str()), (status, Some(error)), "{body}");
        assert_eq!(body["error_codes"][0].as_u64(), Some(code), "{body}");
        let description = body["error_description"].as_str().unwrap();
        assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
        assert!(
            body["trace_id"].is_string()
                && body["correlation_id"].is_string()
                && body["timestamp"].is_string()
        );
    }
}

pub fn directory() -> Directory {
    Directory::parse(DIRECTORY, "test").unwrap()
}

impl Lab {
    pub async fn start() -> Self {
        Self::with(directory()).await
    }

    pub async fn with(directory: Directory) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
        let clock = Arc::new(ManualClock(AtomicI64::new(1_790_000_000_000_000)));
        let idp =
            DevIdp::new(directory, Arc::clone(&clock) as Arc<dyn Clock>).unwrap().start().await.unwrap();
        let http = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { idp, clock, http }
    }

    pub fn url(&self, path: &str) -> String {
        if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.idp.authority().unwrap())
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    /// A token request to the v2.0 endpoint.
    pub async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let url = self.url(&format!("/{TENANT}/oauth2/v2.0/token"));
        self.send(self.http.post(url).form(form)).await
    }

    pub async fn client_credentials(&self, client: &str, secret: &str, scope: &str) -> Answer {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
            ("scope", scope),
        ];
        self.token(&form).await
    }

    pub async fn graph_token(&self, client: &str, secret: &str) -> String {
        let body = self.client_credentials(client, secret, "https://graph.microsoft.com/.default").await.ok();
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// Verifies a token as a resource would, with keys fetched through the metadata of that version.
    pub async fn verify(&self, token: &str, audience: &str) -> Result<Map<String, Value>, String> {
        let unverified: Value = jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap();
        let path = if unverified["ver"] == "1.0" { "" } else { "/v2.0" };
        let metadata = self.get(&format!("/{TENANT}{path}/.well-known/openid-configuration")).await.ok();
        let keys: JwkSet =
            serde_json::from_value(self.get(metadata["jwks_uri"].as_str().unwrap()).await.ok()).unwrap();
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        let key = keys.find(&header.kid.ok_or("no kid")?).ok_or("unknown kid")?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false; // the machine's clock is not the test's
        validation.required_spec_claims.clear();
        validation.set_issuer(&[metadata["issuer"].as_str().unwrap()]);
        validation.set_audience(&[audience]);
        let key = DecodingKey::from_jwk(key).unwrap();
        jsonwebtoken::decode(token, &key, &validation)
            .map(|data| data.claims)
            .map_err(|error| error.to_string())
    }
}
