//! Integration tests of the journal: real files, injected faults, a killed process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code outside `#[test]` functions"
)]

mod attacks;
mod faults;
mod files;
mod kill;
mod notary;
mod power;
mod proving;
mod reading;
mod retention;
mod signed;
mod support;
