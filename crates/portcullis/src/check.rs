//! `portcullis check`: what is wrong with the documents, all of it at once.

use std::path::PathBuf;

use portcullis_policy::{Diagnostic, Policy, Report, check_process};
use serde::Serialize;

use crate::{
    documents::{self, Place},
    failure::{Exit, Failure},
    output::{self, Format},
};

/// Checks documents: every error and warning with file, line, column and the offending text.
///
/// Exits 0 when they can be used (warnings included), 1 when not. Give the process file with `--config`, which checks the policy
/// documents it names too, or policy documents alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis check --config gateway.yaml
  portcullis check policy.yaml more-policies/")]
pub struct Args {
    /// The process file; the policy documents it names are checked too
    #[arg(long, value_name = "FILE", conflicts_with = "policy")]
    config: Option<PathBuf>,
    /// Policy documents, or folders of them. They are one policy together
    policy: Vec<PathBuf>,
    /// Exit 1 on warnings too
    #[arg(long)]
    strict: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<&'a Diagnostic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// How many of each the policy has.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
}

#[derive(Clone, Copy, Serialize)]
struct Counts {
    connections: usize,
    grants: usize,
    guardrails: usize,
    masks: usize,
    notifications: usize,
    tests: usize,
}

impl Counts {
    fn of(policy: &Policy) -> Self {
        Self {
            connections: policy.connections().count(),
            grants: policy.grants().len(),
            guardrails: policy.guardrails().len(),
            masks: policy.masks().len(),
            notifications: policy.notifications().len(),
            tests: policy.tests().len(),
        }
    }
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let config = args.config.clone().or_else(|| std::env::var_os("PORTCULLIS_CONFIG").map(PathBuf::from));
    let mut reports: Vec<Report> = Vec::new();
    let place = match (&config, args.policy.is_empty()) {
        (_, false) => Some(Place::Files(args.policy.clone())),
        (Some(config), true) => {
            let (process, report) = check_process(&documents::read(config)?);
            reports.push(report);
            process.as_ref().map(Place::of)
        }
        (None, true) => {
            return Err(
                Failure::usage("no documents are named").next("give `--config gateway.yaml` or policy files")
            );
        }
    };
    let mut policy = None;
    if let Some(place) = place {
        let (checked, report) = place.check(&place.read()?);
        policy = checked;
        reports.push(report);
    }
    let errors = reports.iter().map(Report::errors).sum();
    let warnings = reports.iter().map(Report::warnings).sum();
    let ok = errors == 0 && (warnings == 0 || !args.strict);
    match format {
        Format::Json => output::json(&Answer {
            ok,
            errors,
            warnings,
            diagnostics: reports.iter().flat_map(|report| report.diagnostics()).collect(),
            counts: policy.as_deref().map(Counts::of),
            policy: policy.map(|policy| policy.version().to_string()),
        })?,
        Format::Table => {
            for report in &reports {
                let text = report.render(output::colours_on_stdout());
                if !text.is_empty() {
                    output::line(text.trim_end());
                    output::line("");
                }
            }
            let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            match &policy {
                Some(policy) if errors == 0 => output::line(format!(
                    "ok: {}, {}, {}, {} (policy {})",
                    count(policy.connections().count(), "connection"),
                    count(policy.grants().len(), "grant"),
                    count(policy.masks().len(), "mask"),
                    count(warnings, "warning"),
                    policy.version(),
                )),
                _ => output::line(format!("{}, {}", count(errors, "error"), count(warnings, "warning"))),
            }
        }
    }
    if ok { Ok(()) } else { Err(Failure::told(Exit::No)) }
}
