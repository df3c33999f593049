//! Notifications against real servers on loopback: what arrives, and what is told of what does not.
//!
//! Time is real here, because sockets are; pauses are short and nothing is measured.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod bodies;
mod http_server;
mod mail;
mod mail_server;
mod retries;
mod world;
