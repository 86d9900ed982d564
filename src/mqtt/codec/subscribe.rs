//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (MQTT 5, 3.8 to 3.11).

use super::ack::Diagnostics;
use super::error::{DecodeError, EncodeError};
use super::list::{Item, List, ReasonCodes, TopicFilters, UserProperties};
use super::property::{Property, PropertyBlock, Set, id, set};
use super::reader::Reader;
use super::writer::Writer;
use super::{Level, PacketId, PacketType, ReasonCode, Result, qos_from_bits, reason, topic};
use crate::types::event::Qos;

const OPTION_NO_LOCAL: u8 = 0x04;
const OPTION_RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING_SHIFT: u8 = 4;
const OPTIONS_RESERVED: u8 = 0xC0;
/// Before level 5 there is only the QoS.
const OPTIONS_RESERVED_V4: u8 = 0xFC;

const ALLOWED_IN_SUBSCRIBE: Set = set(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]);
const ALLOWED_IN_UNSUBSCRIBE: Set = set(&[id::USER_PROPERTY]);

/// A SUBSCRIBE. One that was decoded has at least one subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    pub packet_id: PacketId,
    /// 1..=268435455.
    pub subscription_identifier: Option<u32>,
    pub user_properties: UserProperties<'a>,
    pub subscriptions: Subscriptions<'a>,
}

/// What a SUBSCRIBE asks for, in its order.
pub type Subscriptions<'a> = List<'a, Subscription<'a>>;

/// A topic filter and how it is to be served (MQTT 5, 3.8.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// With its wildcards where they may be; at level 5 a shared one has a name and a filter
    /// ([`split_shared`](super::split_shared)).
    pub filter: &'a str,
    pub qos: Qos,
    /// Never with a shared subscription.
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent (MQTT 5, 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    #[default]
    AtSubscribe = 0,
    /// Only if the subscription did not exist.
    AtNewSubscribe = 1,
    Never = 2,
}

/// A SUBACK: one reason code per topic filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Suback<'a> {
    pub packet_id: PacketId,
    pub diagnostics: Diagnostics<'a>,
    pub reasons: ReasonCodes<'a>,
}

/// An UNSUBSCRIBE. One that was decoded has at least one filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    pub packet_id: PacketId,
    pub user_properties: UserProperties<'a>,
    pub filters: TopicFilters<'a>,
}

/// An UNSUBACK: one reason code per topic filter. Before level 5 it has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsuback<'a> {
    pub packet_id: PacketId,
    pub diagnostics: Diagnostics<'a>,
    pub reasons: ReasonCodes<'a>,
}

impl<'a> Subscribe<'a> {
    pub(super) fn decode(mut body: Reader<'a>, level: Level) -> Result<Self> {
        let packet_id = body.packet_id()?;
        let mut block = PropertyBlock::open(&mut body, level, ALLOWED_IN_SUBSCRIBE)?;
        let mut subscription_identifier = None;
        while let Some(property) = block.next()? {
            if let Property::SubscriptionIdentifier(id) = property {
                subscription_identifier = Some(id);
            }
        }
        let subscriptions = Subscriptions::wire(body.rest());
        if body.is_empty() {
            return Err(DecodeError::NO_FILTER);
        }
        while !body.is_empty() {
            Subscription::decode(&mut body, level)?;
        }
        Ok(Self { packet_id, subscription_identifier, user_properties: block.user_properties(), subscriptions })
    }

    /// Appends the packet. Options that the level does not know are left out.
    ///
    /// # Errors
    /// A field or the packet is too long, or a string contains U+0000.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut writer = Writer::new(out, PacketType::Subscribe.first_byte(), level);
        writer.packet_id(self.packet_id);
        writer.properties(|writer| {
            if let Some(id) = self.subscription_identifier {
                writer.varint_property(id::SUBSCRIPTION_IDENTIFIER, id);
            }
            writer.user_properties(self.user_properties);
        });
        for subscription in self.subscriptions {
            writer.string(subscription.filter);
            writer.u8(subscription.options(level));
        }
        writer.finish(0)?;
        Ok(())
    }
}

impl<'a> Subscription<'a> {
    fn decode(body: &mut Reader<'a>, level: Level) -> Result<Self> {
        let filter = body.string()?;
        validate_filter(filter, level)?;
        let options = body.u8()?;
        let reserved = if level == Level::V5 { OPTIONS_RESERVED } else { OPTIONS_RESERVED_V4 };
        if options & reserved != 0 {
            return Err(DecodeError::SUBSCRIPTION_OPTIONS_RESERVED);
        }
        let subscription = Self::of_options(filter, options)?;
        if subscription.no_local && topic::split_shared(filter).is_some() {
            return Err(DecodeError::NO_LOCAL_SHARED);
        }
        Ok(subscription)
    }

