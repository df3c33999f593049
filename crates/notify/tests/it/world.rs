//! A notifier with short pauses, secrets in a map, and a log one can wait for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_core::{Clock, Secret};
use portcullis_notify::{
    Answered, Deliveries, Delivery, DeliveryLog, DeliveryState, LogError, Notice, Notifier, Outcome, Roots,
    Schedule, Settings,
};
use portcullis_policy::{Channel, NoticeKind, Notification, ResolveSecret, SecretError, SecretRef};
use portcullis_testkit::{ManualClock, TestCa};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Far longer than any test takes; a test that waits for what never comes fails then.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub notifier: Arc<Notifier>,
    log: Arc<Watched>,
}

struct Watched {
    deliveries: Deliveries,
    /// Every record, in order: a state that lasted a moment is seen too.
    history: Mutex<Vec<Delivery>>,
    changed: watch::Sender<()>,
}

struct Secrets(BTreeMap<String, String>);

impl ResolveSecret for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret<String>, SecretError> {
        let SecretRef::Env(name) = reference else { unreachable!() };
        let missing =
            || SecretError { reference: reference.to_string(), detail: "the variable is not set".to_owned() };
        self.0.get(name).cloned().map(Secret::new).ok_or_else(missing)
    }
}

impl DeliveryLog for Watched {
    fn record(&self, delivery: &Delivery, notice: &Notice) -> Result<(), LogError> {
        self.deliveries.record(delivery, notice)?;
        self.history.lock().unwrap().push(delivery.clone());
        self.changed.send_replace(());
        Ok(())
    }

    fn unfinished(&self) -> Result<Vec<(Delivery, Notice)>, LogError> {
        self.deliveries.unfinished()
    }

    fn undelivered(&self, limit: usize) -> Result<Vec<Delivery>, LogError> {
        self.deliveries.undelivered(limit)
    }

    fn recent(&self, limit: usize) -> Result<Vec<Delivery>, LogError> {
        self.deliveries.recent(limit)
    }
}

impl World {
    pub fn new(secrets: &[(&str, &str)]) -> Self {
        Self::with(secrets, Roots::Platform, Duration::from_secs(10))
    }

    pub fn with(secrets: &[(&str, &str)], roots: Roots, timeout: Duration) -> Self {
        let secrets = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let log = Arc::new(Watched {
            deliveries: Deliveries::default(),
            history: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let schedule = Schedule {
            first: Duration::from_millis(2),
            longest: Duration::from_millis(20),
            ..Schedule::default()
        };
        let clock = Arc::new(ManualClock::default()) as Arc<dyn Clock>;
        let settings = Settings { roots, timeout, schedule, ..Settings::default() };
        let kept = Arc::clone(&log) as Arc<dyn DeliveryLog>;
        Self { notifier: Notifier::start(Arc::new(Secrets(secrets)), clock, kept, settings).unwrap(), log }
    }

    /// Waits until something like this is recorded of this channel: the first such record.
    pub async fn until(&self, channel: &str, what: impl Fn(&Delivery) -> bool) -> Delivery {
        let mut changed = self.log.changed.subscribe();
        let wait = async {
            loop {
                let found = self
                    .log
                    .history
                    .lock()
                    .unwrap()
                    .iter()
                    .find(|d| d.channel == channel && what(d))
                    .cloned();
                if let Some(found) = found {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("it did not come to that: {:?}", self.log.recent(20)))
    }

    /// Tells the channel of the notice and waits for the end of it.
    pub async fn tell(&self, channel: &Arc<Notification>, notice: Notice) -> Delivery {
        self.notifier.notify(std::slice::from_ref(channel), notice);
        self.until(&channel.name, |delivery| !delivery.state.is_unfinished()).await
    }
}

pub fn is(state: DeliveryState) -> impl Fn(&Delivery) -> bool {
    move |delivery| delivery.state == state
}

pub fn channel(name: &str, channel: Channel) -> Arc<Notification> {
    Arc::new(Notification {
        name: name.to_owned(),
        channel,
        events: NoticeKind::ALL.to_vec(),
        connections: Vec::new(),
        location: "policy.yaml:1".to_owned(),
    })
}

pub fn env(name: &str) -> SecretRef {
    SecretRef::Env(name.to_owned())
}

/// A held operation.
pub fn notice() -> Notice {
    serde_json::from_value(serde_json::json!({
        "id": "ntc_01998f6f0b7a7000a000000000000009",
        "kind": "held",
        "request": "req_01998f6f0b7a7000a000000000000001",
        "at": "2026-01-01T12:00:00Z",
        "connection": "orders-db",
        "requester": "deploy-agent",
        "requester_key": "entra/tid/oid",
        "rule": { "kind": "guardrail", "name": "unqualified writes need a person", "location": "policy.yaml:12" },
        "reason": "close the stuck orders",
        "summary": "update orders set state = ?",
        "link": "https://gateway.example.com/requests/req_01998f6f0b7a7000a000000000000001",
        "needs": "1 of group:oncall",
        "answer_by": "2026-01-01T12:05:00Z",
        "answered": null,
    }))
    .unwrap()
}

/// One in which everything that others write is hostile.
pub fn hostile() -> Notice {
    let mut notice = notice();
    notice.requester = "<!channel> *boss* @here & <b onload=\"x\">'</b> [ok](javascript:alert(1))".to_owned();
    notice.reason = "fine\r\nBcc: victim@example.com\r\n\r\n<script>alert(1)</script> {{DATE(2026-01-01T00:00:00Z)}} ${x} \
        <https://evil.example|Approve> <at>everyone</at> **bold** \u{202e}desrever\0\u{1b}[31m =?utf-8?Q?x?= ```\r\n.\r\nQUIT"
        .to_owned();
    notice.summary = "delete from \"<!here>\" where \"a&b\" > ?\u{2028}Rule: none".to_owned();
    notice.answered = Some(Answered {
        outcome: Outcome::Denied,
        by: "<@U0123ABC>".to_owned(),
        at: notice.at,
        note: "no\n\nWho: somebody else <img src=x onerror=alert(1)>".to_owned(),
    });
    notice
}

/// What a server that presents a certificate of this authority, for localhost, accepts with.
pub fn acceptor(ca: &TestCa) -> TlsAcceptor {
    let certificate = ca.localhost();
    let chain =
        CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

pub fn roots(ca: &TestCa) -> Roots {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    Roots::These(roots)
}
