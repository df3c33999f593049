//! Notifications: people are told over Slack, Microsoft Teams, a signed webhook or e-mail that something waits for them.
//!
//! **Promises.** [`Notifier::notify`] returns at once and never fails: a dead channel delays no answer and no other channel.
//! What was taken is delivered, or is in the [`DeliveryLog`] as not delivered, with the reason. At least once: a restart may
//! send twice, under the same id. A message has no literals, bind values, results or tokens, because a [`Notice`] has none;
//! what a requester wrote is text in every channel, never markup, a mention, a button or a header. Nothing is sent in the clear
//! but to loopback, certificates are verified, redirects are not followed, what a server answers is neither kept nor logged.
//!
//! **Does not** decide who may answer (`access`), nor serve the address Slack calls (`api`): [`slack`] verifies and reads
//! such a call, no more. It stores nothing: [`DeliveryLog`] is implemented by the store, [`Deliveries`] is for want of one.
//!
//! **How to read it**: [`Notice`], then `message.rs` (what is said, for every channel), [`slack`], then `line.rs` (when what
//! is tried), [`Notifier`].
//!
//! **References**: <https://docs.slack.dev/reference/block-kit>, <https://docs.slack.dev/authentication/verifying-requests-from-slack>,
//! <https://learn.microsoft.com/adaptive-cards/>, Standard Webhooks 1.0.0, RFC 5321 (SMTP), RFC 5322 and 2047 (messages).

mod delivery;
mod email;
mod failed;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod line;
mod message;
mod notice;
mod notifier;
mod post;
mod scribe;
pub mod slack;
mod smtp;
mod teams;
mod text;
mod webhook;

pub use delivery::{Deliveries, Delivery, DeliveryLog, DeliveryState, LogError};
pub use failed::Failed;
pub use line::Schedule;
pub use notice::{Answered, InvalidNoticeId, Notice, NoticeId, Outcome};
pub use notifier::{Notifier, Settings, StartError};
pub use post::Roots;
