//! Asking for a window: [`Access::request`]. Policy answers at once, or a person has to.

use std::{sync::Arc, time::Duration};

use portcullis_core::{
    AuditEvent, ClientSoftware, ConnectionName, Principal, RequestId, RequestStep, Source, Timestamp,
    WindowId, event::WindowRequestEvent,
};
use portcullis_identity::Authenticated;
use portcullis_policy::{Approval, AskWay, Grant, Policy, When};

use crate::{
    Access, Ask, RequestRefused, Window, WindowRequest,
    access::facts_of,
    requests::{
        Asked, Doer, Filed, HoldRefused, Pending, Request, What, WindowAsked, is_by_own_hand, need,
        own_clients, said, said_within,
    },
    windows::MAX_REASON,
};

/// What asking for a window came to.
#[derive(Debug)]
pub enum Granted {
    /// It is open.
    Window(Window),
    /// People have to answer first.
    Waits(Filed),
}

/// How somebody asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By an act of its own.
    Explicit,
    /// By connecting: only grants that say so are asked for.
    OnConnect,
}

/// One asking, with what it is decided from.
struct Asking<'a> {
    principal: &'a Arc<Principal>,
    request: &'a WindowRequest,
    way: Way,
    reason: String,
    name: ConnectionName,
    policy: Arc<Policy>,
    source: &'a Source,
    client: &'a ClientSoftware,
    now: Timestamp,
}

impl Access {
    /// Opens a window for a `requested` grant, files a request for an `approved` one. Asking while a window is open, or a request
    /// pending, gives that one back: nothing extends it. Blocking: store and journal are written before it returns.
    ///
    /// # Errors
    /// Why nothing was opened; journalled too.
    pub fn request(
        &self,
        who: &Authenticated,
        request: &WindowRequest,
        source: &Source,
        client: &ClientSoftware,
    ) -> Result<Granted, RequestRefused> {
        self.request_by(who.principal(), request, Way::Explicit, source, client)
    }

    /// The same by connecting: only grants with `request: on_connect` are asked for. Blocking.
    ///
    /// # Errors
    /// Why nothing was opened; journalled too.
    pub fn request_on_connect(&self, who: &Authenticated, ask: &Ask) -> Result<Granted, RequestRefused> {
        let request = WindowRequest {
            connection: ask.connection.clone(),
            reason: ask.reason.clone(),
            lifetime_seconds: None,
            break_glass: false,
        };
        self.request_by(who.principal(), &request, Way::OnConnect, &ask.source, &ask.client)
    }

    /// As [`Access::request`], for a person whose sign-in was verified before and whose standing was asked just now. Opens no way
    /// to an upstream: connecting still takes a token.
    ///
    /// # Errors
    /// As [`Access::request`].
    pub fn request_as(
        &self,
        principal: &Arc<Principal>,
        request: &WindowRequest,
        source: &Source,
        client: &ClientSoftware,
    ) -> Result<Granted, RequestRefused> {
        self.request_by(principal, request, Way::Explicit, source, client)
    }

    pub(crate) fn request_by(
        &self,
        principal: &Arc<Principal>,
        request: &WindowRequest,
        way: Way,
        source: &Source,
        client: &ClientSoftware,
    ) -> Result<Granted, RequestRefused> {
        let now = self.clock.now();
        let answer = self.request_decided(principal, request, way, source, client, now);
        if let Err(refused) = &answer
            && let Ok(connection) = request.connection.parse()
        {
            let event = WindowRequestEvent {
                at: now,
                principal: principal.key(),
                name: principal.name.clone(),
                connection,
                grant: None,
                window: None,
                ends_at: None,
                reason: said_within(&request.reason, MAX_REASON),
                refused: refused.to_string(),
            };
            self.journalled(&[AuditEvent::WindowRequest(event)])
                .map_err(|error| RequestRefused::Unavailable { detail: error.0 })?;
        }
        answer
    }

