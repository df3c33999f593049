//! `portcullis token`: an access token by client credentials, for trying things.

use std::{io::Read as _, path::PathBuf, time::Duration};

use portcullis_core::Secret;
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Exit, Failure},
    output::{self, Format},
};

/// Fetches an access token from an issuer by client credentials and prints it.
///
/// For trying a gateway and for `dev-idp`; a workload uses its platform's own way (managed identity, federated credential).
#[derive(Debug, clap::Args)]
#[command(after_help = r#"Examples:
  export PGPASSWORD=$(portcullis token --issuer http://127.0.0.1:8400/TENANT/v2.0 \
      --client-id … --client-secret-file secret.txt --scope api://portcullis/.default)"#)]
pub struct Args {
    /// The issuer; its metadata says where tokens are given
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The application (client) id
    #[arg(long, value_name = "ID")]
    client_id: String,
    /// The client secret; better in the environment or a file than on the command line, which others can see
    #[arg(long, value_name = "SECRET", env = "PORTCULLIS_CLIENT_SECRET", hide_env_values = true)]
    client_secret: Option<String>,
    /// A file with the client secret; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "client_secret")]
    client_secret_file: Option<PathBuf>,
    /// What the token is for
    #[arg(long, default_value = "api://portcullis/.default")]
    scope: String,
}

#[derive(Deserialize)]
struct Metadata {
    token_endpoint: String,
}

#[derive(Deserialize, Serialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    expires_in: u64,
}

#[derive(Deserialize)]
struct Denied {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Runs it.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let secret = secret(args)?;
    let granted = crate::block_on(fetch(args, &secret))??;
    match format {
        Format::Table => output::line(granted.access_token),
        Format::Json => output::json(&granted)?,
    }
    Ok(())
}

fn secret(args: &Args) -> Result<Secret<String>, Failure> {
    let text = match (&args.client_secret, &args.client_secret_file) {
        (Some(secret), _) => secret.clone(),
        (None, Some(path)) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin()
                .take(64 * 1024)
                .read_to_string(&mut text)
                .map_err(|error| Failure::cannot(error.to_string()))?;
            text
        }
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| Failure::cannot(format!("cannot read `{}`: {error}", path.display())))?,
        (None, None) => {
            return Err(Failure::usage("no client secret is given")
                .next("set PORTCULLIS_CLIENT_SECRET, or give --client-secret-file FILE"));
        }
    };
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn fetch(args: &Args, secret: &Secret<String>) -> Result<Granted, Failure> {
    let issuer = args.issuer.trim_end_matches('/');
    let plain = issuer.starts_with("http://");
    let loopback =
        reqwest::Url::parse(issuer).ok().and_then(|url| url.host_str().map(is_loopback)).unwrap_or(false);
    if plain && !loopback {
        return Err(Failure::usage("a client secret is not sent to an `http` issuer but on loopback"));
    }
    let unreachable = |error: reqwest::Error| {
        Failure::new(
            Exit::Unreachable,
            format!("cannot reach the issuer `{issuer}`: {}", error.without_url()),
        )
    };
    let builder = reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .redirect(reqwest::redirect::Policy::none());
    let builder = if loopback { builder.no_proxy() } else { builder };
    let http = builder.build().map_err(|error| Failure::cannot(error.to_string()))?;
    let metadata =
        http.get(format!("{issuer}/.well-known/openid-configuration")).send().await.map_err(unreachable)?;
    let metadata: Metadata =
        metadata.error_for_status().map_err(unreachable)?.json().await.map_err(unreachable)?;
    if !loopback && !metadata.token_endpoint.starts_with("https://") {
        return Err(Failure::new(Exit::Refused, "the issuer names a token endpoint that is not `https`"));
    }
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", args.client_id.as_str()),
        ("client_secret", secret.expose().as_str()),
        ("scope", args.scope.as_str()),
    ];
    let answer = http.post(&metadata.token_endpoint).form(&form).send().await.map_err(unreachable)?;
    let good = answer.status().is_success();
    let body = answer.bytes().await.map_err(unreachable)?;
    if good {
        return serde_json::from_slice(&body).map_err(|error| {
            Failure::new(Exit::Refused, format!("the issuer's answer is no token: {error}"))
        });
    }
    let said = serde_json::from_slice::<Denied>(&body).map_or_else(
        |_| "without a reason".to_owned(),
        |denied| output::printable(&format!("{}: {}", denied.error, denied.error_description)),
    );
    Err(Failure::new(Exit::Refused, format!("the issuer refused: {said}"))
        .next("check client id, secret and scope; is the application enabled?"))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
