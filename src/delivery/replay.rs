//! Retained events on their way to a new subscription: paced by the outbox, and fetched a slice at a time, so that 100 000 of
//! them cost neither a copy nor a long hold of a lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::Owed;
use crate::types::event::{Qos, StoredEvent, Terms};
use crate::types::ids::SubscriptionId;

/// Fetches further events: appends a bounded number of them, perhaps none if it had to look far.
pub type Source = Box<dyn FnMut(&mut VecDeque<Arc<StoredEvent>>) -> Fetched + Send>;

/// What a [`Source`] says of those that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There may be more.
    More,
    /// Those were the last.
    Last,
    /// There is nothing to be had yet: whoever is asked will wake the connection when there is.
    Later,
}

/// What new subscriptions still have to be sent, in the order in which they were made.
#[derive(Default)]
pub struct Replay {
    /// By turn: the lowest is sent first.
    runs: BTreeMap<u64, Run>,
    turns: HashMap<SubscriptionId, u64>,
    last_turn: u64,
}

/// What one subscription has to be sent. Never without both events and a source.
struct Run {
    subscription: SubscriptionId,
    events: VecDeque<Arc<StoredEvent>>,
    source: Option<Source>,
    /// With the QoS that was granted; each copy gets the lower of this and its own.
    terms: Terms,
}

impl Replay {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether a subscription still has to be sent something.
    pub fn owes(&self, subscription: SubscriptionId) -> bool {
        self.turns.contains_key(&subscription)
    }

    /// Owes a subscription these events, and then those of `source`, on these terms (`terms.qos` is the granted one). In place
    /// of what it was owed before: a repeated subscription starts over (MQTT 5, 3.8.4).
    pub fn push(
        &mut self,
        subscription: SubscriptionId,
        events: VecDeque<Arc<StoredEvent>>,
        source: Option<Source>,
        terms: Terms,
    ) {
        self.forget(subscription);
        if !events.is_empty() || source.is_some() {
            self.last_turn += 1;
            self.turns.insert(subscription, self.last_turn);
            self.runs.insert(self.last_turn, Run { subscription, events, source, terms });
        }
    }

    /// Whether [`Replay::fetch`] must be called before [`Replay::front`] can tell what comes next.
    pub fn must_fetch(&self) -> bool {
        self.runs.first_key_value().is_some_and(|(_, run)| run.events.is_empty())
    }

    /// Fetches a slice of the front run's events.
    pub fn fetch(&mut self) -> Fetched {
        let Some(mut front) = self.runs.first_entry() else { return Fetched::Last };
        let run = front.get_mut();
        let fetched = run.source.as_mut().map_or(Fetched::Last, |source| source(&mut run.events));
        if fetched == Fetched::Last {
            run.source = None;
            self.end_front_if_done();
        }
        fetched
    }

    /// The next event, if there is one at hand.
    pub fn front(&self) -> Option<Owed> {
        let (_, run) = self.runs.first_key_value()?;
        let event = run.events.front()?.clone();
        let qos = run.terms.qos.min(event.qos);
        Some(Owed { event, terms: Terms { qos, ..run.terms.clone() } })
    }

    /// The front event was sent, or need not be.
    pub fn pop(&mut self) {
        if let Some(mut front) = self.runs.first_entry() {
            front.get_mut().events.pop_front();
            self.end_front_if_done();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what a subscription that is gone would have been sent.
    pub fn forget(&mut self, subscription: SubscriptionId) {
        if let Some(turn) = self.turns.remove(&subscription) {
            self.runs.remove(&turn);
            self.tidy();
        }
    }

    /// The connection ended. What was promised with QoS 1 or 2 is owed still, the rest goes with the connection.
    pub fn disconnect(&mut self) {
        self.runs.retain(|_, run| run.terms.qos != Qos::AtMostOnce);
        let Self { runs, turns, .. } = self;
        turns.retain(|_, turn| runs.contains_key(turn));
        self.tidy();
    }

    fn end_front_if_done(&mut self) {
        if let Some(front) = self.runs.first_entry()
            && front.get().events.is_empty()
            && front.get().source.is_none()
        {
            let run = front.remove();
            self.turns.remove(&run.subscription);
            self.tidy();
        }
    }

    /// A replay that is over keeps no memory.
    fn tidy(&mut self) {
        if self.runs.is_empty() {
            self.clear();
        }
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("runs", &self.runs.len()).finish_non_exhaustive()
    }
}
