//! The sending end of one direction: what is to be read of the log, recorded, and sent.
//!
//! ```text
//! hear(answer) -> want() -> [read] -> take() -> record() -> [commit] -> recorded() -> batch() -> [exchange] -> hear(answer) …
//! ```
//!
//! 1. Nothing is numbered on a connection before the other end has said what it expects: a store that was restored is noticed by that.
//! 2. Nothing is sent that was not recorded with its number; while one batch is under way, the next is read and recorded.
//! 3. Each batch is filled from the live lane and from the backlog, each with its share, so that neither starves.

use serde::{Deserialize, Serialize};

use super::lanes::{Lane, Lanes};
use super::numbering::{Item, Numbering, Verdict, Why};
use super::wire::Ack;

/// Bounds and shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Messages of one batch.
    pub messages_max: usize,
    /// Their bytes; one message is always sent.
    pub bytes_max: usize,
    /// Percent of a batch that what is published now gets, while there is a backlog. 0: there is no such share, all is sent in the
    /// order of publication.
    pub live_percent: u8,
    /// Older events are not sent any more.
    pub age_us_max: Option<u64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { messages_max: 100, bytes_max: 256 * 1024, live_percent: 50, age_us_max: None }
    }
}

/// What is to be read next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Retained values behind this topic. `below`: only values whose event has a lower number.
    Values { after: Option<String>, below: Option<u64>, messages_max: usize, bytes_max: usize },
    /// Events of a lane.
    Events { lane: usize, patterns: Vec<u16>, from: u64, until: Option<u64>, messages_max: usize, bytes_max: usize },
}

/// An event that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub number: u64,
    pub bytes: usize,
    /// When it was committed: microseconds since 1970.
    pub at_us: u64,
    /// It has passed the other end, or too many others: it is not sent.
    pub returns: bool,
}

/// What was read of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub events: Vec<Found>,
    /// All lower numbers were looked at.
    pub next: u64,
    /// Events of lower numbers may be gone, as far as retention goes.
    pub first_available: u64,
}

/// Retained values that were read: topics and their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    pub topics: Vec<(String, usize)>,
    /// There are more.
    pub more: bool,
}

/// To be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub version: u64,
    /// The log need not keep events up to this number.
    pub done_to: u64,
    pub state: Vec<u8>,
}

/// What survives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    numbering: Numbering,
    lanes: Lanes,
    snapshot: Option<Snapshot>,
}

/// A snapshot under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Snapshot {
    after: Option<String>,
    below: Option<u64>,
}

/// Filling a batch.
#[derive(Clone, Copy, Debug)]
struct Round {
    stage: Stage,
    messages_left: usize,
    bytes_left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The live lane gets its share.
    Live,
    /// Each lane of the backlog gets what is left, one after the other; those before this one had their turn.
    Backlog(usize),
    /// The live lane gets the rest.
    Rest,
}

/// See the module.
#[derive(Debug)]
pub struct Sender {
    bounds: Bounds,
    kept: Kept,
    /// The other end has said what it expects, on this connection.
    heard: bool,
    round: Option<Round>,
    /// Messages and bytes ahead that were read since the start.
    ahead_bytes: usize,
    /// Counts changes of what survives.
    version: u64,
    recorded: u64,
    /// Of what is ahead, so many were recorded.
    safe: usize,
    /// The present epoch was recorded.
    epoch_is_safe: bool,
    recording: Option<Recording>,
}

/// What is on its way to be recorded.
#[derive(Clone, Copy, Debug)]
struct Recording {
    version: u64,
    epoch: u64,
    /// So many of what is ahead now were in it.
    ahead: usize,
}

impl Sender {
    /// One that sends all events of so many patterns behind `after`.
    pub fn new(bounds: Bounds, patterns: u16, after: u64) -> Self {
        let kept = Kept { numbering: Numbering::default(), lanes: Lanes::new(patterns, after), snapshot: None };
        Self::of(bounds, kept)
    }

    /// As it was recorded; `None`: it was not, or for other patterns.
    pub fn restore(bounds: Bounds, patterns: u16, state: &[u8]) -> Option<Self> {
        let kept: Kept = rmp_serde::from_slice(state).ok()?;
        kept.lanes.is_sound(patterns).then(|| Self::of(bounds, kept))
    }

