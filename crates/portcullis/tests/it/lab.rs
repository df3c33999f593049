//! One laboratory per test: issuer, server, data directory, gateway.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis_core::SystemClock;
use portcullis_dev_idp::{DevIdp, Directory, Running};
use portcullis_testkit::{PgOptions, PgServer, Process, ProcessOptions, Psql, PsqlOutput, Scratch};
use serde_json::Value;
use tokio_postgres::NoTls;

/// How long anything may take that is waited for. A limit for a machine under load, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const SHOP_PASSWORD: &str = "shop-upstream-password-7731";
pub const GRAPH_SECRET: &str = "portcullis-gateway-demo-secret";

/// An application of `examples/demo/directory.yaml`.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    pub name: &'static str,
    pub client_id: &'static str,
    pub object_id: &'static str,
    secret: &'static str,
}

/// In `incident-triage-agents`.
pub const TRIAGE: Agent = Agent {
    name: "triage-agent",
    client_id: "9f2c0000-0000-4000-8000-000000000001",
    object_id: "77aa0000-0000-4000-8000-000000000001",
    secret: "triage-agent-demo-secret",
};

/// In `sync-agents`.
pub const SYNC: Agent = Agent {
    name: "sync-agent",
    client_id: "9f2c0000-0000-4000-8000-000000000003",
    object_id: "77aa0000-0000-4000-8000-000000000003",
    secret: "sync-agent-demo-secret",
};

pub const TENANT: &str = "4c5a0d3e-0000-4000-8000-000000000001";

const SETUP: &str = "
CREATE ROLE shop_app LOGIN PASSWORD 'shop-upstream-password-7731';
CREATE DATABASE shop OWNER shop_app;
\\connect shop shop_app
CREATE TABLE orders (id int PRIMARY KEY, total int);
CREATE TABLE payments (id int PRIMARY KEY, card_number text);
INSERT INTO orders SELECT n, n * 10 FROM generate_series(1, 7) n;
INSERT INTO payments VALUES (1, '4111111111111111');
ANALYZE orders, payments;
";

/// What a command line printed.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// Standard output; panics unless the exit code is 0.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        &self.stdout
    }

    /// Standard output as JSON; panics unless the exit code is 0.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Everything a test needs; it is all gone on drop.
pub struct Lab {
    pub idp: Running,
    pub server: PgServer,
    pub gateway: Process,
    pub listeners: Value,
    dir: Scratch,
}

impl Lab {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines in the process file.
    pub async fn with(process: &str) -> Self {
        Self::under(include_str!("../testdata/lab.yaml"), process, &[]).await
    }

    /// With documents under which people are asked about windows, statements and commits.
    pub async fn asking() -> Self {
        Self::asking_with("").await
    }

    /// The same, with more lines in the process file.
    pub async fn asking_with(process: &str) -> Self {
        Self::under(include_str!("../testdata/asking.yaml"), process, &[]).await
    }

    /// The same, with a server for this many clients.
    pub async fn asking_for(clients: u32, process: &str) -> Self {
        let settings = [("max_connections".to_owned(), clients.to_string())];
        Self::under(include_str!("../testdata/asking.yaml"), process, &settings).await
    }

    /// Where the API manages the documents, of which there are none yet: `policy.yaml` lies ready.
    pub async fn managed() -> Self {
        let (idp, server) = tokio::join!(issuer(), server(&[]));
        let dir = Scratch::new();
        dir.write(
            "gateway.yaml",
            "listen: { web: 127.0.0.1:0, postgres: 127.0.0.1:0 }\ninsecure_plaintext: loopback\ndata: data\n\
             policy: managed\nsecrets: secrets\n",
        );
        dir.write("secrets/shop", format!("{SHOP_PASSWORD}\n"));
        let documents = include_str!("../testdata/lab.yaml")
            .replace("env:SHOP_DB_PASSWORD", "file:shop")
            .replace("env:GATEWAY_CLIENT_SECRET", "env:PORTCULLIS_SECRET_GRAPH");
        dir.write("policy.yaml", policy(&documents, &idp, &server));
        let gateway = start(&dir);
        let mut lab = Self { idp, server, gateway, listeners: Value::Null, dir };
        lab.ready().await;
        lab
    }

