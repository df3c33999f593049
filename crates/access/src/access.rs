//! [`Access`]: the decision at connect, its repetition for live sessions, and requests for windows.

use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_audit::{Batch, Journal};
use portcullis_core::{
    AuditEvent, ClientSoftware, Clock, ConnectionName, Decision, EndReason, GrantId, Obligation, Principal,
    PrincipalKey, RequestId, RuleRef, SessionFacts, SessionId, Source, Timestamp, Verdict, WindowId,
};
use portcullis_identity::{Authenticated, GroupSource};
use portcullis_policy::{AskWay, Connection, Facts, Grant, Policy, SessionRules, When};

use crate::{
    AccessStore, Answer, Block, Permit, Refusal, StoreError, Window,
    blocks::Blocks,
    requests::{Registry, RequestLimits, is_by_own_hand, own_clients},
    windows::{LONGEST_COOLDOWN, Windows},
};

/// Decides who may open what, now. One per gateway, shared.
pub struct Access {
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) windows: Windows,
    pub(crate) blocks: Blocks,
    pub(crate) registry: Registry,
    pub(crate) limits: RequestLimits,
    pub(crate) address: Option<String>,
    pub(crate) store: Arc<dyn AccessStore>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Settings of the process file.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How many requests may wait.
    pub limits: RequestLimits,
    /// The console's address, without a slash at the end: for links.
    pub address: Option<String>,
}

/// What a peer asks for at connect.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The session (or attempt).
    pub session: SessionId,
    /// When the transport was accepted.
    pub started_at: Timestamp,
    /// The listener's protocol.
    pub protocol: &'static str,
    /// Where the transport came from.
    pub source: Source,
    /// What the client calls itself.
    pub client: ClientSoftware,
    /// The connection's name as the peer wrote it.
    pub connection: String,
    /// The inner target (database) asked for.
    pub database: Option<String>,
    /// Why, where the client has a way to say so; else empty.
    pub reason: String,
}

impl Ask {
    /// The facts of an attempt that got no further: for its deny record.
    pub fn refused_facts(&self, principal: Option<Arc<Principal>>) -> Arc<SessionFacts> {
        Arc::new(SessionFacts {
            session: self.session,
            started_at: self.started_at,
            protocol: self.protocol.to_owned(),
            source: self.source.clone(),
            client: self.client.clone(),
            principal,
            connection: self.connection.parse().ok(),
            database: self.database_as_told(),
            grants: Vec::new(),
            window: None,
            ends_at: None,
        })
    }

    /// The database as answers and records repeat it. No name is longer than this; what is may be a token in the wrong place.
    fn database_as_told(&self) -> Option<String> {
        const LONGEST: usize = 63; // NAMEDATALEN - 1
        let asked = self.database.as_deref()?;
        Some(asked.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    }
}

/// What must stay true for a session to go on.
#[derive(Debug, Clone)]
pub struct LiveGrant {
    pub(crate) principal: Arc<Principal>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) grants: Vec<GrantId>,
    pub(crate) client: ClientSoftware,
    pub(crate) source: Source,
    pub(crate) database: Option<String>,
    pub(crate) read_only: bool,
}

impl LiveGrant {
    /// The same with the principal as it is now: groups may have changed.
    #[must_use]
    pub fn with_principal(&self, principal: Arc<Principal>) -> Self {
        Self { principal, ..self.clone() }
    }

    /// Who.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
}

impl Access {
    /// Loads windows and blocks that still count.
    ///
    /// # Errors
    /// The store cannot be read: nothing is decided without it.
    pub fn new(
        policy: Arc<Policy>,
        store: Arc<dyn AccessStore>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        Self::with(policy, store, journal, clock, Settings::default())
    }

    /// As [`Access::new`], with settings of the process file.
    ///
    /// # Errors
    /// As [`Access::new`].
    pub fn with(
        policy: Arc<Policy>,
        store: Arc<dyn AccessStore>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let (windows, blocks) = (Windows::default(), Blocks::default());
        let now = clock.now();
        windows.load(store.windows_since(now.minus(LONGEST_COOLDOWN))?);
        blocks.load(store.blocks_since(now)?);
        let Settings { limits, address } = settings;
        let (policy, registry) = (ArcSwap::new(policy), Registry::default());
        let this = Self { policy, windows, blocks, registry, limits, address, store, journal, clock };
        this.load_requests()?;
        Ok(this)
    }

