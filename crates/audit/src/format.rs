//! The bytes of a segment: one header, then frames. Pure: no files, no clock. All integers are little-endian.
//!
//! ```text
//! header, 96 bytes                              frame
//!  0  8  magic "PCJRNL\x1a\n"                    0  4  length of the payload
//!  8  4  format version                          4  4  CRC-32 (IEEE) over payload, then sequence
//! 12  4  header length, 96                       8  8  sequence
//! 16  8  segment number, from 1                 16  n  payload: one audit event as JSON
//! 24  8  previous segment's number, 0: none
//! 32  8  sequence of the first frame
//! 40  8  created, microseconds since 1970
//! 48 32  zero: kept for the hash of the segment before
//! 80 12  zero
//! 92  4  CRC-32 (IEEE) over bytes 0 to 91
//! ```
//!
//! The checksum runs over the payload first, so that it is computed before the lock is taken and only carried over the
//! eight bytes of the sequence inside it. Length is not covered: a wrong one makes the checksum run over other bytes.

use portcullis_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The first bytes of a segment. `\x1a` stops a terminal's `type`, `\n` shows a transfer that rewrote line ends.
pub const MAGIC: [u8; 8] = *b"PCJRNL\x1a\n";
/// The version of header and frames this code writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes before the first frame.
pub const HEADER_LEN: usize = 96;
/// Bytes before a frame's payload.
pub const FRAME_HEADER_LEN: usize = 16;
/// The longest payload, in bytes. Statement texts are cut at the configured limit, long before.
pub const MAX_PAYLOAD: usize = 16 * 1024 * 1024;
const HEADER_CHECKED: usize = HEADER_LEN - 4;

/// A place between two events: `sequence` events of the journal's whole life come before it. Ordered by sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// How many events come before; also the sequence of the next one.
    pub sequence: u64,
    /// The segment the place is in; 0 is before all of them.
    pub segment: u64,
    /// The byte in the segment.
    pub offset: u64,
}

impl Position {
    /// Before the first event there is.
    pub const START: Self = Self { sequence: 0, segment: 0, offset: 0 };
}

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's number, from 1.
    pub number: u64,
    /// The number of the segment before; 0 for the first.
    pub previous: u64,
    /// The sequence the first frame has or would have.
    pub first_sequence: u64,
    /// When the segment was made.
    pub created: Timestamp,
}

impl SegmentHeader {
    /// The header as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(HEADER_LEN as u32).to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&self.first_sequence.to_le_bytes());
        out.extend_from_slice(&self.created.as_micros().to_le_bytes());
        out.resize(HEADER_CHECKED, 0);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; says what is wrong otherwise.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (checked, rest) =
            bytes.split_at_checked(HEADER_CHECKED).ok_or_else(|| "the header is incomplete".to_owned())?;
        let crc = rest.first_chunk().copied().map(u32::from_le_bytes).ok_or("the header is incomplete")?;
        let (magic, rest) = checked.split_first_chunk::<8>().ok_or("the header is incomplete")?;
        if *magic != MAGIC {
            return Err("not a journal segment".to_owned());
        }
        let (version, rest) = rest.split_first_chunk().ok_or("the header is incomplete")?;
        let version = u32::from_le_bytes(*version);
        if version != FORMAT_VERSION {
            return Err(format!("format version {version}; this program reads {FORMAT_VERSION}"));
        }
        if crc32fast::hash(checked) != crc {
            return Err("the header's checksum is wrong".to_owned());
        }
        let (_header_len, rest) = rest.split_first_chunk::<4>().ok_or("the header is incomplete")?;
        let (number, rest) = rest.split_first_chunk().ok_or("the header is incomplete")?;
        let (previous, rest) = rest.split_first_chunk().ok_or("the header is incomplete")?;
        let (first_sequence, rest) = rest.split_first_chunk().ok_or("the header is incomplete")?;
        let created = rest.first_chunk().ok_or("the header is incomplete")?;
        Ok(Self {
            number: u64::from_le_bytes(*number),
            previous: u64::from_le_bytes(*previous),
            first_sequence: u64::from_le_bytes(*first_sequence),
            created: Timestamp::from_micros(i64::from_le_bytes(*created)),
        })
    }
}

/// The sixteen bytes before a payload. One little-endian integer: length, checksum, sequence from the low end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) length: u32,
    pub(crate) crc: u32,
    pub(crate) sequence: u64,
}

impl FrameHead {
    pub(crate) fn encode(self) -> [u8; FRAME_HEADER_LEN] {
        (u128::from(self.length) | u128::from(self.crc) << 32 | u128::from(self.sequence) << 64).to_le_bytes()
    }

