//! One connection to the database, used by blocking calls.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Decode, Encode, Row, Sqlite, Type};

use crate::store::{StoreError, SyncMode};

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
}

/// Statements that go to the database in one go, with what their `?` stand for, in order.
#[derive(Default)]
pub(super) struct Script {
    sql: String,
    arguments: SqliteArguments,
}

impl Script {
    pub(super) fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), arguments: SqliteArguments::default() }
    }

    pub(super) fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// `text`, `text`, … `count` times, with commas.
    pub(super) fn list(&mut self, text: &str, count: usize) -> &mut Self {
        for n in 0..count {
            self.sql.push_str(if n == 0 { "" } else { "," });
            self.sql.push_str(text);
        }
        self
    }

    pub(super) fn bind<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        // Neither numbers nor bytes nor texts fail to encode.
        let _ = self.arguments.add(value);
        self
    }

    pub(super) fn number(&mut self, value: u64) -> &mut Self {
        self.bind(value as i64)
    }

    /// Bytes of SQL.
    pub(super) fn len(&self) -> usize {
        self.sql.len()
    }
}

impl Connection {
    /// Connects. A writer makes the file if it is not there.
    pub(super) fn open(path: &Path, purpose: Use, cache_kib: u32) -> Result<Self, sqlx::Error> {
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
        Ok(Self { inner: Some(block_on(options.connect())?) })
    }

    fn inner(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        self.inner.as_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// Runs the statements.
    pub(super) fn run(&mut self, script: Script) -> Result<(), sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(script.sql), script.arguments);
        block_on(query.execute(self.inner()?)).map(|_| ())
    }

    /// Runs a statement that needs nothing else.
    pub(super) fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        block_on(sqlx::query(sql).execute(self.inner()?)).map(|_| ())
    }

    /// Runs the statements and returns their rows.
    pub(super) fn rows(&mut self, script: Script) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let query = sqlx::query_with(AssertSqlSafe(script.sql), script.arguments);
        block_on(query.fetch_all(self.inner()?))
    }

    pub(super) fn optional(&mut self, script: Script) -> Result<Option<SqliteRow>, sqlx::Error> {
        Ok(self.rows(script)?.into_iter().next())
    }

    /// The first column of the first row.
    pub(super) fn value<T>(&mut self, sql: &str) -> Result<T, sqlx::Error>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
    {
        self.optional(Script::new(sql))?.ok_or(sqlx::Error::RowNotFound)?.try_get(0)
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

/// A number that is unsigned.
pub(super) fn number(row: &SqliteRow, column: usize) -> Result<u64, StoreError> {
    row.try_get::<i64, _>(column).map(|value| value as u64).map_err(|error| sorted(&error))
}

pub(super) fn number_u32(row: &SqliteRow, column: usize) -> Result<u32, StoreError> {
    u32::try_from(number(row, column)?).map_err(|_| StoreError::Damaged("a number is too large".to_owned()))
}

pub(super) fn bytes(row: &SqliteRow, column: usize) -> Result<Vec<u8>, StoreError> {
    row.try_get(column).map_err(|error| sorted(&error))
}

pub(super) fn text(row: &SqliteRow, column: usize) -> Result<String, StoreError> {
    row.try_get(column).map_err(|error| sorted(&error))
}

/// Who must act on an error of anything but a COMMIT: whatever it was, nothing of it stays.
pub(super) fn sorted(error: &sqlx::Error) -> StoreError {
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

/// Who must act on an error of a COMMIT. The frame that makes it count is written last, so a full disk tells that it does not.
pub(super) fn sorted_of_commit(error: &sqlx::Error) -> StoreError {
    match code(error).map(|code| code & 0xff) {
        Some(FULL | BUSY | READONLY) => StoreError::Unavailable(message(error)),
        Some(CORRUPT | NOTADB) => StoreError::Damaged(message(error)),
        _ => StoreError::Unknown(message(error)),
    }
}

/// Who must act when the database cannot be opened.
pub(super) fn sorted_of_open(error: &sqlx::Error) -> StoreError {
    match code(error).map(|code| code & 0xff) {
        Some(CANTOPEN | READONLY | PERM | AUTH) => StoreError::Unusable(message(error)),
        _ => sorted(error),
    }
}

// SQLite's result codes (sqlite.org/rescode.html).
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

/// Waits for a future that another thread completes. The connection has its thread and needs no runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park();
    }
}
