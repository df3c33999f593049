//! `portcullis whoami`: what the gateway makes of a token.

use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, GatewayArgs, TokenArgs},
};

/// Says who a token is, as the gateway sees it: key, groups, roles, when it expires.
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
    let me = crate::block_on(client.whoami())?.map_err(remote::failed)?;
    if format == Format::Json {
        return output::json(&me);
    }
    let principal = &me.principal;
    let groups = principal.groups.iter().map(|group| group.name.clone().unwrap_or_else(|| group.id.clone()));
    let mut facts = vec![
        ("name", principal.name.clone()),
        ("identity", me.key.clone()),
        ("application", principal.application_id.clone().unwrap_or_default()),
        ("groups", groups.collect::<Vec<_>>().join(", ")),
        ("roles", principal.roles.join(", ")),
        ("acts for", principal.subject.clone().unwrap_or_default()),
        ("token until", output::time(principal.expires_at)),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    for (name, value) in facts {
        output::line(format!("{name:<12} {}", output::printable(&value)));
    }
    Ok(())
}
