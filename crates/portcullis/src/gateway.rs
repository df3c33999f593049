//! `portcullis gateway`: from documents to a running gateway, and to its end in order.
//!
//! **How to read it**: this file is the life of the process; `start` makes its parts, `reload` keeps the policy up with the
//! documents, `managed` writes those that come by the API, `data` is what lies on the disk, `logging` what is said.

use std::{path::PathBuf, sync::Arc, time::Duration};

use portcullis_core::AuditEvent;
use portcullis_proxy::Workers;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{documents, failure::Failure, output};

pub mod data;
mod logging;
pub mod managed;
mod recordings;
mod reload;
mod start;

use start::Started;

/// How often certificate files are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);
/// How often identity providers' keys are refreshed where due.
const KEYS_INTERVAL: Duration = Duration::from_secs(300);
/// How often what is past its retention is forgotten.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often metrics tidy up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long the web listener has for answers under way once sessions are over.
const WEB_GOODBYE: Duration = Duration::from_secs(3);

/// Runs the gateway until it is told to stop (SIGTERM, SIGINT).
///
/// Listens, decides, records. Prints the bound addresses and the certificate's fingerprint, then `ready`; the same stand in
/// `<data>/listeners.json`. Policy documents are watched: a good change is in force within two seconds for live sessions
/// too, a bad one changes nothing and is said in the log, the audit log and `/readyz`. SIGHUP looks at once. With
/// `policy: managed` the documents are in `<data>/policy`, written by the API alone: `portcullis apply`.
///
/// The first SIGTERM lets sessions finish for `limits.drain`; a second ends them where they stand.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process file
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let process = documents::process(&args.config)?;
    logging::start(&process.log)?;
    let (files, policy, report) = start::load(&process)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("gateway")
        .build()
        .map_err(|error| Failure::cannot(format!("cannot start threads: {error}")))?;
    let workers = workers()?;
    let outcome = runtime.block_on(async {
        // Before anything is announced: who reads `ready` may signal at once.
        let signals = Signals::listen()?;
        let started =
            start::start(&process, &files, Arc::clone(&policy), &report, Arc::clone(&workers)).await?;
        announce(&started, &policy, report.warnings(), process.tls.is_none());
        live(started, files, process.limits.drain, signals).await
    });
    // Sessions are over: what is left of them goes before what they stand on.
    drop(workers);
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

/// The threads that sessions run on: half the cores. The rest is for the journal, the index, the parsers, the API, and for
/// what the kernel does for the network (docs/design/0010-data-path-threads.md).
fn workers() -> Result<Arc<Workers>, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Workers::start(cores / 2).map_err(|error| Failure::cannot(format!("cannot start threads: {error}")))
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::cannot(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn announce(started: &Started, policy: &portcullis_policy::Policy, warnings: usize, self_signed: bool) {
    let listeners = &started.listeners;
    output::line(format!("portcullis {}", env!("CARGO_PKG_VERSION")));
    output::line(format!("  web          https://{}", listeners.web));
    if let Some(postgres) = listeners.postgres {
        output::line(format!("  postgres     {postgres}"));
    }
    let made = if self_signed { " (self-signed)" } else { "" };
    output::line(format!("  certificate  {}{made}", listeners.certificate.display()));
    output::line(format!("  fingerprint  {}", listeners.fingerprint));
    output::line(format!("  admin token  {}", started.data.admin_token_path().display()));
    let (connections, grants) = (policy.connections().count(), policy.grants().len());
    if started.reload.is_none() {
        output::line(if connections + grants == 0 {
            "  documents    none yet, and nothing opens: `portcullis apply FILES…` puts the first ones here"
        } else {
            "  documents    managed by the API: `portcullis apply FILES…` replaces them"
        });
    }
    output::line(format!("  policy       {} ({connections} connections, {grants} grants)", policy.version()));
    if warnings > 0 {
        output::line(format!("  warnings     {warnings}: see `portcullis check`"));
    }
    output::line("ready");
}

/// From `ready` to the last event.
async fn live(
    started: Started,
    files: Vec<portcullis_policy::SourceFile>,
    drain: Duration,
    mut signals: Signals,
) -> Result<(), Failure> {
    let Started {
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
        metrics,
        reload,
        api,
        notifier,
        shutdown,
        web_shutdown,
        accepting,
        web,
        ..
    } = started;
    let (ask, asked) = mpsc::channel(1);
    let mut background = tokio::task::JoinSet::new();
    background.spawn(supervisor.run());
    background.spawn(portcullis_api::background(api));
    let managed = reload.is_none();
    if let Some(reload) = reload {
        background.spawn(reload.run(files, asked));
    }
    background.spawn(Arc::clone(&tls).watch(CERTIFICATE_INTERVAL));
    background.spawn(ship(Arc::clone(&store), Arc::clone(&journal)));
    background.spawn(async move {
        loop {
            tokio::time::sleep(KEYS_INTERVAL).await;
            identity.refresh_keys().await;
        }
    });
    background.spawn(recordings::forget(
        Arc::clone(&recordings),
        Arc::clone(&journal),
        Arc::clone(&access),
        Arc::clone(&clock),
        RETENTION_INTERVAL,
    ));
    background.spawn(forget(Arc::clone(&store), Arc::clone(&notary), access, Arc::clone(&clock)));
    background.spawn({
        let (store, journal, notary) = (Arc::clone(&store), Arc::clone(&journal), Arc::clone(&notary));
        async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                metrics.run_upkeep();
                measure(&tls, &store, &journal, &notary).await;
            }
        }
    });
    loop {
        tokio::select! {
            () = async { tokio::select! { _ = signals.terminate.recv() => {}, _ = signals.interrupt.recv() => {} } } => break,
            _ = signals.hang_up.recv() => if managed {
                tracing::info!("the documents are managed by the API: there is nothing to look at");
            } else {
                let _ = ask.try_send(());
            },
            Some(done) = background.join_next() => if let Err(error) = done {
                // Without what watches over sessions nothing may go on.
                tracing::error!(%error, "a part of the gateway failed: stopping");
                break;
            }
        }
    }
    tracing::info!(sessions = sessions.count(), limit = ?drain, "stopping: sessions may finish");
    tokio::select! {
        left = shutdown.drain(&sessions, drain) => if left > 0 {
            tracing::warn!(left, "sessions did not end in time");
        },
        () = signals.stop() => {
            tracing::warn!(sessions = sessions.count(), "told to stop again: ending sessions where they stand");
            shutdown.abort();
        }
    }
    for task in accepting {
        let _ = task.await;
    }
    web_shutdown.stop();
    if tokio::time::timeout(WEB_GOODBYE, web).await.is_err() {
        web_shutdown.abort();
    }
    background.shutdown().await;
    notifier.stop().await;
    // Every session has ended: what they left is sealed, and said in the journal, before the journal's last event.
    let _ = tokio::task::spawn_blocking(move || recordings.stop()).await;
    data.remove_listeners();
    reload::record(&journal, &AuditEvent::GatewayStopped { at: clock.now() })
        .map_err(|error| Failure::cannot(format!("the end could not be journalled: {error}")))?;
    tokio::task::spawn_blocking(move || notary.finish())
        .await
        .map_err(|error| error.to_string())
        .and_then(|finished| finished.map_err(|error| error.to_string()))
        .map_err(|error| Failure::cannot(format!("the last events could not be signed: {error}")))?;
    tracing::info!("stopped");
    Ok(())
}

