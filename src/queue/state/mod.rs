//! The state that the log decides: numbers, keys, locks, waits, wills, persistent sessions, cursors.
//!
//! It is a function of the log up to a position: applying the same segments and commands gives the same state, rows and outcomes
//! on every node. What must survive is put out as rows ([`rows`]); what is needed at every step is kept in memory and is loaded
//! from the rows again ([`State::load`]). Values of keys are rows alone.
//!
//! One position is applied so:
//!
//! 1. What is due by log time: waits end, sessions expire, wills are set off.
//! 2. The body, message by message in the order of their numbers. Runs that are neither judged nor retained are only counted.
//! 3. What was set off, numbered behind the body: wills, then waiting publishes whose condition holds now.
//!
//! So the order of numbers is the order in which keys change, for everybody who reads the log. Hence a grant counts from its
//! own number on; that nobody gets in between, a publish whose condition holds stands back behind a waiter whose condition does.
//!
//! Left out: who may do what (the gates have checked it), and the values of keys in memory (`router::retained`).

mod commands;
mod consumers;
mod cursors;
mod deadlines;
pub mod floors;
mod judge;
mod keys;
mod load;
mod locks;
mod matching;
mod numbers;
pub mod rows;
mod sessions;
mod sources;
mod step;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::{ConsumerRow, SourceRow};
use super::envelope::{NodeId, OrderCommand};
use super::faults::{Fault, has};
use super::message::Malformed;
use super::outcome::Outcome;
use super::segment::Segment;
use crate::types::topic::TopicPattern;
pub use consumers::CONSUMER_BYTES_MAX;
use consumers::Consumer;
use cursors::Durable;
pub use cursors::{Behind, Census};
use deadlines::{Deadlines, Due};
use floors::Floors;
use locks::{Locks, Waiter, Waits};
use numbers::Numbers;
use sessions::Session;
use step::Step;

/// Reads rows of the store that are not in memory (values of keys).
pub trait Rows {
    /// The row as the last commit left it.
    ///
    /// # Errors
    /// The store cannot be read: nothing of what is being applied may be committed.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed>;
}

/// See [`Rows::get`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the state: {0}")]
pub struct RowsFailed(pub String);

/// Why a position cannot be applied, or the state not be loaded. The state in memory is worth nothing then: it has to be loaded
/// again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The store cannot be read now; later it may.
    #[error(transparent)]
    Rows(#[from] RowsFailed),
    /// The store's contents are not what was written: it has to be set aside or restored.
    #[error("the row {0} is damaged")]
    Damaged(String),
    /// What is to be applied is no segment: the entry that sealed it is at fault.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A segment that has got its position.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    pub position: u64,
    /// Its advance segment: microseconds since 1970.
    pub at_us: u64,
    /// The entry that sealed it.
    pub entry: u64,
    pub body: &'a Bytes,
    /// Messages in the body.
    pub count: u32,
}

/// A command that has a position of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateCommand {
    /// An entry starts; the position becomes its incarnation. What was connected at `incarnation`, the one before (0: none), is
    /// gone. Void if that is not the present one ([`State::incarnation`]).
    Init { entry: u64, incarnation: u64 },
    /// An entry is gone, and all that was connected there. Void if `incarnation` is not the present one.
    Lost { entry: u64, incarnation: u64 },
    /// Log time has come to where the command stands.
    Time,
    /// Messages of matching topics with lower numbers than `first` are given up. `pattern` as [`rows::pattern_text`] spells it.
    Retain { realm: String, pattern: String, first: u64 },
}

impl StateCommand {
    /// What a command is for the state; `None`: nothing. `number_of`: the number of an entry here.
    pub fn of(command: &OrderCommand, number_of: impl Fn(&NodeId) -> u64) -> Option<Self> {
        Some(match command {
            OrderCommand::Init { .. } if has(Fault::LocksOutliveTheirLife) => Self::Time,
            OrderCommand::Init { entry, replaces, .. } => {
                Self::Init { entry: number_of(entry), incarnation: *replaces }
            }
            OrderCommand::Lost { entry, incarnation } => {
                Self::Lost { entry: number_of(entry), incarnation: *incarnation }
            }
            OrderCommand::Retain { realm, pattern, first } => {
                Self::Retain { realm: realm.clone(), pattern: pattern.clone(), first: *first }
            }
            OrderCommand::Time { .. } => Self::Time,
            OrderCommand::Members { .. } => return None,
        })
    }
}

/// Bounds of what clients may make the state hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLimits {
    /// Publishes that wait for one key. One more is [`super::outcome::Void::QuotaExceeded`], as for the next three.
    pub waits_per_key_max: usize,
    /// Publishes of one session that wait.
    pub waits_per_session_max: usize,
    /// Bytes of all publishes that wait.
    pub wait_bytes_max: usize,
    /// Keys that one session holds with a will.
    pub locks_per_session_max: usize,
    /// Dates that are met by one position; the others stay due, so that the next is asked for at once.
    pub due_per_position_max: usize,
    /// Sources of what enters from other logs. One more, and the one that was silent longest is forgotten.
    pub sources_max: usize,
}

