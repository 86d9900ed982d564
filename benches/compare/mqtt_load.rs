//! MQTT 3.1.1 as the driver speaks it: handshakes, pre-encoded publishes, and just enough parsing to count.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::load::{Fed, Sink, Source};
use crate::payload::{self, Finder, MARK_BYTES, Shape, letters};
use crate::tracker::{Faults, Tracker};

/// Bytes of publishes that are written at once.
const BATCH_BYTES: usize = 128 * 1024;
/// Longest wait for an answer during a handshake.
const ANSWER: Duration = Duration::from_secs(10);
/// Packet ids in use, 1 to this.
const PACKET_IDS: u32 = 65_535;

/// The CONNECT of a session that ends with its connection.
pub fn connect_packet(client_id: &str) -> Vec<u8> {
    connect_packet_of(client_id, Stay::Clean)
}

/// What becomes of a session when its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    Clean,
    Persistent,
}

/// A CONNECT.
pub fn connect_packet_of(client_id: &str, stay: Stay) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.push(if stay == Stay::Clean { 2 } else { 0 });
    // Long enough that no broker asks for a ping during a run.
    body.extend(600u16.to_be_bytes());
    push_text(&mut body, client_id);
    packet(0x10, &body)
}

/// The SUBSCRIBE of several filters.
pub fn subscribe_packet(packet_id: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    for filter in filters {
        push_text(&mut body, filter);
        body.push(qos);
    }
    packet(0x82, &body)
}

/// A PUBLISH; its packet id, if it has one, is 0.
pub fn publish_packet(topic: &str, qos: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, topic);
    if qos > 0 {
        body.extend([0, 0]);
    }
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

pub fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![header];
    let mut rest = body.len();
    loop {
        let more = rest > 0x7F;
        packet.push((rest & 0x7F) as u8 | u8::from(more) << 7);
        rest >>= 7;
        if !more {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.as_bytes());
}

/// Connects a client with a clean session.
pub fn connect(addr: SocketAddr, client_id: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(&connect_packet(client_id))?;
    expect_connack(&mut stream)?;
    Ok(stream)
}

/// Connects the client of a persistent session that is there already.
pub fn resume(addr: SocketAddr, client_id: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(&connect_packet_of(client_id, Stay::Persistent))?;
    match expect_connack(&mut stream)? {
        true => Ok(stream),
        false => Err(io::Error::other(format!("the broker does not know the session of {client_id} any more"))),
    }
}

/// Reads the CONNACK that accepts the client; whether its session was there.
pub fn expect_connack(stream: &mut TcpStream) -> io::Result<bool> {
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    match connack {
        [0x20, 2, present, 0] => Ok(present == 1),
        other => Err(io::Error::other(format!("connection refused: {other:?}"))),
    }
}

/// Subscribes a client that is connected and hears nothing yet.
pub fn subscribe(stream: &mut TcpStream, filters: &[String], qos: u8) -> io::Result<()> {
    stream.write_all(&subscribe_packet(1, filters, qos))?;
    expect_suback(stream, qos)
}

/// Reads the SUBACK that grants all of what was asked for as packet 1.
pub fn expect_suback(stream: &mut TcpStream, qos: u8) -> io::Result<()> {
    let mut header = [0; 2];
    stream.read_exact(&mut header)?;
    let mut rest_bytes = usize::from(header[1]);
    if rest_bytes > 0x7F {
        let mut high = [0];
        stream.read_exact(&mut high)?;
        rest_bytes = rest_bytes & 0x7F | usize::from(high[0]) << 7;
    }
    let mut rest = vec![0; rest_bytes];
    stream.read_exact(&mut rest)?;
    match rest.split_first_chunk() {
        Some(([0, 1], granted)) if header[0] == 0x90 && granted.iter().all(|granted| *granted == qos) => Ok(()),
        _ => Err(io::Error::other(format!("subscription refused: {header:?} {rest:?}"))),
    }
}

/// Publishes of one publisher to one topic, pre-encoded side by side; number and packet id are patched in.
pub struct MqttSource {
    buffer: Vec<u8>,
    packet_bytes: usize,
    /// Where mark and packet id stand in a packet; no packet id with QoS 0.
    mark_at: usize,
    packet_id_at: Option<usize>,
    /// Where the topic names the message, if each has a topic of its own.
    topic_mark_at: Option<usize>,
    publisher: u16,
    next: u32,
    filled_bytes: usize,
    /// Number of the next message to be acknowledged (PUBACK, PUBREC) and completed (PUBCOMP).
    next_ack: u32,
    next_complete: u32,
    faults: Faults,
}

impl MqttSource {
    pub fn new(publisher: u16, topic: &str, qos: u8, shape: Shape) -> Self {
        Self::of(publisher, publish_packet(topic, qos, &shape.template(publisher)), qos, shape)
    }

    /// Retained messages, each to a topic of its own: `<prefix>/<number in letters>`.
    pub fn retained(publisher: u16, prefix: &str, qos: u8, shape: Shape) -> Self {
        let topic = format!("{prefix}/aaaaaaaa");
        let mut packet = publish_packet(&topic, qos, &shape.template(publisher));
        packet[0] |= 1;
        let topic_end = packet.len() - payload::SIZE - if qos > 0 { 2 } else { 0 };
        let source = Self::of(publisher, packet, qos, shape);
        Self { topic_mark_at: Some(topic_end - 8), ..source }
    }

