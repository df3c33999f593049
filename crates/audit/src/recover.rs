//! Opening what an earlier run left: frames are checked, a torn end is cut, anything else wrong stops the start.
//!
//! A closed segment that the proof has noted was read whole before: of it only header and length are looked at again. That
//! finds accidents of a file system; who reads everything, and finds intent, is [`crate::verify`].

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{
    Error, Position,
    format::{HEADER_LEN, SegmentHeader},
    proof::Span,
    reader::{self, Reader, Source, Torn, read_dir},
    storage::{self, Storage},
};

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Segments read.
    pub segments: u64,
    /// Whole events found.
    pub events: u64,
    /// The place after the last of them.
    pub end: Position,
    /// The torn end that was cut off, if there was one.
    pub cut: Option<Cut>,
}

impl Recovery {
    /// Bytes of torn events cut off; 0 where the end was whole.
    pub fn cut_bytes(&self) -> u64 {
        self.cut.as_ref().map_or(0, |cut| cut.bytes)
    }
}

/// A torn end: an event whose write the last run did not survive, and that was therefore never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// Where these bytes are kept.
    pub kept: PathBuf,
}

/// The last segment of an existing journal, ready for more; `None` where the next append starts a new one.
pub(crate) struct Existing {
    pub(crate) recovery: Recovery,
    pub(crate) last: Option<SegmentHeader>,
}

/// Checks every segment in `folder` and cuts a torn end.
pub(crate) fn recover(folder: &Path, storage: &dyn Storage) -> Result<Existing, Error> {
    let segments = reader::segments(folder)?;
    let start = known_start(folder, &segments)?;
    let mut reader = match start {
        Some(start) => Reader::new(folder.to_owned(), start, Source::Files),
        None => read_dir(folder),
    };
    let first = match (start, segments.first()) {
        (Some(_), Some(number)) => reader::read_header(folder, *number)?.first_sequence,
        _ => 0,
    };
    let (mut events, mut last) = (start.map_or(0, |start| start.sequence - first), None);
    loop {
        let more = reader.advance()?.is_some();
        if let Some(header) = reader.header() {
            last = Some(header.clone());
        }
        if !more {
            break;
        }
        events += 1;
    }
    let mut end = reader.reached();
    let cut = match reader.torn() {
        Some(torn) => Some(cut_off(folder, torn, storage)?),
        None => None,
    };
    if let Some(Torn { segment, offset: 0, path, .. }) = reader.torn() {
        // Not even a header: the run before died while making this segment, and nothing in it was acknowledged. It is made
        // anew, which needs to know the sequence it starts at.
        if last.is_none() && *segment != 1 {
            let fault = "the header is incomplete, and no segment before it is there".to_owned();
            return Err(Error::Corrupt { path: path.clone(), offset: 0, fault });
        }
        last = None;
        end = Position { segment: *segment, offset: 0, ..end };
    }
    Ok(Existing { recovery: Recovery { segments: segments.len() as u64, events, end, cut }, last })
}

/// The start of the first segment that must be read: those before it are closed and were read whole before, and header and
/// length are as they were then. `None` where the first one must be.
fn known_start(folder: &Path, segments: &[u64]) -> Result<Option<Position>, Error> {
    let spans: HashMap<u64, Span> =
        Span::read(folder)?.into_iter().flatten().map(|span| (span.segment, span)).collect();
    let mut start = None;
    let Some((_, closed)) = segments.split_last() else { return Ok(None) };
    for (number, next) in closed.iter().zip(segments.iter().skip(1)) {
        let Some(span) = spans.get(number) else { break };
        let path = reader::segment_path(folder, *number);
        let corrupt = |offset, fault: String| Error::Corrupt { path: path.clone(), offset, fault };
        let header = reader::read_header(folder, *number)?;
        let bytes = path.metadata().map_err(Error::io("look at", &path))?.len();
        if header.first_sequence != span.first || start.is_some_and(|at: Position| at.sequence != span.first)
        {
            return Err(corrupt(
                0,
                format!("it starts at event {}, not {}", header.first_sequence, span.first),
            ));
        }
        if bytes != span.bytes {
            return Err(corrupt(bytes.min(span.bytes), format!("it has {bytes} bytes, not {}", span.bytes)));
        }
        if *next != number + 1 {
            return Err(Error::Missing {
                segment: number + 1,
                path: reader::segment_path(folder, number + 1),
            });
        }
        start = Some(Position { sequence: span.end, segment: *next, offset: HEADER_LEN as u64 });
    }
    Ok(start)
}

fn cut_off(folder: &Path, torn: &Torn, storage: &dyn Storage) -> Result<Cut, Error> {
    let Torn { path, segment, offset, bytes } = torn;
    let mut content = vec![0; usize::try_from(*bytes).unwrap_or_default()];
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.read_exact_at(&mut content, *offset).map_err(Error::io("read", path))?;
    let kept = folder.join(format!("{segment:010}.{offset}.cut"));
    storage::write_private(&kept, &content).map_err(Error::io("write", &kept))?;
    let file = storage.open(path).map_err(Error::io("open", path))?;
    file.truncate(*offset).map_err(Error::io("cut", path))?;
    file.sync().map_err(Error::io("sync", path))?;
    tracing::warn!(
        file = %path.display(), offset, bytes, kept = %kept.display(),
        "the journal ended in an incomplete event, which was never acknowledged; it was cut off"
    );
    Ok(Cut { path: path.clone(), offset: *offset, bytes: *bytes, kept })
}
