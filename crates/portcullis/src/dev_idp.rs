//! `portcullis dev-idp`: the development issuer.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use portcullis_core::SystemClock;
use portcullis_dev_idp::{DevIdp, Directory};
use tokio::net::TcpListener;

use crate::{failure::Failure, output};

/// Runs an identity provider for demos and tests, shaped like Microsoft Entra ID and Graph.
///
/// It listens on loopback only and keeps everything in memory. See docs/manual/dev-idp.md for the directory file and for what
/// it answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen: a loopback address; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8400")]
    listen: SocketAddr,
    /// Who exists: tenant, applications, users, groups (YAML)
    #[arg(long, value_name = "FILE")]
    directory: PathBuf,
}

/// Runs it until Ctrl-C.
pub fn run(args: &Args) -> Result<(), Failure> {
    let cannot = |error: &dyn std::fmt::Display| Failure::cannot(error.to_string());
    let directory = Directory::load(&args.directory)
        .map_err(|error| cannot(&error).next("examples/demo/directory.yaml is one that works"))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| cannot(&error))?;
    runtime.block_on(async {
        let idp = DevIdp::new(directory, Arc::new(SystemClock)).map_err(|error| cannot(&error))?;
        let listener = TcpListener::bind(args.listen)
            .await
            .map_err(|error| Failure::cannot(format!("cannot listen on {}: {error}", args.listen)))?;
        let address = listener.local_addr().map_err(|error| cannot(&error))?;
        let tenant = idp.tenant();
        let serving = tokio::spawn(idp.serve(listener, async {
            let _ = tokio::signal::ctrl_c().await;
        }));
        output::line(format!("issuer     http://{address}/{tenant}/v2.0"));
        output::line(format!("tokens     http://{address}/{tenant}/oauth2/v2.0/token"));
        output::line(format!("graph      http://{address}/v1.0"));
        output::line(format!("a gateway trusts it with `kind: entra`, `tenant: {tenant}`,"));
        output::line(format!("`authority: http://{address}` and `graph: http://{address}`"));
        output::line("ready");
        serving.await.map_err(|error| cannot(&error))?.map_err(|error| cannot(&error))
    })
}
