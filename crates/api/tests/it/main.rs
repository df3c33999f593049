//! The API as agents, people and attackers meet it: a web listener in this process, with the development issuer behind it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod answers;
mod attacks;
mod description;
mod documents;
mod events;
mod notices;
mod people;
mod roles;
mod wire;
mod world;
