//! The sealer: one thread that compresses, hashes, syncs and announces finished segments, so that the writer waits for none
//! of it.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use portcullis_core::SessionId;

use crate::{
    Error, Sealed, codec,
    format::{
        FRAME_HEAD, Index, OPEN_HEADER, OpenHeader, SEALED_HEADER, SealedHeader, TRAILER, frame, trailer,
    },
    place, reader,
    recorder::Session,
    recordings::{JobQueue, Shared},
    recover,
};

/// How hard zstd tries: what it calls its default. Rows of text shrink to a fifth or less.
const LEVEL: i32 = 3;

/// What the sealer has to do.
pub(crate) enum Job {
    /// Seal one segment.
    Seal { session: Arc<Session>, number: u32 },
    /// Seal what sessions left that could not be recorded any more.
    Recover,
    /// Nothing comes after this.
    Stop,
}

#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) queue: JobQueue,
    pub(crate) busy: bool,
    pub(crate) stopped: bool,
    /// Sealed, but the journal did not take it; with the open segment that stays until it does.
    unannounced: Vec<(Sealed, PathBuf)>,
}

/// Runs until told to stop.
pub(crate) fn run(shared: &Arc<Shared>) {
    let _ended = Ended(shared);
    loop {
        let job = {
            let mut jobs = shared.jobs();
            jobs.busy = false;
            shared.jobs_changed.notify_all();
            loop {
                if let Some(job) = jobs.queue.pop_front() {
                    jobs.busy = true;
                    break job;
                }
                jobs = shared.jobs_changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            }
        };
        announce_again(shared);
        let done = match job {
            Job::Stop => return,
            Job::Recover => recover(shared),
            Job::Seal { session, number } => seal(shared, &session, number),
        };
        if let Err(error) = done {
            shared.fail(&error);
        }
    }
}

fn seal(shared: &Shared, session: &Session, number: u32) -> Result<(), Error> {
    let mut chain = session.chain.lock().unwrap_or_else(PoisonError::into_inner);
    let known = chain.filter(|(sealed, _)| *sealed + 1 == number).map(|(_, sha256)| sha256);
    let previous = match known {
        Some(sha256) => sha256,
        None => recover::previous(shared, session.id, number)?,
    };
    let path = place::open_segment(&shared.config.dir, session.id, number);
    let open = match OpenSegment::read(&path) {
        // Recovery came before.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        open => open?,
    };
    let Some(open) = open else { return Ok(()) };
    let sha256 = put(shared, &open, path, previous, open.damaged)?;
    *chain = Some((number, sha256));
    Ok(())
}

/// Seals every open segment of sessions that are not live.
pub(crate) fn recover(shared: &Shared) -> Result<(), Error> {
    let mut left = recover::left_open(shared)?;
    left.retain(|(session, _)| !shared.queue().live.contains_key(session));
    // Files that were cut short as they were made say nothing of what came after others.
    let mut whole = Vec::with_capacity(left.len());
    for (session, number) in left {
        let path = place::open_segment(&shared.config.dir, session, number);
        match OpenSegment::read(&path)? {
            Some(open) if open.index.events > 0 || number > 1 => whole.push((session, number)),
            _ => recover::discard(shared, &path)?,
        }
    }
    let left = whole;
    for (place, (session, number)) in left.iter().enumerate() {
        let is_last = left.get(place + 1).is_none_or(|(next, _)| next != session);
        match recover_one(shared, *session, *number, is_last) {
            // For a person to look at; what others recorded has nothing to do with it.
            Err(error @ Error::Broken { .. }) => {
                tracing::error!(%session, segment = number, %error, "a recording is left as it is");
            }
            done => done?,
        }
    }
    Ok(())
}

fn recover_one(shared: &Shared, session: SessionId, number: u32, is_last: bool) -> Result<(), Error> {
    let path = place::open_segment(&shared.config.dir, session, number);
    let sealed = place::segment(&place::folder(&shared.config.dir, session), number);
    if sealed.exists() {
        return announce_sealed(shared, (session, number), &sealed, path);
    }
    let Some(open) = OpenSegment::read(&path)? else {
        return recover::discard(shared, &path);
    };
    let torn = open.damaged || (is_last && !open.ended);
    if torn {
        tracing::warn!(%session, segment = number, events = open.index.events, "a recording was cut short and is sealed as it is");
    }
    let previous = recover::previous(shared, session, number)?;
    put(shared, &open, path, previous, torn).map(|_| ())
}

