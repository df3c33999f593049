//! The file operations of writing, as a trait so that tests can make any of them fail.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// What a probe writes: more than a block, so that a disk with a few bytes left does not pass.
const PROBE_BYTES: usize = 64 * 1024;

/// Where segments live.
pub trait Storage: Send + Sync {
    /// Makes a folder, and its parents, that only its owner can enter.
    fn folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a file that must not be there yet.
    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Writes at a place of a file that is there.
    fn write_at(&self, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes a whole file under its name, on the disk when it returns: there is all of it or nothing.
    fn seal(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Writes, forces to disk and removes a small file in `folder`: says whether writing works.
    fn probe(&self, folder: &Path) -> io::Result<()>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
    }

    fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?.write_all(bytes)
    }

    fn write_at(&self, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.write_all_at(bytes, offset)
    }

    fn seal(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn probe(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join("probe");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&path)
            .and_then(|mut file| file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all()));
        std::fs::remove_file(&path)?;
        written
    }
}
