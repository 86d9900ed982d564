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

use connection::{Connection, Script, Use, bytes, number, sorted, sorted_of_commit, sorted_of_open};
use read::SqliteReader;
use topics::Topics;
use write::{Counted, Writing};

use super::folder::Folder;
use super::{Commit, Store, StoreError, StoreReader, SyncMode};

mod connection;
mod read;
mod topics;
mod write;

/// The file's name in the folder.
const NAME: &str = "fennec.db";
/// Pages that the writer keeps in memory, and a reader, in KiB.
const WRITER_CACHE_KIB: u32 = 32 * 1024;
const READER_CACHE_KIB: u32 = 4 * 1024;
/// Fewer unused pages are kept for what comes, and up to a quarter of the file.
const FREE_PAGES_MIN: i64 = 4000;
/// `fnnc`: marks the file as one of ours.
const APPLICATION_ID: i64 = 0x666e_6e63;
/// The version of `schema/`.
const VERSION: i64 = 1;

/// Where it is. As long as anybody uses the database, the folder is ours.
#[derive(Debug)]
struct Files {
    folder: Folder,
    database: PathBuf,
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
    connection: Option<Connection>,
    topics: Topics,
    counted: Counted,
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
        let folder = Folder::take(folder)?;
        let database = folder.path().join(NAME);
        let files = Arc::new(Files { folder, database });
        match Self::open_files(&files, sync) {
            Err(StoreError::Damaged(why)) if !strict => {
                let aside = files.folder.set_aside(NAME)?;
                tracing::error!(
                    database = %files.database.display(), set_aside = %aside.display(), why,
                    "the database is damaged: set aside, and begun anew; what it held is missing"
                );
                Ok((Self::open_files(&files, sync)?, Some(aside)))
            }
            Err(StoreError::Damaged(why)) => Err(StoreError::Damaged(format!("{}: {why}", files.database.display()))),
            opened => Ok((opened?, None)),
        }
    }

    fn open_files(files: &Arc<Files>, sync: SyncMode) -> Result<Self, StoreError> {
        let mut connection = Connection::open(&files.database, Use::Write(sync), WRITER_CACHE_KIB)
            .map_err(|error| named(sorted_of_open(&error), &files.database))?;
        migrate(&mut connection, &files.database)?;
        files.folder.sync()?;
        look_for_damage(&mut connection)?;
        let topics = Topics::open(&mut connection)?;
        let (segments, bytes) = count(&mut connection)?;
        let counted = Counted { segments, bytes, uncounted: 0 };
        let wal = File::open(files.beside("-wal"));
        let wal = wal.map_err(|error| StoreError::Unavailable(format!("the log of the database: {error}")))?;
        Ok(Self { connection: Some(connection), topics, counted, files: files.clone(), sync, wal, unsynced: false })
    }

    fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.connection.as_mut().ok_or_else(closed)
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the database has to be opened again".to_owned())
}

impl Store for SqliteStore {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let connection = self.connection.as_mut().ok_or_else(closed)?;
        let written = Writing::begin(connection, &mut self.topics, self.counted).write(commit);
        let committed = written.and_then(|counted| {
            connection.execute("COMMIT").map_err(|error| sorted_of_commit(&error)).map(|()| counted)
        });
        match committed {
            Ok(counted) => (self.counted, self.unsynced) = (counted, true),
            Err(ref error) => {
                self.topics.forget();
                // It may have been rolled back by itself. If neither was, the connection cannot be used any more.
                if matches!(error, StoreError::Unknown(_)) || !rolled_back(connection) {
                    self.connection = None;
                }
            }
        }
        committed.map(|_| ())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut find = Script::new("SELECT value FROM state WHERE key = ?");
        find.bind(key);
        let row = self.connection()?.optional(find).map_err(|error| sorted(&error))?;
        row.map(|row| bytes(&row, 0)).transpose()
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        let connection = Connection::open(&self.files.database, Use::Read, READER_CACHE_KIB);
        let connection = connection.map_err(|error| named(sorted_of_open(&error), &self.files.database))?;
        Ok(Box::new(SqliteReader::new(connection, self.files.clone())))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.sync == SyncMode::Interval && std::mem::take(&mut self.unsynced) {
            // Not known to be on disk, and nothing tells what became of it: a second try could say that it is.
            self.wal.sync_data().map_err(|error| StoreError::Unknown(format!("cannot sync: {error}")))?;
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<bool, StoreError> {
        let connection = self.connection()?;
        let mut free = || -> Result<bool, sqlx::Error> {
            let free: i64 = connection.value("PRAGMA freelist_count")?;
            let pages: i64 = connection.value("PRAGMA page_count")?;
            if free < FREE_PAGES_MIN || free < pages / 4 {
                return Ok(false);
            }
            connection.execute("PRAGMA incremental_vacuum(1000)")?;
            Ok(true)
        };
        free().map_err(|error| sorted(&error))
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        let mut opened = Self::open_files(&self.files, self.sync)?;
        opened.topics.go_on_from(&self.topics);
        // What was written when a sync failed may be in memory only: this writes it once more, to the file, and syncs that.
        opened.connection()?.execute("PRAGMA wal_checkpoint(TRUNCATE)").map_err(|error| sorted(&error))?;
        *self = opened;
        Ok(())
    }
}

fn rolled_back(connection: &mut Connection) -> bool {
    match connection.execute("ROLLBACK") {
        Ok(()) => true,
        // SQLITE_ERROR: there is no transaction any more.
        Err(error) => error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "1"),
    }
}

