//! `portcullis kill`: ends sessions, and keeps them ended.

use portcullis_client::{KillIdentity, KillSession, LiftIdentity};
use portcullis_core::SessionId;

use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, AdminArgs},
};

/// Ends a session, or everything of an identity, and keeps the identity out.
///
/// A killed session's identity is kept out of that connection, a killed identity out of every connection, for `--for` (an
/// hour unless said; `--for 0s`: it may come back at once). Its windows end too. `--lift` lets it back in.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["session", "identity"]))]
pub struct Args {
    /// The session's id, as `portcullis sessions` shows it
    session: Option<SessionId>,
    /// The identity's key: `provider/tenant/object`, as the audit log shows it
    #[arg(long, value_name = "KEY")]
    identity: Option<String>,
    /// Why; the client is told, and it is in the audit log
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    reason: String,
    /// How long the identity stays out: `90s`, `5m`, `1h`
    #[arg(long = "for", value_name = "DURATION", value_parser = output::parse_duration)]
    lasting: Option<u64>,
    /// Let the identity back in
    #[arg(long, conflicts_with_all = ["session", "lasting", "reason"])]
    lift: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let client = args.admin.client()?;
    let answer = match (&args.session, &args.identity) {
        (_, Some(identity)) if args.lift => {
            let lift = LiftIdentity { identity: identity.clone() };
            let answer = crate::block_on(client.lift(&lift))?.map_err(remote::failed)?;
            match format {
                Format::Json => output::json(&answer)?,
                Format::Table => output::line(match answer.lifted {
                    0 => "nothing kept this identity out".to_owned(),
                    1 => "1 block lifted".to_owned(),
                    n => format!("{n} blocks lifted"),
                }),
            }
            return Ok(());
        }
        (_, Some(identity)) => {
            let kill = KillIdentity {
                identity: identity.clone(),
                reason: args.reason.clone(),
                for_seconds: args.lasting,
            };
            crate::block_on(client.kill_identity(&kill))?
        }
        (Some(session), None) => {
            let kill = KillSession { reason: args.reason.clone(), for_seconds: args.lasting };
            crate::block_on(client.kill_session(&session.to_string(), &kill))?
        }
        (None, None) => return Err(Failure::usage("name a session, or an identity with --identity")),
    };
    let answer = answer.map_err(remote::failed)?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Table => {
            output::line(format!("{} sessions and {} windows ended", answer.sessions, answer.windows.len()));
            if let Some(until) = answer.blocked_until {
                output::line(format!("{} stays out until {}", answer.identity, output::time(until)));
                output::line(format!(
                    "let it back in with: portcullis kill --lift --identity {}",
                    answer.identity
                ));
            }
        }
    }
    for problem in &answer.problems {
        eprintln!("portcullis: {problem}");
    }
    Ok(())
}
