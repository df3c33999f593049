//! Reading the audit index without a gateway: only where none runs on the data directory.

use std::sync::Arc;

use portcullis_audit::{Error as JournalError, Journal, JournalConfig, Sync};
use portcullis_core::{Clock, SystemClock};
use portcullis_store::Store;

use crate::{
    failure::{Exit, Failure},
    gateway::data::DataDir,
};

/// The store of a data directory, its index brought up to the end of the journal. The journal's lock is held while that is
/// done, which also proves that no gateway runs.
pub fn store(data: &DataDir) -> Result<Store, Failure> {
    if !data.journal().exists() {
        return Err(Failure::cannot(format!(
            "no gateway ever ran on the data directory `{}`",
            data.path().display()
        )));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let cannot = |error: &dyn std::fmt::Display| Failure::cannot(error.to_string());
    let (journal, recovery) =
        match Journal::open(JournalConfig::new(data.journal(), Sync::Fast), Arc::clone(&clock)) {
            Ok(opened) => opened,
            Err(JournalError::Locked { .. }) => {
                return Err(Failure::new(
                    Exit::Unreachable,
                    "a gateway runs on the data directory but does not answer",
                )
                .next("look at its log"));
            }
            Err(error) => return Err(cannot(&error)),
        };
    let store = Store::open(data.store(), clock.now()).map_err(|error| cannot(&error))?;
    store.catch_up(&journal).map_err(|error| cannot(&error))?;
    eprintln!("portcullis: no gateway runs here; this is read from `{}`", data.path().display());
    if recovery.cut_bytes() > 0 {
        eprintln!(
            "portcullis: {} bytes of an event that was never acknowledged were cut off the journal's end",
            recovery.cut_bytes()
        );
    }
    Ok(store)
}