    /// Where people find a request, where the gateway has an address for them.
    pub fn request_link(&self, id: RequestId) -> Option<String> {
        self.address.as_ref().map(|address| format!("{address}/requests/{id}"))
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Puts another policy in force. Live sessions follow at their next [`Access::reauthorize`].
    pub fn replace_policy(&self, policy: Arc<Policy>) {
        self.policy.store(policy);
    }

    /// The decision at connect.
    ///
    /// # Errors
    /// A [`Refusal`] with the deny for the journal and the answer for the peer.
    pub fn authorize(&self, who: &Authenticated, ask: &Ask) -> Result<Permit, Box<Refusal>> {
        self.authorize_known(Arc::clone(who.principal()), who.group_source(), ask)
    }

    /// Private, so that only who is [`Authenticated`] gets here.
    fn authorize_known(
        &self,
        principal: Arc<Principal>,
        groups: GroupSource,
        ask: &Ask,
    ) -> Result<Permit, Box<Refusal>> {
        let now = self.clock.now();
        let refuse = |answer: Answer, kind: &'static str, name: &str, location: Option<String>| {
            let rule = RuleRef { kind: kind.into(), name: name.to_owned(), location };
            let decision = Decision::deny(rule, answer.message());
            Box::new(Refusal { facts: ask.refused_facts(Some(Arc::clone(&principal))), decision, answer })
        };
        let policy = self.policy.load_full();
        let name = ask.connection.parse::<ConnectionName>();
        let connection = name.ok().and_then(|name| policy.connection(&name).map(Arc::clone));
        let Some(connection) = connection.filter(|c| c.protocol.as_str() == ask.protocol) else {
            return Err(refuse(Answer::NoAccess, "default-deny", "no such connection", None));
        };
        if let Some(block) = self.blocks.find(&principal.key(), &connection.name, now) {
            return Err(refuse(Answer::Blocked { reason: block.reason }, "block", &block.by, None));
        }
        let found = self.active_grants(&policy, &principal, &connection, &ask.source, &ask.client, now);
        let (grants, window) = match found {
            Found::Active { grants, window } => (grants, window),
            Found::Nothing => {
                let name = match groups {
                    GroupSource::NotStated => {
                        "no grant; the token states no groups, and no directory is asked for them"
                    }
                    GroupSource::Token | GroupSource::Directory => "no grant",
                };
                return Err(refuse(Answer::NoAccess, "default-deny", name, None));
            }
            Found::NotNow(grant) => {
                let location = Some(grant.location.clone());
                return Err(refuse(Answer::NotNow, "condition", &grant.id.0, location));
            }
            Found::Asleep(grant) => {
                let link = self.address.as_ref();
                let answer = Answer::WindowNeeded {
                    connection: ask.connection.clone(),
                    people: grant.when == When::Approved,
                    on_connect: grant.ask == AskWay::OnConnect,
                    link: link.map(|address| format!("{address}/connections/{}", connection.name)),
                };
                return Err(refuse(answer, "window", &grant.id.0, Some(grant.location.clone())));
            }
        };
        let Some(database) = resolve_database(&connection, ask.database.as_deref()) else {
            let answer = Answer::Database { asked: ask.database_as_told().unwrap_or_default() };
            return Err(refuse(
                answer,
                "database",
                connection.name.as_str(),
                Some(connection.location.clone()),
            ));
        };
        // Where nobody watches the identity while the session lives, the token's end is all there is to bound it.
        let token_bound = (!is_watched(&policy, &principal)).then_some(principal.expires_at);
        let ends_at = window.as_ref().map(|w| w.ends_at).into_iter().chain(token_bound).min();
        let rules = policy.session_rules(&connection, &grants, &principal);
        let read_only = rules.is_read_only();
        let ids: Vec<GrantId> = grants.iter().map(|grant| grant.id.clone()).collect();
        let facts = Arc::new(SessionFacts {
            database: database.clone(),
            grants: ids.clone(),
            window: window.as_ref().map(|w| w.id),
            ends_at,
            connection: Some(connection.name.clone()),
            ..SessionFacts::clone(&ask.refused_facts(Some(Arc::clone(&principal))))
        });
        let decision = allow_decision(&grants, read_only);
        let live = LiveGrant {
            principal,
            connection,
            grants: ids,
            client: ask.client.clone(),
            source: ask.source.clone(),
            database,
            read_only,
        };
        Ok(Permit { facts, live, rules, decision })
    }

