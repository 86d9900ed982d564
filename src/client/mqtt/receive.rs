//! The packets of the broker.

use bytes::Bytes;

use super::inflight::{Again, Purpose};
use super::{Acknowledgement, Mqtt, Request, Server, keep_alive};
use crate::client::Error;
use crate::client::machine::{CallError, Event, Message, Opened};
use crate::mqtt::codec::{
    self, Ack, AckType, Connack, DecodeError, Packet, Publish, PublishProperties, ReasonCode, Role, Suback, encode_ack,
};
use crate::types::event::{Properties, Qos};
use crate::types::payload::Payload;

impl Mqtt {
    pub(super) fn receive_packet(&mut self, frame: &Bytes) -> Result<(), Error> {
        let packet = codec::decode(frame, self.level(), Role::Client).map_err(violation)?;
        if !self.connected && !matches!(packet, Packet::Connack(_)) {
            return Err(Error::Violation("something else than CONNACK comes first".to_owned()));
        }
        match packet {
            Packet::Connack(connack) => self.connack(&connack),
            Packet::Publish(publish) => self.receive_publish(frame, &publish),
            Packet::Puback(ack) => self.done(&ack),
            Packet::Pubrec(ack) => self.pubrec(&ack),
            Packet::Pubcomp(ack) => self.pubcomp(&ack),
            Packet::Pubrel(ack) => {
                self.received.remove(&ack.packet_id);
                self.acknowledge(AckType::Pubcomp, &ack);
                Ok(())
            }
            Packet::Suback(suback) => self.suback(&suback),
            Packet::Disconnect(disconnect) => Err(refusal(disconnect.reason, disconnect.diagnostics.reason_string)),
            Packet::Pingresp | Packet::Unsuback(_) => Ok(()),
            _ => Err(Error::Violation("an authentication that nobody asked for".to_owned())),
        }
    }

    fn connack(&mut self, connack: &Connack<'_>) -> Result<(), Error> {
        let properties = &connack.properties;
        if connack.reason != ReasonCode::Success {
            return Err(refusal(connack.reason, properties.reason_string));
        }
        if self.connected {
            return Err(Error::Violation("a second CONNACK".to_owned()));
        }
        self.connected = true;
        self.server = Server {
            receive_maximum: properties.receive_maximum,
            maximum_qos: properties.maximum_qos,
            maximum_packet_size: properties.maximum_packet_size.map_or(usize::MAX, |bytes| bytes as usize),
            retain_available: properties.retain_available,
        };
        let id = properties.assigned_client_identifier.unwrap_or(&self.options.client_id).to_owned();
        let keep_alive = keep_alive(properties.server_keep_alive_s.unwrap_or(self.options.keep_alive_s));
        self.tell(Event::Opened(Opened { resumed: connack.session_present, id, keep_alive }));
        self.send_again(connack.session_present);
        Ok(())
    }

    /// What the last connection left unacknowledged. It keeps to the broker's receive maximum unless that has become smaller.
    fn send_again(&mut self, resumed: bool) {
        if resumed {
            self.inflight.mark_repeated();
        } else {
            self.received.clear();
            for purpose in self.inflight.begin_anew() {
                self.settle(purpose, Ok(()));
            }
        }
        let mut out = Vec::new();
        for again in self.inflight.again() {
            match again {
                Again::Publish(packet) => out.extend_from_slice(packet),
                Again::Pubrel(packet_id) => encode_ack(AckType::Pubrel, packet_id, &mut out),
            }
        }
        self.out.extend_from_slice(&out);
    }

    fn receive_publish(&mut self, frame: &Bytes, publish: &Publish<'_>) -> Result<(), Error> {
        let properties = publish.properties().map_err(violation)?;
        let topic = publish.topic_name().map_err(violation)?;
        if topic.is_empty() || properties.topic_alias.is_some() {
            return Err(Error::Violation("a topic alias, though none was offered".to_owned()));
        }
        let acknowledgement = publish.packet_id.map(|packet_id| {
            let kind = if publish.qos == Qos::ExactlyOnce { AckType::Pubrec } else { AckType::Puback };
            Acknowledgement { kind, packet_id }
        });
        if let Some(Acknowledgement { kind: AckType::Pubrec, packet_id }) = acknowledgement
            && !self.received.insert(packet_id)
        {
            self.acknowledge(AckType::Pubrec, &Ack::new(packet_id, ReasonCode::Success));
            return Ok(());
        }
        let payload = Payload::Bytes(frame.slice_ref(publish.payload));
        let event = match self.take_rpc(topic, &properties, &payload) {
            Some(event) => event,
            None => Some(Event::Message(message(topic, publish, &properties, payload))),
        };
        match (event, acknowledgement) {
            (Some(event), acknowledgement) => self.events.push_back((event, acknowledgement)),
            (None, Some(owed)) => self.acknowledge(owed.kind, &Ack::new(owed.packet_id, ReasonCode::Success)),
            (None, None) => {}
        }
        Ok(())
    }

