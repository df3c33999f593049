//! Documents that the API manages: `<data>/policy/`, written by it and by nobody else.
//!
//! **Promises.** A set of documents is replaced as a whole or not at all, on the disk and in force; whoever reads the folder after a
//! crash finds the old set or the new one. Nobody replaces a set they have not seen, unless they say so.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_api::{IfMatch, ManagedDocuments, NotReplaced, etag};
use portcullis_policy::{Confinement, Policy, Report, SourceFile, check_confined};

use super::reload::Enforce;

mod folder;
#[cfg(test)]
mod tests;

pub use folder::Folder;

/// The managed documents of one gateway.
pub struct Managed {
    folder: Folder,
    confinement: Confinement,
    enforce: Arc<Enforce>,
    /// The documents in force. Locked for as long as they are replaced: one replacement at a time.
    in_force: Mutex<Vec<SourceFile>>,
}

impl Managed {
    /// `in_force` is what the folder holds.
    pub fn new(
        folder: Folder,
        confinement: Confinement,
        enforce: Arc<Enforce>,
        in_force: Vec<SourceFile>,
    ) -> Self {
        Self { folder, confinement, enforce, in_force: Mutex::new(in_force) }
    }
}

impl ManagedDocuments for Managed {
    fn check(&self, files: &[SourceFile]) -> (Option<Arc<Policy>>, Report) {
        check_confined(files, &self.confinement)
    }

    fn replace(&self, mut files: Vec<SourceFile>, seen: &IfMatch, by: &str) -> Result<(), NotReplaced> {
        // As the folder is read at the next start: the version is one of the texts in their order.
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.is(&etag(&in_force)) {
            return Err(NotReplaced::Changed);
        }
        if *in_force == files {
            return Ok(());
        }
        let (policy, report) = self.check(&files);
        let Some(policy) = policy else { return Err(NotReplaced::Unusable(report)) };
        let keep = || {
            self.folder
                .replace(&files)
                .map_err(|error| format!("`{}` could not be written: {error}", self.folder.path().display()))
        };
        if let Err(error) = self.enforce.put(&files, &policy, &report, Some(by), keep) {
            self.enforce.refused(&error);
            return Err(NotReplaced::Failed(error));
        }
        *in_force = files;
        Ok(())
    }
}