    /// Repeats the decision for a live session, with groups as they are now. It never widens: only grants the session
    /// began with count.
    ///
    /// # Errors
    /// Why the session must end.
    pub fn reauthorize(
        &self,
        live: &LiveGrant,
        principal: &Principal,
    ) -> Result<Arc<SessionRules>, EndReason> {
        let now = self.clock.now();
        let removed = |detail: &str| EndReason::GrantRemoved { detail: detail.to_owned() };
        let policy = self.policy.load_full();
        let Some(connection) = policy.connection(&live.connection.name) else {
            return Err(removed("the connection is no longer in the policy"));
        };
        if !same_target(connection, &live.connection) {
            return Err(removed("the connection was changed"));
        }
        if let Some(block) = self.blocks.find(&principal.key(), &connection.name, now) {
            return Err(EndReason::Killed { by: block.by, reason: block.reason });
        }
        let grants = match self.active_grants(&policy, principal, connection, &live.source, &live.client, now)
        {
            Found::Active { grants, .. } => grants,
            Found::Nothing => return Err(removed("no grant covers this identity any more")),
            Found::NotNow(_) => return Err(removed("the grant's condition no longer holds")),
            Found::Asleep(_) => return Err(EndReason::WindowOver),
        };
        let kept: Vec<Arc<Grant>> =
            grants.into_iter().filter(|grant| live.grants.contains(&grant.id)).collect();
        if kept.is_empty() {
            return Err(removed("the grant was removed or changed"));
        }
        if resolve_database(connection, live.database.as_deref()).is_none() {
            return Err(removed("the database is no longer allowed"));
        }
        if !is_watched(&policy, principal) && principal.expires_at <= now {
            return Err(EndReason::IdentityRevoked {
                detail: "its token has expired, and no directory is asked any more".to_owned(),
            });
        }
        let rules = policy.session_rules(connection, &kept, principal);
        if rules.is_read_only() != live.read_only {
            return Err(removed("the scope changed; connect again"));
        }
        Ok(rules)
    }

    /// The windows a principal has open.
    pub fn open_windows(&self, principal: &PrincipalKey) -> Vec<Window> {
        self.windows.of(principal, self.clock.now())
    }

    /// Keeps a principal out; never for shorter than it is kept out already. Blocking. The caller ends the live sessions.
    ///
    /// # Errors
    /// The store failed; the block holds in memory all the same.
    pub fn block(&self, block: Block) -> Result<(), StoreError> {
        let block = self.blocks.put(block, self.clock.now());
        self.store.put_block(&block)
    }

    /// Whether what a principal does is their own doing, and not that of an application that got a token in their name: what answers,
    /// opens at once or has a role must be.
    pub fn is_by_own_hand(&self, who: &Principal) -> bool {
        is_by_own_hand(who, &own_clients(&self.policy.load()))
    }

    /// The applications people sign in to the gateway with.
    pub fn own_clients(&self) -> Vec<String> {
        own_clients(&self.policy.load())
    }

    /// The block that keeps a principal out of everything, where there is one.
    pub fn blocked(&self, principal: &PrincipalKey) -> Option<Block> {
        self.blocks.everywhere(principal, self.clock.now())
    }

    /// Lifts every block of a principal; says how many there were. Blocking.
    ///
    /// # Errors
    /// The store failed; the blocks stay.
    pub fn lift_blocks(&self, principal: &PrincipalKey) -> Result<usize, StoreError> {
        self.store.lift_blocks(principal)?;
        Ok(self.blocks.lift(principal))
    }

