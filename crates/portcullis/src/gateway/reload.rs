//! Hot reload: documents that changed are checked and put in force as a whole, or not at all.

use std::{path::PathBuf, sync::Arc, time::Duration};

use portcullis_access::Access;
use portcullis_api::PolicyStatus;
use portcullis_audit::{Batch, Journal};
use portcullis_core::{AuditEvent, Clock, Timestamp};
use portcullis_identity::Identity;
use portcullis_notify::Notifier;
use portcullis_policy::{Policy, Report, SourceFile, check};
use portcullis_proxy::{Health, supervise::Supervisor};
use tokio::sync::mpsc;

use crate::documents::{Unreadable, read_policy};

/// How often the documents are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long changed documents must stay as they are, so that none is taken half written.
const SETTLE: Duration = Duration::from_millis(100);

/// Keeps the policy in force up with the documents.
pub struct Reload {
    pub paths: Vec<PathBuf>,
    pub enforce: Arc<Enforce>,
}

/// Puts checked documents in force, whichever way they came.
pub struct Enforce {
    pub identity: Arc<Identity>,
    pub access: Arc<Access>,
    pub journal: Arc<Journal>,
    pub status: Arc<PolicyStatus>,
    pub supervisor: Arc<Supervisor>,
    pub health: Arc<Health>,
    pub notifier: Arc<Notifier>,
    pub clock: Arc<dyn Clock>,
}

/// The documents as last looked at, or why they could not be read.
type Seen = Result<Vec<SourceFile>, String>;

impl Reload {
    /// Watches until dropped; looks at once when asked through `asked`.
    pub async fn run(self, loaded: Vec<SourceFile>, mut asked: mpsc::Receiver<()>) {
        let mut in_force = loaded.clone();
        let mut seen: Seen = Ok(loaded);
        loop {
            let forced = tokio::select! {
                _ = tokio::time::sleep(INTERVAL) => false,
                Some(()) = asked.recv() => true,
            };
            let Some(now) = self.look().await else { continue };
            if now == seen && !forced {
                continue;
            }
            if now != seen {
                tokio::time::sleep(SETTLE).await;
                if self.look().await.as_ref() != Some(&now) {
                    continue;
                }
            }
            seen = now;
            match &seen {
                Ok(files) if *files == in_force => {
                    tracing::info!("the documents are those of the policy in force");
                    self.enforce.status.restored();
                    metrics::gauge!("portcullis_policy_rejected").set(0.0);
                }
                Ok(files) => {
                    if self.apply(files) {
                        in_force.clone_from(files);
                    }
                }
                Err(error) => self.enforce.reject(error.clone(), None),
            }
        }
    }

    async fn look(&self) -> Option<Seen> {
        let paths = self.paths.clone();
        let read = tokio::task::spawn_blocking(move || read_policy(&paths)).await.ok()?;
        Some(read.map_err(|error: Unreadable| error.to_string()))
    }

    /// Whether the documents are in force now.
    fn apply(&self, files: &[SourceFile]) -> bool {
        let (policy, report) = check(files);
        let Some(policy) = policy else {
            self.enforce.reject(report.render(false), Some(&report));
            return false;
        };
        if let Err(error) = self.enforce.put(files, &policy, &report, None, || Ok(())) {
            self.enforce.reject(error, None);
            return false;
        }
        true
    }
}

impl Enforce {
    /// INVARIANT(policy-swapped-whole): providers, grants and connections change together or not at all. Between the first
    /// and the second step principals are judged by grants that do not know their provider: they get nothing.
    ///
    /// `by` is who brought them, where somebody did. `keep` writes them down where they must outlive the process: after the journal
    /// has the change, before it counts.
    pub fn put(
        &self,
        files: &[SourceFile],
        policy: &Arc<Policy>,
        report: &Report,
        by: Option<&str>,
        keep: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let now = self.clock.now();
        self.identity.configure(policy.providers()).map_err(|error| error.to_string())?;
        let event = AuditEvent::PolicyLoaded {
            at: now,
            policy: Arc::clone(policy.version()),
            warnings: report.warnings() as u64,
            by: by.map(str::to_owned),
        };
        let journalled = record(&self.journal, &event)
            .map_err(|error| format!("the change could not be journalled: {error}"));
        if let Err(error) = journalled.and_then(|()| keep()) {
            let before = self.access.policy();
            if let Err(error) = self.identity.configure(before.providers()) {
                tracing::error!(%error, "the identity providers of the old policy could not be restored");
            }
            return Err(error);
        }
        self.access.replace_policy(Arc::clone(policy));
        self.health.keep(policy);
        self.status.loaded(now, policy.version(), report, files);
        self.notifier.reconfigure(policy.notifications());
        self.supervisor.policy_changed();
        metrics::gauge!("portcullis_policy_rejected").set(0.0);
        metrics::counter!("portcullis_policy_reloads_total", "outcome" => "loaded").increment(1);
        tracing::info!(version = %policy.version(), warnings = report.warnings(), "policy loaded");
        Ok(())
    }

    pub fn reject(&self, errors: String, report: Option<&Report>) {
        let now = self.clock.now();
        let version = Arc::clone(self.access.policy().version());
        tracing::error!(in_force = %version, "the changed documents were refused, the policy in force stays:\n{errors}");
        metrics::gauge!("portcullis_policy_rejected").set(1.0);
        self.journal_refusal(now, version, errors.clone());
        self.status.rejected(now, errors, report);
    }

    /// Documents that came by the API were good and could not be put in force: whoever brought them is told, nothing else changed.
    pub fn refused(&self, error: &str) {
        let version = Arc::clone(self.access.policy().version());
        tracing::error!(in_force = %version, error, "the documents could not be replaced, the policy in force stays");
        self.journal_refusal(self.clock.now(), version, error.to_owned());
    }

    fn journal_refusal(&self, now: Timestamp, version: Arc<str>, errors: String) {
        metrics::counter!("portcullis_policy_reloads_total", "outcome" => "rejected").increment(1);
        let event = AuditEvent::PolicyRejected { at: now, policy: version, errors };
        if let Err(error) = record(&self.journal, &event) {
            tracing::error!(%error, "the refusal could not be journalled");
        }
    }
}

/// Puts one event of the gateway itself into the journal.
pub fn record(journal: &Journal, event: &AuditEvent) -> Result<(), portcullis_audit::Error> {
    let mut batch = Batch::new();
    batch.push(event)?;
    journal.append(None, &batch).map(|_| ())
}
