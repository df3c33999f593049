//! Asking for a window: [`Access::request`].

use std::sync::Arc;

use portcullis_core::{
    AuditEvent, ConnectionName, Principal, Source, Timestamp, WindowId, event::WindowRequestEvent,
};
use portcullis_identity::Authenticated;
use portcullis_policy::When;

use crate::{Access, RequestRefused, Window, WindowRequest, access::facts_of, windows::MAX_REASON};

impl Access {
    /// Opens a window for a `requested` grant. Asking while one is open gives that one back: nothing extends it.
    /// Blocking: store and journal are written before it returns.
    ///
    /// # Errors
    /// Why nothing was opened; journalled too.
    pub fn request(
        &self,
        who: &Authenticated,
        request: &WindowRequest,
        source: &Source,
    ) -> Result<Window, RequestRefused> {
        let principal = Arc::clone(who.principal());
        let now = self.clock.now();
        let answer = self.request_decided(&principal, request, source, now);
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
                reason: request.reason.chars().take(MAX_REASON).collect(),
                refused: refused.to_string(),
            };
            self.journalled(&AuditEvent::WindowRequest(event))
                .map_err(|error| RequestRefused::Unavailable { detail: error.0 })?;
        }
        answer
    }

    fn request_decided(
        &self,
        principal: &Arc<Principal>,
        request: &WindowRequest,
        source: &Source,
        now: Timestamp,
    ) -> Result<Window, RequestRefused> {
        let length = request.reason.trim().chars().count();
        if length == 0 || length > MAX_REASON {
            return Err(RequestRefused::Reason);
        }
        let policy = self.policy.load_full();
        let name: ConnectionName = request.connection.parse().map_err(|_| RequestRefused::NothingToAsk)?;
        let connection = policy.connection(&name).ok_or(RequestRefused::NothingToAsk)?;
        if self.blocks.find(&principal.key(), &name, now).is_some() {
            return Err(RequestRefused::Blocked);
        }
        let grants = policy.grants_to(principal, &name);
        let Some(first) = grants.iter().find(|grant| grant.when == When::Requested) else {
            return Err(if grants.is_empty() {
                RequestRefused::NothingToAsk
            } else {
                RequestRefused::NotNeeded
            });
        };
        let facts = facts_of(principal, connection, source, "", now);
        let grant = grants
            .iter()
            .filter(|grant| grant.when == When::Requested)
            .find(|grant| grant.applies(&facts).unwrap_or(false))
            .ok_or(RequestRefused::NotNow)?;
        let limit = grant.lifetime.or(first.lifetime).ok_or(RequestRefused::NothingToAsk)?;
        let lifetime = match request.lifetime_seconds {
            None => limit,
            Some(seconds) if seconds >= 1 && seconds <= limit.as_secs() => {
                std::time::Duration::from_secs(seconds)
            }
            Some(_) => return Err(RequestRefused::Lifetime { limit_seconds: limit.as_secs() }),
        };
        let make = || Window {
            id: WindowId::generate(now),
            principal: principal.key(),
            name: principal.name.clone(),
            grant: grant.id.clone(),
            connection: name.clone(),
            reason: request.reason.trim().to_owned(),
            opened_at: now,
            ends_at: now.plus(lifetime),
        };
        let keep = |window: &Window| {
            self.journalled(&AuditEvent::WindowRequest(WindowRequestEvent {
                at: now,
                principal: window.principal.clone(),
                name: window.name.clone(),
                connection: name.clone(),
                grant: Some(window.grant.clone()),
                window: Some(window.id),
                ends_at: Some(window.ends_at),
                reason: window.reason.clone(),
                refused: String::new(),
            }))?;
            self.store.insert_window(window)
        };
        let window = self.windows.ask(&principal.key(), grant, now, make, keep)?;
        // A kill blocks first and ends windows then: what it missed here, it left a block for.
        if self.blocks.find(&principal.key(), &name, now).is_some() {
            self.end_window(window.id).map_err(|error| RequestRefused::Unavailable { detail: error.0 })?;
            return Err(RequestRefused::Blocked);
        }
        Ok(window)
    }
}
