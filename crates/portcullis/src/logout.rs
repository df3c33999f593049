//! `portcullis logout`: forgets the token of `portcullis login`.

use std::sync::Arc;

use portcullis_core::SystemClock;
use portcullis_identity::{
    SignInError,
    terminal::{Ended, Terminal},
};

use crate::{
    failure::Failure,
    kept_token::{Kept, Place},
    output,
    remote::GatewayArgs,
};

/// Forgets who you are: removes the kept token, and ends the sign-in at the identity provider where that offers it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let nobody = || output::line("nobody is signed in");
    let Some(place) = Place::of_this_user() else {
        nobody();
        return Ok(());
    };
    let gateway = match args.gateway.named()? {
        Some(gateway) => gateway,
        None => match place.only()? {
            Some(kept) => kept.gateway,
            None => {
                nobody();
                return Ok(());
            }
        },
    };
    // What cannot be read is forgotten all the same.
    let kept = place.find(&gateway);
    if !place.forget(&gateway)? {
        nobody();
        return Ok(());
    }
    output::line(format!("signed out of {gateway}"));
    if let Ok(Some(kept)) = kept {
        match crate::block_on(end(kept))? {
            Ok(Ended::Yes) => {}
            Ok(Ended::NotOffered) => {
                eprintln!(
                    "portcullis: the identity provider has no way to end a sign-in from here; its tokens end by themselves"
                );
            }
            Err(error) => {
                eprintln!(
                    "portcullis: the sign-in at the identity provider goes on: {}",
                    output::printable(&error.to_string())
                );
            }
        }
    }
    Ok(())
}

async fn end(kept: Kept) -> Result<Ended, SignInError> {
    let terminal = Terminal::open(kept.provider, Arc::new(SystemClock)).await?;
    terminal.end(kept.tokens.refresh.as_ref(), kept.tokens.id.as_ref()).await
}
