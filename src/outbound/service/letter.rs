//! Dead letters: events that a service has refused for good, as they are published to its dead-letter topic.

use std::sync::Arc;

use crate::queue::message::{Batch, Posting};
use crate::types::event::{Event, Properties, Qos, StoredEvent};
use crate::types::topic::Topic;

/// User properties of a dead letter: what it was, and why nobody wanted it.
pub const TOPIC: &str = "fennec-dead-topic";
pub const EVENT_ID: &str = "fennec-dead-event-id";
pub const SERVICE: &str = "fennec-dead-service";
pub const STATUS: &str = "fennec-dead-status";
pub const REASON: &str = "fennec-dead-reason";

/// Who has refused an event, and how.
pub(super) struct Cause<'a> {
    pub service: &'a str,
    pub status: u16,
    pub why: &'a str,
}

/// Adds the letter to a batch.
pub(super) fn write(dead: &StoredEvent, realm: &str, topic: &str, cause: &Cause<'_>, batch: &mut Batch) {
    let Ok(topic) = Topic::from_name(topic) else { return };
    let mut properties: Properties = dead.properties.as_deref().cloned().unwrap_or_default();
    let said = [
        (TOPIC, dead.topic.name().to_owned()),
        (EVENT_ID, dead.place.map(|place| place.id.to_string()).unwrap_or_default()),
        (SERVICE, cause.service.to_owned()),
        (STATUS, cause.status.to_string()),
        (REASON, cause.why.to_owned()),
    ];
    properties.user_properties.extend(said.map(|(name, value)| (name.to_owned(), value)));
    let (topic, properties) = (Arc::new(topic), Arc::new(properties));
    let event = Event {
        topic: &topic,
        retain: false,
        qos: dead.qos.max(Qos::AtLeastOnce),
        place: None,
        properties: Some(&properties),
        expires_at_ms: None,
        ..dead.as_event(0)
    };
    batch.event(&event, &Posting { realm, ..Posting::default() });
}
