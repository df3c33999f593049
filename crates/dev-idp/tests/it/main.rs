//! The issuer and the Graph emulator, driven over HTTP as a client drives them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod graph;
mod graph_delta;
mod mint;
mod people;
mod signin;
mod support;
mod tokens;
