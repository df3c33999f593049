//! What lies in the folder: segments left open, the hash before a segment, recordings past their time.

use std::{fs, io, path::Path};

use portcullis_core::{SessionId, Timestamp};

use crate::{
    Error, Past,
    format::{OPEN_HEADER, OpenHeader, SEALED_HEADER, SealedHeader},
    place,
    recordings::Shared,
    sealer::sha256,
};

/// The open segments that are there, by session and number.
pub(crate) fn left_open(shared: &Shared) -> Result<Vec<(SessionId, u32)>, Error> {
    let folder = place::open_folder(&shared.config.dir);
    let names = names(&folder)?;
    let mut left: Vec<_> = names.iter().filter_map(|name| place::of_open_segment(name)).collect();
    left.sort_unstable();
    Ok(left)
}

/// SHA-256 of the segment before `number`; zeros where there is none.
pub(crate) fn previous(shared: &Shared, session: SessionId, number: u32) -> Result<[u8; 32], Error> {
    if number <= 1 {
        return Ok([0; 32]);
    }
    let path = place::segment(&place::folder(&shared.config.dir, session), number - 1);
    match fs::read(&path) {
        Ok(bytes) => Ok(sha256(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok([0; 32]),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// An open segment without one whole event. Where it was cut short as it was made, it goes; where its beginning was changed, it
/// stays for a person to look at.
pub(crate) fn discard(shared: &Shared, path: &Path) -> Result<(), Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    if bytes.len() < OPEN_HEADER || OpenHeader::decode(&bytes).is_ok() {
        tracing::warn!(file = %path.display(), bytes = bytes.len(), "an open segment without a whole event was removed");
        return shared.storage.remove(path).map_err(Error::io("remove", path));
    }
    tracing::error!(file = %path.display(), "an open segment cannot be read: it is left as it is");
    Ok(())
}

/// The names in a folder; none where there is no folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// The header of a sealed segment and how long its file is.
pub(crate) fn header(path: &Path) -> Result<(SealedHeader, u64), Error> {
    let mut file = fs::File::open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    let mut bytes = [0; SEALED_HEADER];
    io::Read::read_exact(&mut file, &mut bytes)
        .map_err(|_| Error::broken(path, "it is shorter than a header"))?;
    let header = SealedHeader::decode(&bytes).map_err(|fault| Error::broken(path, fault.to_string()))?;
    Ok((header, length))
}

/// See [`crate::Recordings::past`].
pub(crate) fn past(shared: &Shared, before: Timestamp) -> Result<Vec<Past>, Error> {
    let dir = &shared.config.dir;
    let last = place::day(before);
    let open = left_open(shared)?;
    let mut past = Vec::new();
    // A session does not end before the day it began.
    for day in names(dir)?.into_iter().filter(|name| is_day(name) && **name <= *last) {
        let folder = dir.join(&day);
        for name in names(&folder)? {
            let Ok(session) = name.parse::<SessionId>() else { continue };
            let is_open = shared.queue().live.contains_key(&session)
                || open.binary_search_by(|(other, _)| other.cmp(&session)).is_ok();
            if is_open {
                continue;
            }
            match weigh(&folder.join(&name), session) {
                Ok(found) if found.ended_at < before => past.push(found),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%session, %error, "a recording is not looked at for its retention")
                }
            }
        }
    }
    Ok(past)
}

/// See [`crate::Recordings::forget`].
pub(crate) fn forget(shared: &Shared, past: &[Past]) -> u64 {
    let mut gone = 0;
    for Past { session, .. } in past {
        let folder = place::folder(&shared.config.dir, *session);
        match fs::remove_dir_all(&folder) {
            Ok(()) => gone += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(%session, %error, "a recording past its time could not be deleted"),
        }
        if let Some(day) = folder.parent() {
            // Only where nothing is left in it.
            let _ = fs::remove_dir(day);
        }
    }
    gone
}

fn is_day(name: &str) -> bool {
    name.len() == 10 && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

fn weigh(folder: &Path, session: SessionId) -> Result<Past, Error> {
    let mut past = Past { session, ended_at: Timestamp::default(), segments: 0, bytes: 0 };
    for name in names(folder)?.iter().filter(|name| place::of_segment(name).is_some()) {
        let (header, length) = header(&folder.join(name))?;
        past.ended_at = past.ended_at.max(header.index.last_at);
        past.segments += 1;
        past.bytes += length;
    }
    Ok(past)
}
