//! PUBLISH (MQTT 5, 3.3), the packet that everything is about.

use std::sync::Arc;

use bytes::Bytes;

use super::error::{DecodeError, EncodeError};
use super::list::{SubscriptionIdentifiers, UserProperties};
use super::property::{self, Property, PropertyBlock, Set, id, set};
use super::reader::Reader;
use super::writer::{VARINT_MAX, Writer, varint_bytes};
use super::{Level, PacketId, PacketType, Result, Role, body, qos_from_bits, topic};
use crate::types::event::{Properties, Qos};
use crate::types::passthru::{Attribute, Passthru};

const FLAG_DUP: u8 = 0x08;
const FLAG_RETAIN: u8 = 0x01;

/// The user property by which subscribers are told where in the durable log an event is.
pub const EVENT_ID: &str = "event_id";

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

/// A PUBLISH. Invariants of one that was decoded: there is a packet identifier exactly when the QoS is not 0; DUP is not
/// set with QoS 0; the topic is empty only if there are properties.
///
/// Decoding leaves topic and properties as they came, and the receiver has to ask for them: [`Publish::properties`]
/// unless [`PropertySource::is_none`]; [`Publish::topic_name`] once per topic, if it remembers the topics that it has
/// seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    pub packet_id: Option<PacketId>,
    /// The topic name, unchecked.
    pub topic: &'a [u8],
    pub properties: PropertySource<'a>,
    pub payload: &'a [u8],
}

/// Where the properties of a PUBLISH are. Equal if they say the same.
#[derive(Clone, Copy, Debug, Default)]
pub enum PropertySource<'a> {
    /// There are none, as always before level 5.
    #[default]
    None,
    /// In the packet that came to `role`, unchecked. Sent on, they stay as they came.
    Wire { block: &'a [u8], role: Role },
    /// Ours, to be sent.
    Own(&'a PublishProperties<'a>),
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
    /// A user property `event_id`, sent behind the others. One that came is among those.
    pub event_id: Option<&'a str>,
    /// Sent as user properties, too, and among those where they came.
    pub passthru: Option<&'a Passthru>,
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
    /// Decodes a complete frame whose type is PUBLISH. Properties and topic are left unchecked.
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
        let block = property::block(&mut body, level)?;
        if topic.is_empty() && block.is_empty() {
            return Err(if level == Level::V5 { DecodeError::TOPIC_ALIAS_MISSING } else { DecodeError::EMPTY_TOPIC });
        }
        let properties = if block.is_empty() { PropertySource::None } else { PropertySource::Wire { block, role } };
        Ok(Self { dup, qos, retain: first & FLAG_RETAIN != 0, packet_id, topic, properties, payload: body.rest() })
    }

    /// The properties, checked.
    ///
    /// # Errors
    /// The rule that they break; or there is neither a topic name nor a topic alias.
    #[inline]
    pub fn properties(&self) -> Result<PublishProperties<'a>> {
        let properties = self.properties.read()?;
        if self.topic.is_empty() && properties.topic_alias.is_none() {
            return Err(DecodeError::TOPIC_ALIAS_MISSING);
        }
        Ok(properties)
    }

    /// The topic name, checked. Empty only where a topic alias stands for it.
    ///
    /// # Errors
    /// It is not well-formed UTF-8, contains U+0000 or contains a wildcard character.
    pub fn topic_name(&self) -> Result<&'a str> {
        if self.topic.is_empty() { Ok("") } else { topic::validate_topic_name(self.topic) }
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
        if self.properties.is_none() {
            return self.encode_plain_header(level, payload_len, out);
        }
        let mut writer = Writer::new(out, self.first_byte(), level);
        writer.binary(self.topic);
        let packet_id_at = (self.qos != Qos::AtMostOnce).then(|| {
            writer.u16(self.packet_id.map_or(0, PacketId::get));
            writer.len() - 2
        });
        writer.properties(|writer| match self.properties {
            PropertySource::None => {}
            PropertySource::Wire { block, .. } => writer.bytes(block),
            PropertySource::Own(properties) => properties.write(writer),
        });
        let header_len = writer.len();
        let shift = writer.finish(payload_len)?;
        Ok(PublishLayout { packet_id_at: packet_id_at.map(|at| at + shift), payload_at: header_len + shift })
    }

    /// A header without properties has a length that is known beforehand: the shortest way for the commonest packet.
    #[inline]
    fn encode_plain_header(
        &self,
        level: Level,
        payload_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<PublishLayout, EncodeError> {
        let topic_len = u16::try_from(self.topic.len()).map_err(|_| EncodeError::FieldTooLong)?;
        let with_id = self.qos != Qos::AtMostOnce;
        let fields = 2 + self.topic.len() + if with_id { 2 } else { 0 } + usize::from(level == Level::V5);
        let body = fields + payload_len;
        if body > VARINT_MAX {
            return Err(EncodeError::PacketTooLong);
        }
        let [high, low] = topic_len.to_be_bytes();
        out.reserve(5 + fields);
        let start = out.len();
        if body < 0x80 {
            out.extend_from_slice(&[self.first_byte(), body as u8, high, low]);
        } else {
            let (len, width) = varint_bytes(body as u32);
            out.push(self.first_byte());
            out.extend_from_slice(&len[..width]);
            out.extend_from_slice(&[high, low]);
        }
        out.extend_from_slice(self.topic);
        let packet_id_at = with_id.then(|| out.len() - start);
        if with_id {
            out.extend_from_slice(&self.packet_id.map_or(0, PacketId::get).to_be_bytes());
        }
        if level == Level::V5 {
            out.push(0);
        }
        Ok(PublishLayout { packet_id_at, payload_at: out.len() - start })
    }

    #[inline]
    fn first_byte(&self) -> u8 {
        let dup = if self.dup { FLAG_DUP } else { 0 };
        PacketType::Publish.first_byte() | dup | (self.qos as u8) << 1 | u8::from(self.retain)
    }
}