    fn request_decided(
        &self,
        principal: &Arc<Principal>,
        request: &WindowRequest,
        way: Way,
        source: &Source,
        client: &ClientSoftware,
        now: Timestamp,
    ) -> Result<Granted, RequestRefused> {
        let reason = said(&request.reason);
        if reason.chars().count() > MAX_REASON {
            return Err(RequestRefused::Reason);
        }
        let policy = self.policy.load_full();
        let name: ConnectionName = request.connection.parse().map_err(|_| RequestRefused::NothingToAsk)?;
        if self.blocks.find(&principal.key(), &name, now).is_some() {
            return Err(RequestRefused::Blocked);
        }
        let asking = Asking { principal, request, way, reason, name, policy, source, client, now };
        let grant = asking.grant()?;
        if asking.reason.is_empty() && (grant.reason_required || request.break_glass) {
            return Err(RequestRefused::Reason);
        }
        let lifetime = asking.lifetime(&grant)?;
        match grant.when {
            When::Approved if request.break_glass => self.break_glass(&asking, &grant, lifetime),
            When::Approved => self.ask_people(&asking, &grant, lifetime),
            When::Requested | When::Always => {
                self.open_window(&asking, &grant, lifetime).map(Granted::Window)
            }
        }
    }

    fn open_window(
        &self,
        asking: &Asking<'_>,
        grant: &Grant,
        lifetime: Duration,
    ) -> Result<Window, RequestRefused> {
        let make = || asking.window(grant, lifetime);
        let keep = |window: &Window| {
            self.journalled(&[opened(window, asking.now)])?;
            self.store.insert_window(window)
        };
        let window = self.windows.ask(&asking.principal.key(), grant, asking.now, make, keep)?;
        self.unless_blocked(asking, window)
    }

    /// A kill blocks first and ends windows then: what it missed, it left a block for.
    fn unless_blocked(&self, asking: &Asking<'_>, window: Window) -> Result<Window, RequestRefused> {
        if self.blocks.find(&asking.principal.key(), &asking.name, asking.now).is_some() {
            self.end_window(window.id).map_err(|error| RequestRefused::Unavailable { detail: error.0 })?;
            return Err(RequestRefused::Blocked);
        }
        Ok(window)
    }

    fn ask_people(
        &self,
        asking: &Asking<'_>,
        grant: &Grant,
        lifetime: Duration,
    ) -> Result<Granted, RequestRefused> {
        let same = |request: &Request| match &request.asked().what {
            What::Window(window) => window.grant == grant.id,
            What::Operation(_) | What::Commit(_) => false,
        };
        let asked = asking.asked(grant, lifetime, approval_of(grant)?);
        let _turn = self.registry.turn();
        if let Some(open) = self.windows.may_open(&asking.principal.key(), grant, self.clock.now())? {
            return Ok(Granted::Window(open));
        }
        if let Some(filed) = self.waiting_in_turn(&asked, same) {
            return Ok(Granted::Waits(filed));
        }
        self.file_in_turn(asked).map(Granted::Waits).map_err(|refused| match refused {
            HoldRefused::TooMany { limit } => RequestRefused::TooMany { limit },
            HoldRefused::Full => RequestRefused::Unavailable { detail: refused.to_string() },
            HoldRefused::Unavailable { detail } => RequestRefused::Unavailable { detail },
        })
    }

    /// Opens at once, tells everybody, and waits for a review. Neither cooldown nor `max_per_day` stand in the way of an emergency;
    /// a block does.
    fn break_glass(
        &self,
        asking: &Asking<'_>,
        grant: &Grant,
        lifetime: Duration,
    ) -> Result<Granted, RequestRefused> {
        let mut asked = asking.asked(grant, lifetime, approval_of(grant)?);
        if let What::Window(asked) = &mut asked.what {
            asked.break_glass = true;
        }
        let _turn = self.registry.turn();
        if let Some(open) = self.windows.open(&asking.principal.key(), &grant.id, self.clock.now()) {
            return Ok(Granted::Window(open));
        }
        let window = asking.window(grant, lifetime);
        let doer = Doer { reason: asked.reason.clone(), window: Some(window.id), ..Doer::default() };
        let settled = Pending::new(asked).break_glass(asking.now, window.id, lifetime.as_secs());
        let request = Request::Settled(settled);
        self.step(&request, RequestStep::BreakGlass, &doer, Some(&window))
            .map_err(|error| RequestRefused::Unavailable { detail: error.0 })?;
        self.windows.add(window.clone());
        self.registry.put(request);
        self.unless_blocked(asking, window).map(Granted::Window)
    }
}

