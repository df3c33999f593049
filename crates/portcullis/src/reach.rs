//! `portcullis reach`: what an identity can reach, and who can reach a connection.

use portcullis_core::ConnectionName;
use portcullis_policy::{Way, reach, reach_connection};

use crate::{
    documents::PolicyArgs,
    failure::{Exit, Failure},
    identity::IdentityArgs,
    output::{self, Format},
};

/// Lists what an identity can reach, or who can reach a connection: every grant, when, with what scope, under what condition.
///
/// Of grants that people must say yes to it says who; of those that can be opened at once, to be reviewed, for whom.
/// Read from the grants that decide; conditions are shown, not judged. The guardrails and masks that bind there are shown too,
/// and whether sessions are recorded. Exits 1 when there is no way.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis reach --config gateway.yaml --identity-group incident-triage-agents
  portcullis reach --config gateway.yaml --connection prod-logs")]
pub struct Args {
    #[command(flatten)]
    identity: IdentityArgs,
    /// Who can reach this connection
    #[arg(long, value_name = "NAME", conflicts_with_all = ["groups", "roles", "app", "id"])]
    connection: Option<ConnectionName>,
    #[command(flatten)]
    documents: PolicyArgs,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    if args.connection.is_none() && args.identity.is_empty() {
        return Err(Failure::usage("nobody and nothing is named")
            .next("give an identity (--identity-group …, --identity-app …) or --connection NAME"));
    }
    let policy = args.documents.load()?;
    let ways = match &args.connection {
        Some(connection) if policy.connection(connection).is_none() => {
            let known: Vec<&str> = policy.connections().map(|connection| connection.name.as_str()).collect();
            return Err(Failure::new(Exit::No, format!("there is no connection `{connection}`"))
                .next(format!("the documents have: {}", known.join(", "))));
        }
        Some(connection) => reach_connection(&policy, connection),
        None => reach(&policy, &args.identity.principal(&policy)?),
    };
    match format {
        Format::Json => output::json(&ways)?,
        Format::Table => {
            let headings = [
                "connection",
                "to",
                "when",
                "scope",
                "condition",
                "guardrails",
                "masks",
                "recorded",
                "grant",
                "where",
            ];
            output::table(&headings, ways.iter().map(row).collect(), "no grant gives access");
        }
    }
    if ways.is_empty() { Err(Failure::told(Exit::No)) } else { Ok(()) }
}

fn row(way: &Way) -> Vec<String> {
    let mut when = way.when.as_str().to_owned();
    if let Some(approvals) = way.approvals {
        when.push_str(&format!(" by {approvals} of {}", way.approvers.join(" or ")));
    }
    if let Some(lifetime) = &way.lifetime {
        when.push_str(&format!(", {lifetime}"));
    }
    let at_once = way.break_glass.iter().map(|subject| format!("{subject} (break glass)"));
    let to: Vec<String> = way.to.iter().cloned().chain(at_once).collect();
    vec![
        way.connection.to_string(),
        to.join(", "),
        when,
        way.scope.join(" "),
        way.condition.clone().unwrap_or_else(|| "-".to_owned()),
        listed(&way.guardrails),
        listed(&way.masks),
        if way.recorded { "yes" } else { "no" }.to_owned(),
        way.grant.to_string(),
        way.location.clone(),
    ]
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