    fn acknowledge(&mut self, kind: AckType, ack: &Ack<'_>) {
        let packet_id = ack.packet_id;
        self.write(|out| {
            encode_ack(kind, packet_id, out);
            Ok(())
        });
    }

    /// PUBACK or PUBCOMP.
    fn done(&mut self, ack: &Ack<'_>) -> Result<(), Error> {
        // One that is not known is of a publication that a new session has made forget.
        if let Some(purpose) = self.inflight.remove(ack.packet_id) {
            self.settle(purpose, outcome(ack.reason, ack.diagnostics.reason_string));
        }
        Ok(())
    }

    /// A broker that does not know the packet identifier any more has completed the exchange before: no error during recovery
    /// (MQTT 5, 3.7.2.1).
    fn pubcomp(&mut self, ack: &Ack<'_>) -> Result<(), Error> {
        match ack.reason {
            ReasonCode::PacketIdentifierNotFound => self.done(&Ack::new(ack.packet_id, ReasonCode::Success)),
            _ => self.done(ack),
        }
    }

    fn pubrec(&mut self, ack: &Ack<'_>) -> Result<(), Error> {
        if ack.reason.is_error() {
            return self.done(ack);
        }
        self.inflight.release(ack.packet_id);
        self.acknowledge(AckType::Pubrel, ack);
        Ok(())
    }

    /// Tells what became of a PUBLISH.
    pub(super) fn settle(&mut self, purpose: Purpose, outcome: Result<(), Error>) {
        match (purpose, outcome) {
            (Purpose::Publication(token), outcome) => {
                self.tell(Event::Published { token, outcome: outcome.map(|()| None) });
            }
            (Purpose::Call(token), Err(error)) if self.rpc.forget(token) => {
                self.tell(Event::Failed { token, error: CallError::Refused(error) });
            }
            (Purpose::Answer, Err(error)) => tracing::debug!(%error, "an answer was not taken"),
            (Purpose::Call(_) | Purpose::Answer, _) => {}
        }
    }

    fn suback(&mut self, suback: &Suback<'_>) -> Result<(), Error> {
        let reason = suback.reasons.iter().next().unwrap_or(ReasonCode::UnspecifiedError);
        let outcome = outcome(reason, suback.diagnostics.reason_string);
        match self.requests.remove(&suback.packet_id) {
            Some(Request::Subscribe(token)) => {
                self.tell(Event::Subscribed { token, outcome: outcome.map(|()| None) });
            }
            Some(Request::Register(token)) => self.tell(Event::Registered { token, outcome }),
            Some(Request::Replies) => self.replies_subscribed(outcome),
            None => return Err(Error::Violation("a SUBACK that nobody waits for".to_owned())),
        }
        Ok(())
    }
}

fn message(topic: &str, publish: &Publish<'_>, properties: &PublishProperties<'_>, payload: Payload) -> Message {
    Message {
        topic: topic.to_owned(),
        payload,
        retain: publish.retain,
        dup: publish.dup,
        qos: Some(publish.qos),
        publication: None,
        properties: properties.to_event().map_or_else(Properties::default, |properties| (*properties).clone()),
        expiry_s: properties.expiry_s,
        subscription_identifiers: properties.subscription_identifiers.iter().collect(),
        details: Vec::new(),
    }
}

pub(super) fn violation(error: DecodeError) -> Error {
    Error::Violation(error.to_string())
}

fn outcome(reason: ReasonCode, text: Option<&str>) -> Result<(), Error> {
    if !reason.is_error() { Ok(()) } else { Err(refusal(reason, text)) }
}

/// What a reason code means for this client.
fn refusal(reason: ReasonCode, text: Option<&str>) -> Error {
    use ReasonCode as R;
    let what = match text {
        Some(text) if !text.is_empty() => format!("{reason}: {text}"),
        _ => reason.to_string(),
    };
    match reason {
        R::NotAuthorized | R::BadUserNameOrPassword | R::Banned | R::BadAuthenticationMethod => {
            Error::NotAuthorized(what)
        }
        R::ServerUnavailable
        | R::ServerBusy
        | R::ServerShuttingDown
        | R::UseAnotherServer
        | R::KeepAliveTimeout
        | R::ConnectionRateExceeded
        | R::MaximumConnectTime => Error::Lost(format!("the broker ended the connection: {what}")),
        R::NORMAL_DISCONNECTION => Error::Lost("the broker ended the connection".to_owned()),
        _ => Error::Refused(what),
    }
}
