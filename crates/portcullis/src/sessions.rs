//! `portcullis sessions`: who is connected, who was, and what one of them did.

use portcullis_client::{ClientError, Rows, SessionState, SessionView};
use portcullis_store::{Ending, SessionQuery, SessionRow, Sessions};

use crate::{
    failure::Failure,
    local,
    output::{self, Format},
    remote::{self, AdminArgs},
};

mod show;
pub mod source;

/// Lists live sessions; with `--all` those of the past and refused attempts too. `sessions show` has one of them whole.
///
/// Where no gateway runs on the data directory of `--config`, the index there is read instead, and standard error says so.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Ended sessions and refused attempts too, the newest first
    #[arg(long)]
    all: bool,
    /// Only with a statement in which all of these words occur, of the past too; `"in quotes"` the whole as it stands
    #[arg(long, value_name = "WORDS")]
    search: Option<String>,
    /// Only to this connection
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// Only of this identity: its key, name or object id
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(Box<show::Args>),
}

impl Args {
    /// Whether those of the past are asked for.
    fn history(&self) -> bool {
        self.all || self.search.is_some()
    }
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    if let Some(Command::Show(show)) = &args.command {
        return show::run(show, format);
    }
    let page = match ask(args)? {
        Some(page) => page,
        None => offline(args)?,
    };
    if format == Format::Json {
        return output::json(&page);
    }
    let rows = page.rows.iter().map(row).collect();
    output::table(
        &["session", "state", "started", "who", "connection", "from", "statements", "in", "out"],
        rows,
        "no sessions",
    );
    if page.next.is_some() {
        output::line(format!("(the first {}; there are more: --limit)", args.limit));
    }
    Ok(())
}

/// The gateway's answer; `None` where no gateway runs and the index may be read instead.
fn ask(args: &Args) -> Result<Option<Rows<SessionView>>, Failure> {
    let data = args.admin.data()?;
    if let (Some(data), false) = (&data, args.admin.names_address())
        && data.listeners().is_none()
    {
        return Ok(None);
    }
    let client = args.admin.client()?;
    let mut query = vec![("history", args.history().to_string()), ("limit", args.limit.to_string())];
    query.extend(args.connection.iter().map(|name| ("connection", name.clone())));
    query.extend(args.identity.iter().map(|name| ("identity", name.clone())));
    query.extend(args.search.iter().map(|words| ("text", words.clone())));
    match crate::block_on(client.sessions(&query))? {
        Ok(page) => Ok(Some(page)),
        Err(ClientError::Unreachable { .. }) if data.is_some() && !args.admin.names_address() => Ok(None),
        Err(error) => Err(remote::failed(error)),
    }
}

fn offline(args: &Args) -> Result<Rows<SessionView>, Failure> {
    let Some(data) = args.admin.data()? else { return Err(Failure::usage("no data directory is named")) };
    if !args.history() {
        // Without a gateway nothing is live, whatever an index says that saw no end.
        let _ = local::store(&data)?;
        return Ok(Rows { rows: Vec::new(), next: None });
    }
    let query = SessionQuery {
        which: Sessions::All,
        text: args.search.clone(),
        connection: args.connection.clone(),
        identity: args.identity.clone(),
        limit: Some(args.limit),
        ..SessionQuery::default()
    };
    let page = local::store(&data)?.sessions(&query).map_err(|error| Failure::cannot(error.to_string()))?;
    Ok(Rows { rows: page.rows.into_iter().map(view).collect(), next: page.next })
}

/// A row of the index as the API says it.
fn view(row: SessionRow) -> SessionView {
    let (state, reason, ended_at) = match row.ending {
        Ending::Open => (SessionState::Live, None, None),
        Ending::Ended { at, reason } => (SessionState::Ended, Some(reason), Some(at)),
        Ending::Refused { at } => (SessionState::Refused, None, Some(at)),
        Ending::Lost { at } => (SessionState::Lost, None, Some(at)),
    };
    let principal = row.facts.as_deref().and_then(|facts| facts.principal.as_ref());
    SessionView {
        session: row.session,
        started_at: row.started_at,
        state,
        reason,
        ended_at,
        identity: principal.map(|principal| principal.key().to_string()),
        statements: row.allowed.saturating_add(row.held).saturating_add(row.denied),
        denied: Some(row.denied),
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        facts: row.facts,
    }
}

fn row(session: &SessionView) -> Vec<String> {
    let facts = session.facts.as_deref();
    let who = facts.and_then(|facts| facts.principal.as_ref()).map(|principal| principal.name.clone());
    let state = match (&session.state, &session.reason) {
        (SessionState::Ended | SessionState::Ending, Some(reason)) => {
            format!("{}: {reason}", session.state.as_str())
        }
        _ => session.state.as_str().to_owned(),
    };
    vec![
        session.session.to_string(),
        state,
        output::time(session.started_at),
        who.or_else(|| session.identity.clone()).unwrap_or_else(|| "-".to_owned()),
        facts.and_then(|facts| facts.connection.as_ref()).map_or_else(|| "-".to_owned(), ToString::to_string),
        facts.map_or_else(|| "-".to_owned(), |facts| facts.source.address.to_string()),
        session.statements.to_string(),
        session.bytes_in.to_string(),
        session.bytes_out.to_string(),
    ]
}
