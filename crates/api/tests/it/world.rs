//! One world per test: issuer, journal, store, and a web listener on a port of its own, all on one clock that tests move.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis_access::{
    Access, Settings,
    requests::{Digest, HoldAsk, Mode, OperationAsked, RequestLimits},
};
use portcullis_api::{
    AdminToken, Api, Hub, ManagedDocuments, People, PolicyStatus, PublicUrl, RateLimits, ReadStatements,
    server::{PROTOCOLS, Web},
};
use portcullis_audit::{Journal, JournalConfig, Notary, NotaryConfig, SigningKey, Sync};
use portcullis_core::{
    AuditEvent, ClientSoftware, Clock, Operation, Principal, RequestId, Secret, SessionFacts, SessionId,
    Source, StatementKind, SystemClock,
};
use portcullis_dev_idp::{DevIdp, Directory, Running, TokenSpec};
use portcullis_identity::{Identity, SignIns};
use portcullis_notify::{Notifier, slack};
use portcullis_policy::{
    Connection, ConsoleSettings, HoldingRule, Limits, Policy, ResolveSecret, SecretError, SecretRef,
    SourceFile, check,
};
use portcullis_proxy::{
    Admission, CertificatePaths, DirectDial, DownstreamTls, ListenerConfig, Sessions, Shutdown,
    fingerprint::FingerprintKey, gate::Gate, serve, supervise::Supervisor,
};
use portcullis_record::{Recordings, RecordingsConfig};
use portcullis_store::Store;
use portcullis_testkit::{ManualClock, Scratch, TestCa};
use reqwest::{Method, Response, StatusCode, header, redirect};
use serde_json::{Value, json};

pub const HOST: &str = "gateway.example";
pub const ADMIN: &str = "the-admin-token-of-these-tests-0123456789abcdef";
pub const AUDIENCE: &str = "api://portcullis";

/// How long anything may take that is waited for. A limit for a machine under load, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);

