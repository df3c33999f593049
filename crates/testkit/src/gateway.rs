//! The real gateway beside the development issuer, both as processes, for end-to-end tests.
//!
//! The issuer knows three agents ([`AGENT`], [`WRITER`], [`OUTSIDER`]) and two groups, `agents` (the first two) and `writers`.
//! A test brings connections and grants, as YAML; the provider that trusts the issuer is written for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{Process, ProcessOptions, Psql, Scratch, drivers::DriverTarget};

/// The tenant.
pub const TENANT: &str = "4c5a0d3e-0000-4000-8000-0000000000e2";
/// The application that tokens are for.
pub const AUDIENCE: &str = "6b1f0f0e-0000-4000-8000-0000000000e2";

/// An agent's workload identity at the issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent {
    /// Its display name.
    pub name: &'static str,
    /// Its application (client) id.
    pub client_id: &'static str,
    /// The object id of its service principal.
    pub object_id: &'static str,
    /// Its client secret.
    pub secret: &'static str,
}

/// In the group `agents`.
pub const AGENT: Agent = Agent {
    name: "agent",
    client_id: "9f2c0000-0000-4000-8000-0000000000a1",
    object_id: "77aa0000-0000-4000-8000-0000000000a1",
    secret: "agent-secret-for-tests",
};
/// In the groups `agents` and `writers`.
pub const WRITER: Agent = Agent {
    name: "writer",
    client_id: "9f2c0000-0000-4000-8000-0000000000a2",
    object_id: "77aa0000-0000-4000-8000-0000000000a2",
    secret: "writer-secret-for-tests",
};
/// In no group.
pub const OUTSIDER: Agent = Agent {
    name: "outsider",
    client_id: "9f2c0000-0000-4000-8000-0000000000a3",
    object_id: "77aa0000-0000-4000-8000-0000000000a3",
    secret: "outsider-secret-for-tests",
};
/// May change the directory: disable agents, change groups.
pub const DIRECTORY_ADMIN: Agent = Agent {
    name: "directory-admin",
    client_id: "9f2c0000-0000-4000-8000-0000000000af",
    object_id: "77aa0000-0000-4000-8000-0000000000af",
    secret: "directory-admin-secret-for-tests",
};
/// The gateway's own application at the issuer, for `liveness: { source: graph, … }`.
pub const GATEWAY_APPLICATION: Agent = Agent {
    name: "gateway",
    client_id: "9f2c0000-0000-4000-8000-0000000000ff",
    object_id: "77aa0000-0000-4000-8000-0000000000ff",
    secret: "gateway-secret-for-tests",
};
/// The object id of the group `agents`.
pub const AGENTS_GROUP: &str = "3fa80000-0000-4000-8000-0000000000e1";
/// The object id of the group `writers`.
pub const WRITERS_GROUP: &str = "3fa80000-0000-4000-8000-0000000000e2";

/// What to start.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The binary: `env!("CARGO_BIN_EXE_portcullis")`.
    pub program: PathBuf,
    /// The policy document without its `identity:` section.
    pub policy: String,
    /// More lines of the provider, indented by four spaces, such as `    liveness: …`. `{issuer}` is the issuer's base URL.
    pub provider: String,
    /// More lines of `gateway.yaml`, such as `insecure_plaintext: loopback`.
    pub process: String,
    /// The gateway's environment: upstream passwords, mostly.
    pub env: Vec<(String, String)>,
}

impl GatewayOptions {
    /// The gateway `program` with this policy and nothing else special.
    pub fn new(program: impl Into<PathBuf>, policy: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            policy: policy.into(),
            provider: String::new(),
            process: String::new(),
            env: Vec::new(),
        }
    }

    /// Adds to the gateway's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds lines to `gateway.yaml`.
    #[must_use]
    pub fn process(mut self, lines: &str) -> Self {
        self.process.push_str(lines);
        self.process.push('\n');
        self
    }

    /// Adds lines to the provider.
    #[must_use]
    pub fn provider(mut self, lines: &str) -> Self {
        self.provider.push_str(lines);
        self.provider.push('\n');
        self
    }
}

/// A running gateway and its issuer. Both end on drop.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    listeners: serde_json::Value,
    _issuer: Process,
    issuer: String,
    options: GatewayOptions,
    home: Scratch,
}

