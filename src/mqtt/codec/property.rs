//! Properties (MQTT 5, 2.2.2): which there are, which packet may carry them, how often, and with what values.

use super::error::DecodeError;
use super::list::UserProperties;
use super::reader::Reader;
use super::writer::Writer;
use super::{Level, Result, topic};

/// Identifiers of the properties (MQTT 5, table 2-4).
pub(super) mod id {
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// One property with a value that is legal in itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Property<'a> {
    PayloadFormatIndicator(bool),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(bool),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifierAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// A set of property identifiers: bit n stands for identifier n.
pub(super) type Set = u64;

pub(super) const fn set(ids: &[u8]) -> Set {
    let mut set = 0;
    let mut at = 0;
    while at < ids.len() {
        set |= 1 << ids[at];
        at += 1;
    }
    set
}

/// What acknowledgements may carry to explain themselves.
pub(super) const DIAGNOSTICS: Set = set(&[id::REASON_STRING, id::USER_PROPERTY]);

/// A property block that is being checked and taken apart.
pub(super) struct PropertyBlock<'a> {
    all: &'a [u8],
    rest: Reader<'a>,
    allowed: Set,
    /// Of these there may be several.
    repeated: Set,
    seen: Set,
}

impl<'a> PropertyBlock<'a> {
    /// Takes the property block that begins at `body`.
    pub(super) fn open(body: &mut Reader<'a>, level: Level, allowed: Set) -> Result<Self> {
        Ok(Self::new(block(body, level)?, allowed))
    }

    pub(super) fn new(all: &'a [u8], allowed: Set) -> Self {
        Self { all, rest: Reader::new(all), allowed, repeated: set(&[id::USER_PROPERTY]), seen: 0 }
    }

    /// Lets `id` occur several times.
    pub(super) fn repeating(mut self, id: u8) -> Self {
        self.repeated |= 1 << id;
        self
    }

    /// True if `id` has occurred.
    pub(super) fn has(&self, id: u8) -> bool {
        self.seen & (1 << id) != 0
    }

    /// The bytes of the block; checked once [`PropertyBlock::next`] has returned `None`.
    pub(super) fn all(&self) -> &'a [u8] {
        self.all
    }

    /// The user properties of a block that has been read to its end.
    pub(super) fn user_properties(&self) -> UserProperties<'a> {
        if self.has(id::USER_PROPERTY) { UserProperties::wire(self.all) } else { UserProperties::default() }
    }

    /// The next property that this packet gives a meaning to. User properties are checked and passed over.
    pub(super) fn next(&mut self) -> Result<Option<Property<'a>>> {
        while !self.rest.is_empty() {
            let id = self.rest.varint()?;
            let bit = 1u64.checked_shl(id).unwrap_or_default();
            if bit & self.allowed == 0 {
                let known = bit & KNOWN != 0;
                return Err(if known { DecodeError::PROPERTY_NOT_ALLOWED } else { DecodeError::PROPERTY_UNKNOWN });
            }
            if bit & self.seen & !self.repeated != 0 {
                return Err(DecodeError::PROPERTY_REPEATED);
            }
            self.seen |= bit;
            let property = value(&mut self.rest, id)?;
            if !matches!(property, Property::User(..)) {
                return Ok(Some(property));
            }
        }
        Ok(None)
    }

    /// Takes one property from a block that has been checked before.
    pub(super) fn take(checked: &mut Reader<'a>) -> Option<Property<'a>> {
        let id = checked.varint().ok()?;
        value(checked, id).ok()
    }
}

/// Takes the bytes of a property block from `body`. Levels before 5 have none: there it is empty.
#[inline]
pub(super) fn block<'a>(body: &mut Reader<'a>, level: Level) -> Result<&'a [u8]> {
    if level < Level::V5 {
        return Ok(&[]);
    }
    let len = body.varint()?;
    body.bytes(len as usize)
}

const KNOWN: Set = set(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::SUBSCRIPTION_IDENTIFIER,
    id::SESSION_EXPIRY_INTERVAL,
    id::ASSIGNED_CLIENT_IDENTIFIER,
    id::SERVER_KEEP_ALIVE,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::REQUEST_PROBLEM_INFORMATION,
    id::WILL_DELAY_INTERVAL,
    id::REQUEST_RESPONSE_INFORMATION,
    id::RESPONSE_INFORMATION,
    id::SERVER_REFERENCE,
    id::REASON_STRING,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::TOPIC_ALIAS,
    id::MAXIMUM_QOS,
    id::RETAIN_AVAILABLE,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
    id::WILDCARD_SUBSCRIPTION_AVAILABLE,
    id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    id::SHARED_SUBSCRIPTION_AVAILABLE,
]);

