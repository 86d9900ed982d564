//! One connection to the database, used by blocking calls.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Executor as _, Row};

use super::Files;
use crate::store::block_on::block_on;
use crate::store::sql::{Dialect, Record, Script, Session};
use crate::store::{StoreError, SyncMode};

/// Pages that the writer keeps in memory, and a reader, in KiB.
const WRITER_CACHE_KIB: u32 = 32 * 1024;
const READER_CACHE_KIB: u32 = 4 * 1024;

/// Statements whose compiled form is kept. Commits differ in how many rows they set, so there are some.
const STATEMENTS_CACHED: usize = 256;

/// A commit that finds so many pages in the log of the database moves them to its file. Measured at 250 MB/s: 8 ms for 1000
/// pages, 25 ms for 4000, which are a little faster in all.
const CHECKPOINT_PAGES: u32 = 2000;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Write(SyncMode),
    Read,
}

pub(super) struct Connection {
    /// `None` only while it is being dropped.
    inner: Option<SqliteConnection>,
    /// The folder stays ours as long as there are connections.
    files: Arc<Files>,
}

impl Connection {
    /// Connects. A writer makes the file if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: there is no permission. Others as while it is used.
    pub(super) fn open(files: &Arc<Files>, purpose: Use) -> Result<Self, StoreError> {
        let (path, cache_kib) = match purpose {
            Use::Write(_) => (&files.database, WRITER_CACHE_KIB),
            Use::Read => (&files.database, READER_CACHE_KIB),
        };
        let synchronous = match purpose {
            Use::Write(SyncMode::Always) => SqliteSynchronous::Full,
            Use::Write(SyncMode::Never) => SqliteSynchronous::Off,
            _ => SqliteSynchronous::Normal,
        };
        let mut options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(false)
            .synchronous(synchronous)
            .busy_timeout(Duration::from_secs(10))
            .statement_cache_capacity(STATEMENTS_CACHED)
            .row_buffer_size(1024)
            .thread_name(|_| "fennec-sqlite".to_owned())
            .pragma("cache_size", format!("-{cache_kib}"))
            .pragma("temp_store", "memory")
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
            // After a transaction larger than usual the file becomes small again.
            .pragma("journal_size_limit", (64 << 20).to_string());
        options = match purpose {
            Use::Write(_) => options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal),
            Use::Read => options.pragma("query_only", "on"),
        };
        if purpose != Use::Read && !fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            // Counts only before there is anything in the file; later it would just write.
            options = options.auto_vacuum(SqliteAutoVacuum::Incremental);
        }
        let options = options.disable_statement_logging();
        let inner = block_on(options.connect()).map_err(|error| match sorted_of_open(&error) {
            StoreError::Unusable(why) => StoreError::Unusable(format!("cannot open {}: {why}", path.display())),
            StoreError::Unavailable(why) => StoreError::Unavailable(format!("cannot open {}: {why}", path.display())),
            error => error,
        })?;
        Ok(Self { inner: Some(inner), files: files.clone() })
    }

    fn inner(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.inner.as_mut().ok_or_else(|| StoreError::Unavailable("the database is closed".to_owned()))
    }

    /// Runs statements without arguments that are not kept.
    pub(super) fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        block_on(sqlx::raw_sql(sql).execute(self.inner()?)).map(|_| ()).map_err(|error| sorted(&error))
    }
}

impl Session for Connection {
    const DIALECT: Dialect = Dialect::Sqlite;
    type Arguments = SqliteArguments;
    type Record = SqliteRow;

    // Neither numbers nor bytes nor texts fail to encode.
    fn bind_number(arguments: &mut SqliteArguments, value: i64) {
        let _ = arguments.add(value);
    }

    fn bind_bytes(arguments: &mut SqliteArguments, value: &[u8]) {
        let _ = arguments.add(value);
    }

    fn bind_text(arguments: &mut SqliteArguments, value: &str) {
        let _ = arguments.add(value);
    }

    fn run(&mut self, script: Script<Self>) -> Result<(), StoreError> {
        let (sql, arguments) = script.into_statement();
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        block_on(query.execute(self.inner()?)).map(|_| ()).map_err(|error| sorted(&error))
    }