    fn of(bounds: Bounds, kept: Kept) -> Self {
        let safe = kept.numbering.ahead().len();
        Self {
            bounds,
            kept,
            heard: false,
            round: None,
            ahead_bytes: 0,
            version: 0,
            recorded: 0,
            safe,
            epoch_is_safe: true,
            recording: None,
        }
    }

    pub fn numbering(&self) -> &Numbering {
        &self.kept.numbering
    }

    pub fn lanes(&self) -> &Lanes {
        &self.kept.lanes
    }

    /// A connection is there, or is gone: nothing is numbered until the other end has said what it expects.
    pub fn connected(&mut self) {
        self.heard = false;
    }

    /// Whether more events of the live lane would be read if there were any.
    pub fn has_room(&self) -> bool {
        let ahead = self.kept.numbering.ahead().len();
        let is_full =
            ahead >= 2 * self.bounds.messages_max || (ahead > 0 && self.ahead_bytes >= 2 * self.bounds.bytes_max);
        self.heard && !is_full && self.kept.snapshot.is_none()
    }

    pub fn has_heard(&self) -> bool {
        self.heard
    }

    /// Takes what the other end expects.
    pub fn hear(&mut self, answer: Ack, now_ms: u64) -> Verdict {
        self.heard = true;
        let before = self.kept.numbering.clone();
        let verdict = self.kept.numbering.hear(answer, now_ms);
        match verdict {
            Verdict::Same => {}
            Verdict::Accepted(count) => {
                self.shift(-(count as i64));
                // What is left has its share of the bytes, near enough for when to read on.
                let (was, is) = (before.ahead().len(), self.kept.numbering.ahead().len());
                self.ahead_bytes = self.ahead_bytes / was.max(1) * is;
            }
            Verdict::Rewound(count) => self.shift(count as i64),
            Verdict::Resync(why) => self.begin(why),
        }
        if self.kept.numbering != before {
            self.version += 1;
        }
        if self.kept.numbering.ahead().is_empty() {
            self.ahead_bytes = 0;
        }
        verdict
    }

    /// What is ahead begins so many items later (or earlier).
    fn shift(&mut self, by: i64) {
        let shifted = |count: usize| count.saturating_add_signed(by as isize);
        self.safe = shifted(self.safe);
        if let Some(recording) = &mut self.recording {
            recording.ahead = shifted(recording.ahead);
        }
    }

    /// A new epoch begins: what is ahead has other numbers now, which have to be recorded.
    fn begin(&mut self, why: Why) {
        (self.safe, self.epoch_is_safe) = (0, false);
        // Nothing was ever sent before the first: what is still to come need not be in the snapshot.
        let below = (why == Why::First).then(|| self.kept.lanes.oldest_accepted());
        self.kept.snapshot = Some(Snapshot { after: None, below });
        self.round = None;
    }

    /// Which patterns the other end accepts.
    pub fn accept(&mut self, accepted: &[bool]) {
        if self.kept.lanes.accept(accepted) {
            self.version += 1;
            self.round = None;
        }
    }

    /// What is to be read next, of a log of so many messages; `None`: nothing can be, or enough is ahead.
    pub fn want(&mut self, last: u64) -> Option<Want> {
        let ahead = self.kept.numbering.ahead().len();
        let Bounds { messages_max, bytes_max, .. } = self.bounds;
        if !self.heard || ahead >= 2 * messages_max || (ahead > 0 && self.ahead_bytes >= 2 * bytes_max) {
            return None;
        }
        if let Some(Snapshot { after, below }) = &self.kept.snapshot {
            return Some(Want::Values { after: after.clone(), below: *below, messages_max, bytes_max });
        }
        self.split(last);
        // A round may end because its lanes turned out empty: the next one begins with all of its share.
        for _ in 0..2 {
            let round = self.round.get_or_insert(Round {
                stage: Stage::Live,
                messages_left: messages_max,
                bytes_left: bytes_max,
            });
            if let Some(want) = want_of(&self.kept.lanes, round, &self.bounds, last) {
                return Some(want);
            }
            self.round = None;
        }
        None
    }

