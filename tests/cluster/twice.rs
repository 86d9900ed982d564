//! QoS 2 over moves of a session from entry to entry in the middle of its handshakes: nothing is lost, nothing comes twice. MQTT 3.1.1,
//! by hand, so that each packet is sent when the test wants it.

use std::io::{Read, Write};
use std::net::TcpStream;

use fennec::types::value::Value;

use crate::LIMIT;
use crate::broker::Ports;
use crate::people::World;

const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
const PUBLISH: u8 = 0x34;
const DUP: u8 = 0x08;

/// A connection of a session that is kept.
struct Device(TcpStream);

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

impl Device {
    /// `present`: whether the session is to be there.
    fn connect(ports: Ports, id: &str, present: bool) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", ports.mqtt)).expect("the entry listens");
        socket.set_read_timeout(Some(LIMIT)).expect("a limit");
        let mut device = Self(socket);
        device.send(0x10, &[text("MQTT"), vec![4, 0, 0, 0], text(id)].concat());
        assert_eq!(device.packet(), (0x20, vec![u8::from(present), 0]));
        device
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        self.0.write_all(&[&[kind, body.len() as u8], body].concat()).expect("a packet is sent");
    }

    fn publish(&mut self, flags: u8, id: u16, topic: &str, payload: &str) {
        self.send(PUBLISH | flags, &[text(topic), id.to_be_bytes().to_vec(), payload.as_bytes().to_vec()].concat());
    }

    fn acknowledge(&mut self, kind: u8, id: u16) {
        self.send(kind, &id.to_be_bytes());
    }

    /// The next packet: its first byte, and what follows its length.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).expect("a packet");
        assert!(head[1] < 0x80, "a short packet");
        let mut body = vec![0; head[1].into()];
        self.0.read_exact(&mut body).expect("all of it");
        (head[0], body)
    }

    #[track_caller]
    fn expect(&mut self, kind: u8, id: u16) {
        assert_eq!(self.packet(), (kind, id.to_be_bytes().to_vec()));
    }

    /// The identifier of a PUBLISH with this payload.
    #[track_caller]
    fn expect_publish(&mut self, flags: u8, topic: &str, payload: &str) -> u16 {
        let (kind, body) = self.packet();
        assert_eq!(kind, PUBLISH | flags, "{body:?}");
        let (name, rest) = body.split_at(text(topic).len());
        // WAMP has published it: a JSON text.
        assert_eq!((name, &rest[2..]), (&*text(topic), format!("{payload:?}").as_bytes()));
        u16::from_be_bytes([rest[0], rest[1]])
    }

    /// Whether the broker has closed it.
    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn what_a_publisher_says_again_at_another_entry_is_published_once() {
    let mut world = World::start();
    let topic = "crash/twice";
    let mut first = Device::connect(world.cluster.ports(0), "pub", false);
    first.publish(0, 7, topic, "a 1");
    first.expect(PUBREC, 7);
    let mut second = Device::connect(world.cluster.ports(1), "pub", true);
    second.publish(DUP, 7, topic, "a 1");
    second.expect(PUBREC, 7);
    assert!(first.is_closed(), "its session is elsewhere");
    second.acknowledge(PUBREL, 7);
    second.expect(PUBCOMP, 7);
    // The identifier is free: this is another message.
    second.publish(0, 7, topic, "a 2");
    second.expect(PUBREC, 7);
    world.cluster.kill("E2");
    let mut third = Device::connect(world.cluster.ports(2), "pub", true);
    third.publish(DUP, 7, topic, "a 2");
    third.expect(PUBREC, 7);
    third.acknowledge(PUBREL, 7);
    third.expect(PUBCOMP, 7);
    third.publish(0, 8, topic, "a 3");
    third.expect(PUBREC, 8);
    let mut reader = world.wamp(0);
    world.subscribe(&mut reader, "crash.twice", &[("rewind", Value::from(10_u64))]);
    assert_eq!(world.texts_to(&mut reader, "a 3"), ["a 1", "a 2", "a 3"]);
}

#[test]
fn what_a_subscriber_has_received_does_not_come_again_at_another_entry() {
    let mut world = World::start();
    let topic = "crash/once";
    let mut first = Device::connect(world.cluster.ports(0), "sub", false);
    first.send(0x82, &[vec![0, 1], text(topic), vec![2]].concat());
    assert_eq!(first.packet(), (0x90, vec![0, 1, 2]));
    world.publish(2, "crash.once", &["b 1"]);
    let id = first.expect_publish(0, topic, "b 1");
    first.acknowledge(PUBREC, id);
    first.expect(PUBREL, id);
    let mut second = Device::connect(world.cluster.ports(1), "sub", true);
    second.expect(PUBREL, id);
    assert!(first.is_closed(), "its session is elsewhere");
    second.acknowledge(PUBCOMP, id);
    world.publish(0, "crash.once", &["b 2"]);
    let id = second.expect_publish(0, topic, "b 2");
    world.cluster.kill("E2");
    let mut third = Device::connect(world.cluster.ports(2), "sub", true);
    // What became of PUBCOMP for the first may not be recorded: then its PUBREL comes once more, never the message.
    let (mut kind, mut body) = third.packet();
    if kind == PUBREL {
        third.send(PUBCOMP, &body);
        (kind, body) = third.packet();
    }
    assert_eq!((kind, body.ends_with(b"\"b 2\"")), (PUBLISH | DUP, true));
    third.acknowledge(PUBREC, id);
    third.expect(PUBREL, id);
    let mut fourth = Device::connect(world.cluster.ports(0), "sub", true);
    fourth.expect(PUBREL, id);
    fourth.acknowledge(PUBCOMP, id);
    world.publish(2, "crash.once", &["b 3"]);
    fourth.expect_publish(0, topic, "b 3");
}
