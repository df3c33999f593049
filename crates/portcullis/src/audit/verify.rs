//! `portcullis audit verify`: whether the journal and the recordings are as they were signed.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
};

use portcullis_audit::{
    VerifierKey, prove,
    verify::{Cause, Finding, Progress, Report, Sources, What, verify},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::place::{Place, cannot, kept, read};
use crate::{
    failure::{Exit, Failure},
    output::{self, Format},
};

/// Checks that nothing in the journal and the recordings was altered, removed, reordered or added.
///
/// Needs the files and the public key, no running gateway; beside one it checks what is signed so far and says how many events
/// are not. Names the first event that is not as it was signed: file, byte, number, session, and what happened to it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes:
  0  all is as it was signed
  1  it is not
  2  it cannot be checked: no journal, no proof, no key

Examples:
  portcullis audit verify --config gateway.yaml
  portcullis audit verify --data /mnt/backup/portcullis --key gateway-1.pub --checkpoint kept-last-month
  portcullis audit verify --proof event-41.tlog-proof --key gateway-1.pub")]
pub struct Verify {
    #[command(flatten)]
    place: Place,
    /// The folder of recordings. Default: the one in the data directory
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// Checkpoints that were kept elsewhere: the journal must be a continuation of each
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Check this proof of one event, from `audit prove`, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["checkpoint", "recordings"])]
    proof: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer<'a> {
    verified: bool,
    key: String,
    #[serde(flatten)]
    report: &'a Report,
}

impl Verify {
    /// Runs it.
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        if let Some(proof) = &self.proof {
            return self.one(proof, format);
        }
        let found = self.place.find()?;
        let sources = Sources {
            journal: found.journal,
            recordings: self.recordings.clone().or(found.recordings),
            kept: self.checkpoint.as_deref().map_or(Ok(Vec::new()), |path| kept(path, &found.key))?,
        };
        let bar = std::io::stderr().is_terminal();
        let report = verify(&sources, &found.key, &mut |progress| {
            if bar {
                show_progress(progress);
            }
        });
        if bar {
            eprint!("\r\x1b[K");
        }
        let report = report.map_err(|error| cannot(format!("it cannot be checked: {error}")))?;
        match format {
            Format::Json => {
                let key = found.key.to_string();
                output::json(&Answer { verified: report.is_good(), key, report: &report })?;
            }
            Format::Table => tell(&report, &sources, &found.key),
        }
        if report.is_good() { Ok(()) } else { Err(Failure::told(Exit::No)) }
    }

    fn one(&self, path: &std::path::Path, format: Format) -> Result<(), Failure> {
        let text = read(&path.display().to_string())?;
        let key = self.place.key_only()?;
        let proven = match prove::check(&text, &key) {
            Ok(proven) => proven,
            Err(prove::ProofFault::Form) => return Err(cannot(prove::ProofFault::Form.to_string())),
            Err(fault) => {
                output::line(output::verdict("BROKEN", false));
                return Err(Failure::new(Exit::No, fault.to_string()));
            }
        };
        let event: Value = serde_json::from_slice(&proven.json).unwrap_or(Value::Null);
        let (sequence, covered) = (proven.sequence, proven.checkpoint.size());
        if format == Format::Json {
            return output::json(&json!({
                "verified": true, "key": key.to_string(), "sequence": sequence, "covered": covered, "event": event,
            }));
        }
        output::line(format!("event        {sequence}, under a checkpoint over {covered} events"));
        output::line(format!("key          {}", key.name()));
        output::line(output::printable(&String::from_utf8_lossy(&proven.json)));
        output::line(output::verdict("VERIFIED", true));
        Ok(())
    }
}

fn show_progress(Progress { done, total }: Progress) {
    const WIDTH: u64 = 30;
    let full = done.saturating_mul(WIDTH).checked_div(total).unwrap_or(WIDTH).min(WIDTH);
    let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
    eprint!("\rchecking [{bar}] {} of {} MiB", done >> 20, total >> 20);
    let _ = std::io::stderr().flush();
}

fn tell(report: &Report, sources: &Sources, key: &VerifierKey) {
    let line = |name: &str, text: String| output::line(format!("{name:<12} {text}"));
    let (events, segments) = (count(report.events, "event"), count(report.segments, "segment"));
    line(
        "journal",
        match report.stopped {
            true => format!("{events} checked, up to the first that is broken"),
            false => format!("{events} in {segments}"),
        },
    );
    if report.deleted > 0 {
        line(
            "deleted",
            format!("{} before them, of which the hashes are left", count(report.deleted, "event")),
        );
    }
    let covered = count(report.covered, "event");
    line(
        "checkpoints",
        match report.checkpoints {
            0 => "none that is good".to_owned(),
            1 => format!("1, over {covered}"),
            more => format!("{more}, the last over {covered}"),
        },
    );
    if !report.stopped {
        line(
            "not signed",
            match report.uncovered {
                0 => "no event".to_owned(),
                some => format!("{}, written after the last checkpoint", count(some, "event")),
            },
        );
    }
    match sources.recordings {
        Some(_) => {
            let deleted = match report.recordings_deleted {
                0 => String::new(),
                some => format!(", {some} deleted in their time"),
            };
            line("recordings", format!("{}{deleted}", count(report.recordings, "sealed segment")));
        }
        None => line("recordings", "not looked at: no --recordings".to_owned()),
    }
    line("key", key.name().to_owned());
    for note in &report.notes {
        line("note", output::printable(note));
    }
    for finding in &report.findings {
        output::line("");
        show(finding);
    }
    output::line("");
    match report.findings.len() {
        0 => output::line(output::verdict("VERIFIED", true)),
        1 => output::line(output::verdict("BROKEN", false)),
        more => output::line(output::verdict(&format!("BROKEN in {more} places"), false)),
    }
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn show(finding: &Finding) {
    let line = |name: &str, text: &str| output::line(format!("  {name:<10} {}", output::printable(text)));
    let what = match finding.what {
        What::Altered => "altered",
        What::Missing => "missing",
        What::Reordered => "reordered",
        What::Truncated => "truncated",
        What::Inserted => "inserted",
        What::Duplicated => "duplicated",
        What::Forged => "forged",
        What::RolledBack => "rolled back",
        _ => "broken",
    };
    let event = finding.sequence.map(|sequence| format!(" event {sequence}")).unwrap_or_default();
    output::line(output::verdict(&format!("{what}{event}"), false));
    line("what", &finding.text);
    let offset = finding.offset.map(|offset| format!(", byte {offset}")).unwrap_or_default();
    line("where", &format!("{}{offset}", finding.file.display()));
    if let Some(session) = &finding.session {
        line("session", session);
    }
    line(
        "looks like",
        match finding.cause {
            Cause::Accident => "an accident, or somebody who did not mind the checksums",
            Cause::Intent => "intent: no accident leaves it so",
            Cause::Unclear => "an accident or intent: it cannot be told",
            _ => "unknown",
        },
    );
}
