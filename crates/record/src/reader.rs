//! Reading a recording back, sealed or still open. Needs the files only: no gateway, no journal.
//!
//! Opening checks the chain: every sealed segment carries the hash of the one before it, from the first on. That the *last*
//! one is what was sealed, and that none is missing at the end, only the journal can say: it holds the hash of each.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
};

use portcullis_core::{SessionId, Timestamp};

use crate::{
    Error, Recorded, codec,
    format::{
        FRAME_HEAD, MAX_RAW, OPEN_HEADER, OpenHeader, SEALED_HEADER, SealedHeader, TRAILER, frame, trailer,
    },
    place, recover,
    sealer::sha256,
};

/// A sealed segment that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// What its header says.
    pub header: SealedHeader,
    /// Its file.
    pub path: PathBuf,
    /// The file's length.
    pub bytes: u64,
    /// The file's SHA-256.
    pub sha256: [u8; 32],
}

/// How a recording stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A segment is open: the session is live, or its gateway died and has not been started again.
    Open,
    /// The session's end is in it.
    Whole,
    /// The gateway died under it, or the disk failed: what was recorded last may be missing.
    Torn,
    /// It has no end: segments at its end are missing.
    Unfinished,
}

impl State {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Whole => "whole",
            Self::Torn => "torn",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Where to begin to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// At the event with this number, or the first after it.
    Event(u64),
    /// At the first event not before this time.
    Time(Timestamp),
    /// At the statement of this decision, or the first after it.
    Statement(u64),
}

impl Seek {
    /// The beginning.
    pub const START: Self = Self::Event(0);
}

/// One session's recording.
#[derive(Clone, Debug)]
pub struct Recording {
    dir: PathBuf,
    session: SessionId,
    segments: Vec<SegmentFile>,
}

impl Recording {
    /// Finds the recording of a session in the folder of recordings, and checks its chain. Blocks: reads every sealed segment.
    ///
    /// # Errors
    /// There is none, a segment is missing in between, or one is not what it was when the next was sealed.
    pub fn open(dir: &Path, session: SessionId) -> Result<Self, Error> {
        let mut this = Self { dir: dir.to_owned(), session, segments: Vec::new() };
        this.refresh()?;
        if this.segments.is_empty() && !this.has_open_segment() {
            return Err(Error::NotFound(session));
        }
        Ok(this)
    }

    /// Takes in what was sealed since.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn refresh(&mut self) -> Result<(), Error> {
        let folder = place::folder(&self.dir, self.session);
        let mut numbers: Vec<u32> =
            recover::names(&folder)?.iter().filter_map(|name| place::of_segment(name)).collect();
        numbers.sort_unstable();
        for number in numbers.into_iter().skip(self.segments.len()) {
            let expected = u32::try_from(self.segments.len()).unwrap_or(u32::MAX) + 1;
            let path = place::segment(&folder, expected);
            if number != expected {
                return Err(Error::Missing { number: expected, path });
            }
            let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
            let header = checked(&path, &bytes, self.session, number)?.0;
            self.follows(&path, &header)?;
            let sha256 = sha256(&bytes);
            self.segments.push(SegmentFile { header, path, bytes: bytes.len() as u64, sha256 });
        }
        Ok(())
    }

    /// Whether a segment with this header comes after those that are known.
    fn follows(&self, path: &Path, header: &SealedHeader) -> Result<(), Error> {
        let Some(before) = self.segments.last() else {
            let first = header.previous == [0; 32] && header.first_event == 0;
            return if first { Ok(()) } else { Err(Error::broken(path, "it is not the first segment")) };
        };
        if header.previous != before.sha256 {
            let fault = format!("it is not what segment {} follows", header.number);
            return Err(Error::broken(&before.path, fault));
        }
        if header.first_event != before.header.first_event + before.header.index.events {
            return Err(Error::broken(path, "its events do not follow those before"));
        }
        Ok(())
    }

    /// The sealed segments.
    pub fn segments(&self) -> &[SegmentFile] {
        &self.segments
    }

    /// The session.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// How it stands.
    pub fn state(&self) -> State {
        match self.segments.last() {
            Some(last) if last.header.torn => State::Torn,
            Some(last) if last.header.last => State::Whole,
            _ if self.has_open_segment() => State::Open,
            _ => State::Unfinished,
        }
    }

    fn has_open_segment(&self) -> bool {
        let next = u32::try_from(self.segments.len()).unwrap_or(u32::MAX).saturating_add(1);
        place::open_segment(&self.dir, self.session, next).exists()
    }

    /// The events from a place on. Segments before it are not unpacked.
    pub fn events(&self, from: Seek) -> Events {
        let is_before = |segment: &&SegmentFile| {
            let SealedHeader { first_event, index, .. } = segment.header;
            match from {
                Seek::Event(number) => first_event + index.events <= number,
                Seek::Time(at) => index.last_at < at,
                Seek::Statement(number) => index.last_statement < number,
            }
        };
        let before = self.segments.iter().take_while(is_before).count();
        let last = before.checked_sub(1).and_then(|place| self.segments.get(place));
        Events {
            dir: self.dir.clone(),
            session: self.session,
            number: u32::try_from(before).unwrap_or(u32::MAX) + 1,
            previous: Some(last.map_or([0; 32], |segment| segment.sha256)),
            events: Vec::new(),
            at: 0,
            next: last.map_or(0, |segment| segment.header.first_event + segment.header.index.events),
            told: 0,
            open_end: 0,
            seek: Some(from),
            ended: last.is_some_and(|segment| segment.header.last),
        }
    }
}

