//! Retained events on their way to a new subscription: paced by the outbox, so that 100 000 of them cost a reference each.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Owed;
use crate::types::event::{Qos, StoredEvent, Terms};

/// What new subscriptions still have to be sent, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Replay {
    runs: VecDeque<Run>,
}

#[derive(Debug)]
struct Run {
    events: std::vec::IntoIter<Arc<StoredEvent>>,
    /// With the QoS that was granted; each copy gets the lower of this and its own.
    terms: Terms,
}

impl Replay {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Events still to be sent.
    pub fn len(&self) -> usize {
        self.runs.iter().map(|run| run.events.len()).sum()
    }

    /// Owes these events on these terms (`terms.qos` is the granted one).
    pub fn push(&mut self, events: Vec<Arc<StoredEvent>>, terms: Terms) {
        if !events.is_empty() {
            self.runs.push_back(Run { events: events.into_iter(), terms });
        }
    }

    /// Whether the next event is QoS 1 or 2, so that it needs a place in the window.
    pub fn next_needs_window(&self) -> bool {
        self.runs.front().is_some_and(|run| {
            let next = run.events.as_slice().first();
            next.is_some_and(|event| event.qos.min(run.terms.qos) != Qos::AtMostOnce)
        })
    }

    /// The next event.
    pub fn pop(&mut self) -> Option<Owed> {
        let run = self.runs.front_mut()?;
        let event = run.events.next();
        let terms = run.terms.clone();
        if run.events.len() == 0 {
            self.runs.pop_front();
        }
        event.map(|event| Owed { terms: Terms { qos: terms.qos.min(event.qos), ..terms }, event })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// Forgets what a subscription that is gone would have been sent.
    pub fn retain(&mut self, keep: impl Fn(&Terms) -> bool) {
        self.runs.retain(|run| keep(&run.terms));
    }
}
