//! The wire format of MQTT 3.1, 3.1.1 and 5.0 (levels 3, 4 and 5), known here and nowhere else.
//!
//! 1. [`frame_length`] says how long the packet is that a buffer begins with.
//! 2. [`Connect::decode`] takes the first packet and finds out the level.
//! 3. [`decode`] takes every later one: a [`Packet`] that borrows from its frame; only a CONNACK's is on the heap.
//! 4. `encode` of each packet appends it to a buffer. A PUBLISH tells where its packet identifier is, so that one
//!    encoding serves many receivers.
//!
//! Strict: a packet that breaks a rule about its form is refused with the rule ([`DecodeError`]). Control characters
//! and non-characters in strings are let through, since the specification only advises against them. At level 3, bits
//! that its specification calls unused are not looked at.
//!
//! Left to the session, which knows what went before: packet identifiers in use, topic aliases, quotas, which packet is
//! due. Left to the receiver of a PUBLISH, so that one without news costs a few nanoseconds: [`Publish::properties`] and
//! [`Publish::topic_name`], which are checked when asked for. Left to configuration:
//! [`PublishProperties::check_payload_format`].

mod ack;
mod close;
mod connack;
mod connect;
mod error;
mod list;
mod property;
mod publish;
mod reader;
mod reason;
mod subscribe;
mod topic;
mod writer;

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

pub use ack::{Ack, AckType, Diagnostics, encode_ack};
pub use close::{Auth, Disconnect};
pub use connack::{Connack, ConnackProperties};
pub use connect::{Connect, ConnectProperties, Will, answer_level};
pub use error::{DecodeError, EncodeError};
pub use list::{Items, List, ReasonCodes, SubscriptionIdentifiers, TopicFilters, UserProperties};
pub use publish::{EVENT_ID, PropertySource, Publish, PublishLayout, PublishProperties, set_dup, set_retain};
pub use reason::ReasonCode;
pub use subscribe::{RetainHandling, Suback, Subscribe, Subscription, Subscriptions, Unsuback, Unsubscribe};
pub use topic::{split_shared, validate_subscription_filter, validate_topic_filter, validate_topic_name};

use crate::types::event::Qos;
use reader::Reader;

type Result<T, E = DecodeError> = std::result::Result<T, E>;

/// 1..=65535.
pub type PacketId = NonZeroU16;

/// A PINGREQ, complete.
pub const PINGREQ: [u8; 2] = [PacketType::Pingreq.first_byte(), 0];
/// A PINGRESP, complete.
pub const PINGRESP: [u8; 2] = [PacketType::Pingresp.first_byte(), 0];

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// MQTT 3.1.
    V3 = 3,
    /// MQTT 3.1.1.
    V4 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

impl Level {
    fn name_and_version(self) -> (&'static str, u8) {
        (if self == Level::V3 { "MQIsdp" } else { "MQTT" }, self as u8)
    }
}

/// Which side decodes: some packets go only one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives what clients send.
    Server,
    /// Receives what servers send.
    Client,
}

/// Type of a packet (MQTT 5, 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type that the first byte of a packet names; `None` for the reserved 0.
    pub const fn of(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// First byte of such a packet, with the flags that are fixed (MQTT 5, table 2-2).
    const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0x02,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    const fn comes_to(self, role: Role) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::Pingreq => matches!(role, Role::Server),
            Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp => matches!(role, Role::Client),
            _ => true,
        }
    }
}

/// Any packet but CONNECT, which only [`Connect::decode`] takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    Connack(Box<Connack<'a>>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Whether a CONNECT may be what `buffer` begins with, as far as can be seen.
pub fn may_be_connect(buffer: &[u8]) -> bool {
    buffer.first().is_none_or(|first| PacketType::of(*first) == Some(PacketType::Connect))
}

/// Bytes of the packet that `buffer` begins with, from its first to its last; `None` if its header is not complete.
///
/// # Errors
/// The packet is longer than `max`, or its length has no end.
#[inline]
pub fn frame_length(buffer: &[u8], max: usize) -> Result<Option<usize>> {
    let length = match buffer {
        [_, len, ..] if *len < 0x80 => usize::from(*len) + 2,
        [_, len @ ..] => match reader::varint(len)? {
            Some((body, header)) => body as usize + header + 1,
            None => return Ok(None),
        },
        [] => return Ok(None),
    };
    if length > max { Err(DecodeError::PACKET_TOO_LARGE) } else { Ok(Some(length)) }
}

