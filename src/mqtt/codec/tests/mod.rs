//! Packets are written in a short notation: hexadecimal bytes; `'text'` for its bytes; `s'text'` for a string with its
//! length before it; `{ … }` for a property block with its length before it. [`frame`] puts in the remaining length.

mod accepted;
mod fuzz;
mod malformed;
mod round_trip;
mod wire;

use super::*;

/// The bytes of a packet in the notation above, with the remaining length after its first byte.
fn frame(notation: &str) -> Vec<u8> {
    let mut words = notation.split_whitespace();
    let first = raw(words.next().expect("a first byte"));
    with_length(first[0], &parse(&mut words))
}

/// The bytes of a notation, with nothing put in.
fn raw(notation: &str) -> Vec<u8> {
    parse(&mut notation.split_whitespace())
}

fn parse<'n>(words: &mut impl Iterator<Item = &'n str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "{" => {
                let block = parse(words);
                bytes.extend(varint_of(block.len()));
                bytes.extend(block);
            }
            "{}" => bytes.push(0),
            "}" => return bytes,
            _ => parse_word(word, &mut bytes),
        }
    }
    bytes
}

fn parse_word(word: &str, bytes: &mut Vec<u8>) {
    if let Some(text) = word.strip_prefix("s'") {
        let text = text.strip_suffix('\'').expect("a closing quote");
        bytes.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
        bytes.extend(text.as_bytes());
    } else if let Some(text) = word.strip_prefix('\'') {
        bytes.extend(text.strip_suffix('\'').expect("a closing quote").as_bytes());
    } else {
        for at in (0..word.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&word[at..at + 2], 16).expect("hexadecimal digits"));
        }
    }
}

fn with_length(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    frame.extend(varint_of(body.len()));
    frame.extend(body);
    frame
}

fn varint_of(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = if value > 0x7f { 0x80 } else { 0 };
        bytes.push((value & 0x7f) as u8 | more);
        value >>= 7;
        if value == 0 {
            return bytes;
        }
    }
}

/// Any packet at all, CONNECT too.
#[derive(Clone, Debug, PartialEq)]
enum Any<'a> {
    Connect(Box<Connect<'a>>),
    Other(Packet<'a>),
}

/// Decodes a frame as a receiver would: a CONNECT as the first packet, the topic of a PUBLISH checked.
fn decode_any(frame: &[u8], level: Level, role: Role) -> Result<Any<'_>> {
    if role == Role::Server && frame.first().is_some_and(|first| first >> 4 == 1) {
        return Connect::decode(frame).map(|connect| Any::Connect(Box::new(connect)));
    }
    let packet = decode(frame, level, role)?;
    if let Packet::Publish(publish) = &packet {
        publish.properties()?.check_payload_format(publish.payload)?;
        publish.topic_name()?;
    }
    Ok(Any::Other(packet))
}

fn encode_any(packet: &Any<'_>, level: Level) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    match packet {
        Any::Connect(connect) => connect.encode(&mut out)?,
        Any::Other(packet) => encode(packet, level, &mut out)?,
    }
    Ok(out)
}

fn encode(packet: &Packet<'_>, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match packet {
        Packet::Connack(connack) => connack.encode(level, out),
        Packet::Publish(publish) => publish.encode(level, out).map(|_| ()),
        Packet::Puback(ack) => ack.encode(AckType::Puback, level, out),
        Packet::Pubrec(ack) => ack.encode(AckType::Pubrec, level, out),
        Packet::Pubrel(ack) => ack.encode(AckType::Pubrel, level, out),
        Packet::Pubcomp(ack) => ack.encode(AckType::Pubcomp, level, out),
        Packet::Subscribe(subscribe) => subscribe.encode(level, out),
        Packet::Suback(suback) => suback.encode(level, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(level, out),
        Packet::Unsuback(unsuback) => unsuback.encode(level, out),
        Packet::Pingreq => {
            out.extend(PINGREQ);
            Ok(())
        }
        Packet::Pingresp => {
            out.extend(PINGRESP);
            Ok(())
        }
        Packet::Disconnect(disconnect) => disconnect.encode(level, out),
        Packet::Auth(auth) => auth.encode(level, out),
    }
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("not 0")
}
