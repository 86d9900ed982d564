//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5, 3.4 to 3.7), which have one form.

use super::error::{DecodeError, EncodeError};
use super::list::UserProperties;
use super::property::{DIAGNOSTICS, Property, PropertyBlock, id};
use super::reader::Reader;
use super::writer::Writer;
use super::{Level, PacketId, PacketType, ReasonCode, Result, reason};

/// Words for people, which many packets may carry (MQTT 5, 3.4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Diagnostics<'a> {
    pub reason_string: Option<&'a str>,
    pub user_properties: UserProperties<'a>,
}

/// Which of the four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AckType {
    Puback = PacketType::Puback as u8,
    Pubrec = PacketType::Pubrec as u8,
    Pubrel = PacketType::Pubrel as u8,
    Pubcomp = PacketType::Pubcomp as u8,
}

/// An acknowledgement. Before level 5 the reason is always success.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ack<'a> {
    pub packet_id: PacketId,
    pub reason: ReasonCode,
    pub diagnostics: Diagnostics<'a>,
}

impl AckType {
    fn first_byte(self) -> u8 {
        (self as u8) << 4 | if self == AckType::Pubrel { 0x02 } else { 0 }
    }

    fn reasons(self) -> (&'static [ReasonCode], DecodeError) {
        match self {
            AckType::Puback | AckType::Pubrec => (reason::PUBACK, DecodeError::PUBACK_REASON),
            AckType::Pubrel | AckType::Pubcomp => (reason::PUBREL, DecodeError::PUBREL_REASON),
        }
    }
}

impl<'a> Ack<'a> {
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, diagnostics: Diagnostics::default() }
    }

    #[inline]
    pub(super) fn decode(mut body: Reader<'a>, kind: AckType, level: Level) -> Result<Self> {
        let packet_id = body.packet_id()?;
        if body.is_empty() {
            return Ok(Self::new(packet_id, ReasonCode::Success));
        }
        if level < Level::V5 {
            return Err(DecodeError::TRAILING_BYTES);
        }
        let (allowed, error) = kind.reasons();
        let reason = ReasonCode::from_u8(body.u8()?).filter(|reason| allowed.contains(reason)).ok_or(error)?;
        let mut ack = Self::new(packet_id, reason);
        if !body.is_empty() {
            ack.diagnostics = Diagnostics::decode(&mut body, level)?;
            body.finish()?;
        }
        Ok(ack)
    }

    /// Appends the packet. Before level 5 the reason is lost.
    ///
    /// # Errors
    /// A string contains U+0000 or is too long.
    pub fn encode(&self, kind: AckType, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut writer = Writer::new(out, kind.first_byte(), level);
        writer.packet_id(self.packet_id);
        writer.reason_and_properties(self.reason, |writer| self.diagnostics.write(writer));
        writer.finish(0)?;
        Ok(())
    }

    /// As [`Ack::encode`], without diagnostics if the packet would else be larger than `max` bytes [MQTT-3.4.2-2].
    ///
    /// # Errors
    /// As [`Ack::encode`].
    pub fn encode_within(&self, max: usize, kind: AckType, level: Level, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        super::encode_within(max, out, |out, explain| {
            let short = Self::new(self.packet_id, self.reason);
            if explain { self.encode(kind, level, out) } else { short.encode(kind, level, out) }
        })
    }
}

/// Appends an acknowledgement that all is well, which has the same four bytes at every level.
#[inline]
pub fn encode_ack(kind: AckType, packet_id: PacketId, out: &mut Vec<u8>) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
}

impl<'a> Diagnostics<'a> {
    /// Takes a property block that holds nothing else.
    pub(super) fn decode(body: &mut Reader<'a>, level: Level) -> Result<Self> {
        let mut block = PropertyBlock::open(body, level, DIAGNOSTICS)?;
        let mut diagnostics = Self::default();
        while let Some(property) = block.next()? {
            diagnostics.set(property);
        }
        diagnostics.user_properties = block.user_properties();
        Ok(diagnostics)
    }

    pub(super) fn set(&mut self, property: Property<'a>) {
        if let Property::ReasonString(text) = property {
            self.reason_string = Some(text);
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.string_property(id::REASON_STRING, self.reason_string);
        writer.user_properties(self.user_properties);
    }
}
