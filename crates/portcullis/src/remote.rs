//! Finding the gateway and the token: flags, environment, or the data directory of the process file.

use std::{
    io::{IsTerminal as _, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use portcullis_api::{Client, ClientError};
use portcullis_core::Secret;

use crate::{
    documents,
    failure::{Exit, Failure},
    gateway::data::{DataDir, Listeners},
};

/// The longest token read, in bytes.
const MAX_TOKEN: u64 = 64 * 1024;

/// Which gateway to ask.
#[derive(Debug, clap::Args)]
pub struct GatewayArgs {
    /// The gateway's web address
    #[arg(long, value_name = "URL", env = "PORTCULLIS_GATEWAY")]
    gateway: Option<String>,
    /// The certificate to trust, PEM: the gateway's own or its CA's. Without it: the system's
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CA")]
    ca: Option<PathBuf>,
    /// The process file of a gateway on this machine: address, certificate and admin token are found in its data directory
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: Option<PathBuf>,
}

/// How an agent's token is given.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// A file with the access token; `-` reads standard input. Otherwise PORTCULLIS_TOKEN, otherwise standard input
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// How the admin token is given.
#[derive(Debug, clap::Args)]
pub struct AdminArgs {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// A file with the gateway's admin token: `admin.token` in its data directory. Otherwise PORTCULLIS_ADMIN_TOKEN, otherwise
    /// the data directory of `--config`
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
}

/// An address with what it is trusted by.
struct Found {
    url: String,
    ca: Option<PathBuf>,
}

impl GatewayArgs {
    fn data(&self) -> Result<Option<DataDir>, Failure> {
        match &self.config {
            Some(config) => Ok(Some(DataDir::at(&documents::process(config)?.data))),
            None => Ok(None),
        }
    }

    fn find(&self) -> Result<Found, Failure> {
        if let Some(url) = &self.gateway {
            return Ok(Found { url: url.clone(), ca: self.ca.clone() });
        }
        let Some(data) = self.data()? else {
            return Err(Failure::usage("no gateway is named").next(
                "give --gateway URL (or PORTCULLIS_GATEWAY), or --config gateway.yaml on the gateway's own machine",
            ));
        };
        let Some(listeners) = data.listeners() else {
            return Err(Failure::new(
                Exit::Unreachable,
                format!("no gateway runs on the data directory `{}`", data.path().display()),
            )
            .next("start it with `portcullis gateway --config FILE`"));
        };
        let Listeners { web, certificate, .. } = listeners;
        Ok(Found {
            url: format!("https://{}", reachable(web)),
            ca: Some(self.ca.clone().unwrap_or(certificate)),
        })
    }

    fn client(&self, token: Secret<String>) -> Result<Client, Failure> {
        let Found { url, ca } = self.find()?;
        Client::new(&url, ca.as_deref(), token).map_err(failed)
    }

    /// A client with the agent's token.
    pub fn agent(&self, token: &TokenArgs) -> Result<Client, Failure> {
        self.client(token.read()?)
    }
}

impl AdminArgs {
    /// A client with the admin token.
    pub fn client(&self) -> Result<Client, Failure> {
        let token = match (&self.admin_token_file, std::env::var("PORTCULLIS_ADMIN_TOKEN")) {
            (Some(path), _) => token_file(path)?,
            (None, Ok(token)) if !token.trim().is_empty() => Secret::new(token.trim().to_owned()),
            (None, _) => {
                let Some(data) = self.gateway.data()? else {
                    return Err(Failure::usage("no admin token is given").next(
                        "give --admin-token-file FILE (or PORTCULLIS_ADMIN_TOKEN), or --config gateway.yaml on the gateway's own machine",
                    ));
                };
                token_file(&data.admin_token_path())?
            }
        };
        self.gateway.client(token)
    }

    /// The data directory of `--config`, where the answer may be found without a gateway.
    pub fn data(&self) -> Result<Option<DataDir>, Failure> {
        self.gateway.data()
    }

    /// Whether a gateway was named by its address: then nothing else is asked.
    pub fn names_address(&self) -> bool {
        self.gateway.gateway.is_some()
    }
}

impl TokenArgs {
    fn read(&self) -> Result<Secret<String>, Failure> {
        if let Some(path) = &self.token_file {
            return token_file(path);
        }
        match std::env::var("PORTCULLIS_TOKEN") {
            Ok(token) if !token.trim().is_empty() => Ok(Secret::new(token.trim().to_owned())),
            _ if std::io::stdin().is_terminal() => Err(Failure::usage("no token is given")
                .next("set PORTCULLIS_TOKEN, or give --token-file FILE, or pipe the token in")),
            _ => token_from(std::io::stdin(), "standard input"),
        }
    }
}

fn token_file(path: &Path) -> Result<Secret<String>, Failure> {
    if path.as_os_str() == "-" {
        return token_from(std::io::stdin(), "standard input");
    }
    let shown = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| Failure::cannot(format!("cannot read `{shown}`: {error}")))?;
    token_from(file, &shown)
}

fn token_from(source: impl std::io::Read, shown: &str) -> Result<Secret<String>, Failure> {
    let mut read = String::new();
    let outcome = source.take(MAX_TOKEN + 1).read_to_string(&mut read);
    let read = Secret::new(read);
    outcome.map_err(|error| Failure::cannot(format!("cannot read {shown}: {error}")))?;
    let token = read.expose().trim();
    match token.len() as u64 {
        0 => Err(Failure::usage(format!("{shown} holds no token"))),
        length if length > MAX_TOKEN => {
            Err(Failure::usage(format!("what {shown} holds is longer than {MAX_TOKEN} bytes")))
        }
        _ => Ok(Secret::new(token.to_owned())),
    }
}

/// Where a listener bound to every address is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            reachable.set_ip(std::net::Ipv4Addr::LOCALHOST.into())
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            reachable.set_ip(std::net::Ipv6Addr::LOCALHOST.into())
        }
        _ => {}
    }
    reachable
}

/// A client's error as the command line says it.
pub fn failed(error: ClientError) -> Failure {
    match error {
        ClientError::Setup(text) => Failure::usage(text),
        ClientError::Unreachable { .. } => Failure::new(Exit::Unreachable, error.to_string())
            .next("is it running? a self-signed gateway needs --ca FILE: `<data>/tls/self-signed.crt` of the gateway"),
        ClientError::Recording(_) => Failure::new(Exit::No, crate::output::printable(&error.to_string()))
            .next("compare the hashes in the journal: portcullis audit search --kind recording_sealed --session SESSION"),
        ClientError::Answer(_) => Failure::new(Exit::Unreachable, error.to_string()),
        ClientError::Refused(problem) => {
            let failure = Failure::new(Exit::Refused, crate::output::printable(&problem.detail));
            match problem.next {
                Some(next) => failure.next(crate::output::printable(&next)),
                None => failure,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        for (bound, asked) in [
            ("0.0.0.0:8443", "127.0.0.1:8443"),
            ("[::]:8443", "[::1]:8443"),
            ("192.0.2.1:8443", "192.0.2.1:8443"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), asked);
        }
    }
}
