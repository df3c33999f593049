//! Entry points for fuzzing; their corpora are replayed as tests.

use crate::{codec, format, sealer::OpenSegment};

/// Any bytes as events, as headers and as an open segment: an answer, never a panic, and never more memory than they ask for.
pub fn fuzz_recording(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((_, _, length))) = codec::decode(rest) {
        assert!(length > 0 && length <= rest.len(), "an event is no longer than what is there");
        rest = rest.get(length..).unwrap_or_default();
    }
    let _ = format::SealedHeader::decode(bytes);
    let _ = format::OpenHeader::decode(bytes);
    let _ = format::frame(bytes);
    if let Some(open) = OpenSegment::parse(bytes) {
        assert!(open.events.len() <= bytes.len(), "frames hold what is there");
    }
}
