//! PUBLISH (MQTT 5, 3.3), the packet that everything is about.

use std::sync::Arc;

use bytes::Bytes;

use super::error::{DecodeError, EncodeError};
use super::list::{SubscriptionIdentifiers, UserProperties};
use super::property::{Property, PropertyBlock, Set, id, set};
use super::reader::Reader;
use super::writer::Writer;
use super::{Level, PacketId, PacketType, Result, Role, body, qos_from_bits, topic};
use crate::types::event::{Properties, Qos};

const FLAG_DUP: u8 = 0x08;
const FLAG_RETAIN: u8 = 0x01;

const ALLOWED: Set = set(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::SUBSCRIPTION_IDENTIFIER,
    id::TOPIC_ALIAS,
    id::USER_PROPERTY,
]);

/// A PUBLISH. Invariants of one that was decoded: the topic is empty only if there is a topic alias; there is a packet
/// identifier exactly when the QoS is not 0; DUP is not set with QoS 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    pub packet_id: Option<PacketId>,
    /// The topic name as it came. Decoding leaves it unchecked, so that a receiver who remembers the names it has seen
    /// pays for [`Publish::topic_name`] only once per name.
    pub topic: &'a [u8],
    pub properties: PublishProperties<'a>,
    pub payload: &'a [u8],
}

/// Properties of a PUBLISH or of a will. All absent at levels 3 and 4.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PublishProperties<'a> {
    /// The payload format indicator: `Some(true)` says that the payload is UTF-8 text.
    pub payload_is_text: Option<bool>,
    /// 1..=65535.
    pub topic_alias: Option<u16>,
    /// Message expiry interval.
    pub expiry_s: Option<u32>,
    pub content_type: Option<&'a str>,
    /// A topic name without wildcards.
    pub response_topic: Option<&'a str>,
    pub correlation_data: Option<&'a [u8]>,
    pub user_properties: UserProperties<'a>,
    /// Only from a server.
    pub subscription_identifiers: SubscriptionIdentifiers<'a>,
}

/// Where the parts of an encoded PUBLISH are that differ between its receivers. Counted from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishLayout {
    /// The packet identifier's two bytes; `None` with QoS 0.
    pub packet_id_at: Option<usize>,
    /// The payload, which reaches to the end.
    pub payload_at: usize,
}

impl<'a> Publish<'a> {
    /// Decodes a complete frame whose type is PUBLISH. The topic is left unchecked.
    ///
    /// # Errors
    /// The rule that the packet breaks.
    #[inline]
    pub fn decode(frame: &'a [u8], level: Level, role: Role) -> Result<Self> {
        let (first, body) = body(frame, level)?;
        Self::decode_body(first, Reader::new(body), level, role)
    }

    #[inline]
    pub(super) fn decode_body(first: u8, mut body: Reader<'a>, level: Level, role: Role) -> Result<Self> {
        let qos = qos_from_bits(first >> 1).ok_or(DecodeError::QOS_INVALID)?;
        let dup = first & FLAG_DUP != 0;
        let topic = body.binary()?;
        let packet_id = if qos == Qos::AtMostOnce {
            if dup {
                return Err(DecodeError::DUP_WITH_QOS_0);
            }
            None
        } else {
            Some(body.packet_id()?)
        };
        let properties = PublishProperties::decode(&mut body, level, role)?;
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(if level == Level::V5 { DecodeError::TOPIC_ALIAS_MISSING } else { DecodeError::EMPTY_TOPIC });
        }
        Ok(Self { dup, qos, retain: first & FLAG_RETAIN != 0, packet_id, topic, properties, payload: body.rest() })
    }

    /// The topic name, checked. Empty only where a topic alias stands for it.
    ///
    /// # Errors
    /// It is not well-formed UTF-8, contains U+0000 or contains a wildcard character.
    pub fn topic_name(&self) -> Result<&'a str> {
        if self.topic.is_empty() { Ok("") } else { topic::validate_topic_name(self.topic) }
    }

    /// Checks that the payload is UTF-8 if its properties say so. A receiver may do this (MQTT 5, 3.3.2.3.2).
    ///
    /// # Errors
    /// [`DecodeError::PAYLOAD_NOT_TEXT`].
    pub fn check_payload_format(&self) -> Result<()> {
        self.properties.check_payload_format(self.payload)
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// A field or the packet is too long, or a property contains U+0000.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<PublishLayout, EncodeError> {
        let layout = self.encode_header(level, self.payload.len(), out)?;
        out.extend_from_slice(self.payload);
        Ok(layout)
    }

    /// Appends the packet up to its payload, of which the caller sends `payload_len` bytes after it.
    ///
    /// # Errors
    /// As [`Publish::encode`].
    #[inline]
    pub fn encode_header(
        &self,
        level: Level,
        payload_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<PublishLayout, EncodeError> {
        let dup = if self.dup { FLAG_DUP } else { 0 };
        let first = PacketType::Publish.first_byte() | dup | (self.qos as u8) << 1 | u8::from(self.retain);
        let mut writer = Writer::new(out, first, level);
        writer.binary(self.topic);
        let packet_id_at = (self.qos != Qos::AtMostOnce).then(|| {
            writer.u16(self.packet_id.map_or(0, PacketId::get));
            writer.len() - 2
        });
        writer.properties(|writer| self.properties.write(writer));
        let header_len = writer.len();
        let shift = writer.finish(payload_len)?;
        Ok(PublishLayout { packet_id_at: packet_id_at.map(|at| at + shift), payload_at: header_len + shift })
    }
}

