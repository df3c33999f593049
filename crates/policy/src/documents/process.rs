//! `gateway.yaml` -> [`Process`].

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use url::Url;

use crate::{
    PgAuthentication,
    documents::{
        identity, keys,
        reader::{Fields, Reader, print_duration, shown},
        tree::{Node, Value},
    },
    process::{
        Confinement, ConsoleSettings, JournalSettings, Limits, Listen, Listener, LogFormat, LogSettings,
        Plaintext, PolicySource, Process, Recordings, Store, Sync, TlsFiles,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Reads the process file. `None` where it cannot even be guessed at; the caller looks at the report for errors.
pub(crate) fn read(reader: &mut Reader<'_>, root: &Node) -> Option<Process> {
    let fields = reader.fields(root, &keys::GATEWAY)?;
    let listen = reader.required(&fields, "listen").and_then(|node| listen(reader, node));
    let data = reader.required(&fields, "data").and_then(|node| reader.path(node, "`data`"));
    let policy = reader.required(&fields, "policy").map(|node| policy_source(reader, &fields, node));
    let tls = fields.get("tls").and_then(|node| tls_files(reader, node));
    let plaintext = fields.get("insecure_plaintext").and_then(|node| {
        reader.word(
            node,
            "`insecure_plaintext`",
            &[("never", Plaintext::Never), ("loopback", Plaintext::Loopback)],
        )
    });
    let store = fields.get("store").and_then(|node| store(reader, node));
    let recordings = fields.get("recordings").and_then(|node| recordings(reader, node));
    let journal = fields.get("journal").and_then(|node| journal(reader, node));
    let limits = fields.get("limits").and_then(|node| limits(reader, node));
    let public_url = fields.get("public_url").and_then(|node| public_url(reader, node));
    let console = fields.get("console").and_then(|node| console(reader, node));
    let trusted = fields.get("proxy_protocol").map(|node| proxy_protocol(reader, node));
    let log = fields.get("log").and_then(|node| log(reader, node));
    Some(Process {
        listen: listen?,
        tls,
        insecure_plaintext: plaintext.unwrap_or_default(),
        data: data?,
        store: store.unwrap_or_default(),
        recordings: recordings.unwrap_or_default(),
        journal: journal.unwrap_or_default(),
        policy: policy?,
        public_url,
        console: console.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        proxy_protocol: trusted.unwrap_or_default(),
        log: log.unwrap_or_default(),
    })
}

fn listen(reader: &mut Reader<'_>, node: &Node) -> Option<Listen> {
    let fields = reader.fields(node, &keys::LISTEN)?;
    let web = reader.required(&fields, "web").and_then(|node| socket(reader, node, "`web`"));
    let postgres = fields.get("postgres").and_then(|node| listener(reader, node));
    for later in ["http", "kubernetes", "mysql", "ssh"] {
        if let Some(entry) = fields.entry(later) {
            let message = format!("the {later} protocol is not spoken yet, so a listener for it is");
            reader.not_yet(&entry.key_span, message, "remove it");
        }
    }
    Some(Listen { web: web?, postgres })
}

/// `0.0.0.0:5432`, or `{ address: …, authentication: … }`.
fn listener(reader: &mut Reader<'_>, node: &Node) -> Option<Listener> {
    if !matches!(node.value, Value::Map(_)) {
        return Some(Listener {
            address: socket(reader, node, "`postgres`")?,
            authentication: PgAuthentication::default(),
        });
    }
    let fields = reader.fields(node, &keys::LISTENER)?;
    let address = reader.required(&fields, "address").and_then(|node| socket(reader, node, "`address`"));
    let authentication = fields.get("authentication").and_then(|node| authentication(reader, node));
    Some(Listener { address: address?, authentication: authentication.unwrap_or_default() })
}

pub(crate) fn authentication(reader: &mut Reader<'_>, node: &Node) -> Option<PgAuthentication> {
    reader.word(node, "`authentication`", &PgAuthentication::ALL.map(|way| (way.as_str(), way)))
}

fn socket(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<SocketAddr> {
    let text = reader.text(node, what)?;
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!("`{}` is no address to listen on for {what}", shown(text));
        reader.error_help(
            &node.span,
            message,
            "write an IP address and a port: `0.0.0.0:5432`, `127.0.0.1:0`, `[::]:5432`",
        );
    }
    address
}

/// Files and folders, or the word `managed`.
fn policy_source(reader: &mut Reader<'_>, all: &Fields<'_>, node: &Node) -> PolicySource {
    let secrets = all.entry("secrets");
    if matches!(&node.value, Value::Scalar { text, .. } if text == "managed") {
        let secrets = secrets.and_then(|entry| reader.path(&entry.value, "`secrets`"));
        return PolicySource::Managed(Confinement { secrets });
    }
    if let Some(entry) = secrets {
        reader.error_help(
            &entry.key_span,
            "`secrets` matters only with `policy: managed`",
            "remove it: documents in files name secrets wherever they are",
        );
    }
    PolicySource::Files(reader.many(node, "`policy`", |reader, item| reader.path(item, "`policy`")))
}

fn tls_files(reader: &mut Reader<'_>, node: &Node) -> Option<TlsFiles> {
    let fields = reader.fields(node, &keys::TLS_FILES)?;
    let certificate =
        reader.required(&fields, "certificate").and_then(|node| reader.path(node, "`certificate`"));
    let key = reader.required(&fields, "key").and_then(|node| reader.path(node, "`key`"));
    Some(TlsFiles { certificate: certificate?, key: key? })
}

fn store(reader: &mut Reader<'_>, node: &Node) -> Option<Store> {
    let text = reader.text(node, "`store`")?;
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        // the URL may hold a password
        let place = reader.place(&node.span);
        reader.report.hide(&place);
        reader.not_yet(&node.span, "a store in PostgreSQL is", "use `store: sqlite`");
        return None;
    }
    reader.word(node, "`store`", &[("sqlite", Store::Sqlite)])
}

fn recordings(reader: &mut Reader<'_>, node: &Node) -> Option<Recordings> {
    let text = reader.text(node, "`recordings`")?;
    if ["s3://", "az://", "gs://"].iter().any(|scheme| text.starts_with(scheme)) {
        reader.not_yet(&node.span, "recordings in an object store are", "use `recordings: file`");
        return None;
    }
    reader.word(node, "`recordings`", &[("file", Recordings::File)])
}

fn journal(reader: &mut Reader<'_>, node: &Node) -> Option<JournalSettings> {
    let fields = reader.fields(node, &keys::JOURNAL)?;
    let sync = fields
        .get("sync")
        .and_then(|node| reader.word(node, "`sync`", &[("fast", Sync::Fast), ("strict", Sync::Strict)]));
    Some(JournalSettings { sync: sync.unwrap_or_default() })
}

fn limits(reader: &mut Reader<'_>, node: &Node) -> Option<Limits> {
    let fields = reader.fields(node, &keys::LIMITS)?;
    let mut limits = Limits::default();
    if let Some(n) =
        fields.get("connections").and_then(|node| reader.integer(node, "`connections`", 1, 1_000_000))
    {
        limits.connections = usize::try_from(n).unwrap_or(limits.connections);
    }
    if let Some(d) =
        fields.get("handshake").and_then(|node| reader.duration(node, "`handshake`", SECOND..SECOND * 300))
    {
        limits.handshake = d;
    }
    if let Some(n) =
        fields.get("statement").and_then(|node| reader.size(node, "`statement`", 1 << 10, 16 << 20))
    {
        limits.statement = n;
    }
    if let Some(n) = fields.get("token").and_then(|node| reader.size(node, "`token`", 1 << 10, 64 << 10)) {
        limits.token = n;
    }
    if let Some(n) =
        fields.get("audit_text").and_then(|node| reader.size(node, "`audit_text`", 256, 16 << 20))
    {
        limits.audit_text = n;
    }
    if let Some(d) =
        fields.get("drain").and_then(|node| reader.duration(node, "`drain`", Duration::ZERO..SECOND * 3_600))
    {
        limits.drain = d;
    }
    if let Some(n) =
        fields.get("recorded_rows").and_then(|node| reader.integer(node, "`recorded_rows`", 0, 1_000_000))
    {
        limits.recorded_rows = usize::try_from(n).unwrap_or(limits.recorded_rows);
    }
    if let Some(n) =
        fields.get("recorded_bytes").and_then(|node| reader.size(node, "`recorded_bytes`", 0, 64 << 20))
    {
        limits.recorded_bytes = n;
    }
    if let Some(n) =
        fields.get("masked_row").and_then(|node| reader.size(node, "`masked_row`", 64 << 10, 1 << 30))
    {
        limits.masked_row = n;
    }
    let total = fields
        .get("pending_requests")
        .and_then(|node| reader.integer(node, "`pending_requests`", 1, 1_000_000));
    if let Some(n) = total {
        limits.pending_requests = usize::try_from(n).unwrap_or(limits.pending_requests);
    }
    if let Some(node) = fields.get("pending_per_identity")
        && let Some(n) = reader.integer(node, "`pending_per_identity`", 1, 1_000_000)
    {
        limits.pending_per_identity = usize::try_from(n).unwrap_or(limits.pending_per_identity);
        if n > limits.pending_requests as u64 {
            reader.error_help(
                &node.span,
                format!(
                    "one identity cannot have {n} requests waiting where all together may have {}",
                    limits.pending_requests
                ),
                "raise `pending_requests`, or lower `pending_per_identity`",
            );
        }
    }
    Some(limits)
}

/// `https://host` or `https://host:port`; http on loopback. Pages and redirects hang below its root.
fn public_url(reader: &mut Reader<'_>, node: &Node) -> Option<Url> {
    let url = identity::url(reader, node, "`public_url`")?;
    if url.scheme() != "https" && !identity::is_loopback(&url) {
        reader.error_help(
            &node.span,
            "`public_url` is plain http: people would sign in where everybody on the way listens",
            "use https; http is for loopback only",
        );
        return None;
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        reader.error_help(
            &node.span,
            "`public_url` has more than a host and a port",
            "write it as `https://gateway.example.com`: the console is served at the root",
        );
        return None;
    }
    Some(url)
}

fn console(reader: &mut Reader<'_>, node: &Node) -> Option<ConsoleSettings> {
    let fields = reader.fields(node, &keys::CONSOLE)?;
    let mut console = ConsoleSettings::default();
    if let Some(d) = fields
        .get("absolute")
        .and_then(|node| reader.duration(node, "`absolute`", SECOND * 300..SECOND * 2_592_000))
    {
        console.absolute = d;
        console.idle = console.idle.min(d);
    }
    if let Some(node) = fields.get("idle")
        && let Some(d) = reader.duration(node, "`idle`", SECOND * 60..SECOND * 86_400)
    {
        console.idle = d;
        if d > console.absolute {
            reader.error_help(
                &node.span,
                format!(
                    "a session ends after {} whatever happens, so `idle` never matters",
                    print_duration(console.absolute)
                ),
                "make `idle` shorter than `absolute`, which is `12h` unless said",
            );
        }
    }
    Some(console)
}

fn proxy_protocol(reader: &mut Reader<'_>, node: &Node) -> Vec<IpNet> {
    let Some(fields) = reader.fields(node, &keys::PROXY_PROTOCOL) else { return Vec::new() };
    let Some(trusted) = reader.required(&fields, "trusted") else { return Vec::new() };
    reader.many(trusted, "`trusted`", |reader, item| {
        let text = reader.text(item, "`trusted`")?;
        let network: Option<IpNet> = text.parse().ok();
        match network {
            None => {
                let message = format!("`{}` is no network", shown(text));
                reader.error_help(&item.span, message, "write it as `10.0.0.0/8` or `192.0.2.7/32`");
            }
            Some(network) if network.prefix_len() == 0 => reader.warn(
                &item.span,
                "every peer may say which address it comes from",
                "list the load balancers' own networks; conditions on `source.ip` mean nothing otherwise",
            ),
            Some(network) if network.addr() != network.network() => {
                let message = format!("`{text}` has address bits after its prefix");
                reader.error_help(&item.span, message, format!("did you mean `{}`?", network.trunc()));
            }
            Some(_) => {}
        }
        network
    })
}

fn log(reader: &mut Reader<'_>, node: &Node) -> Option<LogSettings> {
    let fields = reader.fields(node, &keys::LOG)?;
    let format = fields.get("format").and_then(|node| {
        reader.word(node, "`format`", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let level = fields.get("level").and_then(|node| log_level(reader, node));
    let defaults = LogSettings::default();
    Some(LogSettings { format: format.unwrap_or(defaults.format), level: level.unwrap_or(defaults.level) })
}

/// `info`, or `info,portcullis_proxy=debug`.
fn log_level(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "`level`")?;
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let is_target = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
    };
    let good = text.split(',').all(|part| match part.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(part),
    });
    if !good {
        let message = format!("`{}` is no log level", shown(text));
        reader.error_help(
            &node.span,
            message,
            "write off, error, warn, info, debug or trace, and `target=level` after commas",
        );
    }
    good.then(|| text.to_owned())
}