/// Decodes one complete packet of a connection whose CONNECT has been seen. Properties and topic of a PUBLISH are left
/// unchecked ([`Publish::properties`], [`Publish::topic_name`]).
///
/// # Errors
/// The rule that the packet breaks; nothing else of the connection is to be read then.
#[inline]
pub fn decode(frame: &[u8], level: Level, role: Role) -> Result<Packet<'_>> {
    let (first, body) = body(frame, level)?;
    let body = Reader::new(body);
    if first >> 4 == PacketType::Publish as u8 {
        return Publish::decode_body(first, body, level, role).map(Packet::Publish);
    }
    decode_other(first, body, level, role)
}

fn decode_other(first: u8, body: Reader<'_>, level: Level, role: Role) -> Result<Packet<'_>> {
    let kind = check_type(first, level, role)?;
    Ok(match kind {
        PacketType::Connect => return Err(DecodeError::SECOND_CONNECT),
        PacketType::Connack => Packet::Connack(Box::new(Connack::decode(body, level)?)),
        PacketType::Publish => Packet::Publish(Publish::decode_body(first, body, level, role)?),
        PacketType::Puback => Packet::Puback(Ack::decode(body, AckType::Puback, level)?),
        PacketType::Pubrec => Packet::Pubrec(Ack::decode(body, AckType::Pubrec, level)?),
        PacketType::Pubrel => Packet::Pubrel(Ack::decode(body, AckType::Pubrel, level)?),
        PacketType::Pubcomp => Packet::Pubcomp(Ack::decode(body, AckType::Pubcomp, level)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(body, level)?),
        PacketType::Suback => Packet::Suback(Suback::decode(body, level)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(body, level)?),
        PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(body, level)?),
        PacketType::Pingreq => body.finish().map(|()| Packet::Pingreq)?,
        PacketType::Pingresp => body.finish().map(|()| Packet::Pingresp)?,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(body, level, role)?),
        PacketType::Auth => Packet::Auth(Auth::decode(body, level, role)?),
    })
}

/// The type of a packet, if it may come to `role` and has the flags that it must have.
fn check_type(first: u8, level: Level, role: Role) -> Result<PacketType> {
    let kind = PacketType::of(first).ok_or(DecodeError::RESERVED_TYPE)?;
    if kind == PacketType::Auth && level < Level::V5 {
        return Err(DecodeError::RESERVED_TYPE);
    }
    // Before level 5 only the client says goodbye.
    let farewell = kind == PacketType::Disconnect && level < Level::V5 && role == Role::Client;
    if farewell || !kind.comes_to(role) {
        return Err(DecodeError::WRONG_DIRECTION);
    }
    if level > Level::V3 && kind != PacketType::Publish && first != kind.first_byte() {
        return Err(DecodeError::RESERVED_FLAGS);
    }
    Ok(kind)
}

/// First byte and body of a complete packet.
#[inline]
fn body(frame: &[u8], level: Level) -> Result<(u8, &[u8])> {
    match frame {
        [first, len, body @ ..] if body.len() < 0x80 && usize::from(*len) == body.len() => Ok((*first, body)),
        _ => {
            check_minimal_header(frame, level)?;
            body_unchecked(frame)
        }
    }
}

/// First byte and body of a complete packet whose remaining length may be longer than needed.
fn body_unchecked(frame: &[u8]) -> Result<(u8, &[u8])> {
    let (&first, rest) = frame.split_first().ok_or(DecodeError::FRAME_INCOMPLETE)?;
    let (length, width) = reader::varint(rest)?.ok_or(DecodeError::FRAME_INCOMPLETE)?;
    let body = rest.get(width..).unwrap_or_default();
    if body.len() == length as usize { Ok((first, body)) } else { Err(DecodeError::FRAME_INCOMPLETE) }
}

/// Level 5 wants the remaining length in its shortest form; the levels before it do not say so.
fn check_minimal_header(frame: &[u8], level: Level) -> Result<()> {
    match reader::varint(frame.get(1..).unwrap_or_default())? {
        Some((length, width)) if level == Level::V5 && reader::varint_len(length) != width => {
            Err(DecodeError::VARINT_NOT_MINIMAL)
        }
        _ => Ok(()),
    }
}

/// The QoS in the two lowest bits; `None` for 3.
#[inline]
fn qos_from_bits(bits: u8) -> Option<Qos> {
    match bits & 3 {
        0 => Some(Qos::AtMostOnce),
        1 => Some(Qos::AtLeastOnce),
        2 => Some(Qos::ExactlyOnce),
        _ => None,
    }
}

/// Encodes with an explanation (`true`), or without one if the packet would then be larger than `max` bytes.
fn encode_within(
    max: usize,
    out: &mut Vec<u8>,
    encode: impl Fn(&mut Vec<u8>, bool) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    if encode(out, true).is_ok() && out.len() - start <= max {
        return Ok(());
    }
    out.truncate(start);
    encode(out, false)
}
