//! Reading events back: across segments, live behind the writer, or from the files alone without a running gateway.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_core::AuditEvent;

use crate::{
    Error, Position,
    format::{self, FRAME_HEADER_LEN, FrameFault, HEADER_LEN, SegmentHeader},
    journal::Shared,
};

const CHUNK: usize = 256 * 1024;

/// One event read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the journal's whole life, from 0.
    pub sequence: u64,
    /// The place after it: where reading resumes.
    pub next: Position,
    /// The event as it was written, JSON. Complete also where this program knows the event, or some of its fields, not.
    pub json: Vec<u8>,
}

impl Entry {
    /// The event. An error means that a newer version wrote it; [`Entry::json`] still has all of it.
    pub fn event(&self) -> Result<AuditEvent, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }
}

/// Reads every event in `folder` that is on its files, without the lock and beside a running gateway or not. A torn end of
/// the last segment is the end ([`Reader::torn`]); damage elsewhere is an error.
pub fn read_dir(folder: impl Into<PathBuf>) -> Reader {
    Reader::new(folder.into(), Position::START, Source::Files)
}

/// Streams entries from a position on. As an iterator it yields `None` when it has caught up and goes on when there is
/// more; after an error it yields nothing more.
pub struct Reader {
    folder: PathBuf,
    source: Source,
    position: Position,
    open: Option<OpenSegment>,
    chunk: Vec<u8>,
    chunk_at: u64,
    torn: Option<Torn>,
    over: bool,
}

pub(crate) enum Source {
    Files,
    Written(Arc<Shared>),
    Durable(Arc<Shared>),
}

/// Bytes after the last whole event of the last segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub path: PathBuf,
    /// Its number.
    pub segment: u64,
    /// Where the torn bytes start; 0 where not even the header is whole.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
}

struct OpenSegment {
    path: PathBuf,
    file: File,
    header: SegmentHeader,
    /// Bytes that may be read, as far as known.
    end: u64,
    /// Whether no more will come.
    sealed: bool,
}

impl Reader {
    pub(crate) fn new(folder: PathBuf, from: Position, source: Source) -> Self {
        Self {
            folder,
            source,
            position: from,
            open: None,
            chunk: Vec::new(),
            chunk_at: 0,
            torn: None,
            over: false,
        }
    }

    /// The place after the last entry read.
    pub const fn reached(&self) -> Position {
        self.position
    }

    /// What follows the last whole event, where the files end in an incomplete one. Beside a running gateway that may be an
    /// event being written.
    pub const fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// The header of the segment being read.
    pub(crate) fn header(&self) -> Option<&SegmentHeader> {
        self.open.as_ref().map(|open| &open.header)
    }

    /// The next entry; `None` when there is none yet.
    pub fn read(&mut self) -> Result<Option<Entry>, Error> {
        let Some((sequence, json)) = self.read_payload()? else { return Ok(None) };
        let json = json.to_vec();
        Ok(Some(Entry { sequence, next: self.position, json }))
    }

    /// Moves past the next frame: its sequence, and its payload, which stays valid until the next call.
    pub(crate) fn read_payload(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        let Some(length) = self.advance()? else { return Ok(None) };
        let start =
            usize::try_from(self.position.offset - length as u64 - self.chunk_at).unwrap_or(usize::MAX);
        let payload = self.chunk.get(start..start.saturating_add(length)).unwrap_or_default();
        Ok(Some((self.position.sequence - 1, payload)))
    }

