//! Documents on the disk: the process file and the policy files it names.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_policy::{
    Confinement, Policy, PolicySource, Process, Report, SourceFile, check, check_confined, check_process,
};

use crate::{
    failure::{Exit, Failure},
    gateway::{data::DataDir, managed::Folder},
    output,
};

/// The longest document read, in bytes: one more than `policy` takes, so that it says what is wrong.
const MAX_DOCUMENT: u64 = (1 << 20) + 1;

/// A document that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{path}`: {source}", path = path.display())]
pub struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

/// Where documents are, and what they may name.
#[derive(Clone, Debug)]
pub enum Place {
    /// Files, and folders of them.
    Files(Vec<PathBuf>),
    /// What the API wrote.
    Managed(Folder, Confinement),
}

impl Place {
    /// As the process file says.
    pub fn of(process: &Process) -> Self {
        match &process.policy {
            PolicySource::Files(paths) => Self::Files(paths.clone()),
            PolicySource::Managed(confinement) => {
                Self::Managed(Folder::of(&DataDir::at(&process.data)), confinement.clone())
            }
        }
    }

    /// What stands there.
    pub fn read(&self) -> Result<Vec<SourceFile>, Unreadable> {
        match self {
            Self::Files(paths) => read_policy(paths),
            Self::Managed(folder, _) => folder.read().map_err(|(path, source)| Unreadable { path, source }),
        }
    }

    /// What they say, or what is wrong with them.
    pub fn check(&self, files: &[SourceFile]) -> (Option<Arc<Policy>>, Report) {
        match self {
            Self::Files(_) => check(files),
            Self::Managed(_, confinement) => check_confined(files, confinement),
        }
    }

    /// The policy with what `check` says about it, or why not, printed as `check` prints it.
    pub fn policy(&self, files: &[SourceFile]) -> Result<(Arc<Policy>, Report), Failure> {
        let (policy, report) = self.check(files);
        match policy {
            Some(policy) => Ok((policy, report)),
            None => Err(refused(&report)),
        }
    }
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        Self::cannot(error.to_string())
    }
}

/// Reads one document.
pub fn read(path: &Path) -> Result<SourceFile, Unreadable> {
    let unreadable = |source| Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_DOCUMENT).read_to_string(&mut text).map_err(unreadable)?;
    Ok(SourceFile { path: path.to_owned(), text })
}

/// Reads policy documents: files as they are, folders as their `*.yaml` and `*.yml`, sorted by name.
pub fn read_policy(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Unreadable> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(read(path)?);
            continue;
        }
        let unreadable = |source| Unreadable { path: path.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?.path();
            let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let yaml = entry.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            if yaml && !hidden && entry.is_file() {
                found.push(entry);
            }
        }
        if found.is_empty() {
            return Err(unreadable(io::Error::new(io::ErrorKind::NotFound, "the folder holds no `*.yaml`")));
        }
        found.sort();
        for path in found {
            files.push(read(&path)?);
        }
    }
    Ok(files)
}

/// The process file, or why not, printed as `check` prints it.
pub fn process(path: &Path) -> Result<Process, Failure> {
    let file = read(path).map_err(|error| {
        Failure::from(error)
            .next("name the process file with `--config FILE`; examples/demo/gateway.yaml is one")
    })?;
    let (process, report) = check_process(&file);
    match process {
        Some(process) => Ok(process),
        None => Err(refused(&report)),
    }
}

fn refused(report: &Report) -> Failure {
    eprint!("{}", report.render(output::colours_on_stderr()));
    let errors = report.errors();
    let s = if errors == 1 { "" } else { "s" };
    Failure::new(Exit::No, format!("the documents have {errors} error{s}"))
}

/// The policy that `--config` or the files named lead to: what `check`, `test`, `explain` and `reach` work on.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// The process file; its `policy:` says which documents count
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    pub config: Option<PathBuf>,
    /// A policy document or a folder of them, instead of those the process file names; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub policy: Vec<PathBuf>,
}

impl PolicyArgs {
    /// Where the documents are.
    fn place(&self) -> Result<Place, Failure> {
        match (&self.config, self.policy.is_empty()) {
            (_, false) => Ok(Place::Files(self.policy.clone())),
            (Some(config), true) => Ok(Place::of(&process(config)?)),
            (None, true) => Err(Failure::usage("no documents are named")
                .next("give `--config gateway.yaml` or `--policy policy.yaml`")),
        }
    }

    /// The checked policy.
    pub fn load(&self) -> Result<Arc<Policy>, Failure> {
        let place = self.place()?;
        let (policy, _warnings) = place.policy(&place.read()?)?;
        Ok(policy)
    }
}
