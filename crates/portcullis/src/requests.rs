//! `portcullis requests`: what waits for an answer, and what became of it.

use std::ops::ControlFlow;

use portcullis_client::{Client, RequestView};
use portcullis_core::Timestamp;

use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, GatewayArgs, TokenArgs},
};

pub mod answer;
mod show;

/// Lists access requests: those that wait, or with `--state` others. `requests show` has one of them whole.
///
/// You see your own, those you may answer, and with a role of the policy's `roles:` those of others.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// In this state
    #[arg(long, value_enum, default_value = "pending")]
    state: StateArg,
    /// Only for this connection
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// Only your own
    #[arg(long)]
    mine: bool,
    /// Only windows that were opened at once and wait for a review
    #[arg(long, conflicts_with = "state")]
    needs_review: bool,
    /// Stay, and print every change as it comes
    #[arg(long)]
    watch: bool,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(Box<show::Args>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum StateArg {
    /// Waiting for an answer
    Pending,
    /// Answered with yes
    Approved,
    /// Answered with no
    Denied,
    /// Not answered in time
    Expired,
    /// Taken back
    Withdrawn,
    /// Any
    All,
}

impl StateArg {
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::Pending => Some("pending"),
            Self::Approved => Some("approved"),
            Self::Denied => Some("denied"),
            Self::Expired => Some("expired"),
            Self::Withdrawn => Some("withdrawn"),
            Self::All => None,
        }
    }
}

const HEADINGS: [&str; 8] = ["request", "state", "filed", "who", "connection", "what", "needs", "you"];

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    if let Some(Command::Show(show)) = &args.command {
        return show::run(show, format);
    }
    let client = args.gateway.agent(&args.token)?;
    let mut query = vec![("limit", args.limit.to_string())];
    let state = args.state.word().filter(|_| !args.needs_review);
    query.extend(state.map(|word| ("state", word.to_owned())));
    query.extend(args.connection.iter().map(|name| ("connection", name.clone())));
    query.extend(args.mine.then(|| ("mine", "true".to_owned())));
    query.extend(args.needs_review.then(|| ("needs_review", "true".to_owned())));
    let page = crate::block_on(client.requests(&query))?.map_err(remote::failed)?;
    if format == Format::Json && !args.watch {
        return output::json(&page);
    }
    if format == Format::Table {
        output::table(&HEADINGS, page.rows.iter().map(row).collect(), "no requests");
        if page.next.is_some() {
            output::line(format!("(the first {}; there are more: --limit)", args.limit));
        }
    }
    if args.watch { watch(&client, format) } else { Ok(()) }
}

/// Prints each request as it changes, until the reader or the gateway leaves.
fn watch(client: &Client, format: Format) -> Result<(), Failure> {
    let changed = std::cell::RefCell::new(Vec::new());
    loop {
        let followed = crate::block_on(client.follow(|told| {
            let id = told.data.get("id").and_then(serde_json::Value::as_str).map(str::to_owned);
            match (told.event.as_str(), id) {
                ("request", Some(id)) => {
                    changed.borrow_mut().push(id);
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }))?;
        followed.map_err(remote::failed)?;
        for id in changed.borrow_mut().drain(..) {
            let Ok(id) = id.parse() else { continue };
            // One that this reader may not see is passed over.
            let Ok(request) = crate::block_on(client.access_request(id))? else { continue };
            match format {
                Format::Json => {
                    let line = serde_json::to_string(&request)
                        .map_err(|error| Failure::cannot(error.to_string()))?;
                    output::line(line);
                }
                Format::Table => output::line(row(&request).join("  ")),
            }
        }
    }
}

fn row(request: &RequestView) -> Vec<String> {
    let needs = request
        .needs
        .iter()
        .map(|need| format!("{}/{} {}", need.given, need.approvals, need.approvers.join(" or ")));
    vec![
        request.id.clone(),
        state(request),
        output::time(request.filed_at),
        request.requester.name.clone(),
        request.connection.clone(),
        what(request),
        needs.collect::<Vec<_>>().join(", "),
        match (request.can_answer, request.needs_review) {
            (true, true) => "review".to_owned(),
            (true, false) => "answer".to_owned(),
            (false, _) => "-".to_owned(),
        },
    ]
}

fn state(request: &RequestView) -> String {
    match request.state.as_str() {
        "pending" => format!("pending until {}", output::time(request.answer_by)),
        "approved" if request.needs_review => "opened at once, to be reviewed".to_owned(),
        other => other.to_owned(),
    }
}

/// What is asked for, in one line.
fn what(request: &RequestView) -> String {
    const LONGEST: usize = 60;
    let text = match &request.operation {
        Some(operation) if request.kind == "commit" => {
            format!("commit of {} rows", operation.rows.unwrap_or_default())
        }
        Some(operation) => operation.text.clone().unwrap_or_else(|| operation.statement.clone()),
        None => format!(
            "window of {}: {}",
            output::duration(request.lifetime_seconds.unwrap_or_default()),
            request.scope.join(" ")
        ),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(std::iter::once('…')).collect()
}

/// How long is left until `at`, as a person says it.
fn left(at: Timestamp, now: Timestamp) -> String {
    if at <= now { "over".to_owned() } else { output::duration(at.since(now).as_secs()) }
}
