//! Recordings: what a recorded session asked, what it was answered, and when, kept so that it can be replayed and proven.
//!
//! **Promises.** *Nothing goes unrecorded*: a recorder that cannot write fails, and its session ends. *Off the data path*: an
//! event is encoded into the session's own buffer; one thread writes for all sessions every 50 ms, so `kill -9` loses at most
//! that much. *Sealed*: a finished segment is compressed, hashed, chained to the one before, and announced to the journal.
//! *Bounded*: an idle session holds a few hundred bytes, a busy one is told to wait when the disk is slow.
//!
//! **Does not** mask (what comes here is masked already), decide what is recorded (`policy`) or speak a protocol.
//!
//! **How to read it**: [`event`] (what is recorded), [`recordings`] and [`recorder`] (writing), `writer`, `sealer` (the two
//! threads), [`mod@format`] (bytes on the disk), [`reader`] (reading back), [`view`] and [`script`] (for people and programs).
//!
//! **References.** `docs/design/0008-recordings.md`; RFC 8878 (zstd).

pub mod codec;
mod error;
pub mod event;
pub mod format;
#[doc(hidden)]
pub mod fuzz;
mod place;
pub mod postgres;
pub mod reader;
pub mod recorder;
pub mod recordings;
mod recover;
pub mod script;
mod sealer;
pub mod storage;
pub mod view;
mod writer;

pub use error::{Error, NotRecording};
pub use event::{Column, Event, Format, Item, Parameter, Parameters, Recorded};
pub use reader::{Recording, Seek, State};
pub use recorder::Recorder;
pub use recordings::{Health, Past, Recordings, RecordingsConfig, RowLimits, Sealed};
pub use view::{View, Views, What};
