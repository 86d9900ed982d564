//! Message by message through a segment, from where it was left.

use crate::queue::message::{Events, Head, Malformed, Message, Run, Runs};
use crate::queue::segment::Segment;

/// A place in a segment between two messages; good for that segment alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// It is among the messages that were set off.
    set_off: bool,
    /// Bytes before the run that is open or comes next.
    run_at: usize,
    /// Numbers of the segment before that run.
    run_offset: u32,
    /// Of the run: messages that were passed, and their bytes.
    passed: u32,
    passed_bytes: usize,
    /// Voids that were passed.
    voids: usize,
}

/// Reads a segment. Commands, gaps and events that count for nothing are passed over.
pub struct Walker<'a> {
    segment: &'a Segment,
    mark: Mark,
    /// The run that is open.
    run: Option<Open<'a>>,
}

struct Open<'a> {
    head: Head<'a>,
    /// Not passed yet.
    rest: Events<'a>,
    bytes: usize,
    /// Where the next run begins.
    end_at: usize,
    count: u32,
}

impl<'a> Walker<'a> {
    /// From a mark on that a walker of the same segment has left; from the front without one.
    pub fn new(segment: &'a Segment, mark: Option<Mark>) -> Self {
        Self { segment, mark: mark.unwrap_or_default(), run: None }
    }

    /// Where it stands: in front of the message that comes next.
    #[inline]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The number of the message that comes next, if there is one.
    #[inline]
    pub fn number(&self) -> u64 {
        self.segment.first + u64::from(self.mark.run_offset) + u64::from(self.mark.passed)
    }

    /// The last number of the run that is open.
    pub fn run_last(&self) -> u64 {
        let count = self.run.as_ref().map_or(0, |run| run.count);
        self.segment.first + u64::from(self.mark.run_offset) + u64::from(count) - 1
    }

