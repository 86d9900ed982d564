//! CONNECT (MQTT 5, 3.1), from which the level of the connection is known.

use super::error::{DecodeError, EncodeError};
use super::list::UserProperties;
use super::property::{Property, PropertyBlock, Set, id, set};
use super::publish::PublishProperties;
use super::reader::Reader;
use super::writer::Writer;
use super::{Level, PacketType, Result, body_unchecked, check_minimal_header, qos_from_bits, topic};
use crate::types::event::Qos;

const FLAG_RESERVED: u8 = 0x01;
const FLAG_CLEAN_START: u8 = 0x02;
const FLAG_WILL: u8 = 0x04;
const WILL_QOS_SHIFT: u8 = 3;
const FLAG_WILL_RETAIN: u8 = 0x20;
const FLAG_PASSWORD: u8 = 0x40;
const FLAG_USER_NAME: u8 = 0x80;

const ALLOWED: Set = set(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::RECEIVE_MAXIMUM,
    id::MAXIMUM_PACKET_SIZE,
    id::TOPIC_ALIAS_MAXIMUM,
    id::REQUEST_RESPONSE_INFORMATION,
    id::REQUEST_PROBLEM_INFORMATION,
    id::USER_PROPERTY,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
]);

const ALLOWED_IN_WILL: Set = set(&[
    id::WILL_DELAY_INTERVAL,
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);

/// A CONNECT. Invariants of one that was decoded: the client id is empty only where the server may choose one (level 5,
/// or level 4 with a clean session); before level 5 there is no password without a user name.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    pub level: Level,
    /// Called "clean session" before level 5.
    pub clean_start: bool,
    /// 0 = no limit.
    pub keep_alive_s: u16,
    pub client_id: &'a str,
    pub will: Option<Will<'a>>,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub properties: ConnectProperties<'a>,
}

/// What is to be published when the client has gone (MQTT 5, 3.1.2.5).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Will<'a> {
    /// A checked topic name.
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    /// Will delay interval.
    pub delay_s: u32,
    pub properties: PublishProperties<'a>,
}

/// Properties of a CONNECT; what is absent has its default value (MQTT 5, 3.1.2.11).
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectProperties<'a> {
    /// Session expiry interval; `u32::MAX` = never.
    pub session_expiry_s: u32,
    /// QoS 1 and 2 publications the client takes at once, 1..=65535.
    pub receive_maximum: u16,
    /// Bytes of the largest packet the client takes; `None` = no limit.
    pub maximum_packet_size: Option<u32>,
    /// Topic aliases the server may use.
    pub topic_alias_maximum: u16,
    pub request_response_information: bool,
    pub request_problem_information: bool,
    pub authentication_method: Option<&'a str>,
    /// Only with a method.
    pub authentication_data: Option<&'a [u8]>,
    pub user_properties: UserProperties<'a>,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_s: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

impl<'a> Connect<'a> {
    /// Decodes the first packet of a connection.
    ///
    /// # Errors
    /// The rule that it breaks; [`DecodeError::NOT_CONNECT`] if it is another packet. [`answer_level`] says in which
    /// level to answer.
    pub fn decode(frame: &'a [u8]) -> Result<Self> {
        let (first, body) = body_unchecked(frame)?;
        if PacketType::of(first) != Some(PacketType::Connect) {
            return Err(DecodeError::NOT_CONNECT);
        }
        let mut body = Reader::new(body);
        let name = body.binary()?;
        let level = sniff_level(name, body.u8()?)?;
        if level > Level::V3 && first != PacketType::Connect.first_byte() {
            return Err(DecodeError::RESERVED_FLAGS);
        }
        check_minimal_header(frame, level)?;
        let flags = Flags::new(body.u8()?, level)?;
        let keep_alive_s = body.u16()?;
        let properties = ConnectProperties::decode(&mut body, level)?;
        let client_id = body.string()?;
        let clean_start = flags.has(FLAG_CLEAN_START);
        let nameless = level == Level::V5 || level == Level::V4 && clean_start;
        if client_id.is_empty() && !nameless {
            return Err(DecodeError::CLIENT_ID_EMPTY);
        }
        let will = if flags.has(FLAG_WILL) { Some(Will::decode(&mut body, flags, level)?) } else { None };
        let user_name = if flags.announces(FLAG_USER_NAME, &body, level) { Some(body.string()?) } else { None };
        let password = if flags.announces(FLAG_PASSWORD, &body, level) { Some(body.binary()?) } else { None };
        body.finish()?;
        Ok(Self { level, clean_start, keep_alive_s, client_id, will, user_name, password, properties })
    }

