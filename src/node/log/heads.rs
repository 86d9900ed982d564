//! Event ids of what was fed lately, by number: what is acknowledged is told with its id. And of what somebody has looked up.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::queue::segment::Segment;
use crate::types::event_id::EventId;

/// Segments that are remembered.
const HEADS_MAX: usize = 16 * 1024;
/// Segments of before that are remembered, for they were looked up.
const OLD_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Heads {
    recent: Mutex<VecDeque<Head>>,
    /// By their last numbers.
    old: Mutex<BTreeMap<u64, Head>>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    first: u64,
    last: u64,
    minute: u32,
    generator: u64,
}

impl Head {
    fn of(segment: &Segment) -> Self {
        let Segment { first, minute, generator, .. } = *segment;
        Self { first, last: segment.last(), minute, generator }
    }

    fn id(&self, number: u64) -> EventId {
        EventId { minute: self.minute, generator: self.generator, offset: (number - self.first + 1) as u32 }
    }
}

impl Heads {
    /// A segment was read from the store; it has numbers.
    pub fn learn(&self, segment: &Segment) {
        let mut old = self.old.lock();
        if old.len() >= OLD_MAX {
            // What is asked for again is the oldest that somebody still wants, and that moves on.
            old.pop_first();
        }
        old.insert(segment.last(), Head::of(segment));
    }

    /// The event id of a number, if its segment was fed lately or has been looked up.
    pub fn find(&self, number: u64) -> Option<EventId> {
        let learned = || {
            let old = self.old.lock();
            let (_, head) = old.range(number..).next()?;
            (head.first <= number).then(|| head.id(number))
        };
        self.id_of(number).or_else(learned)
    }

    /// A segment is fed; it has numbers.
    pub fn note(&self, segment: &Segment) {
        let mut recent = self.recent.lock();
        if recent.len() >= HEADS_MAX {
            recent.pop_front();
        }
        recent.push_back(Head::of(segment));
    }

    /// The event id of a number; `None`: it was not fed, or too long ago.
    pub fn id_of(&self, number: u64) -> Option<EventId> {
        let recent = self.recent.lock();
        let at = recent.partition_point(|head| head.last < number);
        recent.get(at).filter(|head| head.first <= number).map(|head| head.id(number))
    }

    /// The id of the last event that was fed; `None`: there was none since the start.
    pub fn last(&self) -> Option<EventId> {
        self.recent.lock().back().map(|head| head.id(head.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_ids_of_their_segment() {
        let heads = Heads::default();
        assert_eq!((heads.id_of(1), heads.last()), (None, None));
        for (first, count, generator) in [(5, 3, 1), (8, 1, 2), (20, 2, 4)] {
            heads.note(&Segment { first, count, minute: 9, generator, ..Segment::default() });
        }
        let id = |generator, offset| Some(EventId { minute: 9, generator, offset });
        assert_eq!(
            [4, 5, 7, 8, 9, 21, 22].map(|number| heads.id_of(number)),
            [None, id(1, 1), id(1, 3), id(2, 1), None, id(4, 2), None]
        );
        assert_eq!(heads.last(), id(4, 2));
        heads.learn(&Segment { first: 2, count: 2, minute: 9, generator: 7, ..Segment::default() });
        assert_eq!([1, 3, 4, 5].map(|number| heads.find(number)), [None, id(7, 2), None, id(1, 1)]);
        assert_eq!(heads.id_of(3), None, "only what was fed may be told as being there");
    }
}
