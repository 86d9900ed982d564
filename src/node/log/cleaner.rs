//! Retention at work: walks over the headers of the log a slice at a time, and says what is to be deleted and rewritten.

use crate::queue::message::without;
use crate::queue::retention::{Floor, Floors, Header, Passed, Policy, Retention, Verdict};
use crate::queue::segment::Segment;
use crate::store::{StoreError, StoreReader};
use crate::types::topic::TopicPattern;

/// Headers that one slice looks at: of the oldest segments, and on the walk.
const OLDEST: usize = 500;
const HEADERS: usize = 4000;
/// What one slice deletes: so many segments, and about so many bytes, for each page that they take is read.
const DROPPED_MAX: usize = 500;
const DROPPED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What one slice rewrites: each segment is read and written.
const REWRITTEN_MAX: usize = 16;
const REWRITTEN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// See the module. A walk over everything takes long where there is much, so each slice looks at the oldest segments first: most of
/// what is to go is there.
pub struct Cleaner {
    reader: Box<dyn StoreReader>,
    retention: Retention,
    /// What the log had when the counting began is counted first, up to this number.
    counting: Option<Counting>,
    walk: Walk,
    lost: u64,
    /// What was found to be given up may still be there, though it is counted as gone.
    unsure: bool,
}

/// Where the walk goes on, and what it has passed.
#[derive(Default)]
struct Walk {
    from: u64,
    passed: Passed,
}

struct Counting {
    from: u64,
    to: u64,
}

/// What the log holds of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// `None`: of every realm.
    pub realm: Option<String>,
    pub pattern: TopicPattern,
    pub messages: u64,
    pub bytes: u64,
}

/// What one slice of work comes to.
#[derive(Default)]
pub struct Slice {
    /// To be raised before anything is deleted.
    pub floors: Vec<Floor>,
    pub dropped: Vec<u64>,
    pub rewritten: Vec<Segment>,
    /// Messages that a cursor has not passed, and that go all the same: there is too much of them.
    pub lost: u64,
    /// There is more that should not wait long.
    pub more: bool,
    dropped_bytes: u64,
    rewritten_bytes: usize,
}

impl Slice {
    fn is_full(&self) -> bool {
        self.dropped.len() >= DROPPED_MAX
            || self.dropped_bytes >= DROPPED_BYTES_MAX
            || self.rewritten.len() >= REWRITTEN_MAX
            || self.rewritten_bytes >= REWRITTEN_BYTES_MAX
    }

    fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.rewritten.is_empty()
    }
}

impl Cleaner {
    /// `last`: number of the last message that the log has.
    pub fn new(reader: Box<dyn StoreReader>, retention: Retention, last: u64) -> Self {
        let counting = Some(Counting { from: 0, to: last });
        Self { reader, retention, counting, walk: Walk::default(), lost: 0, unsure: false }
    }

    /// Counts a segment that was committed.
    pub fn add(&mut self, segment: &Segment) {
        self.retention.add(&segment.topics);
    }

    /// What the log holds of each policy.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = |(policy, messages, bytes): (&Policy, _, _)| Kept {
            realm: policy.realm.clone(),
            pattern: policy.pattern.clone(),
            messages,
            bytes,
        };
        self.retention.totals().map(kept).collect()
    }

    /// Messages that were given up so far although a cursor had not passed them.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What the last slice came to was carried out; so many messages were lost to a cursor.
    pub fn done(&mut self, lost: u64) {
        self.lost += lost;
        self.unsure = false;
    }

    /// The walk is at its beginning: it has passed over all there is, and everything is counted.
    pub fn has_walked(&self) -> bool {
        self.counting.is_none() && self.walk.from == 0
    }

    /// Goes on counting or walking. `wanted`: see [`Retention::weigh`]; `last`: number of the last message that the log has. What it
    /// finds is counted as gone: to be carried out, then [`Cleaner::done`]. If it is not, all is counted anew.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn look(&mut self, now_us: u64, wanted: u64, last: u64) -> Result<Slice, StoreError> {
        if std::mem::take(&mut self.unsure) {
            self.retention.reset();
            self.walk = Walk::default();
            self.counting = Some(Counting { from: 0, to: last });
        }
        if self.counting.is_some() {
            self.count()?;
            return Ok(Slice { more: true, ..Slice::default() });
        }
        self.unsure = true;
        let slice = self.find(now_us, wanted)?;
        self.unsure = !slice.is_empty();
        Ok(slice)
    }

    fn find(&mut self, now_us: u64, wanted: u64) -> Result<Slice, StoreError> {
        let mut slice = Slice::default();
        let mut floors = Floors::default();
        let oldest = self.reader.headers(0, OLDEST)?;
        let stopped = self.weigh(&oldest, (now_us, wanted), &mut Passed::default(), &mut floors, &mut slice)?;
        if slice.is_empty() && stopped.is_none() {
            let Walk { from, mut passed } = std::mem::take(&mut self.walk);
            let headers = self.reader.headers(from, HEADERS)?;
            let stopped = self.weigh(&headers, (now_us, wanted), &mut passed, &mut floors, &mut slice)?;
            let behind = headers.last().filter(|_| headers.len() == HEADERS).map(|header| header.first + 1);
            // Behind the last one the walk begins anew.
            if let Some(from) = stopped.or(behind) {
                self.walk = Walk { from, passed };
            }
        }
        slice.more = !slice.is_empty();
        slice.lost = floors.lost;
        slice.floors = self.retention.floors(floors);
        Ok(slice)
    }

    /// Judges segments until the slice is full. Returns the first number of the one where it stopped.
    fn weigh(
        &mut self,
        headers: &[Header],
        (now_us, wanted): (u64, u64),
        passed: &mut Passed,
        floors: &mut Floors,
        slice: &mut Slice,
    ) -> Result<Option<u64>, StoreError> {
        for header in headers {
            if slice.is_full() {
                return Ok(Some(header.first));
            }
            match self.retention.weigh(header, now_us, wanted, passed, floors) {
                Verdict::Keep => {}
                Verdict::Drop => {
                    slice.dropped.push(header.position);
                    slice.dropped_bytes += header.topics.iter().map(|share| share.bytes).sum::<u64>();
                }
                Verdict::Rewrite(dead) => {
                    let rewritten = self.rewrite(header, &dead)?;
                    slice.rewritten_bytes += rewritten.as_ref().map_or(0, Segment::bytes);
                    slice.rewritten.extend(rewritten);
                }
            }
        }
        Ok(None)
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
