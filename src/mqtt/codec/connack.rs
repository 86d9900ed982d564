//! CONNACK (MQTT 5, 3.2).

use super::error::{DecodeError, EncodeError};
use super::list::UserProperties;
use super::property::{Property, PropertyBlock, Set, id, set};
use super::reader::Reader;
use super::writer::Writer;
use super::{Level, PacketType, ReasonCode, Result, reason};
use crate::types::event::Qos;

const FLAG_SESSION_PRESENT: u8 = 0x01;

const ALLOWED: Set = set(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::RECEIVE_MAXIMUM,
    id::MAXIMUM_QOS,
    id::RETAIN_AVAILABLE,
    id::MAXIMUM_PACKET_SIZE,
    id::ASSIGNED_CLIENT_IDENTIFIER,
    id::TOPIC_ALIAS_MAXIMUM,
    id::REASON_STRING,
    id::USER_PROPERTY,
    id::WILDCARD_SUBSCRIPTION_AVAILABLE,
    id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    id::SHARED_SUBSCRIPTION_AVAILABLE,
    id::SERVER_KEEP_ALIVE,
    id::RESPONSE_INFORMATION,
    id::SERVER_REFERENCE,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
]);

/// The server's answer to a CONNECT. Session present is never set in one that refuses, nor at level 3.
#[derive(Clone, Debug, PartialEq)]
pub struct Connack<'a> {
    pub session_present: bool,
    pub reason: ReasonCode,
    pub properties: ConnackProperties<'a>,
}

/// Properties of a CONNACK; what is absent has its default value (MQTT 5, 3.2.2.3).
#[derive(Clone, Debug, PartialEq)]
pub struct ConnackProperties<'a> {
    /// `None` = what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// QoS 1 and 2 publications the server takes at once, 1..=65535.
    pub receive_maximum: u16,
    pub maximum_qos: Qos,
    pub retain_available: bool,
    /// Bytes of the largest packet the server takes; `None` = no limit.
    pub maximum_packet_size: Option<u32>,
    pub assigned_client_identifier: Option<&'a str>,
    /// Topic aliases the client may use.
    pub topic_alias_maximum: u16,
    pub reason_string: Option<&'a str>,
    pub wildcard_subscription_available: bool,
    pub subscription_identifier_available: bool,
    pub shared_subscription_available: bool,
    /// `None` = what the client asked for.
    pub server_keep_alive_s: Option<u16>,
    pub response_information: Option<&'a str>,
    pub server_reference: Option<&'a str>,
    pub authentication_method: Option<&'a str>,
    /// Only with a method.
    pub authentication_data: Option<&'a [u8]>,
    pub user_properties: UserProperties<'a>,
}

impl Default for ConnackProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_s: None,
            receive_maximum: u16::MAX,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_identifier: None,
            topic_alias_maximum: 0,
            reason_string: None,
            wildcard_subscription_available: true,
            subscription_identifier_available: true,
            shared_subscription_available: true,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

impl<'a> Connack<'a> {
    /// A refusal, or an acceptance without session and with default values.
    pub fn new(reason: ReasonCode) -> Self {
        Self { session_present: false, reason, properties: ConnackProperties::default() }
    }

    pub(super) fn decode(mut body: Reader<'a>, level: Level) -> Result<Self> {
        let flags = body.u8()?;
        let code = body.u8()?;
        // Level 3 reserves the whole byte and does not say that it is 0.
        if level > Level::V3 && flags & !FLAG_SESSION_PRESENT != 0 {
            return Err(DecodeError::CONNACK_FLAGS_RESERVED);
        }
        let reason = if level == Level::V5 {
            ReasonCode::from_u8(code).filter(|reason| reason::CONNACK.contains(reason))
        } else {
            ReasonCode::from_return_code(code)
        };
        let reason = reason.ok_or(DecodeError::CONNACK_REASON)?;
        let session_present = level > Level::V3 && flags & FLAG_SESSION_PRESENT != 0;
        if session_present && reason != ReasonCode::Success {
            return Err(DecodeError::SESSION_PRESENT_ON_ERROR);
        }
        let properties = ConnackProperties::decode(&mut body, level)?;
        body.finish()?;
        Ok(Self { session_present, reason, properties })
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// A string contains U+0000 or is too long; or, before level 5, there is no return code for this reason: then the
    /// connection is closed without a CONNACK.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let code = if level == Level::V5 { Some(self.reason as u8) } else { self.reason.to_return_code() };
        let code = code.ok_or(EncodeError::NotAtThisLevel)?;
        let present = self.session_present && level > Level::V3 && !self.reason.is_error();
        let mut writer = Writer::new(out, PacketType::Connack.first_byte(), level);
        writer.bytes(&[u8::from(present), code]);
        writer.properties(|writer| self.properties.write(writer));
        writer.finish(0)?;
        Ok(())
    }

