//! One segment on its way through a storage.

use bytes::Bytes;

use crate::queue::digest::digest;
use crate::queue::envelope::Draft;

/// What a storage has of a segment that is not applied.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Without gaps, from offset 1 on. One part, once the segment is whole.
    parts: Vec<Part>,
    /// TRIM is owed; whether the entry's clock was ahead.
    begun: Option<bool>,
    /// It was begun here, and its entry's clock was not ahead.
    is_in_time: bool,
    stage: Stage,
    /// The entry is saying it: what is missing comes by itself, as long as the link holds.
    pub is_coming: bool,
}

/// What BEGIN says of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The entry's clock is wrong.
    pub ahead: bool,
    /// All of it follows, so it wants no TRIM.
    pub closed: bool,
}

#[derive(Debug)]
struct Part {
    /// From 1 on.
    offset: u32,
    count: u32,
    body: Bytes,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Open,
    /// All of it is here.
    Whole(Draft),
    /// The disk is writing it.
    Keeping(Draft),
    /// It is where it does not get lost, and the syncs were told so.
    Drafted(Draft),
    /// It came from a peer, for it is elected: nobody has to be told, and it need not be on disk before it is applied.
    Fetched(Draft),
}

impl Part {
    /// The offset behind its last message.
    fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.count)
    }
}

impl Buffer {
    /// One that was on disk at the start.
    pub fn kept(draft: Draft, body: Bytes) -> Self {
        let parts = vec![Part { offset: 1, count: draft.count, body }];
        Self { parts, stage: Stage::Drafted(draft), ..Self::default() }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether its entry was told to close it, and says the rest of it.
    pub fn is_closing(&self) -> bool {
        self.is_open() && self.begun.is_none() && self.is_coming
    }

    /// Takes a body that came from a peer, for a segment that is elected. Whether it is that.
    pub fn fetch(&mut self, draft: Draft, body: Bytes) -> bool {
        let is_right = digest(&body) == draft.digest;
        if is_right && self.body(&draft).is_none() {
            self.parts = vec![Part { offset: 1, count: draft.count, body }];
            self.begun = None;
            self.stage = Stage::Fetched(draft);
        }
        is_right
    }

    /// Whether the segment is not closed, or was closed for another slot.
    pub fn awaits(&self, draft: &Draft) -> bool {
        match &self.stage {
            Stage::Open => true,
            Stage::Drafted(own) => own.slot != draft.slot && own.is_same_body(draft),
            Stage::Whole(_) | Stage::Keeping(_) | Stage::Fetched(_) => false,
        }
    }

    /// The segment was begun, or begun again.
    pub fn begin(&mut self, Begun { ahead, closed }: Begun) {
        self.is_coming = true;
        self.is_in_time = !ahead;
        if self.is_open() {
            self.begun = (!closed).then_some(ahead);
        }
    }

    /// Whether its entry may say the next segment whole, without a TRIM. One whose clock may be wrong has to be told so.
    pub fn has_room(&self) -> bool {
        self.is_in_time
    }

    /// Whether TRIM is owed, and if so whether the entry's clock was ahead. It is owed no longer.
    pub fn trim(&mut self) -> Option<bool> {
        self.begun.take()
    }

    /// Takes messages, from `offset` on. What is said again may be cut up otherwise.
    pub fn keep(&mut self, offset: u32, count: u32, body: Bytes) {
        let part = Part { offset, count, body };
        if !self.is_open() || part.end() <= self.end() {
            return;
        }
        while self.parts.pop_if(|last| last.offset >= offset).is_some() {}
        // Otherwise something between was lost: OVER will tell.
        if self.end() == u64::from(offset) {
            self.parts.push(part);
        }
    }

    /// Closes the segment if all of it is here. Otherwise forgets what is here, for it has to be said again.
    pub fn over(&mut self, draft: Draft) -> bool {
        if self.parts.len() > 1 {
            let bodies: Vec<&[u8]> = self.parts.iter().map(|part| &part.body[..]).collect();
            let (count, body) = (self.parts.iter().map(|part| part.count).sum(), bodies.concat().into());
            self.parts = vec![Part { offset: 1, count, body }];
        }
        let is_whole =
            self.parts.first().is_some_and(|part| part.count == draft.count && digest(&part.body) == draft.digest);
        if is_whole {
            self.begun = None;
            self.stage = Stage::Whole(draft);
        } else {
            self.parts.clear();
        }
        is_whole
    }

    /// What the disk has to write, if it was not told yet.
    pub fn take_whole(&mut self) -> Option<(Draft, Bytes)> {
        let Stage::Whole(draft) = &self.stage else { return None };
        let (draft, body) = (draft.clone(), self.parts.first()?.body.clone());
        self.stage = Stage::Keeping(draft.clone());
        Some((draft, body))
    }

    /// It is where it does not get lost.
    pub fn draft(&mut self) -> Option<&Draft> {
        match std::mem::take(&mut self.stage) {
            Stage::Whole(draft) | Stage::Keeping(draft) => self.stage = Stage::Drafted(draft),
            stage => self.stage = stage,
        }
        self.drafted()
    }

    /// What the syncs were told.
    pub fn drafted(&self) -> Option<&Draft> {
        match &self.stage {
            Stage::Drafted(draft) => Some(draft),
            _ => None,
        }
    }

    /// The body that was elected, if it is here.
    pub fn body(&self, elected: &Draft) -> Option<Bytes> {
        let (Stage::Whole(draft) | Stage::Keeping(draft) | Stage::Drafted(draft) | Stage::Fetched(draft)) = &self.stage
        else {
            return None;
        };
        self.parts.first().filter(|_| draft.is_same_body(elected)).map(|part| part.body.clone())
    }

    /// Bytes of what is here.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.body.len()).sum()
    }

