//! The store on SQLite, through sqlx: one file in a folder, in write-ahead mode.
//!
//! ```text
//! commit -> write::Writing: BEGIN IMMEDIATE, inserts in few scripts | COMMIT   two steps for a small commit
//! read   -> read::SqliteReader, a connection each
//! ```
//!
//! What the sync modes are here: `always`, `synchronous = FULL`, the log of the database is synced before COMMIT returns;
//! `interval`, `NORMAL`, and [`Store::sync`] syncs that log; `never`, `OFF`, nothing is ever synced.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connection::{Connection, Use};

use super::folder::Folder;
use super::sql::{Reader, Script, Session as _, Writer, look_for_damage};
use super::{Commit, Store, StoreError, StoreReader, SyncMode};

mod connection;

/// The file's name in the folder.
const NAME: &str = "fennec.db";
/// Fewer unused pages are kept for what comes, and up to a quarter of the file.
const FREE_PAGES_MIN: u64 = 4000;
/// `fnnc`: marks the file as one of ours.
const APPLICATION_ID: u64 = 0x666e_6e63;
/// The version of `schema/`.
const VERSION: u64 = 1;

/// Where it is.
#[derive(Debug)]
struct Files {
    database: PathBuf,
    /// As long as anybody uses the database, the folder is ours; `None`: it is only looked at.
    _folder: Option<Arc<Folder>>,
}

impl Files {
    /// A file that belongs to the database.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.database.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    }

    /// What the database takes on disk. What cannot be seen counts for nothing.
    fn disk_bytes(&self) -> u64 {
        let sizes = ["", "-wal", "-shm"].map(|suffix| fs::metadata(self.beside(suffix)).map_or(0, |file| file.len()));
        sizes.iter().sum()
    }
}

/// The writing side.
pub struct SqliteStore {
    /// `None` while it is being opened again, and when that failed.
    writer: Option<Writer<Connection>>,
    /// See [`Writer::new`].
    topic_ids: u64,
    files: Arc<Files>,
    sync: SyncMode,
    /// The log of the database, to sync it. It stays the same file as long as the connection is open.
    wal: File,
    /// Whether there may be something to sync.
    unsynced: bool,
}

impl SqliteStore {
    /// Opens the database in a folder, or makes it. Sets a damaged one aside unless `strict`, and returns where it is then.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open(folder: &Path, sync: SyncMode, strict: bool) -> Result<(Self, Option<PathBuf>), StoreError> {
        let folder = Arc::new(Folder::take(folder)?);
        let files = Arc::new(Files { database: folder.path().join(NAME), _folder: Some(folder.clone()) });
        match Self::open_files(&files, sync, 0) {
            Err(StoreError::Damaged(why)) if !strict => {
                let aside = set_aside(&folder, &why)?;
                let opened = Self::open_files(&files, sync, 0)?;
                folder.sync()?;
                Ok((opened, Some(aside)))
            }
            Err(StoreError::Damaged(why)) => Err(StoreError::Damaged(format!("{}: {why}", files.database.display()))),
            opened => {
                let opened = opened?;
                folder.sync()?;
                Ok((opened, None))
            }
        }
    }

    /// Sets aside the database in a folder that nobody uses. Returns where it is then.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn set_aside(folder: &Path, why: &str) -> Result<PathBuf, StoreError> {
        set_aside(&Folder::take(folder)?, why)
    }

    fn open_files(files: &Arc<Files>, sync: SyncMode, topic_ids: u64) -> Result<Self, StoreError> {
        let mut connection = Connection::open(files, Use::Write(sync))?;
        migrate(&mut connection, &files.database)?;
        look_at_tables(&mut connection)?;
        connection.execute(include_str!("../schema/sqlite-put.sql"))?;
        let writer = Writer::new(connection, topic_ids)?;
        let wal = File::open(files.beside("-wal"));
        let wal = wal.map_err(|error| StoreError::Unavailable(format!("the log of the database: {error}")))?;
        Ok(Self { writer: Some(writer), topic_ids, files: files.clone(), sync, wal, unsynced: false })
    }

    fn writer(&mut self) -> Result<&mut Writer<Connection>, StoreError> {
        let closed = || StoreError::Unavailable("the database has to be opened again".to_owned());
        self.writer.as_mut().filter(|writer| !writer.has_failed()).ok_or_else(closed)
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let result = self.writer()?.commit(commit);
        self.unsynced |= result.is_ok();
        result
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.writer()?.get(key)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(Reader::new(Connection::open(&self.files, Use::Read)?)))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.sync == SyncMode::Interval && std::mem::take(&mut self.unsynced) {
            // Not known to be on disk, and nothing tells what became of it: a second try could say that it is.
            self.wal.sync_data().map_err(|error| StoreError::Unknown(format!("cannot sync: {error}")))?;
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<bool, StoreError> {
        let connection = &mut self.writer()?.session;
        let free = connection.number("PRAGMA freelist_count")?;
        if free < FREE_PAGES_MIN || free < connection.number("PRAGMA page_count")? / 4 {
            return Ok(false);
        }
        connection.execute("PRAGMA incremental_vacuum(1000)")?;
        Ok(true)
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        let connection = &mut self.writer()?.session;
        connection.execute("VACUUM")?;
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        if let Some(before) = self.writer.take() {
            self.topic_ids = before.topic_ids();
        }
        let mut opened = Self::open_files(&self.files, self.sync, self.topic_ids)?;
        // What was written when a sync failed may be in memory only: this writes it once more, to the file, and syncs that.
        opened.writer()?.session.execute("PRAGMA wal_checkpoint(TRUNCATE)")?;
        *self = opened;
        Ok(())
    }
}

