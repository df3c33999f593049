//! The protocol end to end: real clients on one side, a real server on the other, every part of the pipeline between them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "the helpers of tests are tests"
)]

mod attacks;
mod blast;
mod commit_gate;
mod denials;
mod evasion;
mod health;
mod hold_attacks;
mod holds;
mod hostile;
mod lab;
mod mask_agreement;
mod mask_attacks;
mod masks;
mod on_connect;
mod relay;
mod strict;
mod wire;
