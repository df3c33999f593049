//! Power failures: what was not synced is gone from the end of the file, what was settled is there.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use portcullis_audit::{
    Journal, JournalConfig, Position, Sync,
    storage::{Disk, SegmentFile, Storage},
};
use proptest::prelude::*;

use crate::support::{TestClock, batch, config, decision, facts, texts};

/// The disk, remembering how much of each file a sync has confirmed.
#[derive(Clone, Default)]
struct Volatile {
    synced: Arc<Mutex<HashMap<PathBuf, u64>>>,
}

struct VolatileFile {
    path: PathBuf,
    file: Arc<dyn SegmentFile>,
    disk: Volatile,
}

impl SegmentFile for VolatileFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        let len = self.path.metadata()?.len();
        self.disk.synced.lock().unwrap().insert(self.path.clone(), len);
        Ok(())
    }
}

impl Volatile {
    fn file(&self, path: &Path, file: Arc<dyn SegmentFile>) -> Arc<dyn SegmentFile> {
        Arc::new(VolatileFile { path: path.to_owned(), file, disk: self.clone() })
    }

    /// Cuts every file to between what was synced and what was written.
    fn power_off(&self, synced: &HashMap<PathBuf, u64>, keep_percent: u64) {
        for (path, synced) in synced {
            let len = path.metadata().unwrap().len();
            let kept = synced + (len - synced) * keep_percent / 100;
            Disk.open(path).unwrap().truncate(kept).unwrap();
        }
    }
}

impl Storage for Volatile {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        self.synced.lock().unwrap().insert(path.to_owned(), 0);
        Ok(self.file(path, Disk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(self.file(path, Disk.open(path)?))
    }

    fn probe(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_settled_survives_a_power_failure(
        settle in prop::collection::vec(any::<bool>(), 1..40),
        keep_percent in 0_u64..=100,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Volatile::default();
        let settings = JournalConfig {
            segment_bytes: 4_000,
            group_interval: std::time::Duration::from_secs(3600),
            ..config(dir.path(), Sync::Strict)
        };
        let (journal, _) = Journal::open_on(settings.clone(), TestClock::new(), Arc::new(disk.clone())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut settled = 0;
        for (number, settle) in settle.iter().enumerate() {
            let event = decision(facts(1).session, number as u64, &number.to_string());
            let position = journal.append(None, &batch(&[event])).unwrap();
            if *settle {
                runtime.block_on(journal.settled(position)).unwrap();
                settled = number + 1;
            }
        }
        // What dropping the journal syncs does not count: the power went before.
        let synced = disk.synced.lock().unwrap().clone();
        drop(journal);
        disk.power_off(&synced, keep_percent);
        let (journal, _) = Journal::open(settings, TestClock::new()).unwrap();
        let found = texts(&journal.reader(Position::START).map(Result::unwrap).collect::<Vec<_>>());
        prop_assert!(found.len() >= settled, "{} of {settled}", found.len());
        let all: Vec<_> = (0..found.len()).map(|number| number.to_string()).collect();
        prop_assert_eq!(found, all);
    }
}