impl<'a> PropertySource<'a> {
    /// True if there are none to be asked for.
    #[inline]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    #[inline]
    fn read(&self) -> Result<PublishProperties<'a>> {
        match *self {
            Self::None => Ok(PublishProperties::default()),
            Self::Wire { block, role } => PublishProperties::decode(block, role),
            Self::Own(properties) => Ok(*properties),
        }
    }
}

impl PartialEq for PropertySource<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.read() == other.read()
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
    fn decode(block: &'a [u8], role: Role) -> Result<Self> {
        let mut block = PropertyBlock::new(block, ALLOWED).repeating(id::SUBSCRIPTION_IDENTIFIER);
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
        if let Some(id) = self.event_id {
            writer.user_property(EVENT_ID, id);
        }
        for (name, value) in self.passthru.into_iter().flat_map(Passthru::iter) {
            writer.user_property(name, value);
        }
    }

    /// Checks that `payload` is UTF-8 if these properties say so. A receiver may do this (MQTT 5, 3.3.2.3.2).
    ///
    /// # Errors
    /// [`DecodeError::PAYLOAD_NOT_TEXT`].
    pub fn check_payload_format(&self, payload: &[u8]) -> Result<()> {
        match self.payload_is_text {
            Some(true) if std::str::from_utf8(payload).is_err() => Err(DecodeError::PAYLOAD_NOT_TEXT),
            _ => Ok(()),
        }
    }

    /// What travels with the publication unchanged; `None` if that is nothing. Expiry, alias and subscription
    /// identifiers concern only this hop and are left out.
    pub fn to_event(&self) -> Option<Arc<Properties>> {
        let all = || self.user_properties.iter();
        let attribute = |(name, value): (&str, &str)| Some((Attribute::from_name(name)?, value.to_owned()));
        let passthru = Passthru::new(all().filter_map(attribute)).map(Box::new);
        let is_own = |name: &str| passthru.is_none() || Attribute::from_name(name).is_none();
        let user_properties = all().filter(|(name, _)| is_own(name));
        let properties = Properties {
            payload_is_text: self.payload_is_text,
            content_type: self.content_type.map(str::to_owned),
            response_topic: self.response_topic.map(str::to_owned),
            correlation_data: self.correlation_data.map(Bytes::copy_from_slice),
            user_properties: user_properties.map(|(name, value)| (name.into(), value.into())).collect(),
            passthru,
            trust: None,
            resource_key: None,
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
            passthru: properties.passthru.as_deref(),
            ..Self::default()
        }
    }
}
