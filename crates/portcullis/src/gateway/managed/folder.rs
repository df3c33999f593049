//! [`Folder`]: a set of documents on the disk that is replaced as a whole.
//!
//! The next set is written beside (`policy.new`), then the folders change names: `policy` becomes `policy.previous`, `policy.new` becomes
//! `policy`. Where a crash came between the two, there is no `policy`: then the previous set counts, which is the one in force until
//! then.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use portcullis_policy::SourceFile;

use crate::gateway::data::DataDir;

/// The largest document read, in bytes: one more than `policy` takes, so that it says what is wrong.
const MAX_DOCUMENT: u64 = (1 << 20) + 1;

/// The folder of managed documents.
#[derive(Clone, Debug)]
pub struct Folder {
    data: PathBuf,
    set: PathBuf,
    next: PathBuf,
    previous: PathBuf,
}

/// What is about to be done: where tests pull the plug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The remains of an attempt go.
    Clear,
    /// The next set's folder is made.
    Make,
    /// One document is written.
    Write,
    /// The next set is made to last.
    Settle,
    /// The set before the one in force goes.
    Forget,
    /// The set in force steps aside.
    Aside,
    /// The next set takes its place.
    Enter,
    /// The new names are made to last.
    Last,
}

impl Folder {
    /// That of a data directory. Looks at nothing.
    pub fn of(data: &DataDir) -> Self {
        let at = |name: &str| data.path().join(name);
        Self {
            data: data.path().to_owned(),
            set: at("policy"),
            next: at("policy.new"),
            previous: at("policy.previous"),
        }
    }

    /// Where the documents in force are.
    pub fn path(&self) -> &Path {
        &self.set
    }

    /// Makes whole what a crash left, and the folder where there is none.
    pub fn recover(&self) -> io::Result<()> {
        if !self.set.try_exists()? {
            if self.previous.try_exists()? {
                fs::rename(&self.previous, &self.set)?;
            } else {
                DirBuilder::new().mode(0o700).create(&self.set)?;
            }
            sync(&self.data)?;
        }
        remove(&self.next)
    }

    /// The documents, by name. None where nothing was ever written.
    pub fn read(&self) -> Result<Vec<SourceFile>, (PathBuf, io::Error)> {
        let mut folder = &self.set;
        for candidate in [&self.set, &self.previous] {
            if candidate.try_exists().map_err(|error| (candidate.clone(), error))? {
                folder = candidate;
                break;
            }
        }
        read(folder)
    }

    /// Replaces the set. Where that fails the old one stays.
    pub fn replace(&self, files: &[SourceFile]) -> io::Result<()> {
        self.replace_by_steps(files, &mut |_| Ok(())).inspect_err(|_| {
            if let Err(error) = self.recover() {
                tracing::error!(%error, "the documents' folder is not whole; the next start makes it so");
            }
        })
    }

    /// The same, without making whole what is left when a step fails.
    pub(super) fn replace_by_steps(
        &self,
        files: &[SourceFile],
        before: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> io::Result<()> {
        before(Step::Clear)?;
        remove(&self.next)?;
        before(Step::Make)?;
        DirBuilder::new().mode(0o700).create(&self.next)?;
        for file in files {
            before(Step::Write)?;
            // The API takes plain names alone; what is not one never leads elsewhere.
            let name = file.path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            let path = self.next.join(name);
            let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            written.write_all(file.text.as_bytes())?;
            written.sync_all()?;
        }
        before(Step::Settle)?;
        sync(&self.next)?;
        before(Step::Forget)?;
        remove(&self.previous)?;
        before(Step::Aside)?;
        fs::rename(&self.set, &self.previous)?;
        before(Step::Enter)?;
        fs::rename(&self.next, &self.set)?;
        before(Step::Last)?;
        sync(&self.data)
    }
}

fn read(folder: &Path) -> Result<Vec<SourceFile>, (PathBuf, io::Error)> {
    let failed = |path: &Path, error: io::Error| (path.to_owned(), error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(folder, error))?,
    };
    closed(folder).map_err(|error| failed(folder, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if !portcullis_api::is_document_name(&name) || !path.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the API did not write this");
            return Err(failed(&path, error));
        }
        closed(&path).map_err(|error| failed(&path, error))?;
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_DOCUMENT).read_to_string(&mut text))
            .map_err(|error| failed(&path, error))?;
        files.push(SourceFile { path: PathBuf::from(name), text });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// Whoever may change the documents may open everything: nobody but the gateway may.
fn closed(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let why =
        format!("others may change it (mode {:o}): `chmod go-w` it, and look at what it says", mode & 0o777);
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