/// The events of a recording. After `None` there may be more while the recording is [`State::Open`]: ask again. After an error
/// there is nothing more.
#[derive(Debug)]
pub struct Events {
    dir: PathBuf,
    session: SessionId,
    /// The segment to be read next, or further.
    number: u32,
    /// The hash of the one before it; `None` where that was not sealed yet when it was read.
    previous: Option<[u8; 32]>,
    /// Events that were unpacked, and how far they were told.
    events: Vec<u8>,
    at: usize,
    /// The number of the event at `at`.
    next: u64,
    /// Every event before this number was told or passed over.
    told: u64,
    /// How far the open segment was read, in bytes of its file.
    open_end: u64,
    seek: Option<Seek>,
    ended: bool,
}

impl Iterator for Events {
    type Item = Result<Recorded, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => match self.load() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => return Some(Err(self.stop(error))),
                },
                Err(error) => return Some(Err(self.stop(error))),
            }
        }
    }
}

impl Events {
    fn stop(&mut self, error: Error) -> Error {
        self.ended = true;
        self.events = Vec::new();
        self.at = 0;
        error
    }

    /// Whether the end of the session was reached: then there is no more.
    pub const fn has_ended(&self) -> bool {
        self.ended && self.at >= self.events.len()
    }

    /// The next event of what is unpacked.
    fn step(&mut self) -> Result<Option<Recorded>, Error> {
        loop {
            let rest = self.events.get(self.at..).unwrap_or_default();
            let malformed = |error: codec::Malformed| {
                Error::broken(
                    place::segment(&place::folder(&self.dir, self.session), self.number),
                    error.to_string(),
                )
            };
            let Some((at, statement, length)) = codec::skim(rest).map_err(malformed)? else {
                return Ok(None);
            };
            let number = self.next;
            if number < self.told || self.is_before_seek(number, at, statement) {
                self.pass(length);
                continue;
            }
            let decoded = codec::decode(rest).map_err(malformed)?;
            self.seek = None;
            self.pass(length);
            return Ok(decoded.map(|(at, item, _)| Recorded { number, at, item }));
        }
    }

    fn pass(&mut self, length: usize) {
        self.at += length;
        self.next += 1;
        self.told = self.told.max(self.next);
    }

    fn is_before_seek(&self, number: u64, at: Timestamp, statement: Option<u64>) -> bool {
        match self.seek {
            None => false,
            Some(Seek::Event(wanted)) => number < wanted,
            Some(Seek::Time(wanted)) => at < wanted,
            Some(Seek::Statement(wanted)) => {
                wanted > 0 && statement.is_none_or(|statement| statement < wanted)
            }
        }
    }

