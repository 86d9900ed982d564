//! A client of either broker, which answers what it is sent and says what came.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use fennec::mqtt::codec::{
    AckType, Connect, ConnectProperties, Level, PINGREQ, Packet, PacketId, PropertySource, Publish, PublishProperties,
    RetainHandling, Role, Subscribe, Subscription, Subscriptions, UserProperties, decode, encode_ack, frame_length,
};
use fennec::types::event::{Properties, Qos};

use crate::PATIENCE;

/// A message that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    pub qos: Qos,
    pub retain: bool,
    pub properties: Properties,
    pub expiry_s: Option<u32>,
}

impl Message {
    /// `topic=payload`, and `!` if it is retained.
    pub fn text(&self) -> String {
        format!("{}={}{}", self.topic, self.payload, if self.retain { "!" } else { "" })
    }
}

/// See the module.
pub struct Client {
    socket: TcpStream,
    level: Level,
    unread: Vec<u8>,
    messages: VecDeque<Message>,
    next_id: u16,
}

/// What answers what was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Connack,
    Suback,
    Puback(PacketId),
    Pubcomp(PacketId),
    Pingresp,
}

impl Client {
    /// A client with a clean session.
    pub fn connect(port: u16, level: Level, client_id: &str) -> Self {
        Self::try_connect(port, level, client_id).expect("a connection")
    }

    fn try_connect(port: u16, level: Level, client_id: &str) -> std::io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut client = Self { socket, level, unread: Vec::new(), messages: VecDeque::new(), next_id: 0 };
        let connect = Connect {
            level,
            clean_start: true,
            keep_alive_s: 600,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        let mut packet = Vec::new();
        connect.encode(&mut packet).expect("a CONNECT");
        client.write(&packet);
        client.wait_for(Answer::Connack);
        Ok(client)
    }

