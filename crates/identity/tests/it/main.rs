//! Tokens against the public face of the crate: real signatures, real HTTP on loopback, a clock that is moved by hand.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod dev_idp;
mod entra;
mod fuzz;
mod graph;
mod interop;
mod keys;
mod mint;
mod oidc;
mod server;
mod sign_in;
mod sign_in_oidc;
mod terminal;
mod world;
