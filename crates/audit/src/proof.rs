//! The proof over the journal: files in `proof/` beside the segments. Nothing in the journal's own frames changes.
//!
//! | file | holds | grows |
//! |---|---|---|
//! | `leaves/NNNNNNNNNN` | leaf hashes, 32 bytes each, 65,536 a file | with every event |
//! | `blocks` | the root over each full file of leaves | every 65,536 events |
//! | `checkpoints` | signed tree heads | every second in which something was written |
//! | `spans` | number, sequences and length of each closed segment | with every segment |
//!
//! Only the checkpoints are signed; leaves follow from the journal and are needed where its segments were deleted; `blocks`
//! and `spans` follow from both and spare reading. C2SP tlog-tiles: full tile `tile/0/N` is bytes `N % 256 * 8192` to
//! `+ 8192` of file `N / 256`, tile `tile/1/K` is the 256 subtree roots of file `K`, tiles of level 2 and up are made from `blocks`.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::Error;

mod leaves;
mod spans;

pub(crate) use leaves::{Leaves, block_path, count_leaves, read_blocks, read_leaves, root_of};
pub(crate) use spans::{Span, Spans};

/// The folder, inside the journal's.
pub const FOLDER: &str = "proof";

/// Where the proof of a journal's folder lives.
pub fn folder(journal: &Path) -> PathBuf {
    journal.join(FOLDER)
}

/// The file of checkpoints of a journal's folder.
pub fn checkpoints_path(journal: &Path) -> PathBuf {
    folder(journal).join("checkpoints")
}

pub(crate) fn blocks_path(journal: &Path) -> PathBuf {
    folder(journal).join("blocks")
}

pub(crate) fn spans_path(journal: &Path) -> PathBuf {
    folder(journal).join("spans")
}

pub(crate) fn leaves_folder(journal: &Path) -> PathBuf {
    folder(journal).join("leaves")
}

/// A file that only grows. Where a write fails, the next one starts at the same place: what counts is whole.
pub(crate) struct Growing {
    path: PathBuf,
    file: File,
    end: u64,
}

impl Growing {
    /// Opens or makes it and cuts it to `end`.
    pub(crate) fn open(path: PathBuf, end: u64) -> Result<Self, Error> {
        let new = !path.exists();
        let file = crate::storage::private_file(&path).map_err(Error::io("open", &path))?;
        if new && let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", folder))?;
        }
        if file.metadata().map_err(Error::io("look at", &path))?.len() > end {
            file.set_len(end).map_err(Error::io("cut", &path))?;
        }
        Ok(Self { path, file, end })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, self.end).map_err(Error::io("write", &self.path))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }
}

/// The length of a file; 0 where there is none.
pub(crate) fn length(path: &Path) -> Result<u64, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// All of a file; nothing where there is none.
pub(crate) fn read_all(path: &Path) -> Result<Vec<u8>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
