//! Events as PUBLISH packets: what the node asks this gate to encode.

use std::sync::Arc;

use super::codec::{Level, PropertySource, Publish, PublishProperties, SubscriptionIdentifiers, UserProperties};
use super::rpc;
use crate::node::session::{Session, Touched};
use crate::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use crate::router::output::Output;
use crate::types::event::{Event, Identifiers, Qos, Terms};
use crate::types::event_id::EventIdText;
use crate::types::payload::PayloadRef;

/// Levels 3 and 4 write their PUBLISH alike.
static BEFORE_5: PublishWire = PublishWire { id: WireId(0), level: Level::V4 };
static LEVEL_5: PublishWire = PublishWire { id: WireId(1), level: Level::V5 };

/// Where a snapshot's end is told: [`Revoked::SnapshotEnd`]'s URI as a topic. Nobody else publishes there.
///
/// [`Revoked::SnapshotEnd`]: crate::node::revoke::Revoked::SnapshotEnd
const SNAPSHOT_END: &[u8] = b"fennec/close/snapshot_end";

/// The wire of a connection of this level.
pub fn of(level: Level) -> WireRef {
    WireRef(if level == Level::V5 { &LEVEL_5 } else { &BEFORE_5 })
}

/// The properties of a copy; `None` if it has none.
fn properties_of<'a>(
    event: &Event<'a>,
    terms: &'a Terms,
    event_id: Option<&'a EventIdText>,
) -> Option<PublishProperties<'a>> {
    let plain = event.properties.is_none()
        && event_id.is_none()
        && event.expires_in_s.is_none()
        && terms.identifiers.is_empty()
        && terms.alias.is_none();
    if plain {
        return None;
    }
    let passed = event.properties.map(|passed| PublishProperties::of_event(passed)).unwrap_or_default();
    Some(PublishProperties {
        expiry_s: event.expires_in_s,
        subscription_identifiers: SubscriptionIdentifiers::new(&terms.identifiers),
        topic_alias: terms.alias.map(|(alias, _)| alias),
        event_id: event_id.map(EventIdText::as_str),
        ..passed
    })
}

struct PublishWire {
    id: WireId,
    level: Level,
}

impl Wire for PublishWire {
    fn id(&self) -> WireId {
        self.id
    }

    fn event(&self, event: &Event<'_>, terms: &Terms, split: bool, out: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        let start = out.len();
        let event_id = event.place.map(|place| place.id.text());
        let own = if self.level == Level::V5 { properties_of(event, terms, event_id.as_ref()) } else { None };
        let properties = own.as_ref().map_or(PropertySource::None, PropertySource::Own);
        let known = self.level == Level::V5 && matches!(terms.alias, Some((_, true)));
        let topic = if known { b"" } else { event.topic.as_bytes() };
        let Terms { dup, qos, retain, .. } = *terms;
        let publish = Publish { dup, qos, retain, packet_id: None, topic, properties, payload: b"" };
        let payload = event.payload.as_bytes(event.translation());
        let layout = publish.encode_header(self.level, payload.len(), out).map_err(|_| Unencodable::TooLarge)?;
        let body_left_out = split && matches!(event.payload, PayloadRef::Bytes(_));
        if !body_left_out {
            out.extend_from_slice(&payload);
        }
        Ok(Encoded { packet_id_at: layout.packet_id_at.map(|at| at + start), body_left_out })
    }

    fn snapshot_end(&self, name: &str, identifier: Option<u32>, out: &mut Vec<u8>) {
        // Only a SUBSCRIBE of level 5 asks for a snapshot; its client may be back with another level.
        if self.level != Level::V5 {
            return;
        }
        let identifiers: Identifiers = identifier.into_iter().collect();
        let told = [("snapshot_end".to_owned(), "true".to_owned())];
        let properties = PublishProperties {
            payload_is_text: Some(true),
            user_properties: UserProperties::new(&told),
            subscription_identifiers: SubscriptionIdentifiers::new(&identifiers),
            ..PublishProperties::default()
        };
        let publish = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            packet_id: None,
            topic: SNAPSHOT_END,
            properties: PropertySource::Own(&properties),
            payload: name.as_bytes(),
        };
        // Cannot fail: a topic filter is no longer than the packet that it came in.
        let _ = publish.encode(self.level, out);
    }

    fn rpc(
        &self,
        to: &Arc<Session>,
        output: &Output<'_, Arc<Session>>,
        touched: &mut Touched,
    ) -> Result<(), Unencodable> {
        match output {
            Output::Invocation(invocation) => rpc::invoke(to, invocation, touched),
            // Answers to calls go to a response topic; the rest is nothing that MQTT could say.
            _ => Ok(()),
        }
    }
}

/// QoS of an invocation's PUBLISH, before the subscription lowers it.
pub const INVOCATION_QOS: Qos = Qos::ExactlyOnce;
