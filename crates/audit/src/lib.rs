//! The journal: the append-only files every audit event reaches before its effect is released.
//!
//! **Promises.** *Recorded before released*: when [`Journal::append`] returns `Ok`, the events are in the page cache
//! (`fast`, survives `kill -9`) or, after [`Journal::settled`], on the disk (`strict`). *Exactly once, in order*: what was
//! acknowledged is read back once, in the order of its sequence numbers. *Fail closed*: a journal that cannot write says so
//! to every caller at once, until a probe shows that writing works again; damage that is no torn tail stops the start.
//!
//! *Provable*: a Merkle tree over the events with signed checkpoints, written behind the journal by the [`Notary`]; [`verify`]
//! names the first event that is not as it was, with the public key and the files alone.
//!
//! **Does not** search (`store` indexes what [`Reader`] streams), or decide what is an event (`core::event`). It cannot tell
//! that everything was taken back to an older state: a checkpoint that is kept elsewhere can.
//!
//! **How to read it**: [`mod@format`] (bytes), [`batch`] (encoding outside the lock), [`journal`], `writer` (the critical
//! section and the states), `sync` (group fsync and revival), `recover` (opening), [`reader`]. Then the proof: [`tree`],
//! [`note`], [`checkpoint`], [`proof`] (files), [`notary`], [`verify`].
//!
//! **References.** `docs/design/0003-journal-format.md`, `docs/design/0009-merkle-proof.md`; "Can Applications Recover from fsync
//! Failures?", USENIX ATC 2020; RFC 6962, RFC 9162; C2SP signed-note, tlog-checkpoint, tlog-tiles, tlog-proof.

pub mod batch;
pub mod checkpoint;
mod error;
pub mod format;
pub mod journal;
pub mod notary;
pub mod note;
pub mod proof;
pub mod prove;
pub mod reader;
mod recover;
mod repeated;
mod retention;
pub mod storage;
mod sync;
pub mod tree;
pub mod verify;
mod writer;

pub use batch::{Batch, JournalSession};
pub use checkpoint::{Checkpoint, SignedCheckpoint};
pub use error::Error;
pub use format::Position;
pub use journal::{Health, Journal, JournalConfig, Sync};
pub use notary::{Notary, NotaryConfig};
pub use note::{SigningKey, VerifierKey};
pub use reader::{Entry, Reader, Torn, read_dir};
pub use recover::{Cut, Recovery};
pub use repeated::Repeated;
pub use tree::Hash;
