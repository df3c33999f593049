//! A journal with its proof, and the hands of somebody who has the disk.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portcullis_audit::{
    Journal, JournalConfig, JournalSession, Notary, NotaryConfig, SignedCheckpoint, SigningKey, Sync,
    VerifierKey, notary,
    verify::{Report, Sources, What, verify},
};
use portcullis_core::{AuditEvent, SessionId, Timestamp};

use crate::support::{TestClock, batch, config, decision, facts};

/// A data directory and its key.
pub struct Signed {
    pub dir: tempfile::TempDir,
    pub key: String,
    pub verifier: VerifierKey,
    pub clock: Arc<TestClock>,
    pub session: SessionId,
}

/// A gateway's journal and notary.
pub struct Running {
    pub notary: Arc<Notary>,
    pub journal: Arc<Journal>,
}

impl Signed {
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::generate("portcullis/test").unwrap();
        notary::begin(&dir.path().join("journal"), &key).unwrap();
        let session = SessionId::generate(Timestamp::from_seconds(1_790_000_000));
        let (text, verifier) = (key.encode().expose().clone(), key.verifier().clone());
        Self { dir, key: text, verifier, clock: TestClock::new(), session }
    }

    /// A journal of some segments, closed in order: four runs of `events` events each.
    pub fn written(events: u64) -> Self {
        let this = Self::empty();
        for run in 0..4 {
            let running = this.start();
            for number in 0..events {
                running.write(&this, &format!("statement {run}.{number}"));
            }
            running.stop();
        }
        this
    }

    pub fn key(&self) -> SigningKey {
        SigningKey::decode(&portcullis_core::Secret::new(self.key.clone())).unwrap()
    }

    pub fn settings(&self) -> JournalConfig {
        JournalConfig { segment_bytes: 2_400, ..config(self.dir.path(), Sync::Fast) }
    }

    pub fn try_start(&self) -> Result<Running, portcullis_audit::Error> {
        let (journal, _) = Journal::open(self.settings(), self.clock.clone())?;
        let config = NotaryConfig { interval: Duration::from_millis(1), retry: Duration::from_millis(1) };
        let notary = Arc::new(Notary::open(Arc::clone(&journal), self.key(), config)?);
        Ok(Running { notary, journal })
    }

    pub fn start(&self) -> Running {
        self.try_start().unwrap()
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    pub fn segment(&self, number: u64) -> PathBuf {
        self.journal().join(format!("{number:010}.seg"))
    }

    pub fn proof(&self, file: &str) -> PathBuf {
        self.journal().join("proof").join(file)
    }

    pub fn sources(&self) -> Sources {
        Sources { journal: self.journal(), recordings: None, kept: Vec::new() }
    }

    pub fn verify(&self) -> Report {
        verify(&self.sources(), &self.verifier, &mut |_| {}).unwrap()
    }

    /// All is as it was signed.
    #[track_caller]
    pub fn assert_good(&self) -> Report {
        let report = self.verify();
        assert!(report.is_good(), "{report:#?}");
        report
    }

    /// The first finding is this one, at this event and in this file.
    #[track_caller]
    pub fn assert_found(&self, what: What, file: &Path, sequence: u64) -> Report {
        let report = self.verify();
        let first = report.findings.first().unwrap_or_else(|| panic!("nothing found: {report:#?}"));
        assert_eq!(
            (first.what, first.file.as_path(), first.sequence),
            (what, file, Some(sequence)),
            "{report:#?}"
        );
        report
    }

    pub fn checkpoints(&self) -> Vec<String> {
        let text = fs::read_to_string(self.proof("checkpoints")).unwrap();
        let mut notes: Vec<String> = Vec::new();
        let mut note = String::new();
        for line in text.split_inclusive('\n') {
            note.push_str(line);
            if line.starts_with('\u{2014}') {
                notes.push(std::mem::take(&mut note));
            }
        }
        notes
    }

    pub fn latest(&self) -> SignedCheckpoint {
        SignedCheckpoint::open(self.checkpoints().last().unwrap(), &self.verifier).unwrap()
    }

    /// The numbers of the segments.
    pub fn numbers(&self) -> Vec<u64> {
        let names = fs::read_dir(self.journal()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut numbers: Vec<u64> =
            names.filter_map(|name| name.to_str()?.strip_suffix(".seg")?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }
}

impl Running {
    pub fn write(&self, signed: &Signed, text: &str) {
        let session = JournalSession::new(facts(1));
        let _facts_are_not_needed_here = session;
        self.journal.append(None, &batch(&[decision(signed.session, 1, text)])).unwrap();
    }

    pub fn event(&self, event: &AuditEvent) {
        self.journal.append(None, &batch(std::slice::from_ref(event))).unwrap();
    }

    pub fn stop(self) {
        self.notary.finish().unwrap();
    }
}

/// A segment taken apart.
pub struct Opened {
    path: PathBuf,
    header: Vec<u8>,
    pub frames: Vec<(u64, Vec<u8>)>,
}

impl Opened {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let (header, mut rest) = bytes.split_at(96);
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            let sequence = u64::from_le_bytes(rest[8..16].try_into().unwrap());
            frames.push((sequence, rest[16..16 + length].to_vec()));
            rest = &rest[16 + length..];
        }
        Self { path: path.to_owned(), header: header.to_vec(), frames }
    }

    pub fn first(&self) -> u64 {
        self.frames[0].0
    }

    /// The byte where a frame starts.
    pub fn offset(&self, frame: usize) -> u64 {
        96 + self.frames[..frame].iter().map(|(_, payload)| 16 + payload.len() as u64).sum::<u64>()
    }

    /// Gives the frames sequences in a row from the first one's on.
    pub fn renumber(&mut self, first: u64) {
        for (sequence, frame) in (first..).zip(&mut self.frames) {
            frame.0 = sequence;
        }
    }

    /// Puts a number into the header at a byte, its checksum fixed.
    pub fn set_header(&mut self, at: usize, value: u64) {
        self.header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let crc = crc32fast::hash(&self.header[..92]);
        self.header[92..].copy_from_slice(&crc.to_le_bytes());
    }

    pub fn write(&self) {
        self.write_to(&self.path);
    }

    /// Writes it with all checksums right.
    pub fn write_to(&self, path: &Path) {
        let mut bytes = self.header.clone();
        for (sequence, payload) in &self.frames {
            let mut crc = crc32fast::Hasher::new();
            crc.update(payload);
            crc.update(&sequence.to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&crc.finalize().to_le_bytes());
            bytes.extend_from_slice(&sequence.to_le_bytes());
            bytes.extend_from_slice(payload);
        }
        fs::write(path, bytes).unwrap();
    }
}

/// Changes the statement of an event, keeping its length.
pub fn rewrite(payload: &mut Vec<u8>) {
    let text = String::from_utf8(payload.clone()).unwrap();
    *payload = text.replace("statement", "statemint").into_bytes();
}
