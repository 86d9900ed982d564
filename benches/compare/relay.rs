//! A toy relay instead of a broker: what it reads from any client it writes to every client that subscribed.
//!
//! It knows no topics, QoS or queues, believes whatever it is told and looks into messages only to turn one protocol
//! into the other, so it is the ceiling: what the driver and the kernel can do, whatever a broker does. One thread reads
//! all that can be read, then writes once to every subscriber.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::mqtt_load::{self, publish_packet};
use crate::payload::{self, Finder};
use crate::websocket::{self, mask, push_unmasked};
use crate::wire::{Poller, Wire};

const FOREVER: Duration = Duration::from_secs(3600);
const MQTT: usize = usize::MAX;
const HTTP: usize = usize::MAX - 1;

/// What was read in one turn, by who gets it.
#[derive(Default)]
struct Turn {
    mqtt: Vec<u8>,
    events: Vec<u8>,
    invocations: Vec<u8>,
    results: Vec<u8>,
    /// Each protocol is translated only if somebody subscribed in the other.
    mqtt_wanted: bool,
    events_wanted: bool,
}

struct Client {
    /// `None` when the client is gone.
    wire: Option<Wire>,
    protocol: Protocol,
    subscribes: bool,
    registers: bool,
    calls: bool,
    finder: Finder,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Mqtt,
    Http,
    WebSocket,
}

/// Serves MQTT and WAMP until the process ends.
pub fn serve(mqtt: SocketAddr, http: SocketAddr) -> io::Result<()> {
    let listeners = [TcpListener::bind(mqtt)?, TcpListener::bind(http)?];
    let poller = Poller::new()?;
    poller.add_listener(&listeners[0], MQTT)?;
    poller.add_listener(&listeners[1], HTTP)?;
    let mut clients: Vec<Client> = Vec::new();
    let mut turn = Turn::default();
    loop {
        let mut waiting = [false; 2];
        poller.wait(FOREVER, |token, readable, writable| match clients.get_mut(token) {
            Some(Client { wire: Some(wire), .. }) => {
                wire.readable |= readable;
                wire.writable |= writable;
            }
            _ => waiting = [waiting[0] | (token == MQTT), waiting[1] | (token == HTTP)],
        })?;
        for (place, protocol) in [Protocol::Mqtt, Protocol::Http].into_iter().enumerate() {
            if waiting[place] {
                let wire = Wire::new(listeners[place].accept()?.0)?;
                poller.add(&wire, clients.len())?;
                clients.push(Client::new(wire, protocol));
            }
        }
        turn.clear();
        clients.iter_mut().for_each(|client| client.read(&mut turn));
        clients.iter_mut().for_each(|client| client.write(&turn));
    }
}

impl Turn {
    fn clear(&mut self) {
        let queues = [&mut self.mqtt, &mut self.events, &mut self.invocations, &mut self.results];
        queues.into_iter().for_each(Vec::clear);
    }
}

impl Client {
    fn new(wire: Wire, protocol: Protocol) -> Self {
        let finder = Finder::default();
        Self { wire: Some(wire), protocol, subscribes: false, registers: false, calls: false, finder }
    }

    /// Takes what the client sends. A client whose connection fails is forgotten.
    fn read(&mut self, turn: &mut Turn) {
        let Some(mut wire) = self.wire.take() else { return };
        while wire.readable {
            let taken = wire.read().map(drop).and_then(|()| {
                let (input, replies) = wire.input_and_replies();
                match self.protocol {
                    Protocol::Mqtt => self.take_packets(input, replies, turn),
                    Protocol::Http => Ok(self.take_request(input, replies)),
                    Protocol::WebSocket => self.take_frames(input, replies, turn),
                }
            });
            let Ok(taken) = taken else { return };
            wire.consume(taken);
        }
        turn.mqtt_wanted |= self.subscribes && self.protocol == Protocol::Mqtt;
        turn.events_wanted |= self.subscribes && self.protocol == Protocol::WebSocket;
        self.wire = Some(wire);
    }