    fn of_options(filter: &'a str, options: u8) -> Result<Self> {
        let retain_handling = match options >> RETAIN_HANDLING_SHIFT & 3 {
            0 => RetainHandling::AtSubscribe,
            1 => RetainHandling::AtNewSubscribe,
            2 => RetainHandling::Never,
            _ => return Err(DecodeError::RETAIN_HANDLING_INVALID),
        };
        Ok(Self {
            filter,
            qos: qos_from_bits(options).ok_or(DecodeError::SUBSCRIPTION_QOS_INVALID)?,
            no_local: options & OPTION_NO_LOCAL != 0,
            retain_as_published: options & OPTION_RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    fn options(&self, level: Level) -> u8 {
        let qos = self.qos as u8;
        if level < Level::V5 {
            return qos;
        }
        let no_local = if self.no_local { OPTION_NO_LOCAL } else { 0 };
        let retain_as_published = if self.retain_as_published { OPTION_RETAIN_AS_PUBLISHED } else { 0 };
        qos | no_local | retain_as_published | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT
    }
}

impl<'a> Item<'a, Subscription<'a>> for Subscription<'a> {
    fn next(wire: &mut Reader<'a>) -> Option<Self> {
        let filter = wire.string().ok()?;
        Self::of_options(filter, wire.u8().ok()?).ok()
    }

    fn of(subscription: &'a Self) -> Self {
        *subscription
    }
}

/// Before level 5 nothing is said about `$share`: there it is a level like others.
fn validate_filter(filter: &str, level: Level) -> Result<()> {
    if level == Level::V5 { topic::validate_subscription_filter(filter) } else { topic::validate_topic_filter(filter) }
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn decode(mut body: Reader<'a>, level: Level) -> Result<Self> {
        let packet_id = body.packet_id()?;
        let mut block = PropertyBlock::open(&mut body, level, ALLOWED_IN_UNSUBSCRIBE)?;
        while block.next()?.is_some() {}
        let filters = TopicFilters::wire(body.rest());
        if body.is_empty() {
            return Err(DecodeError::NO_FILTER);
        }
        while !body.is_empty() {
            validate_filter(body.string()?, level)?;
        }
        Ok(Self { packet_id, user_properties: block.user_properties(), filters })
    }

    /// Appends the packet.
    ///
    /// # Errors
    /// A field or the packet is too long, or a string contains U+0000.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut writer = Writer::new(out, PacketType::Unsubscribe.first_byte(), level);
        writer.packet_id(self.packet_id);
        writer.properties(|writer| writer.user_properties(self.user_properties));
        for filter in self.filters {
            writer.string(filter);
        }
        writer.finish(0)?;
        Ok(())
    }
}

impl<'a> Suback<'a> {
    pub(super) fn decode(mut body: Reader<'a>, level: Level) -> Result<Self> {
        let packet_id = body.packet_id()?;
        let diagnostics = Diagnostics::decode(&mut body, level)?;
        let allowed = if level == Level::V5 { reason::SUBACK } else { reason::SUBACK_V4 };
        let reasons = decode_reasons(body.rest(), allowed, DecodeError::SUBACK_REASON)?;
        Ok(Self { packet_id, diagnostics, reasons })
    }

    /// Appends the packet. Before level 5 every failure is 0x80.
    ///
    /// # Errors
    /// The packet is too long, or a string contains U+0000.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut writer = Writer::new(out, PacketType::Suback.first_byte(), level);
        writer.packet_id(self.packet_id);
        writer.properties(|writer| self.diagnostics.write(writer));
        for reason in self.reasons {
            let plain = level < Level::V5 && reason.is_error();
            writer.u8(if plain { ReasonCode::UnspecifiedError } else { reason } as u8);
        }
        writer.finish(0)?;
        Ok(())
    }

    /// As [`Suback::encode`], without diagnostics if the packet would else be larger than `max` bytes [MQTT-3.9.2-1].
    ///
    /// # Errors
    /// As [`Suback::encode`].
    pub fn encode_within(&self, max: usize, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        super::encode_within(max, out, |out, explain| {
            let diagnostics = if explain { self.diagnostics } else { Diagnostics::default() };
            Self { diagnostics, ..*self }.encode(level, out)
        })
    }
}

impl<'a> Unsuback<'a> {
    pub(super) fn decode(mut body: Reader<'a>, level: Level) -> Result<Self> {
        let packet_id = body.packet_id()?;
        let diagnostics = Diagnostics::decode(&mut body, level)?;
        if level < Level::V5 {
            body.finish()?;
            return Ok(Self { packet_id, diagnostics, reasons: ReasonCodes::default() });
        }
        let reasons = decode_reasons(body.rest(), reason::UNSUBACK, DecodeError::UNSUBACK_REASON)?;
        Ok(Self { packet_id, diagnostics, reasons })
    }

    /// Appends the packet. Before level 5 the reasons are left out.
    ///
    /// # Errors
    /// The packet is too long, or a string contains U+0000.
    pub fn encode(&self, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut writer = Writer::new(out, PacketType::Unsuback.first_byte(), level);
        writer.packet_id(self.packet_id);
        writer.properties(|writer| self.diagnostics.write(writer));
        if level == Level::V5 {
            for reason in self.reasons {
                writer.u8(reason as u8);
            }
        }
        writer.finish(0)?;
        Ok(())
    }

    /// As [`Unsuback::encode`], without diagnostics if the packet would else be larger than `max` bytes [MQTT-3.11.2-1].
    ///
    /// # Errors
    /// As [`Unsuback::encode`].
    pub fn encode_within(&self, max: usize, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        super::encode_within(max, out, |out, explain| {
            let diagnostics = if explain { self.diagnostics } else { Diagnostics::default() };
            Self { diagnostics, ..*self }.encode(level, out)
        })
    }
}

fn decode_reasons<'a>(bytes: &'a [u8], allowed: &[ReasonCode], error: DecodeError) -> Result<ReasonCodes<'a>> {
    if bytes.is_empty() {
        return Err(DecodeError::NO_REASON_CODE);
    }
    let known = |byte: &u8| ReasonCode::from_u8(*byte).is_some_and(|reason| allowed.contains(&reason));
    if bytes.iter().all(known) { Ok(ReasonCodes::wire(bytes)) } else { Err(error) }
}
