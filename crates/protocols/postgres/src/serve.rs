//! One client from accept to goodbye: the life of a session, step by step.

use std::sync::Arc;

use portcullis_access::{Ask, Permit};
use portcullis_core::{
    ClientSoftware, ConnectionName, EndReason, Operation, Resource, ResourceRef, SessionId, StatementKind,
    Timestamp, Verb, operation::Classified,
};
use portcullis_policy::PgAuthentication;
use portcullis_proxy::{
    CancelMap, Transport,
    gate::{Admitted, Gate, GateSession, Interrupt},
    listener,
};
use portcullis_sql::{Analyzer, CatalogSnapshot, SearchPath, SearchPaths};
use rustls::ServerConfig;

mod parked;

use parked::Parked;

use crate::{
    catalog::{Catalogs, load},
    codec::{CancelRequest, backend::TransactionStatus},
    connect,
    error::Error,
    handshake::{Accepted, Asked, Credentials, Failed, Greeting, Method, Negotiation, Plaintext, Waiting},
    inspect::{self, Asking, InspectLimits, Inspector, Judge},
    session::{Around, Session},
    upstream::{self, Logins, Upstream, UpstreamKey},
};

/// What a listener of this protocol is made of.
pub struct Postgres {
    /// The pipeline.
    pub gate: Arc<Gate>,
    /// The listener's TLS.
    pub tls: Arc<ServerConfig>,
    /// Whether a client on loopback may do without.
    pub plaintext: portcullis_policy::Plaintext,
    /// How clients present their token where their connection does not say.
    pub authentication: PgAuthentication,
    /// Analyses statements, for every session.
    pub analyzer: Arc<Analyzer>,
    /// What every upstream login shares.
    pub logins: Arc<Logins>,
    /// The upstreams' catalogs.
    pub catalogs: Arc<Catalogs>,
    /// Cancel keys given to clients.
    pub cancels: Arc<CancelMap<Cancellable>>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

/// A session whose running statement can be cancelled: with the upstream's own key, under the session's own permit.
#[derive(Clone)]
pub struct Cancellable {
    permit: Arc<Permit>,
    key: UpstreamKey,
    interrupt: Arc<Interrupt>,
}

impl Postgres {
    /// Serves one client. Ends when the session has.
    pub fn serve(self: Arc<Self>, accepted: listener::Accepted) -> impl Future<Output = ()> + Send {
        let loopback = accepted.is_loopback();
        let (transport, source, deadline, slot) = accepted.into_parts();
        let started_at = self.gate.clock.now();
        let session = SessionId::generate(started_at);
        // On the heap, and gone with the login: its size, and that of what it is given, must not stay in the task of every idle session.
        let this = Arc::clone(&self);
        let opening =
            Box::pin(async move { this.open(transport, source, session, started_at, loopback).await });
        async move {
            // The slot counts the transport in the listener's limits until the session is over.
            let _slot = slot;
            let opened = match deadline.bound(opening).await {
                Ok(Some(Opened::Session(opened))) => Some(opened),
                // Past the listener's deadline: how long people have is what the request says.
                Ok(Some(Opened::Parked(parked))) => Box::pin(self.parked(parked)).await,
                Ok(None) => None,
                Err(too_slow) => {
                    tracing::info!(%session, error = %too_slow, "handshake");
                    None
                }
            };
            if let Some(opened) = opened {
                let reason = opened.run().await;
                tracing::info!(%session, %reason, "session ended");
            }
        }
    }

    /// Everything up to the first statement. Nothing where there is no session: the peer was told.
    async fn open(
        &self,
        transport: Transport,
        source: portcullis_core::Source,
        session: SessionId,
        started_at: Timestamp,
        loopback: bool,
    ) -> Option<Opened> {
        let plaintext = match self.plaintext {
            portcullis_policy::Plaintext::Loopback if loopback => Plaintext::Allowed,
            _ => Plaintext::Refused,
        };
        let negotiated = match Accepted::new(transport).negotiate(&self.tls, plaintext).await {
            Ok(Negotiation::Session(negotiated)) => negotiated,
            Ok(Negotiation::Cancel(request, waiting)) => {
                self.cancel(&request).await;
                let _ = waiting.done().await;
                return None;
            }
            Ok(Negotiation::Gone(_)) => return None,
            Err(failed) => return self.failed(session, &failed),
        };
        let method = self.method(&negotiated.startup().user);
        let reason;
        let (credentials, waiting) = match negotiated.credentials(&method, self.gate.limits.token).await {
            Ok(Asked::Presented(mut credentials, waiting)) => {
                reason = connect::take_reason(&mut credentials.parameters);
                (credentials, waiting)
            }
            Ok(Asked::Left(_)) => return None,
            Err(failed) => return self.failed(session, &failed),
        };
        let client = credentials.parameters.iter().find(|(name, _)| name == "application_name");
        let ask = Ask {
            session,
            started_at,
            protocol: "postgres",
            source,
            client: ClientSoftware(client.map(|(_, value)| printable(value)).unwrap_or_default()),
            connection: credentials.connection_name.clone(),
            database: credentials.database.clone(),
            reason,
        };
        let permit = match self.gate.admit(&ask, &credentials.token).await {
            Ok(Admitted::In(permit)) => *permit,
            Ok(Admitted::Waits(waits)) => {
                return Some(Opened::Parked(Box::new(Parked { waits: *waits, ask, credentials, waiting })));
            }
            Err(answer) => {
                let _ = waiting.refuse(&Error::Refused(answer)).await;
                return None;
            }
        };
        self.enter(permit, credentials, waiting, &ask).await.map(Opened::Session)
    }