const DIRECTORY: &str = "
tenant: 4c5a0d3e-0000-4000-8000-000000000001
apis:
  - client_id: 6b1f0f0e-0000-4000-8000-000000000002
    display_name: Portcullis
    identifier_uris: [api://portcullis]
    requested_access_token_version: 2
applications:
  - { client_id: 9f2c0000-0000-4000-8000-000000000004, object_id: 77aa0000-0000-4000-8000-000000000003, display_name: triage-agent, secret: agent-secret }
  - { client_id: 9f2c0000-0000-4000-8000-000000000014, object_id: 77aa0000-0000-4000-8000-000000000013, display_name: oncall-bot, secret: agent-secret }
  - { client_id: 9f2c0000-0000-4000-8000-000000000024, object_id: 77aa0000-0000-4000-8000-000000000023, display_name: gateway, secret: gateway-secret, graph_permissions: [Directory.Read.All] }
  - { client_id: 9f2c0000-0000-4000-8000-000000000044, object_id: 77aa0000-0000-4000-8000-000000000043, display_name: console, secret: console-secret, redirect_uris: ['https://gateway.example/api/v1/auth/callback'] }
  - { client_id: 9f2c0000-0000-4000-8000-000000000034, object_id: 77aa0000-0000-4000-8000-000000000033, display_name: cli, public_client: true }
users:
  - { object_id: 55aa0000-0000-4000-8000-00000000000a, name: sam@contoso.example }
  - { object_id: 55aa0000-0000-4000-8000-00000000000b, name: kim@contoso.example }
  - { object_id: 55aa0000-0000-4000-8000-00000000000c, name: vera@contoso.example }
  - { object_id: 55aa0000-0000-4000-8000-00000000000d, name: aud@contoso.example }
  - { object_id: 55aa0000-0000-4000-8000-00000000000e, name: root@contoso.example }
  - { object_id: 55aa0000-0000-4000-8000-00000000000f, name: nobody@contoso.example }
  - { object_id: 55aa0000-0000-4000-8000-00000000001a, name: lead@contoso.example }
groups:
  - { object_id: 3fa80000-0000-4000-8000-000000000001, display_name: agents, members: [triage-agent, lead@contoso.example] }
  - { object_id: 3fa80000-0000-4000-8000-000000000002, display_name: oncall, members: [sam@contoso.example, kim@contoso.example, oncall-bot] }
  - { object_id: 3fa80000-0000-4000-8000-000000000003, display_name: viewers, members: [vera@contoso.example] }
  - { object_id: 3fa80000-0000-4000-8000-000000000004, display_name: audit, members: [aud@contoso.example] }
  - { object_id: 3fa80000-0000-4000-8000-000000000005, display_name: platform, members: [root@contoso.example] }
  - { object_id: 3fa80000-0000-4000-8000-000000000006, display_name: leads, members: [lead@contoso.example] }
";

const POLICY: &str = "
identity:
  - name: entra
    kind: entra
    tenant: 4c5a0d3e-0000-4000-8000-000000000001
    audience: [api://portcullis, 6b1f0f0e-0000-4000-8000-000000000002]
    authority: AUTHORITY
    graph: AUTHORITY
    users: allow
    sign_in: { client_id: 9f2c0000-0000-4000-8000-000000000044, client_secret: env:CONSOLE_SECRET }
    groups:
      agents: 3fa80000-0000-4000-8000-000000000001
      oncall: 3fa80000-0000-4000-8000-000000000002
      viewers: 3fa80000-0000-4000-8000-000000000003
      audit: 3fa80000-0000-4000-8000-000000000004
      platform: 3fa80000-0000-4000-8000-000000000005
      leads: 3fa80000-0000-4000-8000-000000000006
    liveness: { source: graph, interval: 1s, grace: 30s, credential: { client_id: 9f2c0000-0000-4000-8000-000000000024, client_secret: env:GRAPH_SECRET } }
connections:
  orders-db: { protocol: postgres, address: 'upstream.internal:5432', database: orders, credential: { username: app, password: 'env:DB_PASSWORD' } }
  logs-db: { protocol: postgres, address: 'upstream.internal:5432', database: logs, credential: { username: app, password: 'env:DB_PASSWORD' } }
  two-db: { protocol: postgres, address: 'upstream.internal:5432', database: two, credential: { username: app, password: 'env:DB_PASSWORD' } }
roles:
  viewer: group:viewers
  approver: group:oncall
  auditor: group:audit
  admin: group:platform
grants:
  - { name: orders, connection: orders-db, to: ['group:agents', 'group:oncall'], when: approved, approvers: 'group:oncall', break_glass: 'group:leads', lifetime: 30m, scope: 'read:*', recorded: yes }
  - { name: logs, connection: logs-db, to: 'group:agents', when: requested, lifetime: 15m, scope: ['read:*', 'write:public.orders'], recorded: yes }
  - { name: two, connection: two-db, to: 'group:agents', when: approved, approvers: ['group:oncall', 'group:leads'], approvals: 2, lifetime: 30m, scope: 'read:*', recorded: yes }
guardrails:
  - { name: every row needs a person, connections: [logs-db], statements: [update, delete], without: where, action: approve, approvers: 'group:oncall' }
NOTIFICATIONS
";

pub struct World {
    pub idp: Running,
    pub clock: ManualClock,
    pub api: Arc<Api>,
    pub address: SocketAddr,
    pub ca: TestCa,
    pub shutdown: Shutdown,
    store: Arc<Store>,
    journal: Arc<Journal>,
    _dir: Scratch,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Secrets(BTreeMap<&'static str, String>);

impl ResolveSecret for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError> {
        let name = reference.to_string();
        let value = self.0.get(name.as_str()).cloned();
        value.map(Secret::new).ok_or_else(|| SecretError { reference: name, detail: "not there".to_owned() })
    }
}

struct NoStatements;

impl ReadStatements for NoStatements {
    fn read(&self, _: &Connection, _: &str) -> Vec<Operation> {
        Vec::new()
    }
}

pub fn documents(authority: &str, notifications: &str) -> String {
    POLICY.replace("AUTHORITY", authority).replace("NOTIFICATIONS", notifications)
}

pub fn policy_of(text: &str) -> (Arc<Policy>, portcullis_policy::Report, Vec<SourceFile>) {
    let files = vec![SourceFile { path: "policy.yaml".into(), text: text.to_owned() }];
    let (policy, report) = check(&files);
    (policy.unwrap_or_else(|| panic!("{}", report.render(false))), report, files)
}

impl World {
    pub async fn new() -> Self {
        Self::with(ConsoleSettings::default(), "", &[]).await
    }

    pub async fn with(
        console: ConsoleSettings,
        notifications: &str,
        secrets: &[(&'static str, String)],
    ) -> Self {
        Self::made(console, notifications, secrets, None).await
    }

    /// Where the API manages the documents.
    pub async fn managed(documents: Arc<dyn ManagedDocuments>) -> Self {
        Self::made(ConsoleSettings::default(), "", &[], Some(documents)).await
    }

    async fn made(
        console: ConsoleSettings,
        notifications: &str,
        secrets: &[(&'static str, String)],
        managed: Option<Arc<dyn ManagedDocuments>>,
    ) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let clock = ManualClock::at(SystemClock.now());
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let directory = Directory::parse(DIRECTORY, "test").unwrap();
        let idp = DevIdp::new(directory, Arc::clone(&shared)).unwrap().start().await.unwrap();
        let (policy, report, files) = policy_of(&documents(idp.authority().unwrap(), notifications));
        let dir = Scratch::new();
        let (journal, _) =
            Journal::open(JournalConfig::new(dir.join("journal"), Sync::Fast), Arc::clone(&shared)).unwrap();
        let key = SigningKey::generate("portcullis/test").unwrap();
        portcullis_audit::notary::begin(&dir.join("journal"), &key).unwrap();
        let notary = Arc::new(Notary::open(Arc::clone(&journal), key, NotaryConfig::default()).unwrap());
        let store = Arc::new(Store::open(dir.join("store.db"), clock.now()).unwrap());
        let mut known = BTreeMap::from([
            ("env:CONSOLE_SECRET", "console-secret".to_owned()),
            ("env:GRAPH_SECRET", "gateway-secret".to_owned()),
            ("env:DB_PASSWORD", "upstream-password".to_owned()),
        ]);
        known.extend(secrets.iter().cloned());
        let secrets = Arc::new(Secrets(known));
        let public = PublicUrl::new(&format!("https://{HOST}").parse().unwrap());
        let settings = Settings { limits: RequestLimits::default(), address: Some(public.base.clone()) };
        let access = Arc::new(
            Access::with(
                Arc::clone(&policy),
                Arc::clone(&store) as _,
                Arc::clone(&journal),
                Arc::clone(&shared),
                settings,
            )
            .unwrap(),
        );
        let identity = Identity::new(Arc::clone(&shared), Arc::clone(&secrets) as _);
        identity.configure(policy.providers()).unwrap();
        let sessions = Sessions::start(Arc::clone(&shared));
        let recordings = Recordings::open(
            RecordingsConfig::new(dir.join("recordings")),
            Arc::clone(&shared),
            Arc::new(|_: &portcullis_record::Sealed| Ok(())),
        )
        .unwrap();
        let gate = Arc::new(Gate {
            identity: Arc::clone(&identity),
            access: Arc::clone(&access),
            journal: Arc::clone(&journal),
            sessions: Arc::clone(&sessions),
            dial: Arc::new(DirectDial::new(Duration::from_secs(1))),
            secrets: Arc::clone(&secrets) as _,
            clock: Arc::clone(&shared),
            limits: Limits::default(),
            fingerprints: FingerprintKey::new(&[7; 32]),
            recordings: Arc::clone(&recordings),
            health: Arc::default(),
        });
        let notifier = Notifier::start(
            Arc::clone(&secrets) as _,
            Arc::clone(&shared),
            Arc::clone(&store) as _,
            portcullis_notify::Settings::default(),
        )
        .unwrap();
        let shutdown = Shutdown::new();
        let api = Arc::new(Api {
            identity: Arc::clone(&identity),
            access,
            journal: Arc::clone(&journal),
            store: Arc::clone(&store),
            sessions,
            clock: Arc::clone(&shared),
            admin: AdminToken::new(Secret::new(ADMIN.to_owned())).unwrap(),
            documents: managed,
            health: Arc::clone(&gate.health),
            policy: PolicyStatus::new(clock.now(), policy.version(), &report, &files),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            draining: Shutdown::new(),
            supervisor: Supervisor::new(gate),
            recordings,
            people: People::new(Arc::clone(&store), console).unwrap(),
            sign_ins: SignIns::new(identity),
            hub: Hub::new(shared.as_ref()),
            limits: RateLimits::default(),
            public,
            notary,
            notifier,
            slack: slack::Verifier::default(),
            slack_hosts: slack::ResponseHosts::SlackOrLoopback,
            secrets,
            statements: Arc::new(NoStatements),
            closing: shutdown.clone(),
        });
        let ca = TestCa::new();
        let certificate = ca.valid_for(&[HOST]).write_to(dir.path());
        let tls = DownstreamTls::from_files(CertificatePaths {
            certificate: certificate.certificate,
            key: certificate.key,
        })
        .unwrap();
        let web = Web::new(
            Arc::clone(&api),
            tls.server_config(&PROTOCOLS).unwrap(),
            Duration::from_secs(10),
            shutdown.clone(),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = ListenerConfig {
            name: "web",
            handshake: Duration::from_secs(10),
            proxy: None,
            admission: Admission::new(1_000, 1_000),
        };
        let handler = move |accepted| web.clone().serve(accepted);
        let tasks = vec![
            tokio::spawn(serve(listener, config, handler, shutdown.clone())),
            tokio::spawn(portcullis_api::background(Arc::clone(&api))),
            tokio::spawn({
                let (store, journal) = (Arc::clone(&store), Arc::clone(&journal));
                async move { drop(store.ship(journal).await) }
            }),
        ];
        Self { idp, clock, api, address, ca, shutdown, store, journal, _dir: dir, tasks }
    }

    /// A client that trusts this world's authority, follows nothing and keeps no cookies.
    pub fn http(&self) -> reqwest::Client {
        let certificate = reqwest::Certificate::from_pem(self.ca.pem().as_bytes()).unwrap();
        reqwest::Client::builder()
            .tls_certs_only([certificate])
            .no_proxy()
            .resolve(HOST, self.address)
            .redirect(redirect::Policy::none())
            .build()
            .unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{HOST}:{}{path}", self.address.port())
    }

    pub fn token(&self, who: &str) -> String {
        let spec = TokenSpec::new(who, AUDIENCE);
        // People come through the gateway's own sign-in.
        let spec = if who.contains('@') { spec.client("console") } else { spec };
        self.idp.mint(&spec).unwrap()
    }

    /// A token that another application got in a person's name.
    pub fn token_through(&self, client: &str, who: &str) -> String {
        self.idp.mint(&TokenSpec::new(who, AUDIENCE).client(client)).unwrap()
    }

    pub fn as_token(&self, token: &str) -> Caller<'_> {
        Caller { world: self, http: self.http(), how: How::Token(token.to_owned()) }
    }

    /// Somebody of the directory, by a token of theirs.
    pub fn by(&self, who: &str) -> Caller<'_> {
        self.as_token(&self.token(who))
    }

    pub fn admin(&self) -> Caller<'_> {
        self.as_token(ADMIN)
    }

    pub fn nobody(&self) -> Caller<'_> {
        Caller { world: self, http: self.http(), how: How::Nothing }
    }

    /// A person in a browser, by signing in.
    pub async fn browser(&self, who: &str) -> Caller<'_> {
        let cookie = self.sign_in(who, "/").await;
        self.with_cookie(&cookie).await
    }

    pub async fn with_cookie(&self, cookie: &str) -> Caller<'_> {
        let mut caller = Caller {
            world: self,
            http: self.http(),
            how: How::Cookie { cookie: cookie.to_owned(), csrf: String::new() },
        };
        let me = caller.get("/me").await.json();
        if let How::Cookie { csrf, .. } = &mut caller.how {
            *csrf = me["csrf"].as_str().unwrap_or_default().to_owned();
        }
        caller
    }

    /// As far as the browser's return: (the sign-in's cookie, the query of the callback).
    pub async fn browsed(&self, who: &str, next: &str) -> (String, String) {
        let login = self.nobody().get(&format!("/auth/login?provider=entra&next={next}")).await;
        assert_eq!(login.status, StatusCode::SEE_OTHER, "{login:?}");
        let cookie = login.cookie("__Host-portcullis-signin").unwrap();
        let to: reqwest::Url = login.header("location").parse().unwrap();
        let mut page = to.clone();
        page.set_query(None);
        let mut form: Vec<(String, String)> = to.query_pairs().into_owned().collect();
        form.push(("user".to_owned(), who.to_owned()));
        let plain = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        let answer = plain.post(page).form(&form).send().await.unwrap();
        let back: reqwest::Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
        assert_eq!(back.path(), "/api/v1/auth/callback");
        (cookie, back.query().unwrap().to_owned())
    }

    pub async fn come_back(&self, cookies: &str, query: &str) -> Seen {
        let request = self.http().get(self.url(&format!("/api/v1/auth/callback?{query}")));
        Seen::of(request.header(header::COOKIE, cookies).send().await.unwrap()).await
    }

    /// Signs in; the cookie's value.
    pub async fn sign_in(&self, who: &str, next: &str) -> String {
        let (flow, query) = self.browsed(who, next).await;
        let seen = self.come_back(&format!("__Host-portcullis-signin={flow}"), &query).await;
        assert_eq!(seen.status, StatusCode::SEE_OTHER, "{seen:?}");
        seen.cookie("__Host-portcullis").unwrap_or_else(|| panic!("no cookie: {seen:?}"))
    }

    pub async fn principal(&self, who: &str) -> Arc<Principal> {
        let token = Secret::new(self.token(who));
        Arc::clone(self.api.identity.authenticate(&token).await.unwrap().principal())
    }

    /// The agent asks for a window that people answer: the request's id.
    pub async fn asked(&self) -> String {
        self.asked_by("triage-agent", "orders-db").await
    }

    pub async fn asked_by(&self, who: &str, connection: &str) -> String {
        let body = json!({ "connection": connection, "reason": "an incident" });
        let seen = self.by(who).post("/requests", &body).await;
        assert_eq!(seen.status, StatusCode::ACCEPTED, "{seen:?}");
        seen.json()["id"].as_str().unwrap().to_owned()
    }

    /// The agent's statement is held: the request's id.
    pub async fn held(&self) -> String {
        let principal = self.principal("triage-agent").await;
        let policy = self.api.access.policy();
        let rules: Vec<HoldingRule> = policy
            .guardrails()
            .iter()
            .filter_map(|guardrail| {
                Some(HoldingRule {
                    rule: guardrail.rule_ref(),
                    message: None,
                    terms: Arc::clone(guardrail.hold.as_ref()?),
                })
            })
            .collect();
        let now = self.clock.now();
        let session = SessionId::generate(now);
        let facts = Arc::new(SessionFacts {
            session,
            started_at: now,
            protocol: "postgres".to_owned(),
            source: Source { address: "10.0.0.7:5000".parse().unwrap(), via: None },
            client: ClientSoftware("psql".to_owned()),
            principal: Some(Arc::clone(&principal)),
            connection: Some("logs-db".parse().unwrap()),
            database: Some("logs".to_owned()),
            grants: Vec::new(),
            window: None,
            ends_at: None,
        });
        let ask = HoldAsk {
            facts,
            principal,
            rules,
            policy: Arc::clone(policy.version()),
            digest: Digest::of([b"x".as_slice()]),
            mode: Mode::Live,
            operation: OperationAsked {
                mode: Mode::Live,
                session,
                hash: String::new(),
                text: "update orders set state = 'secret-literal'".to_owned(),
                text_cut_from: None,
                shape: "update orders set state = $1".to_owned(),
                statement: StatementKind::word("update"),
                resources: Vec::new(),
                qualified: Some(false),
                highlights: Vec::new(),
                binds: Vec::new(),
                in_transaction: false,
                rows: None,
                statements: Vec::new(),
            },
            reason: String::new(),
        };
        let access = Arc::clone(&self.api.access);
        let filed = tokio::task::spawn_blocking(move || access.hold(ask)).await.unwrap().unwrap();
        filed.request.id().to_string()
    }

    pub fn window_of(&self, principal: &Principal) -> usize {
        self.api.access.open_windows(&principal.key()).len()
    }

    /// The steps the journal has of a request, in order.
    pub fn steps(&self, id: &str) -> Vec<String> {
        let id: RequestId = id.parse().unwrap();
        let steps = self.events().into_iter().filter_map(|event| match event {
            AuditEvent::Request(event) if event.request == id => Some(event.step.as_str().to_owned()),
            _ => None,
        });
        steps.collect()
    }

    /// The steps of signing in that the journal has: `signed_in`, with their notes.
    pub fn sign_ins(&self) -> Vec<(String, String)> {
        let steps = self.events().into_iter().filter_map(|event| match event {
            AuditEvent::SignIn(event) => Some((event.step, event.note)),
            _ => None,
        });
        steps.collect()
    }

    pub fn events(&self) -> Vec<AuditEvent> {
        let reader = self.journal.reader(portcullis_audit::Position::START);
        reader.map_while(Result::ok).filter_map(|entry| entry.event().ok()).collect()
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

#[derive(Clone, Debug)]
enum How {
    Nothing,
    Token(String),
    Cookie { cookie: String, csrf: String },
}

/// Somebody who asks.
#[derive(Clone)]
pub struct Caller<'a> {
    world: &'a World,
    http: reqwest::Client,
    how: How,
}

impl Caller<'_> {
    pub async fn get(&self, path: &str) -> Seen {
        Seen::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Seen {
        Seen::of(self.request(Method::POST, path).json(body).send().await.unwrap()).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Seen {
        Seen::of(self.request(method, path).json(body).send().await.unwrap()).await
    }

    pub fn csrf(&self) -> &str {
        match &self.how {
            How::Cookie { csrf, .. } => csrf,
            _ => "",
        }
    }

    /// With everything that a page of the console's sends.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let is_write = method != Method::GET;
        let request = self.bare(method, path);
        match &self.how {
            How::Cookie { csrf, .. } if is_write => request
                .header("x-portcullis-csrf", csrf)
                .header("origin", format!("https://{HOST}"))
                .header("sec-fetch-site", "same-origin"),
            _ => request,
        }
    }

    /// With the token or the cookie, and nothing else.
    pub fn bare(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, self.world.url(&format!("/api/v1{path}")));
        match &self.how {
            How::Nothing => request,
            How::Token(token) => request.bearer_auth(token),
            How::Cookie { cookie, .. } => {
                request.header(header::COOKIE, format!("__Host-portcullis={cookie}"))
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    pub text: String,
}

impl Seen {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    /// The value a cookie is set to.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let set = self.headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let found =
            set.filter_map(|text| text.split(';').next()?.split_once('=')).find(|(key, _)| *key == name);
        found.map(|(_, value)| value.to_owned()).filter(|value| !value.is_empty())
    }

    /// A problem of this status and type.
    #[track_caller]
    pub fn is_problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.json()["type"], format!("urn:portcullis:problem:{slug}"), "{self:?}");
    }
}
