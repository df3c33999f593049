//! The nouns of Portcullis: principals, connections, operations, decisions, identifiers, secrets and time.
//!
//! **Promises.** No I/O, no sockets, no ambient clock (but [`time::SystemClock`]), no policy. Every type that is stored
//! or sent (`Serialize`) is part of the contract: fields are added, never renamed.
//!
//! **Does not** decide anything (`policy`), verify anything (`identity`) or store anything (`audit`, `store`).
//!
//! **How to read it**: [`principal`], then [`operation`], then [`decision`] (the record every decision leaves), then
//! [`event`] (what the journal holds).

pub mod decision;
pub mod error;
pub mod event;
pub mod ids;
pub mod operation;
pub mod pattern;
pub mod principal;
pub mod secret;
pub mod session;
pub mod time;

pub use decision::{Decision, DecisionRecord, Obligation, RuleRef, Verdict};
pub use error::ErrorKind;
pub use event::{AuditEvent, RequestEvent, RequestStep, SignInEvent};
pub use ids::{ConnectionName, GrantId, RequestId, SessionId, WindowId};
pub use operation::{Operation, Resource, ResourceRef, StatementKind, Verb};
pub use pattern::Pattern;
pub use principal::{GroupRef, Principal, PrincipalKey, PrincipalKind};
pub use secret::Secret;
pub use session::{ClientSoftware, EndReason, SessionFacts, Source};
pub use time::{Clock, SystemClock, Timestamp};
