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

mod answers;
mod api;
mod asked;
mod certificates;
mod commits;
mod connecting;
mod crash;
mod crowds;
mod documents;
mod drain;
#[path = "../../src/failure.rs"]
#[expect(dead_code, reason = "what the reader of statements fails with")]
mod failure;
mod held;
mod interrupted;
mod kills;
mod lab;
mod liveness;
mod login;
mod logs;
mod managed;
mod manual;
mod masks;
mod people;
mod postgres;
mod recordings;
mod reload;
mod scenarios;
mod shells;
mod starting;
mod statements;
#[path = "../../src/statements.rs"]
#[expect(dead_code, reason = "the program's own reader of statements, for scenarios alone")]
mod statements_of_the_program;
mod tickets;
mod verify;
mod windows;
