//! Calls that wait for something to be read from the log's past.

use super::answer::{Answer, Failure};
use super::callee::Call;
use super::{CallKey, Room};
use crate::node::log::history::Busy;
use crate::node::past::{Found, Page};
use crate::store::StoreError;
use crate::types::ids::SubscriptionId;

/// See the module.
pub(super) enum Asked {
    /// Where a subscription is to be replayed from.
    Replay { call: Call, subscription: SubscriptionId },
    /// The number of an event that was processed.
    Ack { call: Call, subscription: SubscriptionId },
    /// Events of the past.
    Events { call: Call, subscription: SubscriptionId, with_topic: bool },
}

impl Asked {
    fn call(&self) -> &Call {
        match self {
            Self::Replay { call, .. } | Self::Ack { call, .. } | Self::Events { call, .. } => call,
        }
    }
}

impl From<Busy> for Failure {
    fn from(busy: Busy) -> Self {
        Self::new("wamp.error.unavailable", busy.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new("fennec.error.store_unavailable", format!("the store {error}"))
    }
}

impl Room<'_> {
    /// The caller does not wait any more.
    pub fn cancel_asked(&mut self, key: &CallKey, answer: bool) -> bool {
        let Some(asked) = self.desk.asked.remove(key) else { return false };
        if answer {
            self.answer(asked.call(), Err(Failure::canceled()));
        }
        true
    }

    /// A place in the log was found.
    pub fn found(&mut self, key: &CallKey, found: Result<Found, StoreError>) {
        let Some(asked) = self.desk.asked.remove(key) else { return };
        let done = found.map_err(Failure::from).and_then(|found| match &asked {
            Asked::Replay { call, subscription } => self.start_replay(call, *subscription, &found),
            Asked::Ack { call, subscription } => self.acknowledge(call, *subscription, found.after),
            // It asks for a page.
            Asked::Events { .. } => Ok(Answer::default()),
        });
        self.answer(asked.call(), done);
    }

    /// A page of events was read.
    pub fn page(&mut self, key: &CallKey, page: Result<Page, StoreError>) {
        match (self.desk.asked.remove(key), page) {
            (Some(Asked::Events { call, subscription, with_topic }), Ok(page)) => {
                self.tell_events(&call, subscription, with_topic, page);
            }
            (Some(asked), Err(error)) => self.answer(asked.call(), Err(error.into())),
            _ => {}
        }
    }
}
