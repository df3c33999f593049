//! One segment in memory, frame by frame, without believing any of it.

use std::path::{Path, PathBuf};

use crate::{
    Error,
    format::{self, FRAME_HEADER_LEN, FrameFault, FrameHead, HEADER_LEN, MAX_PAYLOAD, SegmentHeader},
    reader::segment_path,
};

/// No segment is that long: one is closed at 64 MiB, or holds one batch.
const MAX_SEGMENT: u64 = 1 << 30;

pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// What stands at a place in a segment.
#[derive(Clone, Copy)]
pub(super) enum Frame<'a> {
    /// The segment ends here.
    End,
    /// A frame whose checksum fits.
    Good { sequence: u64, payload: &'a [u8] },
    /// Anything else.
    Bad(FrameFault),
}

impl Segment {
    /// Reads a segment; `Err(None)` where it is too long to be one.
    pub(super) fn read(journal: &Path, number: u64) -> Result<Option<Self>, Error> {
        let path = segment_path(journal, number);
        let len = path.metadata().map_err(Error::io("look at", &path))?.len();
        if len > MAX_SEGMENT {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok(Some(Self { number, path, bytes }))
    }

    pub(super) fn header(&self) -> Result<SegmentHeader, String> {
        let bytes = self.bytes.get(..HEADER_LEN.min(self.bytes.len())).unwrap_or_default();
        let header = SegmentHeader::decode(bytes)?;
        if header.encode() != bytes {
            return Err("it has bytes where there are none".to_owned());
        }
        Ok(header)
    }

    pub(super) fn frame(&self, offset: usize) -> Frame<'_> {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        if rest.is_empty() {
            return Frame::End;
        }
        let Some(head) = rest.first_chunk().copied().map(FrameHead::decode) else {
            return Frame::Bad(FrameFault::Incomplete);
        };
        match format::decode_frame(rest, head.sequence) {
            Ok(payload) => Frame::Good { sequence: head.sequence, payload },
            Err(fault) => Frame::Bad(fault),
        }
    }

    /// The good frames from a place on, up to the first bad one or the end.
    pub(super) fn frames(&self, mut offset: usize) -> impl Iterator<Item = (u64, &[u8])> {
        std::iter::from_fn(move || {
            let Frame::Good { sequence, payload } = self.frame(offset) else { return None };
            offset += FRAME_HEADER_LEN + payload.len();
            Some((sequence, payload))
        })
    }

    /// Whether a whole frame of a later event stands behind a place.
    pub(super) fn goes_on_after(&self, offset: usize, sequence: u64) -> bool {
        // From one byte on, so that the frame itself does not count.
        let rest = self.bytes.get(offset + 1..).unwrap_or_default();
        format::holds_later_frame(rest, sequence)
    }

    /// The payload that the bad frame at a place says to have, as far as it is there.
    pub(super) fn claimed(&self, offset: usize) -> &[u8] {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<FRAME_HEADER_LEN>() else { return &[] };
        let length = (FrameHead::decode(*head).length as usize).min(MAX_PAYLOAD);
        rest.get(..length.min(rest.len())).unwrap_or_default()
    }
}