    pub(crate) fn decode(bytes: [u8; FRAME_HEADER_LEN]) -> Self {
        let all = u128::from_le_bytes(bytes);
        Self { length: all as u32, crc: (all >> 32) as u32, sequence: (all >> 64) as u64 }
    }
}

/// Carries a payload's checksum on over the sequence.
fn crc_with_sequence(payload_crc: u32, payload_len: u32, sequence: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial_len(payload_crc, u64::from(payload_len));
    hasher.update(&sequence.to_le_bytes());
    hasher.finalize()
}

/// Appends an open frame: the payload `write` makes, its length and checksum, no sequence yet. On failure `out` is as before.
pub(crate) fn push_open_frame(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_LEN]);
    if let Err(source) = write(out) {
        out.truncate(start);
        return Err(Error::Encode(source));
    }
    let payload = out.get(start + FRAME_HEADER_LEN..).unwrap_or_default();
    let bytes = payload.len();
    if bytes > MAX_PAYLOAD {
        out.truncate(start);
        return Err(Error::TooLarge { bytes, limit: MAX_PAYLOAD });
    }
    let head = FrameHead { length: bytes as u32, crc: crc32fast::hash(payload), sequence: 0 }.encode();
    if let Some(place) = out.get_mut(start..).and_then(|frame| frame.first_chunk_mut()) {
        *place = head;
    }
    Ok(())
}

/// Gives a run of open frames their sequences, from `sequence` on; the one after the last is returned.
pub(crate) fn seal_frames(mut frames: &mut [u8], mut sequence: u64) -> u64 {
    while let Some((head, rest)) = frames.split_first_chunk_mut::<FRAME_HEADER_LEN>() {
        let open = FrameHead::decode(*head);
        *head =
            FrameHead { crc: crc_with_sequence(open.crc, open.length, sequence), sequence, ..open }.encode();
        sequence += 1;
        frames = rest.split_at_mut_checked(open.length as usize).map_or(&mut [], |(_, next)| next);
    }
    sequence
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The bytes end inside it.
    #[error("the frame is incomplete")]
    Incomplete,
    /// It says to be longer than any frame is, or empty.
    #[error("the frame's length is impossible")]
    Length,
    /// Checksum and content differ.
    #[error("the frame's checksum is wrong")]
    Checksum,
    /// The sequence is not the one that follows.
    #[error("the frame's sequence is not the next")]
    Sequence,
}

/// Reads the frame at the start of `bytes`: its payload. `sequence` is the one it must have.
pub fn decode_frame(bytes: &[u8], sequence: u64) -> Result<&[u8], FrameFault> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEADER_LEN>().ok_or(FrameFault::Incomplete)?;
    let head = FrameHead::decode(*head);
    if head.length == 0 || head.length as usize > MAX_PAYLOAD {
        return Err(FrameFault::Length);
    }
    let payload = rest.get(..head.length as usize).ok_or(FrameFault::Incomplete)?;
    if crc_with_sequence(crc32fast::hash(payload), head.length, head.sequence) != head.crc {
        return Err(FrameFault::Checksum);
    }
    if head.sequence != sequence {
        return Err(FrameFault::Sequence);
    }
    Ok(payload)
}

/// Whether a whole frame with a sequence of at least `sequence` stands anywhere in `bytes`: then what precedes it is no
/// torn tail. Linear: only places whose sequence is near are checked.
pub(crate) fn holds_later_frame(bytes: &[u8], sequence: u64) -> bool {
    let most = sequence.saturating_add((bytes.len() / FRAME_HEADER_LEN) as u64);
    bytes.windows(FRAME_HEADER_LEN).enumerate().any(|(at, window)| {
        window.first_chunk().copied().map(FrameHead::decode).is_some_and(|head| {
            (sequence..=most).contains(&head.sequence)
                && bytes.get(at..).is_some_and(|rest| decode_frame(rest, head.sequence).is_ok())
        })
    })
}

/// Reads arbitrary bytes as a segment; for fuzzing and for replaying its corpus.
#[doc(hidden)]
pub fn fuzz_segment(bytes: &[u8]) {
    let Ok(header) = SegmentHeader::decode(bytes) else { return };
    assert_eq!(bytes.get(..HEADER_CHECKED).map(<[u8]>::len), Some(HEADER_CHECKED));
    let mut rest = bytes.get(HEADER_LEN..).unwrap_or_default();
    let mut sequence = header.first_sequence;
    while let Ok(payload) = decode_frame(rest, sequence) {
        rest = rest.get(FRAME_HEADER_LEN + payload.len()..).unwrap_or_default();
        sequence = sequence.saturating_add(1);
    }
    holds_later_frame(rest, sequence);
}

#[cfg(test)]
mod tests;
