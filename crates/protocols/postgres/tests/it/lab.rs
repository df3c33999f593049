//! A gateway in this process: development issuer, real PostgreSQL, journal in a scratch folder.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use portcullis_access::{
    Access, MemoryStore, Settings, SystemSecrets,
    requests::{Answer, Ballot, Request, RequestFilter, RequestLimits, State},
};
use portcullis_audit::{Journal, JournalConfig, Sync};
use portcullis_core::{
    AuditEvent, Clock, Principal, PrincipalKind, RequestId, RequestStep, SystemClock, Timestamp, Verdict,
    decision::DecisionEvent,
};
use portcullis_dev_idp::{DevIdp, Directory, Running, TokenSpec};
use portcullis_identity::Identity;
use portcullis_policy::{Limits, PgAuthentication, Plaintext, SourceFile};
use portcullis_postgres::{Postgres, catalog::Catalogs, handshake::ALPN, upstream::Logins};
use portcullis_proxy::{
    Admission, CancelMap, DirectDial, DownstreamTls, ListenerConfig, Sessions, Shutdown,
    fingerprint::FingerprintKey, gate::Gate, supervise::Supervisor,
};
use portcullis_sql::{Analyzer, AnalyzerConfig};
use portcullis_testkit::{PgOptions, PgServer, Psql, Scratch};

/// A person who answers: named by guardrails as `id:` of this.
pub const PERSON: &str = "55aa0000-0000-4000-8000-000000000001";

/// The agent everything is granted to, unless a test says otherwise.
pub const AGENT: &str = "77aa0000-0000-4000-8000-000000000001";
const TENANT: &str = "4c5a0d3e-0000-4000-8000-000000000001";

pub struct Lab {
    pub server: PgServer,
    pub gate: Arc<Gate>,
    pub address: SocketAddr,
    idp: Running,
    policy: String,
    scope: String,
    pub shutdown: Shutdown,
    scratch: Scratch,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shutdown.stop();
        self.shutdown.abort();
    }
}

/// What every laboratory's database begins with.
pub const SCHEMA: &str = "
CREATE ROLE app LOGIN PASSWORD 'app-secret' SUPERUSER;
CREATE DATABASE shop OWNER app;
\\connect shop
SET ROLE app;
CREATE TABLE customers (id int PRIMARY KEY, name text, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer int, total numeric, note text);
CREATE TABLE secrets (id int, value text);
INSERT INTO customers SELECT i, 'customer ' || i, 'c' || i || '@example.com' FROM generate_series(1, 1000) i;
INSERT INTO orders SELECT i, i % 1000 + 1, i * 1.5, 'note ' || i FROM generate_series(1, 1000) i;
INSERT INTO secrets VALUES (1, 'hunter2');
CREATE VIEW order_totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
CREATE FUNCTION leak() RETURNS text LANGUAGE sql STABLE AS 'SELECT value FROM secrets LIMIT 1';
CREATE FUNCTION touch() RETURNS int LANGUAGE sql VOLATILE AS 'UPDATE orders SET note = ''touched'' WHERE id = 1; SELECT 1';
";

/// What a laboratory may differ in.
pub struct Setup<'a> {
    pub version: u16,
    /// The scope of the agent's grant.
    pub scope: &'a str,
    /// More of the agent's grant, as YAML at its depth; `when: always` unless it says so itself.
    pub grant: &'a str,
    /// More of the policy document.
    pub more: &'a str,
    /// Run as superuser, after the schema.
    pub sql: &'a str,
    pub limits: Limits,
    pub clock: Arc<dyn Clock>,
    pub storage: Arc<dyn portcullis_audit::storage::Storage>,
    pub sync: Sync,
    /// Threads that parse.
    pub parsers: usize,
    /// How many requests of one identity may wait.
    pub pending: usize,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            version: 15,
            scope: "read:*",
            grant: "    when: always",
            more: "",
            sql: "",
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
            storage: Arc::new(portcullis_audit::storage::Disk),
            sync: Sync::Fast,
            parsers: 2,
            pending: 20,
        }
    }
}

impl Lab {
    /// With this scope on the connection `shop`, and more of a policy document.
    pub async fn start(scope: &str, more: &str) -> Self {
        Self::start_on(15, scope, more).await
    }

    pub async fn start_on(version: u16, scope: &str, more: &str) -> Self {
        Self::set_up(Setup { version, scope, more, ..Setup::default() }).await
    }

