//! End to end: the real gateway as a child process, a real PostgreSQL behind it, an Entra-shaped issuer beside it, real psql
//! and the real command line in front.
//!
//! **How to read it**: `lab` (what is set up), then one file per thing that is proven. Every refusal is looked at from three
//! sides: what the client saw, that the server saw nothing, what was audited.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a set-up or an answer that is not as expected has to fail the test"
)]

mod api;
mod certificates;
mod connecting;
mod crash;
mod documents;
mod drain;
mod kills;
mod lab;
mod liveness;
mod login;
mod logs;
mod manual;
mod masks;
mod postgres;
mod recordings;
mod reload;
mod starting;
mod statements;
mod verify;
mod windows;
