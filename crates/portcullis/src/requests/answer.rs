//! `portcullis approve`, `deny`, `withdraw` and `review`: what people say to a request.

use portcullis_client::{DecideBody, RequestView};
use portcullis_core::RequestId;

use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, GatewayArgs, TokenArgs},
};

/// Which request, and who says so.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The request's id: `req_` and 32 hex digits
    request: String,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Says yes to a request, with your own identity.
///
/// What was asked for opens, or runs, once enough people said yes. It is the exact operation shown by `requests show` and no
/// other: the approval binds to its hash and is used once. You cannot approve what you asked for yourself.
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    target: Target,
    /// What you say to it
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// A shorter lifetime of the window: `90s`, `5m`, `1h`
    #[arg(long, value_name = "DURATION", value_parser = output::parse_duration)]
    lifetime: Option<u64>,
}

/// Says no to a request. One no is enough.
#[derive(Debug, clap::Args)]
pub struct DenyArgs {
    #[command(flatten)]
    target: Target,
    /// Why; the requester reads it
    #[arg(long, short, value_name = "TEXT")]
    note: String,
}

/// Takes back a request of your own.
#[derive(Debug, clap::Args)]
pub struct WithdrawArgs {
    #[command(flatten)]
    target: Target,
    /// Why
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
}

/// Notes that you looked at a window that was opened at once (break-glass).
#[derive(Debug, clap::Args)]
pub struct ReviewArgs {
    #[command(flatten)]
    target: Target,
    /// What you found
    #[arg(long, short, value_name = "TEXT")]
    note: String,
}

impl Target {
    fn id(&self) -> Result<RequestId, Failure> {
        self.request.parse().map_err(|error| Failure::usage(format!("{error}")))
    }

    fn client(&self) -> Result<portcullis_client::Client, Failure> {
        self.gateway.agent(&self.token)
    }
}

/// Runs `approve`.
pub fn approve(args: &ApproveArgs, format: Format) -> Result<(), Failure> {
    let (id, client) = (args.target.id()?, args.target.client()?);
    let body = DecideBody { note: args.note.clone(), lifetime_seconds: args.lifetime };
    told(&crate::block_on(client.approve(id, &body))?.map_err(remote::failed)?, format)
}

/// Runs `deny`.
pub fn deny(args: &DenyArgs, format: Format) -> Result<(), Failure> {
    let (id, client) = (args.target.id()?, args.target.client()?);
    told(&crate::block_on(client.deny(id, &args.note))?.map_err(remote::failed)?, format)
}

/// Runs `withdraw`.
pub fn withdraw(args: &WithdrawArgs, format: Format) -> Result<(), Failure> {
    let (id, client) = (args.target.id()?, args.target.client()?);
    told(&crate::block_on(client.withdraw(id, &args.note))?.map_err(remote::failed)?, format)
}

/// Runs `review`.
pub fn review(args: &ReviewArgs, format: Format) -> Result<(), Failure> {
    let (id, client) = (args.target.id()?, args.target.client()?);
    told(&crate::block_on(client.review(id, &args.note))?.map_err(remote::failed)?, format)
}

/// How the request stands after it.
fn told(request: &RequestView, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(request);
    }
    let text = match request.state.as_str() {
        "pending" => {
            let missing: u32 =
                request.needs.iter().map(|need| need.approvals.saturating_sub(need.given)).sum();
            format!("{}: counted; {missing} more needed", request.id)
        }
        "approved" if request.review.is_some() => format!("{}: reviewed", request.id),
        state => format!("{}: {state}", request.id),
    };
    output::line(text);
    if let Some(window) = &request.window {
        output::line(format!("{} is open until {}", request.connection, output::time(window.ends_at)));
    }
    Ok(())
}
