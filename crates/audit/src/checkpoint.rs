//! Checkpoints: what the tree was at a size, signed. C2SP tlog-checkpoint, one extension line. And the file they stand in.
//!
//! ```text
//! portcullis/3f0c…                             origin: the name of the key
//! 20852163                                     events
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I= root
//! previous sFodV/vSp5O8n9a8QpW6PRY97tfOSW5b…=  SHA-256 of the signed note before this one; not in the first
//!
//! — portcullis/3f0c… Az3grlgtzPICa5OS8npVmf1M…
//! ```

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use crate::{
    Error,
    note::{NoteFault, SigningKey, VerifierKey, is_signature},
    tree::Hash,
};

/// The longest signed note read, in bytes. Ours have some 300; a kept one may carry cosignatures.
pub const MAX_NOTE: usize = 16 * 1024;
const PREVIOUS: &str = "previous ";

/// A tree head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose tree it is.
    pub origin: String,
    /// How many events it covers: those with sequences below this.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// The hash of the signed note before; `None` in the first.
    pub previous: Option<Hash>,
}

impl Checkpoint {
    fn text(&self) -> String {
        let Self { origin, size, root, .. } = self;
        let previous = self.previous.map(|hash| format!("{PREVIOUS}{hash}\n")).unwrap_or_default();
        format!("{origin}\n{size}\n{root}\n{previous}")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let origin = lines.next().filter(|line| !line.is_empty())?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let root = Hash::from_base64(lines.next()?)?;
        let previous = match lines.next() {
            Some(line) => Some(Hash::from_base64(line.strip_prefix(PREVIOUS)?)?),
            None => None,
        };
        let this = Self { origin, size, root, previous };
        // One way of writing it: no leading zeros or signs, no other lines.
        (this.text() == text).then_some(this)
    }
}

/// A checkpoint whose signature was checked, or just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: String,
}

impl SignedCheckpoint {
    /// Signs.
    pub(crate) fn sign(size: u64, root: Hash, previous: Option<&Self>, key: &SigningKey) -> Self {
        let origin = key.verifier().name().to_owned();
        let previous = previous.map(Self::hash);
        let checkpoint = Checkpoint { origin, size, root, previous };
        let note = key.sign(&checkpoint.text());
        Self { checkpoint, note }
    }

    /// Reads a note that `key` must have signed, for the origin of its own name. Cosignatures of others may stand beside.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, NoteFault> {
        let checkpoint = Checkpoint::parse(key.open(note)?).ok_or(NoteFault::Form)?;
        if checkpoint.origin != key.name() {
            return Err(NoteFault::OtherKey);
        }
        Ok(Self { checkpoint, note: note.to_owned() })
    }

    /// Reads the notes of a file that was kept elsewhere, one or several.
    pub fn open_all(text: &str, key: &VerifierKey) -> Result<Vec<Self>, NoteFault> {
        let mut found = Vec::new();
        let mut start = 0;
        let mut at = 0;
        let mut lines = text.split_inclusive('\n').peekable();
        while let Some(line) = lines.next() {
            at += line.len();
            let ends = is_signature(line.as_bytes())
                && lines.peek().is_none_or(|next| !is_signature(next.as_bytes()));
            if ends {
                found
                    .push(Self::open(text.get(start..at).unwrap_or_default().trim_start_matches('\n'), key)?);
                start = at;
            }
        }
        let rest = text.get(start..).unwrap_or_default();
        if found.is_empty() || !rest.trim().is_empty() { Err(NoteFault::Form) } else { Ok(found) }
    }

    /// What it says.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// How many events it covers.
    pub const fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// The signed note.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The hash by which the next one names it.
    pub fn hash(&self) -> Hash {
        Hash::of(self.note.as_bytes())
    }
}

/// One note of the file of checkpoints, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawNote {
    /// Where it starts.
    pub(crate) offset: u64,
    pub(crate) text: String,
}

/// Reads the file of checkpoints from the front, up to a length.
pub(crate) struct NoteReader {
    file: BufReader<io::Take<File>>,
    offset: u64,
}

/// What the reader found.
pub(crate) enum Found {
    Note(RawNote),
    /// Bytes that are no note stand here.
    Garbage {
        offset: u64,
    },
    /// The file ends inside a note that starts here.
    Torn {
        offset: u64,
    },
    End,
}

impl NoteReader {
    pub(crate) fn open(path: &Path, len: u64) -> Result<Self, Error> {
        Self::open_at(path, 0, len)
    }