    /// The offset behind the last message that is here.
    fn end(&self) -> u64 {
        self.parts.last().map_or(1, Part::end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::envelope::{NodeId, SegmentId};

    /// Keeps parts, each so many of the messages 1, 2, 3 … that are a byte each, from an offset on.
    #[track_caller]
    fn check(parts: &[(u32, u32)], count: u32, expected: bool) {
        let messages = |from: u32, count: u32| (from as u8..(from + count) as u8).collect::<Vec<u8>>();
        let mut buffer = Buffer::default();
        for (offset, count) in parts {
            buffer.keep(*offset, *count, messages(*offset, *count).into());
        }
        let id = SegmentId { segment: 1, entry: NodeId::entry("E1"), incarnation: 1 };
        let draft = Draft { id, slot: 0, count, digest: digest(&messages(1, count)), previous: 0 };
        assert_eq!(buffer.over(draft.clone()), expected, "{parts:?}");
        assert_eq!(buffer.body(&draft), expected.then(|| messages(1, count).into()));
        assert_eq!(buffer.is_open(), !expected);
    }

    #[test]
    fn parts_may_come_again_and_cut_up_otherwise() {
        check(&[(1, 2), (3, 1)], 3, true);
        check(&[(1, 2), (1, 2), (3, 1), (1, 2), (3, 1)], 3, true);
        check(&[(1, 2), (3, 1), (1, 3)], 3, true);
        check(&[(1, 2), (1, 3), (4, 1)], 4, true);
        check(&[(1, 1), (2, 2), (2, 3)], 4, true);
    }

    #[test]
    fn a_segment_with_a_gap_is_not_whole() {
        check(&[], 1, false);
        check(&[(2, 2)], 3, false);
        check(&[(1, 1), (3, 1)], 3, false);
        check(&[(1, 2)], 3, false);
        check(&[(1, 3), (2, 3)], 4, false);
        check(&[(1, 4)], 3, false);
    }

    #[test]
    fn other_bytes_are_not_the_segment() {
        let id = SegmentId { segment: 1, entry: NodeId::entry("E1"), incarnation: 1 };
        let draft = Draft { id, slot: 0, count: 1, digest: digest(b"a"), previous: 0 };
        let mut buffer = Buffer::default();
        buffer.keep(1, 1, Bytes::from_static(b"b"));
        assert!(!buffer.over(draft.clone()));
        buffer.keep(1, 1, Bytes::from_static(b"a"));
        assert!(buffer.over(draft), "it was forgotten and said again");
    }
}