/// What one position of the log did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// To be stored and fed to subscribers; without numbers if there was nothing to number.
    pub segment: Segment,
    /// To be stored together with it. No key twice.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What became of messages of the body that are not simply in the log, by offset (from 0), in order.
    pub exceptions: Vec<(u32, Outcome)>,
    /// What became of messages that were waiting, earlier ones or of this body: [`Outcome::Granted`] and [`Outcome::Ended`].
    pub later: Vec<Outcome>,
    /// What the node has to follow, in order.
    pub changes: Vec<Change>,
}

/// A change of durable state that entries have to know of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A persistent session expired, or was replaced by a clean one.
    SessionEnded { realm: String, client_id: String, session: u64 },
    /// A lock went from hand to hand, for `fennec.lock.list` and metrics: who holds the key now.
    LockHeld { realm: String, topic: String, session: Option<u64> },
    /// A consumer of the log was made, changed, moved, nudged, or lost its entry; `None`: it was removed.
    Consumer { realm: String, name: String, row: Option<Box<ConsumerRow>> },
}

/// See the module. Maps have names in realms ([`rows`]) as keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    limits: StateLimits,
    numbers: Numbers,
    incarnations: BTreeMap<u64, u64>,
    sessions: BTreeMap<Box<str>, Session>,
    durables: BTreeMap<Box<str>, Durable>,
    sources: BTreeMap<Box<str>, SourceRow>,
    consumers: BTreeMap<Box<str>, Consumer>,
    locks: Locks,
    waits: Waits,
    deadlines: Deadlines,
    floors: Floors,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self {
            waits_per_key_max: 10_000,
            waits_per_session_max: 1_000,
            wait_bytes_max: 64 * 1024 * 1024,
            locks_per_session_max: 10_000,
            due_per_position_max: 10_000,
            sources_max: 10_000,
        }
    }
}

/// Rows whose key begins with a prefix and is greater than another key, in the order of keys, at most so many.
pub type Scan<'a> = dyn FnMut(&[u8], Option<&[u8]>, usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, RowsFailed> + 'a;

impl State {
    /// With other bounds than the default ones.
    pub fn set_limits(&mut self, limits: StateLimits) {
        self.limits = limits;
    }

    /// Applies a segment.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn apply(&mut self, sealed: Sealed<'_>, rows: &mut dyn Rows) -> Result<Applied, StateError> {
        let mut step = Step::begin(self, rows, sealed.position, sealed.at_us, sealed.entry);
        step.meet_deadlines()?;
        step.body(sealed.body, sealed.count)?;
        step.settle()?;
        step.finish()
    }

    /// Applies a command.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn command(
        &mut self,
        position: u64,
        at_us: u64,
        command: StateCommand,
        rows: &mut dyn Rows,
    ) -> Result<Applied, StateError> {
        let mut step = Step::begin(self, rows, position, at_us, 0);
        step.meet_deadlines()?;
        step.run_alone(position, command)?;
        step.settle()?;
        step.finish()
    }

    /// When [`StateCommand::Time`] is due: microseconds since 1970.
    pub fn next_deadline_us(&self) -> Option<u64> {
        self.deadlines.first()
    }

    /// Number of the last message of the log.
    pub fn last_number(&self) -> u64 {
        self.numbers.last
    }

    /// The last position.
    pub fn position(&self) -> u64 {
        self.numbers.position
    }

    /// Log time: microseconds since 1970.
    pub fn time_us(&self) -> u64 {
        self.numbers.time_us
    }

    /// The present incarnation of an entry: the position of its last [`StateCommand::Init`]; 0 before the first.
    pub fn incarnation(&self, entry: u64) -> u64 {
        self.incarnations.get(&entry).copied().unwrap_or(0)
    }

    /// The first number from which on the log has all messages that a pattern matches, as far as retention goes; 1 if it has
    /// deleted none of them.
    pub fn first_available(&self, realm: &str, pattern: &TopicPattern) -> u64 {
        self.floors.first_available(realm, pattern, true)
    }

    /// What of the log is available.
    pub fn floors(&self) -> &floors::Floors {
        &self.floors
    }

    /// Keys that are held: realm, topic, session (0: nobody any more, it stays) and fencing token, sorted.
    pub fn locks(&self) -> impl Iterator<Item = (String, String, u64, u64)> {
        self.locks.iter().map(|(key, held)| {
            let (realm, topic) = rows::split_topic(key);
            (realm, topic, held.session, held.number)
        })
    }

    /// Publishes that wait.
    pub fn waits_len(&self) -> usize {
        self.waits.len()
    }

    fn add_wait(&mut self, ticket: u64, waiter: Waiter) {
        self.deadlines.replace(None, waiter.deadline_us, || Due::Wait(ticket));
        self.waits.insert(ticket, waiter);
    }

    /// Whether it was there.
    fn remove_wait(&mut self, ticket: u64) -> bool {
        let Some(waiter) = self.waits.remove(ticket) else { return false };
        self.deadlines.replace(waiter.deadline_us, None, || Due::Wait(ticket));
        if !self.waits.has(&waiter.key) {
            self.set_key_expiry(&waiter.key, None);
        }
        true
    }

    fn set_key_expiry(&mut self, key: &str, at_us: Option<u64>) {
        let old_us = self.waits.set_expiry(key, at_us);
        self.deadlines.replace(old_us, at_us, || Due::Key(key.into()));
    }
}
