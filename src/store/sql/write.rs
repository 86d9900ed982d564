//! A commit as statements.

use super::encode::{Share, read_shares, write_shares, write_voids};
use super::topics::Topics;
use super::{Dialect, Record as _, Script, Session};
use crate::queue::segment::Segment;
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
struct Counted {
    segments: u64,
    bytes: u64,
    /// Since the row was written.
    uncounted: u64,
}

/// The writing side of a database.
pub(in crate::store) struct Writer<S> {
    pub session: S,
    topics: Topics,
    counted: Counted,
    /// The session cannot be used any more.
    failed: bool,
}

impl<S: Session> Writer<S> {
    /// For tables that are there. `topic_ids`: of a writer before this one in this process; its ids of topics are not given again,
    /// for readers remember them.
    pub(in crate::store) fn new(mut session: S, topic_ids: u64) -> Result<Self, StoreError> {
        let topics = Topics::open(&mut session, topic_ids)?;
        let (segments, bytes) = count(&mut session)?;
        Ok(Self { session, topics, counted: Counted { segments, bytes, uncounted: 0 }, failed: false })
    }

    /// See [`Self::new`].
    pub(in crate::store) fn topic_ids(&self) -> u64 {
        self.topics.last_id()
    }

    /// Whether the database has to be opened again.
    pub(in crate::store) fn has_failed(&self) -> bool {
        self.failed
    }

    /// See [`crate::store::Store::commit`].
    pub(in crate::store) fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let written = Writing::begin(&mut self.session, &mut self.topics, self.counted).write(commit);
        match written {
            Ok(counted) => self.counted = counted,
            Err(ref error) => {
                self.topics.forget();
                self.failed = matches!(error, StoreError::Unknown(_)) || !self.session.roll_back();
            }
        }
        written.map(|_| ())
    }

    /// The value of a row.
    pub(in crate::store) fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut find = Script::new("SELECT value FROM state WHERE ");
        find.push(S::DIALECT.of_key()).bytes(key);
        self.session.row(find)?.map(|row| row.bytes(0)).transpose()
    }
}

/// A commit on its way.
struct Writing<'a, S: Session> {
    session: &'a mut S,
    topics: &'a mut Topics,
    counted: Counted,
    /// Statements to come.
    script: Script<S>,
    /// Whether they come in a transaction that has begun.
    begun: bool,
}

impl<'a, S: Session> Writing<'a, S> {
    fn begin(session: &'a mut S, topics: &'a mut Topics, counted: Counted) -> Self {
        let mut script = Script::default();
        let begun = S::DIALECT == Dialect::Sqlite;
        if begun {
            script.push("BEGIN IMMEDIATE").end();
        }
        Self { session, topics, counted, script, begun }
    }

    fn write(mut self, commit: &Commit) -> Result<Counted, StoreError> {
        if self.put(commit) {
            self.session.conclude(self.script, false)?;
            return Ok(self.counted);
        }
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
            self.topics.sweep(self.session, TOPICS_SWEPT * commit.dropped.len())?;
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
        self.session.conclude(self.script, self.begun)?;
        Ok(self.counted)
    }

    /// What most commits are under light load, one segment of one topic and one row, in one statement: each statement takes time of
    /// two threads. Whether it is such a commit.
    fn put(&mut self, commit: &Commit) -> bool {
        let (Some(put), [segment], [(key, Some(value))]) = (S::DIALECT.put(), &commit.segments[..], &commit.rows[..])
        else {
            return false;
        };
        let deletes = !commit.dropped.is_empty() || !commit.rewritten.is_empty();
        let ([share], false) = (&segment.topics[..], deletes || self.counted.uncounted + 1 >= UNCOUNTED_MAX) else {
            return false;
        };
        let Some(topic) = self.topics.id(share) else { return false };
        self.script = Script::new(put);
        self.bind_head(segment, &[topic]);
        self.script.bytes(&segment.body).bytes(&segment.set_off).number(topic).bytes(key).bytes(value).end();
        self.count(segment);
        self.counted.uncounted += 1;
        true
    }

    fn bind_head(&mut self, segment: &Segment, topics: &[u64]) {
        let shares = segment.topics.iter().zip(topics);
        let shares = shares.map(|(share, &topic)| Share { topic, messages: share.messages, bytes: share.bytes });
        self.script
            .number(segment.first)
            .number(segment.position)
            .number(segment.count.into())
            .number(segment.at_us)
            .number(segment.minute.into())
            .number(segment.generator)
            .number(bytes_of(segment))
            .bytes(&write_voids(&segment.voids))
            .bytes(&write_shares(shares));
    }

    fn count(&mut self, segment: &Segment) {
        self.counted.segments += 1;
        self.counted.bytes += bytes_of(segment);
    }

    /// Runs what was gathered, so that the session is in the transaction and sees what was done so far.
    fn flush(&mut self) -> Result<(), StoreError> {
        if !std::mem::replace(&mut self.begun, true) {
            self.session.run(Script::new("BEGIN"))?;
        }
        if self.script.len() == 0 {
            return Ok(());
        }
        self.session.run(std::mem::take(&mut self.script))
    }

