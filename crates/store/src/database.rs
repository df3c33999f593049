//! The file and its connections: one that writes, a few that read.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portcullis_core::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::{Error, index::Known, migrations, query};

/// "PCST": what `file(1)` and we know the database by.
const APPLICATION_ID: i32 = 0x5043_5354;
const READERS: usize = 3;
/// Another process may hold the write lock for as long as a transaction of ours takes: milliseconds.
const BUSY: Duration = Duration::from_secs(10);
const STATEMENTS: usize = 64;

/// The store. Shared: every call takes `&self` and blocks.
pub struct Store {
    path: PathBuf,
    writer: Mutex<Writer>,
    readers: Vec<Mutex<Connection>>,
    next_reader: AtomicUsize,
}

pub(crate) struct Writer {
    connection: Connection,
    /// Row ids the indexer need not look up again.
    pub(crate) known: Known,
}

/// How sure a write must be when the call returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On the disk.
    Now,
    /// With the next checkpoint; a power failure takes it back, as a whole.
    Soon,
}

impl Store {
    /// Opens the database at `path`, or makes it where nothing is; applies migrations, noting `now`. Blocks.
    pub fn open(path: impl Into<PathBuf>, now: Timestamp) -> Result<Self, Error> {
        let path = path.into();
        let connection = match path.try_exists() {
            Ok(true) => open_existing(&path, now)?,
            Ok(false) => make(&path, now)?,
            Err(source) => return Err(Error::Io { what: "look at", path, source }),
        };
        let readers = (0..READERS).map(|_| open_reader(&path).map(Mutex::new)).collect::<Result<_, _>>()?;
        let writer = Mutex::new(Writer { connection, known: Known::default() });
        Ok(Self { path, writer, readers, next_reader: AtomicUsize::new(0) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` in one transaction: all of it is stored, or nothing.
    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>, &mut Known) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let mut writer = self.writer.lock().map_err(|_| Error::Stopped)?;
        let Writer { connection, known } = &mut *writer;
        let result = transact(connection, durability, |transaction| work(transaction, known));
        if result.is_err() {
            // Row ids of a transaction that is no more.
            *known = Known::default();
        }
        result.map_err(Error::of(&self.path))
    }

    /// Runs `work` on a reading connection.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        work(&*self.reader()?).map_err(Error::of(&self.path))
    }

    /// A free reader, or the next one in turn.
    fn reader(&self) -> Result<MutexGuard<'_, Connection>, Error> {
        if let Some(free) = self.readers.iter().find_map(|reader| reader.try_lock().ok()) {
            return Ok(free);
        }
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % READERS;
        // A reader that panicked has changed nothing.
        let reader = self.readers.get(turn).ok_or(Error::Stopped)?;
        Ok(reader.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn transact<T>(
    connection: &mut Connection,
    durability: Durability,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    if durability == Durability::Soon {
        return commit(connection, work);
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    let result = commit(connection, work);
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    result
}

fn commit<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

fn open_existing(path: &Path, now: Timestamp) -> Result<Connection, Error> {
    let io = |what| move |source| Error::Io { what, path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(io("look at"))?;
    if metadata.len() == 0 {
        // SQLite would take an empty file for a new database.
        return Err(Error::Corrupt { path: path.to_owned(), detail: "it is empty".to_owned() });
    }
    if metadata.permissions().mode() & 0o777 != 0o600 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .map_err(io("narrow the permissions of"))?;
    }
    let mut connection = open_writer(path)?;
    let application: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(Error::of(path))?;
    if application != APPLICATION_ID {
        let detail = "it is a database of another program".to_owned();
        return Err(Error::Corrupt { path: path.to_owned(), detail });
    }
    migrations::apply(&mut connection, path, now)?;
    Ok(connection)
}

/// Makes the database beside its place and moves it there when it is whole: what stands at `path` is never half made.
fn make(path: &Path, now: Timestamp) -> Result<Connection, Error> {
    let new = path.with_extension("new");
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io("make", folder))?;
    }
    for suffix in ["", "-wal", "-shm"] {
        let left = PathBuf::from(format!("{}{suffix}", new.display()));
        match fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("remove", &left)(error)),
            _ => {}
        }
    }
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(io("make", &new))?;
    {
        let mut connection = open_writer(&new)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(Error::of(&new))?;
        migrations::apply(&mut connection, &new, now)?;
        connection.close().map_err(|(_, error)| Error::of(&new)(error))?;
    }
    file.sync_all().map_err(io("sync", &new))?;
    fs::rename(&new, path).map_err(io("rename", &new))?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))?;
    }
    tracing::info!(store = %path.display(), "made a new store");
    open_writer(path)
}

fn open_writer(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(Error::of(path))?;
    prepare(&connection).map_err(Error::of(path))?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

fn open_reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(Error::of(path))?;
    connection.busy_timeout(BUSY).map_err(Error::of(path))?;
    query::runs::teach(&connection).map_err(Error::of(path))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}
