//! `portcullis test`: runs the `tests:` of the documents.

use portcullis_policy::run_tests;
use serde::Serialize;

use crate::{
    documents::PolicyArgs,
    failure::{Exit, Failure},
    output::{self, Format},
    statements::Statements,
};

/// Runs the `tests:` section of the policy documents by the code that decides in the gateway.
///
/// Exits 0 when all pass, 1 when one does not. What `explain` assumes about names is assumed here.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    documents: PolicyArgs,
    /// Where names without a schema are looked for
    #[arg(long, value_name = "SCHEMAS", default_value = "public")]
    search_path: String,
}

#[derive(Serialize)]
struct Answer<T> {
    passed: usize,
    failed: usize,
    tests: T,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let policy = args.documents.load()?;
    let statements = Statements::new(&args.search_path)?;
    let outcomes = run_tests(&policy, &|connection, text| statements.read(connection, text));
    let passed = outcomes.iter().filter(|outcome| outcome.passed).count();
    let failed = outcomes.len() - passed;
    match format {
        Format::Json => output::json(&Answer { passed, failed, tests: &outcomes })?,
        Format::Table => {
            for outcome in &outcomes {
                for line in outcome.to_string().lines() {
                    output::line(output::printable(line));
                }
            }
            output::line(match outcomes.len() {
                0 => "no tests: add a `tests:` section to the documents".to_owned(),
                _ => output::verdict(&format!("{passed} passed, {failed} failed"), failed == 0),
            });
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failure::told(Exit::No)) }
}
