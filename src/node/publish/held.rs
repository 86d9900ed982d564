//! Publications that wait behind durable ones of the same connection.

use std::sync::Arc;

use super::Publication;
use crate::node::metrics::Protocol;
use crate::queue::command::Command;
use crate::queue::condition::Condition;
use crate::types::event::{Discloser, Filter, Properties, Qos};
use crate::types::payload::Payload;
use crate::types::topic::Topic;

/// What waits.
pub(super) enum Held {
    Publication(Box<HeldPublication>),
    Command(Box<Command>),
}

/// A publication with everything owned.
pub(super) struct HeldPublication {
    pub topic: Arc<Topic>,
    payload: Payload,
    qos: Qos,
    retain: bool,
    properties: Option<Arc<Properties>>,
    publisher: Option<Arc<Discloser>>,
    expires_at_ms: Option<u64>,
    exclude_publisher: bool,
    filter: Option<Filter>,
    condition: Option<Condition>,
    packet: Option<(String, u64, u16)>,
}

impl Held {
    pub fn publication(topic: Arc<Topic>, publication: &Publication<'_>, now_ms: u64) -> Self {
        Self::Publication(Box::new(HeldPublication {
            topic,
            payload: publication.payload.store(publication.backing),
            qos: publication.qos,
            retain: publication.retain,
            properties: publication.properties.cloned(),
            publisher: publication.publisher.cloned(),
            expires_at_ms: publication.expires_in_s.map(|s| now_ms + u64::from(s) * 1000),
            exclude_publisher: publication.exclude_publisher,
            filter: publication.filter.cloned(),
            condition: publication.condition.cloned(),
            packet: publication.packet.map(|(client_id, connection, id)| (client_id.to_owned(), connection, id)),
        }))
    }

    /// What it counts for in the bound of what waits.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Publication(held) => 256 + held.topic.name().len() + held.payload.len(),
            Self::Command(_) => 256,
        }
    }
}

impl HeldPublication {
    /// The topic as connections of this protocol write it.
    pub fn name(&self, protocol: Protocol) -> &[u8] {
        if protocol == Protocol::Wamp { self.topic.uri().as_bytes() } else { self.topic.as_bytes() }
    }

    pub fn as_publication(&self, now_ms: u64) -> Publication<'_> {
        Publication {
            payload: self.payload.as_ref(),
            qos: self.qos,
            retain: self.retain,
            properties: self.properties.as_ref(),
            publisher: self.publisher.as_ref(),
            expires_in_s: self.expires_at_ms.map(|at| at.saturating_sub(now_ms).div_ceil(1000) as u32),
            exclude_publisher: self.exclude_publisher,
            filter: self.filter.as_ref(),
            condition: self.condition.as_ref(),
            packet: self.packet.as_ref().map(|(client_id, connection, id)| (client_id.as_str(), *connection, *id)),
            backing: None,
        }
    }
}
