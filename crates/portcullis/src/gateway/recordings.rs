//! Recordings in the life of the gateway: opened with the journal behind them, forgotten when past their time.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use portcullis_access::Access;
use portcullis_audit::Journal;
use portcullis_core::{AuditEvent, Clock, Timestamp, event::RecordingSealedEvent};
use portcullis_policy::Limits;
use portcullis_record::{Recordings, RecordingsConfig, Sealed};

use super::{data::DataDir, reload::record};
use crate::failure::Failure;

/// Opens the recordings of a data directory. What a gateway that died left open is sealed, and in the journal, before this
/// returns.
pub fn open(
    data: &DataDir,
    limits: &Limits,
    journal: &Arc<Journal>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Recordings>, Failure> {
    let journal = Arc::clone(journal);
    let announce = move |sealed: &Sealed| {
        let event = AuditEvent::RecordingSealed(event(sealed));
        record(&journal, &event).map_err(|error| error.to_string())
    };
    let config = RecordingsConfig {
        rows: limits.recorded_rows as u64,
        bytes: limits.recorded_bytes as u64,
        ..RecordingsConfig::new(data.recordings())
    };
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

/// How many recordings one event of the journal says are deleted.
const AT_ONCE: usize = 1_000;

/// Deletes recordings past `retention.recordings`, every now and then. The journal keeps the hashes of what was deleted.
pub async fn forget(
    recordings: Arc<Recordings>,
    journal: Arc<Journal>,
    access: Arc<Access>,
    clock: Arc<dyn Clock>,
    interval: Duration,
) {
    loop {
        tokio::time::sleep(interval).await;
        let now = clock.now();
        let before = now.minus(access.policy().retention().recordings);
        let (recordings, journal) = (Arc::clone(&recordings), Arc::clone(&journal));
        match tokio::task::spawn_blocking(move || forget_once(&recordings, &journal, before, now)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(gone)) => tracing::info!(recordings = gone, "recordings past their retention were deleted"),
            Ok(Err(error)) => tracing::error!(error, "recordings past their retention could not be deleted"),
            Err(_) => {}
        }
    }
}

/// Said first, deleted then: what is gone without a word in the journal was taken away.
fn forget_once(
    recordings: &Recordings,
    journal: &Journal,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, String> {
    let past = recordings.past(before).map_err(|error| error.to_string())?;
    let mut gone = 0;
    for some in past.chunks(AT_ONCE) {
        let sessions = some.iter().map(|past| past.session).collect();
        let event = AuditEvent::Retention { at: now, before, journal: None, recordings: sessions };
        record(journal, &event).map_err(|error| error.to_string())?;
        gone += recordings.forget(some);
    }
    Ok(gone)
}
