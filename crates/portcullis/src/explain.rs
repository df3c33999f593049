//! `portcullis explain`: what the policy says about an identity, a connection and a statement.

use std::net::IpAddr;

use portcullis_core::{Clock as _, ConnectionName, SystemClock, Timestamp};
use portcullis_policy::{Expectation, People, Question, Window, explain};

use crate::{
    documents::PolicyArgs,
    failure::{Exit, Failure},
    identity::IdentityArgs,
    output::{self, Format},
    statements::{Statements, unreadable},
};

/// Says whether an identity may do something, by which rule, why, and where in the documents that stands.
///
/// The same code decides in the gateway. Exits 0 when the answer is allow, 1 when not. Without a statement it answers whether
/// the connection opens. Where people must say yes first, for a window, for the statement or before its transaction commits, it
/// says who, how many, and how long is waited. The masks that bind the identity there are listed; what becomes of a masked column in a statement, the
/// gateway judges by the database's catalog. Names without a schema are looked for along `--search-path`; views and functions of
/// your own are not known here, so the gateway may see more in a statement than this does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis explain --config gateway.yaml --identity-group incident-triage-agents prod-logs 'SELECT * FROM events'")]
pub struct Args {
    /// The connection's name
    connection: ConnectionName,
    /// The statement
    sql: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Take windows of `requested` and `approved` grants as open
    #[arg(long)]
    window: bool,
    /// Take people as having said yes: windows of `approved` grants are open, and what guardrails hold passes
    #[arg(long)]
    approved: bool,
    /// From where
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    source: IpAddr,
    /// What the client calls itself
    #[arg(long, value_name = "NAME", default_value = "")]
    client: String,
    /// When: RFC 3339; now unless said
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Where names without a schema are looked for
    #[arg(long, value_name = "SCHEMAS", default_value = "public")]
    search_path: String,
    #[command(flatten)]
    documents: PolicyArgs,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let policy = args.documents.load()?;
    let principal = args.identity.principal(&policy)?;
    let operations = match (&args.sql, policy.connection(&args.connection)) {
        (Some(sql), Some(connection)) => {
            let read = Statements::new(&args.search_path)?.read(connection, sql);
            read.unwrap_or_else(|error| vec![unreadable(sql, error)])
        }
        _ => Vec::new(),
    };
    let explanation = explain(
        &policy,
        &Question {
            principal: &principal,
            connection: &args.connection,
            operations: &operations,
            now: args.at.unwrap_or_else(|| SystemClock.now()),
            source: args.source,
            client: &args.client,
            window: if args.window { Window::Open } else { Window::None },
            people: if args.approved { People::SaidYes } else { People::Unasked },
        },
    );
    match format {
        Format::Json => output::json(&explanation)?,
        Format::Table => {
            let text = explanation.to_string();
            let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
            output::line(output::verdict(first, explanation.outcome == Expectation::Allow));
            for line in rest.lines() {
                output::line(output::printable(line));
            }
        }
    }
    if explanation.outcome == Expectation::Allow { Ok(()) } else { Err(Failure::told(Exit::No)) }
}