/// A segment that was sealed before the gateway died; whether the journal knows is not known. It is told only of one that holds
/// what the open segment does.
fn announce_sealed(
    shared: &Shared,
    (session, number): (SessionId, u32),
    sealed: &Path,
    open: PathBuf,
) -> Result<(), Error> {
    let bytes = std::fs::read(sealed).map_err(Error::io("read", sealed))?;
    let (header, packed) = reader::checked(sealed, &bytes, session, number)?;
    let events = reader::unpack(sealed, &header, packed)?;
    let before = OpenSegment::read(&open)?.map(|open| open.events).unwrap_or_default();
    if !before.is_empty() && before != events {
        return Err(Error::broken(sealed, "it does not hold what was recorded"));
    }
    announce(shared, of_file(shared, &header, &bytes), open);
    Ok(())
}

/// Writes the sealed segment and announces it; its hash.
fn put(
    shared: &Shared,
    open: &OpenSegment,
    path: PathBuf,
    previous: [u8; 32],
    torn: bool,
) -> Result<[u8; 32], Error> {
    let packed = zstd::bulk::compress(&open.events, LEVEL).map_err(Error::io("compress", &path))?;
    let header = SealedHeader {
        session: open.header.session,
        number: open.header.number,
        last: open.ended || torn,
        torn,
        previous,
        first_event: open.header.first_event,
        index: open.index,
        raw: open.events.len() as u64,
        packed: packed.len() as u64,
    };
    let mut bytes = Vec::with_capacity(SEALED_HEADER + packed.len() + TRAILER);
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(&packed);
    bytes.extend_from_slice(&trailer(&packed));
    let folder = place::folder(&shared.config.dir, header.session);
    shared.storage.folder(&folder).map_err(Error::io("make", &folder))?;
    let file = place::segment(&folder, header.number);
    shared.storage.seal(&file, &bytes).map_err(Error::io("write", &file))?;
    let sealed = of_file(shared, &header, &bytes);
    let sha256 = sealed.sha256;
    announce(shared, sealed, path);
    Ok(sha256)
}

fn of_file(shared: &Shared, header: &SealedHeader, bytes: &[u8]) -> Sealed {
    Sealed {
        at: shared.clock.now(),
        session: header.session,
        number: header.number,
        sha256: sha256(bytes),
        previous: header.previous,
        bytes: bytes.len() as u64,
        first_event: header.first_event,
        index: header.index,
        last: header.last,
        torn: header.torn,
    }
}

/// SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

/// Tells the journal. The open segment goes when it knows, so that a crash in between is made good at the next start.
fn announce(shared: &Shared, sealed: Sealed, open: PathBuf) {
    match (shared.announce)(&sealed) {
        Ok(()) => {
            if let Err(error) = shared.storage.remove(&open) {
                tracing::warn!(%error, file = %open.display(), "cannot remove");
            }
        }
        Err(error) => {
            tracing::error!(%error, session = %sealed.session, segment = sealed.number, "a sealed segment could not be journalled yet");
            shared.jobs().unannounced.push((sealed, open));
        }
    }
}

fn announce_again(shared: &Shared) {
    let waiting = mem::take(&mut shared.jobs().unannounced);
    for (sealed, open) in waiting {
        announce(shared, sealed, open);
    }
}

/// An open segment as read from its file, up to its last whole frame.
pub(crate) struct OpenSegment {
    pub(crate) header: OpenHeader,
    pub(crate) events: Vec<u8>,
    pub(crate) index: Index,
    /// Bytes after the last whole frame.
    damaged: bool,
    /// Its last event ends the session.
    ended: bool,
}

impl OpenSegment {
    /// `None` where there is no header.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        Ok(Self::parse(&bytes))
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = OpenHeader::decode(bytes).ok()?;
        let mut rest = bytes.get(OPEN_HEADER..)?;
        let mut events = Vec::with_capacity(rest.len());
        let (mut index, mut ended) = (Index::default(), false);
        while let Some(whole) = frame(rest) {
            let mut left = whole;
            while let Ok(Some((at, statement, length))) = codec::skim(left) {
                index.add(at, statement);
                ended = codec::is_end(left);
                left = left.get(length..).unwrap_or_default();
            }
            if !left.is_empty() {
                break;
            }
            events.extend_from_slice(whole);
            rest = rest.get(FRAME_HEAD + whole.len()..).unwrap_or_default();
        }
        let damaged = !rest.is_empty();
        if index.events == 0 {
            (index.first_at, index.last_at) = (header.created, header.created);
        }
        Some(Self { header, events, index, damaged, ended })
    }
}

/// Says that the thread is gone, however it went.
struct Ended<'a>(&'a Arc<Shared>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&Error::Stopped);
        }
        let mut jobs = self.0.jobs();
        jobs.stopped = true;
        jobs.busy = false;
        drop(jobs);
        self.0.jobs_changed.notify_all();
    }
}
