//! How a step of a request becomes a fact: journalled, then stored, then effective.

use std::{sync::Arc, time::Duration};

use portcullis_core::{
    AuditEvent, Principal, PrincipalKey, RequestEvent, RequestStep, RuleRef, Timestamp, WindowId,
};

use crate::{
    Access, StoreError, Window,
    request::opened,
    requests::{
        said::said_within,
        state::{Ending, MAX_NOTE, Request},
        what::What,
    },
};

/// Who did a step, and what they said.
#[derive(Clone, Default)]
pub(crate) struct Doer {
    pub(crate) reason: String,
    pub(crate) by: Option<PrincipalKey>,
    pub(crate) by_name: String,
    pub(crate) through: String,
    pub(crate) note: String,
    pub(crate) lifetime_seconds: Option<u64>,
    pub(crate) window: Option<WindowId>,
}

impl Doer {
    pub(crate) fn gateway(note: &str) -> Self {
        Self { note: note.to_owned(), ..Self::default() }
    }

    pub(crate) fn person(by: &Principal, note: &str, through: &str) -> Self {
        Self {
            by: Some(by.key()),
            by_name: by.name.clone(),
            note: said_within(note, MAX_NOTE),
            through: through.to_owned(),
            ..Self::default()
        }
    }
}

impl Access {
    /// Journals a step, and the window it opens, in one batch; stores both after that in one transaction. A failure changes
    /// nothing that counts: the caller leaves the request as it was, and a window is effective only when this has returned.
    pub(crate) fn step(
        &self,
        request: &Request,
        step: RequestStep,
        doer: &Doer,
        window: Option<&Window>,
    ) -> Result<(), StoreError> {
        let event = self.event(request, step, doer);
        let opened = window.map(|window| opened(window, window.opened_at));
        let events: Vec<AuditEvent> = opened.into_iter().chain([event]).collect();
        self.journalled(&events)?;
        self.store.put_request(request, window)
    }

    /// Journals a step that changes nothing.
    pub(crate) fn journal_step(
        &self,
        request: &Request,
        step: RequestStep,
        doer: &Doer,
    ) -> Result<(), StoreError> {
        self.journalled(&[self.event(request, step, doer)])
    }

    pub(crate) fn event(&self, request: &Request, step: RequestStep, doer: &Doer) -> AuditEvent {
        let asked = request.asked();
        let operation = asked.what.operation();
        AuditEvent::Request(Box::new(RequestEvent {
            at: self.clock.now(),
            request: asked.id,
            step,
            kind: asked.what.kind().to_owned(),
            principal: asked.requester.key(),
            name: asked.requester.name.clone(),
            connection: asked.connection.clone(),
            rule: rule_of(request),
            session: operation.map(|operation| operation.session),
            hash: operation.map(|operation| operation.hash.clone()).unwrap_or_default(),
            reason: doer.reason.clone(),
            by: doer.by.clone(),
            by_name: doer.by_name.clone(),
            through: doer.through.clone(),
            note: doer.note.clone(),
            lifetime_seconds: doer.lifetime_seconds,
            window: doer.window,
            policy: Arc::clone(self.policy.load().version()),
        }))
    }
}

/// The rule that asks for a person: the first.
pub(crate) fn rule_of(request: &Request) -> RuleRef {
    let first = request.asked().needs.first().map(|need| need.rule.clone());
    first.unwrap_or_else(|| RuleRef { kind: "guardrail".into(), name: String::new(), location: None })
}

/// The window that this approval opens: its time begins now, not when it was asked for.
pub(crate) fn window_of(request: &Request, now: Timestamp) -> Option<Window> {
    let asked = request.asked();
    let What::Window(window) = &asked.what else { return None };
    let Ending::Approved { window: Some(id), lifetime_seconds: Some(seconds), .. } =
        request.settled()?.ending()
    else {
        return None;
    };
    Some(Window {
        id: *id,
        principal: asked.requester.key(),
        name: asked.requester.name.clone(),
        grant: window.grant.clone(),
        connection: asked.connection.clone(),
        reason: asked.reason.clone(),
        opened_at: now,
        ends_at: now.plus(Duration::from_secs(*seconds)),
    })
}