    /// What the live lane owes becomes a backlog when it would fill many batches.
    fn split(&mut self, last: u64) {
        let lag = 10 * self.bounds.messages_max as u64;
        if self.bounds.live_percent > 0 && self.kept.lanes.split(last, lag) {
            self.version += 1;
            self.round = None;
        }
    }

    /// Whether there may be something to read or to send, in a log of so many messages.
    pub fn has_more(&self, last: u64) -> bool {
        !self.kept.numbering.ahead().is_empty()
            || self.kept.snapshot.is_some()
            || self.kept.lanes.iter().any(|lane| lane.may_have(last))
    }

    /// Messages that are still to be sent, of a log of so many: what is ahead, what of the backlog was not looked at, and `live`, what
    /// the live lane has not read.
    pub fn pending(&self, last: u64, live: u64) -> u64 {
        let owed = |lane: &Lane| lane.until.unwrap_or(last + 1).min(last + 1).saturating_sub(lane.next);
        let backlog: u64 = self.kept.lanes.backlog().map(|(_, lane)| owed(lane)).sum();
        self.kept.numbering.ahead().len() as u64 + backlog + live.min(owed(self.kept.lanes.live()))
    }

    /// The lowest event number that is still to be sent; none: there is none.
    pub fn oldest(&self, last: u64) -> Option<u64> {
        let ahead = self.kept.numbering.ahead().iter().filter_map(|item| match item {
            Item::Event(number) => Some(*number),
            Item::Gap { .. } | Item::Value(_) => None,
        });
        let lanes = self.kept.lanes.iter().filter(|lane| lane.may_have(last)).map(|lane| lane.next);
        ahead.chain(lanes).min()
    }

    /// Takes retained values that were wanted.
    pub fn take_values(&mut self, values: Values) {
        let Some(snapshot) = &mut self.kept.snapshot else { return };
        for (topic, bytes) in values.topics {
            self.ahead_bytes += bytes;
            snapshot.after = Some(topic.clone());
            self.kept.numbering.add(Item::Value(topic));
        }
        if !values.more {
            self.kept.snapshot = None;
        }
        self.version += 1;
    }

    /// Takes what was read of a lane for [`Want::Events`].
    pub fn take(&mut self, lane: usize, read: &Read, now_us: u64) {
        let Some(Lane { next: from, until, told, .. }) = self.kept.lanes.get(lane).cloned() else { return };
        let mut gap: Option<(u64, u64)> = None;
        if read.first_available > from.max(told) && until.is_none_or(|until| told < until) {
            // Of other topics there may be events in between: they follow.
            self.kept.lanes.tell(lane, read.first_available);
            gap = Some((from.max(told) - 1, until.unwrap_or(u64::MAX).min(read.first_available) - 1));
        }
        let (mut messages, mut bytes) = (0, 0);
        for found in &read.events {
            let too_old = self.bounds.age_us_max.is_some_and(|max| found.at_us.saturating_add(max) < now_us);
            if found.returns {
                continue;
            }
            if too_old {
                gap = Some((gap.map_or(found.number - 1, |(after, _)| after), found.number));
            } else {
                self.add_gap(gap.take());
                self.kept.numbering.add(Item::Event(found.number));
                messages += 1;
                bytes += found.bytes;
            }
        }
        self.add_gap(gap);
        self.ahead_bytes += bytes;
        let advanced = read.next > from;
        let lanes_before = self.kept.lanes.iter().count();
        self.kept.lanes.advance(lane, read.next);
        let is_gone = self.kept.lanes.iter().count() < lanes_before;
        if advanced {
            self.version += 1;
        }
        if let Some(round) = &mut self.round {
            round.messages_left = round.messages_left.saturating_sub(messages);
            round.bytes_left = round.bytes_left.saturating_sub(bytes);
            round.stage = match round.stage {
                Stage::Live => Stage::Backlog(1),
                // Those behind one that is over have moved up.
                Stage::Backlog(_) => Stage::Backlog(lane + usize::from(!is_gone)),
                Stage::Rest => Stage::Rest,
            };
            if round.messages_left == 0 || round.bytes_left == 0 || (round.stage == Stage::Rest && messages == 0) {
                self.round = None;
            }
        }
    }

