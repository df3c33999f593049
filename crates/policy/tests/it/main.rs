//! Policy, from outside: documents as files, decisions as scenarios, attacks, properties, schemas.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod approvals;
mod attacks;
mod confined;
mod diagnostics;
mod golden;
mod manual;
mod masks;
mod people;
mod properties;
mod scenarios;
mod schemas;
