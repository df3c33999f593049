//! Bytes on the disk. Everything little-endian.
//!
//! An **open segment** is [`OpenHeader`] and then frames: `u32` length, `u32` CRC-32 of what follows, and that many bytes of
//! whole events. A torn end shows as a frame that is short or whose checksum is wrong; what is before it counts.
//!
//! A **sealed segment** is [`SealedHeader`], all its events in one zstd frame, and a trailer: `u32` CRC-32 of the compressed
//! bytes, four zero bytes, [`TRAILER_MAGIC`]. Its SHA-256 is over the whole file.

use portcullis_core::{SessionId, Timestamp};

/// The version of both.
pub const VERSION: u16 = 1;
/// How a sealed segment starts.
pub const SEALED_MAGIC: [u8; 8] = *b"PORTCREC";
/// How an open segment starts.
pub const OPEN_MAGIC: [u8; 8] = *b"PORTCOPN";
/// How a sealed segment ends.
pub const TRAILER_MAGIC: [u8; 8] = *b"PORTCEND";
/// Length of [`SealedHeader`].
pub const SEALED_HEADER: usize = 160;
/// Length of [`OpenHeader`].
pub const OPEN_HEADER: usize = 72;
/// Length of a sealed segment's trailer.
pub const TRAILER: usize = 16;
/// Length of a frame's head.
pub const FRAME_HEAD: usize = 8;
/// The longest frame read, in bytes: what may wait for the writer, and the longest event.
pub const MAX_FRAME: usize = 32 << 20;
/// The most a sealed segment may unpack to, in bytes.
pub const MAX_RAW: u64 = 256 << 20;

const FLAG_LAST: u16 = 1;
const FLAG_TORN: u16 = 2;
const SESSION: usize = 36;

/// What events a segment holds: for finding a place without unpacking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// How many.
    pub events: u64,
    /// When the first happened.
    pub first_at: Timestamp,
    /// When the last happened.
    pub last_at: Timestamp,
    /// The decision of the first statement; 0 where there is none.
    pub first_statement: u64,
    /// The decision of the last statement; 0 where there is none.
    pub last_statement: u64,
}

impl Index {
    /// Takes one event in.
    pub fn add(&mut self, at: Timestamp, statement: Option<u64>) {
        if self.events == 0 {
            self.first_at = at;
        }
        self.events += 1;
        self.last_at = at;
        if let Some(number) = statement {
            if self.first_statement == 0 {
                self.first_statement = number;
            }
            self.last_statement = number;
        }
    }

    /// Takes in what came after.
    pub fn append(&mut self, next: &Self) {
        if next.events == 0 {
            return;
        }
        if self.events == 0 {
            self.first_at = next.first_at;
        }
        self.events += next.events;
        self.last_at = next.last_at;
        if self.first_statement == 0 {
            self.first_statement = next.first_statement;
        }
        if next.last_statement != 0 {
            self.last_statement = next.last_statement;
        }
    }
}

/// What stands at the start of an open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHeader {
    /// The session.
    pub session: SessionId,
    /// Counts the session's segments from 1.
    pub number: u32,
    /// The number of its first event.
    pub first_event: u64,
    /// When it was begun.
    pub created: Timestamp,
}

/// What stands at the start of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedHeader {
    /// The session.
    pub session: SessionId,
    /// Counts the session's segments from 1.
    pub number: u32,
    /// Whether the session ended in it.
    pub last: bool,
    /// Whether the gateway died while it was open: what was recorded last may be missing.
    pub torn: bool,
    /// SHA-256 of the segment before; zeros in the first.
    pub previous: [u8; 32],
    /// The number of its first event.
    pub first_event: u64,
    /// What it holds.
    pub index: Index,
    /// Length of its events, unpacked.
    pub raw: u64,
    /// Length of its events, packed.
    pub packed: u64,
}

/// The bytes are no header of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHeader {
    /// They are something else, or cut short.
    #[error("it does not start as a segment does")]
    Magic,
    /// A later version wrote them.
    #[error("it was written by a later version ({0})")]
    Version(u16),
    /// They were changed.
    #[error("its header was changed")]
    Checksum,
    /// A field makes no sense.
    #[error("its header makes no sense")]
    Field,
}

impl OpenHeader {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(OPEN_HEADER);
        out.extend_from_slice(&OPEN_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(self.session.to_string().as_bytes());
        out.extend_from_slice(&self.first_event.to_le_bytes());
        out.extend_from_slice(&self.created.as_micros().to_le_bytes());
        push_checksum(&mut out);
        out
    }

    /// From the start of a file.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoHeader> {
        let mut fields = checked(bytes, &OPEN_MAGIC, OPEN_HEADER)?;
        let _reserved = fields.u16()?;
        Ok(Self {
            number: fields.u32()?,
            session: fields.session()?,
            first_event: fields.u64()?,
            created: fields.time()?,
        })
    }
}