    /// Moves past the next frame; the length of its payload, which ends at the position and is in the chunk.
    pub(crate) fn advance(&mut self) -> Result<Option<usize>, Error> {
        loop {
            if self.over || (self.open.is_none() && !self.open_segment()?) {
                return Ok(None);
            }
            let Some(open) = &self.open else { return Ok(None) };
            let (end, sealed) = (open.end, open.sealed);
            if self.position.offset < end {
                match self.frame(end)? {
                    Ok(length) => {
                        self.position.offset += (FRAME_HEADER_LEN + length) as u64;
                        self.position.sequence += 1;
                        self.torn = None;
                        return Ok(Some(length));
                    }
                    Err(fault) if sealed || !matches!(self.source, Source::Files) => {
                        return Err(self.corrupt(fault));
                    }
                    Err(fault) => {
                        self.chunk.clear();
                        if !self.refresh()? {
                            return self.torn_end(fault);
                        }
                    }
                }
            } else if sealed {
                self.position.segment += 1;
                self.position.offset = HEADER_LEN as u64;
                self.open = None;
            } else if !self.refresh()? {
                return Ok(None);
            }
        }
    }

    /// Opens the segment of the position; `false` where there is none yet.
    fn open_segment(&mut self) -> Result<bool, Error> {
        let first = self.position.segment == 0;
        if first {
            match segments(&self.folder)?.first() {
                Some(number) => self.position.segment = *number,
                None => return Ok(false),
            }
        }
        let number = self.position.segment;
        let path = segment_path(&self.folder, number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if first {
                    self.position = Position::START;
                }
                return Err(Error::Missing { segment: number, path });
            }
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let mut head = [0; HEADER_LEN];
        let got = read_up_to(&file, &mut head, 0).map_err(Error::io("read", &path))?;
        if got < HEADER_LEN && segments(&self.folder)?.last() == Some(&number) {
            self.torn = Some(Torn { path, segment: number, offset: 0, bytes: got as u64 });
            if first {
                self.position = Position::START;
            }
            return Ok(false);
        }
        let corrupt = |fault: String| Error::Corrupt { path: path.clone(), offset: 0, fault };
        let header = SegmentHeader::decode(head.get(..got).unwrap_or_default()).map_err(corrupt)?;
        if header.number != number {
            return Err(corrupt(format!("it is segment {}, not {number}", header.number)));
        }
        if first {
            self.position.sequence = header.first_sequence;
        }
        self.position.offset = self.position.offset.max(HEADER_LEN as u64);
        if self.position.offset == HEADER_LEN as u64 && header.first_sequence != self.position.sequence {
            let (has, should) = (header.first_sequence, self.position.sequence);
            return Err(corrupt(format!("it starts at event {has}; the segment before ends at {should}")));
        }
        self.chunk.clear();
        self.open = Some(OpenSegment { path, file, header, end: 0, sealed: false });
        self.refresh()?;
        self.refuse_place_past_the_end()?;
        Ok(true)
    }

    /// A place that the files do not reach belongs to other files than these: they were cut, or put in the place of others.
    fn refuse_place_past_the_end(&self) -> Result<(), Error> {
        let Some(open) = &self.open else { return Ok(()) };
        let offset = open.file.metadata().map_err(Error::io("look at", &open.path))?.len();
        if offset >= self.position.offset {
            return Ok(());
        }
        let fault = format!("it ends before the place to read on from, byte {}", self.position.offset);
        Err(Error::Corrupt { path: open.path.clone(), offset, fault })
    }

    /// Looks how far the open segment may be read; whether that is further than before, or the segment is now known sealed.
    fn refresh(&mut self) -> Result<bool, Error> {
        let number = self.position.segment;
        let limit = match &self.source {
            Source::Files => None,
            Source::Written(shared) => Some(shared.written()?),
            Source::Durable(shared) => Some(shared.durable()),
        };
        // Sealed is looked at before the length: a segment no longer grows once its successor is there.
        let sealed = match limit {
            Some(limit) => number < limit.segment,
            None => segments(&self.folder)?.last().is_some_and(|last| number < *last),
        };
        let Some(open) = &mut self.open else { return Ok(false) };
        let before = (open.end, open.sealed);
        open.sealed = sealed;
        open.end = match limit {
            Some(limit) if limit.segment == number => limit.offset,
            Some(limit) if limit.segment < number => 0,
            _ => open.file.metadata().map_err(Error::io("look at", &open.path))?.len(),
        };
        Ok((open.end, open.sealed) != before)
    }

