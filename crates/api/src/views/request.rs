//! A request as somebody may see it: whole, as a line in a list, or not at all.

use portcullis_access::requests::{
    AnswerRefused, Asked, BlastRadius, Ending, OperationAsked, Request, Sample, Vote, What,
};
use portcullis_client::{
    RequestView,
    types::{
        BindView, BlastView, HighlightView, NeedView, OperationView, RanView, RequesterView, ResourceView,
        ReviewView, SampleView, TableView, VoteView, WindowPart,
    },
};
use portcullis_core::Principal;
use portcullis_policy::{Approval, Policy, Role};
use serde::Serialize;

use crate::{Api, caller::Caller};

/// How much of a request somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sight {
    /// Not even that there is one.
    Nothing,
    /// No texts, no values.
    Line,
    /// All of it.
    Whole,
}

/// How much of it the caller sees.
pub(crate) fn sight(api: &Api, request: &Request, caller: &Caller) -> Sight {
    let roles = caller.roles();
    if roles.has(Role::Approver) || roles.has(Role::Auditor) {
        return Sight::Whole;
    }
    let concerned = caller.principal().is_some_and(|principal| concerns(api, request, principal));
    match (concerned, roles.has(Role::Viewer)) {
        (true, _) => Sight::Whole,
        (false, true) => Sight::Line,
        (false, false) => Sight::Nothing,
    }
}

/// Whether it is theirs, they answered it, or they are among those who may.
fn concerns(api: &Api, request: &Request, who: &Principal) -> bool {
    let (asked, key) = (request.asked(), who.key());
    asked.requester.key() == key
        || request.votes().iter().any(|vote| vote.by.key() == key)
        || approvals(&api.access.policy(), asked).iter().any(|approval| approval.may(who))
}

/// Whom the rules of the request name now.
pub(crate) fn approvals(policy: &Policy, asked: &Asked) -> Vec<Approval> {
    match &asked.what {
        What::Window(window) => {
            let grant = policy.grants().iter().find(|grant| grant.id == window.grant);
            grant.and_then(|grant| grant.approval.clone()).into_iter().collect()
        }
        What::Operation(_) | What::Commit(_) => {
            let holds = asked.needs.iter().filter_map(|need| {
                let guardrail =
                    policy.guardrails().iter().find(|guardrail| guardrail.name == need.rule.name)?;
                guardrail.hold.as_ref().map(|terms| terms.approval.clone())
            });
            holds.collect()
        }
    }
}

/// The request, so much of it.
pub(crate) fn view(api: &Api, request: &Request, caller: &Caller, sight: Sight) -> RequestView {
    let (asked, settled) = (request.asked(), request.settled());
    let requester = &asked.requester;
    let is_whole = sight == Sight::Whole;
    let can = match caller.principal() {
        None => Err("only a person can answer a request".to_owned()),
        Some(principal) => api.access.may_answer(request, principal).map_err(|refused| match refused {
            AnswerRefused::MayNot(why) => why.to_string(),
            AnswerRefused::Over(..) => "it is over".to_owned(),
            refused => refused.to_string(),
        }),
    };
    let (window_asked, operation) = match &asked.what {
        What::Window(window) => (Some(window), None),
        What::Operation(operation) | What::Commit(operation) => (None, Some(operation)),
    };
    let ending = settled.map(|settled| settled.ending());
    let approved_lifetime = match ending {
        Some(Ending::Approved { lifetime_seconds, .. }) => *lifetime_seconds,
        _ => None,
    };
    let window = match (ending, request.answered_at()) {
        (Some(Ending::Approved { window: Some(id), lifetime_seconds: Some(seconds), .. }), Some(at)) => {
            let ends_at = at.plus(std::time::Duration::from_secs(*seconds));
            Some(WindowPart { id: id.to_string(), opened_at: at, ends_at })
        }
        _ => None,
    };
    RequestView {
        id: asked.id.to_string(),
        kind: asked.what.kind().to_owned(),
        state: request.state().as_str().to_owned(),
        requester: RequesterView {
            key: requester.key().to_string(),
            name: requester.name.clone(),
            kind: word(&requester.kind),
            application_id: requester.application_id.clone(),
            groups: requester.groups.clone(),
            roles: requester.roles.clone(),
        },
        connection: asked.connection.to_string(),
        database: asked.database.clone(),
        rule: asked.needs.first().map(|need| need.rule.clone()),
        needs: api
            .access
            .given(request)
            .into_iter()
            .map(|(need, given)| NeedView {
                rule: need.rule,
                approvers: need.approvers,
                approvals: need.approvals,
                given,
            })
            .collect(),
        reason: asked.reason.clone(),
        source: RequestView::source_of(&asked.source),
        client: asked.client.0.clone(),
        filed_at: asked.filed_at,
        answer_by: asked.answer_by,
        answered_at: request.answered_at(),
        votes: request.votes().iter().map(vote).collect(),
        note: settled.map(|settled| settled.note().to_owned()).unwrap_or_default(),
        break_glass: window_asked.is_some_and(|window| window.break_glass),
        review: request.review().map(|review| ReviewView {
            by: review.by.to_string(),
            name: review.name.clone(),
            at: review.at,
            note: review.note.clone(),
        }),
        needs_review: settled.is_some_and(|settled| settled.needs_review()),
        policy: asked.policy.to_string(),
        lifetime_seconds: approved_lifetime.or(window_asked.map(|window| window.lifetime_seconds)),
        scope: window_asked.map(|window| window.scope.clone()).unwrap_or_default(),
        window,
        operation: operation.map(|held| operation_view(held, ending, is_whole)),
        blast_radius: request
            .blast()
            .map(|blast| blast_view(blast, operation.and_then(|held| held.qualified), is_whole)),
        can_answer: can.is_ok(),
        why_not: can.err(),
        link: api.access.request_link(asked.id),
    }
}

