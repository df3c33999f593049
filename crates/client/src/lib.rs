//! The API from its other end: what goes over the wire, and a client that asks for it.
//!
//! **Promises.** A token is sent over TLS to the gateway whose certificate is trusted, never in the clear, never along a redirect.
//! Answers are bounded. [`types`] are the very types the server answers with: fields are added, never renamed.
//!
//! **Does not** keep tokens, know files and flags (`portcullis`), nor serve anything (`api`).
//!
//! **How to read it**: [`types`] (what is said), [`client`] (how it is asked for).
//!
//! **References**: RFC 9110 (HTTP), RFC 9457 (problem details), RFC 6750 (bearer tokens), the HTML standard's server-sent events.

pub mod client;
pub mod schema;
pub mod types;

pub use client::{Client, ClientError, events::Told};
pub use types::{
    AnswerBody, ConnectionView, DecideBody, DeliveryView, DocumentFile, DocumentsView, EventId, GrantView,
    IdentityView, KillAnswer, KillIdentity, KillSession, LiftAnswer, LiftIdentity, MeView, PolicyChecked,
    PolicyView, ProblemBody, ProofView, ReachRow, ReachView, RecordingPage, RecordingView, Rejected,
    RequestView, Requested, Rows, SessionDetail, SessionState, SessionView, WhoamiView,
};
