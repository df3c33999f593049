//! Who may answer, and when enough have.

use std::{sync::Arc, time::Duration};

use portcullis_core::{Principal, PrincipalKind, RuleRef, Timestamp};
use portcullis_policy::Approval;

use super::{
    state::{Answer, MAX_NOTE, Pending, State, Vote},
    what::{Asked, What},
};

/// One rule's terms, by the policy in force.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The rule.
    pub rule: RuleRef,
    /// Who may answer, and how many it takes.
    pub approval: Approval,
    /// How long an approved operation may be run.
    pub good_for: Duration,
}

impl Terms {
    /// Whether enough distinct people of this rule's approvers said yes.
    pub(crate) fn is_met_by(&self, votes: &[Vote]) -> bool {
        self.given(votes) >= self.approval.approvals
    }

    /// How many distinct people of this rule's approvers said yes.
    pub fn given(&self, votes: &[Vote]) -> u32 {
        let yes = votes.iter().filter(|vote| vote.answer == Answer::Approve && self.approval.may(&vote.by));
        let mut people: Vec<_> = yes.map(|vote| vote.by.key()).collect();
        people.sort_unstable();
        people.dedup();
        u32::try_from(people.len()).unwrap_or(u32::MAX)
    }
}

/// What answers are held against, by the policy in force.
#[derive(Clone, Debug, Default)]
pub struct AnswerRules {
    /// Every rule's terms.
    pub terms: Vec<Terms>,
    /// Client ids of the gateway's own sign-in: people who come through one share a door, not an agent's identity.
    pub own_clients: Vec<String>,
}

impl AnswerRules {
    /// Whether every rule has enough answers.
    pub(crate) fn are_met_by(&self, votes: &[Vote]) -> bool {
        self.terms.iter().all(|terms| terms.is_met_by(votes))
    }

    /// Whether a person is among the approvers of some rule.
    pub(crate) fn name(&self, who: &Principal) -> bool {
        self.terms.iter().any(|terms| terms.approval.may(who))
    }
}

/// One person's answer on its way.
#[derive(Clone, Debug)]
pub struct Ballot {
    /// Who: verified, with groups as they are now.
    pub by: Arc<Principal>,
    /// Yes or no.
    pub answer: Answer,
    /// What they say; a no wants one.
    pub note: String,
    /// A shorter lifetime, in seconds.
    pub lifetime_seconds: Option<u64>,
    /// By which way.
    pub through: &'static str,
}

/// Why somebody may not answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// Only people answer.
    #[error("only a person can answer a request")]
    NotAPerson,
    /// The requester never counts.
    #[error("you asked for it yourself")]
    Requester,
    /// Nor does who acts through the requester's application.
    #[error("you act through the application that asks for it")]
    SameApplication,
    /// Not among the approvers.
    #[error("you are not among those who may answer it")]
    NotAnApprover,
    /// Distinct people are needed.
    #[error("you have answered it already")]
    Answered,
}

/// An answer that does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefused {
    /// No such request, or none that this person may see: one answer.
    #[error("there is no such request")]
    Unknown,
    /// Not by this person.
    #[error("you cannot answer this request: {0}")]
    MayNot(WhyNot),
    /// It is over.
    #[error("the request is no longer pending: it was {}{}", .0.as_str(), told(.1))]
    Over(State, String),
    /// A no wants a reason; no note is longer than that.
    #[error("a note of 1 to {MAX_NOTE} characters is needed")]
    Note,
    /// A lifetime may be shortened, and only that of a window.
    #[error("the lifetime can only be shortened: between 1 and {limit_seconds} seconds")]
    Lifetime {
        /// What was asked for.
        limit_seconds: u64,
    },
    /// Only a window has a lifetime.
    #[error("only a request for a window has a lifetime")]
    NoLifetime,
    /// The rule it was filed under is not what it was.
    #[error("the policy has changed since the request was filed; it is withdrawn, and must be made again")]
    PolicyChanged,
    /// Nothing to review.
    #[error("there is nothing to review")]
    NothingToReview,
    /// Store or journal failed: nothing was answered.
    #[error("the gateway cannot take an answer now; try again shortly")]
    Unavailable {
        /// For the log.
        detail: String,
    },
}

fn told(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(" ({note})") }
}

impl Ballot {
    pub(crate) fn may_count(
        &self,
        pending: &Pending,
        rules: &AnswerRules,
        now: Timestamp,
    ) -> Result<(), AnswerRefused> {
        let asked = pending.asked();
        may_answer(asked, &pending.votes, rules, &self.by).map_err(AnswerRefused::MayNot)?;
        if asked.answer_by <= now {
            return Err(AnswerRefused::Over(State::Expired, String::new()));
        }
        let length = self.note.chars().count();
        if length > MAX_NOTE || (self.answer == Answer::Deny && self.note.trim().is_empty()) {
            return Err(AnswerRefused::Note);
        }
        match (self.lifetime_seconds, &asked.what) {
            (None, _) => Ok(()),
            (Some(seconds), What::Window(window)) if seconds >= 1 && seconds <= window.lifetime_seconds => {
                Ok(())
            }
            (Some(_), What::Window(window)) => {
                Err(AnswerRefused::Lifetime { limit_seconds: window.lifetime_seconds })
            }
            (Some(_), _) => Err(AnswerRefused::NoLifetime),
        }
    }

    pub(crate) fn into_vote(self, at: Timestamp) -> Vote {
        Vote {
            by: self.by,
            at,
            answer: self.answer,
            note: self.note.trim().to_owned(),
            lifetime_seconds: self.lifetime_seconds,
            through: self.through.to_owned(),
        }
    }
}

/// Whether `who` may answer: a person, among the approvers of a rule, who is not the requester, acts neither for it nor through
/// its application, and has not answered before.
pub(crate) fn may_answer(
    asked: &Asked,
    votes: &[Vote],
    rules: &AnswerRules,
    who: &Principal,
) -> Result<(), WhyNot> {
    if who.kind != PrincipalKind::User {
        return Err(WhyNot::NotAPerson);
    }
    let requester = &asked.requester;
    let is_on_its_behalf = |subject: &Option<String>| {
        subject.as_deref().is_some_and(|subject| subject.eq_ignore_ascii_case(&who.object_id))
    };
    if requester.key() == who.key() || is_on_its_behalf(&requester.subject) {
        return Err(WhyNot::Requester);
    }
    if shares_application(requester, who, &rules.own_clients) {
        return Err(WhyNot::SameApplication);
    }
    if !rules.name(who) {
        return Err(WhyNot::NotAnApprover);
    }
    if votes.iter().any(|vote| vote.by.key() == who.key()) {
        return Err(WhyNot::Answered);
    }
    Ok(())
}

/// Whether a person acts through the requester's own application: whoever holds its secret could be both. The gateway's own
/// sign-in does not count: people who use it share a door, not an agent's identity.
fn shares_application(requester: &Principal, who: &Principal, own_clients: &[String]) -> bool {
    let theirs = [&requester.application_id, &requester.parent_application, &requester.actor];
    let own = [&who.application_id, &who.parent_application, &who.actor];
    let is_ours = |id: &str| own_clients.iter().any(|client| client.eq_ignore_ascii_case(id));
    own.into_iter()
        .flatten()
        .filter(|own| !is_ours(own))
        .any(|own| theirs.into_iter().flatten().any(|their| own.eq_ignore_ascii_case(their)))
}
