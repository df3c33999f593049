//! Mirrors of `gateway.yaml`'s maps.

use schemars::JsonSchema;

use super::policy::{Duration, OneOrMany};

/// The process file: one per gateway. Relative paths are relative to its folder.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Gateway {
    /// Where to listen.
    listen: Listen,
    /// Certificate and key of the listeners. Absent: self-signed, made in `data`, its fingerprint printed at start.
    tls: Option<TlsFiles>,
    /// Whether a client may go without TLS: `never`, or `loopback` for loopback peers. Default `never`.
    insecure_plaintext: Option<Plaintext>,
    /// The data directory: SQLite, journal, recordings, keys.
    data: String,
    /// Where state is kept. Default `sqlite`.
    store: Option<Store>,
    /// Where recordings are kept. Default `file`.
    recordings: Option<Recordings>,
    /// The journal.
    journal: Option<Journal>,
    /// Policy documents: files, or folders whose `*.yaml` files are read; or the word `managed`: they are in the data directory, and
    /// the API writes them.
    policy: OneOrMany<String>,
    /// Only with `policy: managed`: the folder of the files that the documents may name, and that their paths are relative to. Absent:
    /// they name no file.
    secrets: Option<String>,
    /// Where people and clients find the web listener, `https://host` or `https://host:port`; http on loopback. For links and
    /// sign-in redirects. Default: the web listener's own address.
    public_url: Option<String>,
    /// People's sessions in the console.
    console: Option<Console>,
    /// Limits.
    limits: Option<Limits>,
    /// Load balancers whose PROXY header is believed.
    proxy_protocol: Option<ProxyProtocol>,
    /// Logging.
    log: Option<Log>,
}

/// Listeners, each `IP:PORT`; port 0 is any free one.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Listen {
    /// API, health and metrics.
    web: String,
    /// PostgreSQL.
    postgres: Option<Listener>,
    /// Not yet spoken: refused by `check`.
    http: Option<String>,
    /// Not yet spoken: refused by `check`.
    kubernetes: Option<String>,
    /// Not yet spoken: refused by `check`.
    mysql: Option<String>,
    /// Not yet spoken: refused by `check`.
    ssh: Option<String>,
}

/// A listener: its address, or its address and more.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Listener {
    Address(String),
    Long(ListenerLong),
}

/// A listener in long form.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ListenerLong {
    /// `IP:PORT`.
    address: String,
    /// How clients present their token. Default `password`.
    authentication: Option<super::policy::Authentication>,
}

/// PEM files.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct TlsFiles {
    /// The chain, leaf first.
    certificate: String,
    /// The private key.
    key: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Plaintext {
    Never,
    Loopback,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Store {
    Sqlite,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Recordings {
    File,
}

/// The journal: every audit event reaches it before its effect is released.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Journal {
    /// `fast`: written, then fsynced in groups. `strict`: fsynced before release. Default `fast`.
    sync: Option<JournalSync>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum JournalSync {
    Fast,
    Strict,
}

/// Limits. Sizes are bytes, or a number with KiB or MiB.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Limits {
    /// Transports open at once. Default 10000.
    connections: Option<u32>,
    /// From accept to the end of the login. Default `10s`.
    handshake: Option<Duration>,
    /// The longest statement. Default `1MiB`.
    statement: Option<Size>,
    /// The longest token; at most `64KiB`. Default `64KiB`.
    token: Option<Size>,
    /// The longest text kept in an audit event. Default `64KiB`.
    audit_text: Option<Size>,
    /// How long sessions may finish after SIGTERM. Default `30s`.
    drain: Option<Duration>,
    /// Rows of one operation's result that are recorded; what is beyond is counted. Default 1000.
    recorded_rows: Option<u32>,
    /// Bytes of one operation's result that are recorded; what is beyond is counted. Default `1MiB`.
    recorded_bytes: Option<Size>,
    /// The longest row that can be masked; a longer one ends the session. Default `16MiB`.
    masked_row: Option<Size>,
    /// Requests that may wait for an answer at once. Default 10000.
    pending_requests: Option<u32>,
    /// Requests of one identity that may wait for an answer at once. Default 20.
    pending_per_identity: Option<u32>,
}

/// People's sessions in the console.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Console {
    /// Without a request for so long, a session ends; `1m` to `1d`. Default `30m`.
    idle: Option<Duration>,
    /// So long after signing in it ends whatever happens; `5m` to `30d`. Default `12h`.
    absolute: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Size {
    Bytes(u64),
    Text(#[schemars(regex(pattern = r"^[0-9]+(KiB|MiB)?$"))] String),
}

/// The PROXY protocol, versions 1 and 2.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ProxyProtocol {
    /// Networks whose header is believed, and required: `10.0.0.0/8`.
    trusted: OneOrMany<String>,
}

/// Logging, to standard error.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Log {
    /// Default `text`.
    format: Option<LogFormat>,
    /// `info`, or `info,portcullis_proxy=debug`. Default `info`.
    level: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum LogFormat {
    Text,
    Json,
}
