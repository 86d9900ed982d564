//! What the client is still to be told: answers that wait for the durable log.
//!
//! Everything that was given to the log, and what waits behind it, is settled in the order in which the client asked
//! ([`Publisher::hear`](crate::node::publish::Publisher::hear)); publications that wait for a condition are settled whenever it holds.

use std::collections::{HashMap, VecDeque};

use super::resume::Durably;
use crate::types::ids::{RequestId, SubscriptionId};
use crate::types::topic::TopicPattern;

/// Something that was asked, and is not settled.
pub(super) enum Asked {
    /// To be answered PUBLISHED or ERROR.
    Publish(RequestId),
    /// A PUBLISH that is not acknowledged.
    Silent,
    /// A SUBSCRIBE to a named durable subscription.
    Durable(Box<Durably>),
    /// Retained values, of which what the client has published before is to be one. Settled when it is its turn.
    Retained { pattern: Box<TopicPattern>, subscription: SubscriptionId },
}

/// See the module.
#[derive(Default)]
pub(super) struct Pending {
    order: VecDeque<Asked>,
    /// Publications that wait for their condition, by ticket; those that are to be answered with their request.
    waiting: HashMap<u64, Option<RequestId>>,
}

impl Pending {
    /// Nothing is to be settled, now or ever.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.waiting.is_empty()
    }

    /// Whether all that does not wait for a condition is settled.
    pub fn is_settled(&self) -> bool {
        self.order.is_empty()
    }

    pub fn ask(&mut self, asked: Asked) {
        self.order.push_back(asked);
    }

    /// What is settled next.
    pub fn settle(&mut self) -> Option<Asked> {
        self.order.pop_front()
    }

    /// What is not the log's to settle and at the front.
    pub fn settle_retained(&mut self) -> Option<(Box<TopicPattern>, SubscriptionId)> {
        self.order.front().filter(|asked| matches!(asked, Asked::Retained { .. }))?;
        match self.order.pop_front()? {
            Asked::Retained { pattern, subscription } => Some((pattern, subscription)),
            Asked::Publish(_) | Asked::Silent | Asked::Durable(_) => None,
        }
    }

    /// The publication whose turn it is waits for its condition.
    pub fn wait(&mut self, ticket: u64) {
        let request = match self.settle() {
            Some(Asked::Publish(request)) => Some(request),
            _ => None,
        };
        self.waiting.insert(ticket, request);
    }

    /// A wait is over; the request if it is to be answered.
    pub fn end_wait(&mut self, ticket: u64) -> Option<RequestId> {
        self.waiting.remove(&ticket).flatten()
    }

    /// Whether retained values of a subscription wait for their turn.
    pub fn waits_for_retained(&self, of: SubscriptionId) -> bool {
        self.order.iter().any(|asked| matches!(asked, Asked::Retained { subscription, .. } if *subscription == of))
    }

    /// Forgets the retained values of a subscription that is gone.
    pub fn forget(&mut self, gone: SubscriptionId) {
        self.order.retain(|asked| !matches!(asked, Asked::Retained { subscription, .. } if *subscription == gone));
    }
}
