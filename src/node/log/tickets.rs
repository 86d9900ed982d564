//! Who is told what became of a submission, and in which order.
//!
//! A connection pairs outcomes with what it waits for by their order alone. They do not become known in that order: what
//! is refused at once would overtake what is still being written, or what is in doubt. So each message of a connection has a
//! [`Turn`] in the order of its submissions, and [`Tickets`] hold back what comes too early.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::node::link::Link;
use crate::queue::outcome::Outcome;

/// Takes the outcomes of a submission.
#[derive(Clone)]
pub enum Owner {
    /// Nobody asks.
    Nobody,
    /// A connection, which pairs them with what it waits for.
    Connection(Arc<Tickets>),
    /// Called with each outcome, on the feed thread: must not block, nor submit while it holds a lock.
    Function(Arc<dyn Fn(Outcome) + Send + Sync>),
}

/// Whose a message is, and which one of all its owner has submitted.
#[derive(Clone)]
pub struct Turn {
    owner: Owner,
    at: u64,
}

/// Outcomes on their way to one connection.
pub struct Tickets {
    inner: Mutex<Inner>,
    link: Arc<Link>,
}

#[derive(Default)]
struct Inner {
    /// To be taken.
    outcomes: VecDeque<Outcome>,
    /// Messages that were submitted.
    submitted: u64,
    /// Messages whose outcome is known, as are those of all before them.
    known: u64,
    /// Outcomes of messages behind those, by turn.
    early: BTreeMap<u64, Outcome>,
    /// What stands for no message, and came behind `early`.
    late: Vec<Outcome>,
}

impl Owner {
    /// The turn of the first of so many messages, which are submitted now.
    pub(super) fn submits(self, messages: u32) -> Turn {
        let at = match &self {
            Self::Connection(tickets) => {
                let mut inner = tickets.inner.lock();
                let at = inner.submitted;
                inner.submitted += u64::from(messages);
                at
            }
            Self::Nobody | Self::Function(_) => 0,
        };
        Turn { owner: self, at }
    }
}

impl Turn {
    /// The turn of the message so many behind this one, of the same submission.
    pub fn behind(&self, messages: u32) -> Self {
        Self { owner: self.owner.clone(), at: self.at + u64::from(messages) }
    }

    /// Hands over the outcome of the message here, and of those behind it if it stands for several.
    pub fn tell(&self, outcome: Outcome) {
        match &self.owner {
            Owner::Nobody => {}
            Owner::Connection(tickets) => tickets.tell(self.at, outcome),
            Owner::Function(function) => function(outcome),
        }
    }
}

impl Tickets {
    pub fn new(link: Arc<Link>) -> Self {
        Self { inner: Mutex::default(), link }
    }

    fn tell(&self, at: u64, outcome: Outcome) {
        let mut inner = self.inner.lock();
        let had_none = inner.outcomes.is_empty();
        inner.tell(at, outcome);
        let wake = had_none && !inner.outcomes.is_empty();
        drop(inner);
        if wake {
            self.link.wake();
        }
    }

    /// The next outcome.
    pub fn take(&self) -> Option<Outcome> {
        self.inner.lock().outcomes.pop_front()
    }
}

impl Inner {
    fn tell(&mut self, at: u64, outcome: Outcome) {
        let messages = messages_of(&outcome);
        if messages > 0 && at > self.known {
            self.early.insert(at, outcome);
        } else if messages == 0 && !self.early.is_empty() {
            self.late.push(outcome);
        } else {
            self.known += messages;
            self.outcomes.push_back(outcome);
            self.catch_up();
        }
    }

    /// Lets those go whose turn it is now.
    fn catch_up(&mut self) {
        if self.early.is_empty() {
            return;
        }
        while let Some(outcome) = self.early.remove(&self.known) {
            self.known += messages_of(&outcome);
            self.outcomes.push_back(outcome);
        }
        if self.early.is_empty() {
            self.outcomes.extend(self.late.drain(..));
        }
    }
}

/// Messages that an outcome stands for.
fn messages_of(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Events { count, .. } | Outcome::Refused { count, .. } => u64::from(*count),
        Outcome::Void(_) | Outcome::Waiting { .. } | Outcome::Done(_) => 1,
        Outcome::Granted { .. } | Outcome::Ended { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::outcome::{Refused, Void};

    fn events(first: u64, count: u32) -> Outcome {
        Outcome::Events { first, count }
    }

    fn refused(count: u32) -> Outcome {
        Outcome::Refused { count, why: Refused::Full }
    }

    fn taken(tickets: &Tickets) -> Vec<Outcome> {
        std::iter::from_fn(|| tickets.take()).collect()
    }

    #[test]
    fn what_is_refused_at_once_does_not_overtake_what_is_still_being_written() {
        let tickets = Arc::new(Tickets::new(Arc::default()));
        let submit = |messages| Owner::Connection(tickets.clone()).submits(messages);
        let (first, second, third) = (submit(3), submit(2), submit(1));
        second.tell(refused(2));
        assert_eq!(taken(&tickets), []);
        first.tell(events(7, 1));
        first.behind(1).tell(Outcome::Void(Void::Stale));
        assert_eq!(taken(&tickets), [events(7, 1), Outcome::Void(Void::Stale)]);
        first.behind(2).tell(events(9, 1));
        assert_eq!(taken(&tickets), [events(9, 1), refused(2)]);
        third.tell(events(10, 1));
        assert_eq!(taken(&tickets), [events(10, 1)]);
    }

    #[test]
    fn a_grant_does_not_overtake_the_word_that_it_is_waited_for() {
        let tickets = Arc::new(Tickets::new(Arc::default()));
        let submit = |messages| Owner::Connection(tickets.clone()).submits(messages);
        let (first, waiting) = (submit(1), submit(1));
        waiting.tell(Outcome::Waiting { ticket: 8 });
        waiting.tell(Outcome::Granted { ticket: 8, number: 9 });
        first.tell(events(7, 1));
        let granted = Outcome::Granted { ticket: 8, number: 9 };
        assert_eq!(taken(&tickets), [events(7, 1), Outcome::Waiting { ticket: 8 }, granted]);
    }
}