    /// Appends the packet, at its own level.
    ///
    /// # Errors
    /// A field or the packet is too long, a string contains U+0000, or the level knows no password without a user name.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut writer = Writer::new(out, PacketType::Connect.first_byte(), self.level);
        let (name, version) = self.level.name_and_version();
        writer.string(name);
        writer.u8(version);
        writer.u8(self.flags());
        writer.u16(self.keep_alive_s);
        writer.properties(|writer| self.properties.write(writer));
        writer.string(self.client_id);
        if let Some(will) = &self.will {
            will.write(&mut writer);
        }
        if let Some(user_name) = self.user_name {
            writer.string(user_name);
        }
        if let Some(password) = self.password {
            writer.binary(password);
        }
        if self.level < Level::V5 && self.password.is_some() && self.user_name.is_none() {
            writer.fail(EncodeError::NotAtThisLevel);
        }
        writer.finish(0)?;
        Ok(())
    }

    fn flags(&self) -> u8 {
        let bit = |set: bool, flag: u8| if set { flag } else { 0 };
        let will = self
            .will
            .as_ref()
            .map_or(0, |will| FLAG_WILL | (will.qos as u8) << WILL_QOS_SHIFT | bit(will.retain, FLAG_WILL_RETAIN));
        bit(self.clean_start, FLAG_CLEAN_START)
            | will
            | bit(self.password.is_some(), FLAG_PASSWORD)
            | bit(self.user_name.is_some(), FLAG_USER_NAME)
    }
}

/// The level to answer in when a first packet is refused: the level it names, or else the nearest that is spoken here.
pub fn answer_level(frame: &[u8]) -> Level {
    let name_and_version = || -> Result<_> {
        let mut body = Reader::new(body_unchecked(frame)?.1);
        Ok((body.binary()?, body.u8()?))
    };
    match name_and_version() {
        Ok((b"MQTT", 5..)) => Level::V5,
        Ok((b"MQIsdp", 3)) => Level::V3,
        _ => Level::V4,
    }
}

fn sniff_level(name: &[u8], version: u8) -> Result<Level> {
    match (name, version) {
        (b"MQTT", 5) => Ok(Level::V5),
        (b"MQTT", 4) => Ok(Level::V4),
        (b"MQIsdp", 3) => Ok(Level::V3),
        (b"MQTT" | b"MQIsdp", _) => Err(DecodeError::PROTOCOL_VERSION),
        _ => Err(DecodeError::PROTOCOL_NAME),
    }
}

/// The connect flags, checked as far as they can be alone. Level 3 calls the unused ones just that: unused.
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    fn new(bits: u8, level: Level) -> Result<Self> {
        let flags = Self(bits);
        let strict = level > Level::V3;
        if strict && flags.has(FLAG_RESERVED) {
            return Err(DecodeError::CONNECT_FLAG_RESERVED);
        }
        let will_flags = bits & (3 << WILL_QOS_SHIFT | FLAG_WILL_RETAIN);
        if strict && !flags.has(FLAG_WILL) && will_flags != 0 {
            return Err(DecodeError::WILL_FLAGS_WITHOUT_WILL);
        }
        if level < Level::V5 && flags.has(FLAG_PASSWORD) && !flags.has(FLAG_USER_NAME) {
            return Err(DecodeError::PASSWORD_WITHOUT_USER_NAME);
        }
        Ok(flags)
    }

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// True if the field that `flag` announces follows. At level 3 the end of the packet outweighs the flag (MQTT 3.1,
    /// 3.1, User name and password flags).
    fn announces(self, flag: u8, body: &Reader<'_>, level: Level) -> bool {
        self.has(flag) && !(level == Level::V3 && body.is_empty())
    }
}

