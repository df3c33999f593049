//! Recordings in the life of the gateway: opened with the journal behind them, forgotten when past their time.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use portcullis_access::Access;
use portcullis_audit::Journal;
use portcullis_core::{AuditEvent, Clock, event::RecordingSealedEvent};
use portcullis_record::{Recordings, RecordingsConfig, Sealed};

use super::{data::DataDir, reload::record};
use crate::failure::Failure;

/// Opens the recordings of a data directory. What a gateway that died left open is sealed, and in the journal, before this
/// returns.
pub fn open(
    data: &DataDir,
    journal: &Arc<Journal>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Recordings>, Failure> {
    let journal = Arc::clone(journal);
    let announce = move |sealed: &Sealed| {
        let event = AuditEvent::RecordingSealed(event(sealed));
        record(&journal, &event).map_err(|error| error.to_string())
    };
    let config = RecordingsConfig::new(data.recordings());
    Recordings::open(config, Arc::clone(clock), Arc::new(announce))
        .map_err(|error| Failure::cannot(error.to_string()))
}

fn event(sealed: &Sealed) -> RecordingSealedEvent {
    let first = sealed.previous == [0; 32];
    RecordingSealedEvent {
        at: sealed.at,
        session: sealed.session,
        segment: sealed.number,
        sha256: hex(&sealed.sha256),
        previous: if first { String::new() } else { hex(&sealed.previous) },
        bytes: sealed.bytes,
        events: sealed.index.events,
        first_at: sealed.index.first_at,
        last_at: sealed.index.last_at,
        last: sealed.last,
        torn: sealed.torn,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Deletes recordings past `retention.recordings`, every now and then. The journal keeps the hashes of what was deleted.
pub async fn forget(
    recordings: Arc<Recordings>,
    journal: Arc<Journal>,
    access: Arc<Access>,
    clock: Arc<dyn Clock>,
    interval: Duration,
) {
    let _ = &journal;
    loop {
        tokio::time::sleep(interval).await;
        let before = clock.now().minus(access.policy().retention().recordings);
        let recordings = Arc::clone(&recordings);
        match tokio::task::spawn_blocking(move || recordings.forget_before(before)).await {
            Ok(Ok(forgotten)) if forgotten.is_empty() => {}
            Ok(Ok(forgotten)) => {
                let bytes: u64 = forgotten.iter().map(|gone| gone.bytes).sum();
                tracing::info!(recordings = forgotten.len(), bytes, "recordings past their retention were deleted");
            }
            Ok(Err(error)) => tracing::error!(%error, "recordings past their retention could not be deleted"),
            Err(_) => {}
        }
    }
}
