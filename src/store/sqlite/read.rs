//! The reading side: a connection of its own, so that it waits for nobody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Files;
use super::connection::{Connection, Script, bytes, number, number_u32, sorted, text};
use super::write::{BROAD, chunks};
use crate::queue::retention::Header;
use crate::queue::segment::{Segment, TopicShare};
use crate::store::encode::{Share, read_shares, read_voids};
use crate::store::{Row, Stats, StoreError, StoreReader};

/// Topics whose names are kept in memory. Above, all are forgotten and looked up again as they come.
const KNOWN_MAX: usize = 50_000;
/// Up to so many topics are looked up in the index; for more, all segments are looked through.
const TOPICS_LOOKED_UP_MAX: usize = 32;
/// How many heads are read at once: at first, and at most.
const HEADS: (usize, usize) = (16, 4096);
/// How many entries of the index are read at once for a topic.
const ENTRIES: usize = 256;
/// How many keys a statement asks for.
const KEYS: [usize; 4] = [64, 16, 4, 1];

const HEAD: &str = "SELECT first, position, count, at_us, minute, generator, bytes, voids, shares FROM heads ";
/// Where the segment begins that holds the number `?`; the number itself, if none does.
const START: &str = "COALESCE((SELECT CASE WHEN first + count > ?1 THEN first ELSE ?1 END FROM heads \
                     WHERE first <= ?1 ORDER BY first DESC LIMIT 1), ?1)";

pub(super) struct SqliteReader {
    connection: Connection,
    files: Arc<Files>,
    /// Realm and name by id.
    names: HashMap<u64, (Box<str>, Box<str>)>,
}

/// A segment without its messages.
struct Head {
    segment: Segment,
    shares: Vec<Share>,
    bytes: u64,
}

impl Head {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let segment = Segment {
            first: number(row, 0)?,
            position: number(row, 1)?,
            count: number_u32(row, 2)?,
            at_us: number(row, 3)?,
            minute: number_u32(row, 4)?,
            generator: number(row, 5)?,
            voids: read_voids(&bytes(row, 7)?)?,
            ..Segment::default()
        };
        if segment.count == 0 || segment.first == 0 {
            return Err(StoreError::Damaged("a segment without messages".to_owned()));
        }
        Ok(Self { segment, shares: read_shares(&bytes(row, 8)?)?, bytes: number(row, 6)? })
    }

    fn holds_any(&self, topics: &HashSet<u64>) -> bool {
        self.shares.iter().any(|share| topics.contains(&share.topic))
    }
}

impl SqliteReader {
    pub(super) fn new(connection: Connection, files: Arc<Files>) -> Self {
        Self { connection, files, names: HashMap::new() }
    }

