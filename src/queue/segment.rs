//! A segment that has its place in the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::event_id::EventId;

/// A stored segment: a row of the store, and what the feed hands to subscribers. See [`super::message`] for the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Place in the one total order, from 1 on. Positions without messages have no segment.
    pub position: u64,
    /// Number of the first message; the others follow without gaps.
    pub first: u64,
    /// Numbers it has: messages of the body, then those that they set off.
    pub count: u32,
    /// Log time: microseconds since 1970 (the advance segment).
    pub at_us: u64,
    /// Of its event ids: minutes since 1970 and the generator.
    pub minute: u32,
    pub generator: u64,
    /// Encoded messages as the entry sealed them.
    pub body: Bytes,
    /// Encoded messages that were set off: wills, granted waits. Numbered behind the body's.
    pub set_off: Bytes,
    /// Offsets (from 0) of events of the body that count for nothing; sorted.
    pub voids: Vec<u32>,
    /// What it holds of each topic, for retention and for readers of few topics.
    pub topics: Vec<TopicShare>,
}

/// What a segment holds of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicShare {
    pub realm: Box<str>,
    /// As an MQTT topic name.
    pub topic: Box<str>,
    pub messages: u32,
    pub bytes: u64,
}

impl Segment {
    /// Number of its last message.
    pub fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// The event id of one of its numbers.
    pub fn event_id(&self, number: u64) -> EventId {
        EventId { minute: self.minute, generator: self.generator, offset: (number - self.first + 1) as u32 }
    }

    /// Bytes that it takes, near enough for a bound.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.set_off.len() + 64 + self.topics.len() * 32
    }
}
