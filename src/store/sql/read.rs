//! The reading side: a connection of its own, so that it waits for nobody.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::encode::{Share, read_shares, read_voids};
use super::integrity::integrity;
use super::write::{BROAD, chunks, count};
use super::{Record, Script, Session};
use crate::queue::retention::Header;
use crate::queue::segment::{Segment, TopicShare};
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

pub(in crate::store) struct Reader<S> {
    session: S,
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
    fn read(row: &impl Record) -> Result<Self, StoreError> {
        let segment = Segment {
            first: row.number(0)?,
            position: row.number(1)?,
            count: row.number_u32(2)?,
            at_us: row.number(3)?,
            minute: row.number_u32(4)?,
            generator: row.number(5)?,
            voids: read_voids(&row.bytes(7)?)?,
            ..Segment::default()
        };
        if segment.count == 0 || segment.first == 0 {
            return Err(StoreError::Damaged("a segment without messages".to_owned()));
        }
        Ok(Self { segment, shares: read_shares(&row.bytes(8)?)?, bytes: row.number(6)? })
    }

    fn holds_any(&self, topics: &HashSet<u64>) -> bool {
        self.shares.iter().any(|share| topics.contains(&share.topic))
    }
}

impl<S: Session> Reader<S> {
    pub(in crate::store) fn new(session: S) -> Self {
        Self { session, names: HashMap::new() }
    }