fn named(error: StoreError, database: &Path) -> StoreError {
    match error {
        StoreError::Unusable(why) => StoreError::Unusable(format!("cannot open {}: {why}", database.display())),
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("cannot open {}: {why}", database.display())),
        error => error,
    }
}

/// Brings the tables to this version.
fn migrate(connection: &mut Connection, database: &Path) -> Result<(), StoreError> {
    let failed = |error| sorted_of_open(&error);
    let version: i64 = connection.value("PRAGMA user_version").map_err(failed)?;
    let application: i64 = connection.value("PRAGMA application_id").map_err(failed)?;
    let tables: i64 = connection.value("SELECT COUNT(*) FROM sqlite_schema").map_err(failed)?;
    let database = database.display();
    match version {
        VERSION if application == APPLICATION_ID => Ok(()),
        0 if tables == 0 => {
            let mut create = Script::new("BEGIN IMMEDIATE;");
            create.push(include_str!("../schema/sqlite-1.sql"));
            create.push(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"));
            connection.run(create).map_err(failed)
        }
        _ if application != APPLICATION_ID => {
            Err(StoreError::Unusable(format!("{database} is a database of another program")))
        }
        newer if newer > VERSION => Err(StoreError::Unusable(format!(
            "{database} was written by a newer fennec (version {newer} of the tables, this one knows {VERSION})"
        ))),
        unknown => Err(StoreError::Unusable(format!("{database} has tables of the unknown version {unknown}"))),
    }
}

/// Looks at both ends of each table. Takes no longer for a large database.
fn look_for_damage(connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |error| sorted(&error);
    for order in ["", "DESC"] {
        let ends = Script::new(&format!(
            "SELECT h.count, h.position, h.bytes, b.first, length(b.body) + length(b.set_off), h.first FROM heads h \
             LEFT JOIN bodies b ON b.position = h.position ORDER BY h.first {order} LIMIT 1"
        ));
        if let Some(row) = connection.optional(ends).map_err(failed)? {
            let whole =
                number(&row, 0)? > 0 && number(&row, 2)? == number(&row, 4)? && number(&row, 3)? == number(&row, 5)?;
            if !whole {
                return Err(StoreError::Damaged(format!("the segment at position {}", number(&row, 1)?)));
            }
        }
        for (table, key) in [("state", "key"), ("topics", "id"), ("holds", "topic")] {
            let end = Script::new(&format!("SELECT * FROM {table} ORDER BY {key} {order} LIMIT 1"));
            connection.rows(end).map_err(failed)?;
        }
    }
    let last: i64 = connection
        .value("SELECT COALESCE((SELECT MAX(position) FROM bodies), 0) - COALESCE((SELECT position FROM heads ORDER BY first DESC LIMIT 1), 0)")
        .map_err(failed)?;
    let counted: i64 = connection.value("SELECT COUNT(*) FROM counted").map_err(failed)?;
    if last != 0 || counted != 1 {
        return Err(StoreError::Damaged("its tables do not belong together".to_owned()));
    }
    Ok(())
}

/// Segments and their bytes, without counting them all.
fn count(connection: &mut Connection) -> Result<(u64, u64), StoreError> {
    let rows = connection.rows(Script::new(
        "SELECT segments + (SELECT COUNT(*) FROM heads WHERE first > until), \
         bytes + (SELECT COALESCE(SUM(bytes), 0) FROM heads WHERE first > until) FROM counted",
    ));
    let rows = rows.map_err(|error| sorted(&error))?;
    let row = rows.first().ok_or_else(|| StoreError::Damaged("the counts are missing".to_owned()))?;
    Ok((number(row, 0)?, number(row, 1)?))
}

#[cfg(test)]
mod tests;
