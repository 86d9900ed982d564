//! Events as PUBLISH packets: what the node asks this gate to encode.

use std::sync::Arc;

use super::codec::{Level, Publish, PublishProperties};
use super::rpc;
use crate::node::session::{Session, Touched};
use crate::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use crate::router::output::Output;
use crate::types::event::{Event, Qos, Terms};
use crate::types::payload::PayloadRef;

/// Levels 3 and 4 write their PUBLISH alike.
static BEFORE_5: PublishWire = PublishWire { id: WireId(0), level: Level::V4 };
static LEVEL_5: PublishWire = PublishWire { id: WireId(1), level: Level::V5 };

/// The wire of a connection of this level.
pub fn of(level: Level) -> WireRef {
    WireRef(if level == Level::V5 { &LEVEL_5 } else { &BEFORE_5 })
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
        let mut properties = PublishProperties::default();
        let mut topic = event.topic.as_bytes();
        if self.level == Level::V5 {
            if let Some(passed) = event.properties {
                properties = PublishProperties::of_event(passed);
            }
            properties.expiry_s = event.expires_in_s;
            properties.subscription_identifiers = terms.identifiers[..].into();
            if let Some((alias, known)) = terms.alias {
                properties.topic_alias = Some(alias);
                if known {
                    topic = b"";
                }
            }
        }
        let start = out.len();
        let publish =
            Publish { dup: terms.dup, qos: terms.qos, retain: terms.retain, packet_id: None, topic, properties, payload: b"" };
        let payload = event.payload.as_bytes(event.codec);
        let layout = publish.encode_header(self.level, payload.len(), out).map_err(|_| Unencodable::TooLarge)?;
        let body_left_out = split && matches!(event.payload, PayloadRef::Bytes(_));
        if !body_left_out {
            out.extend_from_slice(&payload);
        }
        Ok(Encoded { packet_id_at: layout.packet_id_at.map(|at| at + start), body_left_out })
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
