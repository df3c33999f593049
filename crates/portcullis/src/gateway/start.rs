//! Starting: everything is made, in the order in which it can fail, before a port is open to anyone.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis_access::{Access, Settings, SystemSecrets, requests::RequestLimits};
use portcullis_api::{
    AdminToken, Api, Hub, ManagedDocuments, People, PolicyStatus, PublicUrl, RateLimits, ReadStatements,
    server::{PROTOCOLS, Web},
};
use portcullis_audit::{Error as JournalError, Journal, JournalConfig, Notary, NotaryConfig, Recovery};
use portcullis_core::{AuditEvent, Clock, Operation, SystemClock};
use portcullis_identity::{Identity, SignIns};
use portcullis_notify::{Notifier, slack};
use portcullis_policy::{
    Confinement, Connection, Policy, PolicySource, Process, Report, SourceFile, Sync, Url,
};
use portcullis_postgres::{Postgres, catalog::Catalogs, upstream::Logins};
use portcullis_proxy::{
    Admission, CancelMap, CertificatePaths, DirectDial, DownstreamTls, ListenerConfig, ProxyNetworks,
    Sessions, Shutdown, Workers,
    fingerprint::FingerprintKey,
    gate::{Gate, InForce},
    serve, serve_on,
    supervise::Supervisor,
};
use portcullis_record::Recordings;
use portcullis_sql::{Analyzer, AnalyzerConfig};
use portcullis_store::{Error as StoreError, Store};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    data::{DataDir, Listeners},
    managed::{Folder, Managed},
    recordings,
    reload::{Enforce, Reload, record},
};
use crate::{documents::Place, failure::Failure, remote, statements};

/// How long a dial upstream may take, resolution included.
const DIAL_WITHIN: Duration = Duration::from_secs(10);

/// The web listener's own limits, so that a flood of sessions does not keep an administrator from ending them.
const WEB_TRANSPORTS: usize = 1_000;
const WEB_PER_SOURCE: u32 = 500;

/// A gateway that is made but for its open ports.
pub struct Started {
    pub data: DataDir,
    pub journal: Arc<Journal>,
    pub notary: Arc<Notary>,
    pub store: Arc<Store>,
    pub recordings: Arc<Recordings>,
    pub sessions: Arc<Sessions<InForce>>,
    pub supervisor: Arc<Supervisor>,
    pub identity: Arc<Identity>,
    pub access: Arc<Access>,
    pub tls: Arc<DownstreamTls>,
    pub clock: Arc<dyn Clock>,
    pub listeners: Listeners,
    pub metrics: metrics_exporter_prometheus::PrometheusHandle,
    /// Where documents are files that others write.
    pub reload: Option<Reload>,
    pub api: Arc<Api>,
    pub notifier: Arc<Notifier>,
    /// The sessions' listeners.
    pub shutdown: Shutdown,
    /// The web listener.
    pub web_shutdown: Shutdown,
    pub accepting: Vec<JoinHandle<()>>,
    pub web: JoinHandle<()>,
}

