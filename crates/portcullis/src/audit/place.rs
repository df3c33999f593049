//! Which files are checked, and with which key.

use std::path::PathBuf;

use portcullis_audit::{SignedCheckpoint, VerifierKey};

use crate::{documents, failure::Failure, gateway::data::DataDir};

/// The longest key or checkpoint file read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Where the journal is, and the key that signed it.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The gateway's data directory, or a copy of it
    #[arg(long, value_name = "DIR", conflicts_with = "journal")]
    data: Option<PathBuf>,
    /// The journal's folder, where it does not lie in a data directory
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// The key that checks: a file such as `keys/audit.pub`, or its content. Default: the one in the data directory. Only a
    /// copy that was kept elsewhere shows that nobody exchanged journal and key together
    #[arg(long, value_name = "FILE|VKEY")]
    key: Option<String>,
    /// The process file, which names the data directory
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: Option<PathBuf>,
}

/// What was found of it.
pub struct Found {
    pub journal: PathBuf,
    /// The recordings of the data directory.
    pub recordings: Option<PathBuf>,
    pub key: VerifierKey,
}

impl Place {
    /// The files and the key.
    pub fn find(&self) -> Result<Found, Failure> {
        let data = match (&self.data, &self.journal, &self.config) {
            (Some(data), ..) => Some(DataDir::at(data)),
            (None, None, Some(config)) => {
                let process = documents::process(config).map_err(|error| cannot(error.to_string()))?;
                Some(DataDir::at(&process.data))
            }
            _ => None,
        };
        let journal = match (&self.journal, &data) {
            (Some(journal), _) => journal.clone(),
            (None, Some(data)) => data.journal(),
            (None, None) => {
                return Err(Failure::usage("no journal is named")
                    .next("give --data DIR, or --config gateway.yaml, or --journal DIR with --key"));
            }
        };
        if !journal.is_dir() {
            return Err(cannot(format!("there is no journal at `{}`", journal.display())));
        }
        let key = self.key(data.as_ref())?;
        Ok(Found { journal, recordings: data.map(|data| data.recordings()), key })
    }

    /// The key alone.
    pub fn key_only(&self) -> Result<VerifierKey, Failure> {
        match self.key.is_some() {
            true => self.key(None),
            false => self.find().map(|found| found.key),
        }
    }

    fn key(&self, data: Option<&DataDir>) -> Result<VerifierKey, Failure> {
        let (text, whence) = match (&self.key, data) {
            (Some(given), _) => match given.parse::<VerifierKey>() {
                Ok(key) => return Ok(key),
                Err(_) => (read(given)?, given.clone()),
            },
            (None, Some(data)) => {
                let path = data.audit_public_path().display().to_string();
                (read(&path)?, path)
            }
            (None, None) => {
                return Err(Failure::usage("no key is named").next(
                    "give --key with `keys/audit.pub` of the gateway's data directory, or its content",
                ));
            }
        };
        text.trim().parse().map_err(|error| cannot(format!("`{whence}`: {error}")))
    }
}

/// Checkpoints that were kept elsewhere.
pub fn kept(path: &std::path::Path, key: &VerifierKey) -> Result<Vec<SignedCheckpoint>, Failure> {
    let shown = path.display().to_string();
    SignedCheckpoint::open_all(&read(&shown)?, key)
        .map_err(|fault| cannot(format!("`{shown}` holds no checkpoint that can be used: {fault}")))
}

/// A small text file.
pub fn read(path: &str) -> Result<String, Failure> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| cannot(format!("cannot read `{path}`: {error}")))?;
    Ok(text)
}

/// It cannot be checked: exit code 2, for 1 means that it was, and is broken.
pub fn cannot(message: impl Into<String>) -> Failure {
    Failure::usage(message)
}
