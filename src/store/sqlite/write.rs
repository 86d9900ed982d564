//! A commit as statements.

use super::connection::{Connection, Script, bytes, number, sorted};
use super::topics::Topics;
use crate::queue::segment::Segment;
use crate::store::encode::{Share, read_shares, write_shares, write_voids};
use crate::store::{Commit, StoreError};

/// A segment of more topics than this is a broad one. Bounds what a segment costs: each topic has its own place in the index.
pub(super) const TOPICS_INDEXED_MAX: usize = 32;
/// The topic under which broad segments stand.
pub(super) const BROAD: u64 = 0;
/// How many rows a statement sets; the rest goes into smaller ones.
const ROWS: [usize; 4] = [200, 32, 4, 1];
/// How many rows a statement inserts into the index, or deletes by key.
const KEYS: [usize; 4] = [64, 16, 4, 1];
/// Statements that go to the connection's thread together, at most about so many bytes of SQL.
const SCRIPT_BYTES_MAX: usize = 16 * 1024;
/// After so many segments the counts are written again.
const UNCOUNTED_MAX: u64 = 256;
/// Topics are looked through for unused ones, so many for each segment that is deleted.
const TOPICS_SWEPT: usize = 16;

/// How many segments there are, as the table `counted` says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub segments: u64,
    pub bytes: u64,
    /// Since the row was written.
    pub uncounted: u64,
}

/// A commit on its way.
pub(super) struct Writing<'a> {
    connection: &'a mut Connection,
    topics: &'a mut Topics,
    pub counted: Counted,
    script: Script,
}

impl<'a> Writing<'a> {
    pub(super) fn begin(connection: &'a mut Connection, topics: &'a mut Topics, counted: Counted) -> Self {
        Self { connection, topics, counted, script: Script::new("BEGIN IMMEDIATE;") }
    }

    /// All but the COMMIT.
    pub(super) fn write(mut self, commit: &Commit) -> Result<Counted, StoreError> {
        let mut recount = false;
        if !commit.dropped.is_empty() || !commit.rewritten.is_empty() {
            self.flush()?;
            self.delete(&commit.dropped)?;
            for segment in &commit.rewritten {
                if self.delete(&[segment.position])? > 0 {
                    self.insert(segment)?;
                }
            }
            self.flush()?;
            self.topics.sweep(self.connection, TOPICS_SWEPT * commit.dropped.len())?;
            recount = true;
        }
        for segment in &commit.segments {
            self.insert(segment)?;
        }
        self.counted.uncounted += commit.segments.len() as u64;
        if recount || self.counted.uncounted >= UNCOUNTED_MAX {
            self.recount(commit.segments.last().map(Segment::last));
        }
        self.set_rows(&commit.rows)?;
        self.flush()?;
        Ok(self.counted)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.script.len() == 0 {
            return Ok(());
        }
        self.connection.run(std::mem::take(&mut self.script)).map_err(|error| sorted(&error))
    }

