//! The codec, packet by packet, in the notation of [`notation`].

mod accepted;
mod counterexamples;
mod fuzz;
mod malformed;
mod notation;
mod round_trip;
mod wire;

use super::*;
use notation::{frame, raw, with_length};

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
