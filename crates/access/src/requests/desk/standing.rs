//! Whether a request still stands, and by which rules of the policy in force its answers are judged.

use std::time::Duration;

use portcullis_core::{Principal, Timestamp};
use portcullis_policy::{Policy, Role, ScopeRule, When};

use crate::{
    Access,
    requests::{
        answer::{AnswerRefused, AnswerRules, Terms, WhyNot, may_answer},
        state::State,
        what::{Asked, Mode, Need, What, WindowAsked},
    },
};

/// How long a live session has to let through what was approved.
const LIVE_GOOD_FOR: Duration = Duration::from_secs(60);

/// Why a pending request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Expired,
    Blocked,
    PolicyChanged,
    Restarted,
}

impl Over {
    pub(super) const fn note(self) -> &'static str {
        match self {
            Self::Expired => "nobody answered in time",
            Self::Blocked => "an administrator has blocked the requester",
            Self::PolicyChanged => "the policy has changed since it was filed",
            Self::Restarted => "the gateway was restarted: the connection that waited is gone",
        }
    }

    /// What somebody is told who answers it now.
    pub(super) fn refused(self) -> AnswerRefused {
        match self {
            Self::Expired => AnswerRefused::Over(State::Expired, String::new()),
            Self::PolicyChanged => AnswerRefused::PolicyChanged,
            Self::Blocked | Self::Restarted => AnswerRefused::Over(State::Withdrawn, self.note().to_owned()),
        }
    }
}

impl Access {
    /// Why a pending request is over at `now`, where it is.
    pub(super) fn why_over(&self, asked: &Asked, orphan: bool, now: Timestamp) -> Option<Over> {
        if orphan {
            return Some(Over::Restarted);
        }
        if asked.answer_by <= now {
            return Some(Over::Expired);
        }
        if self.blocks.find(&asked.requester.key(), &asked.connection, now).is_some() {
            return Some(Over::Blocked);
        }
        (!stands(&self.policy.load(), asked)).then_some(Over::PolicyChanged)
    }

    /// What answers are held against now; nothing where the rules it was filed under are not what they were: a grant that is
    /// gone, is no longer the requester's or gives something else than was asked for; or, for an operation, any other policy.
    pub(super) fn answer_rules(&self, asked: &Asked) -> Option<AnswerRules> {
        let policy = self.policy.load();
        let terms = asked.needs.iter().map(|need| terms(&policy, asked, need)).collect::<Option<Vec<_>>>()?;
        (!terms.is_empty()).then(|| AnswerRules { terms, own_clients: own_clients(&policy) })
    }

    /// Whether a person may review a window opened at once: an approver of its grant as it is now, where the grant still has
    /// any; else whoever has the role of an approver. Never the requester. A review must stay possible whatever becomes of the
    /// grant.
    pub(super) fn may_review(&self, asked: &Asked, who: &Principal) -> Result<(), AnswerRefused> {
        let policy = self.policy.load();
        let approval = match &asked.what {
            What::Window(window) => policy.grants().iter().find(|grant| grant.id == window.grant),
            What::Operation(_) | What::Commit(_) => None,
        };
        let approval = approval.filter(|grant| grant.connection == asked.connection);
        let rule = asked.needs.first().map(|need| need.rule.clone());
        let terms = approval.and_then(|grant| grant.approval.clone()).zip(rule);
        let by_grant = terms.is_some();
        let terms = terms.map(|(approval, rule)| Terms { rule, approval, good_for: Duration::ZERO });
        let rules = AnswerRules { terms: terms.into_iter().collect(), own_clients: own_clients(&policy) };
        match may_answer(asked, &[], &rules, who) {
            Err(WhyNot::NotAnApprover) if !by_grant && policy.roles(who).has(Role::Approver) => Ok(()),
            answer => answer.map_err(AnswerRefused::MayNot),
        }
    }
}

/// The applications people sign in to the gateway with.
pub(crate) fn own_clients(policy: &Policy) -> Vec<String> {
    let sign_ins = policy.providers().iter().filter_map(|provider| provider.sign_in.as_ref());
    sign_ins.map(|sign_in| sign_in.client_id.clone()).collect()
}

/// Whether the rules it was filed under still ask for a person's yes to just this.
fn stands(policy: &Policy, asked: &Asked) -> bool {
    match &asked.what {
        What::Window(window) => is_given(policy, asked, window).is_some(),
        What::Operation(_) | What::Commit(_) => **policy.version() == *asked.policy,
    }
}

/// The grant, where it still gives the requester what was asked for. A scope that is not what the approvers saw is something
/// else, the wider and the narrower; so is a lifetime shorter than the one asked for.
fn is_given<'a>(
    policy: &'a Policy,
    asked: &Asked,
    window: &WindowAsked,
) -> Option<&'a portcullis_policy::Grant> {
    let grant = policy.grants().iter().find(|grant| grant.id == window.grant)?;
    let same = grant.when == When::Approved
        && grant.connection == asked.connection
        && grant.is_to(&asked.requester)
        && grant.lifetime.is_some_and(|lifetime| lifetime.as_secs() >= window.lifetime_seconds)
        && grant.scope.iter().map(ScopeRule::to_string).eq(window.scope.iter().cloned());
    same.then_some(grant)
}

fn terms(policy: &Policy, asked: &Asked, need: &Need) -> Option<Terms> {
    let rule = need.rule.clone();
    match &asked.what {
        What::Window(window) => {
            let approval = is_given(policy, asked, window)?.approval.clone()?;
            Some(Terms { rule, approval, good_for: Duration::ZERO })
        }
        What::Operation(operation) | What::Commit(operation) => {
            if **policy.version() != *asked.policy {
                return None;
            }
            let guardrail = policy.guardrails().iter().find(|guardrail| guardrail.name == rule.name)?;
            let hold = guardrail.hold.as_ref()?;
            let good_for = match operation.mode {
                Mode::Ticket => hold.ticket_lifetime,
                Mode::Live | Mode::Commit => LIVE_GOOD_FOR,
            };
            Some(Terms { rule, approval: hold.approval.clone(), good_for })
        }
    }
}