/// Whose yes a grant asks for.
fn approval_of(grant: &Grant) -> Result<&Approval, RequestRefused> {
    let none = || RequestRefused::Unavailable { detail: "a grant without approvers".to_owned() };
    grant.approval.as_ref().ok_or_else(none)
}

impl Asking<'_> {
    /// The grant that is asked for: the first that may be, by policy alone before one that people answer.
    fn grant(&self) -> Result<Arc<Grant>, RequestRefused> {
        let connection = self.policy.connection(&self.name).ok_or(RequestRefused::NothingToAsk)?;
        let grants = self.policy.grants_to(self.principal, &self.name);
        let mut asked_for: Vec<&Arc<Grant>> = grants
            .iter()
            .filter(|grant| self.way == Way::Explicit || grant.ask == AskWay::OnConnect)
            .filter(|grant| match (self.request.break_glass, grant.when) {
                (_, When::Always) => false,
                (false, _) => true,
                (true, when) => {
                    when == When::Approved && grant.may_break_glass(self.principal) && self.is_by_own_hand()
                }
            })
            .collect();
        if asked_for.is_empty() {
            return Err(match (grants.is_empty(), self.request.break_glass) {
                (true, _) => RequestRefused::NothingToAsk,
                (false, true) => RequestRefused::NoBreakGlass,
                (false, false) => RequestRefused::NotNeeded,
            });
        }
        let facts = facts_of(self.principal, connection, self.source, &self.client.0, self.now);
        asked_for.retain(|grant| grant.applies(&facts).unwrap_or(false));
        asked_for.sort_by_key(|grant| grant.when == When::Approved);
        asked_for.first().map(|grant| Arc::clone(grant)).ok_or(RequestRefused::NotNow)
    }

    /// What passes over everybody's yes is a person's own act: a token that another application got in their name is not enough.
    fn is_by_own_hand(&self) -> bool {
        is_by_own_hand(self.principal, &own_clients(&self.policy))
    }

    fn lifetime(&self, grant: &Grant) -> Result<Duration, RequestRefused> {
        let limit = grant.lifetime.ok_or(RequestRefused::NothingToAsk)?;
        match self.request.lifetime_seconds {
            None => Ok(limit),
            Some(seconds) if seconds >= 1 && seconds <= limit.as_secs() => Ok(Duration::from_secs(seconds)),
            Some(_) => Err(RequestRefused::Lifetime { limit_seconds: limit.as_secs() }),
        }
    }

    fn window(&self, grant: &Grant, lifetime: Duration) -> Window {
        Window {
            id: WindowId::generate(self.now),
            principal: self.principal.key(),
            name: self.principal.name.clone(),
            grant: grant.id.clone(),
            connection: self.name.clone(),
            reason: self.reason.clone(),
            opened_at: self.now,
            ends_at: self.now.plus(lifetime),
        }
    }

    fn asked(&self, grant: &Grant, lifetime: Duration, approval: &Approval) -> Asked {
        Asked {
            id: RequestId::generate(self.now),
            requester: Arc::clone(self.principal),
            connection: self.name.clone(),
            database: None,
            needs: vec![need(&grant.rule_ref(), approval)],
            reason: self.reason.clone(),
            source: self.source.clone(),
            client: self.client.clone(),
            filed_at: self.now,
            answer_by: self.now.plus(grant.answer_within),
            policy: Arc::clone(self.policy.version()),
            what: What::Window(WindowAsked {
                grant: grant.id.clone(),
                lifetime_seconds: lifetime.as_secs(),
                scope: grant.scope.iter().map(ToString::to_string).collect(),
                break_glass: false,
            }),
        }
    }
}

pub(crate) fn opened(window: &Window, at: Timestamp) -> AuditEvent {
    AuditEvent::WindowRequest(WindowRequestEvent {
        at,
        principal: window.principal.clone(),
        name: window.name.clone(),
        connection: window.connection.clone(),
        grant: Some(window.grant.clone()),
        window: Some(window.id),
        ends_at: Some(window.ends_at),
        reason: window.reason.clone(),
        refused: String::new(),
    })
}