impl PublishLayout {
    /// Writes the packet identifier into a copy of the frame. Does nothing with QoS 0.
    #[inline]
    pub fn set_packet_id(&self, frame: &mut [u8], packet_id: PacketId) {
        if let Some(place) = self.packet_id_at.and_then(|at| frame.get_mut(at..at + 2)) {
            place.copy_from_slice(&packet_id.get().to_be_bytes());
        }
    }
}

/// Marks an encoded PUBLISH as one that is sent again [MQTT-3.3.1-1].
pub fn set_dup(frame: &mut [u8]) {
    if let Some(first) = frame.first_mut() {
        *first |= FLAG_DUP;
    }
}

/// Sets or clears the RETAIN flag of an encoded PUBLISH.
pub fn set_retain(frame: &mut [u8], retain: bool) {
    if let Some(first) = frame.first_mut() {
        *first = *first & !FLAG_RETAIN | u8::from(retain);
    }
}

impl<'a> PublishProperties<'a> {
    #[inline]
    fn decode(body: &mut Reader<'a>, level: Level, role: Role) -> Result<Self> {
        let block = PropertyBlock::open(body, level, ALLOWED)?;
        if block.is_empty() {
            return Ok(Self::default());
        }
        Self::decode_block(block.repeating(id::SUBSCRIPTION_IDENTIFIER), role)
    }

    fn decode_block(mut block: PropertyBlock<'a>, role: Role) -> Result<Self> {
        let mut properties = Self::default();
        while let Some(property) = block.next()? {
            properties.set(property);
        }
        if block.has(id::SUBSCRIPTION_IDENTIFIER) {
            if role == Role::Server {
                return Err(DecodeError::SUBSCRIPTION_IDENTIFIER_FROM_CLIENT);
            }
            properties.subscription_identifiers = SubscriptionIdentifiers::wire(block.all());
        }
        properties.user_properties = block.user_properties();
        Ok(properties)
    }

    /// Keeps a property that stands for itself.
    pub(super) fn set(&mut self, property: Property<'a>) {
        match property {
            Property::PayloadFormatIndicator(text) => self.payload_is_text = Some(text),
            Property::MessageExpiryInterval(s) => self.expiry_s = Some(s),
            Property::ContentType(text) => self.content_type = Some(text),
            Property::ResponseTopic(topic) => self.response_topic = Some(topic),
            Property::CorrelationData(bytes) => self.correlation_data = Some(bytes),
            Property::TopicAlias(alias) => self.topic_alias = Some(alias),
            _ => {}
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u16_property(id::TOPIC_ALIAS, self.topic_alias);
        for id in self.subscription_identifiers {
            writer.varint_property(id::SUBSCRIPTION_IDENTIFIER, id);
        }
        self.write_application(writer);
    }

    /// What a will has too.
    pub(super) fn write_application(&self, writer: &mut Writer<'_>) {
        writer.u8_property(id::PAYLOAD_FORMAT_INDICATOR, self.payload_is_text.map(u8::from));
        writer.u32_property(id::MESSAGE_EXPIRY_INTERVAL, self.expiry_s);
        writer.string_property(id::CONTENT_TYPE, self.content_type);
        writer.string_property(id::RESPONSE_TOPIC, self.response_topic);
        writer.binary_property(id::CORRELATION_DATA, self.correlation_data);
        writer.user_properties(self.user_properties);
    }

    /// Checks that `payload` is UTF-8 if these properties say so.
    pub(super) fn check_payload_format(&self, payload: &[u8]) -> Result<()> {
        match self.payload_is_text {
            Some(true) if std::str::from_utf8(payload).is_err() => Err(DecodeError::PAYLOAD_NOT_TEXT),
            _ => Ok(()),
        }
    }

    /// What travels with the publication unchanged; `None` if that is nothing. Expiry, alias and subscription
    /// identifiers concern only this hop and are left out.
    pub fn to_event(&self) -> Option<Arc<Properties>> {
        let properties = Properties {
            payload_is_text: self.payload_is_text,
            content_type: self.content_type.map(str::to_owned),
            response_topic: self.response_topic.map(str::to_owned),
            correlation_data: self.correlation_data.map(Bytes::copy_from_slice),
            user_properties: self.user_properties.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        };
        (properties != Properties::default()).then(|| Arc::new(properties))
    }

    /// The properties of a publication as they are sent on. The caller adds what concerns this hop.
    pub fn of_event(properties: &'a Properties) -> Self {
        Self {
            payload_is_text: properties.payload_is_text,
            content_type: properties.content_type.as_deref(),
            response_topic: properties.response_topic.as_deref(),
            correlation_data: properties.correlation_data.as_deref(),
            user_properties: UserProperties::new(&properties.user_properties),
            ..Self::default()
        }
    }
}
