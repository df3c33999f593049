//! What tests stand on: a clock they turn, PostgreSQL servers in throw-away directories, certificates, child processes.
//!
//! **Promises.** Nothing outlives the test: servers and processes die with the test process, even when that is killed.
//! Nothing is shared or fixed: every server has its own directory and its own free port. A set-up that fails panics and
//! says what the program printed.
//!
//! **Does not** belong in the product: only `dev-dependencies` may name this crate. It assumes loopback and trusts its caller.
//!
//! **How to read it**: [`clock`], [`postgres`], [`certificates`], [`process`], then [`gateway`], which puts them together.
//!
//! **References.** PostgreSQL manual, "Server Setup and Operation"; `setpriv(1)` for how children are tied to us.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test tool: a set-up that fails has to fail the test"
)]

pub mod certificates;
pub mod clock;
pub mod drivers;
pub mod gateway;
pub mod postgres;
pub mod process;
pub mod psql;
pub mod regression;
pub mod scratch;

pub use certificates::{CertificateFiles, ServerCertificate, TestCa};
pub use clock::ManualClock;
pub use gateway::{Gateway, GatewayOptions};
pub use postgres::{PgAuth, PgOptions, PgServer};
pub use process::{Process, ProcessOptions};
pub use psql::{Psql, PsqlOutput};
pub use scratch::{Scratch, cache_dir, free_port};
