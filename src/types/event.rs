//! A publication on its way to its subscribers.

use std::sync::Arc;

use bytes::Bytes;

use super::ids::{PublicationId, SessionId};
use super::payload::{Codec, Payload, PayloadRef};
use super::topic::Topic;

/// Delivery guarantee, as in MQTT. What WAMP and HTTP publish counts as the highest, so that the subscription decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

/// Application properties of a publication that travel with it unchanged (MQTT 5, 3.3.2.3; WAMP PUBLISH options).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// `Some(true)`: the payload is UTF-8 text (MQTT 5, 3.3.2.3.2).
    pub payload_is_text: Option<bool>,
    pub content_type: Option<String>,
    /// As an MQTT topic name.
    pub response_topic: Option<String>,
    pub correlation_data: Option<Bytes>,
    pub user_properties: Vec<(String, String)>,
}

/// Who published, where it was asked to be told (WAMP, Publisher Identification).
#[derive(Clone, Debug, PartialEq)]
pub struct Discloser {
    pub session: SessionId,
    pub authid: Option<String>,
    pub authrole: Option<String>,
}

/// A publication, borrowed from the buffer it was read into.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub topic: &'a Arc<Topic>,
    pub payload: PayloadRef<'a>,
    /// How `payload` is translated for the other protocol.
    pub codec: Codec,
    pub qos: Qos,
    /// Live: the publisher asked to retain it. Delivered from the retained store: always true.
    pub retain: bool,
    pub publication: PublicationId,
    pub properties: Option<&'a Arc<Properties>>,
    /// Set when the publisher's identity is disclosed.
    pub publisher: Option<&'a Arc<Discloser>>,
    /// Milliseconds on the node's clock after which it must not be delivered (MQTT 5, 3.3.2.3.3).
    pub expires_at_ms: Option<u64>,
}

/// A publication that outlives its buffer: retained, inflight or in a backlog.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub topic: Arc<Topic>,
    pub payload: Payload,
    pub codec: Codec,
    pub qos: Qos,
    pub retain: bool,
    pub publication: PublicationId,
    pub properties: Option<Arc<Properties>>,
    pub publisher: Option<Arc<Discloser>>,
    pub expires_at_ms: Option<u64>,
}
