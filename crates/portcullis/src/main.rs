//! `portcullis`: the gateway and its command line.
//!
//! **Promises.** A thin main: every subcommand is a module that parses its arguments and hands over. Exit codes mean
//! something ([`failure::Exit`]); errors name the next step; nothing printed repeats a token.
//!
//! **Does not** decide anything: it wires the crates that do.
//!
//! **How to read it**: [`gateway`] (the process), then one module per subcommand.

mod apply;
mod audit;
mod check;
mod connections;
mod demo;
mod dev_idp;
mod documents;
mod explain;
mod export;
mod failure;
mod gateway;
mod identity;
mod kept_token;
mod kill;
mod local;
mod login;
mod logout;
mod output;
mod reach;
mod remote;
mod replay;
mod request;
mod requests;
mod sessions;
mod shell;
mod statements;
mod test;
mod token;
mod whoami;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use output::Format;

const EXIT_CODES: &str = "Exit codes:
  0  done, or the answer is yes
  1  the answer is no: denied, a test failed, the documents have errors
  2  the command line is not understood
  3  the gateway or the issuer cannot be reached
  4  it was reached, and refused
  5  this machine is not as needed: a port in use, a folder locked, a file unreadable

Manual: docs/manual in the source tree. `portcullis <COMMAND> --help` says more than `-h`.";

/// An access gateway for AI agents and other non-human identities.
///
/// An agent brings the short-lived token of its identity provider through its own client: user name = the connection's name,
/// password = the token. The gateway verifies it, decides what it may open and do, logs in upstream with a credential the
/// agent never sees, judges every statement and records it.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = EXIT_CODES, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How answers are printed
    #[arg(long, short, global = true, value_enum, default_value = "table", env = "PORTCULLIS_OUTPUT")]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    Gateway(gateway::Args),
    Demo(demo::Args),
    Check(check::Args),
    Test(test::Args),
    Explain(explain::Args),
    Reach(reach::Args),
    Apply(apply::Args),
    Login(login::Args),
    Logout(logout::Args),
    Request(request::Args),
    Requests(requests::Args),
    Approve(requests::answer::ApproveArgs),
    Deny(requests::answer::DenyArgs),
    Withdraw(requests::answer::WithdrawArgs),
    Review(requests::answer::ReviewArgs),
    Whoami(whoami::Args),
    Connections(connections::Args),
    Sessions(sessions::Args),
    Replay(replay::Args),
    Watch(replay::WatchArgs),
    Export(export::Args),
    Kill(kill::Args),
    Audit(audit::Args),
    Token(token::Args),
    DevIdp(dev_idp::Args),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The one crypto provider, for whatever asks the process for its default.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome = match &cli.command {
        Command::Gateway(args) => gateway::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(args, cli.output),
        Command::Test(args) => test::run(args, cli.output),
        Command::Explain(args) => explain::run(args, cli.output),
        Command::Reach(args) => reach::run(args, cli.output),
        Command::Apply(args) => apply::run(args, cli.output),
        Command::Login(args) => login::run(args, cli.output),
        Command::Logout(args) => logout::run(args),
        Command::Request(args) => request::run(args, cli.output),
        Command::Requests(args) => requests::run(args, cli.output),
        Command::Approve(args) => requests::answer::approve(args, cli.output),
        Command::Deny(args) => requests::answer::deny(args, cli.output),
        Command::Withdraw(args) => requests::answer::withdraw(args, cli.output),
        Command::Review(args) => requests::answer::review(args, cli.output),
        Command::Whoami(args) => whoami::run(args, cli.output),
        Command::Connections(args) => connections::run(args, cli.output),
        Command::Sessions(args) => sessions::run(args, cli.output),
        Command::Replay(args) => replay::run(args, cli.output),
        Command::Watch(args) => replay::watch(args, cli.output),
        Command::Export(args) => export::run(args),
        Command::Kill(args) => kill::run(args, cli.output),
        Command::Audit(args) => audit::run(args, cli.output),
        Command::Token(args) => token::run(args, cli.output),
        Command::DevIdp(args) => dev_idp::run(args),
        Command::Completions(args) => shell::completions(args, Cli::command()),
        Command::Man(args) => shell::man(args, Cli::command()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Runs one short conversation to its end.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, failure::Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| failure::Failure::cannot(error.to_string()))?.block_on(work))
}