    /// Does it with one view of the database.
    fn reading<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.connection.execute("BEGIN").map_err(|error| sorted(&error))?;
        let result = read(self);
        let ended = self.connection.execute("ROLLBACK").map_err(|error| sorted(&error));
        result.and_then(|value| ended.map(|()| value))
    }

    fn rows(&mut self, script: Script) -> Result<Vec<SqliteRow>, StoreError> {
        self.connection.rows(script).map_err(|error| sorted(&error))
    }

    fn row(&mut self, script: Script) -> Result<Option<SqliteRow>, StoreError> {
        self.connection.optional(script).map_err(|error| sorted(&error))
    }

    /// Heads from `from` on that `wanted` lets pass, until they have so many bytes.
    fn heads(&mut self, from: u64, bytes_max: usize, wanted: impl Fn(&Head) -> bool) -> Result<Vec<Head>, StoreError> {
        let (mut from, mut limit) = (from, HEADS.0);
        let mut heads = Heads::new(bytes_max);
        loop {
            let mut find = Script::new(HEAD);
            find.push("WHERE first >= ").push(START).push(" ORDER BY first LIMIT ?2");
            find.number(from).number(limit as u64);
            let rows = self.rows(find)?;
            for row in &rows {
                let head = Head::read(row)?;
                from = head.segment.last() + 1;
                if wanted(&head) && !heads.push(head) {
                    return Ok(heads.list);
                }
            }
            if rows.len() < limit {
                return Ok(heads.list);
            }
            limit = (limit * 4).min(HEADS.1);
        }
    }

    /// The same for few topics, by the index.
    fn heads_of(&mut self, from: u64, topics: &HashSet<u64>, bytes_max: usize) -> Result<Vec<Head>, StoreError> {
        let mut start = Script::new("SELECT ");
        start.push(START).number(from);
        let mut start = self.row(start)?.map_or(Ok(from), |row| number(&row, 0))?;
        let mut heads = Heads::new(bytes_max);
        loop {
            let (firsts, next) = self.entries(start, topics)?;
            for chunk in chunks(&firsts, &KEYS) {
                let mut find = Script::new(HEAD);
                find.push("WHERE first IN (").list("?", chunk.len()).push(") ORDER BY first");
                for &first in chunk {
                    find.number(first);
                }
                for row in self.rows(find)? {
                    let head = Head::read(&row)?;
                    if head.holds_any(topics) && !heads.push(head) {
                        return Ok(heads.list);
                    }
                }
            }
            let Some(next) = next else { return Ok(heads.list) };
            start = next;
        }
    }

    /// First numbers, ascending, of segments from `start` on that may hold one of the topics; and from where to ask again, if there may be more.
    fn entries(&mut self, start: u64, topics: &HashSet<u64>) -> Result<(Vec<u64>, Option<u64>), StoreError> {
        let mut all = Vec::new();
        // Where the shortest of the lists that were cut off ends.
        let mut end = None;
        for &topic in topics.iter().chain(&[BROAD]) {
            let mut find = Script::new("SELECT first FROM holds WHERE topic = ? AND first >= ? ORDER BY first LIMIT ?");
            find.number(topic).number(start).number(ENTRIES as u64);
            let rows = self.rows(find)?;
            for row in &rows {
                all.push(number(row, 0)?);
            }
            if rows.len() == ENTRIES {
                end = end.into_iter().chain(all.last().copied()).min();
            }
        }
        all.retain(|&first| end.is_none_or(|end| first <= end));
        all.sort_unstable();
        all.dedup();
        Ok((all, end.map(|end| end + 1)))
    }

    /// Reads the messages to the heads.
    fn with_bodies(&mut self, heads: Vec<Head>) -> Result<Vec<Segment>, StoreError> {
        self.learn_names(&heads)?;
        let positions: Vec<u64> = heads.iter().map(|head| head.segment.position).collect();
        let mut bodies = BTreeMap::new();
        for chunk in chunks(&positions, &KEYS) {
            let mut find = Script::new("SELECT position, body, set_off FROM bodies WHERE position IN (");
            find.list("?", chunk.len()).push(")");
            for &position in chunk {
                find.number(position);
            }
            for row in self.rows(find)? {
                bodies.insert(number(&row, 0)?, (Bytes::from(bytes(&row, 1)?), Bytes::from(bytes(&row, 2)?)));
            }
        }
        let segments = heads.into_iter().map(|Head { mut segment, shares, bytes }| {
            let body = bodies.remove(&segment.position);
            let body = body.filter(|(body, set_off)| (body.len() + set_off.len()) as u64 == bytes);
            let lost = || StoreError::Damaged(format!("the messages at position {} are missing", segment.position));
            (segment.body, segment.set_off) = body.ok_or_else(lost)?;
            segment.topics = shares.iter().map(|share| self.named(share)).collect::<Result<_, _>>()?;
            Ok(segment)
        });
        segments.collect()
    }

    fn named(&self, share: &Share) -> Result<TopicShare, StoreError> {
        let names = self.names.get(&share.topic);
        let (realm, topic) =
            names.ok_or_else(|| StoreError::Damaged(format!("topic {} is missing", share.topic)))?.clone();
        Ok(TopicShare { realm, topic, messages: share.messages, bytes: share.bytes })
    }

    fn learn_names(&mut self, heads: &[Head]) -> Result<(), StoreError> {
        if self.names.len() > KNOWN_MAX {
            self.names.clear();
        }
        let ids = heads.iter().flat_map(|head| head.shares.iter().map(|share| share.topic));
        let missing: HashSet<u64> = ids.filter(|id| !self.names.contains_key(id)).collect();
        let missing: Vec<u64> = missing.into_iter().collect();
        for chunk in chunks(&missing, &KEYS) {
            let mut find = Script::new("SELECT id, realm, name FROM topics WHERE id IN (");
            find.list("?", chunk.len()).push(")");
            for &id in chunk {
                find.number(id);
            }
            for row in self.rows(find)? {
                self.names.insert(number(&row, 0)?, (text(&row, 1)?.into(), text(&row, 2)?.into()));
            }
        }
        Ok(())
    }

    /// Ids of those of the topics that there are.
    fn ids(&mut self, topics: &[(&str, &str)]) -> Result<HashSet<u64>, StoreError> {
        let mut ids = HashSet::new();
        for chunk in chunks(topics, &KEYS) {
            let mut find = Script::new("SELECT id FROM topics WHERE (realm, name) IN (VALUES ");
            find.list("(?,?)", chunk.len()).push(")");
            for &(realm, name) in chunk {
                find.bind(realm).bind(name);
            }
            for row in self.rows(find)? {
                ids.insert(number(&row, 0)?);
            }
        }
        Ok(ids)
    }

    /// The first segment of which something that grows with the numbers is not `before` any more: its first number.
    fn search(
        &mut self,
        column: &str,
        before: impl Fn(&SqliteRow) -> Result<bool, StoreError>,
    ) -> Result<Option<u64>, StoreError> {
        let ends = self.row(Script::new("SELECT (SELECT MIN(first) FROM heads), (SELECT MAX(first) FROM heads)"))?;
        let ends = ends.filter(|row| row.try_get::<Option<i64>, _>(0).is_ok_and(|first| first.is_some()));
        let Some(ends) = ends else { return Ok(None) };
        // All that begin below `low` are before; the one that begins at `found` is not.
        let (mut low, mut high) = (number(&ends, 0)?, number(&ends, 1)? + 1);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let mut find = Script::new("SELECT first, ");
            find.push(column).push(" FROM heads WHERE first >= ? ORDER BY first LIMIT 1").number(middle);
            let row = self.row(find)?;
            match row {
                Some(row) if before(&row)? => low = number(&row, 0)? + 1,
                Some(row) => {
                    found = Some(number(&row, 0)?);
                    high = middle;
                }
                None => high = middle,
            }
        }
        Ok(found)
    }
}

