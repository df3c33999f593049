//! `portcullis request`: asks for a window.

use std::time::Duration;

use portcullis_access::{Window, WindowRequest};
use portcullis_client::{Client, RequestView, Requested};

use crate::{
    failure::{Exit, Failure},
    output::{self, Format},
    remote::{self, GatewayArgs, TokenArgs},
};

/// How long one question waits for an answer.
const WAIT: Duration = Duration::from_secs(30);

/// Asks for access to a connection that a grant gives on request, or once a person approves.
///
/// Where policy alone decides, the answer comes at once. Where people do, a request is filed and its id printed; `--wait` stays
/// until it is answered. A window's end is fixed when it opens: asking again while it is open gives the same window back, and
/// sessions in it end with it. The reason is in the audit log, and approvers read it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The connection's name
    connection: String,
    /// Why you need it; people read it
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// How long, at most the grant's own lifetime: `90s`, `5m`, `1h`
    #[arg(long, value_name = "DURATION", value_parser = output::parse_duration)]
    lifetime: Option<u64>,
    /// Wait until people answered; exit code 1 if the answer is no
    #[arg(long)]
    wait: bool,
    /// Open at once, where a grant names you for emergencies; everybody is told, and a person reviews it afterwards
    #[arg(long)]
    break_glass: bool,
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
        break_glass: args.break_glass,
    };
    match crate::block_on(client.ask(&request))?.map_err(remote::failed)? {
        Requested::Window(window) => opened(&window, format),
        Requested::Waits(request) => {
            if format == Format::Table {
                filed(&request);
            }
            if !args.wait {
                return if format == Format::Json { output::json(&request) } else { Ok(()) };
            }
            let request = crate::block_on(answered(&client, *request))??;
            if format == Format::Json {
                output::json(&request)?;
            }
            told(&request, format)
        }
    }
}

fn opened(window: &Window, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(window);
    }
    let length = output::duration(window.ends_at.since(window.opened_at).as_secs());
    output::line(format!("{} is open until {}", window.connection, output::time(window.ends_at)));
    output::line(format!("  window  {} ({length} from {})", window.id, output::time(window.opened_at)));
    output::line(format!("  grant   {}", window.grant));
    if !window.reason.is_empty() {
        output::line(format!("  reason  {}", output::printable(&window.reason)));
    }
    output::line(format!("connect with user name `{}` and your token as password", window.connection));
    Ok(())
}

fn filed(request: &RequestView) {
    let approvers = request.needs.iter().map(|need| {
        let count = if need.approvals > 1 { format!("{} of ", need.approvals) } else { String::new() };
        format!("{count}{}", need.approvers.join(" or "))
    });
    let approvers = approvers.collect::<Vec<_>>().join(", and ");
    output::line(format!("request {} waits for {}", request.id, output::printable(&approvers)));
    output::line(format!("  until   {}", output::time(request.answer_by)));
    if let Some(link) = &request.link {
        output::line(format!("  at      {}", output::printable(link)));
    }
    output::line(format!("see how it stands with: portcullis requests show {}", request.id));
}

/// Asks until it is no longer pending.
async fn answered(client: &Client, mut request: RequestView) -> Result<RequestView, Failure> {
    while request.state == "pending" {
        let id =
            request.id.parse().map_err(|_| Failure::cannot("the gateway named a request that is none"))?;
        request = client.wait_for(id, WAIT).await.map_err(remote::failed)?;
    }
    Ok(request)
}

fn told(request: &RequestView, format: Format) -> Result<(), Failure> {
    let text = output::printable(&ending(request));
    if request.state != "approved" {
        let next = match request.state.as_str() {
            "denied" => "ask again with a reason that answers the note",
            _ => "ask again, and tell one of those who may answer",
        };
        return Err(Failure::new(Exit::No, text).next(next));
    }
    if format == Format::Table {
        output::line(text);
        if let Some(window) = &request.window {
            output::line(format!("{} is open until {}", request.connection, output::time(window.ends_at)));
            output::line(format!(
                "connect with user name `{}` and your token as password",
                request.connection
            ));
        }
    }
    Ok(())
}

/// How it ended: by whom, and what they said.
fn ending(request: &RequestView) -> String {
    let answer = match request.state.as_str() {
        "approved" => "approve",
        "denied" => "deny",
        _ => "",
    };
    let by = request.votes.iter().filter(|vote| vote.answer == answer).map(|vote| vote.name.as_str());
    let by = by.collect::<Vec<_>>().join(", ");
    let by = if by.is_empty() { by } else { format!(" by {by}") };
    let note = if request.note.is_empty() { String::new() } else { format!(": {}", request.note) };
    format!("{}{by}{note}", request.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::tests::request;

    #[test]
    fn an_ending_names_those_who_ended_it() {
        let vote = |name: &str, answer: &str| serde_json::json!({ "by": "k", "name": name, "at": "2026-11-22T20:00:00Z", "answer": answer });
        let ended = |state: &str, note: &str| {
            let votes = [vote("sam", "approve"), vote("robin", "deny")];
            ending(&request(serde_json::json!({ "state": state, "note": note, "votes": votes })))
        };
        assert_eq!(ended("approved", "go ahead"), "approved by sam: go ahead");
        assert_eq!(ended("denied", "not today"), "denied by robin: not today");
        assert_eq!(ended("expired", ""), "expired");
    }
}