/// What a subcommand answered.
#[derive(Debug, Clone)]
pub struct CliOutput {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Gateway {
    /// Starts the issuer, then the gateway, and waits until both listen. Panics, with what they printed, when one does not.
    pub async fn start(options: GatewayOptions) -> Self {
        let home = Scratch::new();
        let directory = home.write("directory.yaml", directory());
        let arguments = ["dev-idp", "--listen", "127.0.0.1:0", "--directory"];
        let mut issuer =
            Process::start(ProcessOptions::new(&options.program).args(arguments).arg(&directory));
        issuer.wait_for_line("ready").await;
        let line = issuer.wait_for_line("http://").await;
        let url =
            line.split_whitespace().find(|word| word.starts_with("http://")).expect("the issuer's address");
        let base = url.split(TENANT).next().unwrap_or(url).trim_end_matches('/').to_owned();

        let data = home.join("data");
        let listen = r#"listen: { web: "127.0.0.1:0", postgres: "127.0.0.1:0" }"#;
        let process =
            format!("{listen}\ndata: {}\npolicy: [policy.yaml]\n{}", data.display(), options.process);
        home.write("gateway.yaml", process);
        write_policy(&home, &options, &base, &options.policy);
        let (process, listeners) = launch(&home, &options).await;
        Self { process, listeners, _issuer: issuer, issuer: base, options, home }
    }

    /// The issuer's base URL: its `authority` and its `graph`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The port that speaks PostgreSQL.
    pub fn postgres_port(&self) -> u16 {
        let address = self.listener("postgres");
        address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("its port")
    }

    /// `https://127.0.0.1:PORT` of API, health and metrics.
    pub fn web(&self) -> String {
        format!("https://{}", self.listener("web"))
    }

    /// The certificate to verify it with.
    pub fn certificate(&self) -> PathBuf {
        self.listener("certificate").into()
    }

