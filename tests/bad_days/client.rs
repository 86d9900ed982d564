//! An MQTT 5 client that waits for each answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use fennec::mqtt::codec::{
    Ack, AckType, Connect, ConnectProperties, Level, Packet, PacketId, Publish, ReasonCode, Role, Subscribe,
    Subscription, Subscriptions, UserProperties, decode, frame_length,
};
use fennec::types::event::Qos;

use crate::broker::PATIENCE;

pub struct Client {
    socket: TcpStream,
    unread: Vec<u8>,
    /// What was published to it and not taken.
    events: Vec<(String, Vec<u8>)>,
    last_id: u16,
}

impl Client {
    /// A session that is there is resumed, if it is to be kept.
    pub fn connect(port: u16, client_id: &str, session_expiry_s: u32) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let connect = Connect {
            level: Level::V5,
            clean_start: session_expiry_s == 0,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties { session_expiry_s, ..ConnectProperties::default() },
        };
        let mut client = Self { socket, unread: Vec::new(), events: Vec::new(), last_id: 0 };
        let mut frame = Vec::new();
        connect.encode(&mut frame).unwrap();
        client.socket.write_all(&frame).unwrap();
        let connack = client.frame();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        client
    }

    fn frame(&mut self) -> Vec<u8> {
        loop {
            if let Some(length) = frame_length(&self.unread, usize::MAX).unwrap()
                && length <= self.unread.len()
            {
                return self.unread.drain(..length).collect();
            }
            let mut buffer = [0; 64 * 1024];
            let count = self.socket.read(&mut buffer).expect("something comes");
            assert!(count > 0, "the broker has closed the connection");
            self.unread.extend_from_slice(&buffer[..count]);
        }
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id += 1;
        PacketId::new(self.last_id).unwrap()
    }

    /// Reads packets until `wanted` finds what it wants; events are acknowledged and kept.
    fn wait_for<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> T {
        loop {
            let frame = self.frame();
            let packet = decode(&frame, Level::V5, Role::Client).unwrap();
            if let Some(found) = wanted(&packet) {
                return found;
            }
            let Packet::Publish(event) = packet else { panic!("{packet:?}") };
            self.events.push((String::from_utf8_lossy(event.topic).into_owned(), event.payload.to_vec()));
            if let Some(packet_id) = event.packet_id {
                let mut ack = Vec::new();
                Ack::new(packet_id, ReasonCode::Success).encode(AckType::Puback, Level::V5, &mut ack).unwrap();
                self.socket.write_all(&ack).unwrap();
            }
        }
    }

    pub fn subscribe(&mut self, filter: &str, qos: Qos) {
        let subscriptions = [Subscription { filter, qos, ..Subscription::default() }];
        let packet = Subscribe {
            packet_id: self.next_id(),
            subscription_identifier: None,
            user_properties: UserProperties::default(),
            subscriptions: Subscriptions::new(&subscriptions),
        };
        let mut frame = Vec::new();
        packet.encode(Level::V5, &mut frame).unwrap();
        self.socket.write_all(&frame).unwrap();
        let granted = self.wait_for(|packet| match packet {
            Packet::Suback(suback) => Some(suback.reasons.iter().all(|reason| !reason.is_error())),
            _ => None,
        });
        assert!(granted);
    }

    /// Publishes with QoS 1 and returns what PUBACK says.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> ReasonCode {
        let id = self.next_id();
        let topic = topic.as_bytes();
        let packet = Publish { qos: Qos::AtLeastOnce, packet_id: Some(id), topic, payload, ..Publish::default() };
        let mut frame = Vec::new();
        packet.encode(Level::V5, &mut frame).unwrap();
        self.socket.write_all(&frame).unwrap();
        self.wait_for(|packet| match packet {
            Packet::Puback(ack) if ack.packet_id == id => Some(ack.reason),
            _ => None,
        })
    }

    /// Publishes with QoS 0.
    pub fn publish_plain(&mut self, topic: &str, payload: &[u8]) {
        let mut frame = Vec::new();
        Publish { topic: topic.as_bytes(), payload, ..Publish::default() }.encode(Level::V5, &mut frame).unwrap();
        self.socket.write_all(&frame).unwrap();
    }

    /// The next event: topic and payload.
    pub fn event(&mut self) -> (String, Vec<u8>) {
        while self.events.is_empty() {
            let frame = self.frame();
            self.unread.splice(..0, frame);
            self.ping();
        }
        self.events.remove(0)
    }

    /// Waits for an answer, and so for whatever was on its way before it.
    pub fn ping(&mut self) {
        self.socket.write_all(&[0xc0, 0]).unwrap();
        self.wait_for(|packet| matches!(packet, Packet::Pingresp).then_some(()));
    }

    /// All events up to one with this payload: their payloads.
    pub fn events_until(&mut self, last: &[u8]) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        while payloads.last().is_none_or(|payload: &Vec<u8>| payload != last) {
            payloads.push(self.event().1);
        }
        payloads
    }
}
