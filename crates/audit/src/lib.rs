//! The journal: the append-only files every audit event reaches before its effect is released.
//!
//! **Promises.** *Recorded before released*: when [`Journal::append`] returns `Ok`, the events are in the page cache
//! (`fast`, survives `kill -9`) or, after [`Journal::settled`], on the disk (`strict`). *Exactly once, in order*: what was
//! acknowledged is read back once, in the order of its sequence numbers. *Fail closed*: a journal that cannot write says so
//! to every caller at once, until a probe shows that writing works again; damage that is no torn tail stops the start.
//!
//! **Does not** search (`store` indexes what [`Reader`] streams), decide what is an event (`core::event`), or prove that
//! nobody rewrote the files: the checksums find accidents; the hash chain that finds intent comes over the same frames.
//!
//! **How to read it**: [`mod@format`] (bytes), [`batch`] (encoding outside the lock), [`journal`], `writer` (the critical
//! section and the states), `sync` (group fsync and revival), `recover` (opening), [`reader`].
//!
//! **References.** `docs/design/0003-journal-format.md`; "Can Applications Recover from fsync Failures?", USENIX ATC 2020.

pub mod batch;
mod error;
pub mod format;
pub mod journal;
pub mod reader;
mod recover;
pub mod storage;
mod sync;
mod writer;

pub use batch::{Batch, JournalSession};
pub use error::Error;
pub use format::Position;
pub use journal::{Health, Journal, JournalConfig, Sync};
pub use reader::{Entry, Reader, Torn, read_dir};
pub use recover::{Cut, Recovery};
