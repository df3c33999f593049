//! The file operations the journal needs, as a trait so that tests can make any of them fail.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// What a probe writes: more than a block, so that a disk with a few bytes left does not pass.
const PROBE_BYTES: usize = 64 * 1024;

/// One open segment.
pub trait SegmentFile: Send + Sync {
    /// Writes at a place; may write less than asked (`pwrite(2)`).
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts the file to a length.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Forces content and length to the disk (`fdatasync(2)`).
    fn sync(&self) -> io::Result<()>;
}

/// Where segments live.
pub trait Storage: Send + Sync {
    /// Makes a segment, emptying what is there, and makes its name durable.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a segment that is there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>>;
    /// Writes, forces to disk and removes a small file in `folder`: says whether writing works.
    fn probe(&self, folder: &Path) -> io::Result<()>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl SegmentFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Storage for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(OpenOptions::new().write(true).open(path)?))
    }

    fn probe(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join("probe");
        let result = write_private(&path, &[0; PROBE_BYTES]);
        std::fs::remove_file(&path)?;
        result
    }
}

/// Makes a folder, and its parents, that only its owner can enter; narrows one that is there.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    if path.metadata()?.permissions().mode() & 0o777 != FOLDER_MODE {
        std::fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))?;
    }
    Ok(())
}

/// Opens or makes a file that only its owner can read.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

/// Writes a whole file that only its owner can read, to the disk.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = private_file(path)?;
    file.set_len(0)?;
    write_all_at(&file, bytes, 0)?;
    file.sync_all()
}

/// Writes everything, continuing after short writes and interruptions.
pub(crate) fn write_all_at(file: &dyn SegmentFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