fn vote(vote: &Vote) -> VoteView {
    VoteView {
        by: vote.by.key().to_string(),
        name: vote.by.name.clone(),
        at: vote.at,
        answer: word(&vote.answer),
        note: vote.note.clone(),
        lifetime_seconds: vote.lifetime_seconds,
        through: vote.through.clone(),
    }
}

fn operation_view(held: &OperationAsked, ending: Option<&Ending>, is_whole: bool) -> OperationView {
    let (used_at, good_until) = match ending {
        Some(Ending::Approved { used_at, good_until, .. }) => (*used_at, *good_until),
        _ => (None, None),
    };
    let only_whole = |yes: bool| is_whole && yes;
    OperationView {
        session: held.session.to_string(),
        mode: word(&held.mode),
        text: only_whole(true).then(|| held.text.clone()),
        text_cut_from: held.text_cut_from,
        statement: held.statement.to_string(),
        resources: held
            .resources
            .iter()
            .map(|pair| ResourceView {
                verb: word(&pair.verb),
                resource: pair.resource.to_string(),
                columns: pair.columns.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        qualified: held.qualified,
        highlights: whole(is_whole, &held.highlights, |part| HighlightView {
            from: part.from,
            to: part.to,
            rule: part.rule.clone(),
        }),
        binds: whole(is_whole, &held.binds, |bind| BindView {
            position: bind.position,
            type_name: bind.type_name.clone(),
            value: bind.value.clone(),
            cut: bind.cut,
            null: bind.null,
        }),
        in_transaction: held.in_transaction,
        hash: held.hash.clone(),
        rows: held.rows,
        statements: whole(is_whole, &held.statements, |ran| RanView {
            number: ran.number,
            text: ran.text.clone(),
            rows: ran.rows,
        }),
        used_at,
        good_until,
    }
}

fn blast_view(blast: &BlastRadius, qualified: Option<bool>, is_whole: bool) -> BlastView {
    let sample = |sample: &Option<Sample>| {
        let sample = sample.as_ref().filter(|_| is_whole)?;
        Some(SampleView { columns: sample.columns.clone(), rows: sample.rows.clone() })
    };
    BlastView {
        state: word(&blast.state),
        why: blast.why.clone(),
        estimated_rows: blast.estimated_rows,
        // A plan has the statement's literals in it.
        plan: if is_whole { blast.plan.clone() } else { String::new() },
        tables: blast
            .tables
            .iter()
            .map(|table| TableView {
                table: table.table.clone(),
                columns: table.columns.clone(),
                verb: word(&table.verb),
            })
            .collect(),
        qualified,
        exact_rows: blast.exact_rows,
        not_counted: blast.not_counted.clone(),
        before: sample(&blast.before),
        after: sample(&blast.after),
    }
}

fn whole<T, U>(is_whole: bool, items: &[T], shown: impl Fn(&T) -> U) -> Vec<U> {
    if is_whole { items.iter().map(shown).collect() } else { Vec::new() }
}

/// The word a fieldless enum has on the wire.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