    fn flush_if_long(&mut self) -> Result<(), StoreError> {
        if self.script.len() > SCRIPT_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    fn insert(&mut self, segment: &Segment) -> Result<(), StoreError> {
        debug_assert!(segment.count > 0, "a segment without messages");
        let broad = segment.topics.len() > TOPICS_INDEXED_MAX;
        if broad || !self.topics.know_all(&segment.topics) {
            // Topics are written at once.
            self.flush()?;
        }
        let ids = self.topics.ids(self.session, &segment.topics, broad.then_some(segment.first))?;
        self.script.push("INSERT INTO heads VALUES (?,?,?,?,?,?,?,?,?)");
        self.bind_head(segment, &ids);
        self.script
            .end()
            .push("INSERT INTO bodies VALUES (?,?,?,?)")
            .number(segment.position)
            .number(segment.first)
            .bytes(&segment.body)
            .bytes(&segment.set_off)
            .end();
        let held = if broad { &[BROAD][..] } else { &ids };
        for chunk in chunks(held, &KEYS) {
            self.script.push("INSERT INTO holds VALUES ").list("(?,?)", chunk.len()).push(" ON CONFLICT DO NOTHING");
            for &topic in chunk {
                self.script.number(topic).number(segment.first);
            }
            self.script.end();
        }
        self.count(segment);
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
            let found = self.session.rows(find)?;
            for row in &found {
                let first = row.number(0)?;
                let shares = read_shares(&row.bytes(2)?)?;
                self.delete_from_index(first, &shares)?;
                self.script.push("DELETE FROM heads WHERE first = ?").number(first).end();
                self.counted.segments = self.counted.segments.saturating_sub(1);
                self.counted.bytes = self.counted.bytes.saturating_sub(row.number(1)?);
                self.flush_if_long()?;
            }
            self.script.push("DELETE FROM bodies WHERE position IN (").list("?", chunk.len()).push(")");
            for &position in chunk {
                self.script.number(position);
            }
            self.script.end();
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
            self.script.push("DELETE FROM holds WHERE first = ? AND topic IN (").list("?", chunk.len()).push(")");
            self.script.number(first);
            for &topic in chunk {
                self.script.number(topic);
            }
            self.script.end();
        }
        self.flush_if_long()
    }

    fn recount(&mut self, last: Option<u64>) {
        self.counted.uncounted = 0;
        let until = match last {
            Some(_) => "?",
            None => "COALESCE((SELECT MAX(first) FROM heads), 0)",
        };
        self.script.push("UPDATE counted SET until = ").push(until).push(", segments = ?, bytes = ?");
        if let Some(last) = last {
            self.script.number(last);
        }
        self.script.number(self.counted.segments).number(self.counted.bytes).end();
    }

    fn set_rows(&mut self, rows: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        // In the order of keys neighbours are written together.
        let mut set: Vec<(&[u8], &[u8])> =
            rows.iter().filter_map(|(key, value)| Some((&key[..], value.as_deref()?))).collect();
        set.sort_unstable();
        for chunk in chunks(&set, &ROWS) {
            self.script.push("INSERT INTO state VALUES ").list("(?,?)", chunk.len()).push(S::DIALECT.or_replace());
            for &(key, value) in chunk {
                self.script.bytes(key).bytes(value);
            }
            self.script.end();
            self.flush_if_long()?;
        }
        let mut removed: Vec<&[u8]> =
            rows.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| &key[..]).collect();
        removed.sort_unstable();
        for chunk in chunks(&removed, &KEYS) {
            let [before, item, behind] = S::DIALECT.delete_keys();
            self.script.push(before).list(item, chunk.len()).push(behind);
            for &key in chunk {
                self.script.bytes(key);
            }
            self.script.end();
            self.flush_if_long()?;
        }
        Ok(())
    }
}

/// Of its messages.
fn bytes_of(segment: &Segment) -> u64 {
    (segment.body.len() + segment.set_off.len()) as u64
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

/// Segments and their bytes, without counting them all.
pub(super) fn count<S: Session>(session: &mut S) -> Result<(u64, u64), StoreError> {
    let row = session.row(Script::new(
        "SELECT segments + (SELECT COUNT(*) FROM heads WHERE first > until), \
         bytes + CAST((SELECT COALESCE(SUM(bytes), 0) FROM heads WHERE first > until) AS BIGINT) FROM counted",
    ))?;
    let row = row.ok_or_else(|| StoreError::Damaged("the counts are missing".to_owned()))?;
    Ok((row.number(0)?, row.number(1)?))
}

/// Looks at both ends of the log. Takes no longer for a long one.
pub(in crate::store) fn look_for_damage<S: Session>(session: &mut S) -> Result<(), StoreError> {
    for order in ["", "DESC"] {
        let end = format!(
            "SELECT h.position, h.first, h.count, h.bytes, b.first, CAST(length(b.body) + length(b.set_off) AS BIGINT) \
             FROM heads h JOIN bodies b ON b.position = h.position WHERE h.first = \
             (SELECT first FROM heads ORDER BY first {order} LIMIT 1)"
        );
        let heads = session.number("SELECT COUNT(*) FROM (SELECT 1 FROM heads LIMIT 1) AS t")?;
        let whole = match session.row(Script::new(&end))? {
            Some(row) => row.number(2)? > 0 && row.number(1)? == row.number(4)? && row.number(3)? == row.number(5)?,
            None => heads == 0,
        };
        if !whole {
            return Err(StoreError::Damaged("a segment at an end of the log is not whole".to_owned()));
        }
    }
    let bodies = session.number("SELECT COALESCE(MAX(position), 0) FROM bodies")?;
    let heads = session.number("SELECT COALESCE((SELECT position FROM heads ORDER BY first DESC LIMIT 1), 0)")?;
    if bodies != heads || session.number("SELECT COUNT(*) FROM counted")? != 1 {
        return Err(StoreError::Damaged("its tables do not belong together".to_owned()));
    }
    Ok(())
}