    /// Ends a window now. Blocking.
    ///
    /// # Errors
    /// The store failed; the window is over in memory all the same.
    pub fn end_window(&self, id: WindowId) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.windows.end(id, now, || self.store.end_window(id, now))
    }

    /// What the principal can reach now, or could by asking: each connection with its grants.
    pub fn reachable(&self, principal: &Principal) -> Vec<(Arc<Connection>, Vec<Arc<Grant>>)> {
        let policy = self.policy.load_full();
        let reach = policy.connections().filter_map(|connection| {
            let grants = policy.grants_to(principal, &connection.name);
            (!grants.is_empty()).then(|| (Arc::clone(connection), grants))
        });
        reach.collect()
    }

    /// Journals events in one batch: all of them, or none. Blocking: never on a reactor's own threads.
    pub(crate) fn journalled(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError(format!("journal: {error}"));
        let mut batch = Batch::new();
        for event in events {
            batch.push(event).map_err(|error| failed(&error))?;
        }
        let position = self.journal.append(None, &batch).map_err(|error| failed(&error))?;
        if !self.journal.is_strict() {
            return Ok(());
        }
        // Callers are on threads that may block; the reactor they came from drives the wait.
        let reactor = tokio::runtime::Handle::try_current().map_err(|error| failed(&error))?;
        reactor.block_on(self.journal.settled(position)).map_err(|error| failed(&error))
    }

    fn active_grants(
        &self,
        policy: &Arc<Policy>,
        principal: &Principal,
        connection: &Connection,
        source: &Source,
        client: &ClientSoftware,
        now: Timestamp,
    ) -> Found {
        let facts = facts_of(principal, connection, source, &client.0, now);
        let (mut grants, mut window) = (Vec::new(), None::<Window>);
        let (mut asleep, mut not_now) = (None, None);
        for grant in policy.grants_to(principal, &connection.name) {
            // An error in a condition is a no: `applies` answers false or the reason, and both refuse.
            if !grant.applies(&facts).unwrap_or(false) {
                not_now = not_now.or(Some(grant));
                continue;
            }
            match grant.when {
                When::Always => grants.push(grant),
                When::Requested | When::Approved => match self.windows.open(&principal.key(), &grant.id, now)
                {
                    Some(open) => {
                        let earlier = window.as_ref().is_none_or(|w| open.ends_at < w.ends_at);
                        if earlier {
                            window = Some(open);
                        }
                        grants.push(grant);
                    }
                    // One that connecting asks for is more use to who connects than one that must be asked for first.
                    None if asleep.as_ref().is_none_or(|known: &Arc<Grant>| asks_more(&grant, known)) => {
                        asleep = Some(grant);
                    }
                    None => {}
                },
            }
        }
        match (grants.is_empty(), asleep, not_now) {
            (false, _, _) => Found::Active { grants, window: window.map(Box::new) },
            (true, Some(grant), _) => Found::Asleep(grant),
            (true, None, Some(grant)) => Found::NotNow(grant),
            (true, None, None) => Found::Nothing,
        }
    }
}

/// What the grants of a principal amount to, now.
enum Found {
    Active { grants: Vec<Arc<Grant>>, window: Option<Box<Window>> },
    Asleep(Arc<Grant>),
    NotNow(Arc<Grant>),
    Nothing,
}

fn asks_more(grant: &Grant, than: &Grant) -> bool {
    grant.ask == AskWay::OnConnect && than.ask != AskWay::OnConnect
}

pub(crate) fn facts_of<'a>(
    principal: &'a Principal,
    connection: &'a Connection,
    source: &Source,
    client: &'a str,
    now: Timestamp,
) -> Facts<'a> {
    Facts { now, source: source.address.ip(), client, principal, connection: &connection.name }
}

/// Whether a directory is asked about the principal while its sessions live.
fn is_watched(policy: &Policy, principal: &Principal) -> bool {
    policy.providers().iter().any(|p| p.name == principal.provider && p.liveness.is_some())
}

/// Whether two versions of a connection lead to the same place in the same way. Where a connection stands in the documents
/// and how it is described does not matter.
fn same_target(a: &Connection, b: &Connection) -> bool {
    let bare = |c: &Connection| Connection { location: String::new(), description: None, ..c.clone() };
    bare(a) == bare(b)
}

/// The database to open: `Some(None)` where the protocol has none, `None` where it is not allowed. Omitted, empty or equal
/// to the connection's name means the default (libpq sends the user name when no database is given).
fn resolve_database(connection: &Connection, asked: Option<&str>) -> Option<Option<String>> {
    let default = connection.default_database();
    match asked.filter(|name| !name.is_empty() && *name != connection.name.as_str()) {
        None => Some(default.map(str::to_owned)),
        Some(name) if default == Some(name) || connection.databases.iter().any(|d| d == name) => {
            Some(Some(name.to_owned()))
        }
        Some(_) => None,
    }
}

fn allow_decision(grants: &[Arc<Grant>], read_only: bool) -> Decision {
    let first = grants.first();
    let rule = RuleRef {
        kind: "grant".into(),
        name: first.map_or_else(String::new, |grant| grant.id.0.clone()),
        location: first.map(|grant| grant.location.clone()),
    };
    let recorded = grants.iter().any(|grant| grant.recorded);
    // As long as it is: every session keeps one.
    let mut obligations = Vec::with_capacity(usize::from(recorded) + usize::from(read_only));
    if recorded {
        obligations.push(Obligation::Record);
    }
    if read_only {
        obligations.push(Obligation::ReadOnly);
    }
    Decision {
        verdict: Verdict::Allow,
        rule,
        reason: "a grant covers this connection".to_owned(),
        obligations,
    }
}

#[cfg(test)]
mod tests;
