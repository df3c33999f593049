//! `portcullis login`: a person signs in from a terminal.

use std::{process::Stdio, sync::Arc};

use portcullis_core::SystemClock;
use portcullis_identity::{
    SignInError, SignInView,
    terminal::{Terminal, Tokens},
};
use serde::Serialize;

use crate::{
    failure::{Exit, Failure},
    kept_token::{self, Kept, Place},
    output::{self, Format},
    remote::{self, GatewayArgs},
};

/// Signs you in, so that the other commands know who you are.
///
/// Where the identity provider has the device flow, an address and a code are printed: open the one anywhere and type in the other.
/// Otherwise a browser on this machine signs you in. The token is kept for this gateway, readable by you only, and renewed by itself
/// until the provider wants to see you again. `portcullis logout` forgets it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis login --gateway https://gateway.example.com
  portcullis login --gateway https://gateway.example.com --provider entra --browser

The token is kept in $XDG_STATE_HOME/portcullis or ~/.local/state/portcullis; on macOS in
~/Library/Application Support/portcullis.")]
pub struct Args {
    /// The identity provider, by its name in the gateway's documents; needed where there are several
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Use the device flow: fails where the provider has none
    #[arg(long, conflicts_with = "browser")]
    device: bool,
    /// Use a browser on this machine, also where the provider has the device flow
    #[arg(long)]
    browser: bool,
    /// Start no browser: print the address to open in one on this machine
    #[arg(long)]
    no_browser: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Who signed in, for programs.
#[derive(Serialize)]
struct SignedIn<'a> {
    gateway: &'a str,
    provider: &'a str,
    key: &'a str,
    name: &'a str,
    expires_at: portcullis_core::Timestamp,
    renews_itself: bool,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let place = Place::of_this_user().ok_or_else(|| {
        Failure::cannot("there is no place to keep a token in").next("set HOME or XDG_STATE_HOME")
    })?;
    let found = args.gateway.find()?;
    let gateway = kept_token::gateway_name(&found.url)?;
    let providers = crate::block_on(found.sign_in_providers())??;
    let provider = choose(providers, args.provider.as_deref())?;
    let tokens = crate::block_on(sign_in(&provider, args))??;
    // The gateway has the last word on whether that is somebody it knows.
    let client = found.client(tokens.token.clone())?;
    let me = crate::block_on(client.whoami())?.map_err(remote::failed)?;
    let signed_in = SignedIn {
        gateway: &gateway,
        provider: &provider.name,
        key: &me.key,
        name: &me.principal.name,
        expires_at: tokens.expires_at,
        renews_itself: tokens.refresh.is_some(),
    };
    match format {
        Format::Json => output::json(&signed_in)?,
        Format::Table => {
            output::line(format!("signed in to {gateway} as {}", output::printable(signed_in.name)));
            let until = output::time(signed_in.expires_at);
            output::line(if signed_in.renews_itself {
                format!("the token is good until {until} and renews itself")
            } else {
                format!("the token is good until {until}; sign in again after that")
            });
        }
    }
    let ca = found.ca.as_deref().and_then(|ca| std::path::absolute(ca).ok());
    let kept = Kept { gateway: gateway.clone(), ca, provider: provider.clone(), tokens };
    place.keep(&kept)?;
    Ok(())
}

fn choose(mut providers: Vec<SignInView>, name: Option<&str>) -> Result<SignInView, Failure> {
    let names: Vec<String> = providers.iter().map(|provider| output::printable(&provider.name)).collect();
    let at = match name {
        Some(name) => providers.iter().position(|provider| provider.name == name),
        None if providers.len() == 1 => Some(0),
        None => None,
    };
    match (at, names.as_slice()) {
        (Some(at), _) => Ok(providers.swap_remove(at)),
        (None, []) => Err(Failure::new(Exit::Refused, "nobody signs in at this gateway")
            .next("its administrator adds `sign_in` to an identity provider of the policy")),
        (None, names) => Err(Failure::usage(match name {
            Some(name) => format!("people do not sign in with a provider called `{name}` here"),
            None => "people sign in with several providers here".to_owned(),
        })
        .next(format!("give --provider, one of: {}", names.join(", ")))),
    }
}

async fn sign_in(provider: &SignInView, args: &Args) -> Result<Tokens, Failure> {
    let terminal = Terminal::open(provider.clone(), Arc::new(SystemClock)).await.map_err(failed)?;
    if args.device || (terminal.has_device() && !args.browser) {
        return device(&terminal).await;
    }
    let loopback = terminal.loopback().await.map_err(failed)?;
    if args.no_browser || !open(loopback.url.as_str()) {
        eprintln!("open this address in a browser on this machine:\n\n  {}\n", loopback.url);
    } else {
        eprintln!(
            "your browser signs you in; if it did not open, open this address in one on this machine:\n\n  {}\n",
            loopback.url
        );
    }
    loopback.came_back().await.map_err(failed)
}

async fn device(terminal: &Terminal) -> Result<Tokens, Failure> {
    let device = terminal.device().await.map_err(failed)?;
    let minutes = device.lives.as_secs().div_ceil(60);
    eprintln!(
        "open this address in a browser anywhere, within {minutes} minutes, and enter the code:\n\n  {}\n  {}\n",
        device.verification_uri, device.user_code
    );
    if let Some(complete) = &device.verification_uri_complete {
        eprintln!("or open this one, and compare the code:\n\n  {complete}\n");
    }
    terminal.confirmed(&device).await.map_err(failed)
}

/// Starts the person's browser; whether that could be tried.
fn open(url: &str) -> bool {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let started = std::process::Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.is_ok()
}

/// Why a sign-in failed, as the command line says it.
fn failed(error: SignInError) -> Failure {
    let text = output::printable(&error.to_string());
    match error {
        SignInError::Unavailable { .. } => Failure::new(Exit::Unreachable, text),
        SignInError::Internal { .. } => Failure::cannot(text),
        SignInError::Refused { code, .. } if code.as_str() == "expired_token" => {
            Failure::new(Exit::Refused, "nobody entered the code in time").next("run it again")
        }
        SignInError::Refused { code, .. } | SignInError::Declined { code, .. }
            if matches!(code.as_str(), "access_denied" | "authorization_declined") =>
        {
            Failure::new(Exit::Refused, "the sign-in was declined")
        }
        SignInError::Refused { code, .. } if matches!(code.as_str(), "invalid_client" | "unauthorized_client") => {
            Failure::new(Exit::Refused, text)
                .next("the provider's application has to be a public client for this: ask the gateway's administrator")
        }
        _ => Failure::new(Exit::Refused, text).next("run it again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str) -> SignInView {
        SignInView {
            name: name.to_owned(),
            kind: "oidc".to_owned(),
            issuer: "https://idp.example".to_owned(),
            client_id: "cli".to_owned(),
            scopes: vec!["openid".to_owned()],
            device: false,
            token: "access".to_owned(),
        }
    }

    #[test]
    fn the_only_provider_is_the_one_and_among_several_one_is_named() {
        assert_eq!(choose(vec![view("a")], None).unwrap().name, "a");
        assert_eq!(choose(vec![view("a"), view("b")], Some("b")).unwrap().name, "b");
        let said = |providers, name| choose(providers, name).unwrap_err().to_string();
        assert!(said(vec![view("a"), view("b")], None).contains("one of: a, b"));
        assert!(said(vec![view("a")], Some("x")).contains("`x`"));
        assert!(said(vec![], None).contains("nobody signs in"));
    }
}
