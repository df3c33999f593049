//! `portcullis connections`: what a token can reach.

use portcullis_client::{ConnectionView, GrantView};

use crate::{
    failure::Failure,
    output::{self, Format},
    remote::{self, AdminArgs, TokenArgs},
};

/// Lists the connections a token can open, or could by asking, with scope and open windows.
///
/// `--all` lists every connection there is, with how its upstream answered when a session was last opened to it: for
/// administrators, and for people with a role. The gateway asks no upstream by itself, so one that nobody uses is `unknown`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Every connection, whether you can reach it or not; takes the admin token or a role
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    if args.all {
        return all(args, format);
    }
    let client = args.admin.agent(&args.token)?;
    let connections = crate::block_on(client.connections())?.map_err(remote::failed)?;
    if format == Format::Json {
        return output::json(&connections);
    }
    let mut rows = Vec::new();
    for connection in &connections {
        for grant in &connection.grants {
            let window = connection.windows.iter().find(|window| window.grant == grant.grant);
            let when = match window {
                Some(window) => format!("open until {}", output::time(window.ends_at)),
                None => when(grant),
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

fn all(args: &Args, format: Format) -> Result<(), Failure> {
    let client = args.admin.either(&args.token)?;
    let connections = crate::block_on(client.all_connections())?.map_err(remote::failed)?;
    if format == Format::Json {
        return output::json(&connections);
    }
    let rows = connections.iter().map(|connection| {
        let (state, why) = health(connection);
        vec![
            connection.connection.to_string(),
            state,
            connection.live_sessions.map(|live| live.to_string()).unwrap_or_default(),
            connection.address.clone().unwrap_or_default(),
            connection.to.join(" "),
            why,
        ]
    });
    let headings = ["connection", "health", "sessions", "address", "reached by", "why"];
    output::table(&headings, rows.collect(), "the documents have no connection");
    Ok(())
}

/// The state with since when, and why.
fn health(connection: &ConnectionView) -> (String, String) {
    let Some(health) = &connection.health else { return (String::new(), String::new()) };
    let since = health.since.map(|since| format!(" since {}", output::time(since))).unwrap_or_default();
    (format!("{}{since}", health.state), health.detail.clone())
}

/// How a grant opens, to whom it names.
fn when(grant: &GrantView) -> String {
    let lifetime = grant.lifetime_seconds.map(|seconds| format!(", {}", output::duration(seconds)));
    let lifetime = lifetime.unwrap_or_default();
    let asking = if grant.on_connect { "by connecting" } else { "on request" };
    match grant.when.as_str() {
        "requested" => format!("{asking}{lifetime}"),
        "approved" => {
            let count = match grant.approvals {
                Some(count) if count > 1 => format!("{count} of "),
                _ => String::new(),
            };
            let at_once = if grant.break_glass { "; at once in an emergency" } else { "" };
            format!("{asking}{lifetime}, with the yes of {count}{}{at_once}", grant.approvers.join(" or "))
        }
        when => when.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_grant_opens_is_said_in_one_line() {
        let said = |changes: serde_json::Value| {
            let mut grant = serde_json::json!({
                "grant": "g", "when": "approved", "lifetime_seconds": 900, "scope": [], "recorded": true, "conditional": false,
                "approvers": ["group:oncall", "group:leads"], "approvals": 1,
            });
            grant.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            when(&serde_json::from_value(grant).unwrap())
        };
        assert_eq!(
            said(serde_json::json!({})),
            "on request, 15m, with the yes of group:oncall or group:leads"
        );
        let both = serde_json::json!({ "approvals": 2, "on_connect": true, "break_glass": true });
        assert_eq!(
            said(both),
            "by connecting, 15m, with the yes of 2 of group:oncall or group:leads; at once in an emergency"
        );
        assert_eq!(said(serde_json::json!({ "when": "requested" })), "on request, 15m");
        assert_eq!(said(serde_json::json!({ "when": "always", "lifetime_seconds": null })), "always");
    }
}
