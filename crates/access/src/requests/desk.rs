//! [`Access`](crate::Access) as the desk where requests are filed, answered and used. What changes a request blocks: journal and
//! store are written before anything counts. Callers on a reactor use `spawn_blocking`.
//!
//! **How to read it**: `filing`, `answering`, `using`, `tidying` (what ends by itself), `standing` (what the policy in force
//! says of it), `steps` (how each becomes a fact), `reading`.

mod answering;
mod filing;
mod reading;
mod standing;
mod steps;
mod tidying;
mod using;

pub(crate) use filing::need;
pub use filing::{Filed, Hold, HoldAsk, HoldRefused};
pub(crate) use standing::own_clients;
pub(crate) use steps::Doer;
pub use tidying::Withdrawer;
pub use using::{UseRefused, Used};

use super::state::{Answer, Ending, Request};

/// How many requests may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Of everybody.
    pub pending: usize,
    /// Of one principal.
    pub per_identity: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { pending: 10_000, per_identity: 20 }
    }
}

/// What became of a request, for who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enough people said yes.
    Approved {
        /// Who, readable.
        by: String,
        /// What the last of them said.
        note: String,
    },
    /// A person said no.
    Denied {
        /// Who, readable.
        by: String,
        /// What they said.
        note: String,
    },
    /// Nobody answered in time.
    Expired,
    /// It is gone.
    Withdrawn {
        /// Why.
        note: String,
    },
}

impl Outcome {
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let settled = request.settled()?;
        let by = |answer: Answer| {
            let names = request.votes().iter().filter(|vote| vote.answer == answer);
            names.map(|vote| vote.by.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let note = settled.note().to_owned();
        Some(match settled.ending() {
            Ending::Approved { .. } => Self::Approved { by: by(Answer::Approve), note },
            Ending::Denied => Self::Denied { by: by(Answer::Deny), note },
            Ending::Expired => Self::Expired,
            Ending::Withdrawn => Self::Withdrawn { note },
        })
    }
}

/// What somebody is told who comes too late: by whom, or why.
fn told(outcome: Outcome) -> String {
    match outcome {
        Outcome::Approved { by, .. } | Outcome::Denied { by, .. } if !by.is_empty() => format!("by {by}"),
        Outcome::Withdrawn { note } => note,
        Outcome::Approved { .. } | Outcome::Denied { .. } | Outcome::Expired => String::new(),
    }
}