    /// The length of the payload at the position, or what is wrong there.
    fn frame(&mut self, end: u64) -> Result<Result<usize, FrameFault>, Error> {
        let sequence = self.position.sequence;
        let head = self.window(FRAME_HEADER_LEN, end)?.first_chunk().copied().map(format::FrameHead::decode);
        let Some(head) = head else { return Ok(Err(FrameFault::Incomplete)) };
        if head.length as usize > format::MAX_PAYLOAD {
            return Ok(Err(FrameFault::Length));
        }
        let bytes = self.window(FRAME_HEADER_LEN + head.length as usize, end)?;
        Ok(format::decode_frame(bytes, sequence).map(<[u8]>::len))
    }

    /// The bytes from the position on: at least `want` where the segment has them before `end`.
    fn window(&mut self, want: usize, end: u64) -> Result<&[u8], Error> {
        let offset = self.position.offset;
        let Some(open) = &self.open else { return Ok(&[]) };
        let want = want.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX));
        let covered = self.chunk_at + self.chunk.len() as u64;
        if self.chunk.is_empty() || offset < self.chunk_at || offset + want as u64 > covered {
            let most = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.chunk.resize(want.max(CHUNK).min(most), 0);
            let got =
                read_up_to(&open.file, &mut self.chunk, offset).map_err(Error::io("read", &open.path))?;
            self.chunk.truncate(got);
            self.chunk_at = offset;
        }
        let start = usize::try_from(offset - self.chunk_at).unwrap_or(usize::MAX);
        Ok(self.chunk.get(start..).unwrap_or_default())
    }

    /// A bad frame at the end of the last segment: torn if nothing whole follows, damage otherwise.
    fn torn_end(&mut self, fault: FrameFault) -> Result<Option<usize>, Error> {
        let Some(open) = &self.open else { return Ok(None) };
        let bytes = open.end.saturating_sub(self.position.offset);
        let mut rest = vec![0; usize::try_from(bytes).unwrap_or_default()];
        let got =
            read_up_to(&open.file, &mut rest, self.position.offset).map_err(Error::io("read", &open.path))?;
        rest.truncate(got);
        let whole_but_wrong = fault == FrameFault::Sequence;
        if whole_but_wrong || format::holds_later_frame(&rest, self.position.sequence) {
            return Err(self.corrupt(fault));
        }
        let (path, segment) = (open.path.clone(), self.position.segment);
        self.torn = Some(Torn { path, segment, offset: self.position.offset, bytes });
        self.chunk.clear();
        Ok(None)
    }

    fn corrupt(&self, fault: FrameFault) -> Error {
        let path = segment_path(&self.folder, self.position.segment);
        Error::Corrupt { path, offset: self.position.offset, fault: fault.to_string() }
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read();
        self.over |= result.is_err();
        result.transpose()
    }
}

/// The header of a segment, which must be the one its name says.
pub(crate) fn read_header(folder: &Path, number: u64) -> Result<SegmentHeader, Error> {
    let path = segment_path(folder, number);
    let corrupt = |fault: String| Error::Corrupt { path: path.clone(), offset: 0, fault };
    let mut head = [0; HEADER_LEN];
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let got = read_up_to(&file, &mut head, 0).map_err(Error::io("read", &path))?;
    let header = SegmentHeader::decode(head.get(..got).unwrap_or_default()).map_err(corrupt)?;
    if header.number != number {
        return Err(corrupt(format!("it is segment {}, not {number}", header.number)));
    }
    Ok(header)
}

/// Where segment `number` lives.
pub(crate) fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.seg"))
}

/// The numbers of the segments in a folder, in order.
pub(crate) fn segments(folder: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let name = entry.map_err(Error::io("list", folder))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_suffix(".seg")).and_then(|stem| stem.parse().ok());
        numbers.extend(number.filter(|number| segment_path(folder, *number).file_name() == Some(&name)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