    /// From a permit to the first statement. Nothing where there is no session: the peer was told.
    async fn enter(
        &self,
        permit: Permit,
        credentials: Credentials,
        waiting: Waiting,
        ask: &Ask,
    ) -> Option<Session> {
        let session = ask.session;
        let mut gated = self.gate.open(permit);
        match self.begin(&mut gated, credentials, &waiting).await {
            Ok(begun) => self.welcome(gated, begun, waiting, &ask.reason).await,
            Err(error) => {
                tracing::warn!(%session, %error, "the upstream session could not be opened");
                let reason = self.not_begun(&mut gated, &error).await;
                gated.end(&reason);
                let _ = waiting.refuse(&error).await;
                None
            }
        }
    }

    /// Why a session ends that never began. A deny is in the journal as the decision it is, before the peer hears it.
    async fn not_begun(&self, gated: &mut GateSession, error: &Error) -> EndReason {
        let Error::Denied { reason, .. } = error else {
            return EndReason::UpstreamQuit { detail: error.to_string() };
        };
        let operation = Operation {
            kinds: vec![StatementKind::word("connect")],
            resources: vec![ResourceRef {
                verb: Verb::Admin,
                resource: Resource::from("server/setting"),
                columns: Vec::new(),
                through: None,
            }],
            text: "startup parameters".into(),
            lacks: Vec::new(),
            classified: Classified::Completely,
        };
        let rules = Arc::clone(gated.permit().rules());
        let mut judged = gated.refused(&rules, &operation, "startup parameters", reason.clone());
        let committed = gated.note(&mut judged, None, None).and_then(|()| gated.commit());
        match committed {
            Ok(Some(position)) => {
                if let Err(error) = self.gate.journal.settled(position).await {
                    tracing::error!(%error, "a refused startup parameter could not be journalled");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a refused startup parameter could not be journalled"),
        }
        EndReason::ProtocolViolation { detail: reason.clone() }
    }

    /// Opens the upstream session, and learns what judging needs.
    async fn begin(
        &self,
        gated: &mut GateSession,
        credentials: Credentials,
        waiting: &Waiting,
    ) -> Result<Begun, Error> {
        let permit = Arc::clone(gated.permit());
        let parameters = connect::parameters(credentials.parameters, &permit)?;
        let rules = Arc::clone(permit.rules());
        let mut upstream = connect::open(&self.gate, &self.logins, &permit, &parameters).await?;
        let database = self.catalogs.of(&permit);
        let user =
            permit.connection().credential.as_ref().map_or("", |credential| credential.username.as_str());
        let (catalog, paths) = if rules.is_pass_through() && !inspect::masks_columns(&rules) {
            (database.last_known().unwrap_or_else(empty_catalog), SearchPaths::unknown(user))
        } else {
            let paths = first_settings(&mut upstream, user, rules.is_read_only()).await?;
            let catalog = match database.current() {
                Some(catalog) if !database.is_too_old(self.gate.clock.now()) => catalog,
                _ => database.refresh(&self.gate, &self.logins, &permit).await.map_err(catalog_error)?,
            };
            (catalog, paths)
        };
        let connection = &permit.connection().name;
        let masks = database.work_out_masks(&self.gate, connection, &rules, &catalog).await;
        let masks = masks.map_err(catalog_error)?;
        let mut judge = Judge::new(Arc::clone(&self.analyzer), database, catalog, rules, masks, paths, user);
        judge.begins_with(&parameters);
        let (mut key, interrupt) = (None, Arc::<Interrupt>::default());
        if let Some(cancel) = &upstream.cancel {
            let value = Cancellable { permit, key: cancel.clone(), interrupt: Arc::clone(&interrupt) };
            key = Some(self.cancels.register(waiting.cancel_key_length(), value).map_err(internal)?);
        }
        Ok(Begun { upstream, judge, key, interrupt })
    }

    /// Tells the client that it is in.
    async fn welcome(
        &self,
        gated: GateSession,
        begun: Begun,
        waiting: Waiting,
        reason: &str,
    ) -> Option<Session> {
        let session = gated.permit().facts().session;
        let Begun { upstream, judge, key, interrupt } = begun;
        let mut nonce = [0; 16];
        let limits = InspectLimits { statement: self.gate.limits.statement };
        if aws_lc_rs::rand::fill(&mut nonce).is_err() {
            let _ = waiting.refuse(&internal("no randomness")).await;
            return None;
        }
        let fingerprints = self.gate.fingerprints.clone();
        // On the heap from the first: a future keeps room for every place that a value is moved through.
        let asking = Asking { interrupt: Arc::clone(&interrupt), reason: reason.into() };
        let state = TransactionStatus::Idle;
        let mut inspector =
            Box::new(Inspector::new(gated, judge, state, fingerprints, limits, &nonce, asking));
        if let Err(reason) = inspector.begins_with(&upstream.parameters) {
            inspector.session.end(&reason);
            let _ = waiting.refuse(&Error::Ended(reason)).await;
            return None;
        }
        let (process, secret) = match &key {
            Some(key) => (key.key().id, key.key().secret.to_vec()),
            // The upstream gave no key: the client's is worth nothing, and has the right length.
            None => (0, vec![0; waiting.cancel_key_length()]),
        };
        let greeting =
            Greeting { parameters: &upstream.parameters, process, key: &secret, notices: &upstream.notices };
        match waiting.accept(&greeting).await {
            Ok((down, _reported)) => {
                tracing::info!(%session, "session opened");
                let around = Around {
                    gate: Arc::clone(&self.gate),
                    logins: Arc::clone(&self.logins),
                    cancel: upstream.cancel,
                    interrupt,
                    _key: key,
                };
                Some(Session::new(inspector, down, upstream.transport, around))
            }
            Err(failed) => {
                inspector.session.end(&EndReason::ClientQuit);
                self.failed(session, &failed)
            }
        }
    }

    fn failed<T>(&self, session: SessionId, failed: &Failed) -> Option<T> {
        portcullis_proxy::handshake_failed("postgres", failed.error.kind().label());
        tracing::info!(%session, error = %failed.error, "handshake");
        None
    }

    /// How the client is asked for its token: as its connection says, else as the listener says. Whether a connection of
    /// that name exists cannot be told from the answer, unless it differs from the listener's way.
    fn method(&self, user: &str) -> Method {
        let policy = self.gate.access.policy();
        let connection =
            user.parse::<ConnectionName>().ok().and_then(|name| policy.connection(&name).cloned());
        match connection.and_then(|connection| connection.authentication).unwrap_or(self.authentication) {
            PgAuthentication::Password => Method::Password,
            PgAuthentication::Oauthbearer => {
                let challenge = self.gate.identity.oauth_challenge(None).map(|challenge| challenge.to_json());
                Method::OauthBearer {
                    challenge: challenge.unwrap_or_else(|| r#"{"status":"invalid_token"}"#.to_owned()).into(),
                }
            }
        }
    }

    async fn cancel(&self, request: &CancelRequest) {
        let Some(Cancellable { permit, key, interrupt }) = self.cancels.find(request.process, &request.key)
        else {
            tracing::info!("a cancel request names no session");
            return;
        };
        if interrupt.cancel() {
            // It waits for a person: nothing of it is upstream.
            return;
        }
        if let Err(error) = upstream::cancel(&permit, &*self.gate.dial, &self.logins, &key).await {
            tracing::warn!(session = %permit.facts().session, %error, "cancel");
        }
    }
}

/// What became of a client that presented itself.
enum Opened {
    Session(Session),
    /// It asked for access by connecting.
    Parked(Box<Parked>),
}

/// An upstream session that nobody was told of yet.
struct Begun {
    upstream: Upstream,
    judge: Judge,
    key: Option<portcullis_proxy::cancel::CancelRegistration<Cancellable>>,
    interrupt: Arc<Interrupt>,
}

/// Asks the upstream session for its search path, and whether it really is read-only.
async fn first_settings(upstream: &mut Upstream, user: &str, read_only: bool) -> Result<SearchPaths, Error> {
    let mut query = bytes::BytesMut::new();
    crate::codec::frontend::query(&mut query, b"SHOW search_path; SHOW default_transaction_read_only");
    let answers = load::exchange(&mut upstream.transport, &query, 2).await.map_err(catalog_error)?;
    let cell = |at: usize| answers.get(at).and_then(|rows| rows.first()).and_then(|row| row.first());
    if read_only && cell(1).map(String::as_str) != Some("on") {
        return Err(internal("the upstream did not make the session read-only"));
    }
    let path = cell(0).and_then(|value| SearchPath::parse(value, user));
    Ok(path.map_or_else(|| SearchPaths::unknown(user), |path| SearchPaths::known(path, user)))
}

fn catalog_error(error: crate::catalog::LoadError) -> Error {
    Error::Ended(EndReason::UpstreamQuit { detail: error.to_string() })
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Ended(EndReason::Internal { detail: error.to_string() })
}

/// What a client calls itself, bounded and without control characters.
fn printable(text: &str) -> String {
    text.chars().take(128).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// An empty catalog, for sessions that nothing is judged in.
fn empty_catalog() -> Arc<CatalogSnapshot> {
    Arc::new(CatalogSnapshot::new())
}
