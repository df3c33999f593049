//! Integration tests of the store: real files, a real journal.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code outside `#[test]` functions"
)]

mod opening;
mod people;
mod requests;
mod runs;
mod searching;
mod sessions;
mod shipping;
mod support;
mod windows;
