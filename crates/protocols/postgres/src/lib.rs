//! PostgreSQL through the gateway: the wire protocol from a client's first byte to its last.
//!
//! **Promises.** No bypass: a byte reaches an upstream only under a permit. Fail closed: what cannot be parsed does not
//! pass. Bounded: every length is checked against a named maximum before a byte of it is kept.
//!
//! **Does not** decide who may do what (`access`, `policy`), understand SQL (`sql`) or write the journal (`audit`).
//!
//! **How to read it**: [`codec`] (bytes and messages), [`handshake`] (client side, up to its credentials), [`upstream`]
//! (server side, up to ready for query), `serve` (the life of a session), `session` (the relay), `inspect` (messages to
//! decisions), [`catalog`] (what names mean upstream), [`error`] (what a client is told).
//!
//! **References**: PostgreSQL documentation, chapter 55 "Frontend/Backend Protocol"; RFC 5802 and 7677 (SCRAM), RFC 7628
//! (OAUTHBEARER).

#[doc(hidden)]
pub mod blast;
pub mod catalog;
pub mod codec;
mod connect;
pub mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod handshake;
mod inspect;
mod masking;
mod serve;
mod session;
pub mod upstream;

pub use serve::{Cancellable, Postgres};
