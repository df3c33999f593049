//! `portcullis request`: asks for a window.

use portcullis_access::WindowRequest;

use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, GatewayArgs, TokenArgs},
};

/// Asks for access to a connection that a grant gives on request.
///
/// The policy answers at once. A window's end is fixed when it opens: asking again while it is open gives the same window
/// back, and sessions in it end with it. The reason is in the audit log.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The connection's name
    connection: String,
    /// Why you need it; people read it
    #[arg(long, short, value_name = "TEXT")]
    reason: String,
    /// How long, at most the grant's own lifetime: `90s`, `5m`, `1h`
    #[arg(long, value_name = "DURATION", value_parser = output::parse_duration)]
    lifetime: Option<u64>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let client = args.gateway.agent(&args.token)?;
    let request = WindowRequest {
        connection: args.connection.clone(),
        reason: args.reason.clone(),
        lifetime_seconds: args.lifetime,
        break_glass: false,
    };
    let window = crate::block_on(client.request(&request))?.map_err(remote::failed)?;
    match format {
        Format::Json => output::json(&window)?,
        Format::Table => {
            let length = output::duration(window.ends_at.since(window.opened_at).as_secs());
            output::line(format!("{} is open until {}", window.connection, output::time(window.ends_at)));
            output::line(format!(
                "  window  {} ({length} from {})",
                window.id,
                output::time(window.opened_at)
            ));
            output::line(format!("  grant   {}", window.grant));
            output::line(format!("  reason  {}", output::printable(&window.reason)));
            output::line(format!(
                "connect with user name `{}` and your token as password",
                window.connection
            ));
        }
    }
    Ok(())
}