/// Makes the gateway and opens its ports.
pub async fn start(
    process: &Process,
    files: &[SourceFile],
    policy: Arc<Policy>,
    report: &Report,
    workers: Arc<Workers>,
) -> Result<Started, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Failure::cannot(format!("cannot keep metrics: {error}")))?;
    let data = DataDir::make(&process.data)?;
    // First of all, for it holds the lock: two gateways on one data directory never get past it.
    let (journal, recovery) = journal(process, &data, &clock)?;
    data.remove_listeners();
    let notary = notary(&data, &journal)?;
    let managed = managed(process, files)?;
    let fingerprints = FingerprintKey::new(data.fingerprint_key()?.expose());
    let admin = AdminToken::new(data.admin_token()?)
        .ok_or_else(|| Failure::cannot("the admin token is too short"))?;
    let tls = Arc::new(tls(process, &data)?);
    let store = Store::open(data.store(), clock.now()).map_err(|error| store_failure(&error))?;
    let store = Arc::new(store);

    let recordings = recordings::open(&data, &process.limits, &journal, &clock)?;
    let secrets = Arc::new(SystemSecrets);
    let web = bind("web", process.listen.web).await?;
    let public = public_url(process, address(&web)?)?;
    let settings = Settings {
        limits: RequestLimits {
            pending: process.limits.pending_requests,
            per_identity: process.limits.pending_per_identity,
        },
        address: Some(public.base.clone()),
    };
    let access = Access::with(
        Arc::clone(&policy),
        Arc::clone(&store) as _,
        Arc::clone(&journal),
        Arc::clone(&clock),
        settings,
    );
    let access = Arc::new(access.map_err(|error| Failure::cannot(error.to_string()))?);
    let identity = Identity::new(Arc::clone(&clock), Arc::clone(&secrets) as _);
    identity.configure(policy.providers()).map_err(|error| Failure::cannot(error.to_string()))?;
    let sessions = Sessions::start(Arc::clone(&clock));
    let gate = Arc::new(Gate {
        identity: Arc::clone(&identity),
        access: Arc::clone(&access),
        journal: Arc::clone(&journal),
        sessions: Arc::clone(&sessions),
        dial: Arc::new(DirectDial::new(DIAL_WITHIN)),
        secrets: Arc::clone(&secrets) as _,
        clock: Arc::clone(&clock),
        limits: process.limits.clone(),
        fingerprints,
        recordings: Arc::clone(&recordings),
        health: Arc::default(),
    });
    let supervisor = Supervisor::new(Arc::clone(&gate));

    let (shutdown, web_shutdown) = (Shutdown::new(), Shutdown::new());
    let postgres = match &process.listen.postgres {
        Some(listener) => Some((bind("postgres", listener.address).await?, listener.authentication)),
        None => None,
    };
    let listeners = Listeners {
        web: address(&web)?,
        postgres: postgres.as_ref().map(|(listener, _)| address(listener)).transpose()?,
        certificate: std::path::absolute(&tls.paths().certificate)
            .unwrap_or_else(|_| tls.paths().certificate.clone()),
        fingerprint: tls.fingerprint().map(|fingerprint| fingerprint.to_string()).unwrap_or_default(),
    };

    let status = PolicyStatus::new(clock.now(), policy.version(), report, files);
    journal_start(&journal, &clock, &recovery, &policy, report)?;
    let networks =
        (!process.proxy_protocol.is_empty()).then(|| ProxyNetworks::new(process.proxy_protocol.clone()));
    let config = |name, admission| ListenerConfig {
        name,
        handshake: process.limits.handshake,
        proxy: networks.clone(),
        admission,
    };
    let notifier = notifier(&store, &policy, &secrets, &clock).await?;
    let enforce = Arc::new(Enforce {
        identity: Arc::clone(&identity),
        access: Arc::clone(&access),
        journal: Arc::clone(&journal),
        status: Arc::clone(&status),
        supervisor: Arc::clone(&supervisor),
        health: Arc::clone(&gate.health),
        notifier: Arc::clone(&notifier),
        clock: Arc::clone(&clock),
    });
    let documents = managed.map(|(folder, confinement)| {
        let managed = Managed::new(folder, confinement, Arc::clone(&enforce), files.to_vec());
        Arc::new(managed) as Arc<dyn ManagedDocuments>
    });
    let api = Arc::new(Api {
        documents,
        health: Arc::clone(&gate.health),
        identity: Arc::clone(&identity),
        access: Arc::clone(&access),
        journal: Arc::clone(&journal),
        store: Arc::clone(&store),
        sessions: Arc::clone(&sessions),
        clock: Arc::clone(&clock),
        admin,
        policy: Arc::clone(&status),
        metrics: metrics.clone(),
        draining: shutdown.clone(),
        supervisor: Arc::clone(&supervisor),
        recordings: Arc::clone(&recordings),
        people: People::new(Arc::clone(&store), process.console)
            .map_err(|error| Failure::cannot(error.to_string()))?,
        sign_ins: SignIns::new(Arc::clone(&identity)),
        hub: Hub::new(clock.as_ref()),
        limits: RateLimits::default(),
        public,
        notary: Arc::clone(&notary),
        notifier: Arc::clone(&notifier),
        slack: slack::Verifier::default(),
        slack_hosts: slack::ResponseHosts::Slack,
        secrets: Arc::clone(&secrets) as _,
        statements: Arc::new(Reader),
        closing: web_shutdown.clone(),
    });
    let tls_failure = |error: portcullis_proxy::TlsError| Failure::cannot(error.to_string());
    let web_tls = tls.server_config(&PROTOCOLS).map_err(tls_failure)?;
    let front = Web::new(Arc::clone(&api), web_tls, process.limits.handshake, web_shutdown.clone());
    let handler = move |accepted| front.clone().serve(accepted);
    let web_config = config(portcullis_api::server::LISTENER, Admission::new(WEB_TRANSPORTS, WEB_PER_SOURCE));
    let web = tokio::spawn(serve(web, web_config, handler, web_shutdown.clone()));
    let mut accepting = Vec::new();
    if let Some((listener, authentication)) = postgres {
        let analyzer =
            AnalyzerConfig { max_text_bytes: process.limits.statement, ..AnalyzerConfig::default() };
        let analyzer = Analyzer::new(analyzer)
            .map_err(|error| Failure::cannot(format!("cannot start threads: {error}")))?;
        let postgres = Arc::new(Postgres {
            gate: Arc::clone(&gate),
            tls: tls.server_config(&[b"postgresql"]).map_err(tls_failure)?,
            plaintext: process.insecure_plaintext,
            authentication,
            analyzer: Arc::new(analyzer),
            logins: Arc::new(Logins::default()),
            catalogs: Arc::new(Catalogs::default()),
            cancels: CancelMap::new(),
        });
        let handler = move |accepted| Arc::clone(&postgres).serve(accepted);
        let admission = Admission::new(process.limits.connections, per_source(process.limits.connections));
        accepting.push(tokio::spawn(serve_on(
            listener,
            config("postgres", admission),
            handler,
            shutdown.clone(),
            workers,
        )));
    }
    data.write_listeners(&listeners)?;
    let reload = match &process.policy {
        PolicySource::Files(paths) => Some(Reload { paths: paths.clone(), enforce }),
        PolicySource::Managed(_) => None,
    };
    Ok(Started {
        data,
        journal,
        notary,
        store,
        recordings,
        sessions,
        supervisor,
        identity,
        access,
        tls,
        clock,
        listeners,
        metrics,
        reload,
        api,
        notifier,
        shutdown,
        web_shutdown,
        accepting,
        web,
    })
}