    /// Does it with one view of the database.
    fn reading<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.session.run(Script::new(S::DIALECT.begin_reading()))?;
        let result = read(self);
        // If this fails, the next BEGIN tells.
        self.session.roll_back();
        result
    }

    /// Heads from `from` on that `wanted` lets pass, until they have so many bytes.
    fn heads(&mut self, from: u64, bytes_max: usize, wanted: impl Fn(&Head) -> bool) -> Result<Vec<Head>, StoreError> {
        let (mut from, mut limit) = (from, HEADS.0);
        let mut heads = Heads::new(bytes_max);
        loop {
            let mut find = Script::new(HEAD);
            find.push("WHERE first >= ").push(START).push(" ORDER BY first LIMIT ?2");
            find.number(from).number(limit as u64);
            let rows = self.session.rows(find)?;
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
        let mut start = self.session.row(start)?.map_or(Ok(from), |row| row.number(0))?;
        let mut heads = Heads::new(bytes_max);
        loop {
            let (firsts, next) = self.entries(start, topics)?;
            for chunk in chunks(&firsts, &KEYS) {
                let mut find = Script::new(HEAD);
                find.push("WHERE first IN (").list("?", chunk.len()).push(") ORDER BY first");
                for &first in chunk {
                    find.number(first);
                }
                for row in self.session.rows(find)? {
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
            let rows = self.session.rows(find)?;
            for row in &rows {
                all.push(row.number(0)?);
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
            for row in self.session.rows(find)? {
                bodies.insert(row.number(0)?, (Bytes::from(row.bytes(1)?), Bytes::from(row.bytes(2)?)));
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
            for row in self.session.rows(find)? {
                self.names.insert(row.number(0)?, (row.text(1)?.into(), row.text(2)?.into()));
            }
        }
        Ok(())
    }

    /// Ids of those of the topics that there are.
    fn ids(&mut self, topics: &[(&str, &str)]) -> Result<HashSet<u64>, StoreError> {
        let mut ids = HashSet::new();
        for chunk in chunks(topics, &KEYS) {
            let [before, item, behind] = S::DIALECT.of_names();
            let mut find = Script::new("SELECT id FROM topics");
            find.push(before).list(item, chunk.len()).push(behind);
            for &(realm, name) in chunk {
                find.text(realm).text(name);
            }
            for row in self.session.rows(find)? {
                ids.insert(row.number(0)?);
            }
        }
        Ok(ids)
    }

    /// The first segment of which something that grows with the numbers is not `before` any more: its first number.
    fn search(
        &mut self,
        column: &str,
        before: impl Fn(&S::Record) -> Result<bool, StoreError>,
    ) -> Result<Option<u64>, StoreError> {
        let ends = self.session.row(Script::new(
            "SELECT COALESCE((SELECT MIN(first) FROM heads), 0), COALESCE((SELECT MAX(first) FROM heads), 0)",
        ))?;
        let Some(ends) = ends else { return Ok(None) };
        // All that begin below `low` are before; the one that begins at `found` is not.
        let (mut low, mut high) = (ends.number(0)?, ends.number(1)? + 1);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let mut find = Script::new("SELECT first, ");
            find.push(column).push(" FROM heads WHERE first >= ? ORDER BY first LIMIT 1").number(middle);
            let row = self.session.row(find)?;
            match row {
                Some(row) if before(&row)? => low = row.number(0)? + 1,
                Some(row) => {
                    found = Some(row.number(0)?);
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

impl<S: Session> StoreReader for Reader<S> {
    fn scan(&mut self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let after = after.filter(|&after| after >= prefix);
        let mut find = Script::new("SELECT key, value FROM state WHERE ");
        find.push(S::DIALECT.keys_from(after.is_some())).bytes(after.unwrap_or(prefix));
        if let Some(end) = behind(prefix) {
            find.push(" AND ").push(S::DIALECT.keys_before()).bytes(&end);
        }
        find.push(S::DIALECT.key_order()).push(" LIMIT ?").number(limit as u64);
        let rows = self.session.rows(find)?;
        rows.iter().map(|row| Ok((row.bytes(0)?, row.bytes(1)?))).collect()
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
            let heads = reader.session.rows(find)?.iter().map(Head::read).collect::<Result<Vec<_>, _>>()?;
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
            for row in reader.session.rows(find)? {
                let head = Head::read(&row)?;
                if head.segment.last() < number {
                    return Ok(reader.with_bodies(vec![head])?.pop());
                }
            }
            Ok(None)
        })
    }

    fn first_since(&mut self, at_us: u64) -> Result<Option<u64>, StoreError> {
        self.reading(|reader| reader.search("at_us", |row| Ok(row.number(1)? < at_us)))
    }

    fn first_of(&mut self, minute: u32, generator: u64) -> Result<Option<u64>, StoreError> {
        self.reading(|reader| {
            reader.search("minute, generator", |row| Ok((row.number_u32(1)?, row.number(2)?) < (minute, generator)))
        })
    }

    fn topics(
        &mut self,
        realm: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Box<str>>, StoreError> {
        let after = after.filter(|&after| after >= prefix);
        let mut find = Script::new("SELECT name FROM topics WHERE ");
        find.push(S::DIALECT.names_from(after.is_some())).push(" LIMIT ?");
        find.text(realm).text(after.unwrap_or(prefix)).number(limit as u64);
        let mut names = Vec::new();
        for row in self.session.rows(find)? {
            let name = row.text(0)?;
            if !name.starts_with(prefix) {
                break;
            }
            names.push(name.into());
        }
        Ok(names)
    }

    fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        self.reading(|reader| integrity(&mut reader.session))
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        self.reading(|reader| {
            let (segments, segment_bytes) = count(&mut reader.session)?;
            let ends = reader.session.row(Script::new(
                "SELECT COALESCE((SELECT MIN(first) FROM heads), 0), \
                 COALESCE((SELECT first + count - 1 FROM heads ORDER BY first DESC LIMIT 1), 0), \
                 COALESCE((SELECT position FROM heads ORDER BY first DESC LIMIT 1), 0), \
                 (SELECT COUNT(*) FROM state)",
            ))?;
            let ends = ends.ok_or_else(|| StoreError::Damaged("no answer".to_owned()))?;
            Ok(Stats {
                segments,
                segment_bytes,
                first_number: ends.number(0)?,
                last_number: ends.number(1)?,
                last_position: ends.number(2)?,
                rows: ends.number(3)?,
                disk_bytes: reader.session.disk_bytes()?,
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