/// See [`super::inspect`].
pub(super) fn inspect(folder: &Path) -> Result<Box<dyn StoreReader>, StoreError> {
    let database = folder.join(NAME);
    if !database.exists() {
        return Err(StoreError::Unusable(format!("there is no store in {}", folder.display())));
    }
    let files = Arc::new(Files { database, _folder: None });
    let mut connection = Connection::open(&files, Use::Read)?;
    check_version(&mut connection, &files.database)?;
    Ok(Box::new(Reader::new(connection)))
}

fn set_aside(folder: &Folder, why: &str) -> Result<PathBuf, StoreError> {
    let aside = folder.set_aside(NAME)?;
    tracing::error!(
        database = %folder.path().join(NAME).display(), set_aside = %aside.display(), why,
        "the database is damaged: set aside, and begun anew; what it held is missing"
    );
    Ok(aside)
}

/// Brings the tables to this version.
fn migrate(connection: &mut Connection, database: &Path) -> Result<(), StoreError> {
    if connection.number("SELECT COUNT(*) FROM sqlite_schema")? == 0 {
        return connection.execute(concat!("BEGIN IMMEDIATE;", include_str!("../schema/sqlite-1.sql"), "COMMIT"));
    }
    check_version(connection, database)
}

fn check_version(connection: &mut Connection, database: &Path) -> Result<(), StoreError> {
    let version = connection.number("PRAGMA user_version")?;
    let application = connection.number("PRAGMA application_id")?;
    let database = database.display();
    match version {
        VERSION if application == APPLICATION_ID => Ok(()),
        _ if application != APPLICATION_ID => {
            Err(StoreError::Unusable(format!("{database} is a database of another program")))
        }
        newer if newer > VERSION => Err(StoreError::Unusable(format!(
            "{database} was written by a newer fennec (version {newer} of the tables, this one knows {VERSION})"
        ))),
        unknown => Err(StoreError::Unusable(format!("{database} has tables of the unknown version {unknown}"))),
    }
}

/// Looks at the ends of each table. Takes no longer for a large database.
fn look_at_tables(connection: &mut Connection) -> Result<(), StoreError> {
    look_for_damage(connection)?;
    for (table, key) in [("state", "key"), ("topics", "id"), ("holds", "topic")] {
        for order in ["", "DESC"] {
            connection.rows(Script::new(&format!("SELECT * FROM {table} ORDER BY {key} {order} LIMIT 1")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