/// Where people and clients find the web listener: as the process file says, else where it listens.
fn public_url(process: &Process, web: SocketAddr) -> Result<PublicUrl, Failure> {
    let url = match &process.public_url {
        Some(url) => url.clone(),
        None => format!("https://{}", remote::reachable(web))
            .parse::<Url>()
            .map_err(|error| Failure::cannot(format!("the web listener has no address: {error}")))?,
    };
    Ok(PublicUrl::new(&url))
}

/// What tells people, taking up what was not delivered when the gateway stopped.
async fn notifier(
    store: &Arc<Store>,
    policy: &Policy,
    secrets: &Arc<SystemSecrets>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Notifier>, Failure> {
    let settings = portcullis_notify::Settings {
        // Gateways that began at different moments try again at different ones.
        seed: clock.now().as_micros().unsigned_abs(),
        ..portcullis_notify::Settings::default()
    };
    let (secrets, clock) = (Arc::clone(secrets), Arc::clone(clock));
    let notifier = Notifier::start(secrets, clock, Arc::clone(store) as _, settings)
        .map_err(|error| Failure::cannot(error.to_string()))?;
    if let Err(error) = notifier.resume(policy.notifications()).await {
        tracing::error!(%error, "notices that were not delivered before the start are not tried again");
    }
    Ok(notifier)
}

/// Reads statements for explanations, as `portcullis explain` does.
struct Reader;

impl ReadStatements for Reader {
    fn read(&self, connection: &Connection, text: &str) -> Vec<Operation> {
        let read = statements::Statements::new("public").map_err(|failure| failure.to_string());
        let read = read.and_then(|statements| statements.read(connection, text));
        read.unwrap_or_else(|error| vec![statements::unreadable(text, error)])
    }
}

/// No source takes every place: a tenth is left for others.
fn per_source(all: usize) -> u32 {
    u32::try_from(all - all / 10).unwrap_or(u32::MAX).max(1)
}

fn journal(
    process: &Process,
    data: &DataDir,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<Journal>, Recovery), Failure> {
    let sync = match process.journal.sync {
        Sync::Fast => portcullis_audit::Sync::Fast,
        Sync::Strict => portcullis_audit::Sync::Strict,
    };
    Journal::open(JournalConfig::new(data.journal(), sync), Arc::clone(clock)).map_err(|error| match error {
        JournalError::Locked { .. } => {
            Failure::cannot(format!("another gateway runs on the data directory `{}`", data.path().display()))
                .next("stop it, or give this one a `data:` of its own")
        }
        error => Failure::cannot(error.to_string()),
    })
}

/// Takes up the journal's proof. A journal that is not the one that was signed stops the start.
fn notary(data: &DataDir, journal: &Arc<Journal>) -> Result<Arc<Notary>, Failure> {
    let key = data.audit_key()?;
    let notary = Notary::open(Arc::clone(journal), key, NotaryConfig::default());
    notary.map(Arc::new).map_err(|error| Failure::cannot(error.to_string()))
}

fn journal_start(
    journal: &Journal,
    clock: &Arc<dyn Clock>,
    recovery: &Recovery,
    policy: &Policy,
    report: &Report,
) -> Result<(), Failure> {
    let at = clock.now();
    let started = AuditEvent::GatewayStarted {
        at,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        recovered_bytes: recovery.cut_bytes(),
    };
    let loaded = AuditEvent::PolicyLoaded {
        at,
        policy: Arc::clone(policy.version()),
        warnings: report.warnings() as u64,
        by: None,
    };
    for event in [started, loaded] {
        record(journal, &event).map_err(|error| Failure::cannot(error.to_string()))?;
    }
    Ok(())
}

fn store_failure(error: &StoreError) -> Failure {
    Failure::cannot(error.to_string())
}

fn tls(process: &Process, data: &DataDir) -> Result<DownstreamTls, Failure> {
    let made = match &process.tls {
        Some(files) => {
            let (certificate, key) = (files.certificate.clone(), files.key.clone());
            DownstreamTls::from_files(CertificatePaths { certificate, key })
        }
        None => {
            let mut names = host_names();
            let ips =
                [Some(process.listen.web), process.listen.postgres.as_ref().map(|listener| listener.address)];
            let ips = ips.into_iter().flatten().map(|address| address.ip());
            names.extend(ips.filter(|ip| !ip.is_unspecified() && !ip.is_loopback()).map(|ip| ip.to_string()));
            DownstreamTls::self_signed(data.path(), &names)
        }
    };
    made.map_err(|error| {
        Failure::cannot(error.to_string())
            .next("see `tls:` of the process file; without it a self-signed certificate is made")
    })
}

/// This machine's own name, for the self-signed certificate.
fn host_names() -> Vec<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { Vec::new() } else { vec![name.to_owned()] }
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let failure = Failure::cannot(format!("cannot listen on {address} for {what}: {error}"));
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                failure.next(format!("stop what listens there, or change `listen: {{ {what}: … }}`"))
            }
            io::ErrorKind::PermissionDenied => {
                failure.next("ports below 1024 need a privilege: choose another")
            }
            io::ErrorKind::AddrNotAvailable => failure.next("the address is not one of this machine's"),
            _ => failure,
        }
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::cannot(error.to_string()))
}

/// The folder of documents that the API writes, as a crash may have left it, made whole. `loaded` is what was read before the lock on
/// the data directory was ours.
fn managed(process: &Process, loaded: &[SourceFile]) -> Result<Option<(Folder, Confinement)>, Failure> {
    let Place::Managed(folder, confinement) = Place::of(process) else { return Ok(None) };
    folder.recover().map_err(|error| {
        Failure::cannot(format!("cannot make `{}` whole: {error}", folder.path().display()))
    })?;
    if folder.read().ok().as_deref() != Some(loaded) {
        return Err(Failure::cannot("the documents changed while the gateway started").next("start it again"));
    }
    Ok(Some((folder, confinement)))
}

/// The documents and what they say.
pub fn load(process: &Process) -> Result<(Vec<SourceFile>, Arc<Policy>, Report), Failure> {
    let place = Place::of(process);
    let files = place.read()?;
    let (policy, report) = place.policy(&files).map_err(|failure| match &place {
        Place::Files(_) => failure,
        Place::Managed(folder, _) => failure.next(format!(
            "the API wrote them to `{0}`, and those before them to `{0}.previous`",
            folder.path().display()
        )),
    })?;
    Ok((files, policy, report))
}
