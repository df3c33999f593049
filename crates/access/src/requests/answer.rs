//! Who may answer, and when enough have.

use std::{sync::Arc, time::Duration};

use portcullis_core::{Principal, PrincipalKind, RuleRef, Timestamp};
use portcullis_policy::Approval;

use super::{
    said::said,
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
        let mut people: Vec<&Principal> = Vec::new();
        for vote in votes.iter().filter(|vote| vote.answer == Answer::Approve && self.approval.may(&vote.by))
        {
            if !people.iter().any(|known| is_same(known, &vote.by)) {
                people.push(&vote.by);
            }
        }
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
    /// Nor does a token that some other application got in a person's name.
    #[error("your token is another application's: answer in the console, or after `portcullis login`")]
    AnotherApplication,
    /// Not among the approvers.
    #[error("you are not among those who may answer it")]
    NotAnApprover,
    /// Distinct people are needed.
    #[error("you have answered it already")]
    Answered,
    /// An administrator keeps them out.
    #[error("an administrator has blocked you")]
    Blocked,
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
        let note = said(&self.note);
        if note.chars().count() > MAX_NOTE || (self.answer == Answer::Deny && note.is_empty()) {
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
            note: said(&self.note),
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
    let requester = &asked.requester;
    if who.kind != PrincipalKind::User {
        return Err(WhyNot::NotAPerson);
    }
    if is_same(requester, who) || acts_for(requester, who) || acts_for(who, requester) {
        return Err(WhyNot::Requester);
    }
    if shares_application(requester, who, &rules.own_clients) {
        return Err(WhyNot::SameApplication);
    }
    if !is_by_own_hand(who, &rules.own_clients) {
        return Err(WhyNot::AnotherApplication);
    }
    if !rules.name(who) {
        return Err(WhyNot::NotAnApprover);
    }
    if votes.iter().any(|vote| is_same(&vote.by, who)) {
        return Err(WhyNot::Answered);
    }
    Ok(())
}

/// Whether two principals are one: the same object of the same tenant, by whichever of the configured providers it came. Two
/// issuers without tenants may both know a subject of one name: they count as one person, which refuses too much rather than
/// letting somebody answer twice.
fn is_same(a: &Principal, b: &Principal) -> bool {
    same_id(&a.object_id, &b.object_id) && (a.tenant == b.tenant || a.provider == b.provider)
}

/// Whether one of them acts for the other, or is acted for: `subject` is on whose behalf, `actor` is who acts.
fn acts_for(a: &Principal, b: &Principal) -> bool {
    [&a.subject, &a.actor].into_iter().flatten().any(|id| same_id(id, &b.object_id))
}

fn same_id(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Whether what `who` does is their own doing: programs speak for themselves, a person by the gateway's own sign-in, where there is
/// one. A token that another application got in a person's name is that application's to use: an assistant that may read somebody's
/// mail must not answer requests as them. Where a token names no application, nobody knows whose it is to use. Who says to act for
/// somebody else is that, whatever the documents have.
pub(crate) fn is_by_own_hand(who: &Principal, own_clients: &[String]) -> bool {
    if who.subject.is_some() {
        return false;
    }
    who.kind != PrincipalKind::User
        || own_clients.is_empty()
        || who.application_id.as_ref().is_some_and(|id| own_clients.iter().any(|client| same_id(client, id)))
}

/// Whether a person acts through the requester's own application: whoever holds its secret could be both. The gateway's own
/// sign-in does not count: everybody who uses console or CLI comes through it, requester and approver; it shows a door, not an
/// identity, and has no power of its own to ask for or answer anything.
fn shares_application(requester: &Principal, who: &Principal, own_clients: &[String]) -> bool {
    let theirs = [&requester.application_id, &requester.parent_application, &requester.actor];
    let own = [&who.application_id, &who.parent_application, &who.actor];
    let is_ours = |id: &str| own_clients.iter().any(|client| same_id(client, id));
    own.into_iter()
        .flatten()
        .filter(|own| !is_ours(own))
        .any(|own| theirs.into_iter().flatten().any(|their| same_id(own, their)))
}
