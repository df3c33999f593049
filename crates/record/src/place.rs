//! Where things are in the folder of recordings:
//!
//! ```text
//! open/<session>.<segment>              segments being written, of live sessions or of a gateway that died
//! <day>/<session>/<segment>.rec         sealed segments, by the day the session began
//! ```

use std::path::{Path, PathBuf};

use portcullis_core::{SessionId, Timestamp};

/// The folder of open segments.
pub(crate) const OPEN: &str = "open";
/// How a sealed segment's name ends.
pub(crate) const SEALED: &str = "rec";

/// The folder of open segments.
pub(crate) fn open_folder(dir: &Path) -> PathBuf {
    dir.join(OPEN)
}

/// An open segment.
pub(crate) fn open_segment(dir: &Path, session: SessionId, number: u32) -> PathBuf {
    dir.join(OPEN).join(format!("{session}.{number:06}"))
}

/// The session and number of an open segment's file name.
pub(crate) fn of_open_segment(name: &str) -> Option<(SessionId, u32)> {
    let (session, number) = name.split_once('.')?;
    Some((session.parse().ok()?, number.parse().ok()?))
}

/// The folder of a session's sealed segments.
pub(crate) fn folder(dir: &Path, session: SessionId) -> PathBuf {
    dir.join(day(began(session))).join(session.to_string())
}

/// A sealed segment.
pub(crate) fn segment(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:06}.{SEALED}"))
}

/// The number of a sealed segment's file name.
pub(crate) fn of_segment(name: &str) -> Option<u32> {
    name.strip_suffix(".rec")?.parse().ok()
}

/// The day of a time, in UTC: `2026-01-31`.
pub(crate) fn day(at: Timestamp) -> String {
    let mut text = at.to_string();
    text.truncate(text.find('T').unwrap_or(text.len()));
    text
}

/// When the session began: the first 48 bits of its id are milliseconds (RFC 9562 section 5.7).
fn began(session: SessionId) -> Timestamp {
    let text = session.to_string();
    let millis = text.get(4..16).and_then(|digits| i64::from_str_radix(digits, 16).ok()).unwrap_or(0);
    Timestamp::from_micros(millis.saturating_mul(1_000)).min(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_kept_under_the_day_it_began() {
        let at = Timestamp::from_micros(1_790_000_000_123_456);
        let session = SessionId::generate(at);
        assert_eq!(folder(Path::new("r"), session), Path::new("r/2026-09-21").join(session.to_string()));
    }

    #[test]
    fn names_read_back() {
        let session = SessionId::generate(Timestamp::from_seconds(1_790_000_000));
        let open = open_segment(Path::new("r"), session, 12);
        let name = open.file_name().unwrap().to_str().unwrap();
        assert_eq!(of_open_segment(name), Some((session, 12)));
        let sealed = segment(Path::new("f"), 1_234_567);
        assert_eq!(of_segment(sealed.file_name().unwrap().to_str().unwrap()), Some(1_234_567));
        assert_eq!(of_segment("000001.tmp"), None);
    }
}