    /// What the messages of the run have in common that is open or comes next; `None`: there is nothing more.
    ///
    /// # Errors
    /// The bytes are damaged. What is behind the damage cannot be read.
    pub fn head(&mut self) -> Result<Option<Head<'a>>, Malformed> {
        while self.run.is_none() {
            if !self.open()? {
                return Ok(None);
            }
        }
        Ok(self.run.as_ref().map(|run| run.head))
    }

    /// Goes to the next run; `false`: there is none.
    fn open(&mut self) -> Result<bool, Malformed> {
        let bytes = if self.mark.set_off { &self.segment.set_off } else { &self.segment.body };
        let Some(rest) = bytes.get(self.mark.run_at..).filter(|rest| !rest.is_empty()) else {
            if self.mark.set_off {
                return Ok(false);
            }
            self.mark = Mark { set_off: true, run_at: 0, ..self.mark };
            return Ok(true);
        };
        let mut runs = Runs::new(rest);
        let run = runs.next().ok_or(Malformed)??;
        let end_at = bytes.len() - runs.rest().len();
        match run {
            Run::Command(_) => self.close(end_at, 1),
            Run::Gap(count) => self.close(end_at, count),
            Run::Events(head, events) => {
                let bytes = events.len();
                let rest = events.without_first(self.mark.passed_bytes);
                self.run = Some(Open { head, rest, bytes, end_at, count: events.count });
            }
        }
        Ok(true)
    }

    fn close(&mut self, end_at: usize, count: u32) {
        let run_offset = self.mark.run_offset.saturating_add(count);
        let voids = self.mark.voids;
        self.mark = Mark { set_off: self.mark.set_off, run_at: end_at, run_offset, passed: 0, passed_bytes: 0, voids };
        self.run = None;
    }

    /// Passes what is left of the open run.
    pub fn skip_run(&mut self) {
        if let Some(run) = &self.run {
            let (end_at, count) = (run.end_at, run.count);
            self.close(end_at, count);
        }
    }

    /// The next message of the open run, with its number; `None`: the run has no more of them.
    ///
    /// # Errors
    /// The bytes are damaged.
    #[inline]
    pub fn message(&mut self) -> Result<Option<(u64, Message<'a>)>, Malformed> {
        loop {
            let Some(run) = &mut self.run else { return Ok(None) };
            let Some(message) = run.rest.take_first() else {
                let (end_at, count) = (run.end_at, run.count);
                self.close(end_at, count);
                return Ok(None);
            };
            let message = message?;
            let offset = self.mark.run_offset.saturating_add(self.mark.passed);
            self.mark.passed_bytes = run.bytes - run.rest.len();
            self.mark.passed += 1;
            if !self.is_void(offset) {
                return Ok(Some((self.segment.first + u64::from(offset), message)));
            }
        }
    }

    #[inline]
    fn is_void(&mut self, offset: u32) -> bool {
        let voids = &self.segment.voids;
        while voids.get(self.mark.voids).is_some_and(|void| *void < offset) {
            self.mark.voids += 1;
        }
        voids.get(self.mark.voids) == Some(&offset)
    }

    /// Passes all messages before this number.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn seek(&mut self, number: u64) -> Result<(), Malformed> {
        while self.number() < number {
            if self.head()?.is_none() || self.number() >= number {
                return Ok(());
            }
            let Some(run) = &mut self.run else { continue };
            let end = self.segment.first + u64::from(self.mark.run_offset) + u64::from(run.count);
            if end <= number {
                self.skip_run();
                continue;
            }
            run.rest.take_first().ok_or(Malformed)??;
            self.mark.passed_bytes = run.bytes - run.rest.len();
            self.mark.passed += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::command::Command;
    use crate::queue::message::Batch;
    use crate::types::event::Qos;
    use crate::types::payload::PayloadRef;

    fn head(topic: &str) -> Head<'_> {
        Head {
            realm: "realm1",
            topic,
            publisher: None,
            exclude_publisher: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            format: None,
            judged: false,
        }
    }

    /// Numbers 101…111: `a1 a2 a3`, a command, a gap of two, `b1 b2 b3` of which the second is void, and set off `c1 c2`.
    fn segment() -> Segment {
        let (mut body, mut set_off) = (Batch::default(), Batch::default());
        for payload in ["a1", "a2", "a3"] {
            body.message(&head("a"), PayloadRef::Bytes(payload.as_bytes()), None);
        }
        body.command(&Command::Leave { realm: String::new(), session: 1, orderly: true });
        body.gap(2);
        for payload in ["b1", "b2", "b3"] {
            body.message(&head("b"), PayloadRef::Bytes(payload.as_bytes()), None);
        }
        for payload in ["c1", "c2"] {
            set_off.message(&head("c"), PayloadRef::Bytes(payload.as_bytes()), None);
        }
        let count = body.count + set_off.count;
        let (body, set_off) = (body.into_bytes(), set_off.into_bytes());
        Segment { position: 1, first: 101, count, body, set_off, voids: vec![7], ..Segment::default() }
    }

    fn text(number: u64, message: &Message<'_>) -> String {
        format!("{number}={}", String::from_utf8_lossy(&message.payload.as_bytes(Default::default())))
    }

    fn read(walker: &mut Walker<'_>) -> Vec<String> {
        let mut all = Vec::new();
        while walker.head().unwrap().is_some() {
            while let Some((number, message)) = walker.message().unwrap() {
                all.push(text(number, &message));
            }
        }
        all
    }

    const ALL: [&str; 7] = ["101=a1", "102=a2", "103=a3", "107=b1", "109=b3", "110=c1", "111=c2"];

    #[test]
    fn commands_gaps_and_voids_are_passed_over_and_what_was_set_off_comes_behind() {
        assert_eq!(read(&mut Walker::new(&segment(), None)), ALL);
    }

    #[test]
    fn a_walk_goes_on_from_any_mark() {
        let segment = segment();
        let mut walker = Walker::new(&segment, None);
        let mut marks = vec![walker.mark()];
        while walker.head().unwrap().is_some() {
            marks.push(walker.mark());
            while walker.message().unwrap().is_some() {
                marks.push(walker.mark());
            }
        }
        for mark in marks {
            let mut walker = Walker::new(&segment, Some(mark));
            let number = walker.number();
            let expected = ALL.iter().filter(|line| line[..3].parse::<u64>().unwrap() >= number);
            assert_eq!(read(&mut walker), expected.copied().collect::<Vec<_>>(), "{mark:?}");
        }
    }

    #[test]
    fn seeking_passes_all_before_a_number() {
        let segment = segment();
        for number in 90..115 {
            let mut walker = Walker::new(&segment, None);
            walker.seek(number).unwrap();
            let expected = ALL.iter().filter(|line| line[..3].parse::<u64>().unwrap() >= number);
            assert_eq!(read(&mut walker), expected.copied().collect::<Vec<_>>(), "{number}");
        }
    }

    #[test]
    fn a_run_that_nobody_wants_is_passed_at_once() {
        let segment = segment();
        let mut walker = Walker::new(&segment, None);
        let mut topics = Vec::new();
        while let Some(head) = walker.head().unwrap() {
            topics.push(head.topic.to_owned());
            walker.skip_run();
        }
        assert_eq!(topics, ["a", "b", "c"]);
        assert_eq!(walker.number(), 112);
    }

    #[test]
    fn damage_ends_a_walk_and_does_not_panic() {
        let whole = segment();
        for len in 0..whole.body.len() {
            let segment = Segment { body: whole.body.slice(..len), ..whole.clone() };
            let mut walker = Walker::new(&segment, None);
            while let Ok(Some(_)) = walker.head() {
                while let Ok(Some(_)) = walker.message() {}
                walker.skip_run();
            }
        }
    }
}
