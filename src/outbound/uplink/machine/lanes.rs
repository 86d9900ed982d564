//! How far the log was read for the other end.
//!
//! ```text
//! log:      ....h....h......|..........|....
//! backlog       next -> until          |
//! live                                 next ->
//! held           next of what the other end does not accept yet
//! ```
//!
//! Each lane is a cursor with the patterns that it reads. A topic belongs to the first pattern that matches it. The first lane reads
//! what is published now; the others end somewhere. When the live lane has fallen far behind, what it owes becomes a lane of its own,
//! so that what is published now does not wait for it. A pattern that the other end does not accept has a *held* lane, which is not
//! read; numbers are given when something is read, so they are not disturbed by it.

use serde::{Deserialize, Serialize};

/// Lanes beyond which acceptances wait until something was drained.
const LANES_MAX: usize = 64;

/// A cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Its patterns, by their place in the list of all.
    pub patterns: Vec<u16>,
    /// All events of lower numbers are done with.
    pub next: u64,
    /// It ends before this number.
    pub until: Option<u64>,
    /// The other end does not accept it.
    pub held: bool,
    /// It was said that events of lower numbers may be lost.
    pub told: u64,
}

impl Lane {
    fn is_over(&self) -> bool {
        self.patterns.is_empty() || self.until.is_some_and(|until| self.next >= until)
    }

    /// Whether there may be something to read, in a log of so many messages.
    pub fn may_have(&self, last: u64) -> bool {
        !self.held && !self.patterns.is_empty() && self.next <= last && !self.is_over()
    }
}

/// See the module. The first is the live one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lanes(Vec<Lane>);

impl Lanes {
    /// One lane that reads all patterns behind `after`.
    pub fn new(patterns: u16, after: u64) -> Self {
        Self(vec![Lane { patterns: (0..patterns).collect(), next: after + 1, until: None, held: false, told: 0 }])
    }

    pub fn live(&self) -> &Lane {
        &self.0[0]
    }

    pub fn get(&self, at: usize) -> Option<&Lane> {
        self.0.get(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.0.iter()
    }

    /// Whether it is what was recorded for so many patterns, whoever wrote it.
    pub fn is_sound(&self, patterns: u16) -> bool {
        self.0.first().is_some_and(|live| live.until.is_none() && !live.held)
            && self.0.iter().flat_map(|lane| &lane.patterns).all(|pattern| *pattern < patterns)
    }

    /// The lowest number that is not done with, of all lanes.
    pub fn oldest(&self) -> u64 {
        self.0.iter().map(|lane| lane.next).min().unwrap_or(0)
    }

    /// The lowest number that is not done with and may be sent; none: all lanes are held but for the live one.
    pub fn oldest_accepted(&self) -> u64 {
        self.0.iter().filter(|lane| !lane.held).map(|lane| lane.next).min().unwrap_or(0)
    }

    /// A finite lane that may be read, which is not the live one.
    pub fn backlog(&self) -> impl Iterator<Item = (usize, &Lane)> {
        self.0.iter().enumerate().skip(1).filter(|(_, lane)| !lane.held)
    }

    /// All up to and without `next` was read. A lane that is over goes, and those behind it move up.
    pub fn advance(&mut self, at: usize, next: u64) {
        let Some(lane) = self.0.get_mut(at) else { return };
        lane.next = lane.next.max(lane.until.map_or(next, |until| next.min(until)));
        if at > 0 && lane.is_over() {
            self.0.remove(at);
        }
    }

    /// It was said that events of a lane with lower numbers may be lost.
    pub fn tell(&mut self, at: usize, below: u64) {
        if let Some(lane) = self.0.get_mut(at) {
            lane.told = lane.told.max(below);
        }
    }

    /// What the live lane owes up to `last` becomes a lane of its own, if it is more than `lag` and there is no such lane.
    pub fn split(&mut self, last: u64, lag: u64) -> bool {
        let live = &mut self.0[0];
        let owed = (last + 1).saturating_sub(live.next);
        if owed <= lag || self.0.iter().skip(1).any(|lane| !lane.held) {
            return false;
        }
        let live = &mut self.0[0];
        let backlog = Lane { until: Some(last + 1), ..live.clone() };
        live.next = last + 1;
        self.0.push(backlog);
        true
    }

    /// Which patterns the other end accepts. Those that it does not accept any more are held from where they are; those that it
    /// accepts now are read from where they were held.
    pub fn accept(&mut self, accepted: &[bool]) -> bool {
        let before = self.0.clone();
        let is_accepted = |pattern: u16| accepted.get(usize::from(pattern)).copied().unwrap_or(false);
        let mut held = Vec::new();
        for lane in self.0.iter_mut().filter(|lane| !lane.held) {
            let refused: Vec<u16> = lane.patterns.extract_if(.., |pattern| !is_accepted(*pattern)).collect();
            let Lane { next, until, told, .. } = *lane;
            held.extend(refused.into_iter().map(|pattern| Lane {
                patterns: vec![pattern],
                next,
                until,
                held: true,
                told,
            }));
        }
        let live_next = self.0[0].next;
        let mut joins = Vec::new();
        for lane in self.0.iter_mut().filter(|lane| lane.held && lane.patterns.iter().all(|it| is_accepted(*it))) {
            lane.held = false;
            if lane.until.is_none() {
                lane.until = Some(live_next);
                joins.append(&mut lane.patterns.clone());
            }
        }
        self.0[0].patterns.append(&mut joins);
        self.0[0].patterns.sort_unstable();
        self.0.append(&mut held);
        let mut at = 0;
        self.0.retain(|lane| {
            at += 1;
            at == 1 || !lane.is_over()
        });
        if self.0.len() > LANES_MAX.max(before.len()) {
            self.0 = before;
            return false;
        }
        self.0 != before
    }
}
