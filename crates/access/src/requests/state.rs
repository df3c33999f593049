//! The machine: pending -> approved | denied | expired | withdrawn. Each step takes the state before it and gives the next.

use std::sync::Arc;

use portcullis_core::{Principal, PrincipalKey, RequestId, Timestamp, WindowId};
use serde::{Deserialize, Serialize};

use super::{
    answer::{AnswerRefused, AnswerRules, Ballot},
    binding::Binding,
    said::said,
    what::{Asked, BlastRadius, What},
};

/// A request in one of its states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// It waits.
    Pending(Pending),
    /// It is over.
    Settled(Settled),
}

/// A request that waits for answers. It lets nothing through:
///
/// ```compile_fail,E0599
/// use portcullis_access::requests::{Binding, Pending};
/// fn early(pending: Pending, binding: &Binding, now: portcullis_core::Timestamp) {
///     let _ = pending.use_once(binding, now);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub(crate) asked: Arc<Asked>,
    pub(crate) votes: Vec<Vote>,
    pub(crate) blast: Option<Box<BlastRadius>>,
}

/// A request that is over. Its ending stays: it takes no answer, is withdrawn by nobody, and does not go back.
///
/// ```compile_fail,E0599
/// use portcullis_access::requests::{AnswerRules, Ballot, Settled};
/// fn late(settled: Settled, ballot: Ballot, rules: &AnswerRules, now: portcullis_core::Timestamp) {
///     let _ = settled.answer(ballot, rules, now);
/// }
/// ```
///
/// ```compile_fail,E0599
/// fn gone(settled: portcullis_access::requests::Settled, now: portcullis_core::Timestamp) {
///     let _ = settled.withdraw(now, "no longer needed");
/// }
/// ```
///
/// ```compile_fail,E0451
/// use portcullis_access::requests::{Pending, Settled};
/// fn back(settled: Settled) -> Pending {
///     let Settled { asked, votes, blast, .. } = settled;
///     Pending { asked, votes, blast }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub(crate) asked: Arc<Asked>,
    pub(crate) votes: Vec<Vote>,
    pub(crate) blast: Option<Box<BlastRadius>>,
    pub(crate) at: Timestamp,
    pub(crate) ending: Ending,
    pub(crate) note: String,
    pub(crate) review: Option<Box<Review>>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Ending {
    /// Enough people said yes.
    Approved {
        /// The window that opened, where one was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<WindowId>,
        /// Until when an approved operation may still be run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        good_until: Option<Timestamp>,
        /// When it ran: it may not again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used_at: Option<Timestamp>,
        /// How long the window is, in seconds: approvers may have shortened it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lifetime_seconds: Option<u64>,
    },
    /// A person said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The requester, or what it was for, is gone.
    Withdrawn,
}

/// The word of a state, for lists and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum State {
    Pending,
    Approved,
    Denied,
    Expired,
    Withdrawn,
}

impl State {
    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Answer {
    Approve,
    Deny,
}

/// One person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who, with groups as they were when it was last counted.
    pub by: Arc<Principal>,
    /// When.
    pub at: Timestamp,
    /// Yes or no.
    pub answer: Answer,
    /// What they said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// A shorter lifetime, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
    /// By which way: `console`, `cli`, `api`, `slack`.
    #[serde(default)]
    pub through: String,
}

/// A person looked at a window that was opened at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Who.
    pub by: PrincipalKey,
    /// Their readable name.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// What they found.
    pub note: String,
}

/// An approval that lets nothing through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUsable {
    /// It did not end in an approval of an operation.
    #[error("the request is not an approved operation")]
    NotApproved,
    /// It was let through before.
    #[error("the approval was used before: an approved operation runs once")]
    Used,
    /// Its time is over.
    #[error("the approval is no longer good: its time is over")]
    Over,
    /// Another operation than the one approved.
    #[error("this is not the operation that was approved")]
    Differs,
}

/// The most characters of a note.
pub(crate) const MAX_NOTE: usize = 1000;

impl Pending {
    /// A request as it is filed.
    pub(crate) fn new(asked: Asked) -> Self {
        Self { asked: Arc::new(asked), votes: Vec::new(), blast: None }
    }

