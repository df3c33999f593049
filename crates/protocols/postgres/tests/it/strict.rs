//! `journal: { sync: strict }`: nothing is released before the disk has its event.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

use portcullis_audit::{
    Sync,
    storage::{Disk, SegmentFile, Storage},
};

use crate::{
    lab::{Lab, Setup},
    wire::Raw,
};

/// A disk that can be told to take its time over a sync.
#[derive(Clone, Default)]
struct Slow(Arc<(Mutex<Pace>, Condvar)>);

#[derive(Default)]
struct Pace {
    held: bool,
    waiting: u32,
}

struct SlowFile(Slow, Arc<dyn SegmentFile>);

impl Slow {
    fn hold(&self, held: bool) {
        self.0.0.lock().unwrap().held = held;
        self.0.1.notify_all();
    }

    fn waiting(&self) -> u32 {
        self.0.0.lock().unwrap().waiting
    }
}

impl SegmentFile for SlowFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.1.write_at(bytes, offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.1.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        let (pace, changed) = &*self.0.0;
        let mut pace = pace.lock().unwrap();
        pace.waiting += 1;
        while pace.held {
            pace = changed.wait(pace).unwrap();
        }
        pace.waiting -= 1;
        drop(pace);
        self.1.sync()
    }
}

impl Storage for Slow {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(SlowFile(self.clone(), Disk.create(path)?)))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(SlowFile(self.clone(), Disk.open(path)?)))
    }
    fn probe(&self, folder: &Path) -> io::Result<()> {
        Disk.probe(folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_text_behind_it_does_not_let_a_statement_past_the_disk() {
    let disk = Slow::default();
    let storage = Arc::new(disk.clone());
    let scope = "['read:public.*', 'write:public.*']";
    let lab = Lab::set_up(Setup { scope, storage, sync: Sync::Strict, ..Setup::default() }).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let superuser = lab.superuser().await;
    // Known, so that it is decided at once and waits for the disk; the one behind it must be parsed first.
    let held = "UPDATE orders SET note = 'held' WHERE id = 1";
    assert_eq!(raw.query(held).send(1).await, ["C:UPDATE 1", "Z:I"]);
    let (mark, decided) = (lab.server.log().len(), lab.decisions().len());
    disk.hold(true);
    // Short enough to arrive together.
    raw.query(held).query("SELECT 1 /* seen for the first time */");
    let looks_on = async {
        while lab.decisions().len() == decided || disk.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..50 {
            superuser.batch_execute("SELECT 1").await.unwrap();
        }
        assert!(!lab.server.log_since(mark).contains("held"), "it was sent before the disk had its event");
        disk.hold(false);
    };
    let (said, ()) = tokio::join!(raw.send(2), looks_on);
    assert_eq!(said, ["C:UPDATE 1", "Z:I", "T", "D:1", "C:SELECT 1", "Z:I"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_session_waits_for_the_disk_before_the_server_hears_anything() {
    for scope in ["'*:*'", "['read:public.*', 'write:public.*']"] {
        let disk = Slow::default();
        let storage = Arc::new(disk.clone());
        let lab = Lab::set_up(Setup { scope, storage, sync: Sync::Strict, ..Setup::default() }).await;
        let client = lab.client().await;
        let prepared = client.prepare("UPDATE orders SET note = 'held' WHERE id = $1").await.unwrap();
        let superuser = lab.superuser().await;
        for text in ["UPDATE orders SET note = 'held' WHERE id = 1", ""] {
            let (mark, decided) = (lab.server.log().len(), lab.decisions().len());
            disk.hold(true);
            let runs = async {
                match text {
                    "" => client.execute(&prepared, &[&1]).await.map(drop),
                    text => client.batch_execute(text).await,
                }
            };
            let looks_on = async {
                while lab.decisions().len() == decided || disk.waiting() == 0 {
                    tokio::task::yield_now().await;
                }
                // Were it on its way, it would be there by the time these have gone there and back.
                for _ in 0..50 {
                    superuser.batch_execute("SELECT 1").await.unwrap();
                }
                assert!(
                    !lab.server.log_since(mark).contains("held"),
                    "it was sent before the disk had its event"
                );
                disk.hold(false);
            };
            tokio::join!(runs, looks_on).0.unwrap();
            assert!(lab.server.log_since(mark).contains("held"));
        }
    }
}
