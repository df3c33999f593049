//! Access requests: what waits for a person's yes, and what became of it.
//!
//! A [`Request`] is [`Pending`] until enough people approved it, one denied it, its time was over or it was withdrawn; then it
//! is [`Settled`] and never changes its ending. The states are types: only a pending request takes a vote, only an approved one
//! is used, and each step consumes the state before it. Time is a parameter.
//!
//! INVARIANT(approval-binds): an approved operation is let through once, and only where [`Binding`] gives the very hash that
//! was approved: over the message, its values, principal, session, connection, database, policy version and expiry.
//!
//! **How to read it**: `what` (what is asked for), `state` (the machine), `answer` (who may answer), `registry` (all of
//! them, in memory), and [`Access`](crate::Access)'s own part in `desk`.

mod answer;
mod binding;
mod desk;
mod registry;
mod said;
mod state;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod what;

pub(crate) use answer::is_by_own_hand;
pub use answer::{AnswerRefused, AnswerRules, Ballot, Terms, WhyNot};
pub use binding::{Binding, Digest};
pub(crate) use desk::{Doer, need, own_clients};
pub use desk::{Filed, Hold, HoldAsk, HoldRefused, Outcome, RequestLimits, UseRefused, Used, Withdrawer};
pub(crate) use registry::Registry;
pub use registry::Waiting;
pub(crate) use said::{said, said_within};
pub use state::{Answer, Ending, NotUsable, Pending, Request, Review, Settled, State, Vote};
pub use store::{Listing, RequestFilter, RequestStore};
pub use what::{
    Asked, BlastRadius, BlastState, BoundValue, Highlight, Mode, Need, OperationAsked, Ran, Sample,
    TableTouched, What, WindowAsked,
};
