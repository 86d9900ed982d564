//! PUBLISH from the client (MQTT 5, 3.3).

use std::sync::Arc;

use bytes::Bytes;

use super::{Halt, Open, Violation};
use crate::mqtt::codec::{
    Ack, AckType, DecodeError, Level, PacketId, Publish, PublishProperties, ReasonCode, encode_ack,
};
use crate::mqtt::rpc;
use crate::node::publish::{Fate, Publication, PublishRefused, TargetId};
use crate::types::event::{Properties, Qos};
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;

/// How a PUBLISH is answered: success, or why not.
pub(in crate::mqtt) struct Verdict {
    pub reason: ReasonCode,
    pub what: &'static str,
}

impl Verdict {
    pub const OK: Verdict = Verdict { reason: ReasonCode::Success, what: "" };

    pub const fn new(reason: ReasonCode, what: &'static str) -> Self {
        Self { reason, what }
    }
}

impl Open {
    pub(super) fn publish(&mut self, publish: &Publish<'_>, input: &Bytes) -> Result<(), Halt> {
        if self.is_repeated(publish)? {
            return Ok(());
        }
        let routed = if publish.properties.is_none() {
            self.route(publish, publish.topic, None, None, input)
        } else {
            self.publish_with_properties(publish, input)
        };
        match routed {
            Ok(verdict) => self.acknowledge(publish.qos, publish.packet_id, &verdict),
            Err(halt) => {
                // It was not taken; sent again on the next connection it is new.
                self.forget(publish);
                return Err(halt);
            }
        }
        Ok(())
    }

    fn forget(&mut self, publish: &Publish<'_>) {
        if let (Qos::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
            self.client.session.mailbox().received.remove(&packet_id.get());
        }
    }

    fn publish_with_properties(&mut self, publish: &Publish<'_>, input: &Bytes) -> Result<Verdict, Halt> {
        let properties = publish.properties()?;
        properties.check_payload_format(publish.payload)?;
        let own;
        let topic = match properties.topic_alias {
            None => publish.topic,
            Some(alias) => {
                own = self.resolve_alias(alias, publish.topic)?;
                &own
            }
        };
        self.route(publish, topic, properties.to_event().as_ref(), Some(&properties), input)
    }

    /// The topic that an alias stands for; a topic that comes with it gives it a new meaning (MQTT 5, 3.3.2.3.4).
    fn resolve_alias(&mut self, alias: u16, topic: &[u8]) -> Result<Box<[u8]>, Violation> {
        if alias > self.publisher.node.limits.mqtt_topic_alias_max {
            return Err(Violation::new(ReasonCode::TopicAliasInvalid, "topic alias above the maximum"));
        }
        if !topic.is_empty() {
            self.aliases.insert(alias, topic.into());
            return Ok(topic.into());
        }
        let known = self.aliases.get(&alias).cloned();
        known.ok_or(Violation::new(ReasonCode::ProtocolError, "topic alias without a topic"))
    }

    /// Whether this is a QoS 2 message that came before and is not released: it is only answered again (MQTT 5, 4.3.3).
    fn is_repeated(&mut self, publish: &Publish<'_>) -> Result<bool, Violation> {
        let (Qos::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) else { return Ok(false) };
        let mut mailbox = self.client.session.mailbox();
        if mailbox.received.contains(&packet_id.get()) {
            drop(mailbox);
            encode_ack(AckType::Pubrec, packet_id, &mut self.replies);
            return Ok(true);
        }
        let max = usize::from(self.publisher.node.limits.mqtt_receive_max);
        if self.level == Level::V5 && mailbox.received.len() >= max {
            return Err(Violation::new(ReasonCode::ReceiveMaximumExceeded, "more than the receive maximum"));
        }
        mailbox.received.insert(packet_id.get());
        Ok(false)
    }

    fn route(
        &mut self,
        publish: &Publish<'_>,
        topic: &[u8],
        passed: Option<&Arc<Properties>>,
        properties: Option<&PublishProperties<'_>>,
        input: &Bytes,
    ) -> Result<Verdict, Halt> {
        if rpc::is_rpc(topic) {
            return Ok(self.publish_rpc(publish, topic, passed)?);
        }
        let target = self.target(topic)?;
        let publication = Publication {
            payload: PayloadRef::Bytes(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            properties: passed,
            publisher: None,
            expires_in_s: properties.and_then(|properties| properties.expiry_s),
            exclude_publisher: false,
            filter: None,
            condition: None,
            packet: None,
            backing: Some(input),
        };
        Ok(match self.publisher.publish(target, &publication) {
            Ok(Fate::Pending) => Verdict::OK,
            Ok(Fate::Routed(published)) if published.matched => Verdict::OK,
            Ok(Fate::Routed(_)) => Verdict::new(ReasonCode::NoMatchingSubscribers, ""),
            Err(PublishRefused::NotAuthorized) => Verdict::new(ReasonCode::NotAuthorized, ""),
            Err(PublishRefused::ConditionWithoutRetain) => {
                Verdict::new(ReasonCode::ImplementationSpecificError, "a condition needs the retain flag")
            }
            Err(PublishRefused::RetainedFull) => {
                Verdict::new(ReasonCode::QuotaExceeded, "no room for retained messages")
            }
        })
    }

    /// The cached target of a topic as the client writes it.
    fn target(&mut self, topic: &[u8]) -> Result<TargetId, Violation> {
        self.publisher.look_up(topic, |name| {
            let name = crate::mqtt::codec::validate_topic_name(name).map_err(Violation::from)?;
            Topic::from_name(name).map_err(|_| Violation::from(DecodeError::EMPTY_TOPIC))
        })
    }

    /// Answers a PUBLISH by its QoS. Before level 5 a refused one is acknowledged all the same: closing would only make the client
    /// send it again (3.1.1, 3.3.5).
    pub(super) fn acknowledge(&mut self, qos: Qos, packet_id: Option<PacketId>, verdict: &Verdict) {
        let Some(packet_id) = packet_id else { return };
        let kind = if qos == Qos::AtLeastOnce { AckType::Puback } else { AckType::Pubrec };
        if verdict.reason == ReasonCode::Success || self.level < Level::V5 {
            return encode_ack(kind, packet_id, &mut self.replies);
        }
        if kind == AckType::Pubrec && verdict.reason.is_error() {
            self.client.session.mailbox().received.remove(&packet_id.get());
        }
        let mut ack = Ack::new(packet_id, verdict.reason);
        ack.diagnostics.reason_string = (self.wants_words && !verdict.what.is_empty()).then_some(verdict.what);
        // Cannot fail: the strings are ours.
        let _ = ack.encode_within(self.packet_bytes_max, kind, self.level, &mut self.replies);
    }
}
