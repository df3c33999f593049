//! Documents: text in, a checked [`Process`] or [`Policy`] out, or every reason why not.
//!
//! **Promises.** Every error of one run is told at once. Unknown keys, unknown names and rules that can never matter are
//! errors. Nothing is inert: what is designed but not enforced is refused and says so. Hostile text costs bounded time
//! and memory.
//!
//! **How to read it**: [`tree`] (text to nodes), [`reader`] (nodes to values), one file per section, [`references`]
//! (names across documents), [`width`] (what is unreachable or too wide).

mod cases;
mod connections;
mod draft;
mod grants;
mod guardrails;
mod holds;
mod identity;
pub(crate) mod keys;
mod masks;
mod notifications;
mod process;
mod reader;
mod references;
mod roles;
mod sign_in;
pub(crate) mod suggest;
mod tree;
mod width;

use std::sync::Arc;

pub(crate) use reader::print_duration;
pub(crate) use references::hex_prefix;
pub(crate) use tree::is_invisible;

use crate::{
    Confinement, Policy, Process,
    documents::{draft::Draft, reader::Reader, tree::Node},
    report::{Place, Report, Severity, Source, SourceFile},
};

/// Reads `gateway.yaml`. There is a process only when there is no error.
pub fn check_process(file: &SourceFile) -> (Option<Process>, Report) {
    let source = Source::new(file);
    let mut report = Report::default();
    let root = tree::parse(&source, &mut report);
    let process = match &root {
        Some(root) => {
            let source = Arc::clone(&source);
            process::read(&mut Reader { source, report: &mut report, confined: None }, root)
        }
        None => {
            if report.errors() == 0 {
                let place = Place { source: Arc::clone(&source), span: 0..0 };
                report.push(
                    Severity::Error,
                    &place,
                    "the process file is empty".to_owned(),
                    vec!["it needs `listen`, `data` and `policy`".to_owned()],
                );
            }
            None
        }
    };
    report.finish(&[source]);
    (process.filter(|_| report.errors() == 0), report)
}

/// Reads policy documents, merged: lists are joined, names are unique over all of them. There is a policy only when there
/// is no error in any document.
pub fn check(files: &[SourceFile]) -> (Option<Arc<Policy>>, Report) {
    read(files, None)
}

/// The same for documents that come over the network: files and variables they name are within `confinement`.
// INVARIANT(managed-documents-confined)
pub fn check_confined(files: &[SourceFile], confinement: &Confinement) -> (Option<Arc<Policy>>, Report) {
    read(files, Some(confinement))
}

fn read(files: &[SourceFile], confined: Option<&Confinement>) -> (Option<Arc<Policy>>, Report) {
    let sources: Vec<Arc<Source>> = files.iter().map(Source::new).collect();
    let mut report = Report::default();
    let mut draft = Draft::default();
    let mut broken = false;
    for source in &sources {
        let errors = report.errors();
        match tree::parse(source, &mut report) {
            Some(root) => {
                let source = Arc::clone(source);
                document(&mut Reader { source, report: &mut report, confined }, &root, &mut draft)
            }
            None => broken |= report.errors() > errors,
        }
    }
    // names that a document nobody could read may define are not told to be unknown
    if !broken {
        let mut resolved = references::resolve(draft, &mut report);
        width::check(&resolved, &mut report);
        resolved.parts.version = version(&sources);
        if report.errors() == 0 {
            report.finish(&sources);
            return (Some(Arc::new(Policy::new(resolved.parts))), report);
        }
    }
    report.finish(&sources);
    (None, report)
}

fn document(reader: &mut Reader<'_>, root: &Node, draft: &mut Draft) {
    if root.is_null() {
        return;
    }
    let Some(fields) = reader.fields(root, &keys::POLICY) else { return };
    // an empty section is an empty section
    let section = |key: &str| fields.get(key).filter(|node| !node.is_null());
    if let Some(node) = section("identity") {
        identity::read(reader, node, draft);
    }
    if let Some(node) = section("connections") {
        connections::read(reader, node, draft);
    }
    if let Some(node) = section("grants") {
        grants::read(reader, node, draft);
    }
    if let Some(node) = section("guardrails") {
        guardrails::read(reader, node, draft);
    }
    if let Some(node) = section("masks") {
        masks::read(reader, node, draft);
    }
    if let Some(node) = section("roles") {
        roles::read(reader, node, draft);
    }
    if let Some(node) = section("notifications") {
        notifications::read(reader, node, draft);
    }
    if let Some(node) = section("tests") {
        cases::read(reader, node, draft);
    }
    if let Some(node) = section("retention") {
        cases::retention(reader, node, draft);
    }
}

/// First 16 hex digits of SHA-256 over the texts, each with its length, in the order given. Not over the paths: the same
/// documents elsewhere are the same policy.
fn version(sources: &[Arc<Source>]) -> String {
    let mut all = Vec::new();
    for source in sources {
        all.extend_from_slice(&(source.text.len() as u64).to_be_bytes());
        all.extend_from_slice(source.text.as_bytes());
    }
    hex_prefix(&all, 8)
}

/// Reads any bytes as both kinds of document. Never panics, always ends: a fuzz entry point, its corpus replayed as a test.
#[doc(hidden)]
pub fn fuzz_documents(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let file = SourceFile { path: "fuzz.yaml".into(), text };
    for report in [check_process(&file).1, check(std::slice::from_ref(&file)).1] {
        let _ = report.render(false);
    }
}