/// Heads that are gathered until there are enough bytes.
struct Heads {
    list: Vec<Head>,
    bytes: usize,
    bytes_max: usize,
}

impl Heads {
    fn new(bytes_max: usize) -> Self {
        Self { list: Vec::new(), bytes: 0, bytes_max }
    }

    /// Whether there is room for more.
    fn push(&mut self, head: Head) -> bool {
        self.bytes += head.bytes as usize + 64 + head.shares.len() * 32;
        self.list.push(head);
        self.bytes < self.bytes_max
    }
}

impl StoreReader for SqliteReader {
    fn scan(&mut self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let (begin, key) = match after {
            Some(after) if after >= prefix => (">", after),
            _ => (">=", prefix),
        };
        let mut find = Script::new("SELECT key, value FROM state WHERE key ");
        find.push(begin).push(" ?");
        find.bind(key);
        if let Some(end) = behind(prefix) {
            find.push(" AND key < ?").bind(end);
        }
        find.push(" ORDER BY key LIMIT ?").number(limit as u64);
        let rows = self.rows(find)?;
        rows.iter().map(|row| Ok((bytes(row, 0)?, bytes(row, 1)?))).collect()
    }

    fn segments(
        &mut self,
        from: u64,
        topics: Option<&[(&str, &str)]>,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, StoreError> {
        self.reading(|reader| {
            let heads = match topics.map(|topics| reader.ids(topics)).transpose()? {
                None => reader.heads(from, bytes_max, |_| true)?,
                Some(ids) if ids.is_empty() => return Ok(Vec::new()),
                Some(ids) if ids.len() <= TOPICS_LOOKED_UP_MAX => reader.heads_of(from, &ids, bytes_max)?,
                Some(ids) => reader.heads(from, bytes_max, |head| head.holds_any(&ids))?,
            };
            reader.with_bodies(heads)
        })
    }

    fn headers(&mut self, from: u64, limit: usize) -> Result<Vec<Header>, StoreError> {
        self.reading(|reader| {
            let mut find = Script::new(HEAD);
            find.push("WHERE first >= ? ORDER BY first LIMIT ?").number(from).number(limit as u64);
            let heads = reader.rows(find)?.iter().map(Head::read).collect::<Result<Vec<_>, _>>()?;
            reader.learn_names(&heads)?;
            let named = |head: Head| {
                let topics = head.shares.iter().map(|share| reader.named(share)).collect::<Result<_, _>>()?;
                Ok(Header { topics, ..Header::of(&head.segment) })
            };
            heads.into_iter().map(named).collect()
        })
    }

    fn segment_before(&mut self, number: u64) -> Result<Option<Segment>, StoreError> {
        self.reading(|reader| {
            let mut find = Script::new(HEAD);
            find.push("WHERE first < ? ORDER BY first DESC LIMIT 2").number(number);
            for row in reader.rows(find)? {
                let head = Head::read(&row)?;
                if head.segment.last() < number {
                    return Ok(reader.with_bodies(vec![head])?.pop());
                }
            }
            Ok(None)
        })
    }

    fn first_since(&mut self, at_us: u64) -> Result<Option<u64>, StoreError> {
        self.reading(|reader| reader.search("at_us", |row| Ok(number(row, 1)? < at_us)))
    }

    fn first_of(&mut self, minute: u32, generator: u64) -> Result<Option<u64>, StoreError> {
        self.reading(|reader| {
            reader.search("minute, generator", |row| Ok((number_u32(row, 1)?, number(row, 2)?) < (minute, generator)))
        })
    }

    fn topics(
        &mut self,
        realm: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Box<str>>, StoreError> {
        let (begin, name) = match after {
            Some(after) if after >= prefix => (">", after),
            _ => (">=", prefix),
        };
        let mut find = Script::new("SELECT name FROM topics WHERE realm = ? AND name ");
        find.bind(realm);
        find.push(begin).push(" ? ORDER BY name LIMIT ?").bind(name).number(limit as u64);
        let names = self.rows(find)?;
        let names = names.iter().map(|row| text(row, 0).map(Box::from));
        names
            .take_while(|name: &Result<Box<str>, _>| {
                name.as_ref().is_ok_and(|name| name.starts_with(prefix)) || name.is_err()
            })
            .collect()
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        let files = self.files.clone();
        self.reading(|reader| {
            let (segments, segment_bytes) = super::count(&mut reader.connection)?;
            let ends = reader.row(Script::new(
                "SELECT COALESCE((SELECT MIN(first) FROM heads), 0), \
                 COALESCE((SELECT first + count - 1 FROM heads ORDER BY first DESC LIMIT 1), 0), \
                 COALESCE((SELECT position FROM heads ORDER BY first DESC LIMIT 1), 0), \
                 (SELECT COUNT(*) FROM state)",
            ))?;
            let ends = ends.ok_or_else(|| StoreError::Damaged("no answer".to_owned()))?;
            Ok(Stats {
                segments,
                segment_bytes,
                first_number: number(&ends, 0)?,
                last_number: number(&ends, 1)?,
                last_position: number(&ends, 2)?,
                rows: number(&ends, 3)?,
                disk_bytes: files.disk_bytes(),
            })
        })
    }
}

/// The first key behind all that begin with `prefix`; `None`: there is none.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
