//! `portcullis requests`: what waits for an answer, and what became of it.

use std::{collections::BTreeSet, ops::ControlFlow};

use portcullis_client::{Client, ClientError, RequestView, Rows};
use portcullis_core::{RequestId, Timestamp};
use tokio::sync::mpsc;

use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, GatewayArgs, TokenArgs},
};

pub mod answer;
mod show;
#[cfg(test)]
pub(crate) mod tests;

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
    if args.watch {
        return crate::block_on(watch(&client, args, format))?.map_err(remote::failed);
    }
    let list = crate::block_on(args.list(&client))?.map_err(remote::failed)?;
    match format {
        Format::Json => output::json(&list),
        Format::Table => {
            print(&list);
            Ok(())
        }
    }
}

impl Args {
    /// As many as are wanted, however many pages that takes.
    async fn list(&self, client: &Client) -> Result<Rows<RequestView>, ClientError> {
        let mut query = Vec::new();
        let state = self.state.word().filter(|_| !self.needs_review);
        query.extend(state.map(|word| ("state", word.to_owned())));
        query.extend(self.connection.iter().map(|name| ("connection", name.clone())));
        query.extend(self.mine.then(|| ("mine", "true".to_owned())));
        query.extend(self.needs_review.then(|| ("needs_review", "true".to_owned())));
        let wanted = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut list = Rows { rows: Vec::new(), next: None };
        loop {
            let left = wanted.saturating_sub(list.rows.len());
            let mut page = query.clone();
            page.push(("limit", left.to_string()));
            page.extend(list.next.take().map(|next| ("cursor", next.to_string())));
            let page = client.requests(&page).await?;
            list.rows.extend(page.rows);
            list.next = page.next;
            if list.next.is_none() || list.rows.len() >= wanted {
                return Ok(list);
            }
        }
    }
}

fn print(list: &Rows<RequestView>) {
    output::table(&HEADINGS, list.rows.iter().map(row).collect(), "no requests");
    if list.next.is_some() {
        output::line(format!("(the first {}; there are more: --limit)", list.rows.len()));
    }
}

/// What there is to look at.
enum Look {
    /// The list: at the beginning, and whenever it is not known what was missed.
    Anew,
    At(RequestId),
}

/// Prints the list, then each request as it changes, until the reader or the gateway leaves.
async fn watch(client: &Client, args: &Args, format: Format) -> Result<(), ClientError> {
    let (told, mut tells) = mpsc::unbounded_channel();
    let mut listed = false;
    // Listening comes first: what changes while the list is on its way is told after it.
    let followed = client.follow(|event| {
        let id = event.data.get("id").and_then(serde_json::Value::as_str);
        let look = match (event.event.as_str(), id.map(str::parse)) {
            ("hello", _) if !std::mem::replace(&mut listed, true) => Some(Look::Anew),
            ("reset", _) => Some(Look::Anew),
            ("request", Some(Ok(id))) => Some(Look::At(id)),
            _ => None,
        };
        match look.map_or(Ok(()), |look| told.send(look)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    let shown = async {
        while let Some(first) = tells.recv().await {
            let (mut anew, mut changed) = (false, BTreeSet::new());
            let mut next = Some(first);
            while let Some(look) = next {
                match look {
                    Look::Anew => anew = true,
                    Look::At(id) => drop(changed.insert(id)),
                }
                next = tells.try_recv().ok();
            }
            if anew {
                let list = args.list(client).await?;
                match format {
                    Format::Table => print(&list),
                    Format::Json => list.rows.iter().for_each(json_line),
                }
            }
            for id in changed {
                match (client.access_request(id).await, format) {
                    (Ok(request), Format::Json) => json_line(&request),
                    (Ok(request), Format::Table) => output::line(row(&request).join("  ")),
                    // One that this reader may not see is passed over.
                    (Err(ClientError::Refused(_)), _) => {}
                    (Err(error), _) => return Err(error),
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        followed = followed => followed,
        shown = shown => shown,
    }
}

fn json_line(request: &RequestView) {
    if let Ok(line) = serde_json::to_string(request) {
        output::line(line);
    }
}

/// The columns of [`HEADINGS`]; nothing in them moves the cursor or hides what follows.
fn row(request: &RequestView) -> Vec<String> {
    let needs = request
        .needs
        .iter()
        .map(|need| format!("{}/{} {}", need.given, need.approvals, need.approvers.join(" or ")));
    let cells = [
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
    ];
    cells.iter().map(|cell| show::visible(cell)).collect()
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