    fn open_at(path: &Path, offset: u64, len: u64) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        file.seek(SeekFrom::Start(offset)).map_err(Error::io("read", path))?;
        Ok(Self { file: BufReader::with_capacity(64 * 1024, file.take(len.saturating_sub(offset))), offset })
    }

    pub(crate) fn next(&mut self) -> io::Result<Found> {
        let (mut bytes, offset) = (Vec::new(), self.offset);
        loop {
            let start = bytes.len();
            let got = (&mut self.file).take(MAX_NOTE as u64).read_until(b'\n', &mut bytes)?;
            self.offset += got as u64;
            if got == 0 {
                return Ok(if bytes.is_empty() { Found::End } else { Found::Torn { offset } });
            }
            let line = bytes.get(start..).unwrap_or_default();
            let whole = line.ends_with(b"\n");
            if whole && is_signature(line) {
                return Ok(match String::from_utf8(bytes) {
                    Ok(text) => Found::Note(RawNote { offset, text }),
                    Err(_) => Found::Garbage { offset },
                });
            }
            if bytes.len() > MAX_NOTE {
                return Ok(Found::Garbage { offset });
            }
            if !whole {
                return Ok(Found::Torn { offset });
            }
        }
    }
}

/// The last whole note of the file, and where it ends; `None` where there is no whole one. The front is not read.
pub(crate) fn last_note(path: &Path) -> Result<Option<(RawNote, u64)>, Error> {
    let len = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("look at", path)(error)),
    };
    // From inside some note on, or from the start: the first found may be half a note and is then not the last.
    for back in [4 * MAX_NOTE as u64, u64::MAX] {
        let mut reader = NoteReader::open_at(path, len.saturating_sub(back), len)?;
        let (mut last, mut count) = (None, 0);
        loop {
            match reader.next().map_err(Error::io("read", path))? {
                Found::Note(note) => {
                    count += 1;
                    last = Some((note, reader.offset));
                }
                Found::Garbage { .. } => {}
                Found::Torn { .. } | Found::End => break,
            }
        }
        if back >= len || count > 1 {
            return Ok(last);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_written_in_one_way_and_reads_back() {
        let key = SigningKey::generate("portcullis/test").unwrap();
        let first = SignedCheckpoint::sign(0, Hash::of(b""), None, &key);
        let second = SignedCheckpoint::sign(7, Hash::of(b"x"), Some(&first), &key);
        assert!(
            first
                .note()
                .starts_with("portcullis/test\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} ")
        );
        for one in [&first, &second] {
            assert_eq!(SignedCheckpoint::open(one.note(), key.verifier()).as_ref(), Ok(one));
        }
        assert_eq!(second.checkpoint().previous, Some(first.hash()));
        for bad in ["portcullis/test\n07\n", "portcullis/test\n+7\n", "portcullis/test\n7\n"] {
            let text = format!("{bad}{}\nother line\n", Hash::of(b""));
            assert_eq!(
                SignedCheckpoint::open(&key.sign(&text), key.verifier()),
                Err(NoteFault::Form),
                "{bad}"
            );
        }
        let text = format!("portcullis/other\n7\n{}\n", Hash::of(b""));
        assert_eq!(SignedCheckpoint::open(&key.sign(&text), key.verifier()), Err(NoteFault::OtherKey));
        let both = format!("{}\n{}", first.note(), second.note());
        assert_eq!(SignedCheckpoint::open_all(&both, key.verifier()), Ok(vec![first, second]));
        assert_eq!(SignedCheckpoint::open_all("", key.verifier()), Err(NoteFault::Form));
    }

    #[test]
    fn the_last_whole_note_is_found_however_the_file_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints");
        let key = SigningKey::generate("portcullis/test").unwrap();
        assert_eq!(last_note(&path).unwrap(), None);
        let (mut bytes, mut last) = (Vec::new(), None::<SignedCheckpoint>);
        for size in 0..600 {
            let next = SignedCheckpoint::sign(size, Hash::of(b"x"), last.as_ref(), &key);
            bytes.extend_from_slice(next.note().as_bytes());
            last = Some(next);
        }
        let note = last.unwrap().note().to_owned();
        for torn in 0..note.len() {
            let mut bytes = bytes.clone();
            bytes.extend_from_slice(&note.as_bytes()[..torn]);
            std::fs::write(&path, &bytes).unwrap();
            let (found, end) = last_note(&path).unwrap().unwrap();
            assert_eq!((found.text.as_str(), end), (note.as_str(), (bytes.len() - torn) as u64), "{torn}");
        }
    }
}