/// What is worth an alert before anybody notices: a certificate that ends, an index that falls behind.
async fn measure(
    tls: &portcullis_proxy::DownstreamTls,
    store: &Arc<portcullis_store::Store>,
    journal: &portcullis_audit::Journal,
    notary: &portcullis_audit::Notary,
) {
    if let Some(end) = tls.not_after() {
        metrics::gauge!("portcullis_certificate_not_after_seconds").set(seconds(end));
    }
    let proof = notary.status();
    metrics::gauge!("portcullis_audit_proof_failed").set(if proof.failure.is_some() { 1.0 } else { 0.0 });
    if let Ok(end) = journal.end() {
        let behind = u32::try_from(end.sequence.saturating_sub(proof.checkpoint.size())).unwrap_or(u32::MAX);
        metrics::gauge!("portcullis_audit_unproven_events").set(f64::from(behind));
    }
    let store = Arc::clone(store);
    let shipped = tokio::task::spawn_blocking(move || store.shipped()).await;
    if let (Ok(Ok(shipped)), Ok(end)) = (shipped, journal.end()) {
        let behind = u32::try_from(end.sequence.saturating_sub(shipped.sequence)).unwrap_or(u32::MAX);
        metrics::gauge!("portcullis_audit_index_behind_events").set(f64::from(behind));
    }
}

fn seconds(at: portcullis_core::Timestamp) -> f64 {
    u32::try_from(at.as_seconds()).map_or(f64::INFINITY, f64::from)
}

/// Keeps the index up with the journal. When it cannot, sessions go on: the journal is the truth, and `/readyz` says so.
async fn ship(store: Arc<portcullis_store::Store>, journal: Arc<portcullis_audit::Journal>) {
    if let Err(error) = store.ship(journal).await {
        tracing::error!(%error, "audit events are no longer searchable; the journal has them");
        metrics::gauge!("portcullis_audit_index_failed").set(1.0);
    }
}

/// What is past its retention goes from the index, and then from the journal.
async fn forget(
    store: Arc<portcullis_store::Store>,
    notary: Arc<portcullis_audit::Notary>,
    access: Arc<portcullis_access::Access>,
    clock: Arc<dyn portcullis_core::Clock>,
) {
    loop {
        tokio::time::sleep(RETENTION_INTERVAL).await;
        let before = clock.now().minus(access.policy().retention().audit);
        let index = Arc::clone(&store);
        let indexed = tokio::task::spawn_blocking(move || {
            let forgotten = index.forget_before(before)?;
            let deliveries = index.forget_deliveries(before)?;
            tracing::debug!(?forgotten, deliveries, "retention");
            index.shipped()
        });
        let indexed = match indexed.await {
            Ok(Ok(indexed)) => indexed,
            Ok(Err(error)) => {
                tracing::error!(%error, "what is past its retention could not be forgotten");
                continue;
            }
            Err(_) => continue,
        };
        match notary.forget_before(before, indexed, clock.now()).await {
            Ok(Some(deleted)) => {
                tracing::info!(?deleted, "segments of the journal past their retention are deleted")
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "what is past its retention could not be deleted from the journal")
            }
        }
    }
}
