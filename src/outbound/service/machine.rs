//! When what is sent to a service, and what becomes of it: the rules, without a clock, dice or sockets.
//!
//! ```text
//! plan: events of the log make a transaction        due: the oldest recorded one is to be sent
//!    |                                                |
//!    '--> record (state and place, one commit) ----->-'--> Answer --> Verdict: accepted, again later, in halves, buried
//!
//!          failure                    accepted, none left that was planned
//!   UP -------------> DOWN: recoverer --------------------------------------> UP
//!    '--- 410 ---> DISABLED --- a nudge, another address ---> DOWN, tried at once
//! ```
//!
//! 1. A transaction is a run of events with fixed ends, recorded before it is sent first: so it has the same name whenever it is sent
//!    again, after a restart too. The place in the log moves behind it when it was accepted, in the same commit as this state.
//! 2. One transaction is under way at a time, the oldest first. Nothing new is planned while the service is down.
//! 3. A failure waits twice as long as the one before, times a die between 0 and 1 ("full jitter"), or as long as the service asks.
//! 4. A refusal is tried again [`REFUSALS_MAX`] times, then the transaction is sent in halves; what is refused alone is buried. Only
//!    the events that are refused are lost to the service, and nothing stands behind them for ever.
//! 5. A nudge has the oldest transaction tried at once. One that comes while it is under way is remembered.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The first wait after a failure, before the die; the longest; and the longest that a service may ask for.
pub const BACKOFF_MS: u64 = 2_000;
pub const BACKOFF_MS_MAX: u64 = 512_000;
pub const RETRY_AFTER_MS_MAX: u64 = 3_600_000;
/// How often a transaction is refused before it is sent in halves.
pub const REFUSALS_MAX: u32 = 5;
/// Transactions that are planned ahead: so many are recorded by one commit where there is much to send.
pub const PLANNED_MAX: usize = 8;

/// How a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Up,
    /// The last try has failed: it is tried again.
    Down,
    /// It has said that it is gone (410): nothing is sent until somebody asks for it.
    Disabled,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Disabled => "disabled",
        }
    }
}

/// A run of events that are sent together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Number of its first event, and the place behind its last one.
    pub first: u64,
    pub up_to: u64,
    /// Events, when it was made.
    pub events: u32,
    /// Event ids of the first and the last.
    pub first_id: String,
    pub last_id: String,
    /// It is part of one that was refused too often.
    pub suspect: bool,
    /// See [`Machine`]; 0: it was there when that was made.
    #[serde(skip)]
    pub made: u64,
}

impl Transaction {
    /// The id that the service is told: the same whenever it is sent.
    pub fn id(&self) -> String {
        format!("{}-{}", self.first_id, self.last_id)
    }
}

/// What has to survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub status: Status,
    /// When it came to be so, milliseconds since 1970.
    pub since_ms: u64,
    /// Not done, the oldest first.
    pub planned: VecDeque<Transaction>,
    /// Tries of the oldest that have failed since one was accepted last.
    pub attempts: u32,
    /// Tries of the oldest that were refused.
    pub refusals: u32,
    pub last_error: Option<String>,
    /// Events that were buried so far.
    pub buried: u64,
    /// Where it was sent to: if it is disabled, this has said that it is gone.
    #[serde(default)]
    pub address: String,
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken; or only the events before this number.
    Accepted { next: Option<u64> },
    /// No connection, no answer in time, 408, 425, 429, 5xx: worth trying again.
    Failed { why: String, retry_after_ms: Option<u64> },
    /// Another 4xx: what was sent is at fault.
    Refused { status: u16, why: String },
    /// 410.
    Gone,
}

/// What is to be done about an answer, beside recording the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Done,
    /// All of the transaction is still owed.
    Again,
    /// The events from this number on are still owed.
    Rest { next: u64 },
    /// It is to be sent in halves.
    Halve,
    /// It is one event, and nobody wants it: it goes to the dead-letter topic, in the commit that records the state.
    Bury { status: u16, why: String },
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    stored: Stored,
    /// Transactions that were made so far by this machine; and up to which of them all are recorded.
    made: u64,
    recorded: u64,
    /// The state is not what was recorded last.
    dirty: bool,
    in_flight: bool,
    /// Somebody wants the oldest tried now.
    nudged: bool,
    /// Not before.
    due_ms: u64,
    paused: bool,
    /// The service has become this, which is to be told.
    became: Option<Status>,
}