    fn add_gap(&mut self, gap: Option<(u64, u64)>) {
        if let Some((after, until)) = gap {
            self.kept.numbering.add(Item::Gap { after, until });
        }
    }

    /// What is ahead at this place turned out to be gone.
    pub fn lost(&mut self, at: usize) {
        if let Some(Item::Event(number)) = self.kept.numbering.ahead().get(at) {
            let number = *number;
            self.kept.numbering.replace(at, Item::Gap { after: number - 1, until: number });
        }
    }

    /// What has to be recorded before more can be sent; `None`: nothing, or it is being recorded.
    pub fn record(&mut self) -> Option<Record> {
        if self.recording.is_some() || self.version == self.recorded {
            return None;
        }
        let Kept { numbering, .. } = &self.kept;
        self.recording =
            Some(Recording { version: self.version, epoch: numbering.epoch(), ahead: numbering.ahead().len() });
        // Writing plain values to memory cannot fail.
        let state = rmp_serde::to_vec(&self.kept).unwrap_or_default();
        Some(Record { version: self.version, done_to: self.done_to(), state })
    }

    /// The version that is being recorded.
    #[cfg(test)]
    pub(super) fn version_for_tests(&self) -> u64 {
        self.recording.map_or(self.version, |recording| recording.version)
    }

    fn done_to(&self) -> u64 {
        let numbers = self.kept.numbering.all().filter_map(|item| match item {
            Item::Event(number) => Some(*number),
            Item::Gap { .. } | Item::Value(_) => None,
        });
        numbers.min().unwrap_or(u64::MAX).min(self.kept.lanes.oldest()).saturating_sub(1)
    }

    /// What was handed out is committed, or (`false`) could not be.
    pub fn recorded(&mut self, version: u64, done: bool) {
        let Some(recording) = self.recording.take_if(|recording| recording.version == version) else { return };
        if !done {
            return;
        }
        self.recorded = version;
        if recording.epoch == self.kept.numbering.epoch() {
            self.safe = self.safe.max(recording.ahead);
            self.epoch_is_safe = true;
        }
    }

    /// What may be sent now: the first items ahead that are recorded, as many as a batch may have at most.
    pub fn batch(&self) -> impl Iterator<Item = &Item> {
        let count = if self.epoch_is_safe { self.safe.min(self.bounds.messages_max) } else { 0 };
        self.kept.numbering.ahead().iter().take(count)
    }

    /// Whether what may be sent fills a batch.
    pub fn has_full_batch(&self) -> bool {
        let is_full = self.safe >= self.bounds.messages_max || self.ahead_bytes >= self.bounds.bytes_max;
        self.epoch_is_safe && self.safe > 0 && is_full
    }

    /// Whether the other end may be told to begin the epoch: it has to be recorded before.
    pub fn may_begin(&self) -> bool {
        self.kept.numbering.begins() && self.epoch_is_safe
    }
}

/// What a round reads next; moves it on past lanes that have nothing.
fn want_of(lanes: &Lanes, round: &mut Round, bounds: &Bounds, last: u64) -> Option<Want> {
    let has_backlog = lanes.backlog().any(|(_, lane)| lane.may_have(last));
    loop {
        let (at, part) = match round.stage {
            Stage::Live => (0, if has_backlog { usize::from(bounds.live_percent.min(100)) } else { 100 }),
            Stage::Backlog(from) => match lanes.backlog().find(|(at, lane)| *at >= from && lane.may_have(last)) {
                Some((at, _)) => (at, 100),
                None => {
                    round.stage = Stage::Rest;
                    continue;
                }
            },
            Stage::Rest => (0, 100),
        };
        let lane = lanes.get(at)?;
        let messages_max = (round.messages_left * part).div_ceil(100);
        let bytes_max = (round.bytes_left * part).div_ceil(100);
        if lane.may_have(last) && messages_max > 0 && bytes_max > 0 {
            let (patterns, from, until) = (lane.patterns.clone(), lane.next, lane.until);
            return Some(Want::Events { lane: at, patterns, from, until, messages_max, bytes_max });
        }
        round.stage = match round.stage {
            Stage::Live => Stage::Backlog(1),
            Stage::Backlog(_) | Stage::Rest => return None,
        };
    }
}