    async fn under(documents: &str, process: &str, settings: &[(String, String)]) -> Self {
        let (idp, server) = tokio::join!(issuer(), server(settings));
        let dir = Scratch::new();
        dir.write(
            "gateway.yaml",
            format!(
                "listen: {{ web: 127.0.0.1:0, postgres: 127.0.0.1:0 }}\ninsecure_plaintext: loopback\ndata: data\n\
                 policy: [policy.yaml]\n{process}"
            ),
        );
        dir.write("policy.yaml", policy(documents, &idp, &server));
        let gateway = start(&dir);
        let mut lab = Self { idp, server, gateway, listeners: Value::Null, dir };
        lab.ready().await;
        lab
    }

    async fn ready(&mut self) {
        self.gateway.wait_for_line("ready").await;
        self.listeners = self.gateway.wait_for_json(self.dir.join("data/listeners.json")).await;
    }

    /// Starts the gateway again on the same data directory.
    pub async fn restart(&mut self) {
        self.gateway = start(&self.dir);
        self.ready().await;
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("gateway.yaml")
    }

    /// Replaces `from`, which must be there, in the policy on the disk.
    pub fn edit_policy(&self, from: &str, to: &str) {
        let path = self.dir.join("policy.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "the policy has no `{from}`");
        self.dir.write("policy.new", text.replace(from, to));
        std::fs::rename(self.dir.join("policy.new"), path).unwrap();
    }

    pub fn listener(&self, name: &str) -> std::net::SocketAddr {
        self.listeners[name].as_str().unwrap().parse().unwrap()
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.listener("web"))
    }