    /// What is asked for.
    pub fn asked(&self) -> &Arc<Asked> {
        &self.asked
    }

    /// Takes one answer at `now`, held against the rules of the policy in force.
    ///
    /// # Errors
    /// Why the answer does not count, with the request as it was.
    pub fn answer(
        self,
        ballot: Ballot,
        rules: &AnswerRules,
        now: Timestamp,
    ) -> Result<Request, (Box<Self>, AnswerRefused)> {
        if let Err(refused) = ballot.may_count(&self, rules, now) {
            return Err((Box::new(self), refused));
        }
        let deny = ballot.answer == Answer::Deny;
        let note = said(&ballot.note);
        let mut pending = self;
        pending.votes.push(ballot.into_vote(now));
        if deny {
            return Ok(Request::Settled(pending.settle(now, Ending::Denied, note)));
        }
        if !rules.are_met_by(&pending.votes) {
            return Ok(Request::Pending(pending));
        }
        let ending = pending.approval(rules, now);
        Ok(Request::Settled(pending.settle(now, ending, note)))
    }

    fn approval(&self, rules: &AnswerRules, now: Timestamp) -> Ending {
        let ticket = rules.terms.iter().map(|terms| terms.good_for).min().unwrap_or_default();
        match &self.asked.what {
            What::Window(asked) => {
                let shortest = self.votes.iter().filter_map(|vote| vote.lifetime_seconds).min();
                let lifetime = shortest.map_or(asked.lifetime_seconds, |s| s.min(asked.lifetime_seconds));
                Ending::Approved {
                    window: Some(WindowId::generate(now)),
                    good_until: None,
                    used_at: None,
                    lifetime_seconds: Some(lifetime),
                }
            }
            What::Operation(_) | What::Commit(_) => Ending::Approved {
                window: None,
                good_until: Some(now.plus(ticket)),
                used_at: None,
                lifetime_seconds: None,
            },
        }
    }

    /// Looks at every vote again: `current` gives its giver as they are now, or nothing where they may not answer any more. Those
    /// votes are taken back, and returned.
    pub(crate) fn look_again(
        &mut self,
        current: impl Fn(&Arc<Principal>) -> Option<Arc<Principal>>,
    ) -> Vec<Vote> {
        let mut dropped = Vec::new();
        for vote in std::mem::take(&mut self.votes) {
            match current(&vote.by) {
                Some(by) => self.votes.push(Vote { by, ..vote }),
                None => dropped.push(vote),
            }
        }
        dropped
    }

    /// Ends it where its time is over.
    ///
    /// # Errors
    /// The request, which still has time.
    pub fn expire(self, now: Timestamp) -> Result<Settled, Box<Self>> {
        if now < self.asked.answer_by {
            return Err(Box::new(self));
        }
        Ok(self.settle(now, Ending::Expired, "nobody answered in time".to_owned()))
    }

    /// Ends it because the requester, or what it was for, is gone.
    pub fn withdraw(self, now: Timestamp, note: impl Into<String>) -> Settled {
        self.settle(now, Ending::Withdrawn, note.into())
    }

    /// A window opened at once, by somebody whom the grant names for that.
    pub(crate) fn break_glass(self, now: Timestamp, window: WindowId, lifetime_seconds: u64) -> Settled {
        let ending = Ending::Approved {
            window: Some(window),
            good_until: None,
            used_at: None,
            lifetime_seconds: Some(lifetime_seconds),
        };
        self.settle(now, ending, "opened at once, to be reviewed".to_owned())
    }

    fn settle(self, at: Timestamp, ending: Ending, note: String) -> Settled {
        let Self { asked, votes, blast } = self;
        Settled { asked, votes, blast, at, ending, note, review: None }
    }
}

impl Settled {
    /// How it ended.
    pub const fn ending(&self) -> &Ending {
        &self.ending
    }

