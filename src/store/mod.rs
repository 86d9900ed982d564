//! Where the log and its state are kept.
//!
//! A store is a short promise: segments of the log by position, and rows of state by key, changed together in one
//! transaction. It knows nothing of what a segment or a row means. SQLite, PostgreSQL, memory and (in tests) a store that fails
//! keep the same promise under the same tests.
//!
//! Methods block: they are called by the log's own threads, never by a connection's.

use crate::queue::segment::Segment;

/// A row of state: key and value. Keys compare bytewise.
pub type Row = (Vec<u8>, Vec<u8>);

/// What is written together.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// New segments, in position order, behind all that are there.
    pub segments: Vec<Segment>,
    /// Rows to set (`Some`) or remove (`None`). No key twice.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Positions of segments to delete.
    pub dropped: Vec<u64>,
    /// Segments that replace those of the same position: the same numbers, less in them.
    pub rewritten: Vec<Segment>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full or the database refuses to write. Nothing of the commit is there; later it may work.
    #[error("cannot write: {0}")]
    Unavailable(String),
    /// It is not known whether the commit is there: the store has to be opened again.
    #[error("may or may not have written: {0}")]
    Unknown(String),
    /// The database is damaged, or not one of ours.
    #[error("damaged: {0}")]
    Damaged(String),
    /// Another broker uses it.
    #[error("in use by another broker: {0}")]
    InUse(String),
}

/// The writing side. There is one.
pub trait Store: Send {
    /// Writes all of it or nothing. When it returns, it survives what the sync mode says.
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// The value of one row.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// A reader that sees everything committed before each of its calls.
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;
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

    /// The segment before the one that holds `number`, backwards: for reading in reverse.
    fn segment_before(&mut self, number: u64) -> Result<Option<Segment>, StoreError>;

    /// The number of the first message of the first segment whose log time is `at_us` or later; `None`: there is none.
    fn first_since(&mut self, at_us: u64) -> Result<Option<u64>, StoreError>;

    /// First number of the segment with these event ids: `(minute, generator)`, or of the first behind it.
    fn first_of(&mut self, minute: u32, generator: u64) -> Result<Option<u64>, StoreError>;

    /// Names of the topics of a realm that segments hold, which begin with `prefix` and are greater than `after`, sorted, at most
    /// `limit`.
    fn topics(
        &mut self,
        realm: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Box<str>>, StoreError>;

    /// What is there, for `fennec store stats` and metrics.
    fn stats(&mut self) -> Result<Stats, StoreError>;
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub segments: u64,
    /// Bytes of segments.
    pub segment_bytes: u64,
    pub first_number: u64,
    pub last_number: u64,
    pub last_position: u64,
    pub rows: u64,
    /// Bytes on disk, all in all.
    pub disk_bytes: u64,
}
