//! The only crate that knows the database: windows and blocks across restarts, and the searchable index of the journal.
//!
//! **Promises.** What [`WindowStore`](portcullis_access::WindowStore) keeps is on the disk when the call returns. Events and
//! the place they were read up to are stored in one transaction: a restart neither skips nor repeats one. The words of a
//! search are never query syntax. A damaged or foreign file stops the start with its name; nothing is made anew over it.
//!
//! **Does not** hold the truth about audit events (the journal does; the index can be built again from it), delete journal
//! segments, or run asynchronously: all calls block, callers on a reactor use `spawn_blocking`.
//!
//! **How to read it**: the tables in `migrations/`, [`database`](Store::open) in `database.rs`, `ship.rs`, `runs.rs`, `query.rs`.
//!
//! **References.** `docs/design/0002-rusqlite-store.md`; <https://sqlite.org/wal.html>, <https://sqlite.org/fts5.html>.

mod allowed;
mod database;
mod deliveries;
mod error;
mod index;
mod migrations;
mod people;
mod query;
mod requests;
mod retention;
mod runs;
mod sessions;
mod ship;
mod template;
mod windows;

pub use database::Store;
pub use error::Error;
pub use people::Person;
pub use query::{AuditQuery, AuditRow, Order, Page, StoredEvent};
pub use retention::Forgotten;
pub use sessions::{Ending, SessionQuery, SessionRow, Sessions};
