//! A client of MQTT 3.1, 3.1.1 and 5.
//!
//! ```text
//! publish --> inflight --PUBLISH--> … --PUBACK | PUBREC, PUBCOMP--> Event::Published
//! PUBLISH --> Event::Message, and when the next event is asked for: PUBACK | PUBREC
//! call    --> PUBLISH $rpc/<procedure>;  register --> SUBSCRIBE $rpc/<procedure>      (fennec only)
//! ```
//!
//! - `inflight`: publications that are not acknowledged, and the order in which they are sent again.
//! - `receive`: the packets of the broker. `rpc`: calls.

mod inflight;
mod receive;
mod rpc;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use self::inflight::{Inflight, Purpose};
use self::rpc::Rpc;
use super::Error;
use super::machine::{
    Answer, Call, Event, InvocationNumber, Machine, Publication, Registration, Subscription, Token, UNACKNOWLEDGED_MAX,
};
use super::transport::Speech;
use crate::mqtt::codec::{
    self, AckType, Connect, ConnectProperties, Disconnect, EncodeError, Level, PINGREQ, PacketId, PropertySource,
    Publish, PublishProperties, ReasonCode, RetainHandling, Subscribe, Subscriptions, UserProperties, encode_ack,
};
use crate::types::event::{Properties, Qos};
use crate::types::payload::{Codec, Format};
use crate::types::value::Value;

/// How MQTT is carried by WebSocket (MQTT 5, 6).
pub const SPEECH: Speech = Speech { subprotocol: "mqtt", text: false, format: Format::Json };

/// QoS 1 and 2 publications that the broker may have under way to this client.
const RECEIVE_MAXIMUM: u16 = 1024;

/// Who connects, and how.
#[derive(Clone, Debug)]
pub struct Options {
    pub level: Level,
    /// Should differ from client to client, and not be empty before level 5.
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// 0 = never ask, nor be asked.
    pub keep_alive_s: u16,
    /// How long the broker keeps the session without a connection; `u32::MAX` = for ever. With 0 each connection begins a new
    /// one. Before level 5 any other number is for ever.
    pub session_expiry_s: u32,
    /// Where answers to calls go.
    pub response_topic: String,
}

/// See [`Machine`].
pub struct Mqtt {
    options: Options,
    /// The whole packet.
    connect: Vec<u8>,
    server: Server,
    connected: bool,
    input: BytesMut,
    out: BytesMut,
    /// Each with what acknowledges it.
    events: VecDeque<(Event, Option<Acknowledgement>)>,
    /// Of the event told last.
    owed: Option<Acknowledgement>,
    inflight: Inflight,
    /// SUBSCRIBEs that are not acknowledged.
    requests: HashMap<PacketId, Request>,
    /// QoS 2 publications that wait for their PUBREL.
    received: HashSet<PacketId>,
    last_packet_id: u16,
    last_token: u64,
    rpc: Rpc,
}

/// What the broker said about itself in CONNACK.
struct Server {
    receive_maximum: u16,
    maximum_qos: Qos,
    maximum_packet_size: usize,
    retain_available: bool,
}

#[derive(Clone, Copy)]
struct Acknowledgement {
    kind: AckType,
    packet_id: PacketId,
}

/// Whose SUBSCRIBE it is.
enum Request {
    Subscribe(Token),
    Register(Token),
    /// The topic that answers to calls come to.
    Replies,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            receive_maximum: u16::MAX,
            maximum_qos: Qos::ExactlyOnce,
            maximum_packet_size: usize::MAX,
            retain_available: true,
        }
    }
}

impl Mqtt {
    /// # Errors
    /// [`Error::Invalid`]: a CONNECT cannot say these options.
    pub fn new(options: Options) -> Result<Self, Error> {
        let connect = Connect {
            level: options.level,
            clean_start: options.session_expiry_s == 0,
            keep_alive_s: options.keep_alive_s,
            client_id: &options.client_id,
            will: None,
            user_name: options.user.as_deref(),
            password: options.password.as_deref().map(str::as_bytes),
            properties: ConnectProperties {
                session_expiry_s: options.session_expiry_s,
                receive_maximum: RECEIVE_MAXIMUM,
                ..ConnectProperties::default()
            },
        };
        let mut packet = Vec::new();
        connect.encode(&mut packet).map_err(|error| match error {
            EncodeError::NotAtThisLevel => Error::Invalid("before MQTT 5, a password needs a user name".to_owned()),
            other => Error::Invalid(format!("client id, user name or password: {other}")),
        })?;
        Ok(Self {
            rpc: Rpc::new(options.response_topic.clone()),
            options,
            connect: packet,
            server: Server::default(),
            connected: false,
            input: BytesMut::new(),
            out: BytesMut::new(),
            events: VecDeque::new(),
            owed: None,
            inflight: Inflight::default(),
            requests: HashMap::new(),
            received: HashSet::new(),
            last_packet_id: 0,
            last_token: 0,
        })
    }

