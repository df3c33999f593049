//! Finding the gateway and the token: flags, environment, the data directory of the process file, else what `portcullis login` kept.

use std::{
    io::{IsTerminal as _, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use portcullis_client::{Client, ClientError, types::ProviderView};
use portcullis_core::Secret;
use portcullis_identity::SignInView;

use crate::{
    documents,
    failure::{Exit, Failure},
    gateway::data::{DataDir, Listeners},
    kept_token,
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

/// How a token is given.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// A file with the access token; `-` reads standard input. Otherwise PORTCULLIS_TOKEN, otherwise that of `portcullis login`,
    /// otherwise standard input
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// How the admin token is given.
#[derive(Debug, clap::Args)]
pub struct AdminArgs {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// A file with the gateway's admin token: `admin.token` in its data directory. Otherwise PORTCULLIS_ADMIN_TOKEN, otherwise
    /// the data directory of `--config`, otherwise you, by `portcullis login`
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
}

/// An address with what it is trusted by.
pub struct Found {
    /// The gateway's web address.
    pub url: String,
    /// The certificate to trust; the system's roots without it.
    pub ca: Option<PathBuf>,
}

impl Found {
    /// A client that presents this token.
    pub fn client(&self, token: Secret<String>) -> Result<Client, Failure> {
        Client::new(&self.url, self.ca.as_deref(), token).map_err(failed)
    }

    /// With what people sign in at this gateway, asked for by nobody in particular.
    pub async fn sign_in_providers(&self) -> Result<Vec<SignInView>, Failure> {
        let me = self.client(Secret::new(String::new()))?.me().await.map_err(failed)?;
        let view = |provider: ProviderView| SignInView {
            name: provider.name,
            kind: provider.kind,
            issuer: provider.issuer,
            client_id: provider.client_id,
            scopes: provider.scopes,
            device: provider.device,
            token: provider.token,
        };
        Ok(me.providers.into_iter().map(view).collect())
    }
}

impl GatewayArgs {
    fn data(&self) -> Result<Option<DataDir>, Failure> {
        match &self.config {
            Some(config) => Ok(Some(DataDir::at(&documents::process(config)?.data))),
            None => Ok(None),
        }
    }

    /// The gateway: by its address, on this machine, else the one that somebody is signed in to.
    pub fn find(&self) -> Result<Found, Failure> {
        if let Some(url) = &self.gateway {
            return Ok(Found { url: url.clone(), ca: self.ca.clone().or_else(|| kept_ca(url)) });
        }
        let Some(data) = self.data()? else {
            if let Some(kept) = kept_token::Place::of_this_user().map_or(Ok(None), |place| place.only())? {
                return Ok(Found { url: kept.gateway, ca: self.ca.clone().or(kept.ca) });
            }
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
        self.find()?.client(token)
    }

    /// The gateway that flags or environment name, if they do.
    pub fn named(&self) -> Result<Option<String>, Failure> {
        if self.gateway.is_none() && self.config.is_none() {
            return Ok(None);
        }
        self.find().map(|found| Some(found.url))
    }

    /// A client with the token that was given, else with that of whoever is signed in.
    pub fn agent(&self, token: &TokenArgs) -> Result<Client, Failure> {
        let token = match token.given()? {
            Some(token) => token,
            None => match kept_token::present(&self.find()?.url)? {
                Some(token) => token,
                None => token_from_input()?,
            },
        };
        self.client(token)
    }
}

impl AdminArgs {
    /// A client with the token of an agent or a person, as where there were no admin token.
    pub fn agent(&self, token: &TokenArgs) -> Result<Client, Failure> {
        self.gateway.agent(token)
    }

    /// A client with the token that was given, else with the admin token, else with that of whoever is signed in.
    pub fn either(&self, token: &TokenArgs) -> Result<Client, Failure> {
        match token.given()? {
            Some(token) => self.gateway.client(token),
            None => self.client(),
        }
    }

    /// A client with the admin token.
    pub fn client(&self) -> Result<Client, Failure> {
        let token = match (&self.admin_token_file, std::env::var("PORTCULLIS_ADMIN_TOKEN")) {
            (Some(path), _) => token_file(path)?,
            (None, Ok(token)) if !token.trim().is_empty() => Secret::new(token.trim().to_owned()),
            (None, _) => {
                let Some(data) = self.gateway.data()? else {
                    let signed_in = match self.gateway.find() {
                        Ok(found) => kept_token::present(&found.url)?,
                        Err(_) => None,
                    };
                    if let Some(token) = signed_in {
                        return self.gateway.client(token);
                    }
                    return Err(Failure::usage("no admin token is given").next(
                        "sign in with `portcullis login`, or give --admin-token-file FILE (or PORTCULLIS_ADMIN_TOKEN), or --config \
                         gateway.yaml on the gateway's own machine",
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
    /// The token by flag or environment.
    fn given(&self) -> Result<Option<Secret<String>>, Failure> {
        if let Some(path) = &self.token_file {
            return token_file(path).map(Some);
        }
        match std::env::var("PORTCULLIS_TOKEN") {
            Ok(token) if !token.trim().is_empty() => Ok(Some(Secret::new(token.trim().to_owned()))),
            _ => Ok(None),
        }
    }
}

/// The token that is piped in.
fn token_from_input() -> Result<Secret<String>, Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::usage("no token is given").next(
            "sign in with `portcullis login`, or set PORTCULLIS_TOKEN, or give --token-file FILE, or pipe the token in",
        ));
    }
    token_from(std::io::stdin(), "standard input")
}

/// The certificate that was trusted when somebody signed in to this gateway.
fn kept_ca(url: &str) -> Option<PathBuf> {
    kept_token::Place::of_this_user()?.find(url).ok().flatten()?.ca
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
pub fn reachable(address: SocketAddr) -> SocketAddr {
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