    fn rows(&mut self, script: Script<Self>) -> Result<Vec<SqliteRow>, StoreError> {
        let (sql, arguments) = script.into_statement();
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        block_on(query.fetch_all(self.inner()?)).map_err(|error| sorted(&error))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let inner = self.inner()?;
        block_on(sqlx::query("COMMIT").execute(inner)).map(|_| ()).map_err(|error| sorted_of_commit(&error))
    }

    /// In one step: a step wakes two threads, which costs as much as a small commit writes.
    fn conclude(&mut self, mut script: Script<Self>, begun: bool) -> Result<(), StoreError> {
        let mut before = 0;
        if begun {
            before = script.ended();
            script.push("COMMIT");
        }
        let (sql, arguments) = script.into_statement();
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        let mut results = self.inner()?.fetch_many(query);
        let mut done = 0;
        let concluded = block_on(async {
            while let Some(result) = results.try_next().await? {
                done += usize::from(result.is_left());
            }
            Ok(())
        });
        // One statement is done after the other, so the one that failed comes next after those that are done.
        concluded.map_err(|error| if done < before { sorted(&error) } else { sorted_of_commit(&error) })
    }

    fn roll_back(&mut self) -> bool {
        let Ok(inner) = self.inner() else { return false };
        match block_on(sqlx::query("ROLLBACK").execute(inner)) {
            Ok(_) => true,
            // It was rolled back by itself, and there is no transaction any more.
            Err(error) => code(&error) == Some(ERROR),
        }
    }

    fn disk_bytes(&mut self) -> Result<u64, StoreError> {
        Ok(self.files.disk_bytes())
    }

    fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        let rows = self.rows(Script::new("PRAGMA integrity_check"))?;
        let lines = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").map(|line| format!("SQLite: {line}")).collect())
    }
}

impl Drop for Connection {
    /// Waits until the file is closed, for somebody else may want it.
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            // What was committed is committed, and there is nobody left who could do better.
            let _ = block_on(inner.close());
        }
    }
}

impl Record for SqliteRow {
    fn number(&self, column: usize) -> Result<u64, StoreError> {
        self.try_get::<i64, _>(column).map(|value| value as u64).map_err(|error| sorted(&error))
    }

    fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        self.try_get(column).map_err(|error| sorted(&error))
    }

    fn text(&self, column: usize) -> Result<String, StoreError> {
        self.try_get(column).map_err(|error| sorted(&error))
    }
}

/// Who must act on an error of anything but a COMMIT: whatever it was, nothing of it stays.
fn sorted(error: &sqlx::Error) -> StoreError {
    match code(error) {
        Some(code) => match code & 0xff {
            CORRUPT | NOTADB | CONSTRAINT => StoreError::Damaged(message(error)),
            IOERR if code == IOERR_CORRUPTFS => StoreError::Damaged(message(error)),
            _ => StoreError::Unavailable(message(error)),
        },
        None => match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
                StoreError::Damaged(error.to_string())
            }
            _ => StoreError::Unavailable(error.to_string()),
        },
    }
}

/// Who must act on an error of a COMMIT, or of a statement that commits by itself. The frame that makes it count is written last, so a
/// full disk, or a write that failed, tells that it does not. A sync that failed tells nothing.
fn sorted_of_commit(error: &sqlx::Error) -> StoreError {
    match code(error).map(|code| (code & 0xff, code)) {
        Some((FULL | BUSY | READONLY, _) | (_, IOERR_WRITE)) => StoreError::Unavailable(message(error)),
        Some((CORRUPT | NOTADB | CONSTRAINT, _)) => StoreError::Damaged(message(error)),
        _ => StoreError::Unknown(message(error)),
    }
}

/// Who must act when the database cannot be opened.
fn sorted_of_open(error: &sqlx::Error) -> StoreError {
    match code(error).map(|code| code & 0xff) {
        Some(CANTOPEN | READONLY | PERM | AUTH) => StoreError::Unusable(message(error)),
        _ => sorted(error),
    }
}

// SQLite's result codes (sqlite.org/rescode.html).
const ERROR: i32 = 1;
const PERM: i32 = 3;
const BUSY: i32 = 5;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const CONSTRAINT: i32 = 19;
const AUTH: i32 = 23;
const NOTADB: i32 = 26;
const IOERR_WRITE: i32 = IOERR | 3 << 8;
const IOERR_CORRUPTFS: i32 = IOERR | 33 << 8;

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn message(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => format!("SQLite: {} ({})", error.message(), error.code().unwrap_or_default()),
        None => error.to_string(),
    }
}