    /// A client that trusts the gateway's certificate, and nothing else.
    pub fn http(&self) -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pem = std::fs::read(self.listeners["certificate"].as_str().unwrap()).unwrap();
        let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
        reqwest::Client::builder().tls_certs_only([certificate]).no_proxy().build().unwrap()
    }

    /// The same, which goes where it is sent only when told to, as a test that plays the browser does.
    pub fn browser(&self) -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pem = std::fs::read(self.listeners["certificate"].as_str().unwrap()).unwrap();
        let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
        let builder = reqwest::Client::builder().tls_certs_only([certificate]).no_proxy();
        builder.redirect(reqwest::redirect::Policy::none()).build().unwrap()
    }

    pub fn admin_token(&self) -> String {
        std::fs::read_to_string(self.dir.join("data/admin.token")).unwrap().trim().to_owned()
    }

    /// An access token, as the agent's runtime gets one.
    pub async fn token(&self, agent: Agent) -> String {
        let issuer = self.idp.issuer().unwrap();
        let args = ["token", "--issuer", &issuer, "--client-id", agent.client_id];
        let answer = self.run(&args, &[("PORTCULLIS_CLIENT_SECRET", agent.secret)]).await;
        answer.ok().trim().to_owned()
    }

    /// One statement through psql, over verified TLS.
    pub async fn psql(&self, connection: &str, token: &str, sql: &str) -> PsqlOutput {
        let certificate = PathBuf::from(self.listeners["certificate"].as_str().unwrap());
        let psql =
            Psql::to(self.listener("postgres").port(), connection).password(token).verify_full(&certificate);
        psql.run(&["-v", "VERBOSITY=verbose", "-c", sql]).await
    }

    /// A session that stays open.
    pub async fn open(&self, connection: &str, token: &str) -> Session {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.listener("postgres").port()).user(connection).password(token);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        Session { client, ended: tokio::spawn(connection) }
    }

    /// A connect that is refused: (SQLSTATE, message). psql shows no SQLSTATE of a connection that never was.
    pub async fn refused(&self, connection: &str, token: &str) -> (String, String) {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.listener("postgres").port()).user(connection).password(token);
        let error = config.connect(NoTls).await.err().expect("a refusal");
        let error = error.as_db_error().unwrap_or_else(|| panic!("a refusal by protocol: {error:?}"));
        (error.code().code().to_owned(), error.message().to_owned())
    }

    /// Nobody came over TCP: the gateway does, the set-up uses the Unix socket.
    #[track_caller]
    pub fn server_saw_nobody(&self) {
        assert!(!self.server.saw("host=127.0.0.1"), "the server saw somebody:\n{}", self.server.log());
    }

    /// The command line, pointed at this gateway by its process file.
    pub async fn cli(&self, args: &[&str]) -> Answer {
        self.run(args, &[("PORTCULLIS_CONFIG", &self.config().display().to_string())]).await
    }

    /// The command line as an agent has it: address, certificate and token.
    pub async fn as_agent(&self, token: &str, args: &[&str]) -> Answer {
        let certificate = self.listeners["certificate"].as_str().unwrap().to_owned();
        let env = [
            ("PORTCULLIS_GATEWAY", self.url()),
            ("PORTCULLIS_CA", certificate),
            ("PORTCULLIS_TOKEN", token.to_owned()),
        ];
        self.run(args, &env.each_ref().map(|(name, value)| (*name, value.as_str()))).await
    }

    async fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Answer {
        run(args, env, self.dir.path()).await
    }

    /// The audit events a search finds, once `complete` says that they are all there: the index is a moment behind.
    pub async fn audit(&self, filter: &[&str], complete: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut args = vec!["audit", "search", "--output", "json", "--oldest-first", "--limit", "1000"];
        args.extend(filter);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.cli(&args).await.json()["rows"].as_array().unwrap().clone();
            if complete(&rows) {
                return rows;
            }
            assert!(Instant::now() < deadline, "the audit log never had it all: {rows:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs psql until `wanted` likes what it says: for what takes effect within seconds.
    pub async fn psql_until(
        &self,
        connection: &str,
        token: &str,
        wanted: impl Fn(&PsqlOutput) -> bool,
    ) -> PsqlOutput {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.psql(connection, token, "SELECT 1").await;
            if wanted(&output) {
                return output;
            }
            assert!(Instant::now() < deadline, "it never came to that: {output:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The principal's key as sessions and blocks show it.
pub fn key(agent: Agent) -> String {
    format!("entra/{TENANT}/{}", agent.object_id)
}

/// One open session.
pub struct Session {
    pub client: tokio_postgres::Client,
    ended: tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Session {
    /// The first column of the only row, as text.
    pub async fn one(&self, sql: &str) -> String {
        let messages = self.client.simple_query(sql).await.unwrap();
        let row = messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        row.unwrap()
    }

    /// Waits until the gateway ends it: (SQLSTATE, message). The session does nothing meanwhile.
    pub async fn ended(self) -> (String, String) {
        let outcome = tokio::time::timeout(PATIENCE, self.ended).await.expect("the session was never ended");
        let error = outcome.unwrap().expect_err("an end with a reason");
        let error = error.as_db_error().unwrap_or_else(|| panic!("an end by protocol: {error:?}"));
        drop(self.client);
        (error.code().code().to_owned(), error.message().to_owned())
    }
}

/// Runs the command line with this environment and none of our own variables.
pub async fn run(args: &[&str], env: &[(&str, &str)], dir: &std::path::Path) -> Answer {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PORTCULLIS_")) {
            command.env_remove(&name);
        }
    }
    command
        .args(args)
        // Whoever runs the tests may be signed in somewhere.
        .env("XDG_STATE_HOME", dir.join("state"))
        .envs(env.iter().copied())
        .env("NO_COLOR", "1")
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn start(dir: &Scratch) -> Process {
    Process::start(
        ProcessOptions::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["gateway", "--config"])
            .arg(dir.join("gateway.yaml"))
            .env("SHOP_DB_PASSWORD", SHOP_PASSWORD)
            .env("GATEWAY_CLIENT_SECRET", GRAPH_SECRET)
            .env("PORTCULLIS_SECRET_GRAPH", GRAPH_SECRET),
    )
}

async fn issuer() -> Running {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/demo/directory.yaml");
    let directory = Directory::load(path.as_ref()).unwrap();
    DevIdp::new(directory, Arc::new(SystemClock)).unwrap().start().await.unwrap()
}

async fn server(settings: &[(String, String)]) -> PgServer {
    let (setup_sql, settings) = (SETUP.to_owned(), settings.to_vec());
    PgServer::start(PgOptions { setup_sql, settings, ..PgOptions::default() }).await
}

fn policy(documents: &str, idp: &Running, server: &PgServer) -> String {
    let (authority, address) = (idp.authority().unwrap(), server.address());
    documents.replace("AUTHORITY", authority).replace("ADDRESS", &address)
}