    /// Unpacks what comes next. Whether there was something.
    fn load(&mut self) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        let path = place::segment(&place::folder(&self.dir, self.session), self.number);
        match fs::read(&path) {
            Ok(bytes) => return self.load_sealed(&path, &bytes).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
        match self.load_open()? {
            Some(grown) => Ok(grown),
            // Sealed between the two looks, or there is none.
            None if path.exists() => self.load(),
            None => Ok(false),
        }
    }

    fn load_sealed(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let (header, packed) = checked(path, bytes, self.session, self.number)?;
        if self.previous.is_some_and(|previous| header.previous != previous) {
            return Err(Error::broken(path, "it does not follow the segment before it"));
        }
        self.events = unpack(path, &header, packed)?;
        self.at = 0;
        self.next = header.first_event;
        self.previous = Some(sha256(bytes));
        self.open_end = 0;
        self.number += 1;
        self.ended = header.last;
        Ok(())
    }

    /// Reads what an open segment has more than last time; `None` where there is no such file.
    fn load_open(&mut self) -> Result<Option<bool>, Error> {
        // Asked before reading: once the next one is there, nothing more is written to this one.
        let is_finished = place::open_segment(&self.dir, self.session, self.number + 1).exists();
        let path = place::open_segment(&self.dir, self.session, self.number);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let mut bytes = Vec::new();
        file.seek(io::SeekFrom::Start(self.open_end))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(Error::io("read", &path))?;
        let mut rest = &*bytes;
        if self.open_end == 0 {
            // Being made.
            let Ok(header) = OpenHeader::decode(&bytes) else { return Ok(Some(false)) };
            self.next = header.first_event;
            self.open_end = OPEN_HEADER as u64;
            rest = bytes.get(OPEN_HEADER..).unwrap_or_default();
        }
        self.events.clear();
        self.at = 0;
        while let Some(events) = frame(rest) {
            self.events.extend_from_slice(events);
            let length = FRAME_HEAD + events.len();
            self.open_end += length as u64;
            rest = rest.get(length..).unwrap_or_default();
        }
        if !self.events.is_empty() {
            return Ok(Some(true));
        }
        if is_finished {
            // Handed over and not sealed yet. Its hash is checked by whoever opens the recording once it is.
            self.number += 1;
            self.open_end = 0;
            self.previous = None;
            return self.load().map(Some);
        }
        Ok(Some(false))
    }
}

/// A sealed segment's header and packed bytes, checked as far as the file alone can be.
pub(crate) fn checked<'a>(
    path: &Path,
    bytes: &'a [u8],
    session: SessionId,
    number: u32,
) -> Result<(SealedHeader, &'a [u8]), Error> {
    let broken = |fault: &str| Error::broken(path, fault);
    let header = SealedHeader::decode(bytes).map_err(|fault| broken(&fault.to_string()))?;
    if header.session != session || header.number != number {
        return Err(broken("it is another segment"));
    }
    let body = bytes.get(SEALED_HEADER..).unwrap_or_default();
    let (packed, end) = usize::try_from(header.packed)
        .ok()
        .and_then(|length| body.split_at_checked(length))
        .ok_or_else(|| broken("it is cut short"))?;
    if end.len() != TRAILER || *end != trailer(packed) {
        return Err(broken("its content was changed"));
    }
    Ok((header, packed))
}

pub(crate) fn unpack(path: &Path, header: &SealedHeader, packed: &[u8]) -> Result<Vec<u8>, Error> {
    let broken = |fault: &str| Error::broken(path, fault);
    let length = usize::try_from(header.raw.min(MAX_RAW)).unwrap_or(0);
    let raw = zstd::bulk::decompress(packed, length).map_err(|_| broken("it cannot be unpacked"))?;
    if raw.len() != length {
        return Err(broken("it unpacks to another length"));
    }
    Ok(raw)
}
