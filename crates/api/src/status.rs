//! [`PolicyStatus`]: how the documents on the disk stand to the policy in force.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_client::{Rejected, types::DiagnosticView};
use portcullis_core::Timestamp;
use portcullis_policy::{Report, Severity, SourceFile};

/// How the documents on the disk stand to the policy in force.
#[derive(Debug)]
pub struct PolicyStatus(Mutex<Standing>);

/// The documents in force and what was found in them.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) version: String,
    pub(crate) loaded_at: Timestamp,
    pub(crate) warnings: String,
    pub(crate) diagnostics: Vec<DiagnosticView>,
    pub(crate) files: Arc<Vec<SourceFile>>,
    pub(crate) rejected: Option<Rejected>,
}

impl PolicyStatus {
    /// A policy came into force at `at`: its version, its documents, and their report.
    pub fn new(at: Timestamp, version: &str, report: &Report, files: &[SourceFile]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(standing(at, version, report, files))))
    }

    /// Another policy came into force.
    pub fn loaded(&self, at: Timestamp, version: &str, report: &Report, files: &[SourceFile]) {
        *self.lock() = standing(at, version, report, files);
    }

    /// The documents are again those of the policy in force.
    pub fn restored(&self) {
        self.lock().rejected = None;
    }

    /// The documents were changed to something unusable; `report` is what was found in them, where they could be read.
    pub fn rejected(&self, at: Timestamp, errors: String, report: Option<&Report>) {
        let diagnostics = report.map(findings).unwrap_or_default();
        self.lock().rejected = Some(Rejected { at, errors, diagnostics });
    }

    pub(crate) fn get(&self) -> Standing {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn standing(at: Timestamp, version: &str, report: &Report, files: &[SourceFile]) -> Standing {
    Standing {
        version: version.to_owned(),
        loaded_at: at,
        warnings: report.render(false),
        diagnostics: findings(report),
        files: Arc::new(files.to_vec()),
        rejected: None,
    }
}

/// What `check` found, for the wire.
pub(crate) fn findings(report: &Report) -> Vec<DiagnosticView> {
    let found = report.diagnostics().iter().map(|found| DiagnosticView {
        severity: match found.severity {
            Severity::Error => "error".to_owned(),
            Severity::Warning => "warning".to_owned(),
        },
        file: found.file.display().to_string(),
        line: found.line as u64,
        column: found.column as u64,
        message: found.message.clone(),
        help: found.help.clone(),
        text: found.text.clone(),
    });
    found.collect()
}
