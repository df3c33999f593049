//! PostgreSQL through the gateway: the binary as a process, a fresh server behind it over verified TLS, real clients before it.

use portcullis_testkit::{
    Gateway, GatewayOptions, PgOptions, PgServer, TestCa,
    drivers::DriverTarget,
    gateway::{AGENT, Agent},
};

mod client;
mod drivers;
mod journal_failure;
mod kill9;
mod masks;
mod oauthbearer;
mod postgres18;
mod recorder_failure;
mod regression;
mod rust;
mod secrets;
mod strict;

/// The upstream password: nothing the gateway writes may contain it.
const UPSTREAM_PASSWORD: &str = "upstream-password-7hN2kQ";
/// What the gateway calls it.
const PASSWORD_VARIABLE: &str = "UPSTREAM_PASSWORD";

/// What to set up.
struct Setup<'a> {
    version: u16,
    /// Connections and the scope of the grant to the group `agents` on each.
    connections: &'a [(&'a str, &'a str)],
    /// A connection more, whose grant is for `policy` to write.
    on_request: &'a str,
    /// More of each connection, as YAML at its depth.
    connection: &'a str,
    /// More of the policy document, which ends in the list of grants.
    policy: &'a str,
    /// More of the process file.
    process: &'a str,
    /// More of the provider.
    provider: &'a str,
    /// Run in the database `shop` as its owner, the role the gateway logs in as.
    sql: &'a str,
    settings: Vec<(String, String)>,
    env: &'a [(&'a str, &'a str)],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            version: 15,
            connections: &[("shop", "'*:*'")],
            on_request: "",
            connection: "",
            policy: "",
            process: "",
            provider: "",
            sql: "",
            settings: Vec::new(),
            env: &[],
        }
    }
}

/// A server with the database `shop`, and the gateway before it.
struct Stage {
    gateway: Gateway,
    server: PgServer,
    _ca: TestCa,
}

impl Stage {
    async fn start(setup: Setup<'_>) -> Self {
        Self::start_with(setup, |options| options).await
    }

    /// The same with other options for the gateway.
    async fn start_with(setup: Setup<'_>, adapt: impl FnOnce(GatewayOptions) -> GatewayOptions) -> Self {
        let ca = TestCa::new();
        let setup_sql = format!(
            "CREATE ROLE app LOGIN PASSWORD '{UPSTREAM_PASSWORD}';\nCREATE DATABASE shop OWNER app;\n\\connect shop\nSET ROLE app;\n{}",
            setup.sql
        );
        let server = PgServer::start(PgOptions {
            version: setup.version,
            ssl: Some(ca.localhost()),
            ssl_only: true,
            setup_sql,
            settings: setup.settings,
            ..PgOptions::default()
        })
        .await;
        let mut policy = String::from("connections:\n");
        let names = setup.connections.iter().map(|(name, _)| *name).chain([setup.on_request]);
        for name in names.filter(|name| !name.is_empty()) {
            policy.push_str(&format!(
                "  {name}:\n    protocol: postgres\n    address: {}\n    tls: {{ mode: verify-full, ca: {} }}\n    database: shop\n    \
                 credential: {{ username: app, password: \"env:{PASSWORD_VARIABLE}\" }}\n{}",
                server.address(),
                ca.path().display(),
                setup.connection
            ));
        }
        policy.push_str("grants:\n");
        for (name, scope) in setup.connections {
            policy.push_str(&format!(
                "  - {{ connection: {name}, to: \"group:agents\", when: always, recorded: yes, scope: {scope} }}\n"
            ));
        }
        policy.push_str(setup.policy);
        let mut options = GatewayOptions::new(env!("CARGO_BIN_EXE_portcullis"), policy)
            .env(PASSWORD_VARIABLE, UPSTREAM_PASSWORD)
            .process(setup.process)
            .provider(setup.provider);
        for (name, value) in setup.env {
            options = options.env(name, value);
        }
        let gateway = Gateway::start(adapt(options)).await;
        Self { gateway, server, _ca: ca }
    }

    /// A token of [`AGENT`].
    async fn token(&self) -> String {
        self.token_of(AGENT).await
    }

    async fn token_of(&self, agent: Agent) -> String {
        self.gateway.token(agent).await
    }

    /// A client of the web listener that trusts the gateway's certificate, and nothing else.
    fn http(&self) -> reqwest::Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pem = std::fs::read(self.gateway.certificate()).unwrap();
        let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
        reqwest::Client::builder().tls_certs_only([certificate]).no_proxy().build().unwrap()
    }

    /// Where drivers connect.
    fn target(&self, connection: &str, token: &str) -> DriverTarget {
        self.gateway.target(connection, token, "shop")
    }
}

/// Whether a test is left out on this machine, for want of something. Loudly, and never where CI says that all is there.
fn left_out(what: &str, is_there: bool) -> bool {
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "{what} is missing: run `scripts/setup test`");
        eprintln!("LEFT OUT: {what} is missing; `scripts/setup test` installs it");
    }
    !is_there
}

/// Whether a program can be found.
fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).exists())
}