impl SealedHeader {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEALED_HEADER);
        out.extend_from_slice(&SEALED_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        let flags = if self.last { FLAG_LAST } else { 0 } | if self.torn { FLAG_TORN } else { 0 };
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(self.session.to_string().as_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.previous);
        for number in [self.first_event, self.index.events] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for at in [self.index.first_at, self.index.last_at] {
            out.extend_from_slice(&at.as_micros().to_le_bytes());
        }
        for number in [self.index.first_statement, self.index.last_statement, self.raw, self.packed] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        push_checksum(&mut out);
        out
    }

    /// From the start of a file.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoHeader> {
        let mut fields = checked(bytes, &SEALED_MAGIC, SEALED_HEADER)?;
        let flags = fields.u16()?;
        if flags & !(FLAG_LAST | FLAG_TORN) != 0 {
            return Err(NoHeader::Field);
        }
        let number = fields.u32()?;
        let session = fields.session()?;
        let _reserved = fields.u32()?;
        let header = Self {
            session,
            number,
            last: flags & FLAG_LAST != 0,
            torn: flags & FLAG_TORN != 0,
            previous: fields.array()?,
            first_event: fields.u64()?,
            index: Index {
                events: fields.u64()?,
                first_at: fields.time()?,
                last_at: fields.time()?,
                first_statement: fields.u64()?,
                last_statement: fields.u64()?,
            },
            raw: fields.u64()?,
            packed: fields.u64()?,
        };
        if header.number == 0 || header.raw > MAX_RAW || header.packed > 2 * MAX_RAW {
            return Err(NoHeader::Field);
        }
        Ok(header)
    }
}

/// What ends a sealed segment with these packed bytes.
pub fn trailer(packed: &[u8]) -> [u8; TRAILER] {
    let mut out = [0; TRAILER];
    let (checksum, rest) = out.split_at_mut(4);
    checksum.copy_from_slice(&crc32fast::hash(packed).to_le_bytes());
    if let Some(magic) = rest.get_mut(4..) {
        magic.copy_from_slice(&TRAILER_MAGIC);
    }
    out
}

/// The head of a frame that holds `events`.
pub fn frame_head(events: &[u8]) -> [u8; FRAME_HEAD] {
    let length = u32::try_from(events.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(events).to_le_bytes();
    let mut head = [0; FRAME_HEAD];
    let (first, second) = head.split_at_mut(4);
    first.copy_from_slice(&length);
    second.copy_from_slice(&checksum);
    head
}

/// The first frame of `bytes`; `None` where what is there is no whole frame.
pub fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_FRAME)?;
    let events = rest.get(..length).filter(|events| !events.is_empty())?;
    (crc32fast::hash(events) == u32::from_le_bytes(*checksum)).then_some(events)
}

fn push_checksum(out: &mut Vec<u8>) {
    let checksum = crc32fast::hash(out);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// The fields after magic and version, once the checksum at the end of `length` bytes holds.
fn checked<'a>(bytes: &'a [u8], magic: &[u8; 8], length: usize) -> Result<Fields<'a>, NoHeader> {
    let header = bytes.get(..length).filter(|header| header.starts_with(magic)).ok_or(NoHeader::Magic)?;
    let (body, checksum) = header.split_last_chunk::<4>().ok_or(NoHeader::Magic)?;
    let mut fields = Fields(body.get(magic.len()..).unwrap_or_default());
    let version = fields.u16()?;
    if version != VERSION {
        return Err(NoHeader::Version(version));
    }
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return Err(NoHeader::Checksum);
    }
    Ok(fields)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], NoHeader> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NoHeader::Field)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, NoHeader> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, NoHeader> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, NoHeader> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<Timestamp, NoHeader> {
        self.array().map(i64::from_le_bytes).map(Timestamp::from_micros)
    }

    fn session(&mut self) -> Result<SessionId, NoHeader> {
        let text: [u8; SESSION] = self.array()?;
        let text = std::str::from_utf8(&text).map_err(|_| NoHeader::Field)?;
        text.parse().map_err(|_| NoHeader::Field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionId {
        SessionId::generate(Timestamp::from_seconds(1_790_000_000))
    }

    fn sealed() -> SealedHeader {
        let mut index = Index::default();
        index.add(Timestamp::from_seconds(3), None);
        index.add(Timestamp::from_seconds(4), Some(7));
        SealedHeader {
            session: session(),
            number: 3,
            last: true,
            torn: false,
            previous: [9; 32],
            first_event: 12,
            index,
            raw: 1000,
            packed: 100,
        }
    }

    #[test]
    fn headers_read_back_and_have_their_length() {
        let header = sealed();
        assert_eq!(header.encode().len(), SEALED_HEADER);
        assert_eq!(SealedHeader::decode(&header.encode()), Ok(header));
        let open =
            OpenHeader { session: session(), number: 1, first_event: 0, created: Timestamp::from_seconds(5) };
        assert_eq!(open.encode().len(), OPEN_HEADER);
        assert_eq!(OpenHeader::decode(&open.encode()), Ok(open));
    }

    #[test]
    fn a_header_cut_short_or_changed_anywhere_is_none() {
        let bytes = sealed().encode();
        for length in 0..bytes.len() {
            assert!(SealedHeader::decode(&bytes[..length]).is_err(), "{length}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(SealedHeader::decode(&changed).is_err(), "{place}");
        }
    }

    #[test]
    fn a_frame_that_is_short_or_changed_is_none() {
        let events = b"some events".to_vec();
        let whole = [&frame_head(&events)[..], &events].concat();
        assert_eq!(frame(&whole), Some(&events[..]));
        for length in 0..whole.len() {
            assert_eq!(frame(&whole[..length]), None, "{length}");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x80;
            assert_eq!(frame(&changed), None, "{place}");
        }
        assert_eq!(frame(&[0; 64]), None, "a hole in a file is no frame");
    }

    #[test]
    fn an_index_of_parts_is_that_of_the_whole() {
        let events = [(1, None), (2, Some(4)), (3, None), (4, Some(9)), (5, None)];
        let index = |events: &[(i64, Option<u64>)]| {
            let mut index = Index::default();
            events.iter().for_each(|(at, statement)| index.add(Timestamp::from_seconds(*at), *statement));
            index
        };
        for cut in 0..=events.len() {
            let mut first = index(&events[..cut]);
            first.append(&index(&events[cut..]));
            assert_eq!(first, index(&events), "{cut}");
        }
    }
}
