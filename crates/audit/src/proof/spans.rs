//! What closed segments are: noted when all of a segment was read, so that opening need not read it again.
//!
//! ```text
//!  0  8  segment number          24  8  length of the file, bytes
//!  8  8  first sequence          32  4  CRC-32 over bytes 0 to 31
//! 16  8  sequence after the last 36  4  zero
//! ```

use std::path::Path;

use super::{Growing, read_all, spans_path};
use crate::Error;

const RECORD: usize = 40;

/// A closed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) segment: u64,
    pub(crate) first: u64,
    /// The sequence after the last.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
}

impl Span {
    fn encode(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        let fields = [self.segment, self.first, self.end, self.bytes];
        for (place, field) in record.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *place = field.to_le_bytes();
        }
        let (fields, rest) = record.split_at_mut(32);
        if let Some(place) = rest.first_chunk_mut() {
            *place = crc32fast::hash(fields).to_le_bytes();
        }
        record
    }

    fn decode(record: &[u8; RECORD]) -> Option<Self> {
        let mut fields = record.as_chunks::<8>().0.iter().copied().map(u64::from_le_bytes);
        let this = Self {
            segment: fields.next()?,
            first: fields.next()?,
            end: fields.next()?,
            bytes: fields.next()?,
        };
        (this.encode() == *record).then_some(this)
    }

    /// Every record of a journal's folder; `None` where one is damaged. A torn last one is left out.
    pub(crate) fn read(journal: &Path) -> Result<Vec<Option<Self>>, Error> {
        let bytes = read_all(&spans_path(journal))?;
        Ok(bytes.as_chunks::<RECORD>().0.iter().map(Self::decode).collect())
    }
}

/// The file of spans, open for more.
pub(crate) struct Spans {
    file: Growing,
    fresh: Vec<Span>,
}

impl Spans {
    /// Takes up what is on the disk.
    pub(crate) fn open(journal: &Path) -> Result<Self, Error> {
        let whole = Span::read(journal)?.len() * RECORD;
        Ok(Self { file: Growing::open(spans_path(journal), whole as u64)?, fresh: Vec::new() })
    }

    pub(crate) fn push(&mut self, span: Span) {
        self.fresh.push(span);
    }

    /// Writes what is new, to the disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        self.file.append(&self.fresh.iter().flat_map(Span::encode).collect::<Vec<_>>())?;
        self.fresh.clear();
        self.file.sync()
    }
}
