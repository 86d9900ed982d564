//! Event ids of what was fed lately, by number: what is acknowledged is told with its id. And of what somebody has looked up.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::queue::segment::Segment;
use crate::types::event_id::EventId;

/// Segments that are remembered.
const HEADS_MAX: usize = 16 * 1024;
/// Numbers of before that are remembered, for they were looked up.
const OLD_MAX: usize = 16 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Heads {
    recent: Mutex<VecDeque<Head>>,
    /// Minutes by number.
    old: Mutex<BTreeMap<u64, u32>>,
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
    /// What comes from this number on begins with a segment of this minute, as the store says.
    pub fn learn(&self, number: u64, minute: u32) {
        let mut old = self.old.lock();
        if old.len() >= OLD_MAX {
            // Whoever is furthest behind is looked up again.
            old.pop_first();
        }
        old.insert(number, minute);
    }

    /// The minute of what comes from a number on, if that was fed lately or has been looked up.
    pub fn minute_from(&self, number: u64) -> Option<u32> {
        let fed = self.id_of(number).map(|id| id.minute);
        fed.or_else(|| self.old.lock().get(&number).copied())
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
        heads.learn(3, 7);
        assert_eq!([1, 3, 4, 5].map(|number| heads.minute_from(number)), [None, Some(7), None, Some(9)]);
        assert_eq!(heads.id_of(3), None, "only what was fed may be told as being there");
    }
}
