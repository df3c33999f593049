//! Notices: what channels are told of requests. Never an operation's text, only its shape.

use std::{collections::HashMap, sync::Arc};

use portcullis_access::requests::{Ending, Mode, Request, RequestFilter, State, What};
use portcullis_core::RequestId;
use portcullis_notify::{Answered, Notice, NoticeId, Outcome};
use portcullis_policy::{NoticeKind, Url};
use tokio::sync::broadcast::error::RecvError;

use crate::{Api, routes::blocking};

/// Requests remembered, so that each of their steps is told once.
const REMEMBERED: usize = 20_000;

/// Tells channels of requests, until dropped. Nothing waits for it.
pub(crate) async fn follow(api: Arc<Api>) {
    let mut changes = api.access.request_changes();
    let mut told = Told::default();
    // What waited when the gateway stopped was told then.
    match pending(&api).await {
        Some(waiting) => waiting.iter().for_each(|request| told.note(request)),
        None => tracing::error!("which requests wait is not known: some may be told of twice"),
    }
    loop {
        match changes.recv().await {
            Ok(request) => tell(&api, &mut told, &request),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "steps of requests were missed: those that wait are looked up");
                for request in pending(&api).await.unwrap_or_default() {
                    tell(&api, &mut told, &request);
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Everything that waits for an answer or a review; nothing where the store does not answer.
async fn pending(api: &Arc<Api>) -> Option<Vec<Request>> {
    let access = Arc::clone(&api.access);
    let read = move || {
        let mut found = Vec::new();
        for (state, needs_review) in [(Some(State::Pending), false), (None, true)] {
            let mut filter =
                RequestFilter { state, needs_review, limit: Some(1_000), ..RequestFilter::default() };
            loop {
                let page = access.requests(&filter)?;
                found.extend(page.rows);
                filter.cursor = page.next;
                if filter.cursor.is_none() {
                    break;
                }
            }
        }
        Ok::<_, portcullis_access::StoreError>(found)
    };
    match blocking(read).await {
        Ok(Ok(found)) => Some(found),
        Ok(Err(error)) => {
            tracing::error!(%error, "requests could not be read");
            None
        }
        Err(_) => None,
    }
}

fn tell(api: &Arc<Api>, told: &mut Told, request: &Request) {
    if !told.is_news(request) {
        return;
    }
    told.note(request);
    let Some(notice) = of(api, request) else { return };
    api.notifier.notify(api.access.policy().notifications(), notice);
}

/// What was told of each request last.
#[derive(Default)]
struct Told(HashMap<RequestId, Step>);

/// The steps that are told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Filed,
    Ended,
    Reviewed,
}

impl Step {
    fn of(request: &Request) -> Self {
        match (request.settled(), request.review()) {
            (None, _) => Self::Filed,
            (Some(_), None) => Self::Ended,
            (Some(_), Some(_)) => Self::Reviewed,
        }
    }
}

impl Told {
    fn is_news(&self, request: &Request) -> bool {
        self.0.get(&request.id()).is_none_or(|last| *last < Step::of(request))
    }

    fn note(&mut self, request: &Request) {
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, step| *step == Step::Filed);
            if self.0.len() >= REMEMBERED {
                self.0.clear();
            }
        }
        self.0.insert(request.id(), Step::of(request));
    }
}

/// What there is to tell of a request as it is now; `None` where the gateway has no address to link to.
pub(crate) fn of(api: &Api, request: &Request) -> Option<Notice> {
    let asked = request.asked();
    let link: Url = api.access.request_link(asked.id)?.parse().ok()?;
    let break_glass = matches!(&asked.what, What::Window(window) if window.break_glass);
    let (kind, answered) = match (request.settled(), request.review()) {
        (None, _) => match &asked.what {
            What::Window(_) => (NoticeKind::Requested, None),
            What::Operation(operation) if operation.mode == Mode::Ticket => (NoticeKind::Requested, None),
            What::Operation(_) | What::Commit(_) => (NoticeKind::Held, None),
        },
        (Some(_), Some(review)) => (
            NoticeKind::Review,
            Some(Answered {
                outcome: Outcome::Reviewed,
                by: review.name.clone(),
                at: review.at,
                note: review.note.clone(),
            }),
        ),
        (Some(_), None) if break_glass => (NoticeKind::BreakGlass, None),
        (Some(settled), None) => {
            let outcome = match settled.ending() {
                Ending::Approved { .. } => Outcome::Approved,
                Ending::Denied => Outcome::Denied,
                Ending::Expired => Outcome::Expired,
                Ending::Withdrawn => Outcome::Withdrawn,
            };
            let by = match outcome {
                Outcome::Approved | Outcome::Denied => {
                    request.votes().last().map(|vote| vote.by.name.clone()).unwrap_or_default()
                }
                _ => String::new(),
            };
            let kind = if outcome == Outcome::Expired { NoticeKind::Expired } else { NoticeKind::Answered };
            let at = request.answered_at().unwrap_or(asked.filed_at);
            (kind, Some(Answered { outcome, by, at, note: settled.note().to_owned() }))
        }
    };
    let now = api.clock.now();
    let needs =
        asked.needs.iter().map(|need| format!("{} of {}", need.approvals, need.approvers.join(" or ")));
    Some(Notice {
        id: NoticeId::generate(now),
        kind,
        request: asked.id,
        at: now,
        connection: asked.connection.clone(),
        requester: asked.requester.name.clone(),
        requester_key: asked.requester.key().to_string(),
        rule: asked.needs.first().map(|need| need.rule.clone()),
        reason: asked.reason.clone(),
        summary: asked.what.operation().map(|operation| operation.shape.clone()).unwrap_or_default(),
        link,
        needs: needs.collect::<Vec<_>>().join(", and "),
        answer_by: request.settled().is_none().then_some(asked.answer_by),
        answered,
    })
}