    /// What was said last, or why it ended as it did.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Lets the approved operation through, once, at `now`.
    ///
    /// # Errors
    /// Why not, with the request as it was.
    pub fn use_once(self, binding: &Binding, now: Timestamp) -> Result<Self, (Box<Self>, NotUsable)> {
        let refused = match (&self.ending, self.asked.what.operation()) {
            (Ending::Approved { used_at: Some(_), .. }, Some(_)) => NotUsable::Used,
            (Ending::Approved { good_until, .. }, Some(operation)) => {
                if !binding.gives(&operation.hash, operation.mode, self.asked.answer_by) {
                    NotUsable::Differs
                } else if good_until.is_some_and(|until| until <= now) {
                    NotUsable::Over
                } else {
                    let mut used = self;
                    if let Ending::Approved { used_at, .. } = &mut used.ending {
                        *used_at = Some(now);
                    }
                    return Ok(used);
                }
            }
            _ => NotUsable::NotApproved,
        };
        Err((Box::new(self), refused))
    }

    /// Whether it was opened at once and nobody looked at it since.
    pub fn needs_review(&self) -> bool {
        self.review.is_none() && matches!(&self.asked.what, What::Window(window) if window.break_glass)
    }

    pub(crate) fn reviewed(mut self, review: Review) -> Self {
        self.review = Some(Box::new(review));
        self
    }
}

impl Request {
    /// What is asked for.
    pub const fn asked(&self) -> &Arc<Asked> {
        match self {
            Self::Pending(Pending { asked, .. }) | Self::Settled(Settled { asked, .. }) => asked,
        }
    }

    /// Its id.
    pub fn id(&self) -> RequestId {
        self.asked().id
    }

    /// The answers so far.
    pub fn votes(&self) -> &[Vote] {
        match self {
            Self::Pending(Pending { votes, .. }) | Self::Settled(Settled { votes, .. }) => votes,
        }
    }

    /// The blast radius, as far as it is known.
    pub fn blast(&self) -> Option<&BlastRadius> {
        match self {
            Self::Pending(Pending { blast, .. }) | Self::Settled(Settled { blast, .. }) => blast.as_deref(),
        }
    }

    pub(crate) fn set_blast(&mut self, radius: BlastRadius) {
        match self {
            Self::Pending(Pending { blast, .. }) | Self::Settled(Settled { blast, .. }) => {
                *blast = Some(Box::new(radius));
            }
        }
    }

    /// The word of its state.
    pub const fn state(&self) -> State {
        match self {
            Self::Pending(_) => State::Pending,
            Self::Settled(Settled { ending, .. }) => match ending {
                Ending::Approved { .. } => State::Approved,
                Ending::Denied => State::Denied,
                Ending::Expired => State::Expired,
                Ending::Withdrawn => State::Withdrawn,
            },
        }
    }

    /// How it ended, where it has.
    pub const fn settled(&self) -> Option<&Settled> {
        match self {
            Self::Pending(_) => None,
            Self::Settled(settled) => Some(settled),
        }
    }

    /// When it ended.
    pub fn answered_at(&self) -> Option<Timestamp> {
        self.settled().map(|settled| settled.at)
    }

    /// Who looked at it afterwards.
    pub fn review(&self) -> Option<&Review> {
        self.settled().and_then(|settled| settled.review.as_deref())
    }
}

/// A request as it is stored: one shape for every state.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    asked: Asked,
    #[serde(default)]
    votes: Vec<Vote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blast: Option<Box<BlastRadius>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settled: Option<StoredEnding>,
}

#[derive(Serialize, Deserialize)]
struct StoredEnding {
    at: Timestamp,
    #[serde(flatten)]
    ending: Ending,
    #[serde(default)]
    note: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    review: Option<Box<Review>>,
}

impl Serialize for Request {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let settled = self.settled().map(|settled| StoredEnding {
            at: settled.at,
            ending: settled.ending.clone(),
            note: settled.note.clone(),
            review: settled.review.clone(),
        });
        let stored = Stored {
            asked: Asked::clone(self.asked()),
            votes: self.votes().to_vec(),
            blast: self.blast().cloned().map(Box::new),
            settled,
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { asked, votes, blast, settled } = Stored::deserialize(deserializer)?;
        let pending = Pending { asked: Arc::new(asked), votes, blast };
        Ok(match settled {
            None => Self::Pending(pending),
            Some(StoredEnding { at, ending, note, review }) => {
                Self::Settled(Settled { review, ..pending.settle(at, ending, note) })
            }
        })
    }
}
