//! Retention at work: walks over the headers of the log a slice at a time, and says what is to be deleted and rewritten.

use crate::queue::message::without;
use crate::queue::retention::{Floor, Floors, Header, Retention, Verdict};
use crate::queue::segment::Segment;
use crate::store::{StoreError, StoreReader};
use crate::types::topic::TopicPattern;

/// Headers that one slice looks at.
const HEADERS: usize = 2000;
/// Segments that one slice rewrites: each is read and written.
const REWRITTEN_MAX: usize = 16;

/// See the module.
pub struct Cleaner {
    reader: Box<dyn StoreReader>,
    retention: Retention,
    /// What the log had at start is counted first, up to this number.
    counting: Option<Counting>,
    /// Where the walk goes on.
    from: u64,
}

struct Counting {
    from: u64,
    to: u64,
}

/// What one slice of work comes to.
#[derive(Default)]
pub struct Slice {
    /// To be raised before anything is deleted.
    pub floors: Vec<Floor>,
    pub dropped: Vec<u64>,
    pub rewritten: Vec<Segment>,
}

impl Cleaner {
    /// `last`: number of the last message that the log has.
    pub fn new(reader: Box<dyn StoreReader>, retention: Retention, last: u64) -> Self {
        Self { reader, retention, counting: Some(Counting { from: 0, to: last }), from: 0 }
    }

    /// Counts a segment that was committed.
    pub fn add(&mut self, segment: &Segment) {
        self.retention.add(&segment.topics);
    }

    pub fn totals(&self) -> Vec<(TopicPattern, u64, u64)> {
        let totals = self.retention.totals();
        totals.map(|(policy, messages, bytes)| (policy.pattern.clone(), messages, bytes)).collect()
    }

    /// Goes on counting or walking. `wanted`: see [`Retention::weigh`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn look(&mut self, now_us: u64, wanted: u64) -> Result<Slice, StoreError> {
        if self.counting.is_some() {
            self.count()?;
            return Ok(Slice::default());
        }
        let headers = self.reader.headers(self.from, HEADERS)?;
        // Behind the last one the walk begins anew.
        self.from = if headers.len() < HEADERS { 0 } else { headers.last().map_or(0, |header| header.first + 1) };
        let mut slice = Slice::default();
        let mut floors = Floors::default();
        for header in &headers {
            if slice.rewritten.len() == REWRITTEN_MAX {
                self.from = header.first;
                break;
            }
            match self.retention.weigh(header, now_us, wanted, &mut floors) {
                Verdict::Keep => {}
                Verdict::Drop => slice.dropped.push(header.position),
                Verdict::Rewrite(dead) => slice.rewritten.extend(self.rewrite(header, &dead)?),
            }
        }
        slice.floors = self.retention.floors(floors);
        Ok(slice)
    }

    fn count(&mut self) -> Result<(), StoreError> {
        let Some(Counting { from, to }) = &mut self.counting else { return Ok(()) };
        let headers = self.reader.headers(*from, HEADERS)?;
        for header in headers.iter().take_while(|header| header.first <= *to) {
            self.retention.add(&header.topics);
        }
        match headers.last() {
            Some(last) if headers.len() == HEADERS && last.first <= *to => *from = last.first + 1,
            _ => self.counting = None,
        }
        Ok(())
    }

    /// The segment without its dead topics; `None` if it is gone or damaged: it stays as it is then.
    fn rewrite(&mut self, header: &Header, dead: &[(Box<str>, Box<str>)]) -> Result<Option<Segment>, StoreError> {
        let found = self.reader.segments(header.first, None, 1)?.into_iter().next();
        let Some(mut segment) = found.filter(|segment| segment.position == header.position) else { return Ok(None) };
        let is_dead = |realm: &str, topic: &str| dead.iter().any(|(r, t)| **r == *realm && **t == *topic);
        let (body, set_off) = (
            without(&segment.body, |head| is_dead(head.realm, head.topic)),
            without(&segment.set_off, |head| is_dead(head.realm, head.topic)),
        );
        let (Ok(body), Ok(set_off)) = (body, set_off) else { return Ok(None) };
        (segment.body, segment.set_off) = (body, set_off);
        segment.topics.retain(|share| !is_dead(&share.realm, &share.topic));
        Ok(Some(segment))
    }
}
