//! What a connection has given to the durable log, and what has to wait behind it.
//!
//! While a connection has unresolved durable publications, its later ones that are not durable wait for them: those of WAMP all,
//! those of MQTT where the topic is the same. Once something waits, everything that follows waits behind it, so that what
//! a connection gets told comes in the order in which it asked.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Published;
use super::held::Held;
use crate::node::log::Submission;
use crate::node::log::tickets::{Owner, Tickets};
use crate::queue::message::Batch;
use crate::queue::outcome::{Done, Outcome, Refused, Void, WaitEnd};

/// What became of one message that was pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// An event is in the log, under this number.
    Event { number: u64 },
    /// It was routed without the log.
    Routed(Published),
    /// An event counts for nothing.
    Void(Void),
    /// An event waits for its condition; `Granted` or `Ended` follows.
    Waiting { ticket: u64 },
    /// A command was applied.
    Done(Done),
    /// Nothing of it was stored.
    Refused(Refused),
    /// A waiting event is in the log. Stands for no message of its own.
    Granted { ticket: u64, number: u64 },
    /// A waiting event will never be. Stands for no message of its own.
    Ended { ticket: u64, why: WaitEnd },
}

/// See the module.
pub(super) struct Logged {
    pub batch: Batch,
    pub tickets: Option<Arc<Tickets>>,
    order: VecDeque<Pending>,
    /// Bytes that wait, near enough.
    pub bytes: usize,
    /// Logged messages so far, and how many of them are resolved.
    logged: u64,
    resolved: u64,
    /// Of the logged: how many are in the order.
    noted: u64,
    /// The last logged message to a topic that is not remembered.
    forgotten: u64,
    holds: bool,
    /// Whatever is not durable waits, not just what has the same topic.
    strict: bool,
}

/// In the order in which the connection will be told.
enum Pending {
    /// So many messages were given to the log.
    Logged { count: u32, bytes: usize },
    /// Routed; only to be told.
    Routed(Published),
    /// Waits. Behind it there are only others that wait.
    Held(Held),
}

impl Logged {
    /// `strict`: whatever is not durable waits, not just what has the same topic.
    pub fn new(strict: bool) -> Self {
        Self {
            batch: Batch::default(),
            tickets: None,
            order: VecDeque::new(),
            bytes: 0,
            logged: 0,
            resolved: 0,
            noted: 0,
            forgotten: 0,
            holds: false,
            strict,
        }
    }

    /// Nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.batch.is_empty()
    }

    /// Something waits, so all has to.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Whether a publication has to wait. `topic_logged`: which logged message was the last to its topic.
    pub fn must_hold(&self, durable: bool, topic_logged: u64) -> bool {
        let behind = if self.strict { self.logged } else { topic_logged };
        self.holds || (!durable && behind > self.resolved)
    }

    pub fn hold(&mut self, held: Held) {
        self.seal();
        self.holds = true;
        self.bytes += held.bytes();
        self.order.push_back(Pending::Held(held));
    }

    /// To be told in its turn.
    pub fn routed(&mut self, published: Published) {
        self.seal();
        self.order.push_back(Pending::Routed(published));
    }

    /// Counts a message that was added to the batch; tells which one it is.
    pub fn count(&mut self, messages: u64) -> u64 {
        self.logged += messages;
        // Without anybody who listens nothing is ever resolved: nothing waits then.
        if self.tickets.is_none() {
            self.resolved = self.logged;
        }
        self.logged
    }

    /// Topics are forgotten: as far as is known, all of them may have been written to last.
    pub fn forget_topics(&mut self) {
        self.forgotten = self.logged;
    }

    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What is to be given to the log now.
    pub fn submission(&mut self) -> Option<Submission> {
        if self.batch.is_empty() {
            return None;
        }
        self.seal();
        let batch = std::mem::take(&mut self.batch);
        let owner = self.tickets.clone().map_or(Owner::Nobody, Owner::Connection);
        Some(Submission { batch, owner })
    }

    /// Notes what is in the batch and not yet in the order.
    fn seal(&mut self) {
        let count = self.logged - self.noted;
        self.noted = self.logged;
        if count > 0 && self.tickets.is_some() {
            let bytes = self.batch.len();
            self.bytes += bytes;
            self.order.push_back(Pending::Logged { count: count as u32, bytes });
        }
    }

    /// Takes an outcome.
    pub fn resolve(&mut self, outcome: Outcome, each: &mut impl FnMut(Settled)) {
        match outcome {
            Outcome::Events { first, count } => {
                (0..u64::from(count)).for_each(|at| self.resolve_one(Settled::Event { number: first + at }, each));
            }
            Outcome::Refused { count, why } => (0..count).for_each(|_| self.resolve_one(Settled::Refused(why), each)),
            Outcome::Void(void) => self.resolve_one(Settled::Void(void), each),
            Outcome::Waiting { ticket } => self.resolve_one(Settled::Waiting { ticket }, each),
            Outcome::Done(done) => self.resolve_one(Settled::Done(done), each),
            Outcome::Granted { ticket, number } => each(Settled::Granted { ticket, number }),
            Outcome::Ended { ticket, why } => each(Settled::Ended { ticket, why }),
        }
    }

    fn resolve_one(&mut self, settled: Settled, each: &mut impl FnMut(Settled)) {
        self.report(each);
        self.resolved += 1;
        each(settled);
        if let Some(Pending::Logged { count, bytes }) = self.order.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.bytes = self.bytes.saturating_sub(*bytes);
                self.order.pop_front();
            }
        }
    }

    /// Tells what was routed and is at the front.
    pub fn report(&mut self, each: &mut impl FnMut(Settled)) {
        while let Some(Pending::Routed(published)) = self.order.front() {
            each(Settled::Routed(*published));
            self.order.pop_front();
        }
    }

    /// All that waits, if nothing is before it any more: to be published anew, which may find that some of it has to wait again.
    pub fn release(&mut self, each: &mut impl FnMut(Settled)) -> Vec<Held> {
        self.report(each);
        if !matches!(self.order.front(), Some(Pending::Held(_))) {
            return Vec::new();
        }
        self.take_held()
    }

    /// All that waits, whatever is before it.
    pub fn take_held(&mut self) -> Vec<Held> {
        self.holds = false;
        // Behind what waits there is only what waits.
        let first = self.order.iter().position(|pending| matches!(pending, Pending::Held(_)));
        let held = self.order.drain(first.unwrap_or(self.order.len())..).filter_map(|pending| match pending {
            Pending::Held(held) => Some(held),
            Pending::Logged { .. } | Pending::Routed(_) => None,
        });
        let held: Vec<_> = held.collect();
        let bytes: usize = held.iter().map(Held::bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        held
    }
}