    fn level(&self) -> Level {
        self.options.level
    }

    fn tell(&mut self, event: Event) {
        self.events.push_back((event, None));
    }

    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    fn next_packet_id(&mut self) -> PacketId {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            // Far fewer are in use than there are.
            if let Some(id) = PacketId::new(self.last_packet_id)
                && !self.inflight.contains(id)
                && !self.requests.contains_key(&id)
            {
                return id;
            }
        }
    }

    fn acknowledge_owed(&mut self) {
        if let Some(Acknowledgement { kind, packet_id }) = self.owed.take() {
            self.write(|out| {
                encode_ack(kind, packet_id, out);
                Ok(())
            });
        }
    }

    /// Appends a packet that cannot be wrong.
    fn write(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) {
        let mut packet = Vec::new();
        if encode(&mut packet).is_ok() {
            self.out.extend_from_slice(&packet);
        }
    }

    /// Sends a PUBLISH; from QoS 1 on it stays inflight until it is acknowledged.
    fn send_publish(&mut self, publish: Publish<'_>, purpose: Purpose) -> Result<(), Error> {
        let packet_id = (publish.qos > Qos::AtMostOnce).then(|| self.next_packet_id());
        let mut packet = Vec::new();
        let encoded = Publish { packet_id, ..publish }.encode(self.level(), &mut packet);
        encoded.map_err(|error| Error::Invalid(error.to_string()))?;
        self.check_size(&packet)?;
        self.out.extend_from_slice(&packet);
        match packet_id {
            Some(packet_id) => self.inflight.push(packet_id, purpose, packet),
            None => self.settle(purpose, Ok(())),
        }
        Ok(())
    }

    fn check_size(&self, packet: &[u8]) -> Result<(), Error> {
        let (is, max) = (packet.len(), self.server.maximum_packet_size);
        if is > max {
            return Err(Error::Invalid(format!("the packet has {is} bytes, the broker takes {max}")));
        }
        Ok(())
    }

    fn send_subscribe(
        &mut self,
        subscription: codec::Subscription<'_>,
        options: &[(&str, Value)],
        request: Request,
    ) -> Result<(), Error> {
        let options = user_properties(options);
        let packet_id = self.next_packet_id();
        let subscriptions = [subscription];
        let subscribe = Subscribe {
            packet_id,
            subscription_identifier: None,
            user_properties: UserProperties::new(&options),
            subscriptions: Subscriptions::new(&subscriptions),
        };
        let mut packet = Vec::new();
        subscribe.encode(self.level(), &mut packet).map_err(|error| Error::Invalid(error.to_string()))?;
        self.check_size(&packet)?;
        self.out.extend_from_slice(&packet);
        self.requests.insert(packet_id, request);
        Ok(())
    }
}

impl Machine for Mqtt {
    // Units are no packets: only the broker's own limit counts.
    fn open(&mut self, _unit_bytes_max: usize) {
        self.connected = false;
        self.server = Server::default();
        self.input.clear();
        self.out.clear();
        self.requests.clear();
        self.owed = None;
        for (_, acknowledgement) in self.events.drain(..) {
            // It was not told, so it may come again.
            if let Some(Acknowledgement { kind: AckType::Pubrec, packet_id }) = acknowledgement {
                self.received.remove(&packet_id);
            }
        }
        self.inflight.drop_calls();
        self.rpc.reset();
        self.out.extend_from_slice(&self.connect);
    }

    fn receive(&mut self, unit: Bytes) -> Result<(), Error> {
        if self.input.is_empty() {
            self.input = BytesMut::from(unit);
        } else {
            self.input.extend_from_slice(&unit);
        }
        while let Some(length) = codec::frame_length(&self.input, usize::MAX).map_err(receive::violation)? {
            if length > self.input.len() {
                break;
            }
            let frame = self.input.split_to(length).freeze();
            self.receive_packet(&frame)?;
        }
        Ok(())
    }

