//! Where one subscriber stands in the log: the rule by which what it reads and what is offered live meet.
//!
//! ```text
//!            offered n >= next, no room
//!   Live  ------------------------------>  behind: reads on from n
//!    ^                                        |  passes number after number
//!    '-------- next > fed, under the lock ----'
//! ```
//!
//! `fed` is the last number whose routing has begun. Whoever has passed it misses nothing by turning live: all later numbers will be
//! offered; and gets nothing twice: what is still being routed has lower numbers than `next` and is ignored. All calls for
//! one subscriber are made under one lock (its mailbox's), and `fed` is read under it.

/// See the module. Every number below `next` is done with: sent, or passed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    next: u64,
    live: bool,
    /// Of a snapshot: the last number it wants.
    until: Option<u64>,
}

impl Position {
    /// Behind, wanting the numbers from `next` on, up to `until` if that is given.
    pub fn new(next: u64, until: Option<u64>) -> Self {
        Self { next, live: false, until }
    }

    /// The lowest number that is not done with.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// It takes what is offered.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether an offered number is to be sent now. What is behind reads it later itself.
    #[inline]
    pub fn takes(&self, number: u64) -> bool {
        self.live && number >= self.next
    }

    /// All numbers up to this one are done with.
    #[inline]
    pub fn pass(&mut self, number: u64) {
        self.next = self.next.max(number + 1);
    }

    /// An offered number that it takes cannot be sent: it is read from there on.
    #[inline]
    pub fn fall_behind(&mut self, number: u64) {
        if self.takes(number) {
            self.next = number;
            self.live = false;
        }
    }

    /// Nothing is offered any more, for the connection is gone, say. All numbers up to `routed` were offered before.
    pub fn step_back(&mut self, routed: u64) {
        if self.live {
            self.pass(routed);
            self.live = false;
        }
    }

    /// Turns live if it has passed `fed`; `false`: there is more to be read.
    pub fn meet(&mut self, fed: u64) -> bool {
        self.live = self.next > fed;
        self.live
    }

    /// Goes to another place, to read from there on.
    pub fn rewind(&mut self, next: u64) {
        *self = Self::new(next, self.until);
    }

    /// A snapshot that is done.
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| self.next > until)
    }

    /// The last number it wants, if there is one.
    pub fn until(&self) -> u64 {
        self.until.unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live_at(next: u64) -> Position {
        let mut position = Position::new(next, None);
        assert!(position.meet(next - 1));
        position
    }

    #[test]
    fn it_meets_the_feed_only_when_it_has_passed_all_that_is_being_routed() {
        let mut position = Position::new(5, None);
        assert!(!position.meet(5) && !position.takes(6));
        position.pass(5);
        assert!(position.meet(5) && position.takes(6));
    }

    #[test]
    fn what_is_still_being_routed_is_not_taken_twice() {
        let mut position = live_at(10);
        assert!(!position.takes(9) && position.takes(10));
        position.pass(12);
        assert!(!position.takes(12) && position.takes(13));
    }

    #[test]
    fn what_cannot_be_sent_is_read_from_there_on() {
        let mut position = live_at(10);
        position.fall_behind(14);
        assert_eq!((position.next(), position.is_live()), (14, false));
        position.fall_behind(20);
        assert_eq!(position.next(), 14, "offers to who is behind count for nothing");
    }

    #[test]
    fn who_steps_back_has_passed_what_was_offered_to_all() {
        let mut position = live_at(10);
        position.step_back(30);
        assert_eq!((position.next(), position.is_live()), (31, false));
        position.step_back(50);
        assert_eq!(position.next(), 31, "who was behind was not offered that");
    }

    #[test]
    fn a_snapshot_is_over_behind_its_last_number() {
        let mut position = Position::new(1, Some(3));
        position.pass(2);
        assert!(!position.is_over());
        position.pass(3);
        assert!(position.is_over());
    }
}