    fn write(&mut self, turn: &Turn) {
        let Some(wire) = &mut self.wire else { return };
        let events = if self.protocol == Protocol::Mqtt { &turn.mqtt } else { &turn.events };
        let due = [(self.subscribes, events), (self.registers, &turn.invocations), (self.calls, &turn.results)];
        due.iter().filter(|(wanted, _)| *wanted).for_each(|(_, bytes)| wire.replies.extend(bytes.iter()));
        if wire.writable && wire.flush_replies().is_err() {
            self.wire = None;
        }
    }

    /// Answers CONNECT and SUBSCRIBE (of one filter); nothing else comes but publishes.
    fn take_packets(&mut self, input: &[u8], replies: &mut Vec<u8>, turn: &mut Turn) -> io::Result<usize> {
        let (mut at, mut publishes_from) = (0, 0);
        while let Some((_, packet_bytes)) = mqtt_load::frame(&input[at..])? {
            let packet = &input[at..at + packet_bytes];
            at += packet_bytes;
            match *packet {
                [0x10, ..] => replies.extend([0x20, 2, 0, 0]),
                [0x82, _, id_high, id_low, ..] => {
                    replies.extend([0x90, 3, id_high, id_low, 0]);
                    self.subscribes = true;
                }
                _ => {
                    if turn.events_wanted {
                        let event = [b"[36,1,2,{},[\"", &packet[packet_bytes - payload::SIZE..], b"\"]]"].concat();
                        push_unmasked(&mut turn.events, &event);
                    }
                    continue;
                }
            }
            publishes_from = at;
        }
        turn.mqtt.extend(&input[publishes_from..at]);
        Ok(at)
    }

    /// Answers the request for a WebSocket.
    fn take_request(&mut self, input: &[u8], replies: &mut Vec<u8>) -> usize {
        if !input.ends_with(b"\r\n\r\n") {
            return 0;
        }
        self.protocol = Protocol::WebSocket;
        replies.extend(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: wamp.2.json\r\n\r\n");
        input.len()
    }

    fn take_frames(&mut self, input: &[u8], replies: &mut Vec<u8>, turn: &mut Turn) -> io::Result<usize> {
        let mut at = 0;
        // The frames of a driver are short and masked: opcode, length, four bytes of key.
        while let [_, length, k0, k1, k2, k3, rest @ ..] = &input[at..] {
            let Some(body) = rest.get(..usize::from(length & 0x7F)) else { break };
            at += websocket::MASKED_HEADER_BYTES + body.len();
            let mut body = body.to_vec();
            mask(&mut body, [*k0, *k1, *k2, *k3], 0);
            self.take_message(&body, replies, turn);
        }
        Ok(at)
    }

    fn take_message(&mut self, body: &[u8], replies: &mut Vec<u8>, turn: &mut Turn) {
        let mut parts = body.splitn(3, |byte| *byte == b',');
        let (code, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // The list of arguments and the bracket that ends the message; payloads have no brackets.
        let arguments = body.iter().rposition(|byte| *byte == b'[').map_or(body, |at| &body[at..]);
        let answer = |out: &mut Vec<u8>, code: &[u8], rest: &[u8]| push_unmasked(out, &[code, id, rest].concat());
        match code {
            b"[1" => push_unmasked(replies, br#"[2,1,{"roles":{"broker":{},"dealer":{}}}]"#),
            b"[32" => {
                answer(replies, b"[33,", b",1]");
                self.subscribes = true;
            }
            b"[64" => {
                answer(replies, b"[65,", b",1]");
                self.registers = true;
            }
            b"[48" => {
                answer(&mut turn.invocations, b"[68,", &[b",1,{},", arguments].concat());
                self.calls = true;
            }
            b"[70" => answer(&mut turn.results, b"[50,", &[b",{},", arguments].concat()),
            _ => self.take_publish(body, arguments, turn),
        }
    }

    fn take_publish(&mut self, body: &[u8], arguments: &[u8], turn: &mut Turn) {
        if turn.events_wanted {
            push_unmasked(&mut turn.events, &[b"[36,1,2,{},", arguments].concat());
        }
        if let (true, Some(mark)) = (turn.mqtt_wanted, self.finder.find(body)) {
            turn.mqtt.extend(publish_packet("bench/0", 0, &body[mark.at..mark.at + payload::SIZE]));
        }
    }
}
