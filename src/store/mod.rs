//! Where the log and its state are kept.
//!
//! A store is a short promise: segments of the log by position, and rows of state by key, changed together in one
//! transaction. It knows nothing of what a segment or a row means. SQLite, PostgreSQL, memory and (in tests) a store that fails
//! keep the same promise under the same tests.
//!
//! ```text
//! StoreSettings -> open -> Opened { store, set_aside }
//! log thread    -> Store::commit (blocks until it is as durable as the sync mode says), sync, maintain, reopen
//! reading thread-> StoreReader::segments, scan, …   sees whatever was committed before the call
//! ```
//!
//! Methods block: they are called by the log's own threads, never by a connection's. Left out: what segments hold (`queue`), when
//! to delete them (`node`), caching of segments for readers (`node`).

use serde::{Deserialize, Serialize};

use crate::queue::retention::Header;
use crate::queue::segment::Segment;

mod block_on;
pub mod check;
pub mod faulty;
mod folder;
pub mod memory;
pub mod postgres;
pub mod remote;
pub mod settings;
mod sql;
pub mod sqlite;
pub mod state;
pub mod transfer;

pub use settings::{Opened, StoreSettings, StoreUrl, SyncMode, inspect, open, open_anew};

/// A row of state: key and value. Keys compare bytewise.
pub type Row = (Vec<u8>, Vec<u8>);

/// What is written together.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// New segments, in position order, behind all that are there. Each has messages.
    pub segments: Vec<Segment>,
    /// Rows to set (`Some`) or remove (`None`). No key twice.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Positions of segments to delete; those that are not there are passed over. What a commit may take at once is for the
    /// caller to bound: some hundreds keep it short.
    pub dropped: Vec<u64>,
    /// Segments that replace those of the same position: the same numbers, less in them.
    pub rewritten: Vec<Segment>,
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, the database refuses to write or is away. Nothing of the commit is there; later it may work.
    #[error("cannot be used now: {0}")]
    Unavailable(String),
    /// It is not known whether the commit is there: call [`Store::reopen`], then look.
    #[error("may or may not have written: {0}")]
    Unknown(String),
    /// The database is damaged.
    #[error("damaged: {0}")]
    Damaged(String),
    /// Another broker uses it.
    #[error("in use by another broker: {0}")]
    InUse(String),
    /// It cannot be used as it is and will not get better by itself: a newer version's, no permission, a wrong address.
    #[error("{0}")]
    Unusable(String),
}

/// The writing side. There is one.
pub trait Store: Send {
    /// Writes all of it or nothing. When it returns, it survives what the sync mode says ([`SyncMode`]).
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// The value of one row.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// A reader that sees everything committed before each of its calls.
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;

    /// Makes all commits survive a power loss. With [`SyncMode::Interval`] it is to be called that often, which bounds the loss to
    /// the interval; with the others it does nothing.
    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// A short piece of housekeeping, such as giving space back to the file system. To be called now and then, when there is
    /// nothing else to do; `true`: there is more of it.
    fn maintain(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Writes the database anew without what it does not use any more. Takes long, and for a while as much space again.
    fn compact(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Connects anew, after [`StoreError::Unknown`] or to see whether the store works again. Nobody else can take the store
    /// meanwhile, if it can be helped. Readers stay.
    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A reading side. There may be several.
pub trait StoreReader: Send {
    /// Rows whose key begins with `prefix` and is greater than `after`, in the order of keys, at most `limit`.
    fn scan(&mut self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Segments that hold numbers from `from` on, in order, about `bytes_max` bytes of them, at least one if there is one. With
    /// `topics` (realm, name) only those that hold one of them.
    fn segments(
        &mut self,
        from: u64,
        topics: Option<&[(&str, &str)]>,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, StoreError>;

    /// Headers of the segments that begin with the number `from` or behind it, in order, at most `limit`.
    fn headers(&mut self, from: u64, limit: usize) -> Result<Vec<Header>, StoreError>;

    /// The last segment of which all numbers are less than `number`: for reading in reverse.
    fn segment_before(&mut self, number: u64) -> Result<Option<Segment>, StoreError>;

    /// The number of the first message of the first segment whose log time is `at_us` or later; `None`: there is none.
    fn first_since(&mut self, at_us: u64) -> Result<Option<u64>, StoreError>;

    /// First number of the segment with these event ids: `(minute, generator)`, or of the first behind it; `None`: there is none.
    fn first_of(&mut self, minute: u32, generator: u64) -> Result<Option<u64>, StoreError>;

    /// Names of the topics of a realm that segments hold, which begin with `prefix` and are greater than `after`, sorted bytewise,
    /// at most `limit`. For a while it may still name a topic whose last segment was deleted.
    fn topics(
        &mut self,
        realm: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Box<str>>, StoreError>;

    /// What is wrong with the database itself, a sentence each. Reads all of it.
    fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// What is there, for `fennec store stats` and metrics. May take a second: rows are counted.
    fn stats(&mut self) -> Result<Stats, StoreError>;
}

/// Rows that are read at a time where all are wanted.
const ROWS: usize = 4096;

/// Shows all rows whose key begins with `prefix`, in the order of keys.
///
/// # Errors
/// The store cannot be read; what `each` says, which ends it.
pub fn each_row<E: From<StoreError>>(
    reader: &mut dyn StoreReader,
    prefix: &[u8],
    mut each: impl FnMut(&[u8], Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let slice = reader.scan(prefix, after.as_deref(), ROWS)?;
        let is_last = slice.len() < ROWS;
        for (key, value) in slice {
            each(&key, value)?;
            after = Some(key);
        }
        if is_last {
            return Ok(());
        }
    }
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    pub segments: u64,
    /// Bytes of segments: bodies and what was set off.
    pub segment_bytes: u64,
    /// Of the first segment that is there; 0: there is none.
    pub first_number: u64,
    /// Of the last segment that is there; 0: there is none.
    pub last_number: u64,
    /// Of the last segment that is there; 0: there is none.
    pub last_position: u64,
    pub rows: u64,
    /// Bytes on disk, all in all; in memory, those of segments and rows.
    pub disk_bytes: u64,
}

#[cfg(test)]
mod tests;