    fn next_output(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| self.out.split().freeze())
    }

    fn next_event(&mut self) -> Option<Event> {
        self.acknowledge_owed();
        let (event, acknowledgement) = self.events.pop_front()?;
        self.owed = acknowledgement;
        Some(event)
    }

    fn ping(&mut self) -> bool {
        self.out.extend_from_slice(&PINGREQ);
        true
    }

    fn close(&mut self) {
        self.acknowledge_owed();
        let level = self.level();
        self.write(|out| Disconnect::new(ReasonCode::NORMAL_DISCONNECTION).encode(level, out));
    }

    fn has_room(&self) -> bool {
        self.connected && self.inflight.len() < UNACKNOWLEDGED_MAX.min(self.server.receive_maximum.into())
    }

    fn publish(&mut self, publication: &Publication<'_>) -> Result<Token, Error> {
        check_topic(publication.topic)?;
        let with_options;
        let event_properties = match publication.options {
            [] => publication.properties,
            options => {
                let mut properties = publication.properties.clone();
                properties.user_properties.extend(user_properties(options));
                with_options = properties;
                &with_options
            }
        };
        let carried = *event_properties != Properties::default() || publication.expiry_s.is_some();
        if carried && self.level() < Level::V5 {
            return Err(Error::Invalid("properties need MQTT 5".to_owned()));
        }
        if publication.retain && !self.server.retain_available {
            return Err(Error::Invalid("the broker keeps no retained messages".to_owned()));
        }
        let qos = publication.qos.min(self.server.maximum_qos);
        if qos > Qos::AtMostOnce && !self.has_room() {
            return Err(Error::Invalid("too many publications are not acknowledged".to_owned()));
        }
        let payload = publication.payload.as_bytes(Codec::Auto);
        let properties =
            PublishProperties { expiry_s: publication.expiry_s, ..PublishProperties::of_event(event_properties) };
        let publish = Publish {
            qos,
            retain: publication.retain,
            topic: publication.topic.as_bytes(),
            properties: if carried { PropertySource::Own(&properties) } else { PropertySource::None },
            payload: &payload,
            ..Publish::default()
        };
        let token = self.next_token();
        self.send_publish(publish, Purpose::Publication(token))?;
        Ok(token)
    }

    fn subscribe(&mut self, subscription: &Subscription<'_>) -> Result<Token, Error> {
        check_filter(subscription.topic, self.level())?;
        let shared = codec::split_shared(subscription.topic).is_some();
        let wanted = codec::Subscription {
            filter: subscription.topic,
            qos: subscription.qos,
            no_local: subscription.no_local && !shared,
            retain_as_published: subscription.retain_as_published,
            retain_handling: match subscription.retained {
                true => RetainHandling::AtSubscribe,
                false => RetainHandling::Never,
            },
        };
        let beyond_qos =
            !subscription.retained || wanted.no_local || wanted.retain_as_published || !subscription.options.is_empty();
        if self.level() < Level::V5 && beyond_qos {
            return Err(Error::Invalid("subscription options other than QoS need MQTT 5".to_owned()));
        }
        let token = self.next_token();
        self.send_subscribe(wanted, subscription.options, Request::Subscribe(token))?;
        Ok(token)
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Token, Error> {
        self.send_call(call)
    }

    fn cancel(&mut self, call: Token) {
        self.rpc.forget(call);
    }

    fn register(&mut self, registration: &Registration<'_>) -> Result<Token, Error> {
        self.send_register(registration)
    }

    fn answer(&mut self, invocation: InvocationNumber, answer: &Answer<'_>) -> Result<(), Error> {
        self.send_answer(invocation, answer)
    }
}

/// Options as an MQTT 5 broker is told them.
fn user_properties(options: &[(&str, Value)]) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => String::from_utf8_lossy(&other.to_bytes(Format::Json)).into_owned(),
    };
    options.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect()
}

fn keep_alive(seconds: u16) -> Duration {
    Duration::from_secs(seconds.into())
}

fn check_topic(topic: &str) -> Result<(), Error> {
    let checked = codec::validate_topic_name(topic.as_bytes());
    checked.map(drop).map_err(|error| Error::Invalid(format!("the topic {topic:?}: {}", error.what())))
}

fn check_filter(filter: &str, level: Level) -> Result<(), Error> {
    let checked = match level {
        Level::V5 => codec::validate_subscription_filter(filter),
        _ => codec::validate_topic_filter(filter),
    };
    checked.map_err(|error| Error::Invalid(format!("the topic filter {filter:?}: {}", error.what())))
}
