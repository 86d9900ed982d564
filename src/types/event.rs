//! A publication on its way to its subscribers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use smallvec::SmallVec;

use super::event_id::EventId;
use super::ids::{PublicationId, SessionId, SubscriptionId};
use super::passthru::Passthru;
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

/// Subscription identifiers of one copy (MQTT 5, 3.3.2.3.8); nearly always none or one.
pub type Identifiers = SmallVec<[u32; 2]>;

/// On what terms one copy of an event is delivered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Lower of published and granted (MQTT 5, 3.8.4).
    pub qos: Qos,
    /// The RETAIN flag of the copy; in WAMP, `retained` in the details.
    pub retain: bool,
    /// Sent before, perhaps (MQTT 5, 3.3.1.1).
    pub dup: bool,
    pub identifiers: Identifiers,
    /// The subscription that this copy is for, where each has its own copy (WAMP).
    pub subscription: Option<SubscriptionId>,
    /// The subscriber is to be told the topic, for it subscribed to a pattern (WAMP).
    pub with_topic: bool,
    /// Told with the first event that a subscription is given which asked for older ones.
    pub recovery: Option<Recovery>,
    /// Topic alias to use, and whether the client knows it already, so that the topic may stay empty (MQTT 5, 3.3.2.3.4).
    pub alias: Option<(u16, bool)>,
}

/// What became of the past that a subscription asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Nothing of it was given up.
    pub recovered: bool,
    /// Id of the first event that is surely there still; `None`: the log has none.
    pub first_available: Option<EventId>,
}

/// Properties of a publication that travel with it unchanged: the application's (MQTT 5, 3.3.2.3; WAMP PUBLISH options), and what the
/// broker thinks of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// `Some(true)`: the payload is UTF-8 text (MQTT 5, 3.3.2.3.2).
    pub payload_is_text: Option<bool>,
    pub content_type: Option<String>,
    /// As an MQTT topic name.
    pub response_topic: Option<String>,
    pub correlation_data: Option<Bytes>,
    pub user_properties: Vec<(String, String)>,
    /// The payload is for the subscribers alone to read.
    pub passthru: Option<Box<Passthru>>,
    /// What it is about (WAMP, Sharded Subscription).
    pub resource_key: Option<Box<str>>,
    /// How much the broker trusts the publisher here (WAMP, Publication Trust Levels).
    pub trust: Option<u32>,
}

/// Who published, where it was asked to be told (WAMP, Publisher Identification).
#[derive(Clone, Debug, PartialEq)]
pub struct Discloser {
    pub session: SessionId,
    pub authid: Option<String>,
    pub authrole: Option<String>,
}

/// Who may get an event (WAMP, Subscriber Black- and Whitelisting). An absent list restricts nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub exclude: HashSet<SessionId>,
    pub exclude_authid: HashSet<String>,
    pub exclude_authrole: HashSet<String>,
    pub eligible: Option<HashSet<SessionId>>,
    pub eligible_authid: Option<HashSet<String>>,
    pub eligible_authrole: Option<HashSet<String>>,
}

/// Where a durable event stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counts the messages of the log, from 1 on; internal.
    pub number: u64,
    /// What users are told.
    pub id: EventId,
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
    /// Set when the event is durable.
    pub place: Option<Place>,
    pub properties: Option<&'a Arc<Properties>>,
    /// Set when the publisher's identity is disclosed.
    pub publisher: Option<&'a Arc<Discloser>>,
    /// Milliseconds on the node's clock after which it must not be delivered (MQTT 5, 3.3.2.3.3).
    pub expires_at_ms: Option<u64>,
    /// The time until then, as it is told to subscribers.
    pub expires_in_s: Option<u32>,
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
    /// Set when the event is durable.
    pub place: Option<Place>,
    pub properties: Option<Arc<Properties>>,
    pub publisher: Option<Arc<Discloser>>,
    pub expires_at_ms: Option<u64>,
    /// Of a retained one: who may have it.
    pub filter: Option<Arc<Filter>>,
    pub replaced: Replaced,
}

/// Whether a retained event is no longer the value of its topic. Who is subscribed to the topic has been sent its successor, so it
/// is not sent any more to those who still wait for it.
#[derive(Debug, Default)]
pub struct Replaced(AtomicBool);

impl Replaced {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A copy is an event of its own, which nothing has replaced.
impl Clone for Replaced {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Event<'_> {
    /// What it is about (WAMP, Sharded Subscription).
    pub fn resource_key(&self) -> Option<&str> {
        self.properties.and_then(|properties| properties.resource_key.as_deref())
    }

    /// How the payload is translated for another protocol: one that is passed through is never read.
    #[inline]
    pub fn translation(&self) -> Codec {
        match self.properties {
            Some(properties) if properties.passthru.is_some() => Codec::Raw,
            _ => self.codec,
        }
    }

    /// Bytes of topic and payload: what an event counts for in byte bounds.
    pub fn bytes(&self) -> usize {
        self.topic.name().len() + self.payload.len()
    }

    /// The same event with everything owned. `backing` is the buffer that the payload was read into: a payload that fills most
    /// of it is shared, a small one is copied so that it does not keep a whole read alive.
    pub fn store(&self, backing: Option<&Bytes>) -> StoredEvent {
        StoredEvent {
            topic: self.topic.clone(),
            payload: self.payload.store(backing),
            codec: self.codec,
            qos: self.qos,
            retain: self.retain,
            publication: self.publication,
            place: self.place,
            properties: self.properties.cloned(),
            publisher: self.publisher.cloned(),
            expires_at_ms: self.expires_at_ms,
            filter: None,
            replaced: Replaced::default(),
        }
    }
}

impl Filter {
    /// Whether this session may have the event.
    pub fn admits(&self, session: SessionId, authid: &str, authrole: &str) -> bool {
        let listed = |list: &Option<HashSet<String>>, name: &str| list.as_ref().is_none_or(|list| list.contains(name));
        !self.exclude.contains(&session)
            && !self.exclude_authid.contains(authid)
            && !self.exclude_authrole.contains(authrole)
            && self.eligible.as_ref().is_none_or(|list| list.contains(&session))
            && listed(&self.eligible_authid, authid)
            && listed(&self.eligible_authrole, authrole)
    }
}

impl StoredEvent {
    /// The same, for those alone whom `filter` admits.
    pub fn only_for(self, filter: Option<Filter>) -> Self {
        Self { filter: filter.map(Arc::new), ..self }
    }

    /// Whether it may be sent to this one later (WAMP, Event Retention).
    pub fn is_for(&self, who: &Discloser) -> bool {
        let name = |name: &'_ Option<String>| name.clone().unwrap_or_default();
        let Some(filter) = &self.filter else { return true };
        filter.admits(who.session, &name(&who.authid), &name(&who.authrole))
    }

    /// The event, borrowed, as it is at `now_ms`.
    pub fn as_event(&self, now_ms: u64) -> Event<'_> {
        Event {
            topic: &self.topic,
            payload: self.payload.as_ref(),
            codec: self.codec,
            qos: self.qos,
            retain: self.retain,
            publication: self.publication,
            place: self.place,
            properties: self.properties.as_ref(),
            publisher: self.publisher.as_ref(),
            expires_at_ms: self.expires_at_ms,
            expires_in_s: self.expires_at_ms.map(|at| at.saturating_sub(now_ms).div_ceil(1000) as u32),
        }
    }

    /// Bytes of topic and payload: what an event counts for in byte bounds.
    pub fn bytes(&self) -> usize {
        self.topic.name().len() + self.payload.len()
    }
}