    fn listener(&self, name: &str) -> &str {
        let value = self.listeners.get(name).and_then(serde_json::Value::as_str);
        value.unwrap_or_else(|| panic!("no `{name}` in listeners.json: {}", self.listeners))
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The gateway's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything the gateway has printed since it was last started.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// A token of `agent` for the gateway, by client credentials. Panics when the issuer refuses.
    pub async fn token(&self, agent: Agent) -> String {
        self.try_token(agent).await.unwrap_or_else(|refused| panic!("no token for {}: {refused}", agent.name))
    }

    /// A token of `agent`, or what the issuer said.
    ///
    /// # Errors
    /// The issuer refuses: the agent is disabled, say.
    pub async fn try_token(&self, agent: Agent) -> Result<String, String> {
        let issuer = format!("{}/{TENANT}/v2.0", self.issuer);
        let arguments = ["token", "--issuer", &issuer, "--client-id", agent.client_id];
        let output = self.cli_with(&arguments, &[("PORTCULLIS_CLIENT_SECRET", agent.secret)]).await;
        if output.code == 0 { Ok(output.stdout.trim().to_owned()) } else { Err(output.stderr) }
    }

    /// `psql` to `connection` with `token` as the password, the gateway verified in full.
    pub fn psql(&self, connection: &str, token: &str) -> Psql {
        Psql::to(self.postgres_port(), connection).password(token).verify_full(&self.certificate())
    }

    /// The same for the driver scenarios and the regression suite.
    pub fn target(&self, connection: &str, token: &str, database: &str) -> DriverTarget {
        DriverTarget {
            port: self.postgres_port(),
            user: connection.to_owned(),
            password: token.to_owned(),
            database: database.to_owned(),
            ca: Some(self.certificate()),
        }
    }

    /// Runs a subcommand against this gateway.
    pub async fn cli(&self, arguments: &[&str]) -> CliOutput {
        self.cli_with(arguments, &[]).await
    }

    /// Runs a subcommand with more environment, such as `PORTCULLIS_TOKEN`.
    pub async fn cli_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> CliOutput {
        let output = tokio::process::Command::new(&self.options.program)
            .args(arguments)
            .current_dir(self.home.path())
            .env("XDG_STATE_HOME", self.home.join("state"))
            .env("PORTCULLIS_CONFIG", self.home.join("gateway.yaml"))
            .env("PORTCULLIS_GATEWAY", self.web())
            .env("PORTCULLIS_CA", self.certificate())
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|error| panic!("running {}: {error}", self.options.program.display()));
        CliOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Writes a new policy document (without `identity:`); the gateway notices by itself.
    pub fn replace_policy(&self, policy: &str) {
        write_policy(&self.home, &self.options, &self.issuer, policy);
    }

    /// SIGKILL to the gateway alone, as a power cut would.
    pub fn kill_hard(&mut self) {
        self.process.kill_hard();
    }

    /// Starts the gateway again on the same data directory, after [`Gateway::kill_hard`] or a goodbye. Its ports change.
    pub async fn restart(&mut self) {
        self.process.kill_hard();
        let _ = fs::remove_file(self.home.join("data/listeners.json"));
        (self.process, self.listeners) = launch(&self.home, &self.options).await;
    }
}

impl CliOutput {
    /// Standard output; panics unless it exited 0.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "failed: {}{}", self.stdout, self.stderr);
        &self.stdout
    }
}

async fn launch(home: &Scratch, options: &GatewayOptions) -> (Process, serde_json::Value) {
    let mut start =
        ProcessOptions::new(&options.program).args(["gateway", "--config"]).arg(home.join("gateway.yaml"));
    for (name, value) in &options.env {
        start = start.env(name, value);
    }
    let mut process = Process::start(start);
    let listeners = process.wait_for_json(home.join("data/listeners.json")).await;
    (process, listeners)
}

/// Written beside and renamed, so that the gateway never reads half of it.
fn write_policy(home: &Scratch, options: &GatewayOptions, issuer: &str, policy: &str) {
    let provider = options.provider.replace("{issuer}", issuer);
    let text = format!(
        "identity:\n  - name: entra\n    kind: entra\n    tenant: {TENANT}\n    authority: {issuer}\n    audience: [\"{AUDIENCE}\"]\n    \
         groups: {{ agents: {AGENTS_GROUP}, writers: {WRITERS_GROUP} }}\n{provider}{policy}\n"
    );
    let draft = home.write("policy.yaml.new", text);
    rename(&draft, &home.join("policy.yaml"));
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap_or_else(|error| panic!("renaming to {}: {error}", to.display()));
}

fn directory() -> String {
    let mut text = format!(
        "tenant: {TENANT}\ntoken_lifetime: 4h\napis:\n  - {{ display_name: Portcullis, client_id: {AUDIENCE}, \
         identifier_uris: [\"api://portcullis\"], requested_access_token_version: 2 }}\napplications:\n"
    );
    let permissions = [
        (AGENT, "[]"),
        (WRITER, "[]"),
        (OUTSIDER, "[]"),
        (DIRECTORY_ADMIN, "[Directory.ReadWrite.All]"),
        (GATEWAY_APPLICATION, "[Application.Read.All, GroupMember.Read.All]"),
    ];
    for (Agent { name, client_id, object_id, secret }, graph) in permissions {
        text.push_str(&format!(
            "  - {{ display_name: {name}, client_id: {client_id}, object_id: {object_id}, secret: {secret}, graph_permissions: {graph} }}\n"
        ));
    }
    let (both, writers) = (format!("[{}, {}]", AGENT.name, WRITER.name), format!("[{}]", WRITER.name));
    text.push_str(&format!(
        "groups:\n  - {{ display_name: agents, object_id: {AGENTS_GROUP}, members: {both} }}\n  \
         - {{ display_name: writers, object_id: {WRITERS_GROUP}, members: {writers} }}\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_whole_with_the_issuer_put_in() {
        let home = Scratch::new();
        let options = GatewayOptions::new("portcullis", "")
            .provider("    liveness: { source: graph, graph: \"{issuer}\" }");
        write_policy(&home, &options, "http://127.0.0.1:1", "connections: {}");
        let text = fs::read_to_string(home.join("policy.yaml")).unwrap();
        assert!(text.contains("    authority: http://127.0.0.1:1\n"), "{text}");
        assert!(
            text.ends_with(
                "    liveness: { source: graph, graph: \"http://127.0.0.1:1\" }\nconnections: {}\n"
            ),
            "{text}"
        );
        assert!(!home.join("policy.yaml.new").exists());
    }
}