/// Takes the value of the property `id`.
fn value<'a>(from: &mut Reader<'a>, id: u32) -> Result<Property<'a>> {
    Ok(match u8::try_from(id).map_err(|_| DecodeError::PROPERTY_UNKNOWN)? {
        id::PAYLOAD_FORMAT_INDICATOR => Property::PayloadFormatIndicator(boolean(from)?),
        id::MESSAGE_EXPIRY_INTERVAL => Property::MessageExpiryInterval(from.u32()?),
        id::CONTENT_TYPE => Property::ContentType(from.string()?),
        id::RESPONSE_TOPIC => Property::ResponseTopic(response_topic(from)?),
        id::CORRELATION_DATA => Property::CorrelationData(from.binary()?),
        id::SUBSCRIPTION_IDENTIFIER => Property::SubscriptionIdentifier(subscription_identifier(from)?),
        id::SESSION_EXPIRY_INTERVAL => Property::SessionExpiryInterval(from.u32()?),
        id::ASSIGNED_CLIENT_IDENTIFIER => Property::AssignedClientIdentifier(from.string()?),
        id::SERVER_KEEP_ALIVE => Property::ServerKeepAlive(from.u16()?),
        id::AUTHENTICATION_METHOD => Property::AuthenticationMethod(from.string()?),
        id::AUTHENTICATION_DATA => Property::AuthenticationData(from.binary()?),
        id::REQUEST_PROBLEM_INFORMATION => Property::RequestProblemInformation(boolean(from)?),
        id::WILL_DELAY_INTERVAL => Property::WillDelayInterval(from.u32()?),
        id::REQUEST_RESPONSE_INFORMATION => Property::RequestResponseInformation(boolean(from)?),
        id::RESPONSE_INFORMATION => Property::ResponseInformation(from.string()?),
        id::SERVER_REFERENCE => Property::ServerReference(from.string()?),
        id::REASON_STRING => Property::ReasonString(from.string()?),
        id::RECEIVE_MAXIMUM => Property::ReceiveMaximum(non_zero(from.u16()?, DecodeError::RECEIVE_MAXIMUM_ZERO)?),
        id::TOPIC_ALIAS_MAXIMUM => Property::TopicAliasMaximum(from.u16()?),
        id::TOPIC_ALIAS => Property::TopicAlias(non_zero(from.u16()?, DecodeError::TOPIC_ALIAS_ZERO)?),
        id::MAXIMUM_QOS => Property::MaximumQos(boolean(from)?),
        id::RETAIN_AVAILABLE => Property::RetainAvailable(boolean(from)?),
        id::USER_PROPERTY => Property::User(from.string()?, from.string()?),
        id::MAXIMUM_PACKET_SIZE => {
            Property::MaximumPacketSize(non_zero(from.u32()?, DecodeError::MAXIMUM_PACKET_SIZE_ZERO)?)
        }
        id::WILDCARD_SUBSCRIPTION_AVAILABLE => Property::WildcardSubscriptionAvailable(boolean(from)?),
        id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => Property::SubscriptionIdentifierAvailable(boolean(from)?),
        id::SHARED_SUBSCRIPTION_AVAILABLE => Property::SharedSubscriptionAvailable(boolean(from)?),
        _ => return Err(DecodeError::PROPERTY_UNKNOWN),
    })
}

fn boolean(from: &mut Reader<'_>) -> Result<bool> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::PROPERTY_NOT_BOOLEAN),
    }
}

fn non_zero<T: PartialEq + Default>(value: T, error: DecodeError) -> Result<T> {
    if value == T::default() { Err(error) } else { Ok(value) }
}

fn subscription_identifier(from: &mut Reader<'_>) -> Result<u32> {
    non_zero(from.varint()?, DecodeError::SUBSCRIPTION_IDENTIFIER_ZERO)
}

fn response_topic<'a>(from: &mut Reader<'a>) -> Result<&'a str> {
    let text = from.string()?;
    if text.is_empty() || topic::has_wildcard(text.as_bytes()) {
        return Err(DecodeError::RESPONSE_TOPIC_INVALID);
    }
    Ok(text)
}

/// Writing properties. What is `None` or has its default value is left out.
impl Writer<'_> {
    pub(super) fn u8_property(&mut self, id: u8, value: Option<u8>) {
        if let Some(value) = value {
            self.bytes(&[id, value]);
        }
    }

    /// A boolean property, written only if it differs from its default.
    pub(super) fn bool_property(&mut self, id: u8, value: bool, default: bool) {
        self.u8_property(id, (value != default).then_some(u8::from(value)));
    }

    pub(super) fn u16_property(&mut self, id: u8, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(id);
            self.u16(value);
        }
    }

    pub(super) fn u32_property(&mut self, id: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(id);
            self.u32(value);
        }
    }

    pub(super) fn varint_property(&mut self, id: u8, value: u32) {
        self.u8(id);
        self.varint(value);
    }

    pub(super) fn string_property(&mut self, id: u8, value: Option<&str>) {
        if let Some(value) = value {
            self.u8(id);
            self.string(value);
        }
    }

    pub(super) fn binary_property(&mut self, id: u8, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.u8(id);
            self.binary(value);
        }
    }

    pub(super) fn user_properties(&mut self, properties: UserProperties<'_>) {
        for (name, value) in properties {
            self.user_property(name, value);
        }
    }

    pub(super) fn user_property(&mut self, name: &str, value: &str) {
        self.u8(id::USER_PROPERTY);
        self.string(name);
        self.string(value);
    }
}