    pub async fn set_up(setup: Setup<'_>) -> Self {
        let Setup { version, scope, grant, more, sql, limits, clock, storage, sync, parsers, pending } =
            setup;
        let setup_sql = format!("{SCHEMA}\n{sql}");
        // More requests may wait than usual: more sessions, too.
        let settings = vec![("max_connections".to_owned(), (pending + 80).to_string())];
        let server =
            PgServer::start(PgOptions { version, setup_sql, settings, ..PgOptions::default() }).await;
        let directory = Directory::load(&repository().join("examples/demo/directory.yaml")).unwrap();
        let idp = DevIdp::new(directory, Arc::new(SystemClock)).unwrap().start().await.unwrap();
        let scratch = Scratch::new();
        let password = scratch.write("password", "app-secret");
        let policy = format!(
            "identity:
  - name: entra
    kind: entra
    tenant: {TENANT}
    authority: {authority}
    audience: [api://portcullis, 6b1f0f0e-0000-4000-8000-000000000002]
connections:
  shop:
    protocol: postgres
    address: {upstream}
    tls: {{ mode: disable }}
    database: shop
    credential: {{ username: app, password: 'file:{password}' }}
grants:
  - connection: shop
    to: id:{AGENT}
{grant}
    recorded: yes
    scope: {scope}
{more}",
            authority = idp.authority().unwrap(),
            upstream = server.address(),
            password = password.display(),
        );
        let file = SourceFile { path: "policy.yaml".into(), text: policy.clone() };
        let (checked, report) = portcullis_policy::check(&[file]);
        let checked = checked.unwrap_or_else(|| panic!("{}", report.render(false)));
        let config = JournalConfig::new(scratch.join("journal"), sync);
        let (journal, _) = Journal::open_on(config, clock.clone(), storage).unwrap();
        let identity = Identity::new(clock.clone(), Arc::new(SystemSecrets));
        identity.configure(checked.providers()).unwrap();
        let store = Arc::new(MemoryStore::default());
        let settings = Settings {
            limits: RequestLimits { per_identity: pending, ..RequestLimits::default() },
            address: Some("https://gateway.example.com".to_owned()),
        };
        let access =
            Arc::new(Access::with(checked, store, Arc::clone(&journal), clock.clone(), settings).unwrap());
        let texts = AnalyzerConfig {
            max_text_bytes: limits.statement,
            threads: parsers,
            ..AnalyzerConfig::default()
        };
        let recordings = portcullis_record::RecordingsConfig::new(scratch.join("recordings"));
        let recordings =
            portcullis_record::Recordings::open(recordings, clock.clone(), Arc::new(|_| Ok(()))).unwrap();
        let gate = Arc::new(Gate {
            identity,
            access,
            journal,
            sessions: Sessions::start(clock.clone()),
            dial: Arc::new(DirectDial::new(Duration::from_secs(10))),
            secrets: Arc::new(SystemSecrets),
            clock,
            limits,
            fingerprints: FingerprintKey::new(&[7; 32]),
            recordings,
            health: Arc::default(),
        });
        tokio::spawn(Supervisor::new(Arc::clone(&gate)).run());
        let tls = DownstreamTls::self_signed(scratch.path(), &[]).unwrap();
        let postgres = Arc::new(Postgres {
            gate: Arc::clone(&gate),
            tls: tls.server_config(&[ALPN]).unwrap(),
            plaintext: Plaintext::Loopback,
            authentication: PgAuthentication::Password,
            analyzer: Arc::new(Analyzer::new(texts).unwrap()),
            logins: Arc::new(Logins::default()),
            catalogs: Arc::new(Catalogs::default()),
            cancels: CancelMap::new(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admission = Admission::new(1000, 1000);
        let config =
            ListenerConfig { name: "postgres", handshake: Duration::from_secs(30), proxy: None, admission };
        let shutdown = Shutdown::new();
        let handler = move |accepted| Arc::clone(&postgres).serve(accepted);
        tokio::spawn(portcullis_proxy::serve(listener, config, handler, shutdown.clone()));
        Self { server, gate, address, idp, policy, scope: scope.to_owned(), shutdown, scratch }
    }

    /// A token of the agent.
    pub fn token(&self) -> String {
        self.mint(&TokenSpec::new(AGENT, "api://portcullis"))
    }

    /// A token as a test wants it.
    pub fn mint(&self, spec: &TokenSpec) -> String {
        self.idp.mint(spec).unwrap()
    }

    /// The server itself, as superuser, past the gateway.
    pub async fn superuser(&self) -> tokio_postgres::Client {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.server.port()).user("app").password("app-secret");
        config.dbname("shop").application_name("superuser");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        client
    }

    /// Puts another scope in force, for live sessions too.
    pub fn change_scope(&self, scope: &str) {
        let text = self.policy.replace(&format!("scope: {}", self.scope), &format!("scope: {scope}"));
        let (policy, report) = portcullis_policy::check(&[SourceFile { path: "policy.yaml".into(), text }]);
        let policy = policy.unwrap_or_else(|| panic!("{}", report.render(false)));
        self.gate.access.replace_policy(Arc::clone(&policy));
        for control in self.gate.sessions.controls() {
            let live = control.rules().live.clone();
            let connection = policy.connections().next().unwrap();
            let grants = policy.grants_to(live.principal(), &connection.name);
            let rules = policy.session_rules(connection, &grants, live.principal());
            control.replace_rules(Arc::new(portcullis_proxy::gate::InForce { rules, live }));
        }
    }

    /// Puts a policy in force whose connection leads elsewhere.
    pub fn lead_to(&self, address: SocketAddr) {
        let text = self.policy.replace(&self.server.address(), &address.to_string());
        let (policy, report) = portcullis_policy::check(&[SourceFile { path: "policy.yaml".into(), text }]);
        let policy = policy.unwrap_or_else(|| panic!("{}", report.render(false)));
        self.gate.access.replace_policy(Arc::clone(&policy));
        self.gate.health.keep(&policy);
    }

    /// Somebody who can answer requests.
    pub fn person(&self) -> Arc<Principal> {
        Arc::new(Principal {
            provider: "entra".into(),
            tenant: Some(TENANT.into()),
            object_id: PERSON.into(),
            application_id: None,
            parent_application: None,
            kind: PrincipalKind::User,
            name: "sam".into(),
            token_id: "t".into(),
            groups: Vec::new(),
            roles: Vec::new(),
            actor: None,
            subject: None,
            issued_at: Timestamp::from_micros(0),
            expires_at: Timestamp::MAX,
        })
    }

    /// Every request there is, newest first.
    pub fn requests(&self) -> Vec<Request> {
        self.gate.access.requests(&RequestFilter::default()).unwrap().rows
    }

    /// The one request that waits, once it does.
    pub async fn pending(&self) -> Request {
        loop {
            let pending = self.requests().into_iter().find(|request| request.state() == State::Pending);
            if let Some(pending) = pending {
                return pending;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A person's answer to it.
    pub async fn answer(&self, id: RequestId, answer: Answer, note: &str) {
        let ballot = Ballot {
            by: self.person(),
            answer,
            note: note.to_owned(),
            lifetime_seconds: None,
            through: "api",
        };
        let access = Arc::clone(&self.gate.access);
        let answered = tokio::task::spawn_blocking(move || access.answer(id, ballot, &HashMap::new()));
        answered.await.unwrap().unwrap();
    }

    /// What waits is approved; its request as it was.
    pub async fn approve(&self) -> Request {
        let request = self.pending().await;
        self.answer(request.id(), Answer::Approve, "go").await;
        request
    }

    /// What waits is denied.
    pub async fn deny(&self, note: &str) -> Request {
        let request = self.pending().await;
        self.answer(request.id(), Answer::Deny, note).await;
        request
    }

    /// The steps of requests in the journal, oldest first.
    pub fn steps(&self) -> Vec<RequestStep> {
        let step = |event| if let AuditEvent::Request(event) = event { Some(event.step) } else { None };
        self.events().into_iter().filter_map(step).collect()
    }

    /// Verdict and rule of each decision on a statement, oldest first.
    pub fn verdicts(&self) -> Vec<(Verdict, String, String)> {
        let statements = self.decisions().into_iter().filter(|decision| decision.number > 0);
        statements.map(|it| (it.decision, it.rule.name, it.text.to_string())).collect()
    }

    /// psql as the agent.
    pub fn psql(&self) -> Psql {
        Psql::to(self.address.port(), "shop").password(&self.token()).tls()
    }

    /// tokio-postgres as the agent, without TLS (loopback).
    pub async fn client(&self) -> tokio_postgres::Client {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.address.port()).user("shop").password(self.token());
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        client
    }

    /// The folder of everything the gateway writes.
    pub fn home(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Every decision in the journal, oldest first.
    pub fn decisions(&self) -> Vec<DecisionEvent> {
        let decision = |event| if let AuditEvent::Decision(decision) = event { Some(decision) } else { None };
        self.events().into_iter().filter_map(decision).collect()
    }

    /// Everything in the journal, oldest first.
    pub fn events(&self) -> Vec<AuditEvent> {
        let mut reader = self.gate.journal.reader(portcullis_audit::Position::START);
        let mut events = Vec::new();
        while let Some(entry) = reader.read().unwrap() {
            events.push(entry.event().unwrap());
        }
        events
    }
}

pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..")
}
