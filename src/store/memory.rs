//! A store that ends with the process: for `--memory`, for trying things out, and for tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Commit, Row, Stats, Store, StoreError, StoreReader};
use crate::queue::retention::Header;
use crate::queue::segment::Segment;

/// Both sides of it: readers share what the writer has.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    /// By first number.
    segments: BTreeMap<u64, Segment>,
    /// First number by position.
    positions: BTreeMap<u64, u64>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of each realm its topics, and how many segments hold them.
    topics: BTreeMap<Box<str>, BTreeMap<Box<str>, u64>>,
    /// Bodies and what was set off.
    segment_bytes: u64,
    row_bytes: u64,
}

impl MemoryStore {
    /// One that holds the same and shares nothing.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { kept: Arc::new(Mutex::new(self.kept.lock().clone())) }
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.kept.lock().commit(commit)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.kept.lock().rows.get(key).cloned())
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Kept {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let last = self.positions.last_key_value().map_or(0, |(&position, _)| position);
        if commit.segments.first().is_some_and(|segment| segment.position <= last) {
            return Err(StoreError::Damaged(format!("there is a segment at position {last} already")));
        }
        for position in &commit.dropped {
            self.remove(*position);
        }
        for segment in &commit.rewritten {
            if self.remove(segment.position) {
                self.insert(segment);
            }
        }
        for segment in &commit.segments {
            self.insert(segment);
        }
        for (key, value) in &commit.rows {
            let before = match value {
                Some(value) => {
                    self.row_bytes += (key.len() + value.len()) as u64;
                    self.rows.insert(key.clone(), value.clone())
                }
                None => self.rows.remove(key),
            };
            self.row_bytes -= before.map_or(0, |value| (key.len() + value.len()) as u64);
        }
        Ok(())
    }

    fn insert(&mut self, segment: &Segment) {
        debug_assert!(segment.count > 0, "a segment without messages");
        for share in &segment.topics {
            let topics = self.topics.entry(share.realm.clone()).or_default();
            *topics.entry(share.topic.clone()).or_default() += 1;
        }
        self.segment_bytes += stored_bytes(segment);
        self.positions.insert(segment.position, segment.first);
        self.segments.insert(segment.first, segment.clone());
    }

    /// Whether it was there.
    fn remove(&mut self, position: u64) -> bool {
        let first = self.positions.remove(&position);
        let Some(segment) = first.and_then(|first| self.segments.remove(&first)) else { return false };
        self.segment_bytes -= stored_bytes(&segment);
        for share in &segment.topics {
            let Some(topics) = self.topics.get_mut(&share.realm) else { continue };
            if let Some(count) = topics.get_mut(&share.topic) {
                *count -= 1;
                if *count == 0 {
                    topics.remove(&share.topic);
                }
            }
        }
        true
    }
}

fn stored_bytes(segment: &Segment) -> u64 {
    (segment.body.len() + segment.set_off.len()) as u64
}

impl StoreReader for MemoryStore {
    fn scan(&mut self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let kept = self.kept.lock();
        let begin = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows = kept.rows.range::<[u8], _>((begin, Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn segments(
        &mut self,
        from: u64,
        topics: Option<&[(&str, &str)]>,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, StoreError> {
        let kept = self.kept.lock();
        let holding = kept.segments.range(..=from).next_back().filter(|(_, segment)| segment.last() >= from);
        let start = holding.map_or(from, |(&first, _)| first);
        let wanted = |segment: &&Segment| {
            topics.is_none_or(|topics| segment.topics.iter().any(|s| topics.contains(&(&*s.realm, &*s.topic))))
        };
        let mut bytes = 0;
        let found = kept.segments.range(start..).map(|(_, segment)| segment).filter(wanted);
        let found = found.take_while(|segment| {
            let room = bytes < bytes_max.max(1);
            bytes += segment.bytes();
            room
        });
        Ok(found.cloned().collect())
    }

    fn headers(&mut self, from: u64, limit: usize) -> Result<Vec<Header>, StoreError> {
        let kept = self.kept.lock();
        Ok(kept.segments.range(from..).take(limit).map(|(_, segment)| Header::of(segment)).collect())
    }

    fn segment_before(&mut self, number: u64) -> Result<Option<Segment>, StoreError> {
        let kept = self.kept.lock();
        let mut before = kept.segments.range(..number).rev().map(|(_, segment)| segment);
        Ok(before.find(|segment| segment.last() < number).cloned())
    }

    fn first_since(&mut self, at_us: u64) -> Result<Option<u64>, StoreError> {
        let kept = self.kept.lock();
        Ok(kept.segments.values().find(|segment| segment.at_us >= at_us).map(|segment| segment.first))
    }

    fn first_of(&mut self, minute: u32, generator: u64) -> Result<Option<u64>, StoreError> {
        let kept = self.kept.lock();
        let found = kept.segments.values().find(|segment| (segment.minute, segment.generator) >= (minute, generator));
        Ok(found.map(|segment| segment.first))
    }

    fn topics(
        &mut self,
        realm: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Box<str>>, StoreError> {
        let kept = self.kept.lock();
        let Some(topics) = kept.topics.get(realm) else { return Ok(Vec::new()) };
        let begin = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let names = topics.range::<str, _>((begin, Bound::Unbounded)).map(|(name, _)| name);
        Ok(names.take_while(|name| name.starts_with(prefix)).take(limit).cloned().collect())
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        let kept = self.kept.lock();
        Ok(Stats {
            segments: kept.segments.len() as u64,
            segment_bytes: kept.segment_bytes,
            first_number: kept.segments.first_key_value().map_or(0, |(&first, _)| first),
            last_number: kept.segments.last_key_value().map_or(0, |(_, segment)| segment.last()),
            last_position: kept.positions.last_key_value().map_or(0, |(&position, _)| position),
            rows: kept.rows.len() as u64,
            disk_bytes: kept.segment_bytes + kept.row_bytes,
        })
    }
}
