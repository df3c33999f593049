//! The process file, `gateway.yaml`, as read. Relative paths are already joined to the file's folder.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use url::Url;

use crate::PgAuthentication;

/// A checked process file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Where to listen.
    pub listen: Listen,
    /// Certificate and key; absent: self-signed, made in `data`.
    pub tls: Option<TlsFiles>,
    /// Whether plaintext is ever accepted.
    pub insecure_plaintext: Plaintext,
    /// The data directory.
    pub data: PathBuf,
    /// Where state is kept.
    pub store: Store,
    /// Where recordings are kept.
    pub recordings: Recordings,
    /// The journal.
    pub journal: JournalSettings,
    /// Where policy documents come from.
    pub policy: PolicySource,
    /// Where people and clients find the web listener, for links and sign-in redirects; no query, no fragment. Absent: its own
    /// address.
    pub public_url: Option<Url>,
    /// The console.
    pub console: ConsoleSettings,
    /// Limits.
    pub limits: Limits,
    /// Networks of load balancers whose PROXY header is believed (and then required). Empty: the header is never read.
    pub proxy_protocol: Vec<IpNet>,
    /// Logging.
    pub log: LogSettings,
}

/// Where policy documents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// Files, and folders of them, that somebody else writes.
    Files(Vec<PathBuf>),
    /// The data directory's own folder, which the API writes and nobody else.
    Managed(Confinement),
}

/// What documents may name that come over the network. Whoever writes them also names the servers that secrets are sent to: without
/// bounds they could read every file and variable of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The folder below which their files are, and to which their paths are relative. Absent: they name no file.
    pub secrets: Option<PathBuf>,
}

impl Confinement {
    /// How the names of variables begin that they may name.
    pub const VARIABLES: &str = "PORTCULLIS_SECRET_";
}

/// Listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// API, health, metrics.
    pub web: SocketAddr,
    /// PostgreSQL.
    pub postgres: Option<Listener>,
}

/// A protocol's listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Port 0: any free one.
    pub address: SocketAddr,
    /// How clients present their token unless their connection says otherwise.
    pub authentication: PgAuthentication,
}

/// Certificate and key files, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// When a client may go without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Plaintext {
    /// Never.
    #[default]
    Never,
    /// When the transport's peer is a loopback address.
    Loopback,
}

/// Where state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Store {
    /// SQLite in the data directory.
    #[default]
    Sqlite,
}

/// Where recordings are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Recordings {
    /// A folder in the data directory.
    #[default]
    File,
}

/// The journal's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct JournalSettings {
    /// When an event counts as written.
    pub sync: Sync,
}

/// When a journal event counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sync {
    /// Once written; fsynced in groups. Survives a crash of the gateway, not of the machine.
    #[default]
    Fast,
    /// Once fsynced.
    Strict,
}

/// People's sessions in the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// Without a request for so long, a session ends. Default 30 minutes.
    pub idle: Duration,
    /// So long after signing in it ends whatever happens. Default 12 hours.
    pub absolute: Duration,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30 * 60), absolute: Duration::from_secs(12 * 3_600) }
    }
}

/// Limits. Each has a default that needs no change on a small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transports open at once, all listeners together.
    pub connections: usize,
    /// From accept to the end of the login.
    pub handshake: Duration,
    /// The longest statement, in bytes.
    pub statement: usize,
    /// The longest token, in bytes; at most 64 KiB.
    pub token: usize,
    /// The longest text kept in an audit event, in bytes; what is cut is said.
    pub audit_text: usize,
    /// How long sessions may finish after SIGTERM.
    pub drain: Duration,
    /// Rows of one operation's result that are recorded; what is beyond is counted.
    pub recorded_rows: usize,
    /// Bytes of one operation's result that are recorded; what is beyond is counted.
    pub recorded_bytes: usize,
    /// The longest row that can be masked, in bytes; a longer one ends the session.
    pub masked_row: usize,
    /// Requests that may wait for an answer at once.
    pub pending_requests: usize,
    /// Requests of one identity that may wait for an answer at once.
    pub pending_per_identity: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            handshake: Duration::from_secs(10),
            statement: 1 << 20,
            token: 64 << 10,
            audit_text: 64 << 10,
            drain: Duration::from_secs(30),
            recorded_rows: 1000,
            recorded_bytes: 1 << 20,
            masked_row: 16 << 20,
            pending_requests: 10_000,
            pending_per_identity: 20,
        }
    }
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// A `tracing` filter: `info`, or `info,portcullis_proxy=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
