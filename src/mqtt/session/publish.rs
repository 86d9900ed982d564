//! PUBLISH from the client (MQTT 5, 3.3).

use std::sync::Arc;

use bytes::Bytes;

use super::answers::{Answer, refusal};
use super::{Halt, Open, Violation};
use crate::mqtt::codec::{AckType, DecodeError, Level, Publish, PublishProperties, ReasonCode, encode_ack};
use crate::mqtt::{condition, rpc};
use crate::node::clients::Received;
use crate::node::publish::{Fate, Publication, PublishRefused, Published, Settled, TargetId};
use crate::queue::outcome::Void;
use crate::types::event::{Properties, Qos};
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;

/// How a PUBLISH is answered: success, or why not.
pub(in crate::mqtt) struct Verdict {
    pub reason: ReasonCode,
    pub what: &'static str,
}

/// Whether a PUBLISH can be answered at once.
pub(in crate::mqtt) enum Taken {
    Known(Verdict),
    /// The publisher will tell.
    Pending,
}

impl Verdict {
    pub const OK: Verdict = Verdict { reason: ReasonCode::Success, what: "" };

    pub const fn new(reason: ReasonCode, what: &'static str) -> Self {
        Self { reason, what }
    }

    /// What became of a publication; `None`: nothing that this connection could be told, for it has lost its session.
    pub fn of(settled: &Settled) -> Option<Self> {
        Some(match settled {
            Settled::Routed(published) => Self::routed(*published),
            Settled::Void(Void::ConditionFailed) => {
                Self::new(ReasonCode::ImplementationSpecificError, "the condition does not hold")
            }
            Settled::Void(Void::QuotaExceeded) => Self::new(ReasonCode::QuotaExceeded, "too many keys are held"),
            Settled::Void(Void::Stale) => return None,
            Settled::Refused(why) => {
                let Violation { reason, what } = refusal(*why);
                Self::new(reason, what)
            }
            // A message that came before is answered as it was then.
            _ => Self::OK,
        })
    }

    fn routed(published: Published) -> Self {
        if published.matched { Self::OK } else { Self::new(ReasonCode::NoMatchingSubscribers, "") }
    }

    fn refused(refused: PublishRefused) -> Self {
        match refused {
            PublishRefused::NotAuthorized | PublishRefused::DisclosureDenied => {
                Self::new(ReasonCode::NotAuthorized, "")
            }
            PublishRefused::ConditionWithoutRetain => {
                Self::new(ReasonCode::ImplementationSpecificError, "a condition needs the retain flag")
            }
            PublishRefused::MemoryFull => Self::new(ReasonCode::QuotaExceeded, "no memory for more"),
            PublishRefused::RetainedFull => Self::new(ReasonCode::QuotaExceeded, "no room for retained messages"),
        }
    }
}

impl Open {
    pub(super) fn publish(&mut self, publish: &Publish<'_>, input: &Bytes) -> Result<(), Halt> {
        if self.is_repeated(publish)? {
            return Ok(());
        }
        let taken = if publish.properties.is_none() {
            self.route(publish, publish.topic, None, None, input)
        } else {
            self.publish_with_properties(publish, input)
        };
        match taken {
            Ok(taken) => self.answer_publish(publish, &taken),
            Err(halt) => {
                // It was not taken; sent again on the next connection it is new.
                self.forget(publish);
                return Err(halt);
            }
        }
        Ok(())
    }

    fn answer_publish(&mut self, publish: &Publish<'_>, taken: &Taken) {
        let acked = publish.packet_id.map(|packet_id| (ack_type(publish.qos), packet_id));
        match (taken, acked) {
            (Taken::Known(verdict), Some((kind, packet_id))) => {
                self.silent = false;
                self.answers.acknowledge(&self.client, kind, packet_id, verdict);
            }
            (Taken::Known(_), None) => {}
            (Taken::Pending, Some((kind, packet_id))) => self.answers.expect(Answer::Publish(kind, packet_id)),
            (Taken::Pending, None) => self.answers.expect(Answer::Silence(1)),
        }
    }

    fn forget(&mut self, publish: &Publish<'_>) {
        if let (Qos::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
            self.client.record.lock().received.remove(&packet_id.get());
        }
    }

    fn publish_with_properties(&mut self, publish: &Publish<'_>, input: &Bytes) -> Result<Taken, Halt> {
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

    /// Whether this is a QoS 2 message that came before and is not released: it is only answered again (MQTT 5, 4.3.3). One that
    /// was not answered yet goes the same way again: the log knows whether it has it.
    fn is_repeated(&mut self, publish: &Publish<'_>) -> Result<bool, Violation> {
        let (Qos::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) else { return Ok(false) };
        let mut record = self.client.record.lock();
        let known = record.received.get(&packet_id.get()).copied();
        if matches!(known, Some(Received::Routed | Received::Logged)) {
            drop(record);
            self.silent = false;
            self.answers.say(|out| encode_ack(AckType::Pubrec, packet_id, out));
            return Ok(true);
        }
        let max = usize::from(self.publisher.node.limits.mqtt_receive_max);
        if self.level == Level::V5 && known.is_none() && record.received.len() >= max {
            return Err(Violation::new(ReasonCode::ReceiveMaximumExceeded, "more than the receive maximum"));
        }
        record.received.insert(packet_id.get(), Received::Pending);
        Ok(false)
    }

    fn route(
        &mut self,
        publish: &Publish<'_>,
        topic: &[u8],
        passed: Option<&Arc<Properties>>,
        properties: Option<&PublishProperties<'_>>,
        input: &Bytes,
    ) -> Result<Taken, Halt> {
        if rpc::is_rpc(topic) {
            return Ok(Taken::Known(self.publish_rpc(publish, topic, passed)?));
        }
        let target = self.target(topic)?;
        let condition = match properties.map(|properties| condition::read(properties, publish.retain)).transpose() {
            Ok(condition) => condition.flatten(),
            Err(what) => return Ok(Taken::Known(Verdict::new(ReasonCode::ImplementationSpecificError, what))),
        };
        if condition.as_ref().is_some_and(|condition| condition.will.is_some()) {
            self.client.session.note_holds();
        }
        let packet = match (self.kept, publish.packet_id) {
            (Some(connection), Some(id)) if publish.qos == Qos::ExactlyOnce => {
                Some((self.client.client_id(), connection, id.get()))
            }
            _ => None,
        };
        let publication = Publication {
            payload: PayloadRef::Bytes(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            properties: passed,
            publisher: None,
            expires_in_s: properties.and_then(|properties| properties.expiry_s),
            exclude_publisher: false,
            filter: None,
            condition: condition.as_ref(),
            packet,
            backing: Some(input),
        };
        Ok(match self.publisher.publish(target, &publication) {
            Ok(Fate::Pending) => Taken::Pending,
            Ok(Fate::Routed(published)) => Taken::Known(Verdict::routed(published)),
            Err(refused) => Taken::Known(Verdict::refused(refused)),
        })
    }

    /// The cached target of a topic as the client writes it.
    fn target(&mut self, topic: &[u8]) -> Result<TargetId, Violation> {
        self.publisher.look_up(topic, |name| {
            let name = crate::mqtt::codec::validate_topic_name(name).map_err(Violation::from)?;
            Topic::from_name(name).map_err(|_| Violation::from(DecodeError::EMPTY_TOPIC))
        })
    }
}

fn ack_type(qos: Qos) -> AckType {
    if qos == Qos::AtLeastOnce { AckType::Puback } else { AckType::Pubrec }
}