    /// As [`Connack::encode`]; reason string and user properties are left out if the packet would else be larger than
    /// `max` bytes [MQTT-3.2.2-19, MQTT-3.2.2-20].
    ///
    /// # Errors
    /// As [`Connack::encode`].
    pub fn encode_within(&self, max: usize, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        super::encode_within(max, out, |out, explain| {
            if explain {
                return self.encode(level, out);
            }
            let mut short = self.clone();
            short.properties.reason_string = None;
            short.properties.user_properties = UserProperties::default();
            short.encode(level, out)
        })
    }
}

impl<'a> ConnackProperties<'a> {
    fn decode(body: &mut Reader<'a>, level: Level) -> Result<Self> {
        let mut block = PropertyBlock::open(body, level, ALLOWED)?;
        let mut properties = Self::default();
        while let Some(property) = block.next()? {
            properties.set(property);
        }
        properties.user_properties = block.user_properties();
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeError::AUTHENTICATION_DATA_ALONE);
        }
        Ok(properties)
    }

    fn set(&mut self, property: Property<'a>) {
        match property {
            Property::SessionExpiryInterval(s) => self.session_expiry_s = Some(s),
            Property::ReceiveMaximum(count) => self.receive_maximum = count,
            Property::MaximumQos(one) => self.maximum_qos = if one { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            Property::RetainAvailable(yes) => self.retain_available = yes,
            Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
            Property::AssignedClientIdentifier(client_id) => self.assigned_client_identifier = Some(client_id),
            Property::TopicAliasMaximum(count) => self.topic_alias_maximum = count,
            Property::ReasonString(text) => self.reason_string = Some(text),
            Property::WildcardSubscriptionAvailable(yes) => self.wildcard_subscription_available = yes,
            Property::SubscriptionIdentifierAvailable(yes) => self.subscription_identifier_available = yes,
            Property::SharedSubscriptionAvailable(yes) => self.shared_subscription_available = yes,
            Property::ServerKeepAlive(s) => self.server_keep_alive_s = Some(s),
            Property::ResponseInformation(text) => self.response_information = Some(text),
            Property::ServerReference(text) => self.server_reference = Some(text),
            Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
            Property::AuthenticationData(data) => self.authentication_data = Some(data),
            _ => {}
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32_property(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_s);
        writer.u16_property(id::RECEIVE_MAXIMUM, Some(self.receive_maximum).filter(|count| *count != u16::MAX));
        let limited = self.maximum_qos != Qos::ExactlyOnce;
        writer.u8_property(id::MAXIMUM_QOS, limited.then_some(self.maximum_qos as u8));
        writer.bool_property(id::RETAIN_AVAILABLE, self.retain_available, true);
        writer.u32_property(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size);
        writer.string_property(id::ASSIGNED_CLIENT_IDENTIFIER, self.assigned_client_identifier);
        writer.u16_property(id::TOPIC_ALIAS_MAXIMUM, Some(self.topic_alias_maximum).filter(|count| *count != 0));
        writer.string_property(id::REASON_STRING, self.reason_string);
        writer.bool_property(id::WILDCARD_SUBSCRIPTION_AVAILABLE, self.wildcard_subscription_available, true);
        writer.bool_property(id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, self.subscription_identifier_available, true);
        writer.bool_property(id::SHARED_SUBSCRIPTION_AVAILABLE, self.shared_subscription_available, true);
        writer.u16_property(id::SERVER_KEEP_ALIVE, self.server_keep_alive_s);
        writer.string_property(id::RESPONSE_INFORMATION, self.response_information);
        writer.string_property(id::SERVER_REFERENCE, self.server_reference);
        writer.string_property(id::AUTHENTICATION_METHOD, self.authentication_method);
        writer.binary_property(id::AUTHENTICATION_DATA, self.authentication_data);
        writer.user_properties(self.user_properties);
    }
}