impl<'a> Will<'a> {
    fn decode(body: &mut Reader<'a>, flags: Flags, level: Level) -> Result<Self> {
        let qos = qos_from_bits(flags.0 >> WILL_QOS_SHIFT).ok_or(DecodeError::WILL_QOS_INVALID)?;
        let mut will = Will { qos, retain: flags.has(FLAG_WILL_RETAIN), ..Will::default() };
        let mut block = PropertyBlock::open(body, level, ALLOWED_IN_WILL)?;
        while let Some(property) = block.next()? {
            match property {
                Property::WillDelayInterval(s) => will.delay_s = s,
                other => will.properties.set(other),
            }
        }
        will.properties.user_properties = block.user_properties();
        will.topic = topic::validate_topic_name(body.binary()?)?;
        will.payload = body.binary()?;
        Ok(will)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.properties(|writer| {
            writer.u32_property(id::WILL_DELAY_INTERVAL, Some(self.delay_s).filter(|s| *s != 0));
            self.properties.write_application(writer);
        });
        writer.string(self.topic);
        writer.binary(self.payload);
    }

    /// Checks that the payload is UTF-8 if its properties say so. A server may do this (MQTT 5, 3.1.3.2.3).
    ///
    /// # Errors
    /// [`DecodeError::PAYLOAD_NOT_TEXT`].
    pub fn check_payload_format(&self) -> Result<()> {
        self.properties.check_payload_format(self.payload)
    }
}

impl<'a> ConnectProperties<'a> {
    fn decode(body: &mut Reader<'a>, level: Level) -> Result<Self> {
        let mut block = PropertyBlock::open(body, level, ALLOWED)?;
        let mut properties = Self::default();
        while let Some(property) = block.next()? {
            match property {
                Property::SessionExpiryInterval(s) => properties.session_expiry_s = s,
                Property::ReceiveMaximum(count) => properties.receive_maximum = count,
                Property::MaximumPacketSize(bytes) => properties.maximum_packet_size = Some(bytes),
                Property::TopicAliasMaximum(count) => properties.topic_alias_maximum = count,
                Property::RequestResponseInformation(wanted) => properties.request_response_information = wanted,
                Property::RequestProblemInformation(wanted) => properties.request_problem_information = wanted,
                Property::AuthenticationMethod(method) => properties.authentication_method = Some(method),
                Property::AuthenticationData(data) => properties.authentication_data = Some(data),
                _ => {}
            }
        }
        properties.user_properties = block.user_properties();
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeError::AUTHENTICATION_DATA_ALONE);
        }
        Ok(properties)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32_property(id::SESSION_EXPIRY_INTERVAL, Some(self.session_expiry_s).filter(|s| *s != 0));
        writer.u16_property(id::RECEIVE_MAXIMUM, Some(self.receive_maximum).filter(|count| *count != u16::MAX));
        writer.u32_property(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size);
        writer.u16_property(id::TOPIC_ALIAS_MAXIMUM, Some(self.topic_alias_maximum).filter(|count| *count != 0));
        writer.bool_property(id::REQUEST_RESPONSE_INFORMATION, self.request_response_information, false);
        writer.bool_property(id::REQUEST_PROBLEM_INFORMATION, self.request_problem_information, true);
        writer.string_property(id::AUTHENTICATION_METHOD, self.authentication_method);
        writer.binary_property(id::AUTHENTICATION_DATA, self.authentication_data);
        writer.user_properties(self.user_properties);
    }
}
