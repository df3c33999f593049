//! `portcullis apply`: puts documents in force, where the API manages them.

use std::{collections::BTreeMap, path::PathBuf};

use portcullis_client::{
    Client, ClientError, DocumentFile, DocumentsView, PolicyChecked, types::DiagnosticView,
};
use serde::Serialize;

use crate::{
    documents,
    failure::{Exit, Failure},
    output::{self, Format},
    remote::{self, AdminArgs},
};

/// Replaces the policy documents of a gateway that has `policy: managed`.
///
/// What is given is the whole policy: documents that are in force and not among FILES go. The gateway checks them as `portcullis check`
/// does, within what managed documents may name (files in its `secrets:` folder, variables that begin with `PORTCULLIS_SECRET_`);
/// with an error nothing changes. Somebody else's replacement in the meantime is not overwritten: it exits 4, and you look
/// again. Takes the admin token, or the role admin. The admin token works whatever the documents say.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis apply --config gateway.yaml policy.yaml
  portcullis apply --gateway https://gateway.example.com --dry-run policy.d/")]
pub struct Args {
    /// Policy documents, or folders of them: all of the policy
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Only check them, at the gateway
    #[arg(long)]
    dry_run: bool,
    /// Replace whatever is in force, somebody's change of this moment included
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Serialize)]
struct Answer {
    /// Whether the documents can be in force.
    ok: bool,
    /// Whether they are.
    applied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
    diagnostics: Vec<DiagnosticView>,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let files = read(&args.files)?;
    let client = args.admin.client()?;
    crate::block_on(apply(args, &client, &files, format))?
}

/// The documents, by the names they will have.
fn read(paths: &[PathBuf]) -> Result<Vec<DocumentFile>, Failure> {
    let mut files = BTreeMap::new();
    for file in documents::read_policy(paths)? {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if files.insert(name.clone(), file.text).is_some() {
            return Err(Failure::usage(format!("two of the documents are called `{name}`"))
                .next("the gateway keeps them in one folder: rename one"));
        }
    }
    Ok(files.into_iter().map(|(name, text)| DocumentFile { name, text }).collect())
}

async fn apply(args: &Args, client: &Client, files: &[DocumentFile], format: Format) -> Result<(), Failure> {
    let before = client.documents().await.map_err(remote::failed)?;
    if before.managed != "api" {
        return Err(Failure::new(Exit::Refused, "this gateway's documents come from files on its disk")
            .next("change those files, or write `policy: managed` in its process file and start it again"));
    }
    let checked = client.check_documents(files).await.map_err(remote::failed)?;
    let mut answer = compare(&before, files, checked);
    if answer.ok && !args.dry_run {
        let etag = if args.force { "*" } else { &before.etag };
        match client.replace_documents(files, etag).await {
            Ok(now) => (answer.applied, answer.version) = (true, Some(now.version)),
            Err(ClientError::Refused(problem)) if !problem.diagnostics.is_empty() => {
                (answer.ok, answer.diagnostics) = (false, problem.diagnostics);
            }
            Err(error) => return Err(remote::failed(error)),
        }
    }
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => print(&answer),
    }
    if answer.ok { Ok(()) } else { Err(Failure::told(Exit::No)) }
}

fn compare(before: &DocumentsView, files: &[DocumentFile], checked: PolicyChecked) -> Answer {
    let old: BTreeMap<&str, &str> =
        before.files.iter().map(|file| (file.name.as_str(), file.text.as_str())).collect();
    let new: BTreeMap<&str, &str> =
        files.iter().map(|file| (file.name.as_str(), file.text.as_str())).collect();
    let named = |names: &mut dyn Iterator<Item = &&str>| names.map(|name| (*name).to_owned()).collect();
    Answer {
        ok: checked.ok,
        applied: false,
        version: checked.version,
        added: named(&mut new.keys().filter(|name| !old.contains_key(*name))),
        changed: named(
            &mut new
                .iter()
                .filter(|(name, text)| old.get(*name).is_some_and(|old| old != *text))
                .map(|(name, _)| name),
        ),
        removed: named(&mut old.keys().filter(|name| !new.contains_key(*name))),
        diagnostics: checked.diagnostics,
    }
}

fn print(answer: &Answer) {
    for found in &answer.diagnostics {
        let place = format!("{}:{}:{}", found.file, found.line, found.column);
        output::line(output::printable(&format!("{}: {place}: {}", found.severity, found.message)));
        if !found.text.trim().is_empty() {
            output::line(output::printable(&format!("  | {}", found.text.trim_end())));
        }
        for help in &found.help {
            output::line(output::printable(&format!("  help: {help}")));
        }
    }
    for (what, names) in
        [("added", &answer.added), ("changed", &answer.changed), ("removed", &answer.removed)]
    {
        for name in names {
            output::line(output::printable(&format!("{what}  {name}")));
        }
    }
    let count = |severity: &str| answer.diagnostics.iter().filter(|found| found.severity == severity).count();
    let said = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let warnings = said(count("warning"), "warning");
    let version = answer.version.as_deref().unwrap_or_default();
    output::line(match (answer.ok, answer.applied) {
        (true, true) => format!("in force: policy {version}, {warnings}"),
        (true, false) => format!("ok: would be policy {version}, {warnings}; nothing changed"),
        (false, _) => format!("{}, {warnings}; nothing changed", said(count("error"), "error")),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_one_name_are_not_put_in_one_folder() {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["a", "b"] {
            std::fs::create_dir(scratch.path().join(folder)).unwrap();
            std::fs::write(scratch.path().join(folder).join("policy.yaml"), folder).unwrap();
        }
        std::fs::write(scratch.path().join("b/more.yaml"), "").unwrap();
        let error = read(&[scratch.path().join("a"), scratch.path().join("b")]).unwrap_err();
        assert!(error.to_string().contains("two of the documents are called `policy.yaml`"));
        let names: Vec<String> =
            read(&[scratch.path().join("b")]).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["more.yaml", "policy.yaml"]);
    }

    #[test]
    fn what_would_change_is_said_by_name() {
        let file = |name: &str, text: &str| DocumentFile { name: name.to_owned(), text: text.to_owned() };
        let before = DocumentsView {
            managed: "api".to_owned(),
            version: "v".to_owned(),
            etag: String::new(),
            files: vec![file("a.yaml", "1"), file("b.yaml", "1"), file("c.yaml", "1")],
            diagnostics: Vec::new(),
            rejected: None,
        };
        let checked = PolicyChecked { ok: true, version: None, diagnostics: Vec::new() };
        let answer =
            compare(&before, &[file("a.yaml", "1"), file("b.yaml", "2"), file("d.yaml", "1")], checked);
        assert_eq!(
            (answer.added, answer.changed, answer.removed),
            (vec!["d.yaml".to_owned()], vec!["b.yaml".to_owned()], vec!["c.yaml".to_owned()],)
        );
    }
}