    fn of(publisher: u16, packet: Vec<u8>, qos: u8, shape: Shape) -> Self {
        let payload_at = packet.len() - payload::SIZE;
        Self {
            buffer: packet.repeat(BATCH_BYTES / packet.len()),
            packet_bytes: packet.len(),
            mark_at: payload_at + shape.mark_at(),
            packet_id_at: (qos > 0).then(|| payload_at - 2),
            topic_mark_at: None,
            publisher,
            next: 0,
            filled_bytes: 0,
            next_ack: 0,
            next_complete: 0,
            faults: Faults::default(),
        }
    }
}

fn packet_id(sequence: u32) -> [u8; 2] {
    ((sequence % PACKET_IDS + 1) as u16).to_be_bytes()
}

impl Source for MqttSource {
    fn fill(&mut self, count: usize) -> usize {
        let mut filled = 0;
        for packet in self.buffer.chunks_exact_mut(self.packet_bytes).take(count) {
            packet[self.mark_at..self.mark_at + MARK_BYTES].copy_from_slice(&payload::mark(self.publisher, self.next));
            if let Some(at) = self.packet_id_at {
                packet[at..at + 2].copy_from_slice(&packet_id(self.next));
            }
            if let Some(at) = self.topic_mark_at {
                packet[at..at + 8].copy_from_slice(&letters(self.next));
            }
            self.next += 1;
            filled += 1;
        }
        self.filled_bytes = filled * self.packet_bytes;
        filled
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled_bytes]
    }

    fn feed(&mut self, input: &[u8], replies: &mut Vec<u8>) -> io::Result<Fed> {
        let mut fed = Fed::default();
        for ack in input.chunks_exact(4) {
            let &[kind, 2, id_high, id_low] = ack else { return Err(unexpected(ack)) };
            let id = [id_high, id_low];
            let next = if kind == 0x70 { &mut self.next_complete } else { &mut self.next_ack };
            self.faults.acks_reordered += u64::from(id != packet_id(*next));
            *next += 1;
            match kind {
                0x40 | 0x70 => fed.acked += 1,
                0x50 => replies.extend([0x62, 2, id_high, id_low]),
                _ => return Err(unexpected(ack)),
            }
            fed.consumed += 4;
        }
        Ok(fed)
    }

    fn faults(&self) -> Faults {
        self.faults
    }
}

/// Counts publishes and acknowledges them.
#[derive(Default)]
pub struct MqttSink {
    finder: Finder,
}

impl MqttSink {
    fn note(&mut self, packet: &[u8], body_at: usize, replies: &mut Vec<u8>, tracker: &mut Tracker) -> io::Result<()> {
        match self.finder.find(packet) {
            Some(mark) => tracker.note(mark.publisher, mark.sequence),
            None => tracker.note_strange(),
        }
        Self::acknowledge(packet, body_at, replies)
    }

    /// Appends the acknowledgement of a PUBLISH, if it wants one.
    pub fn acknowledge(packet: &[u8], body_at: usize, replies: &mut Vec<u8>) -> io::Result<()> {
        let ack = match packet[0] >> 1 & 3 {
            0 => return Ok(()),
            1 => 0x40,
            _ => 0x50,
        };
        let body = &packet[body_at..];
        let topic_bytes = body.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        let id = body.get(2 + topic_bytes..).and_then(|rest| rest.first_chunk());
        let [high, low] = *id.ok_or_else(|| unexpected(packet))?;
        replies.extend([ack, 2, high, low]);
        Ok(())
    }
}

impl Sink for MqttSink {
    fn feed(&mut self, input: &[u8], replies: &mut Vec<u8>, tracker: &mut Tracker) -> io::Result<usize> {
        let mut at = 0;
        while let Some((body_at, packet_bytes)) = frame(&input[at..])? {
            let packet = &input[at..at + packet_bytes];
            match packet[0] >> 4 {
                3 => self.note(packet, body_at, replies, tracker)?,
                // PUBREL; nothing else is ever sent to a subscriber that is set up.
                6 if packet.len() == 4 => replies.extend([0x70, 2, packet[2], packet[3]]),
                _ => return Err(unexpected(packet)),
            }
            at += packet_bytes;
        }
        Ok(at)
    }
}

/// Where the body of the first packet begins and where the packet ends; `None` if it is not complete.
pub fn frame(input: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut body_bytes = 0;
    for place in 0..4 {
        let Some(byte) = input.get(1 + place) else { return Ok(None) };
        body_bytes |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            let body_at = 2 + place;
            return Ok((input.len() >= body_at + body_bytes).then_some((body_at, body_at + body_bytes)));
        }
    }
    Err(unexpected(&input[..5]))
}

#[cold]
fn unexpected(packet: &[u8]) -> io::Error {
    io::Error::other(format!("unexpected packet from the broker: {:02x?}", &packet[..packet.len().min(32)]))
}