    /// A client that can come in at once or a little later, for the broker is being started.
    pub fn connect_when_started(port: u16, level: Level, client_id: &str) -> Self {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "nobody listens on {port}");
            std::thread::yield_now();
        }
        Self::connect(port, level, client_id)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("a connection that takes bytes");
    }

    fn next_id(&mut self) -> PacketId {
        self.next_id = self.next_id % 1000 + 1;
        PacketId::new(self.next_id).expect("not 0")
    }

    pub fn subscribe(&mut self, filter: &str) {
        self.subscribe_with(filter, &[]);
    }

    /// Subscribes to all that this broker has kept, and what follows.
    pub fn subscribe_from_the_beginning(&mut self, filter: &str) {
        self.subscribe_with(filter, &[("after".to_owned(), "1970-01-01T00:00:00Z".to_owned())]);
    }

    fn subscribe_with(&mut self, filter: &str, options: &[(String, String)]) {
        let packet_id = self.next_id();
        let subscriptions = [Subscription {
            filter,
            qos: Qos::ExactlyOnce,
            no_local: false,
            retain_as_published: self.level == Level::V5,
            retain_handling: RetainHandling::AtSubscribe,
        }];
        let subscribe = Subscribe {
            packet_id,
            subscription_identifier: None,
            user_properties: UserProperties::new(options),
            subscriptions: Subscriptions::new(&subscriptions),
        };
        let mut packet = Vec::new();
        subscribe.encode(self.level, &mut packet).expect("a SUBSCRIBE");
        self.write(&packet);
        self.wait_for(Answer::Suback);
    }

    /// Publishes, and waits until that is acknowledged.
    pub fn publish(&mut self, topic: &str, payload: &str, qos: Qos) {
        self.publish_with(topic, payload, qos, false, &PublishProperties::default());
    }

    /// Sets a retained value; an empty one deletes it.
    pub fn retain(&mut self, topic: &str, payload: &str) {
        self.publish_with(topic, payload, Qos::AtLeastOnce, true, &PublishProperties::default());
    }

    pub fn publish_with(
        &mut self,
        topic: &str,
        payload: &str,
        qos: Qos,
        retain: bool,
        properties: &PublishProperties<'_>,
    ) {
        let packet_id = (qos > Qos::AtMostOnce).then(|| self.next_id());
        let publish = Publish {
            qos,
            retain,
            packet_id,
            topic: topic.as_bytes(),
            payload: payload.as_bytes(),
            properties: if self.level == Level::V5 { PropertySource::Own(properties) } else { PropertySource::None },
            ..Publish::default()
        };
        let mut packet = Vec::new();
        publish.encode(self.level, &mut packet).expect("a PUBLISH");
        self.write(&packet);
        match (qos, packet_id) {
            (Qos::AtLeastOnce, Some(id)) => self.wait_for(Answer::Puback(id)),
            (Qos::ExactlyOnce, Some(id)) => self.wait_for(Answer::Pubcomp(id)),
            _ => self.settle(),
        }
    }

    /// Waits until the broker has looked at all that was sent.
    pub fn settle(&mut self) {
        self.write(&PINGREQ);
        self.wait_for(Answer::Pingresp);
    }

    /// The next message.
    pub fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            self.read_packet();
        }
    }

    /// The next messages as texts, up to the one that is `last`.
    pub fn until(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            texts.push(self.next().text());
        }
        texts
    }

    /// What came and was not asked for yet.
    pub fn waiting(&mut self) -> Vec<String> {
        self.settle();
        self.messages.drain(..).map(|message| message.text()).collect()
    }

    fn wait_for(&mut self, answer: Answer) {
        while self.read_packet() != Some(answer) {}
    }

    /// Reads a packet, keeps it if it is a message, and answers it.
    fn read_packet(&mut self) -> Option<Answer> {
        let frame = self.read_frame();
        let mut out = Vec::new();
        let answer = match decode(&frame, self.level, Role::Client).expect("a packet") {
            Packet::Connack(connack) => {
                assert!(!connack.reason.is_error(), "not let in: {}", connack.reason);
                Some(Answer::Connack)
            }
            Packet::Suback(suback) => {
                assert!(suback.reasons.iter().all(|reason| !reason.is_error()));
                Some(Answer::Suback)
            }
            Packet::Puback(ack) => Some(Answer::Puback(ack.packet_id)),
            Packet::Pubcomp(ack) => Some(Answer::Pubcomp(ack.packet_id)),
            Packet::Pubrec(ack) => {
                encode_ack(AckType::Pubrel, ack.packet_id, &mut out);
                None
            }
            Packet::Pubrel(ack) => {
                encode_ack(AckType::Pubcomp, ack.packet_id, &mut out);
                None
            }
            Packet::Pingresp => Some(Answer::Pingresp),
            Packet::Publish(publish) => {
                self.messages.push_back(message(&publish));
                match (publish.qos, publish.packet_id) {
                    (Qos::AtLeastOnce, Some(id)) => encode_ack(AckType::Puback, id, &mut out),
                    (Qos::ExactlyOnce, Some(id)) => encode_ack(AckType::Pubrec, id, &mut out),
                    _ => {}
                }
                None
            }
            other => panic!("{other:?}"),
        };
        self.write(&out);
        answer
    }

    fn read_frame(&mut self) -> Vec<u8> {
        loop {
            let length = frame_length(&self.unread, usize::MAX).expect("a packet");
            if let Some(length) = length.filter(|length| *length <= self.unread.len()) {
                return self.unread.drain(..length).collect();
            }
            let mut bytes = [0; 64 * 1024];
            let count = self.socket.read(&mut bytes).expect("something in time");
            assert!(count > 0, "the broker closed the connection");
            self.unread.extend_from_slice(&bytes[..count]);
        }
    }
}

fn message(publish: &Publish<'_>) -> Message {
    let properties = publish.properties().expect("properties");
    Message {
        topic: publish.topic_name().expect("a topic").to_owned(),
        payload: String::from_utf8_lossy(publish.payload).into_owned(),
        qos: publish.qos,
        retain: publish.retain,
        properties: properties.to_event().map(|properties| (*properties).clone()).unwrap_or_default(),
        expiry_s: properties.expiry_s,
    }
}