impl Machine {
    /// Takes up a service where it was: what is owed is tried at once, whatever the back-off was; one that is disabled, if it is
    /// at another address now.
    pub fn new(mut stored: Stored, address: &str, paused: bool, now_ms: u64) -> Self {
        stored.planned.iter_mut().for_each(|transaction| transaction.made = 0);
        let has_moved = stored.address != address;
        stored.address = address.to_owned();
        let mut machine = Self {
            stored,
            made: 0,
            recorded: 0,
            dirty: false,
            in_flight: false,
            nudged: false,
            due_ms: 0,
            paused,
            became: None,
        };
        if has_moved && machine.stored.status == Status::Disabled {
            machine.nudge(now_ms);
        }
        machine
    }

    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    pub fn status(&self) -> Status {
        self.stored.status
    }

    /// Whether one more transaction is to be made of what the log has.
    pub fn may_plan(&self) -> bool {
        !self.paused && self.stored.status == Status::Up && self.stored.planned.len() < PLANNED_MAX
    }

    /// A transaction behind all others.
    pub fn plan(&mut self, transaction: Transaction) {
        self.made += 1;
        self.stored.planned.push_back(Transaction { made: self.made, ..transaction });
        self.dirty = true;
    }

    /// When the next try is due, if there is something to send that is recorded, and nothing is under way.
    pub fn due_ms(&self) -> Option<u64> {
        let is_recorded = self.stored.planned.front()?.made <= self.recorded;
        let may = is_recorded && !self.in_flight && !self.paused && self.stored.status != Status::Disabled;
        may.then_some(self.due_ms)
    }

    /// The oldest transaction, if it is to be sent now: it is under way then.
    pub fn send(&mut self, now_ms: u64) -> Option<&Transaction> {
        self.due_ms().filter(|due_ms| *due_ms <= now_ms)?;
        self.in_flight = true;
        self.nudged = false;
        self.stored.planned.front()
    }

    /// What became of a try. `roll`: a random number.
    pub fn answered(&mut self, answer: Answer, now_ms: u64, roll: u64) -> Verdict {
        self.in_flight = false;
        self.dirty = true;
        let Some(oldest) = self.stored.planned.front().cloned() else { return Verdict::Done };
        match answer {
            Answer::Accepted { next: None } => self.accepted(now_ms),
            Answer::Accepted { next: Some(next) } if next > oldest.up_to => self.accepted(now_ms),
            Answer::Accepted { next: Some(next) } if next > oldest.first => {
                (self.stored.attempts, self.stored.refusals, self.due_ms) = (0, 0, 0);
                Verdict::Rest { next }
            }
            Answer::Accepted { next: Some(_) } => {
                let why = "it has accepted the transaction, but none of its events".to_owned();
                self.failed(why, None, now_ms, roll)
            }
            Answer::Failed { why, retry_after_ms } => self.failed(why, retry_after_ms, now_ms, roll),
            Answer::Refused { status, why } => self.refused(&oldest, status, why, now_ms, roll),
            Answer::Gone => {
                self.stored.last_error = Some("410: the service is gone".to_owned());
                self.become_status(Status::Disabled, now_ms);
                Verdict::Again
            }
        }
    }

    fn accepted(&mut self, now_ms: u64) -> Verdict {
        self.drop_oldest();
        self.stored.last_error = None;
        (self.stored.attempts, self.due_ms) = (0, 0);
        if self.stored.planned.is_empty() {
            self.become_status(Status::Up, now_ms);
        }
        Verdict::Done
    }

