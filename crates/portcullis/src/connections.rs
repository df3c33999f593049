//! `portcullis connections`: what a token can reach.

use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, GatewayArgs, TokenArgs},
};

/// Lists the connections a token can open, or could by asking, with scope and open windows.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let client = args.gateway.agent(&args.token)?;
    let connections = crate::block_on(client.connections())?.map_err(remote::failed)?;
    if format == Format::Json {
        return output::json(&connections);
    }
    let mut rows = Vec::new();
    for connection in &connections {
        for grant in &connection.grants {
            let window = connection.windows.iter().find(|window| window.grant == grant.grant);
            let when = match (grant.when.as_str(), window, grant.lifetime_seconds) {
                ("requested", Some(window), _) => format!("open until {}", output::time(window.ends_at)),
                ("requested", None, Some(seconds)) => format!("on request, {}", output::duration(seconds)),
                (when, _, _) => when.to_owned(),
            };
            let when = if grant.conditional { format!("{when}, if its condition holds") } else { when };
            rows.push(vec![
                connection.connection.to_string(),
                connection.protocol.clone(),
                when,
                grant.scope.join(" "),
                connection.description.clone().unwrap_or_default(),
            ]);
        }
    }
    let nothing = "nothing: no grant names this identity; ask the owner of a connection for one";
    output::table(&["connection", "protocol", "when", "scope", "what"], rows, nothing);
    Ok(())
}
