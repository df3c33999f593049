//! Integration tests of the journal: real files, injected faults, a killed process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code outside `#[test]` functions"
)]

mod faults;
mod files;
mod kill;
mod power;
mod reading;
mod support;