    fn failed(&mut self, why: String, retry_after_ms: Option<u64>, now_ms: u64, roll: u64) -> Verdict {
        self.stored.last_error = Some(why);
        self.stored.attempts = self.stored.attempts.saturating_add(1);
        let wait_ms = backoff_ms(self.stored.attempts, roll).max(retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX));
        self.due_ms = if std::mem::take(&mut self.nudged) { now_ms } else { now_ms + wait_ms };
        self.become_status(Status::Down, now_ms);
        Verdict::Again
    }

    fn refused(&mut self, oldest: &Transaction, status: u16, why: String, now_ms: u64, roll: u64) -> Verdict {
        self.stored.last_error = Some(format!("{status}: {why}"));
        // It answers: it is not down.
        self.stored.attempts = 0;
        if !oldest.suspect && self.stored.refusals + 1 < REFUSALS_MAX {
            self.stored.refusals += 1;
            let nudged = std::mem::take(&mut self.nudged);
            self.due_ms = if nudged { now_ms } else { now_ms + backoff_ms(self.stored.refusals, roll) };
            return Verdict::Again;
        }
        self.due_ms = 0;
        if oldest.events > 1 {
            return Verdict::Halve;
        }
        self.stored.buried += 1;
        self.drop_oldest();
        if self.stored.planned.is_empty() {
            self.become_status(Status::Up, now_ms);
        }
        Verdict::Bury { status, why }
    }

    /// The oldest is what these are: halves of it, or what is left.
    pub fn replace_oldest(&mut self, parts: impl IntoIterator<Item = Transaction>) {
        self.drop_oldest();
        self.made += 1;
        for (at, part) in parts.into_iter().enumerate() {
            self.stored.planned.insert(at, Transaction { made: self.made, ..part });
        }
        self.dirty = true;
    }

    /// None of the events of a planned transaction are in the log any more: retention was faster, or they have expired.
    pub fn vanished(&mut self, at: usize, now_ms: u64) -> Option<Transaction> {
        let gone = self.stored.planned.remove(at)?;
        self.dirty = true;
        if at == 0 {
            (self.in_flight, self.stored.refusals) = (false, 0);
        }
        if self.stored.planned.is_empty() && self.stored.status == Status::Down {
            self.become_status(Status::Up, now_ms);
        }
        Some(gone)
    }

    fn drop_oldest(&mut self) {
        self.stored.planned.pop_front();
        self.stored.refusals = 0;
    }

    /// Somebody wants it tried now.
    pub fn nudge(&mut self, now_ms: u64) {
        (self.nudged, self.due_ms) = (true, 0);
        if self.stored.status == Status::Disabled {
            self.dirty = true;
            // What was planned before it was disabled is sent first; if there is nothing, it is up until that proves wrong.
            let status = if self.stored.planned.is_empty() { Status::Up } else { Status::Down };
            self.become_status(status, now_ms);
        }
    }

    /// Whether the state has to be recorded.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The state as it is now is being recorded: for [`Machine::recorded`].
    pub fn recording(&mut self) -> Recording {
        self.dirty = false;
        Recording(self.made)
    }

    /// It is recorded; or (`false`) could not be.
    pub fn recorded(&mut self, what: Recording, done: bool) {
        match done {
            true => self.recorded = self.recorded.max(what.0),
            false => self.dirty = true,
        }
    }

    /// The place to be recorded with the state: before the oldest that is not done, else `read_to`.
    pub fn done_to(&self, read_to: u64) -> u64 {
        self.stored.planned.front().map_or(read_to, |oldest| oldest.first.saturating_sub(1))
    }

    /// Whether it is worth keeping in memory what was read for the planned transactions.
    pub fn keeps_bodies(&self) -> bool {
        self.stored.status == Status::Up && !self.paused
    }

    /// What the service has become, if that was not asked for since.
    pub fn take_became(&mut self) -> Option<Status> {
        self.became.take()
    }

    fn become_status(&mut self, status: Status, now_ms: u64) {
        if self.stored.status != status {
            (self.stored.status, self.stored.since_ms, self.became) = (status, now_ms, Some(status));
        }
    }
}

/// What is being recorded: all transactions that were made up to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording(u64);

/// The wait after so many failures in a row: 2 s, doubling to 512 s, times a die between 0 and 1.
pub fn backoff_ms(attempts: u32, roll: u64) -> u64 {
    let longest_ms = BACKOFF_MS.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(BACKOFF_MS_MAX);
    // 53 bits are what a double has.
    let part = (roll >> 11) as f64 / (1u64 << 53) as f64;
    (longest_ms as f64 * part) as u64
}