    fn flush_if_long(&mut self) -> Result<(), StoreError> {
        if self.script.len() > SCRIPT_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    fn insert(&mut self, segment: &Segment) -> Result<(), StoreError> {
        debug_assert!(segment.count > 0, "a segment without messages");
        let broad = segment.topics.len() > TOPICS_INDEXED_MAX;
        if !self.topics.know_all(&segment.topics) {
            // Looking up topics needs the transaction.
            self.flush()?;
        }
        let ids = self.topics.ids(self.connection, &segment.topics, broad.then_some(segment.first))?;
        let shares = segment.topics.iter().zip(&ids);
        let shares = shares.map(|(share, &topic)| Share { topic, messages: share.messages, bytes: share.bytes });
        let bytes = (segment.body.len() + segment.set_off.len()) as u64;
        self.script
            .push("INSERT INTO heads VALUES (?,?,?,?,?,?,?,?,?);")
            .number(segment.first)
            .number(segment.position)
            .number(segment.count.into())
            .number(segment.at_us)
            .number(segment.minute.into())
            .number(segment.generator)
            .number(bytes)
            .bind(write_voids(&segment.voids))
            .bind(write_shares(shares))
            .push("INSERT INTO bodies VALUES (?,?,?,?);")
            .number(segment.position)
            .number(segment.first)
            .bind(&segment.body[..])
            .bind(&segment.set_off[..]);
        let held = if broad { &[BROAD][..] } else { &ids };
        for chunk in chunks(held, &KEYS) {
            self.script.push("INSERT OR IGNORE INTO holds VALUES ").list("(?,?)", chunk.len()).push(";");
            for &topic in chunk {
                self.script.number(topic).number(segment.first);
            }
        }
        self.counted.segments += 1;
        self.counted.bytes += bytes;
        self.flush_if_long()
    }

    /// Deletes segments. Returns how many there were.
    fn delete(&mut self, positions: &[u64]) -> Result<usize, StoreError> {
        self.flush()?;
        let mut deleted = 0;
        for chunk in chunks(positions, &KEYS) {
            let mut find = Script::new(
                "SELECT h.first, h.bytes, h.shares FROM bodies b JOIN heads h ON h.first = b.first WHERE b.position IN (",
            );
            find.list("?", chunk.len()).push(")");
            for &position in chunk {
                find.number(position);
            }
            let found = self.connection.rows(find).map_err(|error| sorted(&error))?;
            for row in &found {
                let first = number(row, 0)?;
                let shares = read_shares(&bytes(row, 2)?)?;
                self.delete_from_index(first, &shares)?;
                self.script.push("DELETE FROM heads WHERE first = ?;").number(first);
                self.counted.segments = self.counted.segments.saturating_sub(1);
                self.counted.bytes = self.counted.bytes.saturating_sub(number(row, 1)?);
                self.flush_if_long()?;
            }
            self.script.push("DELETE FROM bodies WHERE position IN (").list("?", chunk.len()).push(");");
            for &position in chunk {
                self.script.number(position);
            }
            self.flush()?;
            deleted += found.len();
        }
        Ok(deleted)
    }

    fn delete_from_index(&mut self, first: u64, shares: &[Share]) -> Result<(), StoreError> {
        let ids: Vec<u64> = match shares.len() {
            0..=TOPICS_INDEXED_MAX => shares.iter().map(|share| share.topic).collect(),
            _ => vec![BROAD],
        };
        for chunk in chunks(&ids, &KEYS) {
            self.script.push("DELETE FROM holds WHERE first = ? AND topic IN (").list("?", chunk.len()).push(");");
            self.script.number(first);
            for &topic in chunk {
                self.script.number(topic);
            }
        }
        self.flush_if_long()
    }

    fn recount(&mut self, last: Option<u64>) {
        self.counted.uncounted = 0;
        let until = match last {
            Some(_) => "?",
            None => "COALESCE((SELECT MAX(first) FROM heads), 0)",
        };
        self.script.push("UPDATE counted SET until = ").push(until).push(", segments = ?, bytes = ?;");
        if let Some(last) = last {
            self.script.number(last);
        }
        self.script.number(self.counted.segments).number(self.counted.bytes);
    }

    fn set_rows(&mut self, rows: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        // In the order of keys neighbours are written together.
        let mut set: Vec<(&[u8], &[u8])> =
            rows.iter().filter_map(|(key, value)| Some((&key[..], value.as_deref()?))).collect();
        set.sort_unstable();
        for chunk in chunks(&set, &ROWS) {
            self.script.push("INSERT INTO state VALUES ").list("(?,?)", chunk.len());
            self.script.push(" ON CONFLICT (key) DO UPDATE SET value = excluded.value;");
            for &(key, value) in chunk {
                self.script.bind(key).bind(value);
            }
            self.flush_if_long()?;
        }
        let mut removed: Vec<&[u8]> =
            rows.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| &key[..]).collect();
        removed.sort_unstable();
        for chunk in chunks(&removed, &KEYS) {
            self.script.push("DELETE FROM state WHERE key IN (").list("?", chunk.len()).push(");");
            for &key in chunk {
                self.script.bind(key);
            }
            self.flush_if_long()?;
        }
        Ok(())
    }
}

/// Cuts a list into pieces of these lengths, the longest first, so that there are few different statements.
pub(super) fn chunks<'l, T>(list: &'l [T], lengths: &'l [usize]) -> impl Iterator<Item = &'l [T]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let length = *lengths.iter().find(|&&length| length <= rest.len())?;
        let (chunk, tail) = rest.split_at(length);
        rest = tail;
        Some(chunk)
    })
}
