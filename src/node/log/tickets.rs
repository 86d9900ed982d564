//! Who is told what became of a submission.

use std::collections::VecDeque;
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

/// Outcomes on their way to one connection.
pub struct Tickets {
    outcomes: Mutex<VecDeque<Outcome>>,
    link: Arc<Link>,
}

impl Owner {
    /// Hands over one outcome.
    pub fn tell(&self, outcome: Outcome) {
        match self {
            Self::Nobody => {}
            Self::Connection(tickets) => tickets.tell(outcome),
            Self::Function(function) => function(outcome),
        }
    }
}

impl Tickets {
    pub fn new(link: Arc<Link>) -> Self {
        Self { outcomes: Mutex::default(), link }
    }

    fn tell(&self, outcome: Outcome) {
        let mut outcomes = self.outcomes.lock();
        outcomes.push_back(outcome);
        let first = outcomes.len() == 1;
        drop(outcomes);
        if first {
            self.link.wake();
        }
    }

    /// The next outcome.
    pub fn take(&self) -> Option<Outcome> {
        self.outcomes.lock().pop_front()
    }
}
