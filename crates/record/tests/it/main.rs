//! Recordings from outside: written, failed, killed, read back, forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code outside `#[test]` functions"
)]

mod faults;
mod kill;
mod reading;
mod retention;
mod support;
mod views;
mod writing;
