//! The web listener's API: health and metrics, what an agent asks for itself, what an administrator sees and ends.
//!
//! **Promises.** Promise 5, revocable now: a kill blocks, ends windows and ends sessions, in this order, so that nothing gets
//! back in between. An agent's route trusts a verified token only, an administrator's the admin token only, compared in
//! constant time. No answer, error or log line repeats a token. Requests are bounded in size and time.
//!
//! **Does not** decide (`access`, `policy`), accept transports (`proxy::listener`) or know files and flags (`portcullis`).
//!
//! **How to read it**: [`types`] (what goes over the wire), [`problem`] (errors), [`server`] (transport to router),
//! `routes/` (what is asked), [`client`] (the other end, which the CLI uses).
//!
//! **References**: RFC 9110 (HTTP), RFC 9457 (problem details), RFC 6750 (bearer tokens).

mod bearer;
pub mod client;
pub mod kill;
pub mod problem;
mod routes;
pub mod server;
pub mod types;

pub use bearer::AdminToken;
pub use client::{Client, ClientError};
pub use problem::{Problem, ProblemBody};
pub use server::{Api, PolicyStatus, Rejected};
pub use types::{
    ConnectionView, GrantView, KillAnswer, KillIdentity, KillSession, LiftAnswer, LiftIdentity, PolicyView,
    RecordingView, SessionDetail, SessionState, SessionView, WhoamiView,
};
